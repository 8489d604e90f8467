//! What plugins ask of the session while one of its hooks runs.
//!
//! A plugin never writes to the client itself: it leaves an [`Ask`], and the session, which alone
//! owns the stream, grants it in order, at the latest before it acts on the hook's verdict.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::reply::Reply;
use crate::tls::{Tls, TlsFailure};

/// Something that only the session can do.
#[derive(Debug)]
pub enum Ask {
    /// Send this reply.
    Say(Reply),
    /// End the session.
    Close,
    /// End the transaction, its hook included.
    Reset(Answer<()>),
    /// Begin TLS.
    StartTls(StartTls),
}

/// See [`crate::connection::Connection::start_tls`].
#[derive(Debug)]
pub struct StartTls {
    /// What the client is told before the first record, if there is a certificate to show.
    pub go_ahead: Reply,
    /// Time for the handshake; `None` for as long as a client may be silent.
    pub within: Option<Duration>,
    /// Where the plugin waits for what came of it.
    pub answer: Answer<Result<Rc<Tls>, TlsFailure>>,
}

/// The session's side of an ask that is answered. Dropped without one, the plugin learns that.
#[derive(Debug)]
pub struct Answer<T>(Weak<Awaited<T>>);

/// A plugin's side of an ask: a future of the answer, `None` if nobody gives one any more.
#[derive(Debug)]
pub struct Awaiting<T>(Rc<Awaited<T>>);

#[derive(Debug)]
struct Awaited<T> {
    answer: RefCell<Option<T>>,
    over: Cell<bool>,
    plugin: RefCell<Option<Waker>>,
}

/// The two ends of an answer.
pub fn answer<T>() -> (Answer<T>, Awaiting<T>) {
    let awaited = Rc::new(Awaited {
        answer: RefCell::new(None),
        over: Cell::new(false),
        plugin: RefCell::new(None),
    });
    (Answer(Rc::downgrade(&awaited)), Awaiting(awaited))
}

impl<T> Answer<T> {
    /// Gives it; of no effect if the plugin has stopped waiting.
    pub fn give(self, answer: T) {
        if let Some(awaited) = self.0.upgrade() {
            *awaited.answer.borrow_mut() = Some(answer);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(awaited) = self.0.upgrade() {
            awaited.over.set(true);
            if let Some(plugin) = awaited.plugin.borrow_mut().take() {
                plugin.wake();
            }
        }
    }
}

impl<T> Future for Awaiting<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let awaited = &self.0;
        if awaited.over.get() {
            return Poll::Ready(awaited.answer.borrow_mut().take());
        }
        *awaited.plugin.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Those that are not granted yet, oldest first. Few sessions ever have one: what holds them is made
/// with the first, as an idle session must stay small.
#[derive(Debug, Default)]
pub struct Asks {
    held: RefCell<Option<Box<Held>>>,
    /// Nobody grants anything any more.
    over: Cell<bool>,
}

#[derive(Debug, Default)]
struct Held {
    waiting: VecDeque<Ask>,
    /// The session, while it waits for its plugins.
    session: Option<Waker>,
}

impl Asks {
    /// Leaves one; false if there is no session to grant it.
    pub fn leave(&self, ask: Ask) -> bool {
        if self.over.get() {
            return false;
        }
        let mut held = self.held.borrow_mut();
        let held = held.get_or_insert_default();
        held.waiting.push_back(ask);
        if let Some(session) = held.session.take() {
            session.wake();
        }
        true
    }

    /// The oldest one.
    pub fn take(&self) -> Option<Ask> {
        self.held.borrow_mut().as_mut()?.waiting.pop_front()
    }

    /// Whether there is one; wakes the session when there is.
    pub fn poll_waiting(&self, cx: &mut Context<'_>) -> bool {
        let mut held = self.held.borrow_mut();
        let held = held.get_or_insert_default();
        held.session = Some(cx.waker().clone());
        !held.waiting.is_empty()
    }

    /// Waits for one.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Ask> {
        match self.take() {
            Some(ask) => Poll::Ready(ask),
            None => {
                let mut held = self.held.borrow_mut();
                held.get_or_insert_default().session = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The hook that was asked is over.
    pub fn rest(&self) {
        *self.held.borrow_mut() = None;
    }

    /// The session ends, or there never was one.
    pub fn end(&self) {
        self.over.set(true);
        self.rest();
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

    #[test]
    fn answer_arrives_once_and_a_dropped_ask_ends_the_wait() {
        let mut cx = Context::from_waker(Waker::noop());
        let (giver, mut awaiting) = answer();
        assert!(Pin::new(&mut awaiting).poll(&mut cx).is_pending());
        giver.give(7);
        assert_eq!(Pin::new(&mut awaiting).poll(&mut cx), Poll::Ready(Some(7)));
        let (giver, mut awaiting) = answer::<i32>();
        drop(giver);
        assert_eq!(Pin::new(&mut awaiting).poll(&mut cx), Poll::Ready(None));
        let (giver, awaiting) = answer();
        drop(awaiting);
        giver.give(8);
    }
}
