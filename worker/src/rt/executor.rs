//! Tasks and the queue of those that are ready to run.
//!
//! Owns spawning, waking and cancelling. A wake on the runtime's own thread is a push onto a local
//! queue: no lock, no system call. A wake from any other thread goes through a channel and rings
//! the reactor's bell, but only if the runtime is asleep. A panic ends its task and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_task::{FallibleTask, Runnable};
use crossbeam_channel::{Receiver, Sender};
use pin_project_lite::pin_project;
use slab::Slab;

use super::clock::Clock;
use super::guard::{Guarded, Panicked, catch};
use super::reactor::Reactor;
use super::timer::Timers;

/// Starts `future` as a task of this thread's runtime. It runs from the next turn on, also if
/// nobody awaits the [`Task`]; dropping the [`Task`] cancels it.
///
/// A panic inside is logged and ends the task alone. Without a runtime on this thread, or while
/// the runtime is being dropped, the future is dropped at once and the task counts as cancelled.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let core = CURRENT.try_with(|c| c.borrow().clone()).ok().flatten();
    match core {
        Some(core) => core.spawn(future),
        None => {
            no_runtime("spawn");
            let (runnable, task) = async_task::spawn_local(catch(future), drop);
            drop(runnable);
            Task(task.fallible())
        }
    }
}

/// Lets every other ready task run once before going on.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// A running task. Awaiting it gives what its future returned; dropping it cancels the task, whose
/// future is then dropped within the next turn.
#[must_use = "dropping a task cancels it; use `detach` to let it run"]
pub struct Task<T>(FallibleTask<Result<T, Panicked>>);

impl<T> Task<T> {
    /// Lets the task run to its end by itself.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Cancels the task and waits until its future has been dropped. Gives the value if it was
    /// done already.
    pub async fn cancel(self) -> Option<T> {
        self.0.cancel().await.and_then(Result::ok)
    }

    /// Whether it has ended (done, panicked or cancelled).
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|ended| match ended {
            Some(result) => result.map_err(TaskError::from),
            None => Err(TaskError::Cancelled),
        })
    }
}

/// Why a task gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It panicked; this has been logged.
    #[error("task {0}")]
    Panicked(#[from] Panicked),
    /// The runtime was dropped before it was done.
    #[error("task cancelled")]
    Cancelled,
}

/// Calls `f` with this thread's runtime. `None` if there is none.
pub(super) fn with_core<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| match current.try_borrow() {
            Ok(core) => core.as_deref().map(f),
            Err(_) => None,
        })
        .ok()
        .flatten()
}

/// The error of an operation on a thread without (or with another) runtime.
pub(super) fn without_runtime<T>() -> io::Result<T> {
    Err(io::Error::other("not on the thread of a running runtime"))
}

/// Reports a use outside of a runtime by something that has no error to return.
pub(super) fn no_runtime(what: &str) {
    log::error!("{what} was used on a thread without a runtime");
}

/// All state of a runtime. Each part has its own cell, so that a waker called from within one part
/// can reach the queue.
pub(super) struct Core {
    pub(super) reactor: Reactor,
    pub(super) timers: Timers,
    pub(super) clock: Clock,
    /// Jobs handed to other threads whose result is still awaited.
    pub(super) offloaded: Cell<u32>,
    ready: RefCell<VecDeque<Runnable>>,
    /// A waker for every unfinished task, to reach them all when the runtime is dropped.
    tasks: RefCell<Slab<Waker>>,
    budget: Cell<u32>,
    closing: Cell<bool>,
    inbox: Receiver<Runnable>,
    remote: Arc<Remote>,
}

impl Core {
    /// Makes a runtime's state and claims this thread for it.
    pub(super) fn install(simulated_clock: bool) -> io::Result<Rc<Core>> {
        let reactor = Reactor::new()?;
        let (sender, inbox) = crossbeam_channel::unbounded();
        let remote = Arc::new(Remote {
            sender,
            asleep: AtomicBool::new(false),
            bell: reactor.bell()?,
        });
        let core = Rc::new(Core {
            reactor,
            timers: Timers::default(),
            clock: Clock::new(simulated_clock),
            offloaded: Cell::new(0),
            ready: RefCell::default(),
            tasks: RefCell::default(),
            budget: Cell::new(0),
            closing: Cell::new(false),
            inbox,
            remote,
        });
        CURRENT.with(|current| match &mut *current.borrow_mut() {
            Some(_) => Err(io::Error::other("this thread has a runtime already")),
            free => {
                *free = Some(Rc::clone(&core));
                Ok(core)
            }
        })
    }

    /// Cancels all tasks and gives the thread free.
    pub(super) fn uninstall(&self) {
        self.closing.set(true);
        for _ in 0..STRAGGLER_TRIES {
            // Cancelling one task may wake or free others; those come round again.
            let all: Vec<Waker> = self.tasks.borrow().iter().map(|(_, w)| w.clone()).collect();
            all.into_iter().for_each(Waker::wake);
            while let Some(runnable) = self.next_ready() {
                drop(runnable);
            }
            if self.tasks.borrow().is_empty() {
                break;
            }
            // Another thread is between marking a task as woken and sending it.
            if let Ok(runnable) = self.inbox.recv_timeout(STRAGGLER_WAIT) {
                drop(runnable);
            }
        }
        let left = self.tasks.borrow().len();
        if left > 0 {
            log::error!("{left} tasks could not be cancelled");
        }
        let gone = CURRENT.try_with(|current| current.borrow_mut().take());
        drop(gone);
    }

    /// Takes from the task's budget of readiness checks; `false` when it is used up and the task
    /// has to wait for the next turn.
    pub(super) fn spend(&self, units: u32) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(units));
        left > 0
    }

    pub(super) fn refill_budget(&self) {
        self.budget.set(CHECKS_PER_POLL);
    }

    /// Polls ready tasks, at most [`TASKS_PER_TURN`], so that events, timers and the main future
    /// get their turn under any load.
    pub(super) fn run_ready(&self) {
        self.take_inbox();
        for _ in 0..TASKS_PER_TURN {
            let Some(runnable) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            self.refill_budget();
            runnable.run();
        }
    }

    /// Waits for events or the next timer, then wakes whom they concern. Does not block while a
    /// task is ready or `woken` says that the main future is.
    pub(super) fn park(&self, woken: &AtomicBool) -> io::Result<()> {
        let idle = self.ready.borrow().is_empty() && !woken.load(Ordering::Relaxed);
        let mut limit = if idle {
            self.time_to_next()
        } else {
            Some(Duration::ZERO)
        };
        if limit != Some(Duration::ZERO) && !self.fall_asleep(woken) {
            limit = Some(Duration::ZERO);
        }
        let waited = self.reactor.wait(limit);
        self.remote.asleep.store(false, Ordering::Relaxed);
        waited?;

        let had_events = self.reactor.wake_ready();
        let mut now = self.clock.tick();
        let may_jump = self.clock.is_virtual() && self.offloaded.get() == 0;
        if may_jump && idle && !had_events && self.is_still(woken) {
            if let Some(next) = self.timers.next() {
                self.clock.jump(next);
            }
            now = self.clock.now();
        }
        self.timers.fire(now);
        Ok(())
    }

    pub(super) fn main_waker(&self) -> Arc<MainWaker> {
        Arc::new(MainWaker {
            remote: Arc::clone(&self.remote),
            woken: AtomicBool::new(true),
        })
    }

    #[cfg(test)]
    pub(super) fn task_count(&self) -> usize {
        self.tasks.borrow().len()
    }

    fn spawn<F>(self: &Rc<Core>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let tracked = Tracked {
            guarded: catch(future),
            key: entry.key() as u32,
        };
        let remote = Arc::clone(&self.remote);
        let (runnable, task) =
            async_task::spawn_local(tracked, move |runnable| remote.schedule(runnable));
        entry.insert(runnable.waker());
        drop(tasks);
        if self.closing.get() {
            drop(runnable);
        } else {
            self.ready.borrow_mut().push_back(runnable);
        }
        Task(task.fallible())
    }

    fn next_ready(&self) -> Option<Runnable> {
        self.take_inbox();
        self.ready.borrow_mut().pop_front()
    }

    fn take_inbox(&self) {
        if !self.inbox.is_empty() {
            self.ready.borrow_mut().extend(self.inbox.try_iter());
        }
    }

    /// How long the reactor may wait: `None` for ever.
    fn time_to_next(&self) -> Option<Duration> {
        let next = self.timers.next();
        if self.clock.is_virtual() {
            // With a job elsewhere the time stands still; its result will ring the bell.
            return (next.is_some() && self.offloaded.get() == 0).then_some(Duration::ZERO);
        }
        next.map(|at| at.saturating_duration_since(self.clock.precise()))
    }

    /// Declares that wakes from other threads must ring from now on. `false` if one came before.
    ///
    /// Pairs with [`Remote::ring_if_asleep`]: each side writes its own mark, then looks at the
    /// other's, with a full fence between, so that at least one of the two sees the other.
    fn fall_asleep(&self, woken: &AtomicBool) -> bool {
        self.remote.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.is_still(woken)
    }

    fn is_still(&self, woken: &AtomicBool) -> bool {
        self.inbox.is_empty() && !woken.load(Ordering::Relaxed) && self.ready.borrow().is_empty()
    }

    fn forget_task(&self, key: u32) {
        let waker = self.tasks.borrow_mut().try_remove(key as usize);
        drop(waker);
    }
}

/// Wakes the future given to `block_on`.
pub(super) struct MainWaker {
    remote: Arc<Remote>,
    pub(super) woken: AtomicBool,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.remote.ring_if_asleep();
        }
    }
}

/// What other threads hold of a runtime.
struct Remote {
    sender: Sender<Runnable>,
    asleep: AtomicBool,
    bell: mio::Waker,
}

impl Remote {
    fn schedule(self: &Arc<Self>, runnable: Runnable) {
        let mut runnable = Some(runnable);
        with_core(|core| {
            if Arc::ptr_eq(&core.remote, self) {
                core.ready.borrow_mut().extend(runnable.take());
            }
        });
        let Some(runnable) = runnable else { return };
        match self.sender.send(runnable) {
            Ok(()) => self.ring_if_asleep(),
            // The runtime is gone, and the task with it: its memory must not be freed from here,
            // because a task may only be dropped by its own thread.
            Err(unsent) => std::mem::forget(unsent.into_inner()),
        }
    }

    fn ring_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::Relaxed)
            && let Err(e) = self.bell.wake()
        {
            log::error!("cannot wake the event loop: {e}");
        }
    }
}

pin_project! {
    /// A task's future, which strikes itself off the runtime's list when it is dropped.
    struct Tracked<F> {
        #[pin]
        guarded: Guarded<F>,
        key: u32,
    }

    impl<F> PinnedDrop for Tracked<F> {
        fn drop(this: Pin<&mut Self>) {
            let key = *this.project().key;
            with_core(|core| core.forget_task(key));
        }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.project().guarded.poll(cx);
        if let Poll::Ready(Err(panicked)) = &polled {
            log::error!("a task {panicked}");
        }
        polled
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Task polls between two looks at the kernel's events.
const TASKS_PER_TURN: u32 = 256;
/// Readiness checks that one poll of a task may pass: with 16 KiB buffers half a megabyte.
const CHECKS_PER_POLL: u32 = 32;
const STRAGGLER_TRIES: u32 = 100;
const STRAGGLER_WAIT: Duration = Duration::from_millis(20);
