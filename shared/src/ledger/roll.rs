//! Which of the items that a process accepted are left, by serial number: where an heir finds less than the
//! dead had, the difference has names. A bit for each item, for the last [`SERIALS`] of each process.
//!
//! Tells what to look for, and is no part of the sums. Must never be what an item's fate depends on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::page::{packed, unpacked};
use crate::mapping::{Mapping, MappingError};
use crate::spool::Incarnation;

/// Items of one process that are told apart: 32 kB. Those accepted longer ago are forgotten.
const SERIALS: u32 = 1 << 18;
const WORDS: usize = SERIALS as usize / 64;

/// One process's items. All of it is valid when zero.
#[derive(Debug)]
#[repr(C)]
struct Roll {
    /// Serial numbers below this one were seen.
    next: AtomicU64,
    bits: [AtomicU64; WORDS],
}

impl Roll {
    fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| word.load(Relaxed) == 0)
    }

    fn place(&self, serial: u32) -> Option<(&AtomicU64, u64)> {
        let within = serial % SERIALS;
        let word = self.bits.get(within as usize / 64)?;
        Some((word, 1 << (within % 64)))
    }

    fn add(&self, serial: u32) {
        self.next.fetch_max(u64::from(serial) + 1, Relaxed);
        if let Some((word, bit)) = self.place(serial) {
            word.fetch_or(bit, Relaxed);
        }
    }

    fn remove(&self, serial: u32) {
        let behind = self.next.load(Relaxed).saturating_sub(u64::from(serial));
        if behind > u64::from(SERIALS) {
            // Its bit is a later one's by now.
            return;
        }
        if let Some((word, bit)) = self.place(serial) {
            word.fetch_and(!bit, Relaxed);
        }
    }

    /// The serial numbers of the items that are left.
    fn left(&self) -> Vec<u32> {
        let next = self.next.load(Relaxed);
        let first = next.saturating_sub(u64::from(SERIALS));
        let mut left = Vec::new();
        for (at, word) in (0u32..).zip(&self.bits) {
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let within = u64::from(at * 64 + bits.trailing_zeros());
                bits &= bits - 1;
                // The newest number that has this place.
                let behind = (first % u64::from(SERIALS)).abs_diff(within);
                let from_first = if within >= first % u64::from(SERIALS) {
                    behind
                } else {
                    u64::from(SERIALS) - behind
                };
                left.extend(u32::try_from(first + from_first));
            }
        }
        left
    }

    fn clear(&self) {
        self.next.store(0, Relaxed);
        for word in &self.bits {
            word.store(0, Relaxed);
        }
    }
}

/// The rolls of those who live and of some who are dead.
#[derive(Debug)]
pub(super) struct Rolls {
    /// Whose each is, close together as they are looked through for each item; 0: free.
    owners: Mapping<AtomicU64>,
    rolls: Mapping<Roll>,
}

impl Rolls {
    pub(super) fn new(count: usize) -> Result<Rolls, MappingError> {
        Ok(Rolls {
            owners: Mapping::zeroed(count)?,
            rolls: Mapping::zeroed(count)?,
        })
    }

    /// Gives a process a roll of its own: a free one, else that of somebody dead, an empty one if there
    /// is one. None while everybody has one and lives.
    pub(super) fn open(&self, incarnation: Incarnation, lives: impl Fn(u64) -> bool) {
        let all = || {
            let all = self.owners.iter().zip(self.rolls.iter());
            all.map(|(owner, roll)| (owner, owner.load(SeqCst), roll))
        };
        let free = all().filter(|(_, of, _)| *of == 0);
        let empty = all().filter(|(_, of, roll)| !lives(*of) && roll.is_empty());
        let dead = all().filter(|(_, of, _)| !lives(*of));
        let mine = packed(Some(incarnation));
        for (owner, of, roll) in free.chain(empty).chain(dead) {
            if owner.compare_exchange(of, mine, SeqCst, SeqCst).is_ok() {
                return roll.clear();
            }
        }
    }

    fn of(&self, incarnation: Incarnation) -> Option<&Roll> {
        let wanted = packed(Some(incarnation));
        let at = self.owners.iter().position(|o| o.load(Relaxed) == wanted)?;
        self.rolls.get(at)
    }

    /// Whose there are.
    pub(super) fn owners(&self) -> impl Iterator<Item = Incarnation> {
        self.owners.iter().filter_map(|o| unpacked(o.load(SeqCst)))
    }

    pub(super) fn add(&self, incarnation: Incarnation, serial: u32) {
        if let Some(roll) = self.of(incarnation) {
            roll.add(serial);
        }
    }

    pub(super) fn remove(&self, incarnation: Incarnation, serial: u32) {
        if let Some(roll) = self.of(incarnation) {
            roll.remove(serial);
        }
    }

    pub(super) fn left(&self, incarnation: Incarnation) -> Vec<u32> {
        self.of(incarnation).map(Roll::left).unwrap_or_default()
    }
}

/// An item that nobody found, as far as it can be named.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Lost {
    incarnation: AtomicU64,
    /// Its serial number + 1; 0 if there is none.
    serial: AtomicU64,
}

/// Notes one, if there is room.
pub(super) fn lose(all: &[Lost], incarnation: Incarnation, serial: u32) {
    for lost in all {
        let mine = u64::from(serial) + 1;
        if lost
            .serial
            .compare_exchange(0, mine, SeqCst, SeqCst)
            .is_ok()
        {
            lost.incarnation.store(packed(Some(incarnation)), SeqCst);
            return;
        }
    }
}

/// Takes them out.
pub(super) fn take(all: &[Lost]) -> Vec<(Incarnation, u32)> {
    let each = all.iter().filter_map(|lost| {
        let incarnation = unpacked(lost.incarnation.load(SeqCst));
        let serial = lost.serial.swap(0, SeqCst).checked_sub(1)?;
        Some((incarnation?, u32::try_from(serial).ok()?))
    });
    each.collect()
}

#[allow(unsafe_code)]
// SAFETY: atomics only.
unsafe impl crate::mapping::Shareable for Roll {}
#[allow(unsafe_code)]
// SAFETY: atomics only.
unsafe impl crate::mapping::Shareable for Lost {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: u8) -> Incarnation {
        Incarnation::parse(&format!("AbCdE{n}")).unwrap()
    }

    fn left(rolls: &Rolls, n: u8) -> Vec<u32> {
        let mut left = rolls.left(of(n));
        left.sort_unstable();
        left
    }

    fn rolls(count: u8) -> Rolls {
        let rolls = Rolls::new(count.into()).unwrap();
        (0..count).for_each(|n| rolls.open(of(n), |_| true));
        rolls
    }

    #[test]
    fn numbers_that_were_added_and_not_removed_are_left() {
        let rolls = rolls(2);
        for serial in 0..200 {
            rolls.add(of(1), serial);
        }
        for serial in (0..200).filter(|s| s % 7 != 0) {
            rolls.remove(of(1), serial);
        }
        let sevens: Vec<u32> = (0..200).step_by(7).collect();
        assert_eq!(left(&rolls, 1), sevens);
        assert!(left(&rolls, 0).is_empty());
    }

    #[test]
    fn numbers_beyond_what_is_told_apart_name_the_newest() {
        let rolls = rolls(1);
        for serial in [5, SERIALS + 5, SERIALS + 300] {
            rolls.add(of(0), serial);
        }
        // Its place is another's.
        rolls.remove(of(0), 5);
        assert_eq!(left(&rolls, 0), [SERIALS + 5, SERIALS + 300]);
    }

    #[test]
    fn roll_of_the_living_is_never_taken_and_that_of_the_dead_when_it_is_empty_first() {
        let rolls = rolls(3);
        rolls.add(of(1), 1);
        let alive =
            |who: &'static [u8]| move |i: u64| who.iter().any(|n| packed(Some(of(*n))) == i);
        rolls.open(of(3), alive(&[0]));
        assert!(rolls.of(of(2)).is_none(), "the empty one");
        assert_eq!(left(&rolls, 1), [1]);
        rolls.open(of(4), alive(&[0, 3]));
        assert!(rolls.of(of(0)).is_some() && rolls.of(of(1)).is_none());
        assert!(left(&rolls, 4).is_empty());
    }
}
