//! Which worker handles which file. The table is the master's; this is a worker's copy of it.
//!
//! Nothing is renamed when a worker dies: the master tells its replacement which incarnations it
//! takes over. Process ids play no part (PB-33).

use std::collections::HashMap;

use super::name::{Incarnation, OwnerKey, ParsedName};
use crate::date::epoch_ms;

/// What the master knows about an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The process is running: its files are its own.
    Live,
    /// The process is gone: the worker in this slot has its files.
    Dead {
        /// Slot of the worker, from 0.
        slot: u32,
    },
}

/// One worker's view of who owns what. Every file has exactly one owner as long as all workers
/// were given the same table.
#[derive(Debug, Clone)]
pub struct Ownership {
    nodes: u32,
    slot: u32,
    own: Incarnation,
    claims: HashMap<Incarnation, Claim>,
    takes_over: bool,
    as_of: u64,
    /// See [`Ownership::beyond`].
    before: Option<Box<Ownership>>,
}

impl Ownership {
    /// The view of the worker `own` in slot `slot` of `nodes` (at least 1).
    #[must_use]
    pub fn new(nodes: u32, slot: u32, own: Incarnation) -> Self {
        Self {
            nodes: nodes.max(1),
            slot,
            own,
            claims: HashMap::new(),
            takes_over: true,
            as_of: u64::MAX,
            before: None,
        }
    }

    /// What was ours by that view was recovered then: it is in use, and nothing of it is debris. For
    /// another recovery by a process that delivers already.
    #[must_use]
    pub fn beyond(mut self, before: &Ownership) -> Self {
        self.before = Some(Box::new(before.clone()));
        self
    }

    /// The table is from this time, in milliseconds since 1970. Files that an unknown incarnation
    /// has written since then are those of a worker which was started later: never ours.
    #[must_use]
    pub fn as_of(mut self, time: u64) -> Self {
        self.as_of = time;
        self
    }

    /// For a worker started while its predecessor in the slot still drains (graceful restart): it
    /// owns only what it writes itself until [`Ownership::take_over`].
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.takes_over = false;
        self
    }

    /// The predecessor is gone; its files and the slot's share of unknown ones are now ours.
    /// Run [`super::Spool::recover`] after this.
    pub fn take_over(&mut self) {
        self.takes_over = true;
    }

    /// Records what the master says about an incarnation.
    pub fn claim(&mut self, incarnation: Incarnation, claim: Claim) {
        self.claims.insert(incarnation, claim);
    }

    /// The worker's own incarnation.
    #[must_use]
    pub fn own(&self) -> Incarnation {
        self.own
    }

    /// Whether this worker is the one to report on files that belong to nobody.
    #[must_use]
    pub fn reports_strays(&self) -> bool {
        self.slot == 0 && self.takes_over
    }

    /// Whether this worker handles the item.
    pub fn owns<T: AsRef<str>>(&self, name: &ParsedName<T>) -> bool {
        self.owns_key(name.owner_key())
    }

    /// Whether this worker handles the file with this key.
    #[must_use]
    pub fn owns_key(&self, key: OwnerKey) -> bool {
        if key.incarnation == Some(self.own) {
            return true;
        }
        self.takes_over
            && match key.incarnation.and_then(|i| self.claims.get(&i)) {
                Some(Claim::Live) => false,
                Some(Claim::Dead { slot }) => *slot == self.slot,
                None => {
                    key.hash % u64::from(self.nodes) == u64::from(self.slot)
                        && !key.arrival.is_some_and(|a| self.is_newer(a))
                }
            }
    }

    /// A time ahead of the clock is one of before the clock was set back, not a new worker's.
    fn is_newer(&self, arrival: u64) -> bool {
        self.as_of <= arrival && arrival <= epoch_ms()
    }

    /// Whether all files of an incarnation have one owner; those of one that the table does not have are
    /// everybody's, each by its name.
    #[must_use]
    pub fn is_claimed(&self, incarnation: Incarnation) -> bool {
        self.claims.contains_key(&incarnation)
    }

    /// Whether a half-written file with this key is debris for this worker to clear away: the
    /// process that wrote it is gone and its files are ours (PB-25).
    #[must_use]
    pub fn clears(&self, key: OwnerKey) -> bool {
        let recovered = self.before.as_ref().is_some_and(|b| b.owns_key(key));
        key.incarnation != Some(self.own) && self.owns_key(key) && !recovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::QueueName;

    fn name(uniq: &str, arrival: u64) -> QueueName {
        QueueName::parse(&format!("{arrival}_{arrival}_0_7_{uniq}_1_h")).unwrap()
    }

    // covers PB-25
    #[test]
    fn worker_that_was_started_after_the_table_keeps_its_files() {
        let later = Incarnation::random();
        let uniq = later.to_string();
        let old = Ownership::new(1, 0, Incarnation::random()).as_of(5_000);
        assert!(old.owns(&name(&uniq, 4_999)), "of an earlier run");
        assert!(!old.owns(&name(&uniq, 5_000)));
        assert!(!old.clears(name(&uniq, 5_000).owner_key()));
        let ahead = epoch_ms() + 1_000_000;
        assert!(old.owns(&name(&uniq, ahead)), "the clock was set back");
    }

    // covers PA-41, PB-26, PB-33
    #[test]
    fn every_file_has_exactly_one_owner() {
        let incarnations: Vec<_> = (0..4).map(|_| Incarnation::random()).collect();
        let dead = Incarnation::random();
        let workers: Vec<_> = (0..4)
            .map(|slot| {
                let mut view = Ownership::new(4, slot, incarnations[slot as usize]);
                for i in &incarnations {
                    view.claim(*i, Claim::Live);
                }
                view.claim(dead, Claim::Dead { slot: 2 });
                view
            })
            .collect();
        let mut share = [0u32; 4];
        for n in 0..4000u64 {
            let uniq = match n % 10 {
                0 => dead.as_str().to_owned(),
                1 => incarnations[3].as_str().to_owned(),
                _ => Incarnation::random().as_str().to_owned(),
            };
            let name = name(&uniq, 1_700_000_000_000 + n);
            let owners: Vec<_> = (0..4).filter(|w| workers[*w].owns(&name)).collect();
            assert_eq!(owners.len(), 1, "{name}");
            match n % 10 {
                0 => assert_eq!(owners, [2]),
                1 => assert_eq!(owners, [3]),
                _ => share[owners[0]] += 1,
            }
        }
        assert!(share.iter().all(|s| (600..1000).contains(s)), "{share:?}");
    }

    // covers PB-25, H1
    #[test]
    fn only_debris_of_dead_workers_is_cleared() {
        let (own, other, dead) = (
            Incarnation::random(),
            Incarnation::random(),
            Incarnation::random(),
        );
        let mut view = Ownership::new(1, 0, own);
        view.claim(other, Claim::Live);
        view.claim(dead, Claim::Dead { slot: 0 });
        let key = |i: Incarnation| name(i.as_str(), 1).owner_key();
        assert!(view.owns_key(key(own)) && !view.clears(key(own)));
        assert!(!view.owns_key(key(other)) && !view.clears(key(other)));
        assert!(view.clears(key(dead)));
    }

    // covers PB-25
    #[test]
    fn what_was_recovered_before_is_owned_and_no_debris() {
        let own = Incarnation::random();
        let (first, second) = (Incarnation::random(), Incarnation::random());
        let mut before = Ownership::new(2, 0, own);
        before.claim(first, Claim::Dead { slot: 0 });
        before.claim(second, Claim::Dead { slot: 1 });
        let mut now = before.clone();
        now.claim(second, Claim::Dead { slot: 0 });
        let now = now.beyond(&before);
        let key = |i: Incarnation| name(i.as_str(), 1).owner_key();
        assert!(now.owns_key(key(first)) && !now.clears(key(first)));
        assert!(now.owns_key(key(second)) && now.clears(key(second)));
    }

    #[test]
    fn a_worker_beside_its_draining_predecessor_touches_nothing_of_it() {
        let (own, before) = (Incarnation::random(), Incarnation::random());
        let mut view = Ownership::new(1, 0, own).waiting();
        view.claim(before, Claim::Live);
        let stranger = name("zzzzzz", 5);
        assert!(!view.owns(&name(before.as_str(), 1)) && !view.owns(&stranger));
        assert!(view.owns(&name(own.as_str(), 1)));
        view.claim(before, Claim::Dead { slot: 0 });
        view.take_over();
        assert!(view.owns(&name(before.as_str(), 1)) && view.owns(&stranger));
    }
}
