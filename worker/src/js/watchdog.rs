//! Ends a worker that does not come back from a script.
//!
//! The engine asks now and then whether it shall stop, and `heap` stops what takes memory. What neither
//! of them sees, such as a search in a very long text, goes on unasked. Nothing can stop it from outside;
//! a worker in that state serves nobody and hears nobody, so it is replaced. Its queue is taken over like
//! that of any worker that dies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::time::{ClockId, clock_gettime};

/// Looks at one engine for as long as that lives.
pub(super) struct Watchdog {
    state: Arc<State>,
}

struct State {
    began: Instant,
    /// Milliseconds at which the engine was entered, plus one; 0 while nobody is inside.
    entered: AtomicU64,
    /// Processor time of the engine's thread at which it has been inside for too long, in milliseconds.
    most: AtomicU64,
    clock: ClockId,
    /// Who is inside.
    what: Mutex<String>,
}

impl State {
    fn at(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began)).saturating_add(1)
    }

    /// Of the engine's thread.
    fn processor_time(&self) -> u64 {
        clock_gettime(self.clock).map_or(0, |t| millis(Duration::from(t)))
    }

    fn what(&self) -> std::sync::MutexGuard<'_, String> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the engine is inside for longer than it may.
    fn hangs(&self, limit: Duration) -> bool {
        let entered = self.entered.load(Ordering::Relaxed);
        let inside = self.at(Instant::now()).saturating_sub(entered);
        let most = self.most.load(Ordering::Relaxed);
        entered != 0 && (inside > millis(limit) || self.processor_time() > most)
    }
}

impl Watchdog {
    /// Watches the thread that calls this. `bite` is called with the name of a call that has been
    /// inside for longer than `limit` by the clock on the wall, or used up its time of the processor;
    /// `glance` is the time between two looks.
    pub(super) fn start(
        limit: Duration,
        glance: Duration,
        bite: impl Fn(&str) + Send + 'static,
    ) -> Watchdog {
        let state = Arc::new(State {
            began: Instant::now(),
            entered: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
            clock: clock_of_this_thread(),
            what: Mutex::default(),
        });
        let watched = Arc::downgrade(&state);
        let started = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(glance);
                    let Some(state) = watched.upgrade() else {
                        return;
                    };
                    if state.hangs(limit) {
                        return bite(&state.what());
                    }
                }
            });
        if let Err(e) = started {
            log::warn!("no watchdog for scripts: {e}");
        }
        Watchdog { state }
    }

    /// `what` goes in `now`, and may stay until this thread has used so much time of the processor. Who
    /// calls this knows that time anyway, and asking for it is a call of the system.
    pub(super) fn enter(&self, what: &str, now: Instant, until: Duration) {
        let state = &self.state;
        {
            let mut name = state.what();
            name.clear();
            name.push_str(what);
        }
        state.most.store(millis(until), Ordering::Relaxed);
        state.entered.store(state.at(now), Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.state.entered.store(0, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that other threads can read, other than the one that each thread has for itself.
fn clock_of_this_thread() -> ClockId {
    let mut id = 0;
    #[allow(unsafe_code)]
    // SAFETY: this thread lives, and `id` is written before the call returns.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
    match failed {
        0 => ClockId::from_raw(id),
        // Stands still for whoever looks from another thread: the clock on the wall is left.
        _ => ClockId::CLOCK_THREAD_CPUTIME_ID,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(3600);

    fn dog(limit: Duration) -> (Watchdog, mpsc::Receiver<String>) {
        let (tell, told) = mpsc::channel();
        let bite = move |what: &str| tell.send(what.to_owned()).unwrap();
        (Watchdog::start(limit, SHORT / 8, bite), told)
    }

    #[test]
    fn bites_whoever_stays_inside_and_nobody_else() {
        let (dog, told) = dog(SHORT);
        for _ in 0..8 {
            dog.enter("quick", Instant::now(), LONG);
            dog.leave();
            assert!(told.recv_timeout(SHORT / 4).is_err());
        }
        dog.enter("slow", Instant::now(), LONG);
        assert_eq!(told.recv_timeout(LONG).unwrap(), "slow");
    }

    #[test]
    fn bites_whoever_uses_up_the_processor_and_lets_wait_who_waits() {
        let (dog, told) = dog(LONG);
        let short = || Duration::from_millis(dog.state.processor_time()) + SHORT;
        dog.enter("waits", Instant::now(), short());
        assert!(told.recv_timeout(SHORT * 4).is_err());
        dog.enter("computes", Instant::now(), short());
        while told.try_recv().as_deref() != Ok("computes") {
            std::hint::spin_loop();
        }
    }
}
