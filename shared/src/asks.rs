//! What plugins ask of the session while one of its hooks runs.
//!
//! A plugin never writes to the client itself: it leaves an [`Ask`], and the session, which alone
//! owns the stream, grants it in order, at the latest before it acts on the hook's verdict.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::reply::Reply;

/// Something that only the session can do.
#[derive(Debug)]
pub enum Ask {
    /// Send this reply.
    Say(Reply),
    /// End the session.
    Close,
}

/// Those that are not granted yet, oldest first.
#[derive(Debug, Default)]
pub struct Asks {
    waiting: RefCell<VecDeque<Ask>>,
    /// The session, while it waits for its plugins.
    session: RefCell<Option<Waker>>,
    /// Nobody grants anything any more.
    over: Cell<bool>,
}

impl Asks {
    /// Leaves one; false if there is no session to grant it.
    pub fn leave(&self, ask: Ask) -> bool {
        if self.over.get() {
            return false;
        }
        self.waiting.borrow_mut().push_back(ask);
        if let Some(session) = self.session.borrow_mut().take() {
            session.wake();
        }
        true
    }

    /// The oldest one.
    pub fn take(&self) -> Option<Ask> {
        self.waiting.borrow_mut().pop_front()
    }

    /// Whether there is one; wakes the session when there is.
    pub fn poll_waiting(&self, cx: &mut Context<'_>) -> bool {
        if !self.waiting.borrow().is_empty() {
            return true;
        }
        *self.session.borrow_mut() = Some(cx.waker().clone());
        false
    }

    /// Waits for one.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Ask> {
        match self.take() {
            Some(ask) => Poll::Ready(ask),
            None => {
                *self.session.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The session ends, or there never was one.
    pub fn end(&self) {
        self.over.set(true);
        self.waiting.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_are_granted_in_order_until_the_session_ends() {
        let asks = Asks::default();
        assert!(asks.leave(Ask::Say(Reply::new(334, "first"))));
        assert!(asks.leave(Ask::Say(Reply::new(334, "second"))));
        let Some(Ask::Say(first)) = asks.take() else {
            panic!("nothing waits");
        };
        assert_eq!(first.text(), "first");
        asks.end();
        assert!(asks.take().is_none());
        assert!(!asks.leave(Ask::Say(Reply::new(334, "third"))));
    }
}
