//! From a name in `config/plugins` to a plugin (PLG-02 to PLG-04).
//!
//! The install directory's own `plugins/NAME.js` or `plugins/NAME/` comes first, as an operator put
//! it there to be used; then the native plugin; then packages. Nothing is replaced in silence: a
//! script of the operator's own that cannot be loaded ends the start, even where a native plugin has
//! its name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use haraka_shared::config::At;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::plugin::{PluginEnv, Registration};

use super::registry::LoadError;
use crate::js::{Scripts, places};

/// The name that the plugin has today (PLG-02).
pub(super) fn current_name<'a>(at: &At, listed: &'a str, env: &PluginEnv<'_>) -> &'a str {
    let wanted = places::bare(listed);
    let Some(now) = haraka_plugins::renamed(wanted) else {
        return wanted;
    };
    env.warn(
        at.clone()
            .warn(format!("the plugin {wanted} is now called {now}")),
    );
    now
}

/// Whether this name of the list leads to a script.
pub(super) fn is_script(listed: &str, install_dir: &Path) -> bool {
    let name = places::bare(listed);
    let name = haraka_plugins::renamed(name).unwrap_or(name);
    let native = haraka_plugins::names().contains(&name);
    places::own(name, install_dir).is_some()
        || (!native && places::package(name, install_dir).is_some())
}

/// Loads one plugin.
pub(super) fn load(
    at: &At,
    name: &str,
    env: &PluginEnv<'_>,
    scripts: &Scripts,
) -> Result<(Registration, Option<Duration>), LoadError> {
    log_at!(Level::Info, &"-", "plugins", [], "loading {name}");
    let at = || Box::new(at.clone());
    let script = |path: PathBuf| {
        let time_limit = env.config.plugin_timeout(name)?;
        match scripts.load(name, &path, time_limit) {
            Ok(registration) => Ok((registration, time_limit)),
            Err(cause) => Err(LoadError::Script {
                at: at(),
                name: name.to_owned(),
                path,
                cause,
            }),
        }
    };
    if let Some(own) = places::own(name, env.install_dir) {
        if haraka_plugins::names().contains(&name) {
            let path = own.display();
            log_at!(
                Level::Notice,
                &"-",
                "plugins",
                [],
                "{name}: {path} runs, not the native plugin"
            );
        }
        return script(own);
    }
    let package = places::package(name, env.install_dir);
    let Some(loaded) = haraka_plugins::load(name, env) else {
        return match package {
            Some(path) => script(path),
            None => Err(LoadError::Unknown {
                at: at(),
                name: name.to_owned(),
            }),
        };
    };
    if let Some(path) = package {
        log_at!(
            Level::Notice,
            &"-",
            "plugins",
            [],
            "{name}: the native plugin runs, not {}",
            path.display()
        );
    }
    let registration = loaded.map_err(|cause| LoadError::Plugin {
        at: at(),
        name: name.to_owned(),
        cause: Box::new(cause),
    })?;
    Ok((registration, env.config.plugin_timeout(name)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use haraka_shared::config::{Config, ConfigDir, Watch};

    use super::*;
    use crate::hooks::Registry;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("haraka-resolve-{}-{name}/install", std::process::id());
            let dir = Dir(std::env::temp_dir().join(name));
            fs::create_dir_all(dir.0.join("config")).unwrap();
            dir
        }

        fn with(self, path: &str, text: &str) -> Dir {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn load(&self) -> Result<Vec<String>, String> {
            let dir = ConfigDir::open(&self.0).unwrap();
            let (config, _) = Config::load(&dir).unwrap();
            let registry =
                Registry::load(&config, &dir, &self.0, &Watch::new()).map_err(|e| e.to_string())?;
            Ok(registry.names())
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(self.0.parent().unwrap()).unwrap();
        }
    }

    // covers PLG-01, PLG-02
    #[test]
    fn prefixes_go_old_names_lead_on_and_several_to_one_plugin_load_it_once() {
        let list = "haraka-plugin-skeleton\nrelay_acl\nrelay_all\nqueue/discard\n";
        let dir = Dir::new("names").with("config/plugins", list);
        assert_eq!(dir.load().unwrap(), ["skeleton", "relay", "queue/discard"]);
    }

    // covers PLG-04, KEY-06
    #[test]
    fn unknown_plugin_ends_the_start_unless_bad_ones_are_ignored() {
        let dir = Dir::new("unknown").with("config/plugins", "skeleton\nnone_such\n");
        assert_eq!(
            dir.load(),
            Err(
                "plugins:2: Loading plugin none_such failed: No plugin with this name found"
                    .to_owned()
            )
        );
        let dir = dir.with("config/smtp.ini", "ignore_bad_plugins=true\n");
        assert_eq!(dir.load().unwrap(), ["skeleton"]);
    }

    // covers PLG-03, PLG-16
    #[test]
    fn own_script_is_never_replaced_by_a_native_plugin_in_silence() {
        for place in ["plugins/relay.js", "plugins/relay/package.json"] {
            let dir = Dir::new("own")
                .with("config/plugins", "relay\n")
                .with(
                    "plugins/relay/index.js",
                    "throw new Error('mine is broken')",
                )
                .with(place, "throw 'mine is broken'");
            let why = dir.load().unwrap_err();
            assert!(
                why.starts_with("plugins:1: Loading plugin relay failed: ")
                    && why.contains(place)
                    && why.contains("mine is broken"),
                "{why}"
            );
            let dir = dir.with("config/smtp.ini", "ignore_bad_plugins=true\n");
            assert!(dir.load().unwrap().is_empty());
        }
    }

    // covers PLG-03
    #[test]
    fn package_runs_only_where_no_native_plugin_has_its_name() {
        for place in [
            "node_modules/haraka-plugin-greylist",
            "../haraka-plugin-greylist",
            "node_modules/greylist",
        ] {
            let dir = Dir::new("package")
                .with("config/plugins", "greylist\n")
                .with(&format!("{place}/package.json"), "{}")
                .with(&format!("{place}/index.js"), "exports.register = () => {}");
            assert!(is_script("greylist", &dir.0));
            assert_eq!(dir.load().unwrap(), ["greylist"]);
        }
        let dir = Dir::new("both")
            .with("config/plugins", "relay\n")
            .with("node_modules/haraka-plugin-relay/package.json", "{}");
        assert!(!is_script("relay_acl", &dir.0));
        assert_eq!(dir.load().unwrap(), ["relay"]);
    }
}
