//! One process's counters and notes, and what is left of those that are gone.
//!
//! A process that is killed may be between any two stores. A note says what it was about to count;
//! whether it had counted follows from what the counter was before.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::add;
use crate::spool::{Incarnation, OwnerKey, ParsedName};

/// Items that one process can have noted at a time; further ones are not noted.
pub(super) const NOTES: usize = 16_384;

/// Doubts that can be open at a time.
const DOUBTS: usize = 16_384;

/// How an item comes into a worker's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    /// A message was accepted, or a report written.
    Accepted,
    /// It was there when the server started.
    Found,
    /// Released, brought back from the trash, or imported.
    Returned,
    /// It was another worker's.
    Inherited,
    /// It was on disk, and no book knew of it.
    Stray,
}

impl In {
    /// All, in the order in which they are counted.
    pub const ALL: [In; 5] = [
        In::Accepted,
        In::Found,
        In::Returned,
        In::Inherited,
        In::Stray,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            In::Accepted => "accepted",
            In::Found => "found",
            In::Returned => "returned",
            In::Inherited => "inherited",
            In::Stray => "stray",
        }
    }
}

/// How an item leaves a worker's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    /// Its last recipient has it.
    Delivered,
    /// Its last recipients were given up, and the sender told if that was wanted.
    Bounced,
    /// A plugin said so.
    Discarded,
    /// An operator threw it away.
    Removed,
    /// An operator holds it.
    Held,
    /// Its file was set aside.
    Aside,
    /// It is not there, and nobody knows why.
    Missing,
}

impl Out {
    /// All, in the order in which they are counted.
    pub const ALL: [Out; 7] = [
        Out::Delivered,
        Out::Bounced,
        Out::Discarded,
        Out::Removed,
        Out::Held,
        Out::Aside,
        Out::Missing,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Out::Delivered => "delivered",
            Out::Bounced => "bounced",
            Out::Discarded => "discarded",
            Out::Removed => "removed",
            Out::Held => "held",
            Out::Aside => "aside",
            Out::Missing => "missing",
        }
    }
}

/// An item as notes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// See [`ParsedName::identity_hash`].
    pub identity: u64,
    /// Whose it is.
    pub owner: OwnerKey,
    /// Its number among those of the process that accepted it.
    pub serial: u32,
}

impl<T: AsRef<str>> From<&ParsedName<T>> for Item {
    fn from(name: &ParsedName<T>) -> Item {
        Item {
            identity: name.identity_hash(),
            owner: name.owner_key(),
            serial: name.counter,
        }
    }
}

/// What a dead process was in the middle of, and had not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    place: usize,
    /// What it was about.
    pub about: About,
}

/// See [`Doubt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// This item was being delivered or removed.
    Leaving(Item, Out),
    /// This item was coming back.
    Returning(Item),
    /// Items of this process from this serial number on were being accepted.
    Accepting(Incarnation, u32),
}

#[derive(Debug)]
#[repr(C)]
struct Note {
    /// 0: none; else 1 + the place of an [`Out`], or [`RETURNING`], or [`ACCEPTING`].
    kind: AtomicU32,
    serial: AtomicU32,
    identity: AtomicU64,
    owner: AtomicU64,
    arrival: AtomicU64,
    incarnation: AtomicU64,
}

const RETURNING: u32 = 100;
const ACCEPTING: u32 = 101;

/// See the module. All of it is valid when zero.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Page {
    ins: [AtomicU64; In::ALL.len()],
    outs: [AtomicU64; Out::ALL.len()],
    /// Its take-over is counted.
    settled: AtomicU64,
    /// Process whose page it is.
    incarnation: AtomicU64,
    /// A batch is being committed whose items have this serial number + 1, or a later one.
    batch: AtomicU64,
    /// `accepted` before it.
    batch_before: AtomicU64,
    /// 1 + the place of the note that is being counted.
    counting: AtomicU64,
    /// The counter before that.
    before: AtomicU64,
    /// Notes from here on were never used.
    used: AtomicU64,
    notes: [Note; NOTES],
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct Header {
    pub(super) past: Page,
    pub(super) founded: AtomicU64,
    /// Estate that counts no more.
    pub(super) written_off: AtomicU64,
    pub(super) drift: AtomicU64,
    doubts_used: AtomicU64,
    doubts: [Note; DOUBTS],
}

pub(super) fn packed(incarnation: Option<Incarnation>) -> u64 {
    let bytes = incarnation
        .map(|i| i.as_str().to_owned())
        .unwrap_or_default();
    bytes.bytes().fold(0, |sum, b| sum << 8 | u64::from(b))
}

pub(super) fn unpacked(packed: u64) -> Option<Incarnation> {
    let [_, _, text @ ..] = packed.to_be_bytes();
    Incarnation::parse(std::str::from_utf8(&text).ok()?)
}

impl Note {
    fn write(&self, item: &Item, kind: u32) {
        self.identity.store(item.identity, Relaxed);
        self.serial.store(item.serial, Relaxed);
        self.owner.store(item.owner.hash, Relaxed);
        self.arrival.store(item.owner.arrival.unwrap_or(0), Relaxed);
        self.incarnation
            .store(packed(item.owner.incarnation), Relaxed);
        // Last, so that whoever reads it finds the rest.
        self.kind.store(kind, SeqCst);
    }

    fn copy(&self, from: &Note) {
        for (to, from) in [
            (&self.identity, &from.identity),
            (&self.owner, &from.owner),
            (&self.arrival, &from.arrival),
            (&self.incarnation, &from.incarnation),
        ] {
            to.store(from.load(Relaxed), Relaxed);
        }
        self.serial.store(from.serial.load(Relaxed), Relaxed);
        self.kind.store(from.kind.load(SeqCst), SeqCst);
    }

    fn about(&self) -> Option<About> {
        let kind = self.kind.load(SeqCst);
        let incarnation = unpacked(self.incarnation.load(Relaxed));
        let item = Item {
            identity: self.identity.load(Relaxed),
            owner: OwnerKey {
                incarnation,
                hash: self.owner.load(Relaxed),
                arrival: Some(self.arrival.load(Relaxed)).filter(|a| *a != 0),
            },
            serial: self.serial.load(Relaxed),
        };
        match kind {
            RETURNING => Some(About::Returning(item)),
            ACCEPTING => {
                let from = u32::try_from(item.identity).ok()?;
                Some(About::Accepting(incarnation?, from))
            }
            kind => {
                let place = usize::try_from(kind.checked_sub(1)?).ok()?;
                Some(About::Leaving(item, *Out::ALL.get(place)?))
            }
        }
    }
}

impl Page {
    pub(super) fn came(&self, kind: In) -> u64 {
        self.ins.get(kind as usize).map_or(0, |n| n.load(Relaxed))
    }

    pub(super) fn went(&self, kind: Out) -> u64 {
        self.outs.get(kind as usize).map_or(0, |n| n.load(Relaxed))
    }

    pub(super) fn count_out(&self, kind: Out) {
        if let Some(n) = self.outs.get(kind as usize) {
            add(n, 1);
        }
    }

    /// Items that came and did not go.
    pub(super) fn left(&self) -> i64 {
        let add = |sum: u64, n: &AtomicU64| sum.wrapping_add(n.load(Relaxed));
        let sum = |all: &[AtomicU64]| all.iter().fold(0, add);
        sum(&self.ins).wrapping_sub(sum(&self.outs)) as i64
    }

    fn counter(&self, note: &Note) -> Option<&AtomicU64> {
        match note.kind.load(Relaxed) {
            RETURNING => self.ins.get(In::Returned as usize),
            kind => self.outs.get(usize::try_from(kind.checked_sub(1)?).ok()?),
        }
    }

    /// Whether this process sits here.
    pub(super) fn is_of(&self, incarnation: u64) -> bool {
        self.incarnation.load(Relaxed) == incarnation
    }

    /// Whether the note that is in this place was counted when its process died.
    fn was_counted(&self, place: usize, note: &Note) -> bool {
        let before = self.before.load(Relaxed);
        self.counting.load(Relaxed) == place as u64 + 1
            && self
                .counter(note)
                .is_some_and(|c| c.load(Relaxed) != before)
    }

    fn clear(&self) {
        let used = usize::try_from(self.used.load(Relaxed)).unwrap_or(NOTES);
        for note in self.notes.iter().take(used) {
            note.kind.store(0, Relaxed);
        }
        let others = [
            &self.settled,
            &self.incarnation,
            &self.batch,
            &self.counting,
            &self.used,
        ];
        for n in self.ins.iter().chain(&self.outs).chain(others) {
            n.store(0, Relaxed);
        }
    }
}

impl Header {
    pub(super) fn fold(&self, page: &Page) {
        let left = page.left();
        let pairs = self.past.ins.iter().zip(&page.ins);
        for (past, n) in pairs.chain(self.past.outs.iter().zip(&page.outs)) {
            add(past, n.load(Relaxed));
        }
        if self.founded.load(Relaxed) == 0 {
            // Whoever comes next finds these once more.
            if let Some(found) = self.past.ins.get(In::Found as usize) {
                found.fetch_sub(left as u64, Relaxed);
            }
        }
        let batch = page.batch.load(Relaxed);
        if let Some(first) = batch.checked_sub(1)
            && page.came(In::Accepted) == page.batch_before.load(Relaxed)
        {
            let item = Item {
                identity: first,
                owner: OwnerKey {
                    incarnation: unpacked(page.incarnation.load(Relaxed)),
                    hash: 0,
                    arrival: None,
                },
                serial: 0,
            };
            self.doubt(|note| note.write(&item, ACCEPTING));
        }
        let used = usize::try_from(page.used.load(Relaxed)).unwrap_or(NOTES);
        for (place, note) in page.notes.iter().take(used).enumerate() {
            if note.kind.load(SeqCst) != 0 && !page.was_counted(place, note) {
                self.doubt(|doubt| doubt.copy(note));
            }
        }
        page.clear();
    }

    fn doubt(&self, write: impl FnOnce(&Note)) {
        let used = usize::try_from(self.doubts_used.load(SeqCst)).unwrap_or(DOUBTS);
        let known = self.doubts.iter().take(used);
        let free = known.enumerate().find(|(_, n)| n.kind.load(SeqCst) == 0);
        let place = free.map_or(used, |(place, _)| place);
        if let Some(note) = self.doubts.get(place) {
            write(note);
            let used = used.max(place + 1) as u64;
            self.doubts_used.store(used, SeqCst);
        }
    }

    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let used = usize::try_from(self.doubts_used.load(SeqCst)).unwrap_or(DOUBTS);
        let notes = self.doubts.iter().take(used).enumerate();
        notes
            .filter_map(|(place, note)| {
                let about = note.about()?;
                Some(Doubt { place, about })
            })
            .collect()
    }

    pub(super) fn settle(&self, doubt: &Doubt) -> bool {
        let Some(note) = self.doubts.get(doubt.place) else {
            return false;
        };
        note.about() == Some(doubt.about) && note.kind.swap(0, SeqCst) != 0
    }
}

/// The page of a seat, for the process that sits there: one thread of it counts, and one more commits.
#[derive(Debug, Clone, Copy)]
pub struct SeatPage<'a> {
    page: Option<&'a Page>,
    founded: Option<&'a AtomicU64>,
    drift: Option<&'a AtomicU64>,
}

impl<'a> SeatPage<'a> {
    pub(super) fn new(page: Option<&'a Page>, header: Option<&'a Header>) -> Self {
        SeatPage {
            page,
            founded: header.map(|h| &h.founded),
            drift: header.map(|h| &h.drift),
        }
    }

    /// This process sits here now.
    pub fn open(&self, incarnation: Incarnation) {
        if let Some(page) = self.page {
            page.clear();
            page.incarnation.store(packed(Some(incarnation)), Relaxed);
        }
    }

    /// Counts items that came.
    pub fn came(&self, kind: In, items: u64) {
        if let Some(n) = self.page.and_then(|p| p.ins.get(kind as usize)) {
            add(n, items);
        }
    }

    /// Counts items that went.
    pub fn went(&self, kind: Out, items: u64) {
        if let Some(n) = self.page.and_then(|p| p.outs.get(kind as usize)) {
            add(n, items);
        }
    }

    /// Counts items that were taken over: in the beginning they are found, later they are left by
    /// somebody.
    pub fn took_over(&self, items: u64) {
        let founded = self.founded.is_some_and(|f| f.load(Relaxed) != 0);
        self.came(if founded { In::Inherited } else { In::Found }, items);
    }

    /// Items that came and did not go.
    #[must_use]
    pub fn left(&self) -> i64 {
        self.page.map_or(0, Page::left)
    }

    /// Says whether everything that is this worker's was taken over and counted.
    pub fn set_settled(&self, settled: bool) {
        if let Some(page) = self.page {
            page.settled.store(settled.into(), SeqCst);
        }
    }

    /// See [`SeatPage::set_settled`].
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.page.is_some_and(|p| p.settled.load(SeqCst) != 0)
    }

    /// Counts items that an alarm is about.
    pub fn drifted(&self, items: u64) {
        if let Some(drift) = self.drift {
            add(drift, items);
        }
    }

    /// A batch is going to be committed; its items have serial numbers from this one on.
    pub fn begin_batch(&self, serial: u32) {
        if let Some(page) = self.page {
            page.batch_before.store(page.came(In::Accepted), Relaxed);
            page.batch.store(u64::from(serial) + 1, SeqCst);
        }
    }

    /// The first serial number of the batch that is being committed.
    #[must_use]
    pub fn batch(&self) -> Option<u32> {
        let first = self.page?.batch.load(SeqCst).checked_sub(1)?;
        u32::try_from(first).ok()
    }

    /// It is committed, with this many items.
    pub fn end_batch(&self, items: u64) {
        self.came(In::Accepted, items);
        if let Some(page) = self.page {
            page.batch.store(0, SeqCst);
        }
    }

    /// Notes in a place that this item leaves.
    pub fn note_leaving(&self, place: usize, item: &Item, kind: Out) {
        self.note(place, item, kind as u32 + 1);
    }

    /// Notes in a place that this item comes back.
    pub fn note_returning(&self, place: usize, item: &Item) {
        self.note(place, item, RETURNING);
    }

    fn note(&self, place: usize, item: &Item, kind: u32) {
        let Some(page) = self.page else { return };
        if let Some(note) = page.notes.get(place) {
            page.used.fetch_max(place as u64 + 1, Relaxed);
            note.write(item, kind);
        }
    }

    /// Counts what is noted in a place, and takes the note back.
    pub fn count_noted(&self, place: usize) {
        let Some(page) = self.page else { return };
        let Some(note) = page.notes.get(place) else {
            return;
        };
        if let Some(counter) = page.counter(note) {
            page.before.store(counter.load(Relaxed), SeqCst);
            page.counting.store(place as u64 + 1, SeqCst);
            counter.fetch_add(1, SeqCst);
        }
        note.kind.store(0, SeqCst);
        page.counting.store(0, SeqCst);
    }

    /// Takes a note back: nothing came of it.
    pub fn forget(&self, place: usize) {
        if let Some(note) = self.page.and_then(|p| p.notes.get(place)) {
            note.kind.store(0, SeqCst);
        }
    }

    /// How many places for notes there are.
    #[must_use]
    pub fn places() -> usize {
        NOTES
    }
}

#[cfg(test)]
impl Page {
    /// As if the process had died in [`SeatPage::count_noted`].
    pub(super) fn stop_after_counting(&self, place: usize) {
        let counter = self.counter(&self.notes[place]).unwrap();
        self.before.store(counter.load(Relaxed), SeqCst);
        self.counting.store(place as u64 + 1, SeqCst);
        counter.fetch_add(1, SeqCst);
    }
}
