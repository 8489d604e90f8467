//! Which item is delivered when: what is due, for whom, within which limits.
//!
//! Items wait by name only, so a queue of any size costs little. Those for one domain share a lane
//! with a limit of its own: a domain that does not answer holds up nobody else. Decides; never waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;

use haraka_shared::spool::QueueName;

use super::item::Loaded;

/// An item to be delivered.
pub(super) struct Job {
    pub(super) name: QueueName,
    /// Known once the item has been read.
    pub(super) domain: Option<Rc<str>>,
    /// The item itself, if it is in memory.
    pub(super) loaded: Option<Box<Loaded>>,
}

impl Job {
    /// An item that is only known by its name.
    pub(super) fn named(name: QueueName) -> Job {
        Job {
            name,
            domain: None,
            loaded: None,
        }
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

struct Waiting {
    due: u64,
    name: QueueName,
    domain: Option<Rc<str>>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

#[derive(Default)]
struct Lane {
    active: usize,
    parked: VecDeque<Job>,
}

/// The book of items that this worker owns.
pub(super) struct Schedule {
    ready: VecDeque<Job>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    lanes: HashMap<Rc<str>, Lane>,
    parked: usize,
    active: usize,
    most: usize,
    most_per_lane: usize,
    closed: bool,
}

/// What to do with an item whose domain is known now.
pub(super) enum Enter {
    /// Deliver it.
    Go,
    /// It waits in its lane.
    Parked,
}

impl Schedule {
    pub(super) fn new(most: usize, most_per_lane: usize) -> Schedule {
        Schedule {
            ready: VecDeque::new(),
            waiting: BinaryHeap::new(),
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
    pub(super) fn later(&mut self, name: QueueName, domain: Option<Rc<str>>) {
        self.waiting.push(Reverse(Waiting {
            due: name.next_attempt,
            name,
            domain,
        }));
    }

    /// The next item to start, if there is one and room for it; counts it as active.
    pub(super) fn start(&mut self, now_ms: u64) -> Option<Job> {
        if self.closed || self.active >= self.most {
            return None;
        }
        while let Some(Reverse(first)) = self.waiting.peek() {
            if first.due > now_ms {
                break;
            }
            let Some(Reverse(first)) = self.waiting.pop() else {
                break;
            };
            self.ready.push_back(Job {
                name: first.name,
                domain: first.domain,
                loaded: None,
            });
            if self.ready.len() > self.most {
                // What cannot start yet may as well wait where it costs least.
                break;
            }
        }
        let job = self.ready.pop_front()?;
        self.active += 1;
        Some(job)
    }

    /// When the first waiting item is due, in milliseconds since 1970.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.waiting.peek().map(|Reverse(w)| w.due)
    }

    /// Whether a further item could start now.
    pub(super) fn has_room(&self) -> bool {
        !self.closed && self.active < self.most
    }

    /// An active item turns out to be for this domain.
    pub(super) fn enter(&mut self, domain: &Rc<str>, job: &mut Option<Job>) -> Enter {
        let lane = self.lanes.entry(Rc::clone(domain)).or_default();
        if lane.active < self.most_per_lane {
            lane.active += 1;
            return Enter::Go;
        }
        if let Some(mut job) = job.take() {
            job.domain = Some(Rc::clone(domain));
            lane.parked.push_back(job);
            self.parked += 1;
        }
        self.active -= 1;
        Enter::Parked
    }

    /// An item of this lane is done; the next one of the lane, which takes its place.
    pub(super) fn next_in_lane(&mut self, domain: &Rc<str>) -> Option<Job> {
        let lane = self.lanes.get_mut(domain)?;
        if !self.closed
            && let Some(job) = lane.parked.pop_front()
        {
            self.parked -= 1;
            return Some(job);
        }
        lane.active -= 1;
        if lane.active == 0 && lane.parked.is_empty() {
            self.lanes.remove(domain);
        }
        self.active -= 1;
        None
    }

    /// An active item ended before its domain was known.
    pub(super) fn ended(&mut self) {
        self.active -= 1;
    }

    /// Makes every waiting item due, or those known to be for this domain; gives back the items
    /// whose domain is not known, which the caller looks up.
    pub(super) fn flush(&mut self, domain: Option<&str>) -> Vec<QueueName> {
        let mut unknown = Vec::new();
        let mut kept = Vec::new();
        // In the order of their times, so that the oldest are tried first.
        while let Some(Reverse(w)) = self.waiting.pop() {
            match (domain, &w.domain) {
                (Some(wanted), Some(d)) if !d.eq_ignore_ascii_case(wanted) => kept.push(Reverse(w)),
                (Some(_), None) => {
                    unknown.push(w.name.clone());
                    kept.push(Reverse(w));
                }
                _ => self.ready.push_back(Job {
                    name: w.name,
                    domain: w.domain,
                    loaded: None,
                }),
            }
        }
        self.waiting = kept.into();
        unknown
    }

    /// Makes these waiting items due.
    pub(super) fn pull(&mut self, names: &std::collections::HashSet<QueueName>) {
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|Reverse(w)| names.contains(&w.name));
        self.waiting = later.into();
        for Reverse(w) in now {
            self.ready.push_back(Job::named(w.name));
        }
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
