//! `haraka --check -c DIR`: everything that is wrong with a configuration, told without starting.
//!
//! A line for each finding: `error: smtp.ini:3: nodes: …`. Reads files and asks the user database;
//! binds nothing, forks nothing, writes nothing.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use haraka_shared::config::{
    Config, ConfigDir, Environment, FileType, INI_FILES, Setting, effective_all, key_name, nearest,
};
use haraka_worker::Inspection;

use crate::privileges::Identity;

/// What was found, each a line without its `error: ` or `warning: `.
#[derive(Debug, Default)]
pub struct Findings {
    /// What keeps the server from starting, or a part of it from working.
    pub errors: Vec<String>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
}

impl Findings {
    /// The lines and a summary.
    pub fn report(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        for line in &self.errors {
            let _ = writeln!(out, "error: {line}");
        }
        for line in &self.warnings {
            let _ = writeln!(out, "warning: {line}");
        }
        let count = |n: usize, word: &str| match n {
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        let (errors, warnings) = (self.errors.len(), self.warnings.len());
        let _ = writeln!(
            out,
            "{}, {}",
            count(errors, "error"),
            count(warnings, "warning")
        );
        out
    }

    fn dedupe(&mut self) {
        let mut seen = HashSet::new();
        self.errors.retain(|line| seen.insert(line.clone()));
        self.warnings.retain(|line| seen.insert(line.clone()));
    }
}

/// Looks at the configuration of an install directory. `plugins` tries to load those.
pub fn check(install_dir: &Path, plugins: fn(&ConfigDir) -> Inspection) -> Findings {
    let mut found = Findings::default();
    let dir = match ConfigDir::open(install_dir) {
        Ok(dir) => dir,
        Err(e) => {
            found.errors.push(e.to_string());
            return found;
        }
    };
    let (config, problems) = Config::inspect(&dir);
    let lines = |items: &[String]| items.to_vec();
    found
        .errors
        .extend(problems.errors.iter().map(ToString::to_string));
    found
        .warnings
        .extend(problems.warnings.iter().map(ToString::to_string));
    let inspection = plugins(&dir);
    let lenient = config.as_ref().is_some_and(|c| c.smtp.ignore_bad_plugins);
    match lenient {
        true => found.warnings.extend(lines(&inspection.errors)),
        false => found.errors.extend(lines(&inspection.errors)),
    }
    found.warnings.extend(lines(&inspection.warnings));
    if let Some(config) = &config {
        if config.smtp.nodes_unset {
            let text = "smtp.ini: nodes is not set, 1 applies".to_owned();
            found.warnings.push(text);
        }
        named_by_settings(&dir, config, &mut found);
    }
    other_files(&dir, &mut found);
    environment(&dir, &mut found);
    found.dedupe();
    found
}

/// Users and paths that settings name.
fn named_by_settings(dir: &ConfigDir, config: &Config, found: &mut Findings) {
    let settings = effective_all(dir).unwrap_or_default();
    let mut say = |file: &str, section: &str, key: &str, why: String| {
        let place = place(&settings, file, section, key);
        let name = match key {
            "" => file.to_owned(),
            key => key_name(section, key),
        };
        found.errors.push(format!("{place}: {name}: {why}"));
    };
    let smtp = &config.smtp;
    for (key, user, group) in [
        ("user", smtp.user.as_deref(), None),
        ("group", None, smtp.group.as_deref()),
    ] {
        if let Err(e) = Identity::resolve(user, group) {
            let why = e.to_string();
            let why = why.strip_prefix(&format!("smtp.ini: {key}: "));
            let why = why.map_or_else(|| e.to_string(), str::to_owned);
            say("smtp.ini", "main", key, why);
        }
    }
    if smtp.daemonize {
        for (key, path) in [
            ("daemon_log_file", &smtp.daemon_log_file),
            ("daemon_pid_file", &smtp.daemon_pid_file),
        ] {
            if let Some(why) = no_room_for(path) {
                say("smtp.ini", "main", key, why);
            }
        }
    }
    let spool = &config.connection.spool_dir;
    if !spool.is_dir() {
        let why = format!("{} is not a directory", spool.display());
        say("connection.ini", "main", "spool_dir", why);
    }
    if !config.queue_dir.is_dir()
        && let Some(why) = no_room_for(&config.queue_dir)
    {
        say("queue_dir", "main", "", why);
    }
}

/// Why no file can be made at this path; `None` if its directory is there.
fn no_room_for(path: &Path) -> Option<String> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty())?;
    (!parent.is_dir()).then(|| format!("there is no directory {}", parent.display()))
}

fn place(settings: &[Setting], file: &str, section: &str, key: &str) -> String {
    let same = |s: &&Setting| s.file == file && s.section == section && s.key == key;
    let origin = settings.iter().find(same).map(|s| s.origin.to_string());
    origin
        .filter(|o| o != "default")
        .unwrap_or_else(|| file.to_owned())
}

/// Files of plugins: whoever reads them, they must have the form that their names promise.
fn other_files(dir: &ConfigDir, found: &mut Findings) {
    let paths = match dir.files_below("") {
        Ok(paths) => paths,
        Err(e) => return found.errors.push(e.to_string()),
    };
    for path in paths {
        let Some(name) = path.strip_prefix(dir.root()).ok().and_then(Path::to_str) else {
            continue;
        };
        match FileType::of(name) {
            FileType::Json | FileType::Hjson | FileType::Yaml => {
                if let Err(e) = dir.document(name) {
                    found.errors.push(e.to_string());
                }
            }
            FileType::Ini if INI_FILES.iter().all(|decl| decl.name != name) => {
                match dir.ini(name) {
                    Ok(ini) => {
                        let warnings = ini.warnings().iter().map(ToString::to_string);
                        found.warnings.extend(warnings);
                    }
                    Err(e) => found.errors.push(e.to_string()),
                }
            }
            _ => {}
        }
    }
}

/// Variables that are almost settings of the core. Others may be those of plugins.
fn environment(dir: &ConfigDir, found: &mut Findings) {
    let known: Vec<String> = INI_FILES
        .iter()
        .flat_map(|decl| {
            let name = |section, key| Environment::name(decl.name, section, key);
            decl.rows.iter().map(move |row| name(row.section, row.key))
        })
        .chain(Config::files().iter().map(|f| Environment::file_name(f)))
        .collect();
    for name in dir.environment().names() {
        let plain = name.replacen("_MAIN_", "_", 1);
        if known.contains(&name) || known.contains(&plain) {
            continue;
        }
        if let Some(near) = nearest(&name, known.iter().map(String::as_str)) {
            let line = format!("environment {name}: unknown setting; is {near} meant?");
            found.warnings.push(line);
        }
    }
}
