//! The repository's generated files are what the declared settings say, and what is shipped is read
//! without complaint. `UPDATE=1` rewrites the generated files.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use haraka_shared::config::{Config, ConfigDir, INI_FILES, document};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn check(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the settings say; run with UPDATE=1",
        path.display()
    );
}

#[test]
fn document_lists_every_setting_as_declared() {
    check(&root().join("docs/config.md"), &document::markdown());
}

#[test]
fn shipped_ini_files_show_every_setting_as_declared() {
    for decl in INI_FILES {
        check(&root().join("config").join(decl.name), &document::ini(decl));
    }
}

#[test]
fn shipped_files_are_read_without_complaint() {
    let dir = ConfigDir::open(&root()).unwrap();
    let (config, warnings) = Config::load(&dir).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.plugins, ["rcpt_to.in_host_list", "queue/maildir"]);
    assert_eq!(dir.list("host_list").unwrap(), ["localhost"]);
}

#[test]
fn every_shipped_line_is_right_once_its_comment_sign_is_taken_off() {
    // Examples and defaults rot unless they are read.
    let install = std::env::temp_dir().join(format!("haraka-shipped-{}", std::process::id()));
    std::fs::create_dir_all(install.join("config")).unwrap();
    for decl in INI_FILES {
        // A setting begins right after the sign, an explanation after a blank.
        let uncommented: String = document::ini(decl)
            .lines()
            .map(|line| match line.strip_prefix(';') {
                Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        std::fs::write(install.join("config").join(decl.name), uncommented).unwrap();
    }
    let loaded = Config::load(&ConfigDir::open(&install).unwrap());
    std::fs::remove_dir_all(&install).unwrap();
    let warnings: Vec<_> = loaded.unwrap().1.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
}
