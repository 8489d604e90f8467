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
    accepting: HashMap<Incarnation, (Doubt, u32)>,
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
        let batches = self.accepting.into_values().map(|(doubt, _)| doubt);
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
