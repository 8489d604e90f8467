//! The table: a row for each destination, found by the hash of what it stands for.
//!
//! Each seat (a worker process, living or draining) adds to a column of its own and sums the row, so
//! that a death costs the master one pass over a column and never leaves a count behind.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use super::rate::Rate;
use super::terms::{Full, Key, Seat, Slowing, View};
use crate::mapping::{Mapping, MappingError, Shareable};

/// Rows: destinations that have traffic or a limit in force at the same time. 64 bytes each, of which
/// only pages in use take memory.
pub const ROWS: usize = 1 << 16;

/// Rows that are looked at for a key before it goes without one.
const PROBES: usize = 64;

/// Shares are counted in thousandths.
const WHOLE: u32 = 1000;

/// The least that is left of a limit when it is slowed down: enough to notice that things are better.
const LEAST: u32 = 10;

/// A row whose key is this is given back; looks go on behind it.
const GIVEN_BACK: u64 = 1;

/// The master's mark in [`Traffic::making`].
const MASTER: u32 = u32::MAX;

/// Looks at the mark before somebody who wants to make a row is told to come again. Making one takes
/// less than a microsecond, unless its maker was killed.
const SPINS: usize = 1000;

/// Time in which a killed maker is noticed by the master, in microseconds.
const MOMENT: u64 = 5000;

/// Microseconds for which a refusal is remembered. Whoever was refused comes again within that time.
const RECENT: u64 = 250_000;

/// Bits of [`Row::wanted`] that name the seat.
const SEAT_BITS: u32 = 11;

#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Row {
    key: AtomicU64,
    /// State of the rate, see [`Rate::take`].
    paced: AtomicU64,
    /// Nothing is started before this time (microseconds, as all times here).
    suspended: AtomicU64,
    /// When the share was last changed for the worse, and from when on it grows.
    slowed: AtomicU64,
    /// What is missing to a whole share, in thousandths; zero in a new row.
    withheld: AtomicU32,
    /// A day and how many were taken on it, see [`on_day`].
    today: AtomicU64,
    /// Who was last refused a connection, and when, see [`Traffic::is_wanted`].
    wanted: AtomicU64,
    /// When it was last asked for.
    asked: AtomicU64,
}

#[allow(unsafe_code)]
// SAFETY: atomics only, and the padding is never read.
unsafe impl Shareable for Row {}

/// The table. Made by the master before it forks.
#[derive(Debug)]
pub struct Traffic {
    rows: Mapping<Row>,
    /// Row by row, a number for each seat.
    columns: Mapping<AtomicU16>,
    seats: usize,
    /// Who makes or gives back rows at this moment: 0 for nobody, else a seat and one. Those who look a
    /// row up never wait for it, and the master takes it from the dead.
    making: Mapping<AtomicU32>,
    /// A bit for each row that was ever made. Looking at a page of shared memory makes it take room, so
    /// the master goes by these and not by the rows.
    made: Mapping<AtomicU64>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
#[must_use = "the connection counts until this is dropped"]
pub struct Lease {
    /// `None`: there was no row, and nothing is counted.
    counted: Option<(Arc<Traffic>, usize)>,
}

impl Traffic {
    /// An empty table for this many worker processes at a time.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(seats: usize) -> Result<Traffic, MappingError> {
        let seats = seats.max(1);
        Ok(Traffic {
            rows: Mapping::zeroed(ROWS)?,
            columns: Mapping::zeroed(ROWS * seats)?,
            seats,
            making: Mapping::zeroed(1)?,
            made: Mapping::zeroed(ROWS / 64)?,
        })
    }

    /// How many worker processes there can be at a time.
    #[must_use]
    pub fn seats(&self) -> usize {
        self.seats
    }

    /// Counts a connection of this seat, if no more than `limit` are open with it; the share that is
    /// left of the limit counts. `now` in microseconds.
    ///
    /// # Errors
    /// [`Full`]: ask again when one has ended, or in a moment.
    pub fn connect(
        self: &Arc<Traffic>,
        seat: Seat,
        key: Key,
        limit: u32,
        slowing: Option<Slowing>,
        now: u64,
    ) -> Result<Lease, Full> {
        loop {
            let at = match self.row(seat, key, now) {
                Ok(Some(at)) => at,
                // A full table: the worker's own share of the limit is all that can be kept to.
                Ok(None) => return Ok(Lease { counted: None }),
                Err(Busy) => return Err(Full { limit }),
            };
            let limit = self.limit_now(at, limit, slowing, now);
            let Some(own) = self.column(at, seat) else {
                return Ok(Lease { counted: None });
            };
            own.fetch_add(1, SeqCst);
            let lease = Lease {
                counted: Some((Arc::clone(self), at * self.seats + seat.0)),
            };
            // Of two that come at the same time the later one sees both, whichever that is.
            let open = self.open(at);
            if self
                .rows
                .get(at)
                .is_none_or(|r| r.key.load(SeqCst) != key.0)
            {
                // The row was given back between the look and the count.
                continue;
            }
            if open <= limit {
                return Ok(lease);
            }
            self.note_refusal(seat, at, now);
            return Err(Full { limit });
        }
    }

    /// Takes one message of the rate, slowed down like the connections. `now` in microseconds.
    ///
    /// # Errors
    /// When to ask again, in microseconds.
    pub fn pace(
        &self,
        seat: Seat,
        key: Key,
        rate: Rate,
        slowing: Option<Slowing>,
        now: u64,
    ) -> Result<(), u64> {
        let at = self.row(seat, key, now).map_err(|Busy| now + MOMENT)?;
        let Some((at, row)) = at.and_then(|at| Some((at, self.rows.get(at)?))) else {
            return Ok(());
        };
        let count = self.limit_now(at, rate.count, slowing, now);
        let rate = Rate { count, ..rate };
        let mut state = row.paced.load(Relaxed);
        loop {
            let next = rate.take(state, now)?;
            match row
                .paced
                .compare_exchange_weak(state, next, SeqCst, Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => state = other,
            }
        }
    }

    /// When [`Traffic::pace`] would next allow a message; now if that is now. Takes nothing.
    ///
    /// # Errors
    /// When to ask again, in microseconds.
    pub fn may_pace(
        &self,
        key: Key,
        rate: Rate,
        slowing: Option<Slowing>,
        now: u64,
    ) -> Result<(), u64> {
        let Some((at, row)) = self.find(key).and_then(|at| Some((at, self.rows.get(at)?))) else {
            return Ok(());
        };
        let count = self.limit_now(at, rate.count, slowing, now);
        let rate = Rate { count, ..rate };
        rate.take(row.paced.load(Relaxed), now).map(|_| ())
    }

    /// Whether a worker of another seat was refused a connection a moment ago: whoever has one to
    /// spare should not keep it.
    #[must_use]
    pub fn is_wanted(&self, seat: Seat, key: Key, now: u64) -> bool {
        let Some(row) = self.find(key).and_then(|at| self.rows.get(at)) else {
            return false;
        };
        let (who, when) = wanted(row.wanted.load(Relaxed));
        who != seat.0 && when != 0 && now < when.saturating_add(RECENT)
    }

    /// Whoever came first stays noted for a while, so that each has its turn.
    fn note_refusal(&self, seat: Seat, at: usize, now: u64) {
        let Some(row) = self.rows.get(at) else { return };
        let noted = row.wanted.load(Relaxed);
        if now >= wanted(noted).1.saturating_add(RECENT) {
            let who = u64::try_from(seat.0).unwrap_or(0) & ((1 << SEAT_BITS) - 1);
            let next = (now << SEAT_BITS) | who;
            let _ = row.wanted.compare_exchange(noted, next, Relaxed, Relaxed);
        }
    }

    /// How many were taken on this day (days since 1970); `None` if none was since the row was made.
    #[must_use]
    pub fn today(&self, key: Key, day: u32) -> Option<u32> {
        let row = self.find(key).and_then(|at| self.rows.get(at))?;
        let (of, count) = on_day(row.today.load(SeqCst));
        (of == day).then_some(count)
    }

    /// Takes one of the messages that may go on this day (days since 1970). `before` is how many there
    /// were already, by other records than the table, when it has none of this day yet.
    ///
    /// # Errors
    /// There were `cap` already.
    pub fn count_today(
        &self,
        seat: Seat,
        key: Key,
        cap: u32,
        (day, before): (u32, u32),
        now: u64,
    ) -> Result<(), Full> {
        let at = self
            .row(seat, key, now)
            .map_err(|Busy| Full { limit: cap })?;
        let Some(row) = at.and_then(|at| self.rows.get(at)) else {
            return Ok(());
        };
        let taken = row.today.fetch_update(SeqCst, SeqCst, |state| {
            let (of, count) = on_day(state);
            let count = if of == day { count } else { before };
            (count < cap).then(|| (u64::from(day) << 32) | u64::from(count + 1))
        });
        taken.map(|_| ()).map_err(|_| Full { limit: cap })
    }

    /// Nothing is started before `until` (microseconds), unless it is suspended for longer already.
    pub fn suspend(&self, seat: Seat, key: Key, until: u64, now: u64) {
        if let Some(row) = self.row_of(seat, key, now) {
            row.suspended.fetch_max(until, SeqCst);
        }
    }

    /// Ends a suspension.
    pub fn resume(&self, key: Key) {
        if let Some(row) = self.find(key).and_then(|at| self.rows.get(at)) {
            row.suspended.store(0, SeqCst);
        }
    }

    /// Until when it is suspended, in microseconds.
    #[must_use]
    pub fn suspended(&self, key: Key, now: u64) -> Option<u64> {
        let row = self.find(key).and_then(|at| self.rows.get(at))?;
        Some(row.suspended.load(SeqCst)).filter(|until| *until > now)
    }

    /// A complaint of the destination: less from now on. What is left is a part of what was in use, if
    /// that was less than the `limit` on connections allows. Gives the thousandths of the limit that
    /// are left, or `None` if a complaint of just before counts for this one as well.
    pub fn slow_down(
        &self,
        seat: Seat,
        key: Key,
        limit: u32,
        slowing: Slowing,
        now: u64,
    ) -> Option<u32> {
        let at = self.row(seat, key, now).ok().flatten()?;
        let row = self.rows.get(at)?;
        let used = u64::from(self.open(at).max(1)) * u64::from(WHOLE);
        let used = used.div_ceil(u64::from(limit.max(1)));
        let used = u32::try_from(used).unwrap_or(WHOLE);
        let before = share(row, slowing, now).min(used);
        let slowed = row.slowed.load(SeqCst);
        if slowed != 0 && now < slowed.saturating_add(slowing.pause) {
            return None;
        }
        row.slowed
            .compare_exchange(slowed, now.max(1), SeqCst, SeqCst)
            .ok()?;
        let left = (before * slowing.keep.min(WHOLE) / WHOLE).clamp(LEAST, WHOLE);
        row.withheld.store(WHOLE - left, SeqCst);
        Some(left)
    }

    /// What is known of a destination; none if nothing is.
    #[must_use]
    pub fn view(&self, key: Key, slowing: Option<Slowing>, now: u64) -> Option<View> {
        let at = self.find(key)?;
        let row = self.rows.get(at)?;
        Some(View {
            connections: self.open(at),
            share: slowing.map_or(WHOLE, |s| share(row, s, now)),
            suspended: Some(row.suspended.load(SeqCst)).filter(|t| *t > now),
            paced: Some(row.paced.load(SeqCst)).filter(|t| *t > now),
            today: on_day(row.today.load(SeqCst)).1,
        })
    }

    /// A worker process is gone, and its connections with it. For the master.
    pub fn vacate(&self, seat: Seat) {
        if let (Some(mark), Ok(who)) = (self.making.first(), u32::try_from(seat.0 + 1)) {
            // What it had begun is at worst a row that nobody asks for.
            let _ = mark.compare_exchange(who, 0, SeqCst, SeqCst);
        }
        for own in self.made().filter_map(|at| self.column(at, seat)) {
            own.store(0, SeqCst);
        }
    }

    /// Gives back rows that say nothing any more and that nobody asked for since `before`. For the
    /// master alone; gives how many there were.
    pub fn sweep(&self, before: u64, now: u64) -> usize {
        let Ok(_making) = self.making(MASTER) else {
            return 0;
        };
        let mut freed = 0;
        for (at, row) in self.made().filter_map(|at| Some((at, self.rows.get(at)?))) {
            let key = row.key.load(SeqCst);
            let quiet = key > GIVEN_BACK
                && row.asked.load(SeqCst) < before
                && row.suspended.load(SeqCst) <= now
                && row.paced.load(SeqCst) <= now
                && self.open(at) == 0;
            if !quiet {
                continue;
            }
            row.key.store(GIVEN_BACK, SeqCst);
            // Who counted a connection after the look above has found the old key; it looks again.
            if self.open(at) != 0 {
                row.key.store(key, SeqCst);
                continue;
            }
            for state in [
                &row.paced,
                &row.suspended,
                &row.slowed,
                &row.today,
                &row.wanted,
                &row.asked,
            ] {
                state.store(0, SeqCst);
            }
            row.withheld.store(0, SeqCst);
            freed += 1;
        }
        freed
    }

    /// Connections of all seats.
    fn open(&self, at: usize) -> u32 {
        let from = at * self.seats;
        let row = self
            .columns
            .get(from..from + self.seats)
            .unwrap_or_default();
        row.iter().map(|n| u32::from(n.load(SeqCst))).sum()
    }

    fn column(&self, at: usize, seat: Seat) -> Option<&AtomicU16> {
        if seat.0 >= self.seats {
            return None;
        }
        self.columns.get(at * self.seats + seat.0)
    }

    /// What is left of a limit, at least 1.
    fn limit_now(&self, at: usize, limit: u32, slowing: Option<Slowing>, now: u64) -> u32 {
        let Some(slowing) = slowing else { return limit };
        let share = self
            .rows
            .get(at)
            .map_or(WHOLE, |row| share(row, slowing, now));
        let share = u64::from(share);
        let left = u64::from(limit) * share / u64::from(WHOLE);
        u32::try_from(left).unwrap_or(limit).max(1)
    }

    /// The row of a key, made if there is none; `None` if the table is full.
    fn row(&self, seat: Seat, key: Key, now: u64) -> Result<Option<usize>, Busy> {
        let found = match self.find(key) {
            Some(at) => Some(at),
            None => self.make(seat, key, now)?,
        };
        // Not at each question: a line that all workers write to is a line that they wait for.
        if let Some(row) = found.and_then(|at| self.rows.get(at))
            && now > row.asked.load(Relaxed).saturating_add(1_000_000)
        {
            row.asked.store(now, Relaxed);
        }
        Ok(found)
    }

    fn row_of(&self, seat: Seat, key: Key, now: u64) -> Option<&Row> {
        let at = self.row(seat, key, now).ok().flatten()?;
        self.rows.get(at)
    }

    /// A row for a key that had none. One process at a time: two would make two.
    fn make(&self, seat: Seat, key: Key, now: u64) -> Result<Option<usize>, Busy> {
        let _making = self.making(u32::try_from(seat.0).map_or(MASTER - 1, |n| n + 1))?;
        if let Some(at) = self.find(key) {
            return Ok(Some(at));
        }
        let free = |at: &usize| {
            let row = self.rows.get(*at);
            row.is_some_and(|row| row.key.load(SeqCst) <= GIVEN_BACK)
        };
        let Some(at) = probes(key).find(free) else {
            return Ok(None);
        };
        if let Some(row) = self.rows.get(at) {
            row.asked.store(now, Relaxed);
            if let Some(made) = self.made.get(at / 64) {
                made.fetch_or(1 << (at % 64), SeqCst);
            }
            row.key.store(key.0, SeqCst);
        }
        Ok(Some(at))
    }

    /// The rows that were ever made.
    fn made(&self) -> impl Iterator<Item = usize> {
        let words = self.made.iter().enumerate();
        words.flat_map(|(word, bits)| {
            let bits = bits.load(SeqCst);
            let set = (0..64).filter(move |bit| bits >> bit & 1 == 1);
            set.map(move |bit| word * 64 + bit)
        })
    }

    fn making(&self, who: u32) -> Result<Making<'_>, Busy> {
        let mark = self.making.first().ok_or(Busy)?;
        for _ in 0..SPINS {
            if mark.compare_exchange(0, who, SeqCst, SeqCst).is_ok() {
                return Ok(Making(mark));
            }
            std::hint::spin_loop();
        }
        Err(Busy)
    }

    fn find(&self, key: Key) -> Option<usize> {
        for at in probes(key) {
            match self.rows.get(at)?.key.load(SeqCst) {
                0 => return None,
                held if held == key.0 => return Some(at),
                _ => {}
            }
        }
        None
    }
}

/// The day and the count of [`Row::today`].
fn on_day(state: u64) -> (u32, u32) {
    let count = u32::try_from(state & u64::from(u32::MAX)).unwrap_or(0);
    (u32::try_from(state >> 32).unwrap_or(0), count)
}

/// The seat and the time of [`Row::wanted`].
fn wanted(state: u64) -> (usize, u64) {
    let who = usize::try_from(state & ((1 << SEAT_BITS) - 1)).unwrap_or(0);
    (who, state >> SEAT_BITS)
}

/// Thousandths of the limit in force: what was left after the last complaint, and what came back.
fn share(row: &Row, slowing: Slowing, now: u64) -> u32 {
    let withheld = u64::from(row.withheld.load(SeqCst));
    if withheld == 0 {
        return WHOLE;
    }
    let quiet = now.saturating_sub(row.slowed.load(SeqCst));
    let back = (quiet / slowing.pause.max(1)).saturating_mul(u64::from(slowing.back));
    let withheld = withheld.saturating_sub(back).min(u64::from(WHOLE));
    WHOLE - u32::try_from(withheld).unwrap_or(0)
}

/// Somebody else makes a row, or was killed while making one.
#[derive(Debug)]
struct Busy;

/// The right to make rows and to give them back.
struct Making<'a>(&'a AtomicU32);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.store(0, SeqCst);
    }
}

/// Where a key may be.
fn probes(key: Key) -> impl Iterator<Item = usize> {
    let from = usize::try_from(key.0 >> 16).unwrap_or(0);
    (0..PROBES).map(move |n| from.wrapping_add(n) % ROWS)
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((traffic, at)) = &self.counted
            && let Some(own) = traffic.columns.get(*at)
        {
            // Never below zero, whatever another process has written there.
            let _ = own.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
