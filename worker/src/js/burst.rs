//! How long scripts have been running without a pause, and when that is too long.
//!
//! A burst begins when an idle engine is entered and ends when it has nothing left to do. Time is that
//! of the processor, so that a busy machine does not make a plugin look guilty. Asking for it is a call
//! of the system, so that an entry soon after another takes what can have passed meanwhile at most, which
//! the clock on the wall tells for nothing: that way a script may only seem younger than it is. Knows no
//! script.

use std::cell::Cell;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::limits::Limits;

/// The most that a script may seem younger than it is.
const SLACK: Duration = Duration::from_millis(10);

/// The clock of one engine.
pub(super) struct Burst {
    limits: Limits,
    allowed: Cell<Duration>,
    used: Cell<Duration>,
    /// Processor time at the last entry, or more.
    entered: Cell<Option<Duration>>,
    /// When the processor's clock was asked, and what it said.
    asked: Cell<Option<(Instant, Duration)>>,
    stopped: Cell<bool>,
    /// Memory is refused until the script has noticed that it is stopped.
    refusing: Cell<bool>,
}

impl Burst {
    pub(super) fn new(limits: Limits) -> Burst {
        Burst {
            limits,
            allowed: Cell::new(limits.load),
            used: Cell::default(),
            entered: Cell::default(),
            asked: Cell::default(),
            stopped: Cell::default(),
            refusing: Cell::default(),
        }
    }

    /// Plugins are loaded; from now on clients wait.
    pub(super) fn serve(&self) {
        self.limits_now(self.limits.turn);
    }

    fn limits_now(&self, allowed: Duration) {
        self.allowed.set(allowed);
        self.used.set(Duration::ZERO);
    }

    /// Whether a script is running, so that the engine cannot be entered again.
    pub(super) fn inside(&self) -> bool {
        self.entered.get().is_some()
    }

    /// Gives the processor time of this thread at `now`, or up to [`SLACK`] more.
    pub(super) fn enter(&self, now: Instant) -> Duration {
        let soon = self.asked.get().and_then(|(then, said)| {
            let since = now.saturating_duration_since(then);
            (since < SLACK).then(|| said + since)
        });
        let time = soon.unwrap_or_else(|| {
            let said = processor_time();
            self.asked.set(Some((now, said)));
            said
        });
        self.entered.set(Some(time));
        time
    }

    /// Back outside. With nothing left to do the next entry starts anew; gives whether a script was
    /// stopped meanwhile.
    pub(super) fn leave(&self, idle: bool, loading: bool) -> bool {
        if idle {
            self.refusing.set(false);
            self.limits_now(if loading {
                self.limits.load
            } else {
                self.limits.turn
            });
        } else {
            self.let_report();
            self.used.set(self.so_far());
            // What is bounded once is not bounded again with each entry of the same burst.
            self.asked.set(None);
        }
        self.entered.set(None);
        self.stopped.take()
    }

    /// Asked by the engine while a script runs: true stops it.
    pub(super) fn is_over(&self) -> bool {
        if !self.is_spent() {
            return false;
        }
        self.let_report();
        true
    }

    /// Whether the time is over. Then memory is refused as well, until the script has come back or was
    /// asked to stop.
    pub(super) fn is_spent(&self) -> bool {
        if self.refusing.get() {
            return true;
        }
        if self.entered.get().is_none() || self.so_far() < self.allowed.get() {
            return false;
        }
        self.stopped.set(true);
        self.refusing.set(true);
        true
    }

    /// Whether memory is refused.
    pub(super) fn refuses(&self) -> bool {
        self.refusing.get()
    }

    /// What reports a stop needs time and memory as well; what goes on regardless is stopped soon again.
    pub(super) fn let_report(&self) {
        if self.refusing.take() {
            self.allowed.set(self.so_far() + self.limits.rest);
        }
    }

    /// What a script may take now.
    pub(super) fn allowed(&self) -> Duration {
        self.allowed.get()
    }

    /// Whether a script has been stopped since the engine was entered.
    pub(super) fn stopped(&self) -> bool {
        self.stopped.get()
    }

    fn so_far(&self) -> Duration {
        let now = self.entered.get().map_or(Duration::ZERO, |entered| {
            processor_time().saturating_sub(entered)
        });
        self.used.get() + now
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    match clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
        Ok(time) => Duration::from(time),
        // The clock is there on every system that we run on.
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const TURN: Duration = Duration::from_millis(40);

    fn burst() -> Burst {
        let burst = Burst::new(Limits {
            turn: TURN,
            ..Limits::default()
        });
        burst.serve();
        burst
    }

    /// Computes until the time is over, and gives how much of the processor's that took.
    fn spend(burst: &Burst) -> Duration {
        let began = processor_time();
        while !burst.is_spent() {
            std::hint::spin_loop();
        }
        processor_time() - began
    }

    #[test]
    fn time_is_over_once_it_is_used_and_not_while_it_is_waited() {
        let burst = burst();
        burst.enter(Instant::now());
        thread::sleep(TURN * 2);
        assert!(!burst.is_spent());
        assert!(spend(&burst) > TURN / 2);
        assert!(burst.leave(true, false));
    }

    #[test]
    fn entry_soon_after_another_has_all_its_time_and_little_more() {
        let burst = burst();
        burst.enter(Instant::now());
        assert!(!burst.leave(true, false));
        thread::sleep(SLACK / 2);
        burst.enter(Instant::now());
        let used = spend(&burst);
        assert!(used + Duration::from_millis(1) > TURN, "{used:?}");
        assert!(used < TURN + SLACK * 2, "{used:?}");
    }

    #[test]
    fn entries_of_one_burst_have_one_time_together() {
        let burst = burst();
        let began = processor_time();
        let mut entries = 0_u32;
        while !burst.stopped() {
            burst.enter(Instant::now());
            let until = processor_time() + TURN / 20;
            while processor_time() < until && !burst.is_spent() {}
            entries += 1;
            if burst.stopped() {
                break;
            }
            burst.leave(false, false);
        }
        let used = processor_time() - began;
        assert!(entries > 10 && used < TURN + SLACK * 2, "{used:?}");
    }
}
