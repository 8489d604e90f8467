//! Which IDs tests name: in comments of test code, and in the comments of transcripts and dialogues. Ranges
//! such as `CON-01 to CON-05` (or `to 05`) name all that is between.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::table::AREAS;

/// All IDs that tests below `root` name.
pub fn ids(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(root, &path, found);
            }
            continue;
        }
        let inside = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if inside.starts_with("tests/compatibility") {
            continue;
        }
        let is_data = inside.ends_with(".smtp")
            || (inside.starts_with("tests/dialogues/") && inside.ends_with(".txt"));
        if is_data || inside.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            for comment in comments(&inside, &text) {
                add_named(comment, found);
            }
        }
    }
}

/// The comments of a file as far as they belong to tests.
fn comments<'a>(path: &str, text: &'a str) -> Vec<&'a str> {
    if !path.ends_with(".rs") {
        return text.lines().filter(|line| line.starts_with('#')).collect();
    }
    let all_tests = path.split('/').any(|part| part == "tests")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs");
    let tests = match text.find("#[cfg(test)]") {
        _ if all_tests => text,
        Some(start) => &text[start..],
        None => "",
    };
    tests
        .lines()
        .filter_map(|line| line.find("//").map(|at| &line[at..]))
        .collect()
}

fn add_named(comment: &str, found: &mut BTreeSet<String>) {
    let words: Vec<&str> = comment
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| !word.is_empty())
        .collect();
    for (at, word) in words.iter().enumerate() {
        let Some((area, first)) = id_of(word) else {
            continue;
        };
        let last = match words.get(at + 1..at + 3) {
            Some(["to", end]) => id_of(end)
                .filter(|(other, _)| *other == area)
                .map(|(_, last)| last)
                .or_else(|| number(end)),
            _ => None,
        };
        for n in first..=last.unwrap_or(first) {
            found.insert(format!("{area}-{n:02}"));
        }
    }
}

fn id_of(word: &str) -> Option<(&str, u32)> {
    let (area, digits) = word.split_once('-')?;
    let known = AREAS.iter().any(|one| one.name == area);
    Some((area, number(digits)?)).filter(|_| known)
}

fn number(digits: &str) -> Option<u32> {
    (digits.len() == 2).then(|| digits.parse().ok())?
}

#[test]
fn lists_and_ranges_in_comments_of_tests_count() {
    let mut found = BTreeSet::new();
    let source = "// CLI-01\nfn a() {}\n#[cfg(test)]\nmod tests {\n    // covers PB-03, CON-05 to CON-07 and HOK-01 to 03; RFC-10\n}\n";
    for comment in comments("worker/src/x.rs", source) {
        add_named(comment, &mut found);
    }
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(
        found,
        [
            "CON-05", "CON-06", "CON-07", "HOK-01", "HOK-02", "HOK-03", "PB-03"
        ]
    );
}
