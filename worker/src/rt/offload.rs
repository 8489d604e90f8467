//! Blocking work on a few threads of its own: fsync, password hashing, big reads.
//!
//! Owns the process's pool. Threads start when there is work and end after a while without any, so
//! a worker that never needs them never has them, and the master (which must not have threads when
//! it forks) has none as long as it does not call this. A job must never touch the runtime.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use async_task::Runnable;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use nix::sys::signal::SigSet;

use super::executor::with_core;
use super::guard::{Panicked, guarded};

/// Why an offloaded job gave no result.
#[derive(Debug, thiserror::Error)]
pub enum OffloadError {
    /// The job panicked.
    #[error("offloaded job {0}")]
    Panicked(#[from] Panicked),
    /// No thread could be started, and none is running.
    #[error("cannot start a thread for offloaded work: {0}")]
    NoThread(#[source] std::io::Error),
    /// The job was dropped before it ran.
    #[error("offloaded job was dropped")]
    Dropped,
}

/// Runs `job` on another thread and waits for its result.
///
/// Waits while [`QUEUE`] jobs are queued already. If the future is dropped before the job began,
/// the job does not run; once begun it runs to its end. Work that must be done in any case belongs
/// into a detached task that awaits it.
pub async fn offload<T, F>(job: F) -> Result<T, OffloadError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let pool = Pool::get();
    let _counted = InFlight::new();
    // The task's memory carries job, result and waker; it is scheduled once, by hand below, and
    // ends in its first poll, so the schedule function never has a second one to place.
    let (runnable, task) = async_task::spawn(async move { guarded(job) }, drop);
    let mut unsent = Some(runnable);
    poll_fn(|cx| match unsent.take() {
        Some(runnable) => match pool.submit(runnable, cx.waker()) {
            Ok(()) => Poll::Ready(()),
            Err(full) => {
                unsent = Some(full);
                Poll::Pending
            }
        },
        None => Poll::Ready(()),
    })
    .await;
    pool.staff().map_err(OffloadError::NoThread)?;
    task.fallible()
        .await
        .ok_or(OffloadError::Dropped)?
        .map_err(OffloadError::from)
}

/// The process's threads and the queue in front of them.
struct Pool {
    sender: Sender<Runnable>,
    jobs: Receiver<Runnable>,
    /// Threads, and how many of them wait for a job.
    staff: Mutex<Staff>,
    /// Tasks waiting for a place in the queue; `waiting` is looked at without the lock.
    queueing: Mutex<Vec<Waker>>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Staff {
    threads: usize,
    idle: usize,
}

impl Pool {
    fn get() -> &'static Pool {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Pool::new(QUEUE))
    }

    fn new(queue: usize) -> Pool {
        let (sender, jobs) = crossbeam_channel::bounded(queue);
        Pool {
            sender,
            jobs,
            staff: Mutex::default(),
            queueing: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Queues a job, or gives it back and wakes `waker` when there may be room.
    fn submit(&self, runnable: Runnable, waker: &Waker) -> Result<(), Runnable> {
        let full = match self.sender.try_send(runnable) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(r) | TrySendError::Disconnected(r)) => r,
        };
        let mut queueing = lock(&self.queueing);
        queueing.push(waker.clone());
        self.waiting.store(queueing.len(), Ordering::SeqCst);
        drop(queueing);
        // A place may have become free before the note above could be seen.
        match self.sender.try_send(full) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(r) | TrySendError::Disconnected(r)) => Err(r),
        }
    }

    /// Starts a thread if a job waits and nobody is free to take it.
    fn staff(&'static self) -> std::io::Result<()> {
        let mut staff = lock(&self.staff);
        if self.jobs.len() <= staff.idle || staff.threads >= THREADS {
            return Ok(());
        }
        let started = thread::Builder::new()
            .name(format!("offload-{}", staff.threads))
            .stack_size(STACK)
            .spawn(|| self.work());
        match started {
            Ok(_) => staff.threads += 1,
            Err(e) if staff.threads == 0 => return Err(e),
            Err(e) => log::warn!("cannot start another thread for offloaded work: {e}"),
        }
        Ok(())
    }

    fn work(&self) {
        // Signals are for the threads that wait for them.
        let _ = SigSet::all().thread_block();
        while let Some(job) = self.next() {
            job.run();
        }
    }

    /// The next job, or `None` when this thread is to end.
    fn next(&self) -> Option<Runnable> {
        let job = match self.jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) => self.wait(),
        };
        if job.is_some() && self.waiting.load(Ordering::SeqCst) > 0 {
            let woken = std::mem::take(&mut *lock(&self.queueing));
            self.waiting.store(0, Ordering::SeqCst);
            woken.into_iter().for_each(Waker::wake);
        }
        job
    }

    fn wait(&self) -> Option<Runnable> {
        lock(&self.staff).idle += 1;
        loop {
            let got = self.jobs.recv_timeout(IDLE_TIME);
            let mut staff = lock(&self.staff);
            match got {
                // A job sent before this lock was taken counts on this thread being idle.
                Err(RecvTimeoutError::Timeout) if !self.jobs.is_empty() => {}
                Err(_) => {
                    staff.idle -= 1;
                    staff.threads -= 1;
                    return None;
                }
                Ok(job) => {
                    staff.idle -= 1;
                    return Some(job);
                }
            }
        }
    }
}

/// Counts a job for the runtime as long as its result is awaited.
struct InFlight;

impl InFlight {
    fn new() -> InFlight {
        with_core(|core| core.offloaded.set(core.offloaded.get() + 1));
        InFlight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        with_core(|core| core.offloaded.set(core.offloaded.get().saturating_sub(1)));
    }
}

/// Nothing panics while holding these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Jobs that may wait for a thread.
pub const QUEUE: usize = 1024;
/// Enough to keep a disk busy; hashing must not take all cores from the sessions.
const THREADS: usize = 4;
/// Address space, not memory: only touched pages count.
const STACK: usize = 512 * 1024;
const IDLE_TIME: Duration = Duration::from_secs(10);
