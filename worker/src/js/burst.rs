//! How long scripts have been running without a pause, and when that is too long.
//!
//! A burst begins when an idle engine is entered and ends when it has nothing left to do. Time is that
//! of the processor, so that a busy machine does not make a plugin look guilty. Knows no script.

use std::cell::Cell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::limits::Limits;

/// The clock of one engine.
pub(super) struct Burst {
    limits: Limits,
    allowed: Cell<Duration>,
    used: Cell<Duration>,
    entered: Cell<Option<Duration>>,
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

    /// Gives the processor time of this thread.
    pub(super) fn enter(&self) -> Duration {
        let now = processor_time();
        self.entered.set(Some(now));
        now
    }

    /// Back outside. With nothing left to do the next entry starts anew; gives whether a script was
    /// stopped meanwhile.
    pub(super) fn leave(&self, idle: bool, loading: bool) -> bool {
        self.let_report();
        self.used.set(self.so_far());
        self.entered.set(None);
        if idle {
            self.limits_now(if loading {
                self.limits.load
            } else {
                self.limits.turn
            });
        }
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
