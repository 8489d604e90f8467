//! What the table is asked with, and what it answers.

use std::hash::{DefaultHasher, Hash, Hasher};

use nix::time::{ClockId, clock_gettime};

/// The present time on the clock that all processes of this machine share, in microseconds; goes on
/// evenly, whatever is done to the time of day.
#[must_use]
pub fn now() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        // Every Linux has it.
        return 0;
    };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanos / 1000)
}

/// What a row stands for: any name, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) u64);

impl Key {
    /// The key of a value of some kind, the same in all processes of one build.
    pub fn of<T: Hash + ?Sized>(kind: &str, value: &T) -> Key {
        let mut hasher = DefaultHasher::new();
        kind.hash(&mut hasher);
        value.hash(&mut hasher);
        // 0 and `GIVEN_BACK` mean something else.
        Key(hasher.finish() | 2)
    }
}

/// Which column a worker process counts in. Given by the master, one process at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub usize);

/// How a destination is slowed down, and recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowing {
    /// Thousandths of the limit that are left after one more complaint, of those that were left before.
    pub keep: u32,
    /// Complaints within this many microseconds count as one.
    pub pause: u64,
    /// Thousandths of the whole limit that come back each [`Slowing::pause`] without a complaint.
    pub back: u32,
}

/// Why there is no connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {limit} connections are in use")]
pub struct Full {
    /// The limit in force.
    pub limit: u32,
}

/// What a row holds now, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Connections of all workers.
    pub connections: u32,
    /// Thousandths of the limit in force.
    pub share: u32,
    /// Suspended until this time, if that is to come.
    pub suspended: Option<u64>,
    /// When the next message may go, if that is to come.
    pub paced: Option<u64>,
    /// Messages of this day.
    pub today: u32,
}
