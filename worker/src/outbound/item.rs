//! A queue item in memory: its envelope and its message.

use haraka_shared::body::Body;
use haraka_shared::spool::Todo;

/// An item that can be delivered.
pub(super) struct Loaded {
    pub(super) todo: Todo,
    pub(super) message: Message,
}

/// A message in stored form. An item read from disk has all of it in `body`.
#[derive(Clone, Default)]
pub struct Message {
    /// The header block with the empty line, if it is apart.
    pub header: std::sync::Arc<[u8]>,
    /// Everything else.
    pub body: Body,
}

impl Message {
    /// Length in bytes, dot-stuffing included.
    pub fn len(&self) -> u64 {
        self.header.len() as u64 + self.body.len()
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
