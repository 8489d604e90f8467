//! What plugins leave for each other: a tree of JSON values under dotted names (RES-07).
//!
//! Kept at connections and transactions; a transaction's notes go into the queue file (PA-11).
//! Names such as `__proto__` are refused, as script plugins see the same tree.

use std::cell::RefCell;

use serde_json::{Map, Value};

/// A tree of notes. Empty notes own no memory.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Option<Box<Map<String, Value>>>>);

const UNSAFE: [&str; 3] = ["__proto__", "constructor", "prototype"];

impl Notes {
    /// Notes from a queue file; anything but an object gives none.
    pub fn from_json(value: Value) -> Notes {
        match value {
            Value::Object(map) => Notes(RefCell::new(Some(Box::new(map)))),
            _ => Notes::default(),
        }
    }

    /// The value under `a.b.c`.
    pub fn get(&self, path: &str) -> Option<Value> {
        let tree = self.0.borrow();
        let mut parts = path.split('.');
        let mut at = tree.as_ref()?.get(parts.next()?)?;
        for part in parts {
            at = at.as_object()?.get(part)?;
        }
        Some(at.clone())
    }

    /// The text under `a.b.c`.
    pub fn text(&self, path: &str) -> Option<String> {
        match self.get(path)? {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// Whether the value under `a.b.c` counts as true in a script.
    pub fn truthy(&self, path: &str) -> bool {
        match self.get(path) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(b)) => b,
            Some(Value::Number(n)) => n.as_f64().is_some_and(|f| f != 0.0),
            Some(Value::String(s)) => !s.is_empty(),
            Some(Value::Array(_) | Value::Object(_)) => true,
        }
    }

    /// Puts a value under `a.b.c`, making the objects in between and replacing what is no object.
    /// Unsafe names change nothing.
    pub fn set(&self, path: &str, value: impl Into<Value>) {
        if path.split('.').any(|p| UNSAFE.contains(&p)) {
            return;
        }
        let mut tree = self.0.borrow_mut();
        let mut at: &mut Map<String, Value> = tree.get_or_insert_default();
        let Some((parents, last)) = path.rsplit_once('.') else {
            at.insert(path.to_owned(), value.into());
            return;
        };
        for part in parents.split('.') {
            let next = at.entry(part).or_insert_with(|| Value::Object(Map::new()));
            if !next.is_object() {
                *next = Value::Object(Map::new());
            }
            let Value::Object(map) = next else { return };
            at = map;
        }
        at.insert(last.to_owned(), value.into());
    }

    /// Appends to the list under this name, making it, unless it has `most` entries already. What is
    /// no list is replaced by one.
    pub fn append(&self, name: &str, value: impl Into<Value>, most: usize) {
        if UNSAFE.contains(&name) {
            return;
        }
        let mut tree = self.0.borrow_mut();
        let entry = tree.get_or_insert_default().entry(name);
        match entry.or_insert(Value::Null) {
            Value::Array(list) if list.len() >= most => {}
            Value::Array(list) => list.push(value.into()),
            other => *other = Value::Array(vec![value.into()]),
        }
    }

    /// Whether the list under this name holds this text, without copying it.
    pub fn lists(&self, name: &str, text: &str) -> bool {
        self.0.borrow().as_ref().is_some_and(|tree| {
            matches!(tree.get(name), Some(Value::Array(a)) if a.iter().any(|v| v.as_str() == Some(text)))
        })
    }

    /// Everything as JSON, for the queue file.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.borrow().as_deref().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers RES-07
    #[test]
    fn dotted_names_make_and_replace_what_is_between() {
        let notes = Notes::default();
        notes.set("queue.wants", "outbound");
        notes.set("queue.wants.x", 1);
        assert_eq!(notes.get("queue.wants.x"), Some(1.into()));
        assert_eq!(notes.get("queue.nothing"), None);
    }

    // covers RES-07
    #[test]
    fn prototype_names_are_refused() {
        let notes = Notes::default();
        notes.set("__proto__.polluted", true);
        assert_eq!(notes.to_json(), serde_json::json!({}));
    }
}
