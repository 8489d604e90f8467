//! Something that happened, told to all who wait ([`Event`]) or to one ([`Notify`]).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// A flag that many tasks can wait for: drain, shutdown, reload. All clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Event(Rc<Flag>);

impl Event {
    /// A flag that is not set.
    pub fn new() -> Event {
        Event::default()
    }

    /// Sets it and wakes all who wait. It stays set.
    pub fn set(&self) {
        self.0.is_set.set(true);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.is_set.get()
    }

    /// Waits until it is set. Takes memory in the flag only while waiting.
    pub fn wait(&self) -> Wait {
        Wait {
            flag: Rc::clone(&self.0),
            key: None,
        }
    }
}

/// The future of [`Event::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Wait {
    flag: Rc<Flag>,
    key: Option<usize>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.flag.is_set.get() {
            self.key = None;
            return Poll::Ready(());
        }
        let mut waiting = self.flag.waiting.borrow_mut();
        let mut replaced = None;
        let key = match self.key {
            Some(key) => {
                if let Some(waker) = waiting.get_mut(key)
                    && !waker.will_wake(cx.waker())
                {
                    replaced = Some(std::mem::replace(waker, cx.waker().clone()));
                }
                key
            }
            None => waiting.insert(cx.waker().clone()),
        };
        drop(waiting);
        drop(replaced);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Once the flag is set the list is empty for good, so the key names nobody else.
        if let Some(key) = self.key
            && !self.flag.is_set.get()
        {
            let gone = self.flag.waiting.borrow_mut().try_remove(key);
            drop(gone);
        }
    }
}

#[derive(Debug, Default)]
struct Flag {
    is_set: Cell<bool>,
    waiting: RefCell<Slab<Waker>>,
}

/// A bell for one task: "there is something new". Rings while nobody waits are kept, as one.
#[derive(Debug, Clone, Default)]
pub struct Notify(Rc<Bell>);

impl Notify {
    /// A bell that has not rung.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Rings.
    pub fn notify(&self) {
        self.0.rung.set(true);
        if let Some(waker) = self.0.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for a ring, or takes the one that was kept. For one waiter at a time.
    pub async fn notified(&self) {
        poll_fn(|cx| {
            if self.0.rung.replace(false) {
                return Poll::Ready(());
            }
            let replaced = self.0.waiting.replace(Some(cx.waker().clone()));
            drop(replaced);
            Poll::Pending
        })
        .await
    }
}

#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").field("rung", &self.rung).finish()
    }
}
