//! What plugins leave for each other: a tree of JSON values under dotted names (RES-07).
//!
//! Kept at connections and transactions; a transaction's notes go into the queue file (PA-11).
//! Names such as `__proto__` are refused, as script plugins see the same tree.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::live::{LiveTree, Tree};

/// A tree of notes. Empty notes own no memory.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Tree>);

const UNSAFE: [&str; 3] = ["__proto__", "constructor", "prototype"];

impl Notes {
    /// Notes from a queue file; anything but an object gives none.
    pub fn from_json(value: Value) -> Notes {
        match value {
            Value::Object(map) => Notes(RefCell::new(Tree::of(map))),
            _ => Notes::default(),
        }
    }

    /// A script takes the notes over: gives what they hold, and goes through `live` from now on.
    pub fn hand_over(&self, live: Rc<dyn LiveTree>) -> Value {
        let plain = self.to_json();
        self.0.borrow_mut().hand_over(live);
        plain
    }

    /// Whether a script has taken them over.
    pub fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Replaces everything; anything but an object changes nothing. Not while a script has it.
    pub fn replace(&self, value: Value) {
        if let (Value::Object(map), false) = (value, self.is_live()) {
            *self.0.borrow_mut() = Tree::of(map);
        }
    }

    /// They come back from the script as they are now.
    pub fn take_back(&self) {
        if let Some(live) = self.live() {
            let map = live.all();
            *self.0.borrow_mut() = Tree::of(map);
        }
    }

    fn live(&self) -> Option<Rc<dyn LiveTree>> {
        self.0.borrow().live()
    }

    /// The value under `a.b.c`.
    pub fn get(&self, path: &str) -> Option<Value> {
        if let Some(live) = self.live() {
            return live.read(&path.split('.').collect::<Vec<_>>());
        }
        let tree = self.0.borrow();
        let mut parts = path.split('.');
        let mut at = tree.own()?.get(parts.next()?)?;
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
        if let Some(live) = self.live() {
            return live.write(&path.split('.').collect::<Vec<_>>(), value.into());
        }
        let mut tree = self.0.borrow_mut();
        let mut at: &mut Map<String, Value> = tree.own_mut();
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
        if let Some(live) = self.live() {
            let full = matches!(live.read(&[name]), Some(Value::Array(list)) if list.len() >= most);
            if !full {
                live.append(&[name], value.into());
            }
            return;
        }
        let mut tree = self.0.borrow_mut();
        let entry = tree.own_mut().entry(name);
        match entry.or_insert(Value::Null) {
            Value::Array(list) if list.len() >= most => {}
            Value::Array(list) => list.push(value.into()),
            other => *other = Value::Array(vec![value.into()]),
        }
    }

    /// Whether the list under this name holds this text, without copying it.
    pub fn lists(&self, name: &str, text: &str) -> bool {
        let holds = |list: &Value| matches!(list, Value::Array(a) if a.iter().any(|v| v.as_str() == Some(text)));
        match self.live() {
            Some(live) => live.read(&[name]).as_ref().is_some_and(holds),
            None => {
                let tree = self.0.borrow();
                tree.own().and_then(|t| t.get(name)).is_some_and(holds)
            }
        }
    }

    /// Everything as JSON, for the queue file.
    pub fn to_json(&self) -> Value {
        Value::Object(match self.live() {
            Some(live) => live.all(),
            None => self.0.borrow().own().cloned().unwrap_or_default(),
        })
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
