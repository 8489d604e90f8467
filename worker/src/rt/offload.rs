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
    offload_to(Pool::get(), job).await
}

async fn offload_to<T, F>(pool: &'static Pool, job: F) -> Result<T, OffloadError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
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
    /// How long a thread waits for a job before it ends.
    idle_time: Duration,
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
        POOL.get_or_init(|| Pool::new(QUEUE, IDLE_TIME))
    }

    fn new(queue: usize, idle_time: Duration) -> Pool {
        let (sender, jobs) = crossbeam_channel::bounded(queue);
        Pool {
            sender,
            jobs,
            idle_time,
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
        self.staff_with(&mut lock(&self.staff))
    }

    fn staff_with(&'static self, staff: &mut Staff) -> std::io::Result<()> {
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

    fn work(&'static self) {
        // Signals are for the threads that wait for them.
        let _ = SigSet::all().thread_block();
        while let Some(job) = self.next() {
            job.run();
        }
    }

    /// The next job, or `None` when this thread is to end.
    fn next(&'static self) -> Option<Runnable> {
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

    fn wait(&'static self) -> Option<Runnable> {
        lock(&self.staff).idle += 1;
        loop {
            let got = self.jobs.recv_timeout(self.idle_time);
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
                    // Between taking the job and this lock, a submitter may have counted on this
                    // thread for the next one.
                    let _ = self.staff_with(&mut staff);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;
    use crate::rt::{Runtime, Task, spawn, yield_now};

    fn pool(queue: usize, idle_time: Duration) -> &'static Pool {
        Box::leak(Box::new(Pool::new(queue, idle_time)))
    }

    /// Occupies all threads of `pool` until the sender is dropped.
    async fn occupy(
        pool: &'static Pool,
    ) -> (mpsc::Sender<()>, Vec<Task<Result<(), OffloadError>>>) {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (began, has_begun) = mpsc::channel();
        let mut tasks = Vec::new();
        for _ in 0..THREADS {
            let (gate, began) = (Arc::clone(&gate), began.clone());
            tasks.push(spawn(offload_to(pool, move || {
                began.send(()).unwrap();
                let _ = lock(&gate).recv();
            })));
            yield_now().await;
            has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
        }
        (release, tasks)
    }

    #[test]
    fn queued_job_whose_future_is_dropped_never_runs() {
        let pool = pool(8, IDLE_TIME);
        let ran = Arc::new(AtomicBool::new(false));
        Runtime::new().unwrap().block_on(async {
            let (release, busy) = occupy(pool).await;
            let mark = Arc::clone(&ran);
            let queued = spawn(offload_to(pool, move || mark.store(true, Ordering::SeqCst)));
            yield_now().await;
            assert_eq!(pool.jobs.len(), 1);
            queued.cancel().await;
            drop(release);
            for task in busy {
                task.await.unwrap().unwrap();
            }
            offload_to(pool, || ()).await.unwrap();
        });
        assert!(pool.jobs.is_empty());
        assert!(!ran.load(Ordering::SeqCst));
    }

    #[test]
    fn job_waits_for_a_place_in_a_full_queue_and_then_runs() {
        let pool = pool(1, IDLE_TIME);
        Runtime::new().unwrap().block_on(async {
            let (release, busy) = occupy(pool).await;
            let more: Vec<_> = (0..10)
                .map(|i| spawn(offload_to(pool, move || i)))
                .collect();
            yield_now().await;
            assert_eq!(pool.jobs.len(), 1);
            assert_eq!(pool.waiting.load(Ordering::SeqCst), 9);
            drop(release);
            for (i, task) in more.into_iter().enumerate() {
                assert_eq!(task.await.unwrap().unwrap(), i);
            }
            drop(busy);
        });
    }

    #[test]
    fn idle_threads_end_and_new_ones_start_when_needed() {
        let pool = pool(8, Duration::from_millis(1));
        let rt = Runtime::new().unwrap();
        for round in 0..3 {
            assert_eq!(rt.block_on(offload_to(pool, move || round)).unwrap(), round);
            let limit = Instant::now() + Duration::from_secs(30);
            while lock(&pool.staff).threads > 0 {
                assert!(Instant::now() < limit, "threads never end");
                thread::yield_now();
            }
            assert_eq!(lock(&pool.staff).idle, 0);
        }
    }
}
