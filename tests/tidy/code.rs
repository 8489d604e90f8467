//! Rules about what code mentions, and the reading of Rust that they need: comments and the insides of
//! literals are blanked, so that only code is judged.

use crate::{File, Finding};

/// `word` in code below one of `allowed`, and nowhere else.
pub(crate) fn word_only_below(files: &[File], word: &str, allowed: &[&str]) -> Vec<Finding> {
    let judged = |f: &&File| f.is_rust() && !allowed.iter().any(|a| f.path.starts_with(a));
    let mut findings = Vec::new();
    for file in files.iter().filter(judged) {
        for (i, line) in code_of(&file.text).lines().enumerate() {
            if has_word(line, word) {
                findings.push(format!(
                    "{}: `{word}` is for {} only",
                    file.at(i),
                    allowed[0]
                ));
            }
        }
    }
    findings
}

/// No word of `banned` in code below `folders`, tests aside. `harmless` phrases do not count.
pub(crate) fn words_banned_below(
    files: &[File],
    folders: &[&str],
    banned: &[&str],
    harmless: &[&str],
) -> Vec<Finding> {
    let judged =
        |f: &&File| f.is_rust() && folders.iter().any(|a| f.path.starts_with(a)) && !f.is_test();
    let mut findings = Vec::new();
    for file in files.iter().filter(judged) {
        let code = code_of(&file.text);
        for (i, line) in before_tests(&code).lines().enumerate() {
            let line = harmless
                .iter()
                .fold(line.to_owned(), |l, phrase| l.replace(phrase, ""));
            for word in banned.iter().filter(|w| has_word(&line, w)) {
                findings.push(format!("{}: `{word}` does not belong here", file.at(i)));
            }
        }
    }
    findings
}

/// Each crate with those of ours that it may depend on.
const DIRECTION: [(&str, &[&str]); 4] = [
    ("shared", &[]),
    ("plugins", &["haraka-shared"]),
    ("worker", &["haraka-shared", "haraka-plugins"]),
    (
        "master",
        &["haraka-shared", "haraka-plugins", "haraka-worker"],
    ),
];

pub(crate) fn dependencies_point_one_way(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let of = |(name, _): &&(&str, _)| file.path == format!("{name}/Cargo.toml");
        let Some((name, allowed)) = DIRECTION.iter().find(of) else {
            continue;
        };
        for (i, line) in file.text.lines().enumerate() {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if key.starts_with("haraka-") && !allowed.contains(&key) {
                findings.push(format!("{}: {name} must not know {key}", file.at(i)));
            }
        }
    }
    findings
}

/// Dependencies that no source of their package names.
pub(crate) fn unused_dependencies(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| is_our_manifest(f)) {
        // The root package is the program and its tests.
        let folders = match file.path.strip_suffix("Cargo.toml") {
            Some("") => vec!["tests/", "master/src/main.rs"],
            folder => vec![folder.unwrap_or_default()],
        };
        let of_package = |f: &&File| f.is_rust() && folders.iter().any(|p| f.path.starts_with(p));
        let code: Vec<_> = files
            .iter()
            .filter(of_package)
            .map(|f| code_of(&f.text))
            .collect();
        for (i, name) in dependencies(&file.text) {
            // The library is not named after its package.
            let word = match name {
                "rust-ini" => "ini".to_owned(),
                "md-5" => "md5".to_owned(),
                _ => name.replace('-', "_"),
            };
            if !code.iter().any(|c| c.lines().any(|l| has_word(l, &word))) {
                findings.push(format!("{}: nobody uses {name}", file.at(i)));
            }
        }
    }
    findings
}

/// Names in the sections `[dependencies]` and `[dev-dependencies]`, each with its line.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut listed = false;
    let mut found = Vec::new();
    for (i, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            listed = ["[dependencies]", "[dev-dependencies]"].contains(&line);
        } else if listed
            && let Some(name) = line.split(['.', ' ', '=']).next()
            && name.starts_with(char::is_alphabetic)
        {
            found.push((i, name));
        }
    }
    found
}

/// The fuzz targets are a workspace of their own.
fn is_our_manifest(file: &File) -> bool {
    file.path.ends_with("Cargo.toml") && !file.path.starts_with("tests/fuzz/")
}

pub(crate) fn manifests_take_the_lints(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .filter(|f| is_our_manifest(f))
        .filter(|f| !f.text.contains("[lints]\nworkspace = true"))
        .map(|f| format!("{}: no lints", f.at(0)))
        .collect()
}

/// Lines above an unsafe block within which its reason must begin.
const REASON_WITHIN: usize = 12;

pub(crate) fn unsafe_has_a_reason(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let lines: Vec<_> = file.text.lines().collect();
        for (i, code) in code_of(&file.text).lines().enumerate() {
            let opens = has_word(code, "unsafe") && (code.contains('{') || code.contains("impl"));
            let nearby = &lines[i.saturating_sub(REASON_WITHIN)..=i];
            if opens && !nearby.iter().any(|l| l.contains("SAFETY:")) {
                findings.push(format!("{}: unsafe without SAFETY comment", file.at(i)));
            }
        }
    }
    findings
}

/// What comes before the test module at the end of a file.
fn before_tests(code: &str) -> &str {
    let inline = code.match_indices("#[cfg(test)]").find(|(at, attribute)| {
        let after = code[at + attribute.len()..].trim_start();
        after.starts_with("mod ") && after.lines().next().is_some_and(|l| l.ends_with('{'))
    });
    inline.map_or(code, |(at, _)| &code[..at])
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// The text with comments and the insides of literals as blanks; lines stay lines.
fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let quoted = quoted_length(rest, out.chars().next_back());
        let skipped = match quoted {
            Some(length) => length,
            None if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            None if rest.starts_with("/*") => comment_length(rest),
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        let blank = |c| if c == '\n' { '\n' } else { ' ' };
        out.extend(rest[..skipped].chars().map(blank));
        rest = &rest[skipped..];
    }
    out
}

/// Length of the block comment, which may hold others, at the start of `text`.
fn comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Length of the string or character literal at the start of `text`, if one is there. `before` is the
/// character in front of it.
fn quoted_length(text: &str, before: Option<char>) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes[0] == b'\'' {
        // A lifetime has no closing quote behind its first character.
        let inner = text[1..].chars().next()?;
        let length = 1 + inner.len_utf8();
        return match inner {
            '\\' => text[3..].find('\'').map(|end| end + 4),
            _ => text[length..].starts_with('\'').then_some(length + 1),
        };
    }
    if bytes[0] == b'"' {
        let mut escaped = false;
        let end = bytes[1..].iter().position(|&b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        return Some(end.map_or(text.len(), |end| end + 2));
    }
    if bytes[0] == b'r' && !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') {
        let hashes = bytes[1..].iter().take_while(|&&b| b == b'#').count();
        if bytes.get(1 + hashes) == Some(&b'"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = 2 + hashes;
            let end = text[open..].find(&close);
            return Some(end.map_or(text.len(), |end| open + end + close.len()));
        }
    }
    None
}

#[test]
fn code_is_what_is_left_without_comments_and_literals() {
    for (text, code) in [
        ("a // mio\nb", "a       \nb"),
        ("a /* x /* y */ z */ b", "a                   b"),
        (r#"f("mio \" // ")+g"#, "f(            )+g"),
        ("f(r#\"a\"b\"#)", "f(        )"),
        ("br\"x\"", "b    "),
        ("for\"x\"", "for   "),
        (r"x('\'', 'a', '\u{1}')", "x(    ,    ,        )"),
        ("&'a str, 'é'", "&'a str,    "),
        ("\"a\nb\" c", "  \n   c"),
        ("\"\\\\\" // x", "         "),
    ] {
        assert_eq!(code_of(text), code, "{text}");
    }
}

#[test]
fn words_are_found_in_code_outside_their_place() {
    let text = "//! mio\nuse mio::Poll;\nlet mio_like = \"mio\";\n";
    let found = word_only_below(
        &File::sample("worker/src/x.rs", text),
        "mio",
        &["worker/src/rt/"],
    );
    assert_eq!(
        found,
        ["worker/src/x.rs:2: `mio` is for worker/src/rt/ only"]
    );
    let inside = File::sample("worker/src/rt/x.rs", text);
    assert_eq!(
        word_only_below(&inside, "mio", &["worker/src/rt/"]),
        [""; 0]
    );
}

#[test]
fn banned_words_are_found_outside_tests() {
    let text = "let n = thread::current();\nuse std::{io, thread};\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n";
    let judge = |path| {
        words_banned_below(
            &File::sample(path, text),
            &["shared/"],
            &["thread"],
            &["thread::current"],
        )
    };
    assert_eq!(
        judge("shared/src/x.rs"),
        ["shared/src/x.rs:2: `thread` does not belong here"]
    );
    assert_eq!(judge("shared/src/x/tests.rs"), [""; 0]);
    assert_eq!(judge("worker/src/x.rs"), [""; 0]);
}

#[test]
fn wrong_manifests_are_found() {
    let text = "[dependencies]\nharaka-shared.workspace = true\nharaka-worker = { path = \"x\" }\n";
    let file = File::sample("plugins/Cargo.toml", text);
    assert_eq!(
        dependencies_point_one_way(&file),
        ["plugins/Cargo.toml:3: plugins must not know haraka-worker"]
    );
    assert_eq!(manifests_take_the_lints(&file).len(), 1);
    let mut files = file;
    files.extend(File::sample(
        "plugins/src/lib.rs",
        "use haraka_shared::x; // haraka_worker\n",
    ));
    assert_eq!(
        unused_dependencies(&files),
        ["plugins/Cargo.toml:3: nobody uses haraka-worker"]
    );
}

#[test]
fn unsafe_without_reason_is_found() {
    let good = "// SAFETY: checked above.\nunsafe { f() }\n";
    assert_eq!(unsafe_has_a_reason(&File::sample("a.rs", good)), [""; 0]);
    let bad = unsafe_has_a_reason(&File::sample("a.rs", "x\nunsafe { f() }\n"));
    assert_eq!(bad, ["a.rs:2: unsafe without SAFETY comment"]);
}
