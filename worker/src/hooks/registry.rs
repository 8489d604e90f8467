//! Which plugin methods run at each hook. Built once from `config/plugins`; what plugins register later
//! is `late`'s.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use haraka_shared::config::{At, Config, ConfigDir, ConfigError, Warning, Watch};
use haraka_shared::hook::{Handler, HookName};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::plugin::{PluginEnv, PluginError, Registration};
use haraka_shared::services::Services;

use super::late::LateHooks;
use super::resolve;
use crate::js::{ScriptError, Scripts, places};
use crate::rt;

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
    /// Its scripts cannot be loaded (PLG-16).
    #[error("{at}: Loading plugin {name} failed: {}: {cause}", path.display())]
    Script {
        /// Where it is listed.
        at: Box<At>,
        /// As it is called today.
        name: String,
        /// Where it was found.
        path: PathBuf,
        /// What they threw.
        cause: ScriptError,
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

impl Loading {
    /// What can be used, if all can or the bad ones are to be left out.
    fn accept(mut self, config: &Config) -> Result<Registry, LoadError> {
        for warning in self.warnings {
            log_at!(Level::Warn, &"-", "plugins", [], "{warning}");
        }
        if config.smtp.ignore_bad_plugins {
            for e in self.errors.drain(..) {
                log_at!(Level::Crit, &"-", "plugins", [], "{e} - skipping");
            }
        }
        match self.errors.is_empty() {
            true => Ok(self.registry),
            false => Err(LoadError::Several(self.errors)),
        }
    }
}

/// One plugin method in a chain.
pub(crate) struct Entry {
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
    plugins: Vec<(Rc<str>, Rc<dyn Handler>)>,
    scripts: Option<Scripts>,
    late: Rc<LateHooks>,
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
        Registry::inspect(dir, install_dir, watch)?.accept(config)
    }

    /// Loads plugins of these names, whatever `config/plugins` says; see [`Registry::load`].
    pub fn load_these(
        names: &[String],
        config: &Config,
        dir: &ConfigDir,
        watch: &Watch,
    ) -> Result<Registry, LoadError> {
        let at = At::file("-t");
        let listed = names.iter().map(|name| (at.clone(), name.clone()));
        Registry::try_all(listed.collect(), dir, dir.install_dir(), watch).accept(config)
    }

    /// Whether a listed plugin is written in JavaScript. Loads nothing.
    pub fn has_scripts(dir: &ConfigDir) -> bool {
        // Where the list cannot be read, loading will say so.
        let listed = dir.list("plugins").unwrap_or_default();
        listed
            .iter()
            .any(|name| resolve::is_script(name, dir.install_dir()))
    }

    /// Loads what can be, and tells all that is wrong.
    pub fn inspect(
        dir: &ConfigDir,
        install_dir: &Path,
        watch: &Watch,
    ) -> Result<Loading, LoadError> {
        let listed = dir.placed_items("plugins")?;
        Ok(Registry::try_all(listed, dir, install_dir, watch))
    }

    fn try_all(
        listed: Vec<(At, String)>,
        dir: &ConfigDir,
        install_dir: &Path,
        watch: &Watch,
    ) -> Loading {
        let mut registrations: Vec<(Registration, Option<Duration>)> = Vec::new();
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let scripts = Scripts::new(dir, install_dir, watch);
        for (at, listed) in listed {
            let env = PluginEnv::new(dir, install_dir, watch);
            let name = resolve::current_name(&at, &listed, &env);
            let again = registrations.iter().any(|(r, _)| *r.name == *name);
            // Several old names lead to one plugin, which must not run once for each of them.
            if !again || name == places::bare(&listed) {
                match resolve::load(&at, name, &env, &scripts) {
                    Ok(loaded) => registrations.push(loaded),
                    Err(e) => errors.push(e),
                }
            }
            warnings.extend(env.into_warnings());
        }
        Loading {
            registry: Registry {
                late: Rc::clone(scripts.late()),
                scripts: Some(scripts),
                ..Registry::build(registrations)
            },
            errors,
            warnings,
        }
    }

    /// Orders registrations: by hook, then priority, then as registered (HOK-31).
    pub fn build(registrations: Vec<(Registration, Option<Duration>)>) -> Registry {
        let mut chains: Vec<Vec<Entry>> = HookName::ALL.iter().map(|_| Vec::new()).collect();
        let plugins = registrations
            .iter()
            .map(|(r, _)| (Rc::clone(&r.name), Rc::clone(&r.handler)))
            .collect();
        for (registration, time_limit) in registrations {
            for (index, (wants, method)) in registration.wants.into_iter().enumerate() {
                if let Some(chain) = chains.get_mut(wants.hook as usize) {
                    chain.push(Entry {
                        plugin: Rc::clone(&registration.name),
                        method,
                        priority: wants.priority,
                        time_limit,
                        handler: registration
                            .handler
                            .method(index)
                            .unwrap_or_else(|| Rc::clone(&registration.handler)),
                    });
                }
            }
        }
        for chain in &mut chains {
            chain.sort_by_key(|e| e.priority);
        }
        Registry {
            chains: chains.into_iter().map(Vec::into_boxed_slice).collect(),
            plugins,
            scripts: None,
            late: Rc::default(),
        }
    }

    /// Lets scripts reach the worker's services.
    pub(crate) fn serve(&self, services: Weak<dyn Services>) {
        if let Some(scripts) = &self.scripts {
            scripts.serve(services);
        }
    }

    /// Whether any plugin is a script.
    pub(crate) fn run_scripts(&self) -> bool {
        self.scripts.as_ref().is_some_and(Scripts::are_loaded)
    }

    /// The plugins, in the order of `config/plugins`.
    pub fn names(&self) -> Vec<String> {
        self.plugins.iter().map(|(n, _)| n.to_string()).collect()
    }

    /// Tells each plugin that the worker ends (PLG-15, PRC-19). One that panics costs its own call.
    pub async fn shutdown(&self) {
        for (name, plugin) in &self.plugins {
            if let Err(panic) = rt::catch(async { plugin.shutdown() }).await {
                log_at!(
                    Level::Crit,
                    &"-",
                    "plugins",
                    [],
                    "Plugin {name} failed to shut down: {panic}"
                );
            }
        }
        if let Some(scripts) = &self.scripts {
            scripts.close();
        }
    }

    pub(super) fn chain(&self, hook: HookName) -> &[Entry] {
        self.chains.get(hook as usize).map_or(&[], |c| c)
    }

    /// Methods of this hook that were registered since; they run behind the chain.
    pub(super) fn late(&self, hook: HookName) -> Vec<Rc<Entry>> {
        self.late.of(hook)
    }

    /// Whether any plugin wants this hook.
    pub fn wants(&self, hook: HookName) -> bool {
        !self.chain(hook).is_empty() || self.late.has(hook)
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
