//! auth/auth_vpopmaild: vpopmail's daemon knows the passwords (PI1-05).
//!
//! `slogin` asks whether a password is right; with the rights of an administrator `user_info` gives
//! it in the clear, which CRAM-MD5 needs. Words of its protocol are parted by blanks and lines, so
//! names and passwords that would break out of theirs are refused without asking.

use std::collections::HashMap;
use std::time::Duration;

use haraka_shared::config::{ConfigDir, Ini, Live, Warning};
use haraka_shared::connection::Connection;
use haraka_shared::dial::{DialError, Dialogue, Endpoint};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};
use zeroize::Zeroizing;

use super::backend::{Answer, Backend, Rules};
use super::mechanism::{CramMd5, Mechanism, printable};
use super::patience::{self, Patience};
use super::secret::Secret;

const FILE: &str = "auth_vpopmaild.ini";
const HOST: &str = "127.0.0.1";
const PORT: u16 = 89;
/// Haraka's limit.
const WITHIN: Duration = Duration::from_secs(300);
/// Octets of a line; users' names and passwords are shorter.
const LONGEST: usize = 1024;
/// Lines about a user; vpopmail has about 20.
const MOST_LINES: usize = 200;

/// See `docs/plugins/auth/auth_vpopmaild.md`.
pub struct AuthVpopmaild {
    settings: Live<Settings>,
    within: Duration,
}

struct Settings {
    main: Server,
    /// By domain in lower case.
    domains: HashMap<String, Server>,
    constrain_sender: bool,
}

/// A daemon; what a section leaves out has its default, not what `[main]` says.
struct Server {
    at: Endpoint,
    /// An administrator's name and password.
    sysadmin: Option<(String, Secret)>,
}

impl Server {
    fn read(ini: &Ini, section: &str) -> Result<Server, PluginError> {
        let host = ini.text(section, "host").unwrap_or(HOST);
        let mut at =
            Endpoint::parse(host, PORT).map_err(|e| ini.error(section, "host", e.to_string()))?;
        if let Some(port) = ini.text(section, "port") {
            at.port = port
                .parse()
                .map_err(|_| ini.error(section, "port", format!("{port:?} is not a port")))?;
        }
        let sysadmin = match ini.text(section, "sysadmin").map(|s| s.split_once(':')) {
            None => None,
            Some(Some((user, password))) if is_word(user) && is_rest(password.as_bytes()) => {
                Some((user.to_owned(), Secret::from(password)))
            }
            Some(_) => {
                return Err(ini
                    .error(section, "sysadmin", "is not user:password")
                    .into());
            }
        };
        Ok(Server { at, sysadmin })
    }
}

impl Settings {
    fn load(config: &ConfigDir, _: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let mut domains = HashMap::new();
        for section in ini.sections().filter(|s| s.name != "main") {
            domains.insert(
                section.name.to_lowercase(),
                Server::read(&ini, &section.name)?,
            );
        }
        Ok(Settings {
            main: Server::read(&ini, "main")?,
            domains,
            constrain_sender: ini.bool("main", "constrain_sender", true),
        })
    }

    fn server(&self, user: &str) -> &Server {
        let domain = user.split('@').nth(1).unwrap_or_default();
        self.domains
            .get(&domain.to_lowercase())
            .unwrap_or(&self.main)
    }
}

impl Backend for AuthVpopmaild {
    const NAME: &'static str = "auth/auth_vpopmaild";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(AuthVpopmaild {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            within: patience::limit(env, Self::NAME, WITHIN)?,
        })
    }

    fn offers(&self, connection: &Connection) -> Vec<Mechanism> {
        if connection.tls.borrow().is_none() {
            return Vec::new();
        }
        let mut offers = vec![Mechanism::Plain, Mechanism::Login];
        if self.settings.get().main.sysadmin.is_some() {
            offers.push(Mechanism::CramMd5);
        }
        offers
    }

    fn rules(&self) -> Rules {
        Rules {
            constrain_sender: self.settings.get().constrain_sender,
            blankout_password: true,
            ..Rules::default()
        }
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        if !is_word(user) || !is_rest(password.expose()) {
            return Answer::refused();
        }
        let settings = self.settings.get();
        let patience = Patience::of(self.within);
        let found = async {
            let mut talk = Talk::begin(cx, settings.server(user), patience).await?;
            let right = talk.log_in(user, password).await?;
            talk.part().await;
            Ok(right)
        };
        match found.await {
            Ok(right) => {
                let user = printable(user);
                log_plugin!(Level::Info, cx, "AUTH user=\"{user}\" success={right}");
                Answer::accept_if(right)
            }
            Err(e) => unavailable(cx, user, &e),
        }
    }

    async fn check_cram_md5(&self, cx: &HookCx, login: &CramMd5) -> Answer {
        let settings = self.settings.get();
        let server = settings.server(&login.user);
        let Some((name, password)) = &server.sysadmin else {
            log_plugin!(Level::Error, cx, "missing sysadmin credentials");
            return Answer::refused();
        };
        if !is_word(&login.user) {
            return Answer::refused();
        }
        let patience = Patience::of(self.within);
        let found = async {
            let mut talk = Talk::begin(cx, server, patience).await?;
            if !talk.log_in(name, password).await? {
                return Err(VpopmaildError::Sysadmin);
            }
            let known = talk.clear_password(&login.user).await?;
            talk.part().await;
            Ok(known)
        };
        match found.await {
            Ok(Some(known)) => Answer::accept_if(login.proves(&known)),
            Ok(None) => Answer::refused(),
            Err(e) => unavailable(cx, &login.user, &e),
        }
    }
}

/// Why the daemon could not tell.
#[derive(Debug, thiserror::Error)]
enum VpopmaildError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("vpopmaild closed")]
    Closed,
    #[error("unexpected answer: {0}")]
    Answer(String),
    #[error("sysadmin login failed")]
    Sysadmin,
}

fn unavailable(cx: &HookCx, user: &str, e: &VpopmaildError) -> Answer {
    let user = printable(user);
    log_plugin!(Level::Error, cx, "AUTH user=\"{user}\" vpopmaild: {e}");
    Answer::unavailable()
}

/// A word of the protocol.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// What may stand at the end of a line, blanks included.
fn is_rest(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().any(u8::is_ascii_control)
}

struct Talk {
    link: Box<dyn Dialogue>,
    patience: Patience,
}

impl Talk {
    async fn begin(
        cx: &HookCx,
        server: &Server,
        patience: Patience,
    ) -> Result<Talk, VpopmaildError> {
        log_plugin!(Level::Debug, cx, "sock: {}", server.at);
        let link = cx.services.dial(&server.at, patience.left()).await?;
        let mut talk = Talk { link, patience };
        let greeting = talk.line().await?;
        if greeting.starts_with("+OK") {
            Ok(talk)
        } else {
            Err(VpopmaildError::Answer(greeting.to_string()))
        }
    }

    /// Lines end the way Haraka ends them, which vpopmaild is known to take.
    async fn say(&mut self, parts: &[&[u8]]) -> Result<(), VpopmaildError> {
        let mut line = Zeroizing::new(parts.join(&b' '));
        line.extend_from_slice(b"\n\r");
        self.link.limit(self.patience.left());
        Ok(self.link.write_all(&line).await?)
    }

    async fn line(&mut self) -> Result<Zeroizing<String>, VpopmaildError> {
        self.link.limit(self.patience.left());
        let line = self.link.read_line(LONGEST).await?;
        let line = Zeroizing::new(line.ok_or(VpopmaildError::Closed)?);
        Ok(Zeroizing::new(String::from_utf8_lossy(&line).into_owned()))
    }

    async fn log_in(&mut self, user: &str, password: &Secret) -> Result<bool, VpopmaildError> {
        self.say(&[b"slogin", user.as_bytes(), password.expose()])
            .await?;
        let answer = self.line().await?;
        match &*answer {
            yes if yes.starts_with("+OK") => Ok(true),
            no if no.starts_with("-ERR") => Ok(false),
            other => Err(VpopmaildError::Answer(other.to_owned())),
        }
    }

    /// `None` if there is no such user, or only a hash of the password.
    async fn clear_password(&mut self, user: &str) -> Result<Option<Secret>, VpopmaildError> {
        self.say(&[b"user_info", user.as_bytes()]).await?;
        for _ in 0..MOST_LINES {
            let line = self.line().await?;
            if line.starts_with("-ERR") || &**line == "." {
                return Ok(None);
            }
            let mut words = line.split_whitespace();
            if words.next() == Some("clear_text_password")
                && let Some(password) = words.next()
            {
                return Ok(Some(Secret::from(password)));
            }
        }
        Err(VpopmaildError::Answer("too many lines".to_owned()))
    }

    async fn part(&mut self) {
        // A farewell to which nothing is owed.
        drop(self.say(&[b"quit"]).await);
    }
}
