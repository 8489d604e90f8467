//! A limit on how many tasks do something at the same time.
//!
//! Fair: permits go to those who wait, in order; a newcomer does not overtake them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Closed;

/// A number of permits, shared by all clones.
#[derive(Debug, Clone)]
pub struct Semaphore(Rc<RefCell<Shared>>);

impl Semaphore {
    /// A semaphore with `permits` to give.
    pub fn new(permits: usize) -> Semaphore {
        Semaphore(Rc::new(RefCell::new(Shared {
            free: permits,
            is_open: true,
            next_ticket: 0,
            queue: VecDeque::new(),
        })))
    }

    /// Waits for a permit; [`Closed`] once [`close`](Semaphore::close) was called.
    pub fn acquire(&self) -> Acquire {
        Acquire {
            semaphore: self.clone(),
            ticket: None,
        }
    }

    /// A permit if one is free and nobody waits for it.
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut shared = self.0.borrow_mut();
        if !shared.is_open || shared.free == 0 || !shared.queue.is_empty() {
            return None;
        }
        shared.free -= 1;
        Some(Permit(self.clone()))
    }

    /// Permits that nobody holds.
    pub fn free(&self) -> usize {
        self.0.borrow().free
    }

    /// Tasks that wait.
    pub fn waiting(&self) -> usize {
        self.0.borrow().queue.len()
    }

    /// Gives no more permits; those who wait get [`Closed`].
    pub fn close(&self) {
        let mut shared = self.0.borrow_mut();
        shared.is_open = false;
        let queue = std::mem::take(&mut shared.queue);
        drop(shared);
        queue
            .into_iter()
            .filter_map(|w| w.waker)
            .for_each(Waker::wake);
    }

    /// Adds `permits` to give, as when a limit is raised.
    pub fn add(&self, permits: usize) {
        self.0.borrow_mut().free += permits;
        self.wake_first();
    }

    /// Wakes the first in the queue if a permit is free for it.
    fn wake_first(&self) {
        let mut shared = self.0.borrow_mut();
        let is_free = shared.free > 0;
        let waker = shared
            .queue
            .front_mut()
            .filter(|_| is_free)
            .and_then(|first| first.waker.take());
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The right to go on; given back when dropped.
#[derive(Debug)]
#[must_use = "the permit is given back when dropped"]
pub struct Permit(Semaphore);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

/// The future of [`Semaphore::acquire`]; its place in the queue is taken at the first poll.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire {
    semaphore: Semaphore,
    ticket: Option<u64>,
}

impl Future for Acquire {
    type Output = Result<Permit, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = self.semaphore.clone();
        let mut shared = semaphore.0.borrow_mut();
        if !shared.is_open {
            self.ticket = None;
            return Poll::Ready(Err(Closed));
        }
        let first = shared.queue.front().map(|w| w.ticket);
        let is_next = match self.ticket {
            None => first.is_none(),
            mine => first == mine,
        };
        if is_next && shared.free > 0 {
            shared.free -= 1;
            if self.ticket.take().is_some() {
                shared.queue.pop_front();
            }
            drop(shared);
            // More than one permit may have come back since the last wake.
            semaphore.wake_first();
            return Poll::Ready(Ok(Permit(semaphore)));
        }
        let replaced = shared.wait(&mut self.ticket, cx.waker().clone());
        drop(shared);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut shared = self.semaphore.0.borrow_mut();
        let gone = shared
            .position(ticket)
            .and_then(|at| shared.queue.remove(at));
        drop(shared);
        drop(gone);
        // It may have been woken for a permit that is the next one's now.
        self.semaphore.wake_first();
    }
}

#[derive(Debug)]
struct Shared {
    free: usize,
    is_open: bool,
    next_ticket: u64,
    /// In the order of their tickets.
    queue: VecDeque<Waiter>,
}

impl Shared {
    fn position(&self, ticket: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |w| w.ticket).ok()
    }

    fn wait(&mut self, ticket: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        match ticket.and_then(|t| self.position(t)) {
            Some(at) => self
                .queue
                .get_mut(at)
                .and_then(|waiter| waiter.waker.replace(waker)),
            None => {
                let new = self.next_ticket;
                self.next_ticket += 1;
                *ticket = Some(new);
                self.queue.push_back(Waiter {
                    ticket: new,
                    waker: Some(waker),
                });
                None
            }
        }
    }
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    waker: Option<Waker>,
}
