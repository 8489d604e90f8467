//! `haraka -l`: which plugins there are (CLI-02).

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Prints the native plugins, and those of an install directory.
pub fn list(install_dir: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "*global")?;
    let mut folder = None;
    // Names without a folder come first.
    let mut names: Vec<(&str, &str)> = haraka_plugins::names()
        .iter()
        .map(|name| name.split_once('/').unwrap_or(("", name)))
        .collect();
    names.sort_unstable();
    for (of, name) in names {
        if folder != Some(of) {
            writeln!(out, "\nplugins/{of}")?;
            folder = Some(of);
        }
        writeln!(out, "\t{name}")?;
    }
    let Some(dir) = install_dir else {
        return Ok(());
    };
    writeln!(out, "\n*local")?;
    let plugins = dir.join("plugins");
    scripts(&plugins, "plugins/", out)?;
    for folder in entries(&plugins) {
        if plugins.join(&folder).is_dir() {
            scripts(&plugins.join(&folder), &format!("plugins/{folder}"), out)?;
        }
    }
    writeln!(out, "\nNPM packages ({})", dir.display())?;
    for package in entries(&dir.join("node_modules")) {
        if let Some(name) = package.strip_prefix("haraka-plugin-") {
            writeln!(out, "\t{name}")?;
        }
    }
    Ok(())
}

fn scripts(dir: &Path, title: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{title}")?;
    for file in entries(dir) {
        if let Some(name) = file.strip_suffix(".js") {
            writeln!(out, "\t{name}")?;
        }
    }
    Ok(())
}

/// Names in a directory, sorted; one that is not there has none.
fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers CLI-02
    #[test]
    fn native_plugins_come_first_then_own_scripts_and_packages() {
        let dir = std::env::temp_dir().join(format!("haraka-list-{}", std::process::id()));
        for path in [
            "plugins/queue",
            "node_modules/haraka-plugin-greylist",
            "node_modules/express",
        ] {
            fs::create_dir_all(dir.join(path)).unwrap();
        }
        for path in [
            "plugins/mine.js",
            "plugins/notes.txt",
            "plugins/queue/hole.js",
        ] {
            fs::write(dir.join(path), "").unwrap();
        }
        let mut out = Vec::new();
        list(Some(&dir), &mut out).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let said = String::from_utf8(out).unwrap();
        let (global, local) = said.split_once("\n*local\n").unwrap();
        assert!(global.starts_with("*global\n\nplugins/\n\t"), "{global}");
        assert!(global.contains("\n\trelay\n"), "{global}");
        assert!(global.contains("\nplugins/queue\n\tdiscard\n"), "{global}");
        let wanted = format!(
            "\nplugins/\n\tmine\n\nplugins/queue\n\thole\n\nNPM packages ({})\n\tgreylist\n",
            dir.display()
        );
        assert_eq!(local, wanted);
    }
}
