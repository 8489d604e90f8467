//! What plugins found out about a connection or a message (area RES).
//!
//! Keyed by plugin name; the lists pass, fail, msg, err and skip grow, other keys are replaced.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::live::{LiveTree, Tree};

/// The keys whose values are appended to a list.
pub const LISTS: [&str; 5] = ["pass", "fail", "msg", "err", "skip"];

/// The results of one connection or transaction. Empty results own no memory.
#[derive(Debug, Default)]
pub struct Results(RefCell<Tree>);

impl Results {
    /// A script takes the results over: gives what they hold, and goes through `live` from now on.
    pub fn hand_over(&self, live: Rc<dyn LiveTree>) -> Value {
        let mut tree = self.0.borrow_mut();
        let own = tree.own().cloned().unwrap_or_default();
        tree.hand_over(live);
        Value::Object(own)
    }

    /// Whether a script has taken them over.
    pub fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// They come back from the script as they are now.
    pub fn take_back(&self) {
        let Some(live) = self.live() else { return };
        let map = live.all();
        *self.0.borrow_mut() = Tree::of(map);
    }

    fn live(&self) -> Option<Rc<dyn LiveTree>> {
        self.0.borrow().live()
    }

    /// Adds to the results of `plugin` (RES-02): list keys append, all others replace.
    pub fn add(&self, plugin: &str, key: &str, value: impl Into<Value>) {
        if let Some(live) = self.live() {
            return match LISTS.contains(&key) {
                true => live.append(&[plugin, key], value.into()),
                false => live.write(&[plugin, key], value.into()),
            };
        }
        let mut all = self.0.borrow_mut();
        let own = own(all.own_mut(), plugin);
        if LISTS.contains(&key) {
            append(own, key, value.into());
        } else {
            own.insert(key.to_owned(), value.into());
        }
    }

    /// Adds several results of `plugin` at once, as [`Results::add`] does each. Whoever follows results
    /// hears of them as one.
    pub fn add_all<const N: usize>(&self, plugin: &str, found: [(&str, Value); N]) {
        if let Some(live) = self.live() {
            let found = found.map(|(key, value)| (key.to_owned(), value));
            return live.add(plugin, found.into_iter().collect());
        }
        for (key, value) in found {
            self.add(plugin, key, value);
        }
    }

    /// Appends to the list under `key`, making it (RES-03).
    pub fn push(&self, plugin: &str, key: &str, value: impl Into<Value>) {
        if let Some(live) = self.live() {
            return live.append(&[plugin, key], value.into());
        }
        let mut all = self.0.borrow_mut();
        append(own(all.own_mut(), plugin), key, value.into());
    }

    /// Who has left something, in the order of their first results.
    pub fn names(&self) -> Vec<String> {
        if let Some(live) = self.live() {
            return live.all().into_iter().map(|(name, _)| name).collect();
        }
        let all = self.0.borrow();
        let own = all.own().into_iter();
        own.flat_map(|all| all.keys().cloned()).collect()
    }

    /// All that `plugin` left (RES-04). For a connection, [`Connection::result`] has the core's own
    /// as well.
    ///
    /// [`Connection::result`]: crate::connection::Connection::result
    pub fn get(&self, plugin: &str) -> Option<Value> {
        if let Some(live) = self.live() {
            return live.read(&[plugin]);
        }
        self.0.borrow().own()?.get(plugin).cloned()
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
