//! STARTTLS towards a host (RFC 3207), and XCLIENT behind it.
//!
//! What the host said in the clear counts for nothing afterwards. Must never go on in the clear where
//! the wish requires TLS.

use std::net::IpAddr;
use std::rc::Rc;

use haraka_shared::log::{Level, Value, emit, enabled};
use haraka_shared::route::XClient;
use haraka_shared::tls::Tls;
use haraka_shared::{date, log_at};

use super::attempt::{Lost, Stage, TlsTrouble, Unusable};
use super::client::Client;
use super::extensions::Extensions;
use super::route::Place;
use super::wish::{TlsOutcome, TlsWish};
use crate::rt;
use crate::tls::Host;

impl Client {
    /// Brings the connection under TLS as far as that is wanted and possible.
    pub(super) async fn secure(&mut self, wish: &TlsWish) -> Result<(), Unusable> {
        let Some(judge) = wish.judge() else {
            return Ok(());
        };
        let required = wish.required().cloned();
        if !self.extensions.start_tls {
            self.peer.tls = TlsOutcome::NotOffered;
            return match required {
                Some(why) => Err(self.without_tls(why, "STARTTLS is not offered").await),
                None => Ok(()),
            };
        }
        let host = Host {
            name: &self.target.host,
            ip: match &self.target.place {
                Place::Socket(address) => Some(address.ip()),
                Place::Path(_) => None,
            },
        };
        let route = Rc::clone(&self.target.route);
        let kits = Rc::clone(&self.settings.kits);
        let beginning = kits.begin(route.tls.as_ref(), &host, judge).await;
        let failed = |trouble: TlsTrouble| Unusable::Handshake {
            trouble,
            required: required.clone(),
        };
        let beginning = beginning.map_err(|e| failed(TlsTrouble::Handshake(e.into())))?;
        let reply = self.ask("STARTTLS\r\n", Stage::StartTls).await?;
        if reply.code() == 421 {
            return Err(Unusable::Unavailable(reply));
        }
        if !reply.is_success() {
            log_at!(
                Level::Notice,
                &self.remote.uuid(),
                "outbound",
                [],
                "{} answered STARTTLS with {reply}",
                self.target.host
            );
            return match required {
                Some(why) => {
                    let said = format!("STARTTLS was answered with {reply}");
                    Err(self.without_tls(why, &said).await)
                }
                // RFC 3207 §4: the client decides whether to go on.
                None => {
                    self.peer.tls = TlsOutcome::Refused(reply);
                    Ok(())
                }
            };
        }
        if self.remote.has_unread() {
            log_at!(
                Level::Warn,
                &self.remote.uuid(),
                "outbound",
                [],
                "{} [{}]: octets in the clear behind the reply to STARTTLS; somebody may have \
                 injected them",
                self.peer.host,
                self.peer.ip
            );
            self.gone = true;
            return Err(Unusable::Injected);
        }
        let within = self.settings.timeouts.of(Stage::Handshake);
        let shaking = Box::pin(self.remote.start_tls(beginning.session));
        match rt::timeout(within, shaking).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(failed(TlsTrouble::Handshake(e))),
            Err(rt::Elapsed) => return Err(failed(TlsTrouble::TimedOut)),
        }
        let ending = beginning.ending;
        let tls = self.remote.with_tls(|session| ending.outcome(session));
        let tls = Rc::new(tls.unwrap_or_default());
        log_secured(self.remote.uuid(), &tls);
        self.peer.secured = true;
        self.peer.tls = TlsOutcome::Secured(tls);
        // RFC 3207 §4.2
        self.extensions = Extensions::default();
        self.peer.dsn = false;
        self.hello().await
    }

    /// PB-10: the host is left in order, and the message keeps an outcome.
    async fn without_tls(&mut self, why: Rc<str>, said: &str) -> Unusable {
        if !self.gone {
            drop(self.ask("QUIT\r\n", Stage::Quit).await);
            self.gone = true;
        }
        Unusable::NoTls {
            why,
            said: said.to_owned(),
        }
    }

    /// Tells the host which client it is talking to, where it takes that (SMC-06).
    pub(super) async fn introduce(&mut self) -> Result<(), Unusable> {
        let route = Rc::clone(&self.target.route);
        let Some(client) = route.xclient.as_ref().filter(|_| self.extensions.xclient) else {
            return Ok(());
        };
        let line = xclient_line(client);
        let reply = self.ask(&line, Stage::XClient).await?;
        if reply.is_success() {
            self.speaks_for = Some(client.clone());
            return self.hello().await;
        }
        if reply.code() == 421 {
            return Err(Unusable::Unavailable(reply));
        }
        if !reply.is_permanent() {
            return Err(Lost::Unexpected(Stage::XClient, reply).into());
        }
        // It is not for us.
        self.extensions.xclient = false;
        Ok(())
    }
}

fn xclient_line(client: &XClient) -> String {
    match client.addr.to_canonical() {
        IpAddr::V4(ip) => format!("XCLIENT ADDR={ip}\r\n"),
        IpAddr::V6(ip) => format!("XCLIENT ADDR=IPV6:{ip}\r\n"),
    }
}

/// OUT-43
fn log_secured(uuid: &Rc<str>, tls: &Tls) {
    if !enabled(Level::Info) {
        return;
    }
    let expires = tls.peer.as_ref().map(|peer| date::openssl(peer.not_after));
    let mut fields: Vec<(&str, Value<'_>)> = vec![
        (
            "verified",
            (if tls.verified { "true" } else { "false" }).into(),
        ),
        ("cipher", tls.cipher.into()),
        ("version", tls.version.into()),
    ];
    if let Some(error) = &tls.verify_error {
        fields.push(("error", (&**error).into()));
    }
    if let (Some(peer), Some(expires)) = (&tls.peer, &expires) {
        for (name, text) in [
            ("cn", &*peer.subject),
            ("organization", &peer.organization),
            ("issuer", &peer.issuer_organization),
            ("expires", expires),
            ("fingerprint", &peer.fingerprint),
        ] {
            fields.push((name, text.into()));
        }
    }
    emit(
        Level::Info,
        uuid,
        "outbound",
        &fields,
        format_args!("secured"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers SMC-06
    #[test]
    fn xclient_names_the_family_of_the_newer_addresses() {
        let line = |ip: &str| {
            xclient_line(&XClient {
                addr: ip.parse().unwrap(),
                helo: None,
            })
        };
        assert_eq!(line("192.0.2.1"), "XCLIENT ADDR=192.0.2.1\r\n");
        assert_eq!(line("::ffff:192.0.2.1"), "XCLIENT ADDR=192.0.2.1\r\n");
        assert_eq!(line("2001:db8::1"), "XCLIENT ADDR=IPV6:2001:db8::1\r\n");
    }
}
