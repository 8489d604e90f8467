//! The ledger of queue items: what came in, what went out, for each worker process, in memory that
//! outlives it (ADR 0027).
//!
//! Items are counted by their owners only, recipients are tallied beside. What a dead process had is
//! its estate until somebody takes it over. Must never decide anything about an item.

mod page;
mod roll;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use self::page::{About, Doubt, In, Item, Out, SeatPage};
use self::page::{Header, Page};
use self::roll::{Lost, Rolls};
use self::tally::Tally;
pub use self::tally::{Outcome, Tallied};
use crate::mapping::{Mapping, MappingError, Shareable};
use crate::spool::Incarnation;
use crate::traffic::Seat;

/// All pages.
#[derive(Debug)]
pub struct Ledger {
    header: Mapping<Header>,
    pages: Mapping<Page>,
    /// What processes count that have no seat: nobody looks at it but they.
    spare: Mapping<Page>,
    domains: Tally,
    providers: Tally,
    rolls: Rolls,
    lost: Mapping<Lost>,
}

/// Processes whose items are known by number, beside those that live.
const ROLLS: usize = 64;

/// Items that nobody found, and that an alarm names.
const MOST_LOST: usize = 20;

/// Items of the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// By [`In`].
    pub ins: [u64; In::ALL.len()],
    /// By [`Out`].
    pub outs: [u64; Out::ALL.len()],
    /// Items that the pages of living processes have left.
    pub queued: i64,
    /// Items of dead processes that nobody has taken over yet.
    pub estate: i64,
    /// Items that an alarm was about, so far.
    pub drift: u64,
}

impl Totals {
    /// Whether every item that came in is in the queue or has gone out, and none was missed.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.estate == 0 && self.drift == 0
    }
}

impl Ledger {
    /// Pages for this many processes.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(seats: usize) -> Result<Ledger, MappingError> {
        Ok(Ledger {
            header: Mapping::zeroed(1)?,
            pages: Mapping::zeroed(seats)?,
            spare: Mapping::zeroed(1)?,
            domains: Tally::new(4096)?,
            providers: Tally::new(2048)?,
            rolls: Rolls::new(seats.saturating_add(ROLLS))?,
            lost: Mapping::zeroed(MOST_LOST)?,
        })
    }

    /// The page of a seat.
    #[must_use]
    pub fn page(&self, seat: Seat) -> SeatPage<'_> {
        let page = self.pages.get(seat.0).or_else(|| self.spare.first());
        SeatPage::new(page, self.header.first())
    }

    /// The process that sat there is gone: what it counted is kept, what it had is its estate, and
    /// what it was in the middle of is in doubt. For the master.
    pub fn vacate(&self, seat: Seat) {
        if let (Some(header), Some(page)) = (self.header.first(), self.pages.get(seat.0)) {
            header.fold(page);
        }
    }

    /// Everything that was in the queue when the server started has been found. For the master.
    pub fn found(&self) {
        if let Some(header) = self.header.first()
            && header.founded.load(Relaxed) == 0
        {
            // Whatever a process had that died before is among what its successor found.
            header.written_off.store(self.raw_estate() as u64, Relaxed);
            header.founded.store(1, Relaxed);
        }
    }

    /// Whether [`Ledger::found`] was called.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        let header = self.header.first();
        header.is_some_and(|h| h.founded.load(Relaxed) != 0)
    }

    /// Items that dead processes had and nobody has taken over; below zero if more were taken over.
    #[must_use]
    pub fn estate(&self) -> i64 {
        let off = self
            .header
            .first()
            .map_or(0, |h| h.written_off.load(Relaxed));
        self.raw_estate().wrapping_sub(off as i64)
    }

    /// An item of a dead process was set aside. For the master.
    pub fn set_aside(&self) {
        if let Some(header) = self.header.first() {
            header.past.count_out(Out::Aside);
        }
    }

    /// An alarm was given about the estate; it counts no more.
    pub fn write_off(&self, estate: i64) {
        if let Some(header) = self.header.first() {
            header.written_off.fetch_add(estate as u64, Relaxed);
            header.drift.fetch_add(estate.unsigned_abs(), Relaxed);
        }
    }

    fn raw_estate(&self) -> i64 {
        let Some(header) = self.header.first() else {
            return 0;
        };
        let inherited = self.pages.iter().map(|p| p.came(In::Inherited));
        let inherited = inherited.fold(header.past.came(In::Inherited), u64::wrapping_add);
        header.past.left().wrapping_sub(inherited as i64)
    }

    /// Notes of dead processes that nobody has looked at; see [`Ledger::settle_doubt`].
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        self.header.first().map(Header::doubts).unwrap_or_default()
    }

    /// A doubt is cleared up; false if somebody else did that.
    #[must_use]
    pub fn settle_doubt(&self, doubt: &Doubt) -> bool {
        self.header.first().is_some_and(|h| h.settle(doubt))
    }

    /// Everybody has counted what was in batches that nobody has ended. For the master.
    pub fn settle_batches(&self) {
        let batch = |doubt: &Doubt| matches!(doubt.about, About::Accepting(..));
        for doubt in self.doubts().iter().filter(|doubt| batch(doubt)) {
            let _settled = self.settle_doubt(doubt);
        }
    }

    /// Items of the whole server. Workers count on meanwhile.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let Some(header) = self.header.first() else {
            return totals;
        };
        for page in self.pages.iter().chain([&header.past]) {
            for (sum, kind) in totals.ins.iter_mut().zip(In::ALL) {
                *sum = sum.wrapping_add(page.came(kind));
            }
            for (sum, kind) in totals.outs.iter_mut().zip(Out::ALL) {
                *sum = sum.wrapping_add(page.went(kind));
            }
        }
        totals.queued = self.pages.iter().map(Page::left).sum();
        totals.estate = self.estate();
        totals.drift = header.drift.load(Relaxed);
        totals
    }

    /// This process is going to accept items.
    pub fn open_roll(&self, incarnation: Incarnation) {
        let lives = |of: u64| of != 0 && self.pages.iter().any(|page| page.is_of(of));
        self.rolls.open(incarnation, lives);
    }

    /// An item of this process is in the queue.
    pub fn enroll(&self, incarnation: Incarnation, serial: u32) {
        self.rolls.add(incarnation, serial);
    }

    /// It is not any more.
    pub fn strike(&self, incarnation: Incarnation, serial: u32) {
        self.rolls.remove(incarnation, serial);
    }

    /// Numbers of the items of this process that are in the queue, as far as they are known.
    #[must_use]
    pub fn enrolled(&self, incarnation: Incarnation) -> Vec<u32> {
        self.rolls.left(incarnation)
    }

    /// Processes whose items are known by number.
    pub fn rolls(&self) -> impl Iterator<Item = Incarnation> {
        self.rolls.owners()
    }

    /// Nobody finds an item of this process, which is dead; further ones than an alarm names are not noted.
    pub fn lose(&self, incarnation: Incarnation, serial: u32) {
        self.strike(incarnation, serial);
        roll::lose(&self.lost, incarnation, serial);
    }

    /// The items that nobody finds, each told once. For the master.
    #[must_use]
    pub fn take_lost(&self) -> Vec<(Incarnation, u32)> {
        roll::take(&self.lost)
    }

    /// Counts recipients of a domain.
    pub fn tally_domain(&self, domain: &str, outcome: Outcome, recipients: u64) {
        self.domains.add(domain, outcome, recipients);
    }

    /// Counts recipients of a provider.
    pub fn tally_provider(&self, provider: &str, outcome: Outcome, recipients: u64) {
        self.providers.add(provider, outcome, recipients);
    }

    /// The busiest domains, at most `most`; see [`Tallied`].
    #[must_use]
    pub fn domains(&self, most: usize) -> Vec<Tallied> {
        self.domains.busiest(most)
    }

    /// The busiest providers, at most `most`.
    #[must_use]
    pub fn providers(&self, most: usize) -> Vec<Tallied> {
        self.providers.busiest(most)
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

#[allow(unsafe_code)]
// SAFETY: atomics only.
unsafe impl Shareable for Header {}
#[allow(unsafe_code)]
// SAFETY: atomics only.
unsafe impl Shareable for Page {}

#[cfg(test)]
mod tests;
