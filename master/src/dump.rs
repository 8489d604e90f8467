//! `haraka --dump -c DIR`: all settings as they count, each with where it comes from. Secrets are
//! hidden.

use std::fmt::Write as _;

use haraka_shared::config::{
    ConfigDir, ConfigError, FileType, INI_FILES, Setting, effective, effective_other,
    effective_values,
};

/// Column of the origins; a longer setting pushes its own further out.
const COLUMN: usize = 48;

/// The text: a part for each ini file of the core, one for files without keys, and one for each ini
/// file beside them, which plugins read.
pub fn dump(dir: &ConfigDir) -> Result<String, ConfigError> {
    let mut out = String::new();
    for decl in INI_FILES {
        part(&mut out, decl.name, &effective(dir, decl)?);
    }
    let values = effective_values(dir)?;
    if !values.is_empty() {
        title(&mut out, "files without keys");
        for setting in &values {
            line(&mut out, &setting.file, setting);
        }
    }
    for file in other_ini_files(dir)? {
        part(&mut out, &file, &effective_other(dir, &file)?);
    }
    Ok(out)
}

fn other_ini_files(dir: &ConfigDir) -> Result<Vec<String>, ConfigError> {
    let paths = dir.files_below("")?;
    let names = paths
        .iter()
        .filter_map(|path| path.strip_prefix(dir.root()).ok()?.to_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.extend(dir.overrides().names().map(str::to_owned));
    names.retain(|name| {
        FileType::of(name) == FileType::Ini && INI_FILES.iter().all(|decl| decl.name != name)
    });
    names.sort();
    names.dedup();
    Ok(names)
}

fn part(out: &mut String, file: &str, settings: &[Setting]) {
    title(out, file);
    let mut section = "";
    for setting in settings {
        if setting.section != section {
            section = &setting.section;
            // Writing to a String cannot fail.
            let _ = writeln!(out, "[{section}]");
        }
        line(out, &setting.key, setting);
    }
}

fn title(out: &mut String, text: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "; {text}");
}

fn line(out: &mut String, name: &str, setting: &Setting) {
    let text = format!("{name} = {}", setting.shown());
    let text = text.trim_end();
    let _ = writeln!(out, "{text:<COLUMN$} ; {}", setting.origin);
}
