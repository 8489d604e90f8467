//! Ends a worker that does not come back from a script.
//!
//! The engine asks now and then whether it shall stop, but not inside of each of its own functions: a
//! sort of a million items, or arithmetic on huge numbers, goes on unasked. Nothing can stop those from
//! outside; a worker in that state serves nobody and hears nobody, so it is replaced. Its queue is taken
//! over like that of any worker that dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Looks at one engine for as long as that lives.
pub(super) struct Watchdog {
    state: Arc<State>,
}

struct State {
    began: Instant,
    /// Milliseconds at which the engine was entered, plus one; 0 while nobody is inside.
    entered: AtomicU64,
}

impl State {
    fn now(&self) -> u64 {
        let ms = self.began.elapsed().as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Watchdog {
    /// Calls `bite` when a script has been running for longer than `limit`.
    pub(super) fn start(limit: Duration, bite: impl Fn() + Send + 'static) -> Watchdog {
        let state = Arc::new(State {
            began: Instant::now(),
            entered: AtomicU64::new(0),
        });
        let watched = Arc::downgrade(&state);
        let started = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(limit / 8);
                    let Some(state) = watched.upgrade() else {
                        return;
                    };
                    let entered = state.entered.load(Ordering::Relaxed);
                    let inside = state.now().saturating_sub(entered);
                    if entered != 0 && u128::from(inside) > limit.as_millis() {
                        return bite();
                    }
                }
            });
        if let Err(e) = started {
            log::warn!("no watchdog for scripts: {e}");
        }
        Watchdog { state }
    }

    pub(super) fn enter(&self) {
        self.state
            .entered
            .store(self.state.now(), Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.state.entered.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn bites_whoever_stays_inside_and_nobody_else() {
        let (tell, told) = mpsc::channel();
        let dog = Watchdog::start(Duration::from_millis(40), move || tell.send(()).unwrap());
        for _ in 0..8 {
            dog.enter();
            dog.leave();
            assert!(told.recv_timeout(Duration::from_millis(10)).is_err());
        }
        dog.enter();
        told.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
