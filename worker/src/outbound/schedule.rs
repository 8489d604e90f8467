//! Which item is delivered when: what is due, for whom, within which limits.
//!
//! Items wait by name only, so a queue of any size costs little. Those for one domain share a lane
//! with a limit of its own: a domain that does not answer holds up nobody else. Decides; never waits.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use haraka_shared::spool::{PendingHeap, QueueName};

use super::item::Loaded;

/// An item to be delivered.
pub(super) struct Job {
    pub(super) name: QueueName,
    /// The item itself, if it is in memory.
    pub(super) loaded: Option<Box<Loaded>>,
}

impl Job {
    /// An item that is only known by its name.
    pub(super) fn named(name: QueueName) -> Job {
        Job { name, loaded: None }
    }
}

/// How many items are in which state (OUT-14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Being delivered.
    pub(crate) in_progress: u64,
    /// Due, waiting for their turn.
    pub(crate) pending: u64,
    /// Waiting for their time.
    pub(crate) deferred: u64,
}

#[derive(Default)]
struct Lane {
    active: usize,
    parked: VecDeque<QueueName>,
}

/// The book of items that this worker owns.
pub(super) struct Schedule {
    ready: VecDeque<Job>,
    waiting: PendingHeap,
    lanes: HashMap<Rc<str>, Lane>,
    parked: usize,
    active: usize,
    most: usize,
    most_per_lane: usize,
    closed: bool,
}

impl Schedule {
    pub(super) fn new(most: usize, most_per_lane: usize) -> Schedule {
        // However few are allowed, one domain never has them all.
        let most_per_lane = most_per_lane.min(most - most / 4).max(1);
        Schedule {
            ready: VecDeque::new(),
            waiting: PendingHeap::default(),
            lanes: HashMap::new(),
            parked: 0,
            active: 0,
            most,
            most_per_lane,
            closed: false,
        }
    }

    /// Adds an item that is due now.
    pub(super) fn due_now(&mut self, job: Job) {
        self.ready.push_back(job);
    }

    /// Adds an item that is due at its name's time.
    pub(super) fn later(&mut self, name: &QueueName) {
        self.waiting.push(name);
    }

    /// Adds an item that is due at another time than its name's.
    pub(super) fn later_at(&mut self, name: &QueueName, due: u64) {
        self.waiting.push_at(name, due);
    }

    /// Takes in the backlog.
    pub(super) fn absorb(&mut self, backlog: PendingHeap) {
        self.waiting.absorb(backlog);
    }

    /// See [`PendingHeap::start_rescan`].
    pub(super) fn start_rescan(&mut self, now: u64) -> Option<u64> {
        self.waiting.start_rescan(now)
    }

    /// The next item to start, if there is one and room for it; counts it as active.
    pub(super) fn start(&mut self, now: u64) -> Option<Job> {
        if !self.has_room() {
            return None;
        }
        let job = match self.ready.pop_front() {
            Some(job) => job,
            None => Job::named(self.waiting.pop_due(now)?),
        };
        self.active += 1;
        Some(job)
    }

    /// When the first waiting item is due, in milliseconds since 1970.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.waiting.next_due()
    }

    /// Whether a further item could start now.
    pub(super) fn has_room(&self) -> bool {
        !self.closed && self.active < self.most
    }

    /// An active item turns out to be for this domain: deliver it (true), or it has been put into
    /// its lane and is active no more.
    pub(super) fn enter(&mut self, domain: &Rc<str>, name: &QueueName) -> bool {
        let lane = self.lanes.entry(Rc::clone(domain)).or_default();
        if lane.active < self.most_per_lane {
            lane.active += 1;
            return true;
        }
        lane.parked.push_back(name.clone());
        self.parked += 1;
        self.active -= 1;
        false
    }

    /// An item of this lane is done; the next one of the lane, which takes its place.
    pub(super) fn next_in_lane(&mut self, domain: &Rc<str>) -> Option<QueueName> {
        let lane = self.lanes.get_mut(domain)?;
        if !self.closed
            && let Some(name) = lane.parked.pop_front()
        {
            self.parked -= 1;
            return Some(name);
        }
        lane.active -= 1;
        if lane.active == 0 && lane.parked.is_empty() {
            self.lanes.remove(domain);
        }
        self.active -= 1;
        None
    }

    /// What is parked in this lane waits for its turn among all others again.
    pub(super) fn disband(&mut self, domain: &Rc<str>) {
        if let Some(lane) = self.lanes.get_mut(domain) {
            self.parked -= lane.parked.len();
            self.ready.extend(lane.parked.drain(..).map(Job::named));
        }
    }

    /// An active item ended before its domain was known.
    pub(super) fn ended(&mut self) {
        self.active -= 1;
    }

    /// Makes every waiting item due.
    pub(super) fn flush(&mut self, now: u64) {
        self.waiting.flush(now);
    }

    /// Starts nothing any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// How many items are in which state.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            in_progress: self.active as u64,
            pending: (self.ready.len() + self.parked) as u64,
            deferred: self.waiting.len() as u64,
        }
    }
}
