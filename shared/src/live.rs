//! What a script engine hangs on the server's objects: trees that live in scripts, and a companion that
//! hears when a connection ends.
//!
//! Notes and results hold plain data until a script looks at them. From then on the script's object is
//! the one truth, since scripts keep functions, sockets and cycles in it; native code reads and writes
//! through [`LiveTree`] and sees the plain data. Never holds script values itself.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use serde_json::{Map, Value};

/// A tree that a script has taken over. Paths are names from the root; none is the root.
pub trait LiveTree {
    /// The plain data at a path: what JSON can say. `None` if there is nothing that it can.
    fn read(&self, path: &[&str]) -> Option<Value>;
    /// Puts a value at a path, making the objects in between.
    fn write(&self, path: &[&str], value: Value);
    /// Appends to the list at a path, making it.
    fn append(&self, path: &[&str], value: Value);
    /// Adds several results of one plugin, which followers hear of as one.
    fn add(&self, plugin: &str, found: Map<String, Value>);
    /// All of the plain data.
    fn all(&self) -> Map<String, Value>;
}

/// What a script engine keeps beside a connection while that lives.
pub trait Companion: Any {
    /// This transaction ends; what was kept for it can go.
    fn transaction_over(&self, uuid: &str);
}

/// A tree that may be in a script. An empty one owns no memory, and an idle connection has two.
#[derive(Default)]
pub(crate) struct Tree(Option<Box<Held>>);

enum Held {
    Own(Map<String, Value>),
    Live(Rc<dyn LiveTree>),
}

impl Tree {
    /// One that is plain data.
    pub(crate) fn of(map: Map<String, Value>) -> Tree {
        Tree(Some(Box::new(Held::Own(map))))
    }

    /// What it holds, unless a script has it.
    pub(crate) fn own(&self) -> Option<&Map<String, Value>> {
        match self.0.as_deref() {
            Some(Held::Own(map)) => Some(map),
            _ => None,
        }
    }

    /// The same to change it; one that a script had is empty.
    pub(crate) fn own_mut(&mut self) -> &mut Map<String, Value> {
        let held = self
            .0
            .get_or_insert_with(|| Box::new(Held::Own(Map::new())));
        if matches!(**held, Held::Live(_)) {
            **held = Held::Own(Map::new());
        }
        match &mut **held {
            Held::Own(map) => map,
            // Replaced just above.
            Held::Live(_) => unreachable!(),
        }
    }

    /// The script's, if one has it. A copy, so that no borrow is held while the script comes back here.
    pub(crate) fn live(&self) -> Option<Rc<dyn LiveTree>> {
        match self.0.as_deref() {
            Some(Held::Live(live)) => Some(Rc::clone(live)),
            _ => None,
        }
    }

    /// A script has it from now on.
    pub(crate) fn hand_over(&mut self, live: Rc<dyn LiveTree>) {
        self.0 = Some(Box::new(Held::Live(live)));
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            None => f.write_str("{}"),
            Some(Held::Own(map)) => map.fmt(f),
            Some(Held::Live(_)) => f.write_str("in a script"),
        }
    }
}
