//! Script plugins: finding them by name, loading them into the worker's engine, registering what
//! they want (PLG-03, PLG-05 to PLG-11).

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use haraka_shared::config::{ConfigDir, Watch};
use haraka_shared::hook::HookName;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::plugin::{Registration, Wants};
use haraka_shared::services::Services;
use rquickjs::Function;
use serde_json::Value;

use super::call::Scripted;
use super::convert::Json;
use super::engine::{Engine, ScriptError};
use super::host::Host;
use super::limits::Limits;
use crate::hooks::LateHooks;

/// The scripts of one worker. Costs nothing until the first one is loaded.
pub(crate) struct Scripts {
    config: ConfigDir,
    install_dir: PathBuf,
    watch: Watch,
    engine: OnceCell<Rc<Engine>>,
    late: Rc<LateHooks>,
}

impl Scripts {
    pub(crate) fn new(config: &ConfigDir, install_dir: &Path, watch: &Watch) -> Scripts {
        Scripts {
            config: config.clone(),
            install_dir: install_dir.to_owned(),
            watch: watch.clone(),
            engine: OnceCell::new(),
            late: Rc::default(),
        }
    }

    /// What they register after they were loaded.
    pub(crate) fn late(&self) -> &Rc<LateHooks> {
        &self.late
    }

    /// The worker is there: scripts reach its services, and have little time from now on.
    pub(crate) fn serve(&self, services: Weak<dyn Services>) {
        if let Some(engine) = self.engine.get() {
            engine.host.serve(services);
            engine.serve();
        }
    }

    /// The plugins have been told of the end.
    pub(crate) fn close(&self) {
        if let Some(engine) = self.engine.get() {
            engine.host.close();
        }
    }

    /// Whether any script was loaded.
    pub(crate) fn are_loaded(&self) -> bool {
        self.engine.get().is_some()
    }

    fn engine(&self) -> Result<&Rc<Engine>, ScriptError> {
        if self.engine.get().is_none() {
            let late = Rc::clone(&self.late);
            let host = Host::new(&self.config, &self.install_dir, &self.watch).with_late(late);
            let engine = Engine::new(host, Limits::configured(&self.config))?;
            // Nobody else sets it: there is one thread.
            drop(self.engine.set(engine));
        }
        let missing = || ScriptError::Engine("not there".to_owned());
        self.engine.get().ok_or_else(missing)
    }

    /// Loads the plugin whose script or `package.json` is at `path`.
    ///
    /// # Errors
    /// What its scripts threw.
    pub(crate) fn load(
        &self,
        name: &str,
        path: &Path,
        time_limit: Option<Duration>,
    ) -> Result<Registration, ScriptError> {
        let engine = self.engine()?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name: Rc<str> = Rc::from(name);
        self.remember_place(engine, &path, &name);
        let number = engine.host.number();
        let seconds = time_limit.map_or(0.0, |t| t.as_secs_f64());
        let what = format!("loading {name}");
        let file = path.to_string_lossy();
        let wanted = engine.enter(&what, |_, bridge| {
            let load: Function<'_> = bridge.get("load")?;
            load.call::<_, Json>((number, &*name, &*file, seconds))
        })?;
        let mut wants = Vec::new();
        let mut methods = Vec::new();
        for wanted in wanted.0.as_array().into_iter().flatten() {
            if let Some((want, method, number)) = read_want(&name, wanted) {
                wants.push((want, method));
                methods.push(number);
            }
        }
        Ok(Registration {
            name: Rc::clone(&name),
            wants,
            handler: Rc::new(Scripted {
                engine: Rc::clone(engine),
                number,
                name,
                methods,
            }),
        })
    }

    /// Errors show paths; these tell whose they are.
    fn remember_place(&self, engine: &Engine, path: &Path, name: &Rc<str>) {
        let package = path.file_name().is_some_and(|f| f == "package.json");
        let place = match path.parent() {
            Some(parent) if package => parent,
            _ => path,
        };
        let real = std::fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
        let mut places = engine.host.places.borrow_mut();
        places.push((real, Rc::clone(name)));
    }
}

/// What `register_hook` was given: `[hook, method, priority, number]`.
fn read_want(plugin: &str, want: &Value) -> Option<(Wants, Rc<str>, u32)> {
    let text = |i: usize| want.get(i).and_then(Value::as_str);
    let hook = text(0)?;
    let Some(known) = HookName::parse(hook) else {
        log_at!(
            Level::Warn,
            &"-",
            "plugins",
            [],
            "{plugin}: there is no hook {hook}"
        );
        return None;
    };
    let priority = want.get(2).and_then(Value::as_i64).unwrap_or_default();
    let priority = i8::try_from(priority.clamp(-100, 100)).unwrap_or_default();
    let number = want.get(3).and_then(Value::as_u64)?;
    let method = Rc::from(text(1).unwrap_or("anonymous"));
    Some((
        Wants::at(known, priority),
        method,
        u32::try_from(number).ok()?,
    ))
}
