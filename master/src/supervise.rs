//! What the master knows about its workers, and the rules of restart and stop as pure functions.
//!
//! The other side of a fork is `haraka_worker`; the two share only `haraka_shared::ipc` and
//! `haraka_shared::flight`. When these rules are asked is `hub.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::config::Config;
use haraka_shared::flight::FlightPage;
use haraka_shared::ipc::ToWorker;
use haraka_shared::spool::Incarnation;
use haraka_shared::traffic::Seat;
use haraka_worker::Compiled;
use nix::unistd::Pid;

use crate::channel::Channel;
use crate::listeners::ListenerSet;
use crate::privileges::Identity;

/// A worker that dies younger than this counts as failing; an older one is replaced at once.
pub const YOUNG: Duration = Duration::from_secs(10);

/// Longest wait before a replacement for workers that do not even start.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// Longest wait before a replacement for a worker that served. Clients of the slot's socket and its
/// queue wait as long, and what killed it need not come again.
pub const LONGEST_SERVING_BACK_OFF: Duration = Duration::from_secs(1);

/// Time for a new worker to become ready; plugins may ask servers and read large lists meanwhile.
pub const READY_LIMIT: Duration = Duration::from_secs(60);

/// Time for a worker to end after `Stop`, before it is killed.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Time between two looks for a worker that must be dead, if no signal says that it is. Longer than a process
/// takes to end once its channel is closed.
pub const REAP_PAUSE: Duration = Duration::from_secs(1);

/// One worker as its master sees it.
#[derive(Debug)]
pub struct WorkerHandle {
    /// `None` for the worker that shares the master's process (`nodes=0`).
    pub pid: Option<Pid>,
    /// Which place it fills.
    pub slot: u32,
    /// Which configuration it runs.
    pub generation: u64,
    /// Marks its queue files.
    pub incarnation: String,
    /// To and from it.
    pub channel: Channel,
    /// What it has in hand.
    pub flight: FlightPage,
    /// Where its traffic is counted.
    pub seat: Seat,
    /// When it was forked.
    pub started: Instant,
    /// It accepts connections.
    pub ready: bool,
    /// Set once it is on its way out, wanted or not.
    pub stopping: Option<StopClock>,
    /// It was asked to end, so its place is not filled again on its account.
    pub dismissed: bool,
    /// It asked for a successor: once that serves this one is dismissed.
    pub outgoing: bool,
    /// Why it says that it cannot start.
    pub failure: Option<String>,
}

impl WorkerHandle {
    /// Its number in log lines, from 1 as Haraka counts.
    pub fn number(&self) -> u32 {
        self.slot + 1
    }
}

/// The slot of living workers that are in none: what they accept is taken over by nobody.
pub const NOBODY: u32 = u32::MAX;

/// One configuration and the workers' places in it. There are two while a restart is under way.
#[derive(Debug)]
pub struct Generation {
    /// Counts restarts.
    pub number: u64,
    /// What its workers run with.
    pub config: Config,
    /// Their scripts, compiled.
    pub scripts: Option<Arc<Compiled>>,
    /// Their sockets.
    pub listeners: ListenerSet,
    /// Who they become.
    pub identity: Option<Identity>,
    /// Their places.
    pub slots: Vec<Slot>,
    /// Every incarnation so far with its slot; [`NOBODY`] for those of a restart that failed, while they live.
    pub incarnations: Vec<(String, u32)>,
    /// All slots were ready once.
    pub up: bool,
    /// It fails if it is not up by then.
    pub up_by: Instant,
    /// Its workers were told to own the queue; true only when no older worker lives.
    pub owns_queue: bool,
}

/// One worker's place.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Young deaths in a row.
    pub young_deaths: u32,
    /// When the place is filled again.
    pub refill_at: Option<Instant>,
    /// Deferred mail was to be tried while nobody was here; the next worker hears of it.
    pub flush_missed: bool,
}

impl Generation {
    /// Number of slots.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// What a worker of this slot is told so that it takes over its share of the queue.
    ///
    /// `beside`: another generation, whose workers keep what they accept.
    pub fn own_queue(&self, slot: u32, beside: Option<&Generation>) -> ToWorker {
        let mut incarnations = self.incarnations.clone();
        if let Some(beside) = beside {
            incarnations.extend(beside.guests());
        }
        ToWorker::OwnQueue {
            nodes: self.nodes(),
            slot,
            incarnations,
        }
    }

    /// Its incarnations, in no slot.
    fn guests(&self) -> impl Iterator<Item = (String, u32)> {
        let names = self.incarnations.iter().map(|(name, _)| name);
        names.map(|name| (name.clone(), NOBODY))
    }

    /// A restart has failed; its workers may have accepted mail, which is theirs until they have gone.
    pub fn entertain(&mut self, failed: &Generation) {
        self.incarnations.extend(failed.guests());
    }

    /// Such a worker has gone: the slot that has its files now, if it is known here.
    pub fn inherit_from(&mut self, incarnation: &str, slot: u32) -> Option<u32> {
        let slot = slot.checked_rem(self.nodes())?;
        let mut known = self.incarnations.iter_mut();
        let guest = known.find(|(name, of)| name == incarnation && *of == NOBODY)?;
        guest.1 = slot;
        Some(slot)
    }
}

/// How long a place stays empty after so many young deaths in a row: not at all after the first,
/// then a quarter of a second, doubled each time. `served`: the last worker had become ready.
pub fn back_off(young_deaths: u32, served: bool) -> Duration {
    let longest = if served {
        LONGEST_SERVING_BACK_OFF
    } else {
        LONGEST_BACK_OFF
    };
    let Some(doublings) = young_deaths.checked_sub(2) else {
        return Duration::ZERO;
    };
    let factor = 1u32.checked_shl(doublings.min(16)).unwrap_or(u32::MAX);
    Duration::from_millis(250)
        .saturating_mul(factor)
        .min(longest)
}

/// How a worker is brought to its end: drain, stop, kill, each with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopClock {
    /// It may finish what it has until then.
    Draining {
        /// The end of that.
        until: Instant,
    },
    /// It was told to stop.
    Stopping {
        /// It is killed then.
        until: Instant,
    },
    /// It was killed, and is not reaped yet.
    Killed,
}

/// What a stop clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this time, or at all.
    Wait(Option<Instant>),
    /// Send `Stop`.
    Stop,
    /// Send SIGKILL.
    Kill,
}

impl StopClock {
    /// A clock that allows this time to finish, none at all if it is zero.
    pub fn drain(now: Instant, time: Duration) -> StopClock {
        StopClock::Draining {
            until: now.checked_add(time).unwrap_or(now),
        }
    }

    /// A clock for a worker that was told to stop.
    pub fn stop(now: Instant) -> StopClock {
        StopClock::Stopping {
            until: now.checked_add(STOP_LIMIT).unwrap_or(now),
        }
    }

    /// What is due.
    pub fn due(self, now: Instant) -> Due {
        match self {
            StopClock::Draining { until } if now >= until => Due::Stop,
            StopClock::Stopping { until } if now >= until => Due::Kill,
            StopClock::Draining { until } | StopClock::Stopping { until } => Due::Wait(Some(until)),
            StopClock::Killed => Due::Wait(None),
        }
    }
}

/// Six random letters or digits that no other incarnation of the table has.
pub fn new_incarnation(table: &[(String, u32)]) -> String {
    loop {
        let name = Incarnation::random().as_str().to_owned();
        if table.iter().all(|(known, _)| *known != name) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PB-41
    #[test]
    fn replacements_come_at_once_first_and_ever_later_to_a_limit() {
        let pauses =
            |served| -> Vec<u128> { (0..=5).map(|n| back_off(n, served).as_millis()).collect() };
        assert_eq!(pauses(false), [0, 0, 250, 500, 1000, 2000]);
        assert_eq!(back_off(9, false), LONGEST_BACK_OFF);
        assert_eq!(back_off(u32::MAX, false), LONGEST_BACK_OFF);
        assert_eq!(pauses(true), [0, 0, 250, 500, 1000, 1000]);
        assert_eq!(back_off(u32::MAX, true), LONGEST_SERVING_BACK_OFF);
    }

    // covers PB-27
    #[test]
    fn a_worker_is_told_to_stop_after_its_time_and_killed_only_after_that() {
        let t0 = Instant::now();
        let clock = StopClock::drain(t0, Duration::from_secs(30));
        let t30 = t0 + Duration::from_secs(30);
        assert_eq!(clock.due(t0), Due::Wait(Some(t30)));
        assert_eq!(clock.due(t30), Due::Stop);
        let clock = StopClock::stop(t30);
        assert_eq!(clock.due(t30), Due::Wait(Some(t30 + STOP_LIMIT)));
        assert_eq!(clock.due(t30 + STOP_LIMIT), Due::Kill);
        assert_eq!(
            StopClock::Killed.due(t30 + Duration::from_secs(999)),
            Due::Wait(None)
        );
    }

    #[test]
    fn incarnations_are_six_letters_or_digits_and_never_twice() {
        let mut table = Vec::new();
        for _ in 0..200 {
            let name = new_incarnation(&table);
            assert!(name.len() == 6 && name.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(!table.iter().any(|(n, _)| *n == name));
            table.push((name, 0));
        }
    }
}
