//! Reads the declared settings of one file: values, defaults, legacy files, unknown keys.
//!
//! Every message names file, line and key. Nothing stops at the first problem.

use std::collections::BTreeMap;

use super::dir::ConfigDir;
use super::error::{At, ConfigError, Problems, key_name};
use super::ini::{Held, Ini, IniValue};
use super::row::{FileDecl, Gone, Kind, NAMED, Row};

/// A file with declared settings while it is read.
pub struct Reader<'a> {
    /// The parsed file.
    pub ini: Ini,
    /// Where errors and warnings go.
    pub problems: &'a mut Problems,
    dir: &'a ConfigDir,
    decl: &'static FileDecl,
    /// The section that rows are read from instead of their own.
    within: Option<String>,
}

impl<'a> Reader<'a> {
    /// Reads the file and notes what is odd about it; `None` if it cannot be read.
    pub fn open(
        dir: &'a ConfigDir,
        decl: &'static FileDecl,
        problems: &'a mut Problems,
    ) -> Option<Reader<'a>> {
        let ini = problems.note(dir.ini(decl.name))?;
        problems.warnings.extend_from_slice(ini.warnings());
        let mut reader = Reader {
            ini,
            problems,
            dir,
            decl,
            within: None,
        };
        reader.note_unknown();
        reader.note_former_files();
        Some(reader)
    }

    /// Reads a setting of one value.
    pub fn single<K: Kind + ?Sized>(&mut self, kind: &K, row: &Row) -> Option<K::Out> {
        match self.ini.held(&self.section_of(row), row.key) {
            None => self.legacy_or_default(kind, row),
            Some(Held::One(value)) => {
                let value = value.clone();
                self.value(kind, row, &value, &self.ini.at(&value))
            }
            Some(Held::Many(values)) => {
                let at = values
                    .first()
                    .map_or_else(|| self.at(0), |v| self.ini.at(v));
                self.bad(row, &at, "takes one value; write it without []");
                None
            }
        }
    }

    /// Reads a setting of `key[] = value` lines. A plain `key = value` counts as one of them, with
    /// a warning; empty values do not count.
    pub fn many<K: Kind>(&mut self, kind: &K, row: &Row) -> Option<Vec<K::Out>> {
        if let Some(Held::One(value)) = self.ini.held(&self.section_of(row), row.key)
            && value.origin.is_none()
        {
            let text = format!("{} is a list; write {}[]", self.name(row), row.key);
            self.problems.warnings.push(self.ini.at(value).warn(text));
        }
        self.one_or_many(kind, row)
    }

    /// Reads a setting that may be written as `key = value` and as lines of `key[] = value`; empty
    /// values do not count.
    pub fn one_or_many<K: Kind>(&mut self, kind: &K, row: &Row) -> Option<Vec<K::Out>> {
        let values = self.ini.array(&self.section_of(row), row.key).to_vec();
        let wanted = values.iter().filter(|v| !v.text.is_empty());
        let read: Vec<_> = wanted
            .map(|v| self.value(kind, row, v, &self.ini.at(v)))
            .collect();
        read.into_iter().collect()
    }

    /// Reads a setting from each section that is named by the operator (see
    /// [`FileDecl::names_sections`]) and says something of it.
    pub fn by_section<K: Kind>(&mut self, kind: &K, row: &Row) -> Option<BTreeMap<String, K::Out>> {
        let own = |name: &str| {
            self.decl
                .sections
                .iter()
                .any(|(declared, _)| *declared == name)
        };
        let named = self.ini.sections().filter(|s| !own(&s.name));
        let named = named.filter(|s| self.ini.text(&s.name, row.key).is_some());
        let names: Vec<String> = named.map(|s| s.name.clone()).collect();
        let mut read = Some(BTreeMap::new());
        for name in names {
            self.within = Some(name.clone());
            match (kind.read(self, row), &mut read) {
                (Some(value), Some(read)) => drop(read.insert(name, value)),
                _ => read = None,
            }
        }
        self.within = None;
        read
    }

    /// Reads a section whose keys are the operator's: each key with its value, and what is wrong
    /// with a key is warned about and left out.
    pub fn keys<T>(
        &mut self,
        row: &Row,
        parse: impl Fn(&str, &str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut out = Vec::new();
        let Some(section) = self.ini.section(row.section) else {
            return out;
        };
        let mut wrong = Vec::new();
        for entry in section.entries() {
            let text = self.ini.get(row.section, &entry.key).map(|v| &*v.text);
            match parse(&entry.key, text.unwrap_or_default()) {
                Ok(value) => out.push(value),
                Err(why) => wrong.push(
                    self.at(entry.held.line())
                        .warn(format!("[{}]: {why}; it does not count", row.section)),
                ),
            }
        }
        self.problems.warnings.extend(wrong);
        out
    }

    /// Notes a warning about a setting that is being read, at its line.
    pub fn warn_of(&mut self, row: &Row, text: impl Into<String>) {
        self.warn(&self.section_of(row), row.key, text);
    }

    /// The section that a row is read from at the moment.
    fn section_of(&self, row: &Row) -> String {
        self.within
            .clone()
            .unwrap_or_else(|| row.section.to_owned())
    }

    fn name(&self, row: &Row) -> String {
        key_name(&self.section_of(row), row.key)
    }

    /// Notes an error about a setting, at the line of its key.
    pub fn fail(&mut self, section: &str, key: &str, why: impl Into<String>) {
        self.problems.errors.push(self.ini.error(section, key, why));
    }

    /// Notes a warning about a setting, at the line of its key.
    pub fn warn(&mut self, section: &str, key: &str, text: impl Into<String>) {
        let value = self.ini.get(section, key);
        let at = value.map_or_else(|| self.at(0), |v| self.ini.at(v));
        let text = format!("{}: {}", key_name(section, key), text.into());
        self.problems.warnings.push(at.warn(text));
    }

    fn at(&self, line: u32) -> At {
        At::line(self.ini.file(), line)
    }

    fn bad(&mut self, row: &Row, at: &At, why: impl Into<String>) {
        self.problems.errors.push(ConfigError::Value {
            at: at.clone(),
            key: self.name(row),
            why: why.into(),
        });
    }

    fn value<K: Kind + ?Sized>(
        &mut self,
        kind: &K,
        row: &Row,
        value: &IniValue,
        at: &At,
    ) -> Option<K::Out> {
        let name = self.name(row);
        let mut complain = |text: String| {
            let text = format!("{name}: {text}");
            self.problems.warnings.push(at.clone().warn(text));
        };
        if value.bare || (value.text.is_empty() && !kind.takes_empty()) {
            if let Some(fallback) = kind.fallback() {
                complain("has no value; it counts as false".to_owned());
                return Some(fallback);
            }
            complain(format!("has no value; {}", instead(row)));
            return self.default(kind, row);
        }
        if row.zero_is_default && value.text.parse() == Ok(0.0) {
            complain(format!("0 is not a value here; {}", instead(row)));
            return self.default(kind, row);
        }
        match kind.parse(&value.text) {
            Ok(parsed) => Some(parsed),
            Err(why) if row.lenient => {
                complain(format!("{why}; {}", instead(row)));
                self.default(kind, row)
            }
            Err(why) => {
                if let Some(fallback) = kind.fallback() {
                    complain(why);
                    return Some(fallback);
                }
                self.bad(row, at, why);
                None
            }
        }
    }

    fn default<K: Kind + ?Sized>(&mut self, kind: &K, row: &Row) -> Option<K::Out> {
        match kind.parse(row.default) {
            Ok(value) => Some(value),
            Err(why) => {
                self.bad(row, &self.at(0), why);
                None
            }
        }
    }

    fn legacy_or_default<K: Kind + ?Sized>(&mut self, kind: &K, row: &Row) -> Option<K::Out> {
        let Some(file) = row.legacy else {
            return self.default(kind, row);
        };
        let Some((at, text)) = self.problems.note(self.dir.first_item(file))? else {
            return self.default(kind, row);
        };
        let hint = format!(
            "still counts; {} in {} replaces it",
            self.name(row),
            self.decl.name
        );
        self.problems.warnings.push(At::file(file).warn(hint));
        let value = IniValue {
            text,
            line: at.line,
            bare: false,
            origin: None,
        };
        self.value(kind, row, &value, &at)
    }

    fn note_former_files(&mut self) {
        for row in self.decl.rows {
            let Some(file) = row.former else { continue };
            if self.ini.get(row.section, row.key).is_none() && self.dir.exists(file) {
                let text = format!(
                    "is not read any more; set {} in {}",
                    key_name(row.section, row.key),
                    self.decl.name
                );
                self.problems.warnings.push(At::file(file).warn(text));
            }
        }
    }

    fn note_unknown(&mut self) {
        let mut found = Vec::new();
        for section in self.ini.sections() {
            let known = self.decl.sections.iter().any(|(n, _)| *n == section.name);
            let gone_whole = gone(self.decl, &section.name, "*");
            let near = nearest(&section.name, self.decl.sections.iter().map(|(n, _)| *n));
            let named = self.decl.names_sections() && is_name(&section.name, near);
            if !known && !named && gone_whole.is_none() {
                let hint = near.map_or(String::new(), |n| format!("; is [{n}] meant?"));
                let text = format!("unknown section [{}]{hint}", section.name);
                found.push(self.at(section.line).warn(text));
                continue;
            }
            for entry in section.entries() {
                let rows = if named && !known {
                    NAMED
                } else {
                    &section.name
                };
                if let Some(text) = complaint(self.decl, rows, &section.name, &entry.key) {
                    found.push(self.at(entry.held.line()).warn(text));
                }
            }
        }
        self.problems.warnings.append(&mut found);
    }
}

fn instead(row: &Row) -> String {
    match row.default {
        "" => "it counts as not set".to_owned(),
        default => format!("{default} applies"),
    }
}

fn gone(decl: &'static FileDecl, section: &str, key: &str) -> Option<&'static Gone> {
    decl.gone
        .iter()
        .find(|g| g.section == section && (g.key == key || g.key == "*"))
}

/// Whether a section that is not declared has a name that an operator gave it, and not a misspelt
/// one of ours. Names of hosts have dots.
fn is_name(section: &str, near: Option<&str>) -> bool {
    near.is_none() || section.contains(['.', '*']) || section == "inbound"
}

/// What to say about a key that is not declared; `None` if it is. `section` is the one of the rows,
/// `shown` that of the file.
fn complaint(decl: &'static FileDecl, section: &str, shown: &str, key: &str) -> Option<String> {
    let full = key_name(shown, key);
    if decl
        .rows
        .iter()
        .any(|r| r.section == section && (r.key == key || r.key == "*"))
    {
        return None;
    }
    if let Some(gone) = gone(decl, section, key) {
        return Some(format!("{full} has no effect; {}", gone.instead));
    }
    let same = decl.rows.iter().find(|r| r.key == key);
    let hint = match same {
        Some(row) => format!("; it belongs to section [{}]", row.section),
        None => {
            let here = decl.rows.iter().filter(|r| r.section == section);
            let near = nearest(key, here.map(|r| r.key))
                .map(|k| key_name(section, k))
                .or_else(|| {
                    let near = nearest(key, decl.rows.iter().map(|r| r.key))?;
                    let row = decl.rows.iter().find(|r| r.key == near)?;
                    Some(key_name(row.section, row.key))
                });
            near.map_or(String::new(), |n| format!("; is {n} meant?"))
        }
    };
    Some(format!("unknown setting {full}{hint}"))
}

/// The known name that an unknown one was most likely meant to be.
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = wanted.chars().count().div_ceil(3).clamp(1, 3);
    known
        .map(|k| (distance(&wanted.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Edits between two names: inserted, deleted or replaced characters. Names longer than any
/// setting's are not compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, ca) in a.chars().enumerate() {
        let mut current = vec![row + 1];
        let (mut diagonal, mut left) = (row, row + 1);
        for (cb, up) in b.iter().zip(above.iter().skip(1)) {
            let cost = (diagonal + usize::from(ca != *cb))
                .min(left + 1)
                .min(up + 1);
            current.push(cost);
            (diagonal, left) = (*up, cost);
        }
        above = current;
    }
    above.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn nearest_finds_typos_and_nothing_far_off() {
        let known = ["listen", "nodes", "inactivity_timeout"];
        assert_eq!(nearest("lisen", known.into_iter()), Some("listen"));
        assert_eq!(nearest("activity", known.into_iter()), None);
        assert_eq!(
            nearest("inactivty_timout", known.into_iter()),
            Some("inactivity_timeout")
        );
        assert_eq!(nearest("Nodes", known.into_iter()), Some("nodes"));
        assert_eq!(nearest("database", known.into_iter()), None);
    }
}
