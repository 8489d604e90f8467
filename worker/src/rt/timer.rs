//! Deadlines in an ordered map, and the futures that wait for them.
//!
//! Owns when a waiting task is woken for the time's sake; never reads the clock itself (see
//! `clock.rs`). The map holds only times later than the clock's cached reading: the runtime moves
//! the reading and fires what is due in one step, so a [`Deadline`] can tell from the time alone
//! whether its entry is still there.

use std::borrow::BorrowMut;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::clock::{add_or_far, now, precise_now};
use super::executor::{no_runtime, with_core};

/// The time ran out before the future was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("time limit reached")]
pub struct Elapsed;

/// A future that is ready once a point in time has passed, and that can be moved.
///
/// Keep one per session and [`reset`](Deadline::reset_at) it: moving it later costs nothing (the
/// old entry fires, sees the new time and goes to sleep again), moving it earlier costs one change
/// of the map. It takes no entry before it is first polled, and gives its entry back when dropped.
/// Resolution is one millisecond, never early.
#[derive(Debug)]
pub struct Deadline {
    target: Instant,
    entry: Option<Entry>,
}

impl Deadline {
    /// Due at `target`.
    pub fn at(target: Instant) -> Deadline {
        Deadline {
            target,
            entry: None,
        }
    }

    /// Due `after` the present moment.
    pub fn after(after: Duration) -> Deadline {
        Deadline::at(add_or_far(precise_now(), after))
    }

    /// When it is due.
    pub fn target(&self) -> Instant {
        self.target
    }

    /// Moves it to `target`, also if it was already over.
    pub fn reset_at(&mut self, target: Instant) {
        self.target = target;
    }

    /// Moves it to `after` from the beginning of this turn (see [`super::now`]).
    pub fn reset_after(&mut self, after: Duration) {
        self.target = add_or_far(now(), after);
    }

    /// Whether the time has come, as of this turn.
    pub fn is_over(&self) -> bool {
        self.target <= now()
    }

    /// Runs `future` until it is done or this deadline has passed; the deadline stays usable and
    /// its entry in the map stays where it is, so that a session can do this for every line.
    pub fn limit<F: Future>(&mut self, future: F) -> Timeout<F, &mut Deadline> {
        Timeout {
            future,
            deadline: self,
        }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = with_core(|core| {
            let now = core.clock.now();
            if self.target <= now {
                self.leave(&core.timers, now);
                return Poll::Ready(());
            }
            let task = cx.waker().data();
            match &self.entry {
                // The map's waker keeps the task's memory alive, so an equal address is an equal
                // task.
                Some(e) if e.at > now && e.at <= self.target && e.task == task => {}
                _ => {
                    self.leave(&core.timers, now);
                    let id = core.timers.insert(self.target, cx.waker().clone());
                    self.entry = Some(Entry {
                        at: self.target,
                        id,
                        task,
                    });
                }
            }
            Poll::Pending
        });
        polled.unwrap_or_else(|| {
            no_runtime("a timer");
            Poll::Ready(())
        })
    }

    fn leave(&mut self, timers: &Timers, now: Instant) {
        if let Some(entry) = self.entry.take()
            && entry.at > now
        {
            timers.remove(entry.at, entry.id);
        }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_over(cx)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if self.entry.is_some() {
            with_core(|core| self.leave(&core.timers, core.clock.now()));
        }
    }
}

/// Waits for `duration`, never less.
pub fn sleep(duration: Duration) -> Deadline {
    Deadline::after(duration)
}

/// Waits until `at`.
pub fn sleep_until(at: Instant) -> Deadline {
    Deadline::at(at)
}

/// Runs `future` for at most `limit`. A future that is ready at once never touches the timers.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        deadline: Deadline::after(limit),
    }
}

/// Runs `future` until `at` at the latest.
pub fn timeout_at<F: Future>(at: Instant, future: F) -> Timeout<F> {
    Timeout {
        future,
        deadline: Deadline::at(at),
    }
}

pin_project! {
    /// The future of [`timeout`], [`timeout_at`] and [`Deadline::limit`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F, D = Deadline> {
        #[pin]
        future: F,
        deadline: D,
    }
}

impl<F: Future, D: BorrowMut<Deadline>> Future for Timeout<F, D> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        this.deadline
            .borrow_mut()
            .poll_over(cx)
            .map(|()| Err(Elapsed))
    }
}

/// The runtime's map of who is to be woken when.
#[derive(Default)]
pub(super) struct Timers {
    due: RefCell<BTreeMap<(Instant, u64), Waker>>,
    last_id: Cell<u64>,
}

impl Timers {
    /// The earliest time for which somebody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes, in order of time and then of arrival, all that is due at `now`.
    pub(super) fn fire(&self, now: Instant) {
        while let Some(waker) = self.pop_due(now) {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.borrow().len()
    }

    #[cfg(test)]
    pub(super) fn inserted(&self) -> u64 {
        self.last_id.get()
    }

    fn pop_due(&self, now: Instant) -> Option<Waker> {
        let mut due = self.due.borrow_mut();
        let first = due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn insert(&self, at: Instant, waker: Waker) -> u64 {
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        let replaced = self.due.borrow_mut().insert((at, id), waker);
        debug_assert!(replaced.is_none(), "timer ids are unique");
        id
    }

    fn remove(&self, at: Instant, id: u64) {
        // The waker is dropped after the borrow ends: its drop may run foreign code.
        let gone = self.due.borrow_mut().remove(&(at, id));
        drop(gone);
    }
}

/// Where a deadline stands in the map, and for which task.
#[derive(Debug)]
struct Entry {
    at: Instant,
    id: u64,
    task: *const (),
}
