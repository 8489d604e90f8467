//! Puts messages for local recipients into the queue, and delivers those from there to LMTP servers
//! (PI2-11).

use std::collections::HashMap;
use std::path::PathBuf;

use haraka_shared::config::{ConfigError, Ini, Live};
use haraka_shared::delivery::Delivery;
use haraka_shared::hook::{Code, HookName, Hooks, Message, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use haraka_shared::reply::Reply;
use haraka_shared::route::{Host, Route};
use haraka_shared::services::QueueError;

use super::wanted;

const FILE: &str = "lmtp.ini";
/// Marks what goes this way, also in queue files of Haraka.
const NOTE: &str = "using_lmtp";

/// See `docs/plugins/queue/lmtp.md`.
pub struct Lmtp {
    servers: Live<Servers>,
}

/// Who gets the mail of which domain.
struct Servers {
    main: Route,
    /// By domain in lower case.
    of_domains: HashMap<String, Route>,
}

impl Servers {
    fn parse(ini: &Ini) -> Result<Servers, ConfigError> {
        let mut of_domains = HashMap::new();
        for section in ini.sections().filter(|s| &*s.name != "main") {
            of_domains.insert(section.name.to_lowercase(), server(ini, &section.name)?);
        }
        Ok(Servers {
            main: server(ini, "main")?,
            of_domains,
        })
    }

    fn of(&self, domain: &str) -> &Route {
        let own = self.of_domains.get(&domain.to_lowercase());
        own.unwrap_or(&self.main)
    }
}

/// What a section says; it takes nothing over from `[main]`, as in Haraka.
fn server(ini: &Ini, section: &str) -> Result<Route, ConfigError> {
    let text = |key| ini.text(section, key).filter(|text| !text.is_empty());
    let path = text("path").map(|path| Host::Path(PathBuf::from(path)));
    let host = path.unwrap_or_else(|| {
        let name = text("host").unwrap_or("127.0.0.1");
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(name.to_owned()),
        }
    });
    let port = text("port").map(|port| match port.parse() {
        Ok(0) | Err(_) => Err(ini.error(section, "port", format!("{port} is not a port"))),
        Ok(port) => Ok(port),
    });
    Ok(Route {
        port: port.transpose()?,
        lmtp: true,
        ..Route::to(host)
    })
}

impl Plugin for Lmtp {
    const NAME: &'static str = "queue/lmtp";
    const HOOKS: &'static [Wants] = &[Wants::hook(HookName::Queue), Wants::hook(HookName::GetMx)];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let servers = env.live(Self::NAME, &[FILE], |config, warnings| {
            let ini = config.ini(FILE)?;
            warnings.extend(ini.warnings().iter().cloned());
            Ok(Servers::parse(&ini)?)
        })?;
        Ok(Lmtp { servers })
    }
}

impl Hooks for Lmtp {
    async fn queue(&self, cx: &HookCx, _none: ()) -> Verdict {
        let Some(transaction) = cx.transaction() else {
            return Verdict::CONT;
        };
        if wanted(&transaction).is_some_and(|queue| queue != "lmtp") {
            return Verdict::CONT;
        }
        transaction.notes.set(NOTE, true);
        let error = match cx.services.enqueue(&transaction).await {
            Ok(()) => return Verdict::OK,
            Err(error) => error,
        };
        log_plugin!(Level::Error, cx, "message not queued: {error}");
        let (code, text) = match error {
            QueueError::Full(_) => (452, "4.3.1 Insufficient system storage"),
            QueueError::Local(_) => (451, "4.3.0 Queueing failed, try again later"),
        };
        Verdict {
            code: Code::DenySoft,
            message: Message::Reply(Reply::new(code, text)),
        }
    }

    async fn get_mx(&self, _cx: &HookCx, item: &Delivery) -> Verdict {
        if !item.notes.truthy(NOTE) {
            return Verdict::CONT;
        }
        let servers = self.servers.get();
        Verdict::routes(vec![servers.of(&item.domain.borrow()).clone()])
    }
}
