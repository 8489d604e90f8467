//! auth/auth_proxy: the servers of the user's domain know the password (PI1-03).

use std::collections::HashMap;
use std::time::Duration;

use haraka_shared::config::{ConfigDir, Live, Warning};
use haraka_shared::dial::{Endpoint, Trust};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};

use super::backend::{Answer, Backend};
use super::mechanism::printable;
use super::patience::{self, Patience};
use super::secret::Secret;
use super::smtp_login::Attempt;

const FILE: &str = "auth_proxy.ini";
/// Where a server is configured without a port.
pub(super) const PORT: u16 = 25;
/// Haraka's limit.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// See `docs/plugins/auth/auth_proxy.md`.
pub struct AuthProxy {
    settings: Live<Settings>,
    within: Duration,
}

struct Settings {
    /// By domain in lower case; none is empty.
    servers: HashMap<String, Vec<Endpoint>>,
    trust: Trust,
}

impl Settings {
    fn load(config: &ConfigDir, _: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let mut servers = HashMap::new();
        for entry in ini.section("domains").into_iter().flat_map(|s| s.entries()) {
            let text = ini.text("domains", &entry.key).unwrap_or_default();
            let names = text.split([',', ';', ' ', '\t']).filter(|n| !n.is_empty());
            let found: Result<Vec<_>, _> = names.map(|n| Endpoint::parse(n, PORT)).collect();
            let found = found.map_err(|e| ini.error("domains", &entry.key, e.to_string()))?;
            if found.is_empty() {
                let why = "names no server";
                return Err(ini.error("domains", &entry.key, why).into());
            }
            servers.insert(entry.key.to_lowercase(), found);
        }
        Ok(Settings {
            servers,
            trust: trust(ini.bool("tls", "rejectUnauthorized", true)),
        })
    }
}

/// What `rejectUnauthorized` asks of certificates.
pub(super) fn trust(reject_unauthorized: bool) -> Trust {
    if reject_unauthorized {
        Trust::System
    } else {
        Trust::Anyone
    }
}

impl Backend for AuthProxy {
    const NAME: &'static str = "auth/auth_proxy";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(AuthProxy {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            within: patience::limit(env, Self::NAME, WITHIN)?,
        })
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        let shown = printable(user);
        let domain = match user.rsplit_once('@') {
            Some((_, domain)) if !domain.is_empty() => domain.to_lowercase(),
            _ => {
                log_plugin!(
                    Level::Error,
                    cx,
                    "AUTH user=\"{shown}\" error=\"not in required format\""
                );
                return Answer::refused();
            }
        };
        let settings = self.settings.get();
        let Some(servers) = settings.servers.get(&domain) else {
            let domain = printable(&domain);
            log_plugin!(
                Level::Error,
                cx,
                "AUTH user=\"{shown}\" error=\"domain '{domain}' is not defined\""
            );
            return Answer::refused();
        };
        let attempt = Attempt {
            user,
            password,
            trust: settings.trust,
        };
        attempt.at(cx, servers, Patience::of(self.within)).await
    }
}
