//! What a native plugin is, and what it may use.
//!
//! A plugin is one type: a name, the hooks that it wants, a constructor that reads its configuration,
//! and an `async` method for each hook. Scripts register under the same [`Registration`]; nothing past
//! the loader knows which is which.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;

use crate::config::{ConfigDir, ConfigError, Live, Observing, Warning, Watch};
use crate::connection::Connection;
use crate::delivery::Delivery;
use crate::hook::{self, Call, Handler, HookFuture, HookName, Hooks};
use crate::log::Level;
use crate::log_at;
use crate::services::Services;
use crate::transaction::Transaction;

/// A hook that a plugin wants, and where in the order (HOK-31).
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// The hook.
    pub hook: HookName,
    /// -100 to 100, lower runs first; plugins of equal priority run in the order of `config/plugins`.
    pub priority: i8,
    /// What the run-order listing and log lines call the method, where the original plugin gives it
    /// a name of its own; else `hook_<name>`.
    pub method: Option<&'static str>,
}

impl Wants {
    /// The hook at the usual priority, 0.
    pub const fn hook(hook: HookName) -> Wants {
        Wants::at(hook, 0)
    }

    /// The hook at a priority of its own, clamped to -100..=100.
    pub const fn at(hook: HookName, priority: i8) -> Wants {
        let priority = if priority > 100 {
            100
        } else if priority < -100 {
            -100
        } else {
            priority
        };
        Wants {
            hook,
            priority,
            method: None,
        }
    }

    /// The same under the method name that log lines of the original plugin show.
    pub const fn called(self, method: &'static str) -> Wants {
        Wants {
            method: Some(method),
            ..self
        }
    }
}

/// Why a plugin cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Its configuration cannot be read or makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that it needs is not there.
    #[error("{0}")]
    Unusable(String),
}

/// What a plugin's constructor sees.
pub struct PluginEnv<'a> {
    /// The install directory's configuration.
    pub config: &'a ConfigDir,
    /// The install directory.
    pub install_dir: &'a Path,
    watch: &'a Watch,
    warnings: RefCell<Vec<Warning>>,
}

impl<'a> PluginEnv<'a> {
    /// Over a configuration whose changes `watch` tells.
    pub fn new(config: &'a ConfigDir, install_dir: &'a Path, watch: &'a Watch) -> PluginEnv<'a> {
        PluginEnv {
            config,
            install_dir,
            watch,
            warnings: RefCell::default(),
        }
    }

    /// Settings from these files of `config/`, loaded now and again whenever one of them changes.
    /// `load` may leave warnings. Where a later load fails, the earlier settings stay and the error
    /// is logged in the name of `plugin`.
    ///
    /// # Errors
    /// What the first load says.
    pub fn live<T: 'static>(
        &self,
        plugin: &'static str,
        files: &[&str],
        load: impl Fn(&ConfigDir, &mut Vec<Warning>) -> Result<T, PluginError> + 'static,
    ) -> Result<Live<T>, PluginError> {
        self.watch.expect(self.config, files);
        let first = load(self.config, &mut self.warnings.borrow_mut())?;
        Ok(Live::follow(
            self.watch,
            self.config,
            files,
            first,
            move |config| {
                let mut warnings = Vec::new();
                let loaded = load(config, &mut warnings);
                for warning in warnings {
                    log_at!(Level::Warn, &"-", plugin, [], "{warning}");
                }
                loaded.map_err(|e| {
                    log_at!(
                        Level::Error,
                        &"-",
                        plugin,
                        [],
                        "{e}; the earlier settings stay"
                    );
                })
            },
        ))
    }

    /// Has `callback` called whenever one of these files of `config/` changes, until what comes back
    /// is dropped.
    pub fn on_change(&self, files: &[&str], callback: impl Fn() + 'static) -> Observing {
        self.watch.on_change(self.config, files, callback)
    }

    /// Notes something that an operator should look at.
    pub fn warn(&self, warning: Warning) {
        self.warnings.borrow_mut().push(warning);
    }

    /// What was noted.
    pub fn into_warnings(self) -> Vec<Warning> {
        self.warnings.into_inner()
    }
}

/// A native plugin.
pub trait Plugin: Hooks + Sized {
    /// Name in `config/plugins`, in logs and results.
    const NAME: &'static str;
    /// The hooks whose methods it implements.
    const HOOKS: &'static [Wants];

    /// Reads the configuration; an error here ends the start with that message (PLG-04, PLG-16).
    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError>;

    /// The hooks that it wants as it is configured; all of [`Plugin::HOOKS`] unless it says otherwise.
    fn wants(&self) -> Vec<Wants> {
        Self::HOOKS.to_vec()
    }
}

/// A plugin as the loader holds it.
pub struct Registration {
    /// Name in logs and results.
    pub name: Rc<str>,
    /// What it wants, with the name of the method for the run-order listing.
    pub wants: Vec<(Wants, Rc<str>)>,
    /// Who answers.
    pub handler: Rc<dyn Handler>,
}

struct Native<P>(P);

impl<P: Plugin> Handler for Native<P> {
    fn call<'a>(&'a self, call: Call<'a>, cx: &'a HookCx) -> HookFuture<'a> {
        hook::dispatch(&self.0, call, cx)
    }
}

/// Constructs a native plugin.
pub fn register<P: Plugin>(env: &PluginEnv<'_>) -> Result<Registration, PluginError> {
    let plugin = P::new(env)?;
    Ok(Registration {
        name: Rc::from(P::NAME),
        wants: plugin
            .wants()
            .into_iter()
            .map(|w| match w.method {
                Some(method) => (w, Rc::from(method)),
                None => (w, Rc::from(format!("hook_{}", w.hook.name()))),
            })
            .collect(),
        handler: Rc::new(Native(plugin)),
    })
}

/// What a hook may use while it runs, and nothing else.
pub struct HookCx {
    /// The plugin that runs.
    pub plugin: Rc<str>,
    /// The client's connection; none in outbound hooks.
    pub connection: Option<Connection>,
    /// The queue item; only in outbound hooks.
    pub delivery: Option<Delivery>,
    /// The worker's services.
    pub services: Rc<dyn Services>,
}

impl HookCx {
    /// The open transaction of the connection.
    pub fn transaction(&self) -> Option<Transaction> {
        self.connection.as_ref().and_then(Connection::transaction)
    }

    /// Runs blocking work on the offload pool; `None` when the pool is gone or the work panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        self.services
            .offload(Box::new(move || {
                // The receiver is this very future; when it is gone nobody wants the result.
                drop(tx.send(work()));
            }))
            .await;
        rx.try_recv().ok()
    }
}

/// A future on the worker's own thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Writes a line with the running plugin as its origin and the connection's uuid.
#[macro_export]
macro_rules! log_plugin {
    ($level:expr, $cx:expr, $($message:tt)+) => {
        if $crate::log::enabled($level) {
            $crate::log::emit($level, &$cx.log_id(), &$cx.plugin, &[], format_args!($($message)+));
        }
    };
}

impl HookCx {
    /// The uuid that a log line of this call carries.
    pub fn log_id(&self) -> String {
        match (&self.connection, &self.delivery) {
            (Some(c), _) => c.log_id().to_string(),
            (None, Some(d)) => d.uuid.to_string(),
            (None, None) => "-".to_owned(),
        }
    }
}
