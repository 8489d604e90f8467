//! Configurations with something wrong, and what the operator is told: each folder of
//! `tests/bad_configs/` is an install directory with a file `expected`. `UPDATE=1` rewrites those.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use haraka_shared::config::{Config, ConfigDir};

fn told(install: &Path) -> String {
    let loaded = ConfigDir::open(install).map(|dir| Config::load(&dir));
    let lines: Vec<String> = match loaded {
        Err(e) => vec![format!("error: {e}")],
        Ok(Err(errors)) => errors.iter().map(|e| format!("error: {e}")).collect(),
        Ok(Ok((_, warnings))) => warnings.iter().map(|w| format!("warning: {w}")).collect(),
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_bad_configuration_tells_file_line_and_key() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_configs");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(cases).unwrap() {
        let case = entry.unwrap().path();
        count += 1;
        let got = told(&case);
        assert!(!got.is_empty(), "{}: nothing was told", case.display());
        let expected = case.join("expected");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &got).unwrap();
        }
        let want = std::fs::read_to_string(&expected).unwrap_or_default();
        if want != got {
            wrong.push(format!("{}:\n{got}instead of\n{want}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 15, "only {count} cases were found");
}
