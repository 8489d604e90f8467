//! How Haraka types the values of an ini file for JavaScript: booleans where declared, numbers
//! where they look like one, text else (CFS-22 to CFS-24).
//!
//! Native code does not use this; its settings have declared types.

use serde_json::Value;

use super::ini::{Held, Ini, IniValue, is_true};

/// A value as a script sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// A key without `=`.
    Undefined,
    /// A declared boolean.
    Bool(bool),
    /// A whole or decimal number.
    Number(f64),
    /// Anything else.
    Text(String),
    /// The values of `key[]` lines.
    List(Vec<Typed>),
}

/// The booleans that a caller declares for a file (CFS-23): `key`, `section.key`, `*.key`, each
/// with `+` (true unless given) or `-` (false unless given) before section or key.
#[derive(Clone, Debug, Default)]
pub struct Booleans {
    declared: Vec<Declared>,
}

#[derive(Clone, Debug)]
struct Declared {
    section: String,
    key: String,
    default: bool,
}

impl Booleans {
    /// From the texts of a declaration.
    pub fn declare<'a>(declarations: impl IntoIterator<Item = &'a str>) -> Booleans {
        let declared = declarations
            .into_iter()
            .filter(|d| !d.is_empty())
            .map(|declaration| {
                let (section, key) = declaration
                    .split_once('.')
                    .filter(|(section, key)| !section.is_empty() && !key.is_empty())
                    .unwrap_or(("main", declaration));
                let bare = |name: &str| name.strip_prefix(['+', '-']).unwrap_or(name).to_owned();
                Declared {
                    default: section.starts_with('+') || key.starts_with('+'),
                    section: bare(section),
                    key: bare(key),
                }
            })
            .collect();
        Booleans { declared }
    }

    fn covers(&self, section: &str, key: &str) -> bool {
        self.declared
            .iter()
            .any(|d| d.key == key && (d.section == section || d.section == "*"))
    }
}

/// A section's name and its keys with their values.
pub type TypedSection = (String, Vec<(String, Typed)>);

/// Sections with their keys, `main` always among them, as `config.get('x.ini', …)` gives them.
pub fn typed(ini: &Ini, booleans: &Booleans) -> Vec<TypedSection> {
    let mut out: Vec<TypedSection> = vec![("main".to_owned(), Vec::new())];
    for d in booleans.declared.iter().filter(|d| d.section != "*") {
        let preset = out.len();
        put(
            entry(&mut out, preset, &d.section),
            usize::MAX,
            &d.key,
            Typed::Bool(d.default),
        );
    }
    // Names in a file are unique: only the ones set above can be met again.
    let preset = out.len();
    for section in ini.sections() {
        let to = entry(&mut out, preset, &section.name);
        let declared = to.len();
        for held in section.entries() {
            let value = match &held.held {
                Held::One(v) if booleans.covers(&section.name, &held.key) => {
                    Typed::Bool(is_true(&v.text))
                }
                Held::One(v) => guess(v),
                Held::Many(values) => Typed::List(values.iter().map(guess).collect()),
            };
            put(to, declared, &held.key, value);
        }
    }
    out
}

/// What `smtp.json` says in the place of an ini file, as it stands there; `main` always among it.
pub(super) fn typed_json(content: &Value) -> Vec<TypedSection> {
    let mut out: Vec<TypedSection> = vec![("main".to_owned(), Vec::new())];
    for (name, keys) in content.as_object().into_iter().flatten() {
        let Value::Object(keys) = keys else { continue };
        let to = entry(&mut out, 1, name);
        let keys = keys.iter().filter(|(_, value)| !value.is_null());
        to.extend(keys.map(|(key, value)| (key.clone(), of_json(value))));
    }
    out
}

fn of_json(value: &Value) -> Typed {
    match value {
        Value::Null => Typed::Undefined,
        Value::Bool(yes) => Typed::Bool(*yes),
        Value::Number(n) => n.as_f64().map_or(Typed::Undefined, Typed::Number),
        Value::String(text) => Typed::Text(text.clone()),
        Value::Array(items) => Typed::List(items.iter().map(of_json).collect()),
        // No ini file has such a value.
        Value::Object(_) => Typed::Text(value.to_string()),
    }
}

/// A value that was not declared: `-?\d+` and `-?\d+\.\d+` are numbers (CFS-22).
pub fn guess(value: &IniValue) -> Typed {
    if value.bare {
        return Typed::Undefined;
    }
    match number(&value.text) {
        Some(n) => Typed::Number(n),
        None => Typed::Text(value.text.clone()),
    }
}

/// The number that a text is, if Haraka takes it for one; leading zeros are lost.
pub fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let looks_like_one = match digits.split_once('.') {
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => all_digits(digits),
    };
    looks_like_one.then(|| text.parse().ok()).flatten()
}

/// The keys of a section, sought among the first `known` ones, else added.
fn entry<'a>(
    out: &'a mut Vec<TypedSection>,
    known: usize,
    name: &str,
) -> &'a mut Vec<(String, Typed)> {
    let found = out.iter().take(known).position(|(n, _)| n == name);
    let at = found.unwrap_or_else(|| {
        out.push((name.to_owned(), Vec::new()));
        out.len() - 1
    });
    // Found or pushed just above.
    #[allow(clippy::indexing_slicing)]
    &mut out[at].1
}

/// Sets a key, sought among the first `known` ones.
fn put(section: &mut Vec<(String, Typed)>, known: usize, key: &str, value: Typed) {
    match section.iter_mut().take(known).find(|(k, _)| k == key) {
        Some((_, held)) => *held = value,
        None => section.push((key.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_haraka_sees_them() {
        // covers CFS-22
        for (text, want) in [
            ("007", Some(7.0)),
            ("-3", Some(-3.0)),
            ("1.50", Some(1.5)),
            ("1.", None),
            (".5", None),
            ("+1", None),
            ("1e3", None),
            ("0x10", None),
            ("", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }

    #[test]
    fn booleans_are_typed_only_where_declared() {
        // covers CFS-23 CFS-24 PA-32
        let ini = Ini::parse("x.ini", b"a=false\nb=no\n[s]\nw=on\nu=false\n[t]\nw=off\n");
        let booleans = Booleans::declare(["-main.a", "+s.x", "*.w", "+y"]);
        let got = typed(&ini, &booleans);
        let find = |section: &str, key: &str| {
            let (_, keys) = got.iter().find(|(n, _)| n == section)?;
            keys.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone())
        };
        assert_eq!(find("main", "a"), Some(Typed::Bool(false)));
        assert_eq!(find("main", "b"), Some(Typed::Text("no".into())));
        assert_eq!(find("main", "y"), Some(Typed::Bool(true)));
        assert_eq!(find("s", "x"), Some(Typed::Bool(true)));
        assert_eq!(find("s", "w"), Some(Typed::Bool(true)));
        assert_eq!(find("t", "w"), Some(Typed::Bool(false)));
        assert_eq!(find("s", "u"), Some(Typed::Text("false".into())));
    }
}
