//! What a script engine hangs on the server's objects: trees that live in scripts, and a companion that
//! hears when a connection ends.
//!
//! Notes and results hold plain data until a script looks at them. From then on the script's object is
//! the one truth, since scripts keep functions, sockets and cycles in it; native code reads and writes
//! through [`LiveTree`] and sees the plain data. Never holds script values itself.

use serde_json::{Map, Value};

/// A tree that a script has taken over. Paths are names from the root; none is the root.
pub trait LiveTree {
    /// The plain data at a path: what JSON can say. `None` if there is nothing that it can.
    fn read(&self, path: &[&str]) -> Option<Value>;
    /// Puts a value at a path, making the objects in between.
    fn write(&self, path: &[&str], value: Value);
    /// Appends to the list at a path, making it.
    fn append(&self, path: &[&str], value: Value);
    /// All of the plain data.
    fn all(&self) -> Map<String, Value>;
}

/// What a script engine keeps beside a connection while that lives.
pub trait Companion {
    /// The engine's own number for the connection.
    fn number(&self) -> u32;
    /// This transaction ends; what was kept for it can go.
    fn transaction_over(&self, uuid: &str);
}
