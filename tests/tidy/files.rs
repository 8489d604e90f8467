//! The text files of the repository, as they are on disk: no list of them can go stale.

use std::fs;
use std::path::Path;

/// A text file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_document(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Whether the whole file is for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || name == "tests.rs"
            || name == "testing.rs"
            || name.ends_with("_tests.rs")
    }

    /// `path:line`, counted from 1.
    pub(crate) fn at(&self, index: usize) -> String {
        format!("{}:{}", self.path, index + 1)
    }

    /// A sample for the tests of the rules.
    #[cfg(test)]
    pub(crate) fn sample(path: &str, text: &str) -> Vec<File> {
        vec![File {
            path: path.to_owned(),
            text: text.to_owned(),
        }]
    }
}

/// What was built, what belongs to git, and octets that are data and not text.
const SKIPPED: [&str; 6] = [
    "target",
    ".git",
    "corpus",
    "artifacts",
    "data",
    "node_modules",
];

/// Every text file of ours.
pub(crate) fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    gather(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        files.len() > 100 && files.iter().any(|f| f.path == "shared/src/lib.rs"),
        "these are not the files of the repository"
    );
    files
}

fn gather(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            gather(root, &entry.path(), files);
        } else if kind.is_file() {
            // What is not text has no lines to judge.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                let path = entry.path();
                let path = path.strip_prefix(root).unwrap();
                files.push(File {
                    path: path.to_str().unwrap().replace('\\', "/"),
                    text,
                });
            }
        }
    }
}
