//! Blocking work on a few threads of its own: fsync, password hashing, big reads.
//!
//! Owns the process's pool. Threads start when there is work and end after a while without any, so
//! a worker that never needs them never has them, and the master (which must not have threads when
//! it forks) has none as long as it does not call this. A job must never touch the runtime.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use async_task::Runnable;
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
    /// Jobs that may wait for a thread.
    most: usize,
    /// How long a thread waits for a job before it ends.
    idle_time: Duration,
    desk: Mutex<Desk>,
    /// Rings for one thread that waits. A thread goes to sleep at once: one that spun for a while first,
    /// as those of a channel do, would take the time from the work beside it.
    bell: Condvar,
}

#[derive(Default)]
struct Desk {
    jobs: VecDeque<Runnable>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
    /// Tasks that wait for a place in the queue.
    queueing: Vec<Waker>,
}

impl Pool {
    fn get() -> &'static Pool {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Pool::new(QUEUE, IDLE_TIME))
    }

    fn new(most: usize, idle_time: Duration) -> Pool {
        Pool {
            most,
            idle_time,
            desk: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Nothing panics while holding the lock, so a poisoned one is as good as any.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, or gives it back and wakes `waker` when there may be room.
    fn submit(&self, runnable: Runnable, waker: &Waker) -> Result<(), Runnable> {
        let mut desk = self.desk();
        if desk.jobs.len() >= self.most {
            desk.queueing.push(waker.clone());
            return Err(runnable);
        }
        desk.jobs.push_back(runnable);
        let someone_waits = desk.idle > 0;
        drop(desk);
        if someone_waits {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Starts a thread if a job waits and nobody is free to take it.
    fn staff(&'static self) -> std::io::Result<()> {
        self.staff_with(&mut self.desk())
    }

    fn staff_with(&'static self, desk: &mut Desk) -> std::io::Result<()> {
        if desk.jobs.len() <= desk.idle || desk.threads >= THREADS {
            return Ok(());
        }
        let started = thread::Builder::new()
            .name(format!("offload-{}", desk.threads))
            .stack_size(STACK)
            .spawn(|| self.work());
        match started {
            Ok(_) => desk.threads += 1,
            Err(e) if desk.threads == 0 => return Err(e),
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
        let mut desk = self.desk();
        if desk.jobs.is_empty() {
            desk.idle += 1;
            let waited = self
                .bell
                .wait_timeout_while(desk, self.idle_time, |desk| desk.jobs.is_empty());
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
            desk.idle -= 1;
        }
        let Some(job) = desk.jobs.pop_front() else {
            desk.threads -= 1;
            return None;
        };
        // Who submitted another job meanwhile may have counted on this thread for it.
        let _ = self.staff_with(&mut desk);
        let woken = std::mem::take(&mut desk.queueing);
        drop(desk);
        woken.into_iter().for_each(Waker::wake);
        Some(job)
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
    use std::sync::atomic::{AtomicBool, Ordering};
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
                let _ = gate.lock().unwrap().recv();
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
            assert_eq!(pool.desk().jobs.len(), 1);
            queued.cancel().await;
            drop(release);
            for task in busy {
                task.await.unwrap().unwrap();
            }
            offload_to(pool, || ()).await.unwrap();
        });
        assert!(pool.desk().jobs.is_empty());
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
            assert_eq!(pool.desk().jobs.len(), 1);
            assert_eq!(pool.desk().queueing.len(), 9);
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
            while pool.desk().threads > 0 {
                assert!(Instant::now() < limit, "threads never end");
                thread::yield_now();
            }
            assert_eq!(pool.desk().idle, 0);
        }
    }
}
