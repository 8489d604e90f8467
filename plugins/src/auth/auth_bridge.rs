//! auth/auth_bridge: one SMTP server knows all passwords (PI1-04).

use std::time::Duration;

use haraka_shared::config::{ConfigDir, Live, Warning};
use haraka_shared::dial::{Endpoint, Trust};
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};

use super::auth_proxy::{PORT, WITHIN, trust};
use super::backend::{Answer, Backend};
use super::patience::{self, Patience};
use super::secret::Secret;
use super::smtp_login::Attempt;

/// Shared with queue/smtp_bridge, which delivers to the same server.
const FILE: &str = "smtp_bridge.ini";

/// See `docs/plugins/auth/auth_bridge.md`.
pub struct AuthBridge {
    settings: Live<Settings>,
    within: Duration,
}

struct Settings {
    server: Endpoint,
    trust: Trust,
}

impl Settings {
    fn load(config: &ConfigDir, _: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let host = ini
            .text("main", "host")
            .ok_or_else(|| ini.error("main", "host", "names no server"))?;
        let mut server =
            Endpoint::parse(host, PORT).map_err(|e| ini.error("main", "host", e.to_string()))?;
        if let Some(port) = ini.text("main", "port") {
            server.port = port
                .parse()
                .map_err(|_| ini.error("main", "port", format!("{port:?} is not a port")))?;
        }
        Ok(Settings {
            server,
            trust: trust(ini.bool("tls", "rejectUnauthorized", true)),
        })
    }
}

impl Backend for AuthBridge {
    const NAME: &'static str = "auth/auth_bridge";

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(AuthBridge {
            settings: env.live(Self::NAME, &[FILE], Settings::load)?,
            within: patience::limit(env, Self::NAME, WITHIN)?,
        })
    }

    async fn check_plain(&self, cx: &HookCx, user: &str, password: &Secret) -> Answer {
        let settings = self.settings.get();
        let attempt = Attempt {
            user,
            password,
            trust: settings.trust,
        };
        let server = std::slice::from_ref(&settings.server);
        attempt.at(cx, server, Patience::of(self.within)).await
    }
}
