//! A queue item in memory: its envelope and its message.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::body::Body;
use haraka_shared::spool::{Item, Todo};

use super::message::Outgoing;

/// An item that can be delivered.
pub(super) struct Loaded {
    pub(super) todo: Todo,
    pub(super) message: Outgoing,
    /// Set while the message counts as kept in memory.
    pub(super) fresh: Option<Fresh>,
    /// Plugins have changed the envelope or the notes since it was written.
    pub(super) changed: bool,
}

impl Loaded {
    /// An item that was read from the queue directory.
    pub(super) fn stored(item: Item) -> Loaded {
        let (file, offset) = item.body.file();
        let body = Body::from_file(Arc::clone(file), offset, item.body.len());
        Loaded {
            todo: item.todo,
            message: Outgoing::stored(body),
            fresh: None,
            changed: false,
        }
    }

    /// An item that was just accepted.
    pub(super) fn accepted(todo: Todo, message: Outgoing) -> Loaded {
        Loaded {
            todo,
            message,
            fresh: None,
            changed: false,
        }
    }
}

/// The octets of a message kept in memory, counted until this is dropped.
pub(super) struct Fresh {
    held: Rc<Cell<u64>>,
    octets: u64,
    orders: u64,
}

impl Fresh {
    /// Counts that were added to `held` already.
    /// `orders`: see [`super::Outbound::trust_disk`].
    pub(super) fn new(held: Rc<Cell<u64>>, octets: u64, orders: u64) -> Fresh {
        Fresh {
            held,
            octets,
            orders,
        }
    }

    /// Whether nobody can have done anything with the item since.
    pub(super) fn is_current(&self, orders: u64) -> bool {
        self.orders == orders
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.held.set(self.held.get().saturating_sub(self.octets));
    }
}

/// A message in the form in which it is stored, for the committer: header with the empty line, body.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) header: Arc<[u8]>,
    pub(super) body: Body,
}
