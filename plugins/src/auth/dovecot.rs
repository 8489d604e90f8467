//! auth/dovecot: Dovecot's authentication service knows the passwords.
//!
//! Speaks version 1 of its protocol for clients. Each login has a connection of its own. Whatever
//! mechanism the client uses with us, Dovecot is asked by PLAIN; it makes the challenges of CRAM-MD5
//! itself, so that is not offered.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haraka_shared::config::kinds::Count;
use haraka_shared::config::{ConfigDir, Live, Warning};
use haraka_shared::connection::Connection;
use haraka_shared::dial::{DialError, Dialogue, Endpoint};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};
use zeroize::Zeroizing;

use super::backend::{Answer, Backend, Rules};
use super::mechanism::{Mechanism, printable};
use super::patience::{self, Patience};
use super::secret::Secret;

const FILE: &str = "auth_dovecot.ini";
const SOCKET: &str = "/run/dovecot/auth-client";
/// Where a server is configured without a port; Dovecot has none of its own.
const PORT: u16 = 12345;
/// Octets of a line; Dovecot's own bound.
const LONGEST: usize = 16384;
/// Lines before the answer: the handshake has one for each mechanism.
const MOST_LINES: usize = 200;
/// The number of our only request.
const ID: &str = "1";

/// See `docs/plugins/auth/dovecot.md`.
pub struct Dovecot {
    settings: Live<Settings>,
    most: Option<Duration>,
}

struct Settings {
    server: Endpoint,
    within: Duration,
    rules: Rules,
}

impl Settings {
    fn load(config: &ConfigDir, _: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let server = ini.text("main", "server").unwrap_or(SOCKET);
        let server = Endpoint::parse(server, PORT)
            .map_err(|e| ini.error("main", "server", e.to_string()))?;
        let within = ini.read("main", "timeout", &Count::<u32>::new(1, 3600))?;
        Ok(Settings {
            server,
            within: Duration::from_secs(within.unwrap_or(30).into()),
            rules: Rules {
                max_failures: ini
                    .read("main", "max_failures", &Count::<u32>::new(0, 1_000_000))?
                    .unwrap_or(Rules::MAX_FAILURES),
                constrain_sender: ini.bool("main", "constrain_sender", true),
                blankout_password: true,
            },
        })
    }
}

impl Backend for Dovecot {
    const NAME: &'static str = "auth/dovecot";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Dovecot {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            most: patience::most(env, Self::NAME)?,
        })
    }

    fn rules(&self) -> Rules {
        self.settings.get().rules
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        // A NUL would move the borders of the PLAIN response (RFC 4616 section 2).
        if user.contains('\0') || password.expose().contains(&0) {
            return Answer::refused();
        }
        let settings = self.settings.get();
        let within = self
            .most
            .map_or(settings.within, |m| m.min(settings.within));
        let request = cx
            .connection
            .as_ref()
            .map(|connection| request(connection, user, password))
            .unwrap_or_default();
        let patience = Patience::of(within);
        let shown = printable(user);
        match Box::pin(ask(cx, &settings.server, &request, patience)).await {
            Ok(Found::Right(name)) => {
                let name = printable(&name);
                log_plugin!(Level::Info, cx, "AUTH user=\"{shown}\" dovecot=\"{name}\"");
                Answer::accepted()
            }
            Ok(Found::Wrong) => Answer::refused(),
            Ok(Found::Disabled(why)) => {
                let why = printable(&why);
                log_plugin!(Level::Notice, cx, "AUTH user=\"{shown}\" refused: {why}");
                Answer::refused()
            }
            Ok(Found::Later(why)) => {
                let why = printable(&why);
                log_plugin!(Level::Error, cx, "AUTH user=\"{shown}\" later: {why}");
                Answer::unavailable()
            }
            Err(e) => {
                let server = &settings.server;
                log_plugin!(Level::Error, cx, "AUTH user=\"{shown}\" at {server}: {e}");
                Answer::unavailable()
            }
        }
    }
}

/// Why Dovecot could not tell.
#[derive(Debug, thiserror::Error)]
enum DovecotError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("closed without an answer")]
    Closed,
    #[error("speaks version {0:?} of the protocol, not 1")]
    Version(String),
    #[error("does not offer PLAIN")]
    NoPlain,
    #[error("unexpected line: {0:?}")]
    Line(String),
    #[error("too many lines")]
    TooMany,
}

/// What Dovecot says of a login.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Under this name; the user database may have changed it.
    Right(String),
    Wrong,
    /// The password may be right, but may not be used.
    Disabled(String),
    Later(String),
}

async fn ask(
    cx: &HookCx,
    server: &Endpoint,
    request: &[u8],
    patience: Patience,
) -> Result<Found, DovecotError> {
    let link = cx.services.dial(server, patience.left()).await?;
    let mut talk = Talk { link, patience };
    let hello = format!("VERSION\t1\t2\nCPID\t{}\n", std::process::id());
    talk.say(hello.as_bytes()).await?;
    let mut offers_plain = false;
    for _ in 0..MOST_LINES {
        let line = talk.line().await?;
        let (word, rest) = line.split_once('\t').unwrap_or((&line, ""));
        match word {
            "VERSION" => {
                let major = rest.split('\t').next().unwrap_or_default();
                if major != "1" {
                    return Err(DovecotError::Version(major.to_owned()));
                }
            }
            "MECH" => {
                let name = rest.split('\t').next().unwrap_or_default();
                offers_plain |= Mechanism::parse(name) == Some(Mechanism::Plain);
            }
            "DONE" if offers_plain => {
                talk.say(request).await?;
                return talk.answer().await;
            }
            "DONE" => return Err(DovecotError::NoPlain),
            // SPID, CUID, COOKIE and what versions to come may add.
            _ => {}
        }
    }
    Err(DovecotError::TooMany)
}

/// The only request on its connection.
fn request(connection: &Connection, user: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    let mut response = Zeroizing::new(Vec::new());
    response.push(0);
    response.extend_from_slice(user.as_bytes());
    response.push(0);
    response.extend_from_slice(password.expose());
    let response = Zeroizing::new(STANDARD.encode(&*response));
    let (local, remote) = (connection.local.get(), connection.remote.borrow());
    let secured = match &*connection.tls.borrow() {
        Some(_) => "\tsecured=tls",
        // Whoever could log in in the clear is on this machine.
        None if remote.is_local => "\tsecured",
        None => "",
    };
    // `resp` has to be the last one.
    let line = Zeroizing::new(format!(
        "AUTH\t{ID}\tPLAIN\tservice=smtp{secured}\tlip={}\trip={}\tlport={}\trport={}\tresp={}\n",
        local.ip, remote.ip, local.port, remote.port, &*response
    ));
    Zeroizing::new(line.as_bytes().to_vec())
}

/// What a line says of our request; none if it is about something else.
fn found(line: &str) -> Result<Option<Found>, DovecotError> {
    let mut words = line.split('\t');
    let word = words.next().unwrap_or_default();
    if words.next() != Some(ID) {
        return Ok(None);
    }
    let parameters: Vec<(&str, String)> = words
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(name, value)| (name, unescape(value)))
        .collect();
    let value = |name: &str| {
        let found = parameters.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.clone())
    };
    match word {
        "OK" => Ok(Some(Found::Right(value("user").unwrap_or_default()))),
        "FAIL" => {
            let reason = value("reason").unwrap_or_default();
            let code = value("code").unwrap_or_default();
            let disabled = ["user_disabled", "pass_expired"];
            Ok(Some(if value("temp").is_some() || code == "temp_fail" {
                Found::Later(reason)
            } else if disabled.iter().any(|d| value(d).is_some() || code == *d) {
                Found::Disabled(format!("{code} {reason}").trim().to_owned())
            } else {
                Found::Wrong
            }))
        }
        _ => Err(DovecotError::Line(word.to_owned())),
    }
}

/// Undoes the protocol's escapes of tabs and line ends.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\u{1}' => match rest.next() {
                Some('0') => '\0',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('l') => '\n',
                Some('1') => '\u{1}',
                Some(other) => other,
                None => break,
            },
            c => c,
        });
    }
    plain
}

struct Talk {
    link: Box<dyn Dialogue>,
    patience: Patience,
}

impl Talk {
    async fn say(&mut self, octets: &[u8]) -> Result<(), DovecotError> {
        self.link.limit(self.patience.left());
        Ok(self.link.write_all(octets).await?)
    }

    async fn line(&mut self) -> Result<String, DovecotError> {
        self.link.limit(self.patience.left());
        let line = self.link.read_line(LONGEST).await?;
        let line = line.ok_or(DovecotError::Closed)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    async fn answer(&mut self) -> Result<Found, DovecotError> {
        for _ in 0..MOST_LINES {
            if let Some(found) = found(&self.line().await?)? {
                return Ok(found);
            }
        }
        Err(DovecotError::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use haraka_shared::connection::Local;

    use super::*;

    fn client(ip: &str) -> Connection {
        let ip = ip.parse().unwrap();
        let local = Local { ip, port: 587 };
        Connection::new(ip, 4321, local, Instant::now())
    }

    #[test]
    fn request_says_who_asks_from_where_and_ends_with_the_response() {
        let ask = |connection: &Connection| {
            let line = request(connection, "u", &Secret::from("p"));
            String::from_utf8(line.to_vec()).unwrap()
        };
        let far = client("192.0.2.1");
        assert_eq!(
            ask(&far),
            "AUTH\t1\tPLAIN\tservice=smtp\tlip=192.0.2.1\trip=192.0.2.1\tlport=587\trport=4321\tresp=AHUAcA==\n"
        );
        assert!(ask(&client("127.0.0.1")).contains("\tsecured\t"));
        *far.tls.borrow_mut() = Some(haraka_shared::tls::Tls::default().into());
        assert!(ask(&far).contains("\tsecured=tls\t"));
    }

    #[test]
    fn answers_are_told_apart() {
        for (line, awaited) in [
            ("OK\t1\tuser=anna", Found::Right("anna".into())),
            ("OK\t1\tuser=a\u{1}tb\tx", Found::Right("a\tb".into())),
            ("FAIL\t1\tuser=anna", Found::Wrong),
            ("FAIL\t1\tuser=anna\tauthz", Found::Wrong),
            ("FAIL\t1\ttemp\treason=no db", Found::Later("no db".into())),
            ("FAIL\t1\tcode=temp_fail", Found::Later(String::new())),
            ("FAIL\t1\tuser_disabled", Found::Disabled(String::new())),
            (
                "FAIL\t1\tcode=pass_expired\treason=old",
                Found::Disabled("pass_expired old".into()),
            ),
        ] {
            assert_eq!(found(line).unwrap(), Some(awaited), "{line:?}");
        }
        for other in ["OK\t2\tuser=anna", "FAIL", "", "NOTFOUND\t7"] {
            assert_eq!(found(other).unwrap(), None, "{other:?}");
        }
        assert!(found("CONT\t1\tabc").is_err());
    }
}
