//! `relay_dest_domains.ini`: what becomes of mail for a domain, and the next hop for it.

use std::collections::HashMap;

use haraka_shared::config::{At, ConfigError, Held, Ini};
use haraka_shared::route::Route;
use serde_json::Value;

/// The file's name below `config/`.
pub(super) const FILE: &str = "relay_dest_domains.ini";

const SECTION: &str = "domains";

/// Serves as next hop for every domain that has none of its own.
const ANY: &str = "any";

/// What to do with a recipient in a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Let the client relay and accept the recipient.
    Accept,
    /// Let the client relay and ask other plugins about the recipient.
    Continue,
    /// Refuse: not listed, or listed so.
    Deny,
    /// The entry says nothing that is known; refuse.
    Unknown,
}

/// The file's `[domains]`.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    /// The section is there.
    pub(super) listed: bool,
    domains: HashMap<Box<str>, Destination>,
}

#[derive(Debug)]
struct Destination {
    action: Action,
    next_hop: Option<Route>,
}

impl Destinations {
    /// # Errors
    /// A value that is no JSON object, or a next hop that is no `host`, `host:port` or URI; with
    /// file, line and domain.
    pub(super) fn parse(ini: &Ini) -> Result<Destinations, ConfigError> {
        let Some(section) = ini.section(SECTION) else {
            return Ok(Destinations::default());
        };
        let mut domains = HashMap::new();
        for entry in section.entries() {
            let value = match &entry.held {
                Held::One(value) => value,
                Held::Many(values) => match values.last() {
                    Some(value) => value,
                    None => continue,
                },
            };
            // Haraka takes a domain without a value for one that is not listed.
            if value.text.is_empty() {
                continue;
            }
            let destination = Destination::parse(&value.text).map_err(|why| ConfigError::Value {
                at: At::line(ini.file(), value.line),
                key: format!("[{SECTION}] {}", entry.key),
                why,
            })?;
            domains.insert(entry.key.to_ascii_lowercase().into(), destination);
        }
        Ok(Destinations {
            listed: true,
            domains,
        })
    }

    /// What to do with a recipient in this domain, given in lower case.
    pub(super) fn action(&self, domain: &str) -> Action {
        self.domains.get(domain).map_or(Action::Deny, |d| d.action)
    }

    /// Where mail for this domain goes: by its own entry, or by `any` if it has no entry.
    pub(super) fn next_hop(&self, domain: &str) -> Option<&Route> {
        let own = if domain.bytes().any(|b| b.is_ascii_uppercase()) {
            self.domains.get(&*domain.to_ascii_lowercase())
        } else {
            self.domains.get(domain)
        };
        own.or_else(|| self.domains.get(ANY))?.next_hop.as_ref()
    }
}

impl Destination {
    fn parse(text: &str) -> Result<Destination, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| format!("{text:?} is not JSON: {e}"))?;
        let Value::Object(object) = value else {
            return Err(format!("{text:?} is not a JSON object"));
        };
        let action = match object.get("action").and_then(Value::as_str) {
            Some("accept") => Action::Accept,
            Some("continue") => Action::Continue,
            Some("deny") => Action::Deny,
            _ => Action::Unknown,
        };
        let next_hop = match object.get("nexthop") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) if s.is_empty() => None,
            Some(Value::String(s)) => Some(Route::parse(s).map_err(|e| format!("nexthop: {e}"))?),
            Some(other) => return Err(format!("nexthop: {other} is not a text")),
        };
        Ok(Destination { action, next_hop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Destinations, ConfigError> {
        Destinations::parse(&Ini::parse(FILE, text.as_bytes()))
    }

    #[test]
    fn each_action_is_told_apart_and_unlisted_domains_are_refused() {
        let d = parse(concat!(
            "[domains]\n",
            "a.example = {\"action\":\"accept\"}\n",
            "B.example = {\"action\":\"continue\", \"nexthop\":\"127.0.0.1:2525\"}\n",
            "c.example = {\"action\":\"deny\"}\n",
            "d.example = {\"nexthop\":\"mx.example\"}\n",
            "any = {\"action\":\"accept\",\"nexthop\":\"any.example\"}\n",
        ))
        .unwrap();
        assert_eq!(d.action("a.example"), Action::Accept);
        assert_eq!(d.action("b.example"), Action::Continue);
        assert_eq!(d.action("c.example"), Action::Deny);
        assert_eq!(d.action("d.example"), Action::Unknown);
        assert_eq!(d.action("unlisted.example"), Action::Deny);
        assert_eq!(d.action("sub.a.example"), Action::Deny);
    }

    #[test]
    fn next_hop_is_the_domains_own_else_that_of_any() {
        let d = parse(concat!(
            "[domains]\n",
            "a.example = {\"action\":\"accept\"}\n",
            "b.example = {\"nexthop\":\"127.0.0.1:2525\"}\n",
            "any = {\"nexthop\":\"lmtp://any.example\"}\n",
        ))
        .unwrap();
        assert_eq!(d.next_hop("a.example"), None, "an entry without next hop means the MX");
        assert_eq!(d.next_hop("B.example").unwrap().port(), 2525);
        let any = d.next_hop("c.example").unwrap();
        assert!(any.lmtp && any.host.to_string() == "any.example");
        assert_eq!(parse("[domains]\n").unwrap().next_hop("c.example"), None);
    }

    #[test]
    fn nonsense_names_file_line_and_domain() {
        let error = |line: &str| parse(&format!("[domains]\n{line}")).unwrap_err().to_string();
        assert!(error("a.example = accept").starts_with(
            "relay_dest_domains.ini:2: [domains] a.example: \"accept\" is not JSON"
        ));
        assert!(error("a.example = 5").ends_with("\"5\" is not a JSON object"));
        assert!(error("a.example = {\"nexthop\":\"mx:smtp\"}").ends_with("nexthop: \"smtp\" is not a port"));
    }
}
