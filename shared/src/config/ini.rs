//! Haraka's ini dialect (CFS-17 to CFS-26) over rust-ini, with the line of every value.
//!
//! rust-ini splits sections, keys and values. Before it, physical lines become logical ones
//! (comments out, continuations joined) whose names start with their line number; after it, names
//! are checked against the dialect. It knows no setting: values stay text here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::error::{At, ConfigError, Warning, key_name};
use super::flat::{decode, is_idle, lines};
use super::layers::FromEnvironment;
use super::row::Kind;

/// A parsed ini file. Sections and keys keep the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct Ini {
    file: String,
    sections: Vec<Section>,
    by_name: HashMap<String, usize>,
    warnings: Vec<Warning>,
    environment: FromEnvironment,
}

/// One section; what stands in several places under the same name is one section.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name without blanks around it; `main` for what stands before the first header.
    pub name: String,
    /// Line of its first header, 0 for a `main` without header.
    pub line: u32,
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
}

/// A key with what it holds.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key, without `[]`.
    pub key: String,
    /// Its value or values.
    pub held: Held,
}

/// What a key holds: `key = x` the last one given, `key[] = x` all of them (CFS-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A single value.
    One(IniValue),
    /// The values of `key[]` lines, in order.
    Many(Vec<IniValue>),
}

/// The text of a value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IniValue {
    /// Text after `=` without blanks around it; empty for a bare key.
    pub text: String,
    /// Line from 1; the first of a continued one.
    pub line: u32,
    /// The key stands alone, without `=` (CFS-18): Haraka's `undefined`.
    pub bare: bool,
    /// The place, where that is not this file: the environment, a plugin's own file.
    pub origin: Option<Arc<str>>,
}

impl Ini {
    /// A file without content.
    pub fn empty(file: &str) -> Ini {
        Ini {
            file: file.to_owned(),
            ..Ini::default()
        }
    }

    /// Reads any bytes. Lines that the dialect does not know are left out with a warning; `file`
    /// is the name for messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Ini {
        let mut ini = Ini::empty(file);
        let text = decode(bytes);
        if text.contains('\u{fffd}') && std::str::from_utf8(bytes).is_err() {
            ini.warn_of_bad_utf8(&text);
        }
        let logical = ini.logical_lines(&text);
        match ini::Ini::load_from_str_opt(&logical, plain_options()) {
            Ok(split) => ini.take(split),
            // Cannot happen for the text made above; if it does, the operator must know.
            Err(e) => ini.warn(e.line as u32, format!("is beyond the reader: {}", e.msg)),
        }
        ini.warnings.sort_by_key(|w| w.at.line);
        ini
    }

    /// The name that messages use.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All sections in order.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.by_name.get(name).and_then(|i| self.sections.get(*i))
    }

    /// What a key holds, by the environment or the file.
    pub fn held(&self, section: &str, key: &str) -> Option<&Held> {
        let in_file = || self.section(section)?.get(key);
        self.environment.one(section, key).or_else(in_file)
    }

    /// Where a value stands.
    pub fn at(&self, value: &IniValue) -> At {
        At::line(value.origin.as_deref().unwrap_or(&self.file), value.line)
    }

    /// The value of a key; for `key[]` lines the last of them.
    pub fn get(&self, section: &str, key: &str) -> Option<&IniValue> {
        match self.held(section, key)? {
            Held::One(value) => Some(value),
            Held::Many(values) => values.last(),
        }
    }

    /// The text of a key that has one; bare keys and empty values count as absent.
    pub fn text(&self, section: &str, key: &str) -> Option<&str> {
        let value = self.get(section, key)?;
        (!value.text.is_empty()).then_some(&*value.text)
    }

    /// The values of `key[]` lines; a single `key = x` counts as one. Empty if there is none.
    pub fn array(&self, section: &str, key: &str) -> &[IniValue] {
        if let Some(values) = self.environment.many(section, key) {
            return values;
        }
        match self.held(section, key) {
            Some(Held::Many(values)) => values,
            Some(Held::One(value)) => std::slice::from_ref(value),
            None => &[],
        }
    }

    /// A declared boolean (CFS-23): `default` if the key is absent, else whether it says yes.
    pub fn bool(&self, section: &str, key: &str, default: bool) -> bool {
        self.get(section, key)
            .map_or(default, |value| is_true(&value.text))
    }

    /// A value of a given form, for callers without declared rows, such as plugins: `None` if the
    /// key is absent, bare or empty. The error names file, line and key.
    pub fn read<K: Kind>(
        &self,
        section: &str,
        key: &str,
        kind: &K,
    ) -> Result<Option<K::Out>, ConfigError> {
        match self.text(section, key).map(|text| kind.parse(text)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(why)) => Err(self.error(section, key, why)),
        }
    }

    /// An error about a key, at its line.
    pub fn error(&self, section: &str, key: &str, why: impl Into<String>) -> ConfigError {
        let value = self.get(section, key);
        ConfigError::Value {
            at: value.map_or_else(|| At::file(&self.file), |v| self.at(v)),
            key: key_name(section, key),
            why: why.into(),
        }
    }

    /// What the reader found odd, by line.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(super) fn warn(&mut self, line: u32, text: impl Into<String>) {
        self.warnings.push(At::line(&self.file, line).warn(text));
    }

    fn warn_of_bad_utf8(&mut self, text: &str) {
        let first = (1..).zip(lines(text)).find(|(_, l)| l.contains('\u{fffd}'));
        let line = first.map_or(0, |(number, _)| number);
        self.warn(line, "is not UTF-8; what cannot be read is replaced");
    }

    /// One line per section header or setting for rust-ini: its name starts with the line number.
    fn logical_lines(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 64);
        let mut pending: Option<(u32, String)> = None;
        for (number, raw) in (1..).zip(lines(text)) {
            // Comments and blanks do not end a continuation, as for Haraka.
            if is_idle(raw.trim()) {
                continue;
            }
            if let Some(name) = section_name(raw) {
                if let Some((from, held)) = pending.take() {
                    self.unfinished(&mut out, from, &held);
                }
                emit(&mut out, &format_args!("[{number} {}]", shield(name)));
                continue;
            }
            let (from, held) = pending.take().unwrap_or((number, String::new()));
            match raw.trim_end_matches([' ', '\t']).strip_suffix('\\') {
                Some(part) => pending = Some((from, held + part)),
                None => self.emit_setting(&mut out, from, &(held + raw)),
            }
        }
        if let Some((from, held)) = pending {
            self.unfinished(&mut out, from, &held);
        }
        out
    }

    fn unfinished(&mut self, out: &mut String, line: u32, held: &str) {
        self.warn(line, "ends in a backslash with no line to go on with");
        if !held.trim().is_empty() {
            self.emit_setting(out, line, held);
        }
    }

    fn emit_setting(&mut self, out: &mut String, line: u32, text: &str) {
        if text.contains([COLON, BACKSLASH]) {
            self.warn(line, "is not a setting; it is left out");
            return;
        }
        let text = shield(text.trim());
        if text.contains('=') {
            emit(out, &format_args!("{line} {text}"));
        } else {
            emit(out, &format_args!("{line}{BARE} {text}="));
        }
    }

    fn take(&mut self, split: ini::Ini) {
        for (header, settings) in &split {
            let (line, _, name) = split_name(header.unwrap_or("0 main"));
            if is_unsafe(&name) {
                self.warn(
                    line,
                    format!("section [{name}] is not allowed; it is left out"),
                );
                continue;
            }
            // rust-ini always has a part before the first header; without content it is none.
            if header.is_none() && settings.is_empty() {
                continue;
            }
            let at = self.section_index(&name, line);
            for (key, text) in settings {
                let (line, bare, key) = split_name(key);
                let value = IniValue {
                    text: unshield(text),
                    line,
                    bare,
                    origin: None,
                };
                self.put(at, &key, value);
            }
        }
    }

    pub(super) fn section_index(&mut self, name: &str, line: u32) -> usize {
        *self.by_name.entry(name.to_owned()).or_insert_with(|| {
            self.sections.push(Section {
                name: name.to_owned(),
                line,
                entries: Vec::new(),
                by_key: HashMap::new(),
            });
            self.sections.len() - 1
        })
    }

    pub(super) fn put(&mut self, section: usize, key: &str, value: IniValue) {
        let (base, many) = match key.strip_suffix("[]") {
            Some(base) if !base.is_empty() => (base, true),
            _ => (key, false),
        };
        if !is_key(key) {
            self.warn(value.line, "is not a setting; it is left out");
        } else if is_unsafe(base) {
            self.warn(value.line, format!("{key} is not allowed; it is left out"));
        } else if let Some(section) = self.sections.get_mut(section) {
            section.put(base, many, value);
        }
    }

    pub(super) fn held_at(&self, section: usize, key: &str) -> Option<&Held> {
        self.sections.get(section)?.get(key)
    }

    /// Sets what a key holds, whatever it held.
    pub(super) fn hold(&mut self, section: usize, key: String, held: Held) {
        let Some(section) = self.sections.get_mut(section) else {
            return;
        };
        let known = section.by_key.get(&key).copied();
        match known.and_then(|i| section.entries.get_mut(i)) {
            Some(entry) => entry.held = held,
            None => {
                section.by_key.insert(key.clone(), section.entries.len());
                section.entries.push(Entry { key, held });
            }
        }
    }

    /// Replaces what keys hold where `with` knows better.
    pub(super) fn replace_held(&mut self, with: impl Fn(&str, &str, &Held) -> Option<Held>) {
        for section in &mut self.sections {
            for entry in &mut section.entries {
                if let Some(held) = with(&section.name, &entry.key, &entry.held) {
                    entry.held = held;
                }
            }
        }
    }

    /// Values name their file themselves, so that it may change.
    pub(super) fn name_origins(&mut self) {
        let file: Arc<str> = Arc::from(self.file.as_str());
        let entries = self.sections.iter_mut().flat_map(|s| &mut s.entries);
        for entry in entries {
            let values = match &mut entry.held {
                Held::One(value) => std::slice::from_mut(value),
                Held::Many(values) => values.as_mut_slice(),
            };
            for value in values {
                value.origin.get_or_insert_with(|| Arc::clone(&file));
            }
        }
    }

    pub(super) fn rename(&mut self, file: &str) {
        file.clone_into(&mut self.file);
    }

    pub(super) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn set_warnings(&mut self, warnings: Vec<Warning>) {
        self.warnings = warnings;
    }

    pub(super) fn set_environment(&mut self, environment: FromEnvironment) {
        self.environment = environment;
    }

    pub(super) fn into_sections(self) -> Vec<Section> {
        self.sections
    }
}

impl Section {
    /// What a key holds.
    pub fn get(&self, key: &str) -> Option<&Held> {
        self.by_key
            .get(key)
            .and_then(|i| self.entries.get(*i))
            .map(|e| &e.held)
    }

    /// All keys in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    fn put(&mut self, key: &str, many: bool, value: IniValue) {
        let known = self.by_key.get(key).copied();
        let held = known
            .and_then(|i| self.entries.get_mut(i))
            .map(|e| &mut e.held);
        match (held, many) {
            (Some(Held::Many(values)), true) => values.push(value),
            // As for Haraka, `key` after `key[]` replaces the list, and the other way round.
            (Some(held), true) => *held = Held::Many(vec![value]),
            (Some(held), false) => *held = Held::One(value),
            (None, many) => {
                self.by_key.insert(key.to_owned(), self.entries.len());
                self.entries.push(Entry {
                    key: key.to_owned(),
                    held: if many {
                        Held::Many(vec![value])
                    } else {
                        Held::One(value)
                    },
                });
            }
        }
    }
}

impl Held {
    /// Line of the first value.
    pub fn line(&self) -> u32 {
        match self {
            Held::One(value) => value.line,
            Held::Many(values) => values.first().map_or(0, |v| v.line),
        }
    }
}

/// The words that mean yes (CFS-23), in any case; everything else means no.
pub fn is_true(text: &str) -> bool {
    ["true", "yes", "ok", "enabled", "on", "1"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// The name of `[ name ]`; `None` for any other line.
fn section_name(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    (!name.contains(']')).then_some(name)
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_@:.+-/[]".contains(&b))
}

/// Names that mean something else to a script that looks them up (CFS-25).
fn is_unsafe(name: &str) -> bool {
    ["__proto__", "constructor", "prototype"].contains(&name)
}

/// Nothing that rust-ini would interpret beyond `[name]` and `key = value`.
fn plain_options() -> ini::ParseOption {
    ini::ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        enabled_indented_mutiline_value: false,
        enabled_preserve_key_leading_whitespace: false,
    }
}

/// Hides what rust-ini takes for syntax but the dialect does not: a colon splits no key, and a
/// backslash was dealt with before.
fn shield(text: &str) -> String {
    text.replace(':', COLON_TEXT).replace('\\', BACKSLASH_TEXT)
}

fn unshield(text: &str) -> String {
    text.replace(COLON, ":").replace(BACKSLASH, "\\")
}

/// Takes `12! name` apart: line, whether there was no `=`, name.
fn split_name(numbered: &str) -> (u32, bool, String) {
    let (number, name) = numbered.split_once(' ').unwrap_or((numbered, ""));
    let bare = number.ends_with(BARE);
    let line = number.trim_end_matches(BARE).parse().unwrap_or(0);
    (line, bare, unshield(name.trim()))
}

fn emit(out: &mut String, line: &std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

/// Marks the number of a line without `=`.
const BARE: char = '!';
/// Noncharacters stand in for hidden syntax; a file that contains them is not text.
const COLON: char = '\u{fdd0}';
const COLON_TEXT: &str = "\u{fdd0}";
const BACKSLASH: char = '\u{fdd1}';
const BACKSLASH_TEXT: &str = "\u{fdd1}";

#[cfg(test)]
#[path = "ini_tests.rs"]
mod tests;
