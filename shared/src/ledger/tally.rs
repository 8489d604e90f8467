//! Recipients by name and outcome: a table of a fixed size that all processes add to.
//!
//! Whoever comes first has a row of its own; when there is none left, and for names that are too long,
//! the rest is counted together.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::add;
use crate::mapping::{Mapping, MappingError, Shareable};

/// Longest name with a row of its own, in bytes.
const LONGEST: usize = 124;

/// Rows that are looked at for one name.
const TRIES: usize = 32;

/// Stands for all names without a row.
pub(super) const OTHERS: &str = "(others)";

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Taken into the queue.
    Accepted,
    /// A host took it.
    Delivered,
    /// Put off, each time.
    Deferred,
    /// Given up.
    Bounced,
    /// Dropped, as a plugin said.
    Discarded,
}

impl Outcome {
    /// All, in the order in which they are counted.
    pub const ALL: [Outcome; 5] = [
        Outcome::Accepted,
        Outcome::Delivered,
        Outcome::Deferred,
        Outcome::Bounced,
        Outcome::Discarded,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Delivered => "delivered",
            Outcome::Deferred => "deferred",
            Outcome::Bounced => "bounced",
            Outcome::Discarded => "discarded",
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    /// Whose recipients they are; `(others)` for those without a row.
    pub name: String,
    /// By [`Outcome`].
    pub recipients: [u64; Outcome::ALL.len()],
}

#[derive(Debug)]
#[repr(C)]
struct Row {
    /// Hash of the name; 0 while it is free.
    hash: AtomicU64,
    counts: [AtomicU64; Outcome::ALL.len()],
    /// Length of the name, once that is there.
    length: AtomicU32,
    name: [AtomicU8; LONGEST],
}

#[allow(unsafe_code)]
// SAFETY: atomics only.
unsafe impl Shareable for Row {}

/// The last row is for the rest.
#[derive(Debug)]
pub(super) struct Tally(Mapping<Row>);

impl Tally {
    pub(super) fn new(rows: usize) -> Result<Tally, MappingError> {
        Mapping::zeroed(rows + 1).map(Tally)
    }

    pub(super) fn add(&self, name: &str, outcome: Outcome, recipients: u64) {
        let row = self.row(name).or_else(|| self.0.last());
        if let Some(n) = row.and_then(|row| row.counts.get(outcome as usize)) {
            add(n, recipients);
        }
    }

    fn row(&self, name: &str) -> Option<&Row> {
        if name.is_empty() || name.len() > LONGEST {
            return None;
        }
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = hash.max(1);
        let rows = self.0.len() - 1;
        let first = usize::try_from(hash % rows.max(1) as u64).ok()?;
        for at in (first..first + TRIES).map(|at| at % rows) {
            let row = self.0.get(at)?;
            let was = row.hash.compare_exchange(0, hash, SeqCst, SeqCst);
            if was.is_ok() || was == Err(hash) {
                row.call(name);
                return Some(row);
            }
        }
        None
    }

    pub(super) fn busiest(&self, most: usize) -> Vec<Tallied> {
        let rows = self.0.len() - 1;
        let used = self.0.iter().take(rows);
        let mut all: Vec<Tallied> = used.filter_map(|row| row.read(row.called()?)).collect();
        all.sort_by(|a, b| {
            let sum = |t: &Tallied| t.recipients.iter().sum::<u64>();
            (sum(b), &a.name).cmp(&(sum(a), &b.name))
        });
        let rest = all.split_off(most.min(all.len()));
        let mut others = self.0.last().and_then(|row| row.read(OTHERS.to_owned()));
        for row in rest {
            let others = others.get_or_insert_with(|| Tallied {
                name: OTHERS.to_owned(),
                recipients: Default::default(),
            });
            for (sum, n) in others.recipients.iter_mut().zip(row.recipients) {
                *sum += n;
            }
        }
        all.extend(others);
        all
    }
}

impl Row {
    /// Writes the name; others may be writing the same.
    fn call(&self, name: &str) {
        if self.length.load(SeqCst) != 0 {
            return;
        }
        for (to, from) in self.name.iter().zip(name.bytes()) {
            to.store(from, Relaxed);
        }
        self.length
            .store(u32::try_from(name.len()).unwrap_or(0), SeqCst);
    }

    fn called(&self) -> Option<String> {
        let length = usize::try_from(self.length.load(SeqCst)).ok()?;
        let bytes = self.name.iter().take(length).map(|b| b.load(Relaxed));
        String::from_utf8(bytes.collect())
            .ok()
            .filter(|n| !n.is_empty())
    }

    fn read(&self, name: String) -> Option<Tallied> {
        let mut recipients = [0; Outcome::ALL.len()];
        for (to, from) in recipients.iter_mut().zip(&self.counts) {
            *to = from.load(Relaxed);
        }
        let any = recipients.iter().any(|n| *n > 0);
        any.then_some(Tallied { name, recipients })
    }
}
