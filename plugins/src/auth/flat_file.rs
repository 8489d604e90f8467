//! auth/flat_file: users and passwords in `config/auth_flat_file.ini` (PI1-02, PB-04).

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use haraka_shared::config::kinds::Count;
use haraka_shared::config::{At, ConfigDir, Held, Ini, Live, Warning};
use haraka_shared::connection::Connection;
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};

use super::backend::{Answer, Backend, Rules};
use super::mechanism::Mechanism;
use super::password_hash::{PasswordHash, Stored};
use super::secret::Secret;
use super::turns::{Turn, Turns};

/// The file of settings and users.
pub const FILE: &str = "auth_flat_file.ini";
/// The section of the users.
pub const USERS: &str = "users";

/// Hashes that a worker computes at the same time; the pool has four threads.
const AT_ONCE: usize = 2;
/// How long a login waits for its turn. Longer, and the hook would run out of time, which is no
/// temporary failure for the client.
const PATIENCE: Duration = Duration::from_secs(10);

/// See `docs/plugins/auth/flat_file.md`.
pub struct FlatFile {
    settings: Live<Settings>,
    turns: Turns,
}

/// What the file says.
struct Settings {
    methods: Vec<Mechanism>,
    rules: Rules,
    users: HashMap<String, Stored>,
    /// Computed for users whose own password takes no time, so that nobody learns who they are; of
    /// the kind that the first hashed user has.
    decoy: Option<PasswordHash>,
}

impl Backend for FlatFile {
    const NAME: &'static str = "auth/flat_file";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(FlatFile {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            turns: Turns::new(AT_ONCE),
        })
    }

    /// Over TLS, and to private networks without it.
    fn offers(&self, connection: &Connection) -> Vec<Mechanism> {
        let private = connection.remote.borrow().is_private;
        if private || connection.tls.borrow().is_some() {
            self.settings.get().methods.clone()
        } else {
            Vec::new()
        }
    }

    fn rules(&self) -> Rules {
        self.settings.get().rules
    }

    async fn plain_password(&self, _cx: &HookCx, user: &str) -> Option<Secret> {
        match self.settings.get().users.get(user)? {
            Stored::Clear(password) => Some(password.clone()),
            Stored::Hashed(_) => None,
        }
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        let settings = self.settings.get();
        let (hash, clear) = match settings.users.get(user) {
            Some(Stored::Hashed(hash)) => (Some(hash), None),
            Some(Stored::Clear(clear)) => (settings.decoy.as_ref(), Some(clear)),
            None => (settings.decoy.as_ref(), None),
        };
        let known = settings.users.contains_key(user);
        let Some(hash) = hash.cloned() else {
            return Answer::accept_if(clear.is_some_and(|c| c.matches(password)));
        };
        let Some(turn) = self.turn(cx).await else {
            log_plugin!(
                Level::Error,
                cx,
                "too many passwords to compare at the same time"
            );
            return Answer::unavailable();
        };
        let given = password.clone();
        let right = cx.blocking(move || hash.verify(&given)).await;
        drop(turn);
        match (right, clear) {
            (None, _) => {
                log_plugin!(
                    Level::Error,
                    cx,
                    "the password was not compared: no thread for it"
                );
                Answer::unavailable()
            }
            (Some(_), Some(clear)) => Answer::accept_if(clear.matches(password)),
            (Some(right), None) => Answer::accept_if(right && known),
        }
    }
}

impl FlatFile {
    /// A turn, unless it takes too long.
    async fn turn(&self, cx: &HookCx) -> Option<Turn<'_>> {
        let mut turn = pin!(self.turns.take());
        let mut patience = None;
        poll_fn(|task| match turn.as_mut().poll(task) {
            Poll::Ready(turn) => Poll::Ready(Some(turn)),
            Poll::Pending => {
                let end = patience.get_or_insert_with(|| cx.services.sleep(PATIENCE));
                end.as_mut().poll(task).map(|()| None)
            }
        })
        .await
    }
}

impl Settings {
    fn load(config: &ConfigDir, warnings: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let mut settings = Settings {
            methods: Vec::new(),
            rules: Rules {
                max_failures: ini
                    .read("core", "max_failures", &Count::<u32>::new(0, 1_000_000))?
                    .unwrap_or(Rules::MAX_FAILURES),
                constrain_sender: ini.bool("core", "constrain_sender", true),
                blankout_password: false,
            },
            users: HashMap::new(),
            decoy: None,
        };
        settings.read_users(&ini, warnings);
        settings.read_methods(&ini, warnings);
        Ok(settings)
    }

    fn read_users(&mut self, ini: &Ini, warnings: &mut Vec<Warning>) {
        let Some(section) = ini.section(USERS) else {
            return;
        };
        for entry in section.entries() {
            let Held::One(value) = &entry.held else {
                continue;
            };
            if value.text.is_empty() {
                continue;
            }
            match Stored::parse(&value.text) {
                Ok(stored) => {
                    if let (Stored::Hashed(hash), None) = (&stored, &self.decoy) {
                        self.decoy = Some(hash.clone());
                    }
                    self.users.insert(entry.key.clone(), stored);
                }
                Err(e) => {
                    let text = format!("what {:?} has as password {e}; no login", entry.key);
                    warnings.push(ini.at(value).warn(text));
                }
            }
        }
    }

    /// CRAM-MD5 needs a password in the clear; it is not offered where it could serve nobody.
    fn read_methods(&mut self, ini: &Ini, warnings: &mut Vec<Warning>) {
        let Some(methods) = ini.get("core", "methods") else {
            let text = "has no core.methods: AUTH is not offered";
            warnings.push(At::file(ini.file()).warn(text));
            return;
        };
        let words = methods.text.split([',', ' ', '\t']);
        for word in words.filter(|w| !w.is_empty()) {
            match Mechanism::parse(word) {
                Some(m) if !self.methods.contains(&m) => self.methods.push(m),
                Some(_) => {}
                None => {
                    let text = format!("core.methods: {word:?} is none of PLAIN, LOGIN, CRAM-MD5");
                    warnings.push(ini.at(methods).warn(text));
                }
            }
        }
        let clear = |stored: &Stored| matches!(stored, Stored::Clear(_));
        let in_vain = !self.users.is_empty() && !self.users.values().any(clear);
        if in_vain && self.methods.contains(&Mechanism::CramMd5) {
            self.methods.retain(|m| *m != Mechanism::CramMd5);
            let text = "core.methods: CRAM-MD5 is not offered, as all passwords are hashed; \
                        PLAIN and LOGIN are for those";
            warnings.push(ini.at(methods).warn(text));
        }
    }
}
