//! Which plugin methods run at each hook. Built once from `config/plugins`, then frozen.

use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::{At, Config, ConfigDir, ConfigError, Warning, Watch};
use haraka_shared::hook::{Handler, HookName};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::plugin::{PluginEnv, PluginError, Registration};

/// Why the plugins cannot be loaded; each names the plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `config/plugins` or a time-out file cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No plugin has this name (PLG-04).
    #[error("{at}: Loading plugin {name} failed: No plugin with this name found")]
    Unknown {
        /// Where it is listed.
        at: Box<At>,
        /// As it stands in `config/plugins`.
        name: String,
    },
    /// The plugin cannot be used.
    #[error("{at}: Loading plugin {name} failed: {cause}")]
    Plugin {
        /// Where it is listed.
        at: Box<At>,
        /// As it stands in `config/plugins`.
        name: String,
        /// What is wrong.
        cause: Box<PluginError>,
    },
    /// Several of these.
    #[error("{}", lines(.0))]
    Several(Vec<LoadError>),
}

fn lines(errors: &[LoadError]) -> String {
    let lines: Vec<String> = errors.iter().map(LoadError::to_string).collect();
    lines.join("\n")
}

/// What came of loading plugins.
pub struct Loading {
    /// Those that could be loaded.
    pub registry: Registry,
    /// What is wrong with the others.
    pub errors: Vec<LoadError>,
    /// What an operator should look at.
    pub warnings: Vec<Warning>,
}

/// One plugin method in a chain.
pub(super) struct Entry {
    pub(super) plugin: Rc<str>,
    pub(super) method: Rc<str>,
    pub(super) priority: i8,
    /// `None` lets it run for ever (time-out 0).
    pub(super) time_limit: Option<Duration>,
    pub(super) handler: Rc<dyn Handler>,
}

/// The chains of all hooks.
pub struct Registry {
    chains: Vec<Box<[Entry]>>,
}

impl Registry {
    /// Loads what `config/plugins` names (PLG-01, PLG-02); `watch` tells them of changed files. With
    /// `ignore_bad_plugins` a plugin that cannot be loaded is left out with a CRIT line; else all
    /// such together end the start.
    pub fn load(
        config: &Config,
        dir: &ConfigDir,
        install_dir: &Path,
        watch: &Watch,
    ) -> Result<Registry, LoadError> {
        let mut loading = Registry::inspect(dir, install_dir, watch)?;
        for warning in loading.warnings {
            log_server!(Level::Warn, "{warning}");
        }
        if config.smtp.ignore_bad_plugins {
            for e in loading.errors.drain(..) {
                log_server!(Level::Crit, "{e}");
            }
        }
        match loading.errors.len() {
            0 => Ok(loading.registry),
            _ => Err(LoadError::Several(loading.errors)),
        }
    }

    /// Loads what can be, and tells all that is wrong.
    pub fn inspect(
        dir: &ConfigDir,
        install_dir: &Path,
        watch: &Watch,
    ) -> Result<Loading, LoadError> {
        let mut registrations = Vec::new();
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for (at, listed) in dir.placed_items("plugins")? {
            let env = PluginEnv::new(dir, install_dir, watch);
            match load_one(&at, &listed, &env) {
                Ok(loaded) => registrations.push(loaded),
                Err(e) => errors.push(e),
            }
            warnings.extend(env.into_warnings());
        }
        Ok(Loading {
            registry: Registry::build(registrations),
            errors,
            warnings,
        })
    }

    /// Orders registrations: by hook, then priority, then as registered (HOK-31).
    pub fn build(registrations: Vec<(Registration, Option<Duration>)>) -> Registry {
        let mut chains: Vec<Vec<Entry>> = HookName::ALL.iter().map(|_| Vec::new()).collect();
        for (registration, time_limit) in registrations {
            for (wants, method) in registration.wants {
                if let Some(chain) = chains.get_mut(wants.hook as usize) {
                    chain.push(Entry {
                        plugin: Rc::clone(&registration.name),
                        method,
                        priority: wants.priority,
                        time_limit,
                        handler: Rc::clone(&registration.handler),
                    });
                }
            }
        }
        for chain in &mut chains {
            chain.sort_by_key(|e| e.priority);
        }
        Registry {
            chains: chains.into_iter().map(Vec::into_boxed_slice).collect(),
        }
    }

    pub(super) fn chain(&self, hook: HookName) -> &[Entry] {
        self.chains.get(hook as usize).map_or(&[], |c| c)
    }

    /// Whether any plugin wants this hook.
    pub fn wants(&self, hook: HookName) -> bool {
        !self.chain(hook).is_empty()
    }

    /// The run order as `haraka -o` prints it (CLI-11).
    pub fn order(&self) -> String {
        let mut out = String::from("\n");
        for hook in LISTED {
            let chain = self.chain(hook);
            if chain.is_empty() {
                continue;
            }
            let title = format!("Hook: {} ", hook.name());
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{title:-<80}").and_then(|()| {
                writeln!(out, "{:<35} {:<35} {:<4} T/O", "Plugin", "Method", "Prio")?;
                writeln!(out, "{:-<80}", "")?;
                for e in chain {
                    let limit = e.time_limit.map_or(0.0, |t| t.as_secs_f64());
                    writeln!(
                        out,
                        "{:<35} {:<35} {:>4} {limit:>3}",
                        e.plugin, e.method, e.priority
                    )?;
                }
                writeln!(out)
            });
        }
        out
    }
}

/// The hooks in the order of Haraka's documentation, by which its `-o` lists them.
const LISTED: [HookName; HookName::COUNT] = [
    HookName::InitMaster,
    HookName::InitChild,
    HookName::InitHttp,
    HookName::InitWss,
    HookName::ConnectInit,
    HookName::LookupRdns,
    HookName::Connect,
    HookName::Capabilities,
    HookName::UnrecognizedCommand,
    HookName::Disconnect,
    HookName::Helo,
    HookName::Ehlo,
    HookName::Quit,
    HookName::Vrfy,
    HookName::Noop,
    HookName::Rset,
    HookName::Mail,
    HookName::Rcpt,
    HookName::RcptOk,
    HookName::Data,
    HookName::DataPost,
    HookName::MaxDataExceeded,
    HookName::Queue,
    HookName::QueueOutbound,
    HookName::QueueOk,
    HookName::ResetTransaction,
    HookName::Deny,
    HookName::GetMx,
    HookName::Deferred,
    HookName::Bounce,
    HookName::DeliveredOk,
    HookName::SendEmail,
    HookName::PreSendTransEmail,
    HookName::Log,
];

fn load_one(
    at: &At,
    listed: &str,
    env: &PluginEnv<'_>,
) -> Result<(Registration, Option<Duration>), LoadError> {
    let wanted = listed.strip_prefix("haraka-plugin-").unwrap_or(listed);
    let name = match haraka_plugins::renamed(wanted) {
        Some(now) => {
            env.warn(
                at.clone()
                    .warn(format!("the plugin {wanted} is now called {now}")),
            );
            now
        }
        None => wanted,
    };
    let registration = haraka_plugins::load(name, env)
        .ok_or_else(|| LoadError::Unknown {
            at: Box::new(at.clone()),
            name: listed.to_owned(),
        })?
        .map_err(|cause| LoadError::Plugin {
            at: Box::new(at.clone()),
            name: listed.to_owned(),
            cause: Box::new(cause),
        })?;
    Ok((registration, env.config.plugin_timeout(name)?))
}
