//! Taking over from the dead: what they had is counted, and what they were in the middle of is cleared up
//! by looking at what is there.

use std::collections::{HashMap, HashSet};

use haraka_shared::ledger::{About, Doubt, In, Item, Ledger, Out};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::spool::{Incarnation, NameRef, OwnerKey, Ownership, QueueName};

use super::Book;

/// What a look at the directory finds of the items of others.
pub(in crate::outbound) struct Estate {
    /// Items that this worker has already.
    known: HashSet<u64>,
    leaving: HashMap<u64, (Doubt, Out)>,
    returning: HashMap<u64, Doubt>,
    /// Batches; those that others look at as well are settled when all have.
    accepting: HashMap<Incarnation, (Doubt, u32)>,
    shared: HashSet<Incarnation>,
    own: Incarnation,
    inherited: u64,
    accepted: u64,
    returned: Vec<Doubt>,
    /// Items that may be delivered once more.
    again: Vec<(Doubt, QueueName)>,
    /// By number, what those had that are dead, and was not seen.
    unseen: HashMap<Incarnation, HashSet<u32>>,
}

impl Estate {
    /// `known`: what this worker has; nothing of it is counted again.
    pub(in crate::outbound) fn new(
        book: &Book,
        ownership: &Ownership,
        known: HashSet<u64>,
    ) -> Estate {
        let mut estate = Estate {
            known,
            leaving: HashMap::new(),
            returning: HashMap::new(),
            accepting: HashMap::new(),
            shared: HashSet::new(),
            own: ownership.own(),
            inherited: 0,
            accepted: 0,
            returned: Vec::new(),
            again: Vec::new(),
            unseen: HashMap::new(),
        };
        for whose in book.ledger.rolls() {
            let key = OwnerKey {
                incarnation: Some(whose),
                hash: 0,
                arrival: None,
            };
            if ownership.clears(key) {
                let left = book.ledger.enrolled(whose).into_iter();
                estate.unseen.insert(whose, left.collect());
            }
        }
        for doubt in book.ledger.doubts() {
            let mine = |item: &Item| ownership.clears(item.owner);
            match doubt.about {
                About::Leaving(item, kind) if mine(&item) => {
                    estate.leaving.insert(item.identity, (doubt, kind));
                }
                About::Returning(item) if mine(&item) => {
                    estate.returning.insert(item.identity, doubt);
                }
                About::Accepting(whose, from) if !ownership.is_claimed(whose) => {
                    estate.accepting.insert(whose, (doubt, from));
                    estate.shared.insert(whose);
                }
                About::Accepting(whose, from)
                    if ownership.clears(OwnerKey {
                        incarnation: Some(whose),
                        hash: 0,
                        arrival: None,
                    }) =>
                {
                    estate.accepting.insert(whose, (doubt, from));
                }
                _ => {}
            }
        }
        estate
    }

    /// An item is there; true if this worker did not have it.
    pub(in crate::outbound) fn sees(&mut self, name: &NameRef<'_>) -> bool {
        let identity = name.identity_hash();
        if let Some(unseen) = name.incarnation.and_then(|i| self.unseen.get_mut(&i)) {
            unseen.remove(&name.counter);
        }
        if name.incarnation == Some(self.own) || self.known.contains(&identity) {
            return false;
        }
        let batch = name.incarnation.and_then(|i| self.accepting.get(&i));
        if batch.is_some_and(|(_, from)| name.counter >= *from) {
            self.accepted += 1;
        } else if let Some(doubt) = self.returning.remove(&identity) {
            self.returned.push(doubt);
        } else {
            self.inherited += 1;
        }
        if let Some((doubt, _)) = self.leaving.remove(&identity) {
            self.again.push((doubt, name.to_owned()));
        }
        true
    }

    /// Counts it all, at the moment when it becomes this worker's.
    ///
    /// `broken`: items that were set aside on the way.
    pub(in crate::outbound) fn settle(mut self, book: &Book, broken: u64) {
        let (ledger, page): (&Ledger, _) = (&book.ledger, book.page());
        page.took_over(self.inherited + broken);
        page.went(Out::Aside, broken);
        page.came(In::Accepted, self.accepted);
        for doubt in self.returned {
            if ledger.settle_doubt(&doubt) {
                page.came(In::Returned, 1);
            }
        }
        for (doubt, kind) in self.leaving.into_values() {
            // It had gone, whoever counts that.
            if let About::Leaving(item, _) = doubt.about
                && let Some(whose) = item.owner.incarnation
            {
                ledger.strike(whose, item.serial);
                if let Some(unseen) = self.unseen.get_mut(&whose) {
                    unseen.remove(&item.serial);
                }
            }
            if ledger.settle_doubt(&doubt) {
                page.took_over(1);
                page.went(kind, 1);
            }
        }
        for (doubt, name) in self.again {
            if ledger.settle_doubt(&doubt) {
                log_server!(
                    Level::Warn,
                    "in doubt file={name}: its worker died while it was being delivered; what that \
                     had done by then may be done again"
                );
            }
        }
        let rest = self.returning.into_values();
        let batches = self.accepting.into_iter();
        let batches = batches.filter(|(whose, _)| !self.shared.contains(whose));
        let batches = batches.map(|(_, (doubt, _))| doubt);
        for doubt in rest.chain(batches) {
            // Nothing had happened yet, or it is counted above.
            let _cleared = ledger.settle_doubt(&doubt);
        }
        // Whether anything is missing is what the sums say; the master, who adds them up, names these.
        for (whose, serials) in self.unseen {
            serials
                .into_iter()
                .for_each(|serial| ledger.lose(whose, serial));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use haraka_shared::traffic::{Counted, Seat, Traffic};

    use super::*;

    // After a graceful restart the files of the old workers are shared out by their names.
    #[test]
    fn batch_of_a_dead_worker_whose_files_go_to_many_is_counted_as_accepted_by_each() {
        let ledger = Arc::new(Ledger::new(3).unwrap());
        ledger.found();
        let dead = Incarnation::parse("AbCdE0").unwrap();
        let page = ledger.page(Seat(0));
        page.open(dead);
        page.came(In::Accepted, 4);
        page.begin_batch(4);
        ledger.vacate(Seat(0));
        assert_eq!(ledger.estate(), 4);
        let file = |n: u64| format!("17000000000{n:02}_17000000000{n:02}_0_7_AbCdE0_{n}_mx.test");
        let mut seen = [0, 0];
        for (slot, seen) in seen.iter_mut().enumerate() {
            let own = Incarnation::random();
            let counted = Counted {
                traffic: Arc::new(Traffic::new(3).unwrap()),
                ledger: Arc::clone(&ledger),
                seat: Seat(slot + 1),
            };
            let book = Book::new(&counted, own);
            let ownership = Ownership::new(2, u32::try_from(slot).unwrap(), own);
            let mut estate = Estate::new(&book, &ownership, HashSet::new());
            for n in 0..20 {
                let name = file(n);
                let name = NameRef::parse(&name).unwrap();
                if ownership.owns(&name) {
                    assert!(estate.sees(&name));
                    *seen += 1;
                }
            }
            estate.settle(&book, 0);
        }
        assert!(seen[0] > 4 && seen[1] > 4, "{seen:?}");
        assert_eq!(ledger.estate(), 0);
        assert_eq!(ledger.totals().ins[In::Accepted as usize], 20);
        ledger.settle_batches();
        assert_eq!(ledger.doubts(), []);
    }
}
