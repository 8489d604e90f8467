//! What plugins found out about a connection or a message (area RES).
//!
//! Keyed by plugin name; the lists pass, fail, msg, err and skip grow, other keys are replaced.

use std::cell::RefCell;

use serde_json::{Map, Value};

/// The keys whose values are appended to a list.
pub const LISTS: [&str; 5] = ["pass", "fail", "msg", "err", "skip"];

/// The results of one connection or transaction. Empty results own no memory.
#[derive(Debug, Default)]
pub struct Results(RefCell<Option<Box<Map<String, Value>>>>);

impl Results {
    /// Adds to the results of `plugin` (RES-02): list keys append, all others replace.
    pub fn add(&self, plugin: &str, key: &str, value: impl Into<Value>) {
        let mut all = self.0.borrow_mut();
        let own = own(all.get_or_insert_default(), plugin);
        if LISTS.contains(&key) {
            append(own, key, value.into());
        } else {
            own.insert(key.to_owned(), value.into());
        }
    }

    /// Appends to the list under `key`, making it (RES-03).
    pub fn push(&self, plugin: &str, key: &str, value: impl Into<Value>) {
        let mut all = self.0.borrow_mut();
        append(own(all.get_or_insert_default(), plugin), key, value.into());
    }

    /// Who has left something, in the order of their first results.
    pub fn names(&self) -> Vec<String> {
        let all = self.0.borrow();
        all.iter().flat_map(|all| all.keys().cloned()).collect()
    }

    /// All that `plugin` left (RES-04). For a connection, [`Connection::result`] has the core's own
    /// as well.
    ///
    /// [`Connection::result`]: crate::connection::Connection::result
    pub fn get(&self, plugin: &str) -> Option<Value> {
        self.0.borrow().as_ref()?.get(plugin).cloned()
    }

    /// Whether `plugin` has this text in this list (RES-04).
    pub fn has(&self, plugin: &str, list: &str, text: &str) -> bool {
        self.get(plugin)
            .and_then(|r| r.get(list).cloned())
            .is_some_and(|l| matches!(l, Value::Array(a) if a.iter().any(|v| v == text)))
    }
}

/// Results in which nothing is found yet: the lists.
pub(crate) fn empty() -> Map<String, Value> {
    let lists = LISTS.iter();
    lists
        .map(|l| ((*l).to_owned(), Value::Array(Vec::new())))
        .collect()
}

fn own<'a>(all: &'a mut Map<String, Value>, plugin: &str) -> &'a mut Map<String, Value> {
    let entry = all.entry(plugin).or_insert_with(|| Value::Object(empty()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    match entry {
        Value::Object(map) => map,
        // Made an object just above.
        _ => unreachable!(),
    }
}

fn append(own: &mut Map<String, Value>, key: &str, value: Value) {
    match own.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => {
            own.insert(key.to_owned(), Value::Array(vec![value]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers RES-02, RES-01, PA-10
    #[test]
    fn lists_append_and_other_keys_replace() {
        let r = Results::default();
        r.add("relay", "pass", "acl");
        r.add("relay", "pass", "dest_domains");
        r.add("relay", "score", 1);
        r.add("relay", "score", 2);
        assert!(r.has("relay", "pass", "acl") && r.has("relay", "pass", "dest_domains"));
        assert_eq!(r.get("relay").unwrap()["score"], 2);
    }
}
