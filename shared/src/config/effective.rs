//! The settings as they count, each with where it comes from: what `haraka --dump` shows, and what
//! is compared to tell which settings have changed.
//!
//! Texts, not values: it is for people. What they mean is read elsewhere.

use std::fmt::{self, Display};

use super::INI_FILES;
use super::dir::ConfigDir;
use super::error::{At, ConfigError, key_name};
use super::ini::{Held, Ini, Section};
use super::row::{FileDecl, NAMED, Row};

/// A setting as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// File that it belongs to.
    pub file: String,
    /// Section; `main` too for files without keys.
    pub section: String,
    /// Key; empty for files without keys.
    pub key: String,
    /// What it says; the items of a list joined by `; `.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether a change counts while the server runs.
    pub live: bool,
    /// Whether it is nobody's business.
    pub secret: bool,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing is set.
    Default,
    /// A line of a file, a variable of the environment, or `smtp.json`.
    At(At),
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::At(at) => at.fmt(f),
        }
    }
}

/// What stands in the place of a secret.
pub const MASK: &str = "********";

impl Setting {
    /// What may be shown of the text: secrets are hidden, also passwords within URLs.
    pub fn shown(&self) -> String {
        match self.secret && !self.text.is_empty() {
            true => MASK.to_owned(),
            false => without_passwords(&self.text),
        }
    }

    /// `smtp.ini: nodes`, or the file alone for one without keys.
    pub fn name(&self) -> String {
        match self.key.as_str() {
            "" => self.file.clone(),
            key => format!("{}: {}", self.file, key_name(&self.section, key)),
        }
    }
}

/// The declared settings of a file, in the order of their declaration.
pub fn effective(dir: &ConfigDir, decl: &'static FileDecl) -> Result<Vec<Setting>, ConfigError> {
    let ini = dir.ini(decl.name)?;
    let mut all = decl
        .rows
        .iter()
        .filter(|row| row.section != NAMED && row.key != "*")
        .map(|row| {
            let (text, origin) = counted(dir, &ini, row)?;
            Ok(Setting {
                file: decl.name.to_owned(),
                section: row.section.to_owned(),
                key: row.key.to_owned(),
                text,
                origin,
                live: row.live,
                secret: row.secret || (is_secret(row.key) && !row.kind.names_files()),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Keys and sections that the operator names.
    let own = |section: &str| decl.sections.iter().any(|(name, _)| *name == section);
    for section in ini.sections() {
        let keys = |row: &&Row| row.section == section.name && row.key == "*";
        let row = decl.rows.iter().find(keys);
        let named = || decl.names_sections() && !own(&section.name);
        if row.is_some() || named() {
            all.extend(entries(&ini, decl.name, section).map(|mut setting| {
                setting.live = decl.rows.iter().all(|row| row.live);
                setting
            }));
        }
    }
    Ok(all)
}

fn counted(dir: &ConfigDir, ini: &Ini, row: &Row) -> Result<(String, Origin), ConfigError> {
    let default = || (row.default.to_owned(), Origin::Default);
    let many = matches!(ini.held(row.section, row.key), Some(Held::Many(_)));
    if row.kind.is_list() || (row.kind.may_be_list() && many) {
        let items = ini.array(row.section, row.key).iter();
        let items: Vec<_> = items.filter(|v| !v.text.is_empty()).collect();
        let Some(first) = items.first() else {
            return Ok(default());
        };
        let texts: Vec<&str> = items.iter().map(|v| &*v.text).collect();
        return Ok((texts.join("; "), Origin::At(ini.at(first))));
    }
    let set = match ini.held(row.section, row.key) {
        Some(Held::One(value)) => Some((value.text.clone(), ini.at(value))),
        Some(Held::Many(_)) => None,
        None => match row.legacy {
            Some(file) => dir.first_item(file)?.map(|(at, text)| (text, at)),
            None => None,
        },
    };
    let zero = |text: &str| row.zero_is_default && text.parse() == Ok(0.0);
    Ok(match set {
        Some((text, at)) if !zero(&text) && (!text.is_empty() || row.kind.takes_empty()) => {
            (text, Origin::At(at))
        }
        _ => default(),
    })
}

/// Files without keys that the core reads, and whether a change counts while the server runs.
const VALUES: [(&str, bool); 6] = [
    ("me", true),
    ("queue_dir", false),
    ("internalcmd_key", true),
    ("plugin_timeout", false),
    ("loglevel", true),
    ("log_timestamps", true),
];

/// The files without keys that are set.
pub fn effective_values(dir: &ConfigDir) -> Result<Vec<Setting>, ConfigError> {
    let mut out = Vec::new();
    let setting = |file: &str, live, text, at| Setting {
        file: file.to_owned(),
        section: "main".to_owned(),
        key: String::new(),
        text,
        origin: Origin::At(at),
        live,
        secret: is_secret(file),
    };
    for (file, live) in VALUES {
        if let Some((at, text)) = dir.first_item(file)? {
            out.push(setting(file, live, text, at));
        }
    }
    for (at, text) in dir.placed_items("plugins")? {
        out.push(setting("plugins", false, text, at));
    }
    Ok(out)
}

/// All settings of the core that are declared or set.
pub fn effective_all(dir: &ConfigDir) -> Result<Vec<Setting>, ConfigError> {
    let mut all = Vec::new();
    for decl in INI_FILES {
        all.extend(effective(dir, decl)?);
    }
    all.extend(effective_values(dir)?);
    Ok(all)
}

/// All settings of an ini file that is not declared, such as a plugin's.
pub fn effective_other(dir: &ConfigDir, file: &str) -> Result<Vec<Setting>, ConfigError> {
    let ini = dir.ini(file)?;
    let sections = ini.sections();
    Ok(sections
        .flat_map(|section| entries(&ini, file, section))
        .collect())
}

/// What a section holds, as it stands.
fn entries(ini: &Ini, file: &str, section: &Section) -> impl Iterator<Item = Setting> {
    section.entries().filter_map(move |entry| {
        let values = match &entry.held {
            Held::One(value) => std::slice::from_ref(value),
            Held::Many(values) => values,
        };
        let first = values.first()?;
        let texts: Vec<&str> = values.iter().map(|v| &*v.text).collect();
        Some(Setting {
            file: file.to_owned(),
            section: section.name.clone(),
            key: entry.key.clone(),
            text: texts.join("; "),
            origin: Origin::At(ini.at(first)),
            live: false,
            secret: is_secret(&entry.key),
        })
    })
}

/// Whether a name promises a secret. Better one too many than one too few.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["pass", "secret", "token", "credential"];
    words.iter().any(|word| name.contains(word)) || name.ends_with("key")
}

/// Hides `password` of each `scheme://user:password@host`.
fn without_passwords(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after
            .find(|c: char| c.is_whitespace() || "/\"',;".contains(c))
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at_checked(end).unwrap_or((after, ""));
        match authority.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                let name = user.split(':').next().unwrap_or_default();
                out.push_str(&format!("{name}:{MASK}@{host}"));
            }
            _ => out.push_str(authority),
        }
        rest = tail;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;
    use crate::config::{CONNECTION_INI, Environment, OUTBOUND_INI, SMTP_INI};

    fn shown(settings: &[Setting], key: &str) -> String {
        let s = settings.iter().find(|s| s.key == key).unwrap();
        format!("{} = {} ({})", s.name(), s.shown(), s.origin)
    }

    #[test]
    fn each_setting_tells_where_it_comes_from() {
        let t = TestDir::new();
        t.write("smtp.ini", "port=0\n\nnodes = 2\nuser=\n");
        t.write("outbound.disabled", "# why\ntrue\n");
        t.write("smtp.json", r#"{"!connection.ini": {"max": {"bytes": 5}}}"#);
        let vars = [
            ("HARAKA_SMTP_LISTEN", "[::]:26"),
            ("HARAKA_CONNECTION_HAPROXY_HOSTS", "10.0.0.1;10.0.0.2"),
        ];
        let vars = vars.map(|(n, v)| (n.to_owned(), v.to_owned()));
        let env = Environment::new(vars);
        let dir = ConfigDir::with_environment(t.dir().install_dir(), env).unwrap();
        let smtp = effective(&dir, &SMTP_INI).unwrap();
        assert_eq!(shown(&smtp, "nodes"), "smtp.ini: nodes = 2 (smtp.ini:3)");
        assert_eq!(shown(&smtp, "group"), "smtp.ini: group =  (default)");
        let listen = "smtp.ini: listen = [::]:26 (environment HARAKA_SMTP_LISTEN)";
        assert_eq!(shown(&smtp, "listen"), listen);
        let outbound = effective(&dir, &OUTBOUND_INI).unwrap();
        let disabled = "outbound.ini: disabled = true (outbound.disabled:2)";
        assert_eq!(shown(&outbound, "disabled"), disabled);
        let connection = effective(&dir, &CONNECTION_INI).unwrap();
        let bytes = "connection.ini: [max] bytes = 5 (smtp.json !connection.ini)";
        assert_eq!(shown(&connection, "bytes"), bytes);
        let hosts = "connection.ini: [haproxy] hosts = 10.0.0.1; 10.0.0.2 \
                     (environment HARAKA_CONNECTION_HAPROXY_HOSTS)";
        assert_eq!(shown(&connection, "hosts"), hosts);
    }

    #[test]
    fn secrets_are_hidden() {
        let t = TestDir::new();
        t.write("internalcmd_key", "hush\n");
        t.write(
            "x.ini",
            "auth_pass=hush\nurl=smtp://u:hu%40sh@h:25/x, lmtp://u@h\nhost=h\n",
        );
        let values = effective_values(t.dir()).unwrap();
        assert_eq!(values[0].shown(), MASK);
        let other = effective_other(t.dir(), "x.ini").unwrap();
        let texts: Vec<_> = other.iter().map(Setting::shown).collect();
        let url = format!("smtp://u:{MASK}@h:25/x, lmtp://u@h");
        assert_eq!(texts, [MASK, url.as_str(), "h"]);
    }
}
