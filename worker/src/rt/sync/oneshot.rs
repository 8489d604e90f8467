//! One value from one task to another.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Closed;

/// Makes the two ends.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(RefCell::new(Shared {
        state: State::Open,
        receiver: None,
        sender: None,
    }));
    (Sender(Rc::clone(&shared)), Receiver(shared))
}

/// Gives the value. Dropped without giving one, the receiver gets [`Closed`].
#[derive(Debug)]
pub struct Sender<T>(Rc<RefCell<Shared<T>>>);

impl<T> Sender<T> {
    /// Gives the value; it comes back if the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut shared = self.0.borrow_mut();
        if matches!(shared.state, State::Closed) {
            return Err(value);
        }
        // Dropping `self` wakes the receiver.
        shared.state = State::Sent(value);
        Ok(())
    }

    /// Whether nobody will take the value any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.borrow().state, State::Closed)
    }

    /// Waits until nobody will take the value any more.
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            if self.is_closed() {
                return Poll::Ready(());
            }
            let replaced = self.0.borrow_mut().sender.replace(cx.waker().clone());
            drop(replaced);
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        if matches!(shared.state, State::Open) {
            shared.state = State::Closed;
        }
        let waker = shared.receiver.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A future of the value.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver<T>(Rc<RefCell<Shared<T>>>);

impl<T> Receiver<T> {
    /// Takes the value if it is there.
    pub fn try_recv(&mut self) -> Option<Result<T, Closed>> {
        let mut shared = self.0.borrow_mut();
        match std::mem::replace(&mut shared.state, State::Closed) {
            State::Sent(value) => Some(Ok(value)),
            State::Closed => Some(Err(Closed)),
            State::Open => {
                shared.state = State::Open;
                None
            }
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.try_recv() {
            return Poll::Ready(result);
        }
        let replaced = self.0.borrow_mut().receiver.replace(cx.waker().clone());
        drop(replaced);
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        let unread = std::mem::replace(&mut shared.state, State::Closed);
        let waker = shared.sender.take();
        drop(shared);
        drop(unread);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct Shared<T> {
    state: State<T>,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

#[derive(Debug)]
enum State<T> {
    Open,
    Sent(T),
    Closed,
}
