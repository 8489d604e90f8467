//! Logging in to a host that a route has credentials for (OUT-44, SMC-08).
//!
//! A password that others could read on the way is not sent, and none is ever logged.

use std::rc::Rc;

use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::reply::Reply;

use super::attempt::{Lost, Stage, Unusable};
use super::client::Client;
use super::route::Place;
use super::sasl::{Credentials, Exchange, Mechanism, choose};

/// Longest command line (RFC 5321 §4.5.3.1.4); what does not fit waits for a 334 (RFC 4954 §4).
const LONGEST_LINE: usize = 512;

impl Client {
    /// Logs in, if there is somebody to log in as. Without a mechanism that both sides know, the
    /// message goes without, as in Haraka; with `must` the host is of no use then.
    pub(super) async fn log_in(&mut self, must: bool) -> Result<(), Unusable> {
        let route = Rc::clone(&self.target.route);
        let (Some(user), Some(password)) = (&route.auth_user, &route.auth_pass) else {
            return Ok(());
        };
        let wanted = route.auth_type.as_deref().filter(|w| !w.is_empty());
        let Some(mechanism) = choose(wanted, &self.extensions.auth) else {
            let text = self.no_mechanism(wanted);
            if must {
                return Err(Unusable::NoLogin(text));
            }
            log_at!(Level::Warn, self.remote.uuid(), "outbound", [], "{text}");
            return Ok(());
        };
        if mechanism.shows_password() && !self.is_private() {
            return Err(Unusable::NoLogin(format!(
                "AUTH {} would show the password to anyone on the way, as {} was not brought under \
                 TLS; auth_in_clear in outbound.ini allows it",
                mechanism.name(),
                self.target.host
            )));
        }
        let credentials = Credentials { user, password };
        let reply = Box::pin(self.converse(mechanism, credentials)).await?;
        if reply.is_success() {
            self.peer.authenticated = true;
            return Ok(());
        }
        log_at!(
            Level::Error,
            self.remote.uuid(),
            "outbound",
            [],
            "AUTH {} as {user:?} at {} failed: {reply}",
            mechanism.name(),
            self.target.host
        );
        if !self.gone && reply.code() != 421 {
            drop(self.ask("QUIT\r\n", Stage::Quit).await);
        }
        self.gone = true;
        Err(Unusable::Login(reply))
    }

    fn no_mechanism(&self, wanted: Option<&str>) -> String {
        let host = &self.target.host;
        if self.extensions.auth.is_empty() {
            return format!("AUTH configured for host {host}, which did not advertise AUTH");
        }
        let requested = wanted.map(|w| format!(" (requested: {w})"));
        format!(
            "AUTH configured for host {host}, which did not offer any compatible types{} (offered: {})",
            requested.unwrap_or_default(),
            self.extensions.auth.join(",")
        )
    }

    /// Whether nobody can listen, or nobody minds.
    fn is_private(&self) -> bool {
        let local = match &self.target.place {
            Place::Socket(address) => address.ip().to_canonical().is_loopback(),
            Place::Path(_) => true,
        };
        local || self.peer.secured || self.settings.auth_in_clear
    }

    /// The host's last word.
    async fn converse(
        &mut self,
        mechanism: Mechanism,
        credentials: Credentials<'_>,
    ) -> Result<Reply, Lost> {
        let mut exchange = Exchange::new(mechanism, credentials);
        let mut line = format!("AUTH {}", mechanism.name());
        if let Some(initial) = exchange.initial() {
            if line.len() + initial.len() + 3 <= LONGEST_LINE {
                line = format!("{line} {initial}");
            } else {
                exchange.put_off();
            }
        }
        line.push_str("\r\n");
        let mut reply = self.ask(&line, Stage::Auth).await?;
        while reply.code() == 334 {
            let answer = exchange.answer(reply.text());
            // RFC 4954 §4: this takes the login back, and the host says 501.
            let line = answer.clone().unwrap_or_else(|| "*".to_owned()) + "\r\n";
            reply = self.ask_secretly(&line, Stage::Auth).await?;
            if answer.is_none() && reply.code() == 334 {
                self.gone = true;
                return Err(Lost::Unexpected(Stage::Auth, reply));
            }
        }
        Ok(reply)
    }
}
