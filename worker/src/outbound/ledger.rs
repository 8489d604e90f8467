//! This worker's page of the ledger: every change of what it owns is counted here (ADR 0027).
//!
//! A note in the page comes before the change on disk and is taken back when it is counted, both on the
//! loop's thread; commits are counted where they are made. Must never decide about an item.

mod check;
mod doubts;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use haraka_shared::ledger::{In, Item, Ledger, Out, Outcome, SeatPage};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::spool::{Committed, SpoolError};
use haraka_shared::spool::{Incarnation, NewMessage, QueueName, Spool};
use haraka_shared::traffic::{Counted, Seat};

pub(super) use self::check::start;
pub(super) use self::doubts::Estate;
use super::Outbound;
use crate::rt::sync::Notify;

/// Names of items that were not there when their turn came; for an alarm.
const MOST_VANISHED: usize = 20;

/// What this worker counts.
pub(super) struct Book {
    ledger: Arc<Ledger>,
    seat: Seat,
    notes: RefCell<Notes>,
    /// Items that are committed and not in the schedule yet.
    between: Arc<AtomicU64>,
    /// Jobs that were started and have not begun.
    starting: Cell<usize>,
    /// Items that went while somebody looks at the directory.
    went: RefCell<Option<HashSet<u64>>>,
    vanished: RefCell<VecDeque<QueueName>>,
    /// Something has changed since the last check.
    stirred: Notify,
}

#[derive(Default)]
struct Notes {
    places: HashMap<u64, usize>,
    free: Vec<usize>,
    used: usize,
}

impl Notes {
    fn place(&mut self, identity: u64) -> Option<usize> {
        if let Some(place) = self.places.get(&identity) {
            return Some(*place);
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.used < SeatPage::places() => {
                self.used += 1;
                self.used - 1
            }
            None => return None,
        };
        self.places.insert(identity, place);
        Some(place)
    }

    fn take(&mut self, identity: u64) -> Option<usize> {
        let place = self.places.remove(&identity)?;
        self.free.push(place);
        Some(place)
    }
}

impl Book {
    pub(super) fn new(counted: &Counted, incarnation: Incarnation) -> Book {
        let book = Book {
            ledger: Arc::clone(&counted.ledger),
            seat: counted.seat,
            notes: RefCell::default(),
            between: Arc::default(),
            starting: Cell::default(),
            went: RefCell::default(),
            vanished: RefCell::default(),
            stirred: Notify::new(),
        };
        book.page().open(incarnation);
        book
    }

    fn page(&self) -> SeatPage<'_> {
        self.ledger.page(self.seat)
    }

    /// The work of committing a batch, with its count.
    pub(super) fn commits(
        &self,
        spool: Arc<Spool>,
    ) -> impl Fn(Vec<NewMessage>) -> Vec<Result<Committed, SpoolError>> + Send + Sync + 'static
    {
        let (ledger, seat) = (Arc::clone(&self.ledger), self.seat);
        let between = Arc::clone(&self.between);
        move |batch| {
            let page = ledger.page(seat);
            page.begin_batch(spool.next_serial());
            let done = spool.commit(batch);
            let items = done.iter().flatten().map(|c| c.items.len() as u64).sum();
            between.fetch_add(items, Ordering::Relaxed);
            page.end_batch(items);
            done
        }
    }

    /// Committed items are in the schedule.
    pub(super) fn scheduled(&self, items: u64) {
        self.between.fetch_sub(items, Ordering::Relaxed);
        self.stirred.notify();
    }

    /// A job was started.
    pub(super) fn starts(&self) {
        self.stirred.notify();
        self.starting.set(self.starting.get() + 1);
    }

    /// It has begun: its item is among those under way, or in a book again.
    pub(super) fn has_begun(&self) {
        self.starting.set(self.starting.get().saturating_sub(1));
    }

    /// Something is going to become of an item: if this process dies meanwhile, that is in doubt.
    pub(super) fn note(&self, name: &QueueName, kind: Out) {
        let item = Item::from(name);
        if let Some(place) = self.notes.borrow_mut().place(item.identity) {
            self.page().note_leaving(place, &item, kind);
        }
    }

    /// As [`Book::note`] for one that comes back.
    pub(super) fn note_return(&self, name: &QueueName) {
        let item = Item::from(name);
        if let Some(place) = self.notes.borrow_mut().place(item.identity) {
            self.page().note_returning(place, &item);
        }
    }

    /// Nothing is going on with an item any more.
    pub(super) fn forget(&self, name: &QueueName) {
        self.stirred.notify();
        if let Some(place) = self.notes.borrow_mut().take(name.identity_hash()) {
            self.page().forget(place);
        }
    }

    fn went(&self, name: &QueueName, kind: Out) {
        self.stirred.notify();
        let item = Item::from(name);
        if let Some(went) = self.went.borrow_mut().as_mut() {
            went.insert(item.identity);
        }
        match self.notes.borrow_mut().take(item.identity) {
            Some(place) => {
                self.page().note_leaving(place, &item, kind);
                self.page().count_noted(place);
            }
            None => self.page().went(kind, 1),
        }
    }

    fn came(&self, name: &QueueName) {
        self.stirred.notify();
        let item = Item::from(name);
        if let Some(went) = self.went.borrow_mut().as_mut() {
            went.remove(&item.identity);
        }
        match self.notes.borrow_mut().take(item.identity) {
            Some(place) => {
                self.page().note_returning(place, &item);
                self.page().count_noted(place);
            }
            None => self.page().came(In::Returned, 1),
        }
    }

    /// An item was not there when its turn came: it was renamed since it was listed, or somebody took
    /// it away.
    pub(super) fn vanished(&self, name: &QueueName) {
        let mut vanished = self.vanished.borrow_mut();
        if vanished.len() >= MOST_VANISHED {
            vanished.pop_front();
        }
        vanished.push_back(name.clone());
    }

    /// Everything that is this worker's is going to be taken over, or was.
    pub(super) fn set_settled(&self, settled: bool) {
        self.stirred.notify();
        self.page().set_settled(settled);
    }
}

impl Outbound {
    /// An item is this worker's no more: its file is gone, or stands where nothing is delivered from.
    pub(super) fn leaves(&self, name: &QueueName, kind: Out) {
        self.book.went(name, kind);
        // Both books at once: nobody may find it in one of them only.
        self.in_flight.borrow_mut().remove(name);
    }

    /// An item is in the queue again.
    pub(super) fn returns(&self, name: &QueueName) {
        self.book.came(name);
    }

    /// The file of an item that is in hand is gone.
    pub(super) fn misses(&self, name: &QueueName) {
        log_server!(
            Level::Alert,
            "ledger: queue file {name} is gone, and nobody here has removed it"
        );
        self.book.page().drifted(1);
        self.leaves(name, Out::Missing);
    }

    /// Counts recipients by what became of them.
    pub(super) fn tally(&self, domain: &str, outcome: Outcome, recipients: usize) {
        if recipients == 0 {
            return;
        }
        let (domain, recipients) = (domain.to_ascii_lowercase(), recipients as u64);
        let ledger = &self.book.ledger;
        ledger.tally_domain(&domain, outcome, recipients);
        if outcome == Outcome::Accepted {
            // Nobody has asked yet who runs its hosts.
            return;
        }
        if let Some(provider) = self.shaper.provider(&domain) {
            ledger.tally_provider(&provider, outcome, recipients);
        }
    }
}

/// Set before message data is sent: from then on giving up could mean that the host has the message and
/// nobody here knows.
#[derive(Default)]
pub struct AtStake {
    set: Cell<bool>,
    noted: Option<(Rc<Book>, QueueName)>,
}

impl AtStake {
    /// Of an item, which is noted with it.
    pub(super) fn of(book: &Rc<Book>, name: &QueueName) -> AtStake {
        AtStake {
            set: Cell::new(false),
            noted: Some((Rc::clone(book), name.clone())),
        }
    }

    /// From now on.
    pub(super) fn set(&self) {
        self.set.set(true);
        if let Some((book, name)) = &self.noted {
            book.note(name, Out::Delivered);
        }
    }

    /// Whether it is.
    pub(super) fn get(&self) -> bool {
        self.set.get()
    }
}
