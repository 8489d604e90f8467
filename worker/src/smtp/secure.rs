//! A client's session coming under TLS: by STARTTLS, or from the first octet on a port for that
//! (TLS-20 to TLS-23).
//!
//! Which certificate is shown and what is asked of the client's is decided by the configuration that
//! the worker has for the port. After a failed handshake nothing is said any more.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::asks::StartTls;
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::tls::{Tls, TlsFailure};

use super::session::Session;
use super::wire::Lost;
use crate::rt::HandshakeError;
use crate::tls::{describe, summary};

impl Session {
    /// STARTTLS, as a plugin asks for it (RFC 3207 §4).
    pub(super) async fn start_tls(&mut self, ask: StartTls) {
        let StartTls {
            go_ahead,
            within,
            answer,
        } = ask;
        if self.conn.tls.borrow().is_some() || self.wire.is_broken() {
            return answer.give(Err(TlsFailure::NoSession));
        }
        let Some(config) = self.worker.tls.contexts().server(self.port) else {
            return answer.give(Err(TlsFailure::NoCertificate));
        };
        self.say(&go_ahead);
        // §4.2, §6: commands that somebody put behind STARTTLS in the clear must not seem to have
        // come under TLS.
        self.wire.forget_input();
        let within = within.unwrap_or(self.config.smtp.inactivity_timeout);
        let secured = self.shake_hands(config, within).await;
        if let Ok(tls) = &secured {
            self.reset_transaction().await;
            self.added.clear();
            *self.conn.hello.borrow_mut() = None;
            self.set_tls(tls);
            self.conn.esmtp.set(false);
        }
        answer.give(secured);
    }

    /// Whether TLS comes first on the port that the client connected to.
    pub(super) fn on_tls_port(&self) -> bool {
        self.config.smtp.smtps_port == Some(self.port)
    }

    /// TLS from the first octet, if the port is for that; false ends the session.
    pub(super) async fn begin_tls(&mut self) -> bool {
        if !self.on_tls_port() {
            return true;
        }
        let Some(config) = self.worker.tls.contexts().server(self.port) else {
            log_conn!(
                Level::Error,
                self.conn,
                [],
                "no certificate for the TLS port {}, see tls.ini",
                self.port
            );
            return false;
        };
        let within = HANDSHAKE_TIME.min(self.config.smtp.inactivity_timeout);
        match self.shake_hands(config, within).await {
            Ok(tls) => {
                log_conn!(Level::Info, self.conn, [], "{}", tls.secured());
                self.set_tls(&tls);
                true
            }
            Err(_) => false,
        }
    }

    async fn shake_hands(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        within: Duration,
    ) -> Result<Rc<Tls>, TlsFailure> {
        let session = match rustls::ServerConnection::new(config) {
            Ok(session) => session,
            Err(e) => return Err(self.insecure(TlsFailure::Refused(e.to_string().into()))),
        };
        let done = Box::pin(self.wire.start_tls(session.into(), within)).await;
        let failure = match done {
            Ok(Ok(())) => match self.wire.with_tls(|session| self.described(session)) {
                Some(tls) => return Ok(Rc::new(tls)),
                None => TlsFailure::NoSession,
            },
            Ok(Err(HandshakeError::Tls(e))) => TlsFailure::Refused(reason(&e).into()),
            Ok(Err(HandshakeError::Closed)) | Err(Lost::Gone) => {
                TlsFailure::Gone("client closed the connection".into())
            }
            Ok(Err(HandshakeError::Io(e))) | Err(Lost::Broken(e)) => {
                TlsFailure::Gone(e.to_string().into())
            }
            Err(Lost::TooSlow | Lost::Idle) => TlsFailure::TimedOut,
            Err(Lost::Stopping) => TlsFailure::Gone("the server stops".into()),
            Err(Lost::Dismissed | Lost::Asked) => TlsFailure::Gone("the session ends".into()),
            Err(Lost::Deaf | Lost::Line(_)) => {
                TlsFailure::Gone("client does not take our replies".into())
            }
        };
        Err(self.insecure(failure))
    }

    /// The session with what the client's certificate says, and what is to be thought of it.
    fn described(&self, session: &rustls::Connection) -> Tls {
        let mut tls = summary(session);
        if let Some(chain @ [first, ..]) = session.peer_certificates() {
            tls.peer = Some(describe(first));
            match self.worker.tls.contexts().verify_peer(chain) {
                Ok(()) => tls.verified = true,
                Err(why) => tls.verify_error = Some(why.into()),
            }
        }
        tls
    }

    /// One line for each handshake that failed.
    fn insecure(&self, failure: TlsFailure) -> TlsFailure {
        if matches!(failure, TlsFailure::Gone(_)) {
            self.conn.remote.borrow_mut().closed = true;
        }
        let ip: IpAddr = self.conn.remote_ip();
        log_conn!(
            Level::Notice,
            self.conn,
            [("ip", (&ip.to_string()).into())],
            "TLS handshake failed: {failure}"
        );
        failure
    }

    fn set_tls(&self, tls: &Rc<Tls>) {
        self.conn.notes.set("tls", tls.note());
        *self.conn.tls.borrow_mut() = Some(Rc::clone(tls));
    }
}

/// What went wrong, for operators.
fn reason(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "client does not speak TLS".to_owned(),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            // Came with TLS 1.2, and is looked for before the version.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "client speaks none of our versions of TLS".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "client has none of our ciphers".to_owned()
        }
        Error::InvalidCertificate(why) => format!("client's certificate is not trusted ({why})"),
        Error::NoCertificatesPresented => "client shows no certificate".to_owned(),
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            format!("client does not accept our certificate ({error})")
        }
        other => other.to_string(),
    }
}

/// Time for the handshake that begins a session.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
