//! The sessions of a worker: how many there are, of whom, and how to end them.
//!
//! Haraka's core has no limit here (PB-13); ours refuse with 421 before a plugin is asked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use haraka_shared::reply::Reply;
use slab::Slab;

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It takes no new sessions; those between two messages end.
    Draining,
    /// Every session ends at its next wait for the client.
    Stopping,
}

/// Which limit a new client ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The worker has all the sessions that it may have.
    Worker,
    /// This address has all the sessions that it may have.
    Address,
}

impl Full {
    /// For the client and the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Full::Worker => "too many connections",
            Full::Address => "too many connections from your address",
        }
    }
}

/// What a client over a limit is told.
pub(crate) fn full_reply(me: &str, full: Full) -> Reply {
    Reply::new(421, format!("{me} {}, try again later", full.reason()))
}

/// So many sessions at once are a rush; fewer leave too little behind to look at.
const RUSH: usize = 500;

/// The book of sessions.
#[derive(Clone)]
pub(crate) struct Sessions(Rc<Book>);

struct Book {
    phase: Cell<Phase>,
    open: RefCell<Slab<Entry>>,
    by_ip: RefCell<HashMap<IpAddr, u32>>,
    most: Cell<Option<u32>>,
    most_per_ip: Cell<Option<u32>>,
    emptied: RefCell<Option<Waker>>,
    /// The most sessions at once since the last rush was over.
    peak: Cell<usize>,
    calmed: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Entry {
    waker: Option<Waker>,
    busy: bool,
}

/// A session's place in the book; dropping it frees the place.
pub(crate) struct Ticket {
    book: Rc<Book>,
    key: usize,
    /// Whom it counts for; none is a proxy.
    ip: Option<IpAddr>,
}

impl Book {
    /// One more for this address, unless it has all that it may have.
    fn count(&self, ip: IpAddr) -> Result<(), Full> {
        let mut by_ip = self.by_ip.borrow_mut();
        let count = by_ip.entry(ip).or_insert(0);
        // Content filters on this machine speak for many clients.
        if self.most_per_ip.get().is_some_and(|most| *count >= most) && !ip.is_loopback() {
            return Err(Full::Address);
        }
        *count += 1;
        Ok(())
    }

    /// Whether there were many sessions and at most a quarter of them is left.
    fn is_rush_over(&self) -> bool {
        let peak = self.peak.get();
        peak >= RUSH && self.open.borrow().len() <= peak / 4
    }

    fn discount(&self, ip: IpAddr) {
        let mut by_ip = self.by_ip.borrow_mut();
        if let Some(count) = by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&ip);
            }
        }
    }
}

impl Sessions {
    /// An empty book.
    pub(crate) fn new(most: Option<u32>, most_per_ip: Option<u32>) -> Sessions {
        Sessions(Rc::new(Book {
            phase: Cell::new(Phase::Serving),
            open: RefCell::default(),
            by_ip: RefCell::default(),
            most: Cell::new(most),
            most_per_ip: Cell::new(most_per_ip),
            emptied: RefCell::default(),
            peak: Cell::default(),
            calmed: RefCell::default(),
        }))
    }

    /// Other limits, for those who come from now on.
    pub(crate) fn limit(&self, most: Option<u32>, most_per_ip: Option<u32>) {
        self.0.most.set(most);
        self.0.most_per_ip.set(most_per_ip);
    }

    /// A place for a client of this address, or which limit is reached.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<Ticket, Full> {
        self.place(Some(ip))
    }

    /// A place for a proxy, which speaks for many; [`Ticket::belongs_to`] names its client.
    pub(crate) fn admit_proxy(&self) -> Result<Ticket, Full> {
        self.place(None)
    }

    fn place(&self, ip: Option<IpAddr>) -> Result<Ticket, Full> {
        let book = &self.0;
        let mut open = book.open.borrow_mut();
        if book
            .most
            .get()
            .is_some_and(|most| open.len() >= most as usize)
        {
            return Err(Full::Worker);
        }
        if let Some(ip) = ip {
            book.count(ip)?;
        }
        let key = open.insert(Entry::default());
        book.peak.set(book.peak.get().max(open.len()));
        Ok(Ticket {
            book: Rc::clone(book),
            key,
            ip,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.open.borrow().len()
    }

    /// Goes on to a later phase and tells every session.
    pub(crate) fn enter(&self, phase: Phase) {
        if phase <= self.0.phase.get() {
            return;
        }
        self.0.phase.set(phase);
        for (_, entry) in self.0.open.borrow().iter() {
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Resolves when, after a rush, at most a quarter of its sessions is left. For one to wait.
    pub(crate) async fn rush_over(&self) {
        let book = &self.0;
        std::future::poll_fn(|cx| {
            if book.is_rush_over() {
                book.peak.set(book.open.borrow().len());
                return std::task::Poll::Ready(());
            }
            *book.calmed.borrow_mut() = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }

    /// Resolves when no session is left.
    pub(crate) async fn empty(&self) {
        std::future::poll_fn(|cx| {
            if self.0.open.borrow().is_empty() {
                return std::task::Poll::Ready(());
            }
            *self.0.emptied.borrow_mut() = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}

impl Ticket {
    /// From now on the session counts for this client.
    pub(crate) fn belongs_to(&mut self, ip: IpAddr) -> Result<(), Full> {
        self.book.count(ip)?;
        if let Some(before) = self.ip.replace(ip) {
            self.book.discount(before);
        }
        Ok(())
    }

    /// Whether this session must end now; remembers whom to wake when that changes.
    pub(crate) fn told_to_leave(&self, cx: &Context<'_>) -> bool {
        let mut open = self.book.open.borrow_mut();
        let Some(entry) = open.get_mut(self.key) else {
            return true;
        };
        match self.book.phase.get() {
            Phase::Stopping => true,
            Phase::Draining if !entry.busy => true,
            _ => {
                if !entry
                    .waker
                    .as_ref()
                    .is_some_and(|w| w.will_wake(cx.waker()))
                {
                    entry.waker = Some(cx.waker().clone());
                }
                false
            }
        }
    }

    /// Marks that a transaction is under way, which a drain lets finish.
    pub(crate) fn busy(&self, busy: bool) {
        if let Some(entry) = self.book.open.borrow_mut().get_mut(self.key) {
            entry.busy = busy;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let entry = self.book.open.borrow_mut().try_remove(self.key);
        // Dropping the last waker of a task runs foreign code; nothing is borrowed here.
        drop(entry);
        if let Some(ip) = self.ip {
            self.book.discount(ip);
        }
        if self.book.open.borrow().is_empty()
            && let Some(waker) = self.book.emptied.borrow_mut().take()
        {
            waker.wake();
        }
        if self.book.is_rush_over()
            && let Some(waker) = self.book.calmed.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PB-13
    #[test]
    fn limits_hold_per_worker_and_address_and_places_come_back() {
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let b: IpAddr = "192.0.2.2".parse().unwrap();
        let sessions = Sessions::new(Some(3), Some(2));
        let first = sessions.admit(a).unwrap();
        let _second = sessions.admit(a).unwrap();
        assert_eq!(sessions.admit(a).err(), Some(Full::Address));
        let _third = sessions.admit(b).unwrap();
        assert_eq!(sessions.admit(b).err(), Some(Full::Worker));
        drop(first);
        assert!(sessions.admit(a).is_ok());
    }

    #[test]
    fn rush_is_over_when_a_quarter_is_left_and_once_only() {
        let sessions = Sessions::new(None, None);
        let over = || {
            let mut waiting = std::pin::pin!(sessions.rush_over());
            let mut cx = Context::from_waker(Waker::noop());
            waiting.as_mut().poll(&mut cx).is_ready()
        };
        let some = |n: usize| -> Vec<Ticket> {
            let admit = |_| sessions.admit_proxy().ok();
            (0..n).filter_map(admit).collect()
        };
        drop(some(RUSH - 1));
        assert!(!over(), "these were few");
        let mut rush = some(RUSH);
        assert!(!over());
        rush.truncate(RUSH / 4 + 1);
        assert!(!over());
        rush.pop();
        assert!(over());
        assert!(!over(), "it was told");
        rush.clear();
        assert!(!over(), "what is left was no rush");
    }

    // covers HAP-06, PB-13
    #[test]
    fn proxy_counts_for_the_worker_only_until_it_names_its_client() {
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let sessions = Sessions::new(Some(3), Some(1));
        let mut first = sessions.admit_proxy().unwrap();
        let mut second = sessions.admit_proxy().unwrap();
        let third = sessions.admit_proxy().unwrap();
        assert_eq!(sessions.admit_proxy().err(), Some(Full::Worker));
        drop(third);
        assert_eq!(first.belongs_to(a), Ok(()));
        assert_eq!(second.belongs_to(a), Err(Full::Address));
        assert_eq!(sessions.admit(a).err(), Some(Full::Address));
        drop(first);
        assert_eq!(second.belongs_to(a), Ok(()));
        assert_eq!(sessions.admit(a).err(), Some(Full::Address));
    }
}
