//! Who may compute a password hash now. Anybody on the network can ask for one, so they must never
//! take all threads of the offload pool, which writes the queue to disk as well.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A fixed number of turns, given in the order of asking.
#[derive(Debug)]
pub struct Turns {
    free: Cell<usize>,
    last: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
}

impl Turns {
    /// So many at a time.
    #[must_use]
    pub fn new(at_once: usize) -> Turns {
        Turns {
            free: Cell::new(at_once),
            last: Cell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Waits for a turn; it ends when what comes back is dropped.
    pub fn take(&self) -> Taking<'_> {
        let number = self.last.get() + 1;
        self.last.set(number);
        Taking {
            turns: self,
            number,
            over: false,
        }
    }

    fn wake_next(&self) {
        if self.free.get() == 0 {
            return;
        }
        if let Some((_, waker)) = self.waiting.borrow().first_key_value() {
            waker.wake_by_ref();
        }
    }
}

/// See [`Turns::take`].
#[derive(Debug)]
pub struct Taking<'a> {
    turns: &'a Turns,
    number: u64,
    over: bool,
}

impl<'a> Future for Taking<'a> {
    type Output = Turn<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<'a>> {
        let (turns, number) = (self.turns, self.number);
        let mut waiting = turns.waiting.borrow_mut();
        let first = waiting.first_key_value().is_none_or(|(n, _)| *n >= number);
        if turns.free.get() == 0 || !first {
            waiting.insert(number, cx.waker().clone());
            return Poll::Pending;
        }
        waiting.remove(&number);
        drop(waiting);
        turns.free.set(turns.free.get() - 1);
        self.over = true;
        turns.wake_next();
        Poll::Ready(Turn(turns))
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.turns.waiting.borrow_mut().remove(&self.number);
            self.turns.wake_next();
        }
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn turns_are_given_in_order_and_one_who_gives_up_is_passed_over() {
        let turns = Turns::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(turns.take());
        let Poll::Ready(turn) = first.as_mut().poll(&mut cx) else {
            panic!("the first waits");
        };
        let mut second = Box::pin(turns.take());
        let mut third = pin!(turns.take());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        drop(turn);
        assert!(third.as_mut().poll(&mut cx).is_pending(), "out of turn");
        drop(second);
        assert!(third.as_mut().poll(&mut cx).is_ready());
    }
}
