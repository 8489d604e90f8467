//! STARTTLS: to whom it is offered, and what follows from the command (TLS-11, TLS-12, TLS-16,
//! TLS-19 to TLS-21, RFC 3207).
//!
//! The handshake itself, and which certificate is shown, are the session's.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haraka_shared::connection::Connection;
use haraka_shared::hook::{Code, HookName, Hooks, Message, UnknownCommand, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::no_tls::NoTls;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use haraka_shared::reply::Reply;
use haraka_shared::tls::{Tls as Session, TlsFailure};

/// See `docs/plugins/tls.md`.
pub struct Tls {
    /// Time for a handshake; `None` for as long as a client may be silent.
    within: Option<Duration>,
    failed: NoTls<IpAddr>,
}

impl Plugin for Tls {
    const NAME: &'static str = "tls";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Capabilities).called("advertise_starttls"),
        Wants::hook(HookName::UnrecognizedCommand).called("upgrade_connection"),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let limit = env.config.plugin_timeout(Self::NAME)?;
        // The answer has to come before the hook's own time is over.
        let within = limit.and_then(|limit| limit.checked_sub(Duration::from_secs(1)));
        Ok(Tls {
            within: within.filter(|time| !time.is_zero()),
            failed: NoTls::default(),
        })
    }
}

impl Hooks for Tls {
    async fn capabilities(&self, cx: &HookCx, (): ()) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        let port = connection.local.get().port;
        if !cx.services.offers_tls(port) {
            log_plugin!(Level::Error, cx, "no valid TLS config");
            return Verdict::CONT;
        }
        let config = cx.services.config();
        let ip = connection.remote_ip();
        if connection.tls.borrow().is_some()
            || config
                .tls
                .no_tls_hosts
                .iter()
                .any(|range| range.contains(ip))
            || config.tls.no_starttls_ports.contains(&port)
        {
            return Verdict::CONT;
        }
        if port != SUBMISSION
            && config.tls.disable_for_failed_hosts
            && self.failed.contains(&ip, Instant::now())
        {
            connection.results.push(Self::NAME, "msg", "no_tls");
            return Verdict {
                code: Code::Cont,
                message: Message::Text("STARTTLS disabled because previous attempt failed".into()),
            };
        }
        let keyword = "STARTTLS".to_owned();
        connection.capabilities.borrow_mut().push(keyword);
        connection.tls_advertised.set(true);
        Verdict::CONT
    }

    async fn unrecognized_command(&self, cx: &HookCx, command: UnknownCommand<'_>) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        // A response of AUTH is nobody else's, whatever it looks like.
        if command.secret
            || !connection.tls_advertised.get()
            || !command.verb.eq_ignore_ascii_case("STARTTLS")
        {
            return Verdict::CONT;
        }
        if connection.tls.borrow().is_some() {
            return refused(503, "TLS is already active");
        }
        if !command.rest.trim().is_empty() {
            // RFC 3207 §4
            return refused(501, "STARTTLS takes no parameters");
        }
        let go_ahead = Reply::new(220, "Go ahead.");
        match connection.start_tls(go_ahead, self.within).await {
            Ok(session) => {
                note(connection, &session);
                log_plugin!(Level::Info, cx, "{}", session.secured());
                Verdict::OK
            }
            Err(TlsFailure::NoCertificate) => refused(454, "TLS not available"),
            Err(failure) => {
                if failure == TlsFailure::TimedOut {
                    log_plugin!(Level::Notice, cx, "timeout setting up TLS");
                }
                self.remember(cx, connection.remote_ip());
                Verdict {
                    code: Code::DenySoftDisconnect,
                    message: Message::None,
                }
            }
        }
    }
}

impl Tls {
    /// TLS-16
    fn remember(&self, cx: &HookCx, ip: IpAddr) {
        let config = cx.services.config();
        if !config.tls.disable_for_failed_hosts {
            return;
        }
        let time = config.tls.disable_inbound_expiry;
        log_plugin!(
            Level::Notice,
            cx,
            "STARTTLS failed. Marking {ip} as non-TLS host for {} seconds",
            time.as_secs()
        );
        self.failed.remember(ip, Instant::now(), time);
    }
}

/// What other plugins find among the results.
fn note(connection: &Connection, session: &Rc<Session>) {
    let results = &connection.results;
    results.add(Tls::NAME, "enabled", true);
    results.add(Tls::NAME, "advertised", true);
    results.add(Tls::NAME, "verified", session.verified);
    results.add(Tls::NAME, "cipher", session.cipher_json());
    if let Some(error) = &session.verify_error {
        results.add(Tls::NAME, "verifyError", &**error);
    }
    results.add(Tls::NAME, "peerCertificate", session.peer_json());
}

fn refused(code: u16, text: &'static str) -> Verdict {
    Verdict {
        code: Code::Deny,
        message: Message::Reply(Reply::new(code, text)),
    }
}

/// Users send from here, whose programs are told to use TLS: nobody is remembered as unable to.
const SUBMISSION: u16 = 587;
