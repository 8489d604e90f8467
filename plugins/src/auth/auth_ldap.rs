//! auth-ldap: a directory knows the passwords; whoever can bind with one has it (RFC 4513 §5.1.3).
//!
//! The DN of a user comes from templates, tried in order, or from a search. Nothing is kept between
//! logins: a connection that was bound as one user must never serve another.

use std::time::Duration;

use haraka_shared::config::{ConfigDir, Ini, Live, Warning};
use haraka_shared::dial::{DialError, Dialogue, Endpoint, Trust};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};
use haraka_shared::route::Host;

use super::auth_proxy::trust;
use super::backend::{Answer, Backend, Rules};
use super::ldap::ber::{Size, size};
use super::ldap::filter::FilterError;
use super::ldap::message::{self, Outcome, Response, Scope};
use super::ldap::{filter, name};
use super::mechanism::printable;
use super::patience::{self, Patience};
use super::secret::Secret;

const FILE: &str = "auth_ldap.ini";
const URL: &str = "ldap://127.0.0.1";
const WITHIN: Duration = Duration::from_secs(5);
/// Octets of one message; only names of entries are asked for.
const LONGEST: usize = 64 * 1024;
/// Messages of one search; references may come between the entries.
const MOST_MESSAGES: usize = 100;

/// See `docs/plugins/auth/auth_ldap.md`.
pub struct AuthLdap {
    settings: Live<Settings>,
    /// What the server lets the plugin take.
    most: Duration,
}

struct Settings {
    server: Endpoint,
    tls: Tls,
    trust: Trust,
    within: Duration,
    /// Templates of `[dns]`.
    dns: Vec<String>,
    search: Option<Search>,
    constrain_sender: bool,
}

/// When TLS begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Never,
    /// ldaps: at once.
    Implicit,
    /// After the extended operation.
    OnRequest,
}

/// How to find the DN of a user.
struct Search {
    /// Who asks; nobody in particular if unset.
    bind: Option<(String, Secret)>,
    base: String,
    scope: Scope,
    /// Template of the filter.
    filter: String,
}

impl Settings {
    fn load(config: &ConfigDir, warnings: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let url = ini.text("core", "server").unwrap_or(URL);
        let (server, mut tls) =
            place(url).map_err(|why| ini.error("core", "server", format!("{url:?} {why}")))?;
        if tls == Tls::Never && ini.bool("core", "tls_enabled", false) {
            tls = Tls::OnRequest;
        }
        let within = match ini.text("core", "timeout") {
            None => WITHIN,
            Some(text) => match text.parse::<u64>() {
                Ok(ms @ 1..) => Duration::from_millis(ms),
                _ => {
                    let why = format!("{text:?} is no number of milliseconds");
                    return Err(ini.error("core", "timeout", why).into());
                }
            },
        };
        let section = ini.section("dns");
        let entries = section.into_iter().flat_map(|s| s.entries());
        let dns: Vec<String> = entries
            .filter_map(|e| ini.text("dns", &e.key))
            .map(str::to_owned)
            .collect();
        let search = Search::read(&ini)?;
        if dns.is_empty() && search.is_none() {
            let at = haraka_shared::config::At::file(FILE);
            warnings.push(at.warn("has neither [dns] nor [search] basedn: nobody can log in"));
        }
        Ok(Settings {
            server,
            tls,
            trust: trust(ini.bool("core", "rejectUnauthorized", true)),
            within,
            dns,
            search,
            constrain_sender: ini.bool("core", "constrain_sender", false),
        })
    }
}

impl Search {
    fn read(ini: &Ini) -> Result<Option<Search>, PluginError> {
        let text = |key| ini.text("search", key);
        let Some(base) = text("basedn") else {
            return Ok(None);
        };
        let template = text("searchfilter").unwrap_or("(uid=%u)");
        filter::parse(&name::filter(template, "x"))
            .map_err(|e| ini.error("search", "searchfilter", e.to_string()))?;
        let scope = match text("scope") {
            None | Some("sub") => Scope::Subtree,
            Some("one") => Scope::One,
            Some("base") => Scope::Base,
            Some(other) => {
                let why = format!("{other:?} is none of sub, one, base");
                return Err(ini.error("search", "scope", why).into());
            }
        };
        let bind = match (text("binddn"), text("bindpw")) {
            (Some(dn), Some(password)) => Some((dn.to_owned(), Secret::from(password))),
            (None, None) => None,
            _ => {
                let why = "binddn and bindpw go together";
                return Err(ini.error("search", "binddn", why).into());
            }
        };
        Ok(Some(Search {
            bind,
            base: base.to_owned(),
            scope,
            filter: template.to_owned(),
        }))
    }
}

/// `ldap://host:port`, `ldaps://host:port`, `ldapi:///path` or a bare host.
fn place(url: &str) -> Result<(Endpoint, Tls), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("ldap", url));
    let rest = if scheme.eq_ignore_ascii_case("ldapi") {
        rest
    } else {
        rest.trim_end_matches('/')
    };
    let (port, tls) = match scheme.to_ascii_lowercase().as_str() {
        "ldap" => (389, Tls::Never),
        "ldaps" => (636, Tls::Implicit),
        "ldapi" if rest.starts_with('/') => (0, Tls::Never),
        _ => return Err("is not ldap://, ldaps:// or ldapi:///path".to_owned()),
    };
    let server = Endpoint::parse(rest, port).map_err(|e| format!("names no server: {e}"))?;
    Ok((server, tls))
}

impl Backend for AuthLdap {
    const NAME: &'static str = "auth-ldap";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(AuthLdap {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            most: patience::limit(env, Self::NAME, Duration::MAX)?,
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            constrain_sender: self.settings.get().constrain_sender,
            ..Rules::default()
        }
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        // RFC 4513 §5.1.2: without a password a bind always succeeds.
        if password.is_empty() {
            return Answer::refused();
        }
        let settings = self.settings.get();
        let patience = Patience::of(settings.within.min(self.most));
        let shown = printable(user);
        match Box::pin(settings.check(cx, user, password, patience)).await {
            Ok(right) => {
                log_plugin!(Level::Info, cx, "AUTH user=\"{shown}\" success={right}");
                Answer::accept_if(right)
            }
            Err(e) => {
                log_plugin!(Level::Error, cx, "AUTH user=\"{shown}\" ldap: {e}");
                Answer::unavailable()
            }
        }
    }
}

/// Why the directory could not tell.
#[derive(Debug, thiserror::Error)]
enum LdapError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the directory closed")]
    Closed,
    #[error("the directory does not speak LDAP")]
    NotLdap,
    #[error("{doing} ended with code {} {}", .outcome.code, .outcome.text)]
    Failed {
        doing: &'static str,
        outcome: Outcome,
    },
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Settings {
    async fn check(
        &self,
        cx: &HookCx,
        user: &str,
        password: &Secret,
        patience: Patience,
    ) -> Result<bool, LdapError> {
        let mut talk = self.connect(cx, patience).await?;
        for template in &self.dns {
            let dn = name::dn(template, user);
            if talk.bind(&dn, password).await? {
                talk.part().await;
                return Ok(true);
            }
            log_plugin!(Level::Debug, cx, "no login as {}", printable(&dn));
        }
        let mut right = false;
        if let Some(search) = &self.search
            && let Some(dn) = talk.find(search, user).await?
        {
            right = talk.bind(&dn, password).await?;
        }
        talk.part().await;
        Ok(right)
    }

    async fn connect(&self, cx: &HookCx, patience: Patience) -> Result<Talk, LdapError> {
        let mut talk = Talk {
            link: cx.services.dial(&self.server, patience.left()).await?,
            received: Vec::new(),
            number: 0,
            patience,
        };
        if self.tls == Tls::OnRequest {
            talk.ask_for_tls().await?;
        }
        if self.tls != Tls::Never {
            let name = match &self.server.host {
                Host::Path(_) => "localhost".to_owned(),
                host => host.to_string(),
            };
            talk.link.limit(patience.left());
            talk.link.start_tls(&name, self.trust).await?;
        }
        Ok(talk)
    }
}

/// A connection to the directory.
struct Talk {
    link: Box<dyn Dialogue>,
    /// Less than a message.
    received: Vec<u8>,
    /// Of the last request.
    number: u32,
    patience: Patience,
}

impl Talk {
    fn next(&mut self) -> u32 {
        self.number = self.number.saturating_add(1);
        self.number
    }

    async fn say(&mut self, request: &[u8]) -> Result<(), LdapError> {
        self.link.limit(self.patience.left());
        Ok(self.link.write_all(request).await?)
    }

    /// The next response to the last request.
    async fn hear(&mut self) -> Result<Response, LdapError> {
        loop {
            match size(&self.received) {
                Size::Bad => return Err(LdapError::NotLdap),
                Size::Whole(length) if length > LONGEST => return Err(LdapError::NotLdap),
                Size::Whole(length) if length <= self.received.len() => {
                    let message: Vec<u8> = self.received.drain(..length).collect();
                    let (number, response) = message::parse(&message).ok_or(LdapError::NotLdap)?;
                    if number == self.number {
                        return Ok(response);
                    }
                    // A notice of disconnection (RFC 4511 §4.4.1).
                    return match response {
                        Response::Extended(outcome) if number == 0 => Err(LdapError::Failed {
                            doing: "the connection",
                            outcome,
                        }),
                        _ => Err(LdapError::NotLdap),
                    };
                }
                _ => {}
            }
            self.link.limit(self.patience.left());
            let some = self.link.read_some(LONGEST).await?;
            if some.is_empty() {
                return Err(LdapError::Closed);
            }
            self.received.extend(some);
        }
    }

    async fn ask_for_tls(&mut self) -> Result<(), LdapError> {
        let request = message::start_tls(self.next());
        self.say(&request).await?;
        match self.hear().await? {
            Response::Extended(outcome) if outcome.code == Outcome::SUCCESS => {
                // What came behind it came in the clear.
                match self.received.is_empty() {
                    true => Ok(()),
                    false => Err(LdapError::NotLdap),
                }
            }
            Response::Extended(outcome) => Err(LdapError::Failed {
                doing: "StartTLS",
                outcome,
            }),
            _ => Err(LdapError::NotLdap),
        }
    }

    /// Whether this is the password of that entry. An entry that is not there has none.
    async fn bind(&mut self, dn: &str, password: &Secret) -> Result<bool, LdapError> {
        let outcome = self.bind_outcome(dn, password).await?;
        match outcome.code {
            Outcome::SUCCESS => Ok(true),
            Outcome::INVALID_CREDENTIALS
            | Outcome::NO_SUCH_OBJECT
            | Outcome::INVALID_DN
            | Outcome::INAPPROPRIATE_AUTH => Ok(false),
            _ => Err(LdapError::Failed {
                doing: "bind",
                outcome,
            }),
        }
    }

    async fn bind_outcome(&mut self, dn: &str, password: &Secret) -> Result<Outcome, LdapError> {
        let request = message::bind(self.next(), dn, password.expose());
        self.say(&request).await?;
        match self.hear().await? {
            Response::Bound(outcome) => Ok(outcome),
            _ => Err(LdapError::NotLdap),
        }
    }

    /// The DN of the one entry that fits; none if there are more, as it is not clear whose password
    /// counts.
    async fn find(&mut self, search: &Search, user: &str) -> Result<Option<String>, LdapError> {
        if let Some((dn, password)) = &search.bind {
            let outcome = self.bind_outcome(dn, password).await?;
            // That we may not ask says nothing of the user.
            if outcome.code != Outcome::SUCCESS {
                return Err(LdapError::Failed {
                    doing: "bind as binddn",
                    outcome,
                });
            }
        }
        let filter = filter::parse(&name::filter(&search.filter, user))?;
        let seconds = u32::try_from(self.patience.left().as_secs()).unwrap_or(u32::MAX);
        let number = self.next();
        let request = message::search(number, &search.base, search.scope, seconds.max(1), &filter);
        self.say(&request).await?;
        let mut found = Vec::new();
        for _ in 0..MOST_MESSAGES {
            match self.hear().await? {
                Response::Entry(dn) => found.push(dn),
                Response::Reference => {}
                Response::Found(outcome) => match outcome.code {
                    Outcome::SUCCESS | Outcome::NO_SUCH_OBJECT => {
                        let dn = found.pop().filter(|_| found.is_empty());
                        // Without a DN a bind asks for nobody's password.
                        return Ok(dn.filter(|dn| !dn.is_empty()));
                    }
                    Outcome::SIZE_LIMIT => return Ok(None),
                    _ => {
                        return Err(LdapError::Failed {
                            doing: "search",
                            outcome,
                        });
                    }
                },
                _ => return Err(LdapError::NotLdap),
            }
        }
        Err(LdapError::NotLdap)
    }

    async fn part(&mut self) {
        let request = message::unbind(self.next());
        // A farewell to which nothing is owed.
        drop(self.say(&request).await);
    }
}
