//! `haraka -p NAME`: a plugin in JavaScript to fill in, and its page (CLI-05).

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::install::{InstallError, write_file};

/// Why no plugin was made.
#[derive(Debug, thiserror::Error)]
pub enum NewPluginError {
    /// The name is not one.
    #[error("{0}: a plugin's name is letters, digits and - _ . with folders in front of it")]
    Name(String),
    /// A file cannot be made; one that is there needs `--force`.
    #[error(transparent)]
    File(#[from] InstallError),
}

/// What was made.
#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    /// The plugin.
    pub script: PathBuf,
    /// Its page.
    pub page: PathBuf,
}

/// Makes both files. Replaces those that are there only with `force`; without it neither is made if
/// one of them is there.
pub fn new_plugin(name: &str, install_dir: &Path, force: bool) -> Result<Made, NewPluginError> {
    if !sensible(name) {
        return Err(NewPluginError::Name(name.to_owned()));
    }
    let made = Made {
        script: install_dir.join(format!("plugins/{name}.js")),
        page: install_dir.join(format!("docs/plugins/{name}.md")),
    };
    let dir = install_dir.display().to_string();
    for (path, _) in made.files() {
        if !force && path.exists() {
            let cause = std::io::ErrorKind::AlreadyExists.into();
            return Err(InstallError::new(path, cause).into());
        }
    }
    for (path, template) in made.files() {
        let text = template.replace("%plugin%", name).replace("%config%", &dir);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| write_file(path, &text, 0o644, force))
            .map_err(|cause| InstallError::new(path, cause))?;
    }
    Ok(made)
}

impl Made {
    fn files(&self) -> [(&Path, &'static str); 2] {
        [(&self.script, SCRIPT), (&self.page, PAGE)]
    }
}

/// A name goes into paths, and into files that are programs.
fn sensible(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let inside = |c: Component<'_>| matches!(c, Component::Normal(_));
    !name.is_empty()
        && name.chars().all(letters)
        && !name.ends_with('/')
        && Path::new(name).components().all(inside)
}

const SCRIPT: &str = "\
// %plugin%: say in a line what this plugin is for.
//
// Its page is docs/plugins/%plugin%.md; `haraka -c %config% -h %plugin%` shows it.

exports.register = function () {
    this.load_settings()

    // One line for each hook: its name, the method below, and where in the order (-100 to 100, 0 if
    // left out). `haraka -h hooks` lists the hooks and what their answers mean.
    this.register_hook('rcpt', 'look_at_recipient')
}

exports.load_settings = function () {
    // Read again whenever the file changes.
    this.cfg = this.config.get('%plugin%.ini', () => this.load_settings())
}

exports.look_at_recipient = function (next, connection, params) {
    const recipient = params[0]
    connection.logdebug(this, `recipient ${recipient}`)

    // next() leaves the decision to the plugins that follow. next(OK) accepts the recipient,
    // next(DENY, 'why') refuses it, next(DENYSOFT, 'why') asks the client to try later.
    next()
}
";

const PAGE: &str = "\
# %plugin%

What the plugin decides, and for whom.

## Configuration

`config/%plugin%.ini`

| section | key | default | meaning |
|---|---|---|---|
| main | | | |

## Hooks

| hook | method | answer |
|---|---|---|
| rcpt | look_at_recipient | CONT |
";

#[cfg(test)]
mod tests {
    use super::*;

    // covers CLI-05
    #[test]
    fn both_files_are_made_with_the_name_in_them_and_kept_unless_forced() {
        let dir = std::env::temp_dir().join(format!("haraka-new-plugin-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let made = new_plugin("queue/mine", &dir, false).unwrap();
        assert_eq!(made.script, dir.join("plugins/queue/mine.js"));
        assert_eq!(made.page, dir.join("docs/plugins/queue/mine.md"));
        let script = fs::read_to_string(&made.script).unwrap();
        assert!(
            script.contains("queue/mine.ini") && !script.contains('%'),
            "{script}"
        );
        assert!(
            fs::read_to_string(&made.page)
                .unwrap()
                .starts_with("# queue/mine\n")
        );

        fs::write(&made.script, "mine").unwrap();
        let refused = new_plugin("queue/mine", &dir, false)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("plugins/queue/mine.js"), "{refused}");
        assert_eq!(fs::read_to_string(&made.script).unwrap(), "mine");
        new_plugin("queue/mine", &dir, true).unwrap();
        assert_eq!(fs::read_to_string(&made.script).unwrap(), script);
        fs::remove_dir_all(&dir).unwrap();
    }

    // covers CLI-05
    #[test]
    fn a_name_that_leads_elsewhere_or_is_none_makes_nothing() {
        for name in ["", "../x", "/x", "a/../b", "a b", "x/", "a\nb", "%config%"] {
            let refused = new_plugin(name, Path::new("/nowhere"), true);
            assert!(matches!(refused, Err(NewPluginError::Name(_))), "{name:?}");
        }
    }
}
