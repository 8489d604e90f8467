//! What lies over an ini file: a plugin's defaults below it, whole files from `smtp.json` in its
//! place, the environment above it.

use std::sync::Arc;

use serde_json::Value;

use super::environment::{Variable, items, rest_of};
use super::ini::{Held, Ini, IniValue};
use super::merge::by_index;
use super::overrides::scalar_text;

/// Settings from the environment, by the part of their names behind the file's.
#[derive(Clone, Debug, Default)]
pub(super) struct FromEnvironment {
    variables: Vec<(String, Held, Vec<IniValue>)>,
}

impl FromEnvironment {
    fn new(variables: Vec<Variable>) -> FromEnvironment {
        let variables = variables.into_iter().map(|v| {
            let value = |text: &str| IniValue {
                text: text.trim().to_owned(),
                line: 0,
                bare: false,
                origin: Some(Arc::clone(&v.origin)),
            };
            let many = items(&v.text).map(value).collect();
            (v.rest.clone(), Held::One(value(&v.text)), many)
        });
        FromEnvironment {
            variables: variables.collect(),
        }
    }

    fn find(&self, section: &str, key: &str) -> Option<&(String, Held, Vec<IniValue>)> {
        if self.variables.is_empty() {
            return None;
        }
        let short = rest_of(section, key);
        let long = (section == "main").then(|| format!("MAIN_{short}"));
        self.variables
            .iter()
            .find(|(rest, ..)| *rest == short || Some(rest) == long.as_ref())
    }

    /// The variable as one value.
    pub(super) fn one(&self, section: &str, key: &str) -> Option<&Held> {
        self.find(section, key).map(|(_, one, _)| one)
    }

    /// The variable as the items of a list.
    pub(super) fn many(&self, section: &str, key: &str) -> Option<&[IniValue]> {
        self.find(section, key).map(|(.., many)| &**many)
    }
}

impl Ini {
    /// A file whose content stands in another one as an object of objects; `place` names that in
    /// messages.
    pub(super) fn from_json(place: &str, content: &Value) -> Ini {
        let mut ini = Ini::empty(place);
        let Value::Object(sections) = content else {
            ini.warn(0, "is not an object of sections; it counts as empty");
            return ini;
        };
        for (name, content) in sections {
            match content {
                Value::Object(keys) => {
                    let at = ini.section_index(name, 0);
                    for (key, value) in keys {
                        ini.put_json(at, name, key, value);
                    }
                }
                Value::Null => {}
                // As in an ini file, a key outside of any section.
                value => {
                    let at = ini.section_index("main", 0);
                    ini.put_json(at, "main", name, value);
                }
            }
        }
        ini
    }

    fn put_json(&mut self, at: usize, section: &str, key: &str, value: &Value) {
        let line = |text| IniValue {
            text,
            line: 0,
            bare: false,
            origin: None,
        };
        match value {
            Value::Null => {}
            Value::Array(values) => {
                for text in values.iter().filter_map(scalar_text) {
                    self.put(at, &format!("{key}[]"), line(text));
                }
            }
            // relay_dest_domains.ini and others keep JSON in their values.
            Value::Object(_) => self.put(at, key, line(value.to_string())),
            scalar => match scalar_text(scalar) {
                Some(text) => self.put(at, key, line(text)),
                None => self.warn(0, format!("[{section}] {key} has no value")),
            },
        }
    }

    /// Lays this file, the operator's, upon a plugin's own (CFS-09, PA-34).
    pub(super) fn upon(self, mut base: Ini) -> Ini {
        base.name_origins();
        let mut over = self;
        let file = over.file().to_owned();
        let mut warnings = base.take_warnings();
        warnings.extend(over.take_warnings());
        for section in over.into_sections() {
            let at = base.section_index(&section.name, section.line);
            for entry in section.into_entries() {
                let before = base.held_at(at, &entry.key).cloned();
                let held = match (before, entry.held) {
                    (Some(Held::Many(base)), Held::Many(over)) => {
                        Held::Many(by_index(base, over, |_, over| over))
                    }
                    (_, held) => held,
                };
                base.hold(at, entry.key, held);
            }
        }
        base.rename(&file);
        base.set_warnings(warnings);
        base
    }

    /// Puts the environment above the file: settings that the file has are replaced, others are
    /// found when they are asked for.
    pub(super) fn under(mut self, variables: Vec<Variable>) -> Ini {
        if variables.is_empty() {
            return self;
        }
        let environment = FromEnvironment::new(variables);
        self.replace_held(|section, key, held| match held {
            Held::One(_) => environment.one(section, key).cloned(),
            Held::Many(_) => environment
                .many(section, key)
                .map(|many| Held::Many(many.to_vec())),
        });
        self.set_environment(environment);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::environment::Environment;

    fn env(vars: &[(&str, &str)], file: &str) -> Vec<Variable> {
        let vars = vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Environment::new(vars).of_ini(file)
    }

    #[test]
    fn environment_goes_before_the_file_and_names_itself() {
        let ini = Ini::parse("x.ini", b"a=1\n[s]\nb.c=2\nl[]=1\nl[]=2\n").under(env(
            &[
                ("HARAKA_X_A", "9"),
                ("HARAKA_X_S_B_C", "8"),
                ("HARAKA_X_S_L", "5; 6\n7"),
                ("HARAKA_X_MAIN_NEW", "yes"),
            ],
            "x.ini",
        ));
        assert_eq!(ini.text("main", "a"), Some("9"));
        assert_eq!(ini.text("s", "b.c"), Some("8"));
        let texts: Vec<_> = ini.array("s", "l").iter().map(|v| &*v.text).collect();
        assert_eq!(texts, ["5", "6", "7"]);
        assert!(ini.bool("main", "new", false));
        let e = ini.error("main", "a", "is bad").to_string();
        assert_eq!(e, "environment HARAKA_X_A: a: is bad");
    }

    #[test]
    fn object_of_objects_stands_for_a_file() {
        // covers CFS-15
        let content = json!({
            "main": {"a": 1, "b": true, "c": null, "d": ["x", 2]}, "s": {"e": 1.0}, "top": "t",
        });
        let ini = Ini::from_json("smtp.json !x.ini", &content);
        assert_eq!(ini.text("main", "a"), Some("1"));
        assert!(ini.bool("main", "b", false) && ini.get("main", "c").is_none());
        assert_eq!(ini.array("main", "d").len(), 2);
        assert_eq!(ini.text("s", "e"), Some("1"));
        assert_eq!(ini.text("main", "top"), Some("t"));
        let e = ini.error("main", "a", "is bad").to_string();
        assert_eq!(e, "smtp.json !x.ini: a: is bad");
    }

    #[test]
    fn operators_keys_lie_upon_the_plugins() {
        // covers CFS-09, PA-34
        let base = Ini::parse("own/x.ini", b"a=1\nb=2\nl[]=1\nl[]=2\n[s]\nc=3\n");
        let ini = Ini::parse("x.ini", b"b=9\nl[]=8\n[t]\nd=4\n").upon(base);
        assert_eq!(ini.text("main", "a"), Some("1"));
        assert_eq!(ini.text("main", "b"), Some("9"));
        assert_eq!(ini.text("s", "c"), Some("3"));
        assert_eq!(ini.text("t", "d"), Some("4"));
        let texts: Vec<_> = ini.array("main", "l").iter().map(|v| &*v.text).collect();
        assert_eq!(texts, ["8", "2"]);
        assert_eq!(ini.error("main", "a", "x").to_string(), "own/x.ini:1: a: x");
        assert_eq!(ini.error("main", "b", "x").to_string(), "x.ini:1: b: x");
    }
}
