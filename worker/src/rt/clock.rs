//! The worker's monotonic clock: real, or virtual for tests.
//!
//! Owns the one reading of the time that a turn of the runtime shares. No other module of the
//! worker asks the operating system for an `Instant`, so a test can move the time by itself.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::executor::with_core;

/// The time at which the current turn of the runtime began.
///
/// It is read once after every wait for events, so it costs nothing and lags behind the real
/// time by as long as the turn has been running (microseconds; more only if a task hogs the
/// thread). On a thread without a runtime it is read afresh.
pub fn now() -> Instant {
    with_core(|core| core.clock.now()).unwrap_or_else(Instant::now)
}

/// The time read afresh: for measuring how long something inside one turn took.
pub fn precise_now() -> Instant {
    with_core(|core| core.clock.precise()).unwrap_or_else(Instant::now)
}

/// `from` plus `by`, or about thirty years ahead where that is out of range.
pub(super) fn add_or_far(from: Instant, by: Duration) -> Instant {
    from.checked_add(by)
        .or_else(|| from.checked_add(FAR))
        .unwrap_or(from)
}

/// What a runtime holds: the cached reading, and whether it moves by itself.
pub(super) struct Clock {
    cached: Cell<Instant>,
    simulated: bool,
}

impl Clock {
    pub(super) fn new(simulated: bool) -> Clock {
        Clock {
            cached: Cell::new(Instant::now()),
            simulated,
        }
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.simulated
    }

    pub(super) fn now(&self) -> Instant {
        self.cached.get()
    }

    /// Does not touch the cached reading: timers rely on it moving only where they are fired.
    pub(super) fn precise(&self) -> Instant {
        if self.simulated {
            self.cached.get()
        } else {
            Instant::now()
        }
    }

    /// Takes a new reading and returns it.
    pub(super) fn tick(&self) -> Instant {
        let now = self.precise();
        self.cached.set(now);
        now
    }

    /// Moves a virtual clock forward to `to`; never backwards.
    pub(super) fn jump(&self, to: Instant) {
        if self.simulated && to > self.cached.get() {
            self.cached.set(to);
        }
    }
}

const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
