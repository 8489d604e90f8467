//! auth/dovecot: Dovecot's auth service knows the passwords, over the protocol that its own login
//! processes and Postfix and Exim speak to it.
//!
//! One conversation for each login: handshake, one AUTH, its answer. The client's mechanism ends
//! here; Dovecot gets PLAIN, or LOGIN where it has no other.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haraka_shared::config::{ConfigDir, Live, Warning};
use haraka_shared::connection::Connection;
use haraka_shared::dial::{DialError, Dialogue, Endpoint};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};
use haraka_shared::route::Host;
use zeroize::Zeroizing;

use super::backend::{Answer, Backend, Rules};
use super::mechanism::{Mechanism, printable};
use super::patience::{self, Patience};
use super::secret::Secret;

const FILE: &str = "auth_dovecot.ini";
/// Where Dovecot's documentation has other mail servers find it.
const PATH: &str = "/var/run/dovecot/auth-client";
const WITHIN: Duration = Duration::from_secs(30);
/// Dovecot's own limit for a line of this protocol.
const LONGEST: usize = 8192;
/// Lines of a handshake; each mechanism has one.
const MOST_LINES: usize = 100;
/// Of the protocol. Servers with another first number are not understood.
const VERSION: (u32, u32) = (1, 1);

/// See `docs/plugins/auth/dovecot.md`.
pub struct Dovecot {
    settings: Live<Settings>,
    within: Duration,
}

struct Settings {
    server: Endpoint,
    constrain_sender: bool,
}

impl Settings {
    fn load(config: &ConfigDir, _: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let text = ini.text("main", "socket").unwrap_or(PATH);
        let server =
            Endpoint::parse(text, 0).map_err(|e| ini.error("main", "socket", e.to_string()))?;
        if server.port == 0 && !matches!(server.host, Host::Path(_)) {
            let why = format!("{text:?} is neither a path nor host:port");
            return Err(ini.error("main", "socket", why).into());
        }
        Ok(Settings {
            server,
            constrain_sender: ini.bool("main", "constrain_sender", false),
        })
    }
}

impl Backend for Dovecot {
    const NAME: &'static str = "auth/dovecot";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Dovecot {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            within: patience::limit(env, Self::NAME, WITHIN)?,
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            constrain_sender: self.settings.get().constrain_sender,
            ..Rules::default()
        }
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        // A NUL would move the borders of the response (RFC 4616 §2).
        if user.contains('\0') || password.expose().contains(&0) {
            return Answer::refused();
        }
        let patience = Patience::of(self.within);
        let shown = printable(user);
        let settings = self.settings.get();
        match ask(cx, &settings.server, patience, user, password).await {
            Ok(Said::Ok) => {
                log_plugin!(Level::Info, cx, "AUTH user=\"{shown}\" success=true");
                Answer::accepted()
            }
            Ok(Said::Fail { temporary, reason }) => {
                let reason = reason.map_or_else(String::new, |r| format!(" reason=\"{r}\""));
                log_plugin!(
                    Level::Info,
                    cx,
                    "AUTH user=\"{shown}\" success=false temporary={temporary}{reason}"
                );
                match temporary {
                    true => Answer::unavailable(),
                    false => Answer::refused(),
                }
            }
            Err(e) => {
                log_plugin!(Level::Error, cx, "AUTH user=\"{shown}\" dovecot: {e}");
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
    #[error("it closed")]
    Closed,
    #[error("it speaks version {0:?}")]
    Version(String),
    #[error("it offers neither PLAIN nor LOGIN")]
    NoMechanism,
    #[error("unexpected line: {0}")]
    Line(String),
}

/// What Dovecot says in the end.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ok,
    Fail {
        /// Nobody could tell now, or too many tried.
        temporary: bool,
        reason: Option<String>,
    },
}

async fn ask(
    cx: &HookCx,
    server: &Endpoint,
    patience: Patience,
    user: &str,
    password: &Secret,
) -> Result<Said, DovecotError> {
    let mut talk = Talk {
        link: cx.services.dial(server, patience.left()).await?,
        patience,
    };
    let (major, minor) = VERSION;
    let pid = std::process::id();
    talk.say(&format!("VERSION\t{major}\t{minor}\nCPID\t{pid}\n"))
        .await?;
    let mechanism = talk.handshake().await?;
    let about = cx.connection.as_ref().map(about).unwrap_or_default();
    let mut request = Zeroizing::new(format!(
        "AUTH\t1\t{}\tservice=smtp{about}",
        mechanism.name()
    ));
    if mechanism == Mechanism::Plain {
        let mut response = Zeroizing::new(vec![0]);
        response.extend_from_slice(user.as_bytes());
        response.push(0);
        response.extend_from_slice(password.expose());
        // The last of the parameters, as Dovecot has it.
        let coded = Zeroizing::new(STANDARD.encode(&*response));
        request.push_str("\tresp=");
        request.push_str(&coded);
    }
    request.push('\n');
    talk.say(&request).await?;
    let mut responses = [user.as_bytes(), password.expose()].into_iter();
    loop {
        let line = talk.line().await?;
        let mut fields = line.split('\t');
        match (fields.next(), fields.next()) {
            (Some("OK"), Some("1")) => return Ok(Said::Ok),
            (Some("FAIL"), Some("1")) => return Ok(failure(fields)),
            (Some("CONT"), Some("1")) if mechanism == Mechanism::Login => {
                let next = responses.next();
                let next = next.ok_or_else(|| DovecotError::Line(line.clone()))?;
                let coded = Zeroizing::new(STANDARD.encode(next));
                talk.say(&Zeroizing::new(format!("CONT\t1\t{}\n", &*coded)))
                    .await?;
            }
            _ => return Err(DovecotError::Line(line.clone())),
        }
    }
}

/// What Dovecot is told of the client, for its log, its penalties and `allow_nets`.
fn about(connection: &Connection) -> String {
    let mut text = String::new();
    if connection.tls.borrow().is_some() {
        text.push_str("\tsecured");
    }
    let local = connection.local.get();
    let remote = connection.remote.borrow();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "\tlip={}\trip={}\tlport={}\trport={}",
        local.ip, remote.ip, local.port, remote.port
    );
    text
}

fn failure<'a>(fields: impl Iterator<Item = &'a str>) -> Said {
    let (mut temporary, mut reason) = (false, None);
    for field in fields {
        match field.split_once('=').unwrap_or((field, "")) {
            ("temp", _) | ("code", "temp_fail") => temporary = true,
            ("reason", text) => reason = Some(printable(text)),
            _ => {}
        }
    }
    Said::Fail { temporary, reason }
}

struct Talk {
    link: Box<dyn Dialogue>,
    patience: Patience,
}

impl Talk {
    async fn say(&mut self, lines: &str) -> Result<(), DovecotError> {
        self.link.limit(self.patience.left());
        Ok(self.link.write_all(lines.as_bytes()).await?)
    }

    async fn line(&mut self) -> Result<String, DovecotError> {
        self.link.limit(self.patience.left());
        let line = self.link.read_line(LONGEST).await?;
        let line = line.ok_or(DovecotError::Closed)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Everything up to DONE; the mechanism to use.
    async fn handshake(&mut self) -> Result<Mechanism, DovecotError> {
        let mut offered = Vec::new();
        for _ in 0..MOST_LINES {
            let line = self.line().await?;
            let mut fields = line.split('\t');
            match (fields.next(), fields.next()) {
                (Some("VERSION"), Some(major)) if major.parse() != Ok(VERSION.0) => {
                    return Err(DovecotError::Version(printable(major)));
                }
                (Some("MECH"), Some(name)) => offered.extend(Mechanism::parse(name)),
                (Some("DONE"), _) => {
                    return [Mechanism::Plain, Mechanism::Login]
                        .into_iter()
                        .find(|m| offered.contains(m))
                        .ok_or(DovecotError::NoMechanism);
                }
                // VERSION, SPID, CUID, COOKIE, and what later versions have.
                _ => {}
            }
        }
        Err(DovecotError::Line("no end of the handshake".to_owned()))
    }
}
