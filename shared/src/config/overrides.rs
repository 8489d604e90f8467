//! `smtp.json` or `smtp.yaml`: whole other files in one (CFS-15, PA-35). A key `!name` holds what the
//! file of that name is taken to contain, whether that is there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::log::Level;
use crate::log_server;

/// The files that are replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Where they are replaced: `smtp.json` or `smtp.yaml`.
    by: String,
    files: BTreeMap<PathBuf, Override>,
}

/// A replaced file.
#[derive(Clone, Debug, PartialEq)]
struct Override {
    name: String,
    content: Value,
}

impl Overrides {
    /// Takes the keys that begin with `!`. `path` tells where a file of a name would be.
    pub(super) fn of(
        by: &str,
        document: Value,
        path: impl Fn(&str) -> Option<PathBuf>,
    ) -> Overrides {
        let mut files = BTreeMap::new();
        if let Value::Object(map) = document {
            for (key, content) in map {
                if let Some(name) = key.strip_prefix('!')
                    && let Some(path) = path(name)
                {
                    let name = name.to_owned();
                    files.insert(path, Override { name, content });
                }
            }
        }
        Overrides {
            by: by.to_owned(),
            files,
        }
    }

    /// What a file is taken to contain, and how messages name that place.
    pub(super) fn get(&self, path: &Path) -> Option<(&Value, String)> {
        let found = self.files.get(path)?;
        Some((&found.content, format!("{} !{}", self.by, found.name)))
    }

    /// Where the files are replaced.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Names of the replaced files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.values().map(|o| &*o.name)
    }

    /// Logs which files are replaced.
    pub fn announce(&self) {
        for name in self.names() {
            log_server!(
                Level::Notice,
                "Overriding file {name} with config from {}",
                self.by
            );
        }
    }

    /// Paths whose content differs from `other`'s.
    pub(super) fn differing(&self, other: &Overrides) -> Vec<PathBuf> {
        let all: BTreeSet<_> = self.files.keys().chain(other.files.keys()).collect();
        let content = |overrides: &Overrides, path: &Path| {
            overrides.files.get(path).map(|o| o.content.clone())
        };
        all.into_iter()
            .filter(|path| content(self, path) != content(other, path))
            .cloned()
            .collect()
    }
}

/// The text of a scalar, as it would stand in an ini file; `None` for null and collections.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(yes.to_string()),
        // A script knows no difference between 1 and 1.0.
        Value::Number(n) => Some(match n.as_f64() {
            Some(f) if n.is_f64() && f.fract() == 0.0 && f.abs() < 9e15 => format!("{f:.0}"),
            _ => n.to_string(),
        }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The lines of a file without keys: an array's items, a single value as the only line.
pub(super) fn lines_of(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(scalar_text).collect(),
        Value::String(text) => text.lines().map(str::to_owned).collect(),
        other => scalar_text(other).into_iter().collect(),
    }
}
