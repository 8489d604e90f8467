//! The items that wait for their time, earliest first, in 48 bytes each.
//!
//! Host names are kept once. Names that do not have Haraka's usual shape are kept as text. Over a
//! limit the latest half is forgotten and found again on disk when its time comes (PB-52, H9).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::name::{Form, Incarnation, NameRef, NewName, ParsedName, QueueName};

/// Items kept in memory unless another limit is given: 48 MB.
pub const PENDING_LIMIT: usize = 1_000_000;

/// Items by due time. A worker has one.
#[derive(Debug)]
pub struct PendingHeap {
    heap: BinaryHeap<Pending>,
    hosts: Vec<Box<str>>,
    odd: Vec<Option<Box<str>>>,
    free: Vec<u32>,
    limit: usize,
    /// Items due by name at this time or later are on disk only.
    horizon: Option<u64>,
}

/// One item, without its own text where that can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    due: u64,
    arrival: u64,
    next_attempt: u64,
    attempts: u32,
    pid: u32,
    /// Or the index into `odd`.
    counter: u32,
    incarnation: [u8; 6],
    host: u16,
}

/// `Pending::host` of a name that is kept as text.
const ODD: u16 = u16::MAX;
/// Bit of `Pending::host` for names of [`Form::Split`].
const SPLIT: u16 = 1 << 15;

impl Default for PendingHeap {
    fn default() -> Self {
        Self::with_limit(PENDING_LIMIT)
    }
}

impl PendingHeap {
    /// Keeps at most `limit` items in memory.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            hosts: Vec::new(),
            odd: Vec::new(),
            free: Vec::new(),
            limit: limit.max(2),
            horizon: None,
        }
    }

    /// Adds an item that is due at the time in its name.
    pub fn push<T: AsRef<str>>(&mut self, name: &ParsedName<T>) {
        self.push_at(name, name.next_attempt);
    }

    /// Adds an item that is due at `due`, in milliseconds since 1970.
    pub fn push_at<T: AsRef<str>>(&mut self, name: &ParsedName<T>, due: u64) {
        if self.horizon.is_some_and(|h| name.next_attempt >= h) {
            return;
        }
        let entry = self.pack(name, due);
        self.heap.push(entry);
        if self.heap.len() > self.limit {
            self.spill();
        }
    }

    /// The earliest item if it is due at `now`. One that is there several times for the same moment is given
    /// once; one that was given before and is there again, for whatever moment, is given again.
    pub fn pop_due(&mut self, now: u64) -> Option<QueueName> {
        while self.heap.peek().is_some_and(|e| e.due <= now) {
            let entry = self.heap.pop()?;
            let name = self.unpack(&entry);
            self.release(&entry);
            while entry.host != ODD && self.heap.peek() == Some(&entry) {
                self.heap.pop();
            }
            if name.is_some() {
                return name;
            }
        }
        None
    }

    /// When the earliest item is due, or when [`PendingHeap::start_rescan`] is.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let first = self.heap.peek().map(|e| e.due);
        match (first, self.horizon) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Makes every item due at `now` (flush, OUT-15).
    pub fn flush(&mut self, now: u64) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        for entry in &mut entries {
            entry.due = entry.due.min(now);
        }
        self.heap = entries.into();
    }

    /// Calls `each` with every item in memory, in no order; one that was added twice comes twice.
    pub fn for_each(&self, mut each: impl FnMut(&QueueName)) {
        let names = self.heap.iter().filter_map(|entry| self.unpack(entry));
        names.for_each(|name| each(&name));
    }

    /// Items in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Items whose name says this time or later are on disk only; none when all are in memory.
    #[must_use]
    pub fn horizon(&self) -> Option<u64> {
        self.horizon
    }

    /// When the items on disk have come into reach and those in memory are used up: the caller scans
    /// the directory and pushes every item whose name is due at the returned time or later.
    pub fn start_rescan(&mut self, now: u64) -> Option<u64> {
        let horizon = self.horizon.filter(|h| *h <= now)?;
        if self.heap.peek().is_some_and(|e| e.due < horizon) {
            return None;
        }
        self.horizon.take()
    }

    /// Takes in the items of another heap, for instance one that a thread has filled from a scan.
    pub fn absorb(&mut self, mut other: Self) {
        if self.heap.is_empty() && self.horizon.is_none() {
            let limit = self.limit;
            *self = Self { limit, ..other };
            return;
        }
        if let Some(horizon) = other.horizon {
            self.forget_from(horizon);
        }
        while let Some(entry) = other.heap.pop() {
            if let Some(name) = other.unpack(&entry) {
                self.push_at(&name, entry.due);
            }
        }
    }

    /// Forgets the half of the items that is due last.
    fn spill(&mut self) {
        let mut times: Vec<u64> = self.heap.iter().map(|e| e.next_attempt).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let horizon = *median;
        if self.heap.iter().all(|e| e.next_attempt >= horizon) {
            // half of them are due in the same millisecond: nothing to choose by
            self.limit = self.limit.saturating_mul(2);
            return;
        }
        self.forget_from(horizon);
    }

    fn forget_from(&mut self, horizon: u64) {
        let entries = std::mem::take(&mut self.heap).into_vec();
        let (kept, dropped): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|e| e.next_attempt < horizon);
        for entry in &dropped {
            self.release(entry);
        }
        self.heap = kept.into();
        self.horizon = Some(self.horizon.map_or(horizon, |h| h.min(horizon)));
    }

    fn pack<T: AsRef<str>>(&mut self, name: &ParsedName<T>, due: u64) -> Pending {
        let mut entry = Pending {
            due,
            arrival: name.arrival,
            next_attempt: name.next_attempt,
            attempts: name.attempts,
            pid: name.pid,
            counter: name.counter,
            incarnation: [0; 6],
            host: ODD,
        };
        if name.canonical
            && let Some(incarnation) = name.incarnation
            && let Some(host) = self.host(name.host())
        {
            entry.incarnation = incarnation.bytes();
            let split = if name.form == Form::Split { SPLIT } else { 0 };
            entry.host = host | split;
            return entry;
        }
        entry.counter = self.keep_text(name.as_str());
        entry
    }

    fn keep_text(&mut self, text: &str) -> u32 {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.odd.get_mut(index as usize)
        {
            *place = Some(text.into());
            return index;
        }
        self.odd.push(Some(text.into()));
        u32::try_from(self.odd.len() - 1).unwrap_or(u32::MAX)
    }

    fn release(&mut self, entry: &Pending) {
        if entry.host == ODD
            && let Some(place) = self.odd.get_mut(entry.counter as usize)
            && place.take().is_some()
        {
            self.free.push(entry.counter);
        }
    }

    fn unpack(&self, entry: &Pending) -> Option<QueueName> {
        if entry.host == ODD {
            let text = self.odd.get(entry.counter as usize)?.as_deref()?;
            return NameRef::parse(text).map(|name| name.to_owned());
        }
        let name = NewName {
            arrival: entry.arrival,
            next_attempt: entry.next_attempt,
            attempts: entry.attempts,
            pid: entry.pid,
            incarnation: Incarnation::from_bytes(entry.incarnation),
            counter: entry.counter,
            host: self.hosts.get(usize::from(entry.host & !SPLIT))?,
            form: if entry.host & SPLIT == 0 {
                Form::Plain
            } else {
                Form::Split
            },
        };
        Some(name.build())
    }

    /// Index of a host name; there are few, and the last one found is nearly always right.
    fn host(&mut self, host: &str) -> Option<u16> {
        let found = self.hosts.iter().position(|h| **h == *host);
        let index = found.unwrap_or_else(|| {
            if self.hosts.len() < HOSTS_MAX {
                self.hosts.push(host.into());
                self.hosts.len() - 1
            } else {
                usize::MAX
            }
        });
        u16::try_from(index).ok()
    }
}

/// Different hosts kept once each; names of further ones are kept as text.
const HOSTS_MAX: usize = 64;

impl Ord for Pending {
    /// Reversed, since the heap gives the greatest first. Complete, so that equal items meet.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |e: &Self| {
            (
                e.due,
                e.arrival,
                e.counter,
                e.incarnation,
                (e.next_attempt, e.attempts, e.pid, e.host),
            )
        };
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

const _: () = assert!(size_of::<Pending>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64, next: u64) -> QueueName {
        let split = if n.is_multiple_of(3) { "_b" } else { "" };
        let text = format!(
            "1700000000000_{next}_2_77_AbCd{}_{n}_mx{}.example{split}",
            10 + n % 90,
            n % 3
        );
        QueueName::parse(&text).unwrap()
    }

    #[test]
    fn items_come_out_by_due_time_with_their_exact_names() {
        let mut heap = PendingHeap::default();
        let mut names: Vec<_> = (0..500).map(|n| name(n, 10_000 - n * 7)).collect();
        names.push(QueueName::parse("123_4_5_6.old.example").unwrap());
        names.push(QueueName::parse("00_007_x_y_zz_0_odd").unwrap());
        for name in &names {
            heap.push(name);
        }
        assert_eq!(heap.next_due(), Some(7));
        assert!(heap.pop_due(6).is_none());
        let out: Vec<_> = std::iter::from_fn(|| heap.pop_due(u64::MAX)).collect();
        names.sort_by_key(|n| n.next_attempt);
        assert_eq!(out, names);
        assert!(heap.is_empty() && heap.odd.iter().all(Option::is_none));
    }

    // covers PB-32
    #[test]
    fn an_item_seen_twice_by_a_rescan_is_given_once() {
        let mut heap = PendingHeap::default();
        for n in [1, 2, 1, 3, 2, 1] {
            heap.push(&name(n, 50));
        }
        assert_eq!(std::iter::from_fn(|| heap.pop_due(50)).count(), 3);
    }

    // An item that met a suspension comes back with the time that it had, as does one that could not be
    // started and one that the ledger found on disk.
    #[test]
    fn item_that_was_given_is_given_again_when_it_is_there_again_for_the_same_moment() {
        let mut heap = PendingHeap::default();
        for _ in 0..3 {
            heap.push(&name(1, 50));
            assert_eq!(heap.pop_due(60), Some(name(1, 50)));
            assert_eq!(heap.pop_due(60), None);
        }
    }

    // covers OUT-15
    #[test]
    fn flush_makes_everything_due_and_keeps_the_names() {
        let mut heap = PendingHeap::default();
        for n in 0..10 {
            heap.push(&name(n, 1000 + n));
        }
        assert!(heap.pop_due(999).is_none());
        heap.flush(5);
        let out: Vec<_> = std::iter::from_fn(|| heap.pop_due(5)).collect();
        assert_eq!(out.len(), 10);
        assert!(out.iter().all(|n| n.next_attempt >= 1000));
    }

    // covers PB-52, H9
    #[test]
    fn over_the_limit_the_latest_are_left_on_disk_and_found_again() {
        let disk: Vec<_> = (0..1000u64).map(|n| name(n, (n * 7919) % 1000)).collect();
        let mut heap = PendingHeap::with_limit(100);
        disk.iter().for_each(|n| heap.push(n));
        let mut seen = Vec::new();
        for now in 0..1000 {
            if let Some(from) = heap.start_rescan(now) {
                for name in disk.iter().filter(|n| n.next_attempt >= from) {
                    heap.push(name);
                }
            }
            while let Some(name) = heap.pop_due(now) {
                seen.push(name.next_attempt);
            }
            assert!(heap.len() <= 100);
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn heaps_are_joined_across_their_host_tables() {
        let mut a = PendingHeap::default();
        let mut b = PendingHeap::default();
        a.push(&name(1, 5));
        for n in [2, 3, 4] {
            b.push(&name(n, 5 + n));
        }
        a.absorb(b);
        let out: Vec<_> = std::iter::from_fn(|| a.pop_due(99))
            .map(|n| n.counter)
            .collect();
        assert_eq!(out, [1, 2, 3, 4]);
    }
}
