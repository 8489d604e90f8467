//! Which item is delivered when: what is due, for whom, within which limits.
//!
//! Items wait by name only, so a queue of any size costs little. Those for one domain share a lane
//! with a limit of its own: a domain that does not answer holds up nobody else. Decides; never waits.

mod flushes;
mod look;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use haraka_shared::spool::{PendingHeap, QueueName};

use self::flushes::Flushes;
pub(super) use self::look::Standing;
use super::item::Loaded;
use super::shaping::Permit;

/// An item to be delivered.
pub(super) struct Job {
    pub(super) name: QueueName,
    /// The item itself, if it is in memory.
    pub(super) loaded: Option<Box<Loaded>>,
    /// It has waited for its destination, and this is its turn.
    pub(super) permit: Option<Permit>,
}

impl Job {
    /// An item that is only known by its name.
    pub(super) fn named(name: QueueName) -> Job {
        Job::new(name, None)
    }

    /// An item that may be in memory.
    pub(super) fn new(name: QueueName, loaded: Option<Box<Loaded>>) -> Job {
        Job {
            name,
            loaded,
            permit: None,
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

#[derive(Default)]
struct Lane {
    active: usize,
    parked: VecDeque<QueueName>,
}

/// A flush of the items that are on disk only, in portions: memory stays bounded, and each item is
/// tried once, as an attempt leaves its mark on the file.
struct Pass {
    /// Items of the newest portion that were not started yet.
    found: PendingHeap,
    /// Items due by name at this time or later were not looked for yet; none: there are no more.
    next: Option<u64>,
    /// When the flush came, in milliseconds since 1970.
    since: u64,
    /// Which flush this is.
    flush: u64,
    /// A portion is being looked for.
    looking: bool,
}

/// A look at the queue directory that a flush needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portion {
    /// Items due by name at this time or later.
    pub(super) from: u64,
    /// Nothing has happened to them since this time.
    pub(super) since: u64,
    flush: u64,
}

impl Portion {
    /// Takes the items that are found, as many as a portion has.
    pub(super) fn heap(self) -> PendingHeap {
        PendingHeap::with_limit(PORTION)
    }
}

/// Items in a portion: 5 MB of memory, and ten looks at the directory for a million.
const PORTION: usize = 100_000;

/// The book of items that this worker owns.
pub(super) struct Schedule {
    ready: VecDeque<Job>,
    waiting: PendingHeap,
    /// Items that wait for the end of a suspension.
    suspended: PendingHeap,
    lanes: HashMap<Rc<str>, Lane>,
    parked: usize,
    active: usize,
    most: usize,
    most_per_lane: usize,
    closed: bool,
    flushes: Flushes,
    /// A rescan from this time on is under way.
    rescanning: Option<u64>,
    pass: Option<Pass>,
}

impl Schedule {
    pub(super) fn new(most: usize, most_per_lane: usize) -> Schedule {
        // However few are allowed, one domain never has them all.
        let most_per_lane = most_per_lane.min(most - most / 4).max(1);
        Schedule {
            ready: VecDeque::new(),
            waiting: PendingHeap::default(),
            suspended: PendingHeap::default(),
            lanes: HashMap::new(),
            parked: 0,
            active: 0,
            most,
            most_per_lane,
            closed: false,
            flushes: Flushes::default(),
            rescanning: None,
            pass: None,
        }
    }

    /// Adds an item that is due now.
    pub(super) fn due_now(&mut self, job: Job) {
        self.ready.push_back(job);
    }

    /// Adds an item for this domain that was put off after an attempt: it is due at its name's time, or
    /// now if there was a flush for it since that attempt ended, when there were `flushes`.
    pub(super) fn later(&mut self, name: &QueueName, domain: &str, flushes: u64, now: u64) {
        if self.flushes.concern(domain, flushes) {
            self.waiting.push_at(name, now);
        } else {
            self.waiting.push(name);
        }
    }

    /// Adds an item that is due at another time than its name's.
    pub(super) fn later_at(&mut self, name: &QueueName, due: u64) {
        self.waiting.push_at(name, due);
    }

    /// Takes in the backlog, or what a rescan found.
    pub(super) fn absorb(&mut self, backlog: PendingHeap) {
        self.rescanning = None;
        self.waiting.absorb(backlog);
    }

    /// See [`PendingHeap::start_rescan`]; [`Schedule::absorb`] takes what it finds.
    pub(super) fn start_rescan(&mut self, now: u64) -> Option<u64> {
        let from = self.waiting.start_rescan(now)?;
        self.rescanning = Some(from);
        Some(from)
    }

    /// The next item to start, if there is one and room for it; counts it as active.
    pub(super) fn start(&mut self, now: u64) -> Option<Job> {
        if !self.has_room() {
            return None;
        }
        let job = match self.ready.pop_front() {
            Some(job) => job,
            None => Job::named(
                self.waiting
                    .pop_due(now)
                    .or_else(|| self.pass.as_mut()?.found.pop_due(now))?,
            ),
        };
        self.active += 1;
        Some(job)
    }

    /// Counts an item as active that has waited elsewhere; there must be room.
    pub(super) fn begun(&mut self) {
        self.active += 1;
    }

    /// Whether a further item for this domain could be delivered now.
    pub(super) fn has_lane(&self, domain: &str) -> bool {
        let lane = self.lanes.get(domain);
        lane.is_none_or(|lane| lane.active < self.most_per_lane)
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

    /// Makes every waiting item due, those on disk only as well: they are looked for from here on,
    /// in portions that [`Schedule::next_portion`] gives out.
    pub(super) fn flush(&mut self, now: u64) {
        self.flush_begun(None);
        self.waiting.flush(now);
        // What a rescan has on its way is not in `waiting` yet.
        let on_disk = self.rescanning.or(self.waiting.horizon());
        self.pass = on_disk.map(|from| Pass {
            found: PendingHeap::default(),
            next: Some(from),
            since: now,
            flush: self.flushes.count(),
            looking: false,
        });
    }

    /// There is a flush, of all or of one domain, of which items that are just being put off must hear.
    pub(super) fn flush_begun(&mut self, domain: Option<&str>) {
        self.flushes.begun(domain);
    }

    /// How many flushes there were.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.count()
    }

    /// The items of a flush that are to be looked for now; [`Schedule::found`] takes them.
    pub(super) fn next_portion(&mut self) -> Option<Portion> {
        let pass = self.pass.as_mut().filter(|p| !p.looking)?;
        if !pass.found.is_empty() {
            return None;
        }
        let Some(from) = pass.next.take() else {
            self.pass = None;
            return None;
        };
        pass.looking = true;
        Some(Portion {
            from,
            since: pass.since,
            flush: pass.flush,
        })
    }

    /// Takes the items of a portion, unless another flush has come, which will find them itself.
    pub(super) fn found(&mut self, portion: Portion, items: PendingHeap) {
        if let Some(pass) = self.pass.as_mut().filter(|p| p.flush == portion.flush) {
            pass.next = items.horizon();
            pass.found = items;
            pass.looking = false;
        }
    }

    /// Starts nothing any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// How many items are in which state.
    pub(super) fn stats(&self) -> Stats {
        let flushed = self.pass.as_ref().map_or(0, |p| p.found.len());
        Stats {
            in_progress: self.active as u64,
            pending: (self.ready.len() + self.parked + flushed) as u64,
            deferred: (self.waiting.len() + self.suspended.len()) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64, next: u64) -> QueueName {
        let text = format!("1700000000000_{next}_1_77_AbCdEf_{n}_mx.example");
        QueueName::parse(&text).unwrap()
    }

    fn started(schedule: &mut Schedule, now: u64) -> Vec<u64> {
        let jobs = std::iter::from_fn(|| schedule.start(now));
        jobs.map(|job| job.name.next_attempt).collect()
    }

    // covers KEY-43
    #[test]
    fn no_more_items_are_active_than_allowed_and_one_that_ends_makes_room() {
        let mut schedule = Schedule::new(3, 100);
        for n in 0..5 {
            schedule.due_now(Job::named(name(n, 100 + n)));
        }
        assert_eq!(started(&mut schedule, 0), [100, 101, 102]);
        assert!(!schedule.has_room());
        schedule.ended();
        assert_eq!(started(&mut schedule, 0), [103]);
        let stats = schedule.stats();
        assert_eq!((stats.in_progress, stats.pending), (3, 1));
    }

    // covers OUT-15
    #[test]
    fn flush_between_an_attempt_and_its_deferral_makes_the_item_due() {
        let mut schedule = Schedule::new(100, 100);
        let before = schedule.flushes();
        schedule.flush(500);
        schedule.later(&name(1, 9000), "one.test", before, 600);
        schedule.later(&name(2, 9001), "one.test", schedule.flushes(), 600);
        assert_eq!(started(&mut schedule, 600), [9000]);
        assert_eq!(started(&mut schedule, 9001), [9001]);
    }

    // covers OUT-15
    #[test]
    fn flush_of_a_domain_leaves_an_item_of_another_that_is_being_put_off() {
        let mut schedule = Schedule::new(100, 100);
        let before = schedule.flushes();
        schedule.flush_begun(Some("One.test"));
        schedule.later(&name(1, 9000), "two.test", before, 600);
        schedule.later(&name(2, 9001), "one.test", before, 600);
        assert_eq!(started(&mut schedule, 600), [9001]);
        assert_eq!(started(&mut schedule, 9000), [9000]);
    }

    /// A queue directory of which only the first items fit into memory.
    struct Disk {
        /// Time in the name, and when the file changed.
        files: Vec<(u64, u64)>,
        looks: usize,
    }

    impl Disk {
        fn look(&mut self, portion: Portion, limit: usize) -> PendingHeap {
            self.looks += 1;
            let mut heap = PendingHeap::with_limit(limit);
            for (n, (next, changed)) in (0..).zip(&self.files) {
                if *next >= portion.from && *changed < portion.since {
                    heap.push_at(&name(n, *next), portion.since);
                }
            }
            heap
        }
    }

    fn small(disk: &Disk) -> Schedule {
        let mut schedule = Schedule::new(1_000_000, 100);
        let mut backlog = PendingHeap::with_limit(100);
        for (n, (next, _)) in (0..).zip(&disk.files) {
            backlog.push(&name(n, *next));
        }
        schedule.absorb(backlog);
        assert!(schedule.stats().deferred <= 100);
        schedule
    }

    // covers OUT-15, PB-52
    #[test]
    fn flush_reaches_items_on_disk_once_each_with_bounded_memory() {
        let files = (0..1000).map(|n| (10_000 + n, 0)).collect();
        let mut disk = Disk { files, looks: 0 };
        let mut schedule = small(&disk);
        schedule.flush(500);
        let mut seen = Vec::new();
        for _ in 0..100 {
            let now = started(&mut schedule, 500);
            for next in &now {
                // The attempt fails, and the item is put off far beyond what fits into memory.
                let file = disk.files.iter_mut().find(|f| f.0 == *next).unwrap();
                *file = (next + 50_000, 501);
            }
            seen.extend(now);
            if let Some(portion) = schedule.next_portion() {
                assert_eq!(schedule.next_portion(), None, "one look at a time");
                let found = disk.look(portion, 100);
                schedule.found(portion, found);
            }
            assert!(schedule.stats().pending <= 100);
        }
        seen.sort_unstable();
        assert_eq!(seen, (10_000..11_000).collect::<Vec<_>>());
        assert!(disk.looks < 30, "{} looks", disk.looks);
    }

    // covers OUT-15
    #[test]
    fn what_an_older_flush_finds_is_left_to_the_newer_one() {
        let files = (0..300).map(|n| (10_000 + n, 0)).collect();
        let mut disk = Disk { files, looks: 0 };
        let mut schedule = small(&disk);
        schedule.flush(500);
        started(&mut schedule, 500);
        let old = schedule.next_portion().unwrap();
        schedule.flush(500);
        let new = schedule.next_portion().unwrap();
        assert_eq!(old.from, new.from);
        let found = disk.look(new, 1000);
        schedule.found(new, found);
        schedule.found(old, PendingHeap::default());
        assert_eq!(started(&mut schedule, 500).len() as u64, 10_300 - new.from);
    }

    // covers OUT-15
    #[test]
    fn flush_during_a_rescan_reaches_what_the_rescan_brings() {
        let files = (0..300).map(|n| (10_000 + n, 0)).collect();
        let mut disk = Disk { files, looks: 0 };
        let mut schedule = small(&disk);
        started(&mut schedule, 10_200);
        let from = schedule.start_rescan(10_200).unwrap();
        schedule.flush(500);
        let portion = schedule.next_portion().unwrap();
        assert_eq!(portion.from, from);
        let found = disk.look(portion, 1000);
        schedule.found(portion, found);
        assert_eq!(started(&mut schedule, 500).len() as u64, 10_300 - from);
    }
}
