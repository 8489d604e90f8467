//! Settings from the environment: `HARAKA_<FILE>_<SECTION>_<KEY>`.
//!
//! The process's variables are read once, when the configuration directory is opened; they go before
//! every file. A name is the file's without `.ini`, section and key, in upper case, with `_` for
//! whatever is neither letter nor digit. Section `main` may be left out.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What all names begin with.
const PREFIX: &str = "HARAKA_";

/// Names that mean something other than a setting.
const RESERVED: [&str; 4] = ["TEST_DIR", "JS_CONFIG", "LOGS_SUPPRESS", "TEST_FAMILY"];

/// The variables that may be settings.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// By name without the prefix.
    variables: BTreeMap<String, String>,
}

/// A setting from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// What follows the file's part of the name.
    pub(super) rest: String,
    pub(super) text: String,
    /// How messages name it.
    pub(super) origin: Arc<str>,
}

impl Environment {
    /// The process's own.
    pub fn of_process() -> Environment {
        let all = std::env::vars_os();
        Environment::new(all.map(|(name, text)| {
            let text = text.to_string_lossy().into_owned();
            (name.to_string_lossy().into_owned(), text)
        }))
    }

    /// From names and values; those that do not begin with `HARAKA_` do not count.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        let ours = variables.into_iter().filter_map(|(name, text)| {
            let name = name.strip_prefix(PREFIX)?;
            (!RESERVED.contains(&name)).then(|| (name.to_owned(), text))
        });
        Environment {
            variables: ours.collect(),
        }
    }

    /// The variable of a setting, in the form that leaves `main` out.
    pub fn name(file: &str, section: &str, key: &str) -> String {
        let rest = rest_of(section, key);
        format!("{PREFIX}{}_{rest}", file_part(file))
    }

    /// The variable of a file without keys.
    pub fn file_name(file: &str) -> String {
        format!("{PREFIX}{}", file_part(file))
    }

    /// All names, with the prefix.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.variables.keys().map(|name| format!("{PREFIX}{name}"))
    }

    /// What stands for a file without keys; an empty variable counts as none.
    pub(super) fn whole(&self, file: &str) -> Option<Variable> {
        let name = file_part(file);
        let text = self.variables.get(&name).filter(|t| !t.is_empty())?;
        Some(variable(&name, "", text))
    }

    /// What may be settings of an ini file.
    pub(super) fn of_ini(&self, file: &str) -> Vec<Variable> {
        let prefix = format!("{}_", file_part(file));
        self.variables
            .range(prefix.clone()..)
            .map_while(|(name, text)| {
                let rest = name.strip_prefix(&prefix)?;
                Some(variable(name, rest, text))
            })
            .collect()
    }
}

fn variable(name: &str, rest: &str, text: &str) -> Variable {
    Variable {
        rest: rest.to_owned(),
        text: text.to_owned(),
        origin: Arc::from(format!("environment {PREFIX}{name}")),
    }
}

/// What follows the file's part for a key.
pub(super) fn rest_of(section: &str, key: &str) -> String {
    match section {
        "main" => shout(key),
        section => format!("{}_{}", shout(section), shout(key)),
    }
}

/// The items of a variable that stands for several lines: separated by `;` or line ends.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    let items = text.split([';', '\n', '\r']).map(str::trim);
    items.filter(|item| !item.is_empty())
}

fn file_part(file: &str) -> String {
    shout(file.strip_suffix(".ini").unwrap_or(file))
}

fn shout(text: &str) -> String {
    let one = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::INI_FILES;

    #[test]
    fn names_are_upper_case_without_ini_and_main() {
        let name = Environment::name;
        assert_eq!(name("smtp.ini", "main", "nodes"), "HARAKA_SMTP_NODES");
        let dns = name("net-utils.ini", "dns", "tries");
        assert_eq!(dns, "HARAKA_NET_UTILS_DNS_TRIES");
        let timeout = Environment::file_name("queue/smtp_forward.timeout");
        assert_eq!(timeout, "HARAKA_QUEUE_SMTP_FORWARD_TIMEOUT");
    }

    #[test]
    fn every_setting_of_the_core_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for decl in INI_FILES {
            for row in decl.rows {
                let name = Environment::name(decl.name, row.section, row.key);
                assert!(names.insert(name.clone()), "{name} is there twice");
            }
        }
    }

    #[test]
    fn only_variables_of_the_file_are_its_settings() {
        let vars = [
            "HARAKA_SMTP_PORT",
            "HARAKA_SMTPX",
            "HARAKA_TEST_DIR",
            "SMTP_PORT",
            "HARAKA_ME",
        ];
        let env = Environment::new(vars.map(|name| (name.to_owned(), "7".to_owned())));
        let found = env.of_ini("smtp.ini");
        assert_eq!(found.len(), 1);
        assert_eq!(&*found[0].origin, "environment HARAKA_SMTP_PORT");
        assert_eq!(env.whole("me").unwrap().text, "7");
        assert_eq!(env.whole("test_dir"), None);
    }
}
