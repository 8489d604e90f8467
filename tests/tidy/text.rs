//! Rules about files as text: length, header, leftovers, white space, paths.

use crate::{File, Finding};

/// Lines that a source file may have, tests in it included.
const LONGEST: usize = 600;

/// The same for a file of tests alone: its cases do not depend on each other.
const LONGEST_TESTS: usize = 800;

pub(crate) fn too_long(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let most = if file.is_test() {
            LONGEST_TESTS
        } else {
            LONGEST
        };
        let lines = file.text.lines().count();
        if lines > most {
            findings.push(format!("{}: more than {most} lines", file.at(lines - 1)));
        }
    }
    findings
}

pub(crate) fn begins_with_a_header(files: &[File]) -> Vec<Finding> {
    // A program without `main` has to say so first.
    let body = |f: &File| f.text.trim_start_matches("#![no_main]\n").to_owned();
    files
        .iter()
        .filter(|f| f.is_rust())
        .filter(|f| !body(f).starts_with("//! ") || body(f).starts_with("//! \n"))
        .map(|f| format!("{}: no `//!` header", f.at(0)))
        .collect()
}

/// Marks of what is not finished, in two halves so that this file is clean itself.
const UNFINISHED: [(&str, &str); 8] = [
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X"),
    ("ST", "UB"),
    ("HA", "CK"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ign", "ore"),
];

pub(crate) fn nothing_unfinished(files: &[File]) -> Vec<Finding> {
    let marks = UNFINISHED.map(|(a, b)| format!("{a}{b}"));
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| is_written_by_us(f)) {
        for (i, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|m| stands_alone(line, m)) {
                findings.push(format!("{}: `{mark}`", file.at(i)));
            }
        }
    }
    findings
}

pub(crate) fn blanks_at_ends(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| is_written_by_us(f)) {
        for (i, line) in file.text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                findings.push(format!("{}: blanks at the end of the line", file.at(i)));
            }
        }
        let lines = file.text.lines().count();
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            findings.push(format!(
                "{}: not exactly one line end at the end",
                file.at(lines.saturating_sub(1))
            ));
        }
    }
    findings
}

/// Folders of the machines this was written on, in two halves as above.
const MACHINES: [(&str, &str); 5] = [
    ("/wo", "rk/"),
    ("/tmp/", "wt"),
    ("/tmp/", "tg"),
    ("/tmp/", "peer"),
    ("/root", "/"),
];

pub(crate) fn paths_of_a_machine(files: &[File]) -> Vec<Finding> {
    let paths = MACHINES.map(|(a, b)| format!("{a}{b}"));
    let mut findings = Vec::new();
    for file in files {
        for (i, line) in file.text.lines().enumerate() {
            for path in paths.iter().filter(|p| begins_alone(line, p)) {
                findings.push(format!("{}: `{path}`", file.at(i)));
            }
        }
    }
    findings
}

/// Whether the path is in the line and not part of a longer one.
fn begins_alone(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
}

/// Whether `mark` is in the line and not part of a longer word.
fn stands_alone(line: &str, mark: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let is_word = mark.ends_with(part);
    line.match_indices(mark).any(|(at, _)| {
        let goes_on = is_word && line[at + mark.len()..].starts_with(char::is_alphanumeric);
        !line[..at].ends_with(part) && !goes_on
    })
}

/// Code, documents, scripts and shipped settings; not the data of tests, which is what it has to be.
fn is_written_by_us(file: &File) -> bool {
    let path = file.path.as_str();
    let kinds = [".rs", ".md", ".toml", ".sh", ".yml", ".8"];
    kinds.iter().any(|kind| path.ends_with(kind))
        || ["config/", "contrib/", ".ci/"]
            .iter()
            .any(|f| path.starts_with(f))
        || path == "Makefile"
}

#[test]
fn long_and_headless_files_are_found() {
    let lines = |path, count: usize| too_long(&File::sample(path, &"x\n".repeat(count)));
    assert_eq!(lines("a.rs", 601), ["a.rs:601: more than 600 lines"]);
    assert_eq!(lines("a.rs", 600), [""; 0]);
    assert_eq!(
        lines("a_tests.rs", 801),
        ["a_tests.rs:801: more than 800 lines"]
    );
    assert_eq!(lines("a/tests/b.rs", 800), [""; 0]);
    let file = File::sample("a.rs", "use x;\n");
    assert_eq!(begins_with_a_header(&file), ["a.rs:1: no `//!` header"]);
    for good in ["//! What.\n", "#![no_main]\n//! What.\n"] {
        assert_eq!(begins_with_a_header(&File::sample("a.rs", good)), [""; 0]);
    }
}

#[test]
fn leftovers_are_found_as_words() {
    for (a, b) in UNFINISHED {
        let line = format!("fine\n  x {a}{b} y\n");
        assert_eq!(
            nothing_unfinished(&File::sample("a.rs", &line)),
            [format!("a.rs:2: `{a}{b}`")]
        );
    }
    let fine = "// X-TOD: todos, HACKED, my_todo, XXXX\n";
    assert_eq!(nothing_unfinished(&File::sample("a.rs", fine)), [""; 0]);
}

#[test]
fn blanks_and_missing_line_ends_are_found() {
    let judge = |text| blanks_at_ends(&File::sample("a.md", text)).len();
    assert_eq!(judge("a\n"), 0);
    assert_eq!(judge("a \nb\t\nc\r\n"), 3);
    assert_eq!(judge("a"), 1);
    assert_eq!(judge("a\n\n"), 1);
    assert_eq!(blanks_at_ends(&File::sample("a.smtp", "> \n")), [""; 0]);
}

#[test]
fn paths_are_found_in_any_file() {
    for (a, b) in MACHINES {
        let line = format!("x = {a}{b}y\n");
        assert_eq!(
            paths_of_a_machine(&File::sample("a.json", &line)),
            [format!("a.json:1: `{a}{b}`")]
        );
    }
    assert_eq!(
        paths_of_a_machine(&File::sample("a.md", "net/work/x\n")),
        [""; 0]
    );
}
