//! Logs a user in at SMTP servers, to see whether the password is right (PI1-03, PI1-04).
//!
//! Owns the dialogue with one server after the other. Only an answer to AUTH says that a password is
//! wrong; whatever else goes wrong is that server's trouble, and the next one is asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haraka_shared::dial::{DialError, Dialogue, Endpoint, Trust};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::HookCx;
use haraka_shared::reply::{Reply, ReplyError, ReplyParser};
use haraka_shared::route::Host;
use zeroize::Zeroizing;

use super::backend::Answer;
use super::mechanism::{Mechanism, printable};
use super::patience::Patience;
use super::secret::Secret;

/// Why a server could not say whether the password is right.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    /// No connection, or it broke.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Not SMTP.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The server closed without an answer.
    #[error("closed before {0} was answered")]
    Closed(&'static str),
    /// It does not go on.
    #[error("{at} was answered: {} {}", .reply.code(), .reply.text())]
    Refused {
        /// What.
        at: &'static str,
        /// By what.
        reply: Reply,
    },
    /// It offers neither PLAIN nor LOGIN.
    #[error("no compatible AUTH methods")]
    NoMechanism,
}

/// Who wants to log in, and how servers are to be treated.
pub(super) struct Attempt<'a> {
    /// The name that the client gave.
    pub(super) user: &'a str,
    /// The password that it gave.
    pub(super) password: &'a Secret,
    /// Certificates of servers that are not on this machine.
    pub(super) trust: Trust,
}

impl Attempt<'_> {
    /// Asks one server after the other until one says yes or no.
    pub(super) async fn at(&self, cx: &HookCx, servers: &[Endpoint], patience: Patience) -> Answer {
        let user = printable(self.user);
        // A NUL would move the borders of the PLAIN response (RFC 4616 §2).
        if self.user.contains('\0') || self.password.expose().contains(&0) {
            return Answer::refused();
        }
        for (tried, server) in servers.iter().enumerate() {
            log_plugin!(Level::Debug, cx, "attempting connection to {server}");
            let share = patience.share(servers.len() - tried - 1);
            match Box::pin(self.one(cx, server, share)).await {
                Ok(right) => {
                    let host = &server.host;
                    log_plugin!(
                        Level::Info,
                        cx,
                        "AUTH user=\"{user}\" host=\"{host}\" success={right}"
                    );
                    return Answer::accept_if(right);
                }
                Err(e) => {
                    log_plugin!(Level::Error, cx, "AUTH user=\"{user}\" at {server}: {e}");
                }
            }
        }
        Answer::unavailable()
    }

    async fn one(
        &self,
        cx: &HookCx,
        server: &Endpoint,
        patience: Patience,
    ) -> Result<bool, LoginError> {
        let link = cx.services.dial(server, patience.left()).await?;
        let mut talk = Talk {
            link,
            replies: ReplyParser::new(),
            patience,
            cx,
        };
        let found = self.converse(&mut talk, server).await;
        let in_step = matches!(
            found,
            Ok(_) | Err(LoginError::Refused { .. } | LoginError::NoMechanism)
        );
        if in_step {
            // A farewell to which nothing is owed.
            drop(talk.say("QUIT", "QUIT").await);
        }
        found
    }

    async fn converse(&self, talk: &mut Talk<'_>, server: &Endpoint) -> Result<bool, LoginError> {
        positive(talk.reply("the connection").await?, "the connection")?;
        let me = &talk.cx.services.config().me;
        let hello = format!("EHLO {me}");
        let mut offers = positive(talk.command(&hello, "EHLO").await?, "EHLO")?;
        if offered(&offers, "STARTTLS").is_some() {
            positive(talk.command("STARTTLS", "STARTTLS").await?, "STARTTLS")?;
            let (name, trust) = self.identity(server);
            talk.link.limit(talk.patience.left());
            talk.link.start_tls(&name, trust).await?;
            offers = positive(talk.command(&hello, "EHLO").await?, "EHLO")?;
        }
        let names = offered(&offers, "AUTH").unwrap_or_default();
        let named = |m: Mechanism| {
            names
                .split_whitespace()
                .any(|n| Mechanism::parse(n) == Some(m))
        };
        let mechanism = [Mechanism::Plain, Mechanism::Login]
            .into_iter()
            .find(|m| named(*m))
            .ok_or(LoginError::NoMechanism)?;
        if talk.login(mechanism, self.user, self.password).await? {
            return Ok(true);
        }
        // Servers for one domain often know their users without it.
        match self.user.split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                talk.login(mechanism, local, self.password).await
            }
            _ => Ok(false),
        }
    }

    /// Under which name the server must have a certificate. What does not leave this machine needs
    /// none that others trust.
    fn identity(&self, server: &Endpoint) -> (String, Trust) {
        match &server.host {
            Host::Path(_) => ("localhost".to_owned(), Trust::Anyone),
            Host::Ip(ip) if ip.is_loopback() => (ip.to_string(), Trust::Anyone),
            Host::Ip(ip) => (ip.to_string(), self.trust),
            Host::Name(name) if name == "localhost" => (name.clone(), Trust::Anyone),
            Host::Name(name) => (name.clone(), self.trust),
        }
    }
}

fn positive(reply: Reply, at: &'static str) -> Result<Reply, LoginError> {
    if reply.is_success() {
        Ok(reply)
    } else {
        Err(LoginError::Refused { at, reply })
    }
}

/// The parameters of an extension, if it is offered. The first line is the server's name.
fn offered<'a>(offers: &'a Reply, extension: &str) -> Option<&'a str> {
    offers.lines().skip(1).find_map(|line| {
        let (keyword, parameters) = line.split_once(' ').unwrap_or((line, ""));
        keyword
            .eq_ignore_ascii_case(extension)
            .then_some(parameters)
    })
}

/// The dialogue with one server.
struct Talk<'a> {
    link: Box<dyn Dialogue>,
    replies: ReplyParser,
    patience: Patience,
    cx: &'a HookCx,
}

impl Talk<'_> {
    /// Sends a line; `shown` is what the log may see of it.
    async fn say(&mut self, line: &str, shown: &str) -> Result<(), LoginError> {
        log_plugin!(Level::Protocol, self.cx, "C: {shown}");
        let line = Zeroizing::new(format!("{line}\r\n"));
        self.link.limit(self.patience.left());
        Ok(self.link.write_all(line.as_bytes()).await?)
    }

    async fn command(&mut self, line: &str, at: &'static str) -> Result<Reply, LoginError> {
        self.say(line, line).await?;
        self.reply(at).await
    }

    async fn reply(&mut self, to: &'static str) -> Result<Reply, LoginError> {
        loop {
            self.link.limit(self.patience.left());
            let line = self.link.read_line(ReplyParser::MAX_LINE).await?;
            let mut line = line.ok_or(LoginError::Closed(to))?;
            log_plugin!(
                Level::Protocol,
                self.cx,
                "S: {}",
                String::from_utf8_lossy(&line)
            );
            line.push(b'\n');
            if let Some(reply) = self.replies.feed(&line)?.reply {
                return Ok(reply);
            }
        }
    }

    /// Whether the server takes this user and password; any permanent refusal says no.
    async fn login(
        &mut self,
        mechanism: Mechanism,
        user: &str,
        password: &Secret,
    ) -> Result<bool, LoginError> {
        let reply = match mechanism {
            Mechanism::Login => {
                self.say("AUTH LOGIN", "AUTH LOGIN").await?;
                self.respond(user.as_bytes()).await?;
                self.respond(password.expose()).await?;
                self.reply("AUTH").await?
            }
            _ => {
                let mut response = Zeroizing::new(Vec::new());
                response.push(0);
                response.extend_from_slice(user.as_bytes());
                response.push(0);
                response.extend_from_slice(password.expose());
                let coded = Zeroizing::new(STANDARD.encode(&*response));
                let line = Zeroizing::new(format!("AUTH PLAIN {}", &*coded));
                self.say(&line, "AUTH PLAIN [redacted]").await?;
                self.reply("AUTH").await?
            }
        };
        match reply.code() {
            200..=299 => Ok(true),
            500..=599 => Ok(false),
            _ => Err(LoginError::Refused { at: "AUTH", reply }),
        }
    }

    /// Answers a challenge of LOGIN. Its text counts for nothing: servers word it differently.
    async fn respond(&mut self, response: &[u8]) -> Result<(), LoginError> {
        let reply = self.reply("AUTH").await?;
        if reply.code() != 334 {
            return Err(LoginError::Refused { at: "AUTH", reply });
        }
        let coded = Zeroizing::new(STANDARD.encode(response));
        self.say(&coded, "[redacted]").await
    }
}
