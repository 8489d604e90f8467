//! Host names of clients, remembered (CON-07).
//!
//! Many sessions come from few addresses: a name is asked for once, sessions that want it at the
//! same time share the question, and a remembered one costs no allocation. Bounded; which entry
//! makes room is decided by a clock hand that spares those used since it last came by.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haraka_shared::limits::PTR_CACHE;
use haraka_shared::services::{Dns, DnsError};

use super::Resolver;
use crate::rt;
use crate::rt::sync::Event;

/// The names that one worker knows.
#[derive(Clone)]
pub struct Names(Rc<Inner>);

struct Inner {
    dns: Rc<dyn Dns>,
    known: RefCell<Known>,
    asked: RefCell<HashMap<IpAddr, Rc<Question>>>,
}

impl Names {
    /// No names yet.
    pub fn new(resolver: &Resolver) -> Names {
        Names::over(Rc::new(resolver.clone()), PTR_CACHE)
    }

    pub(super) fn over(dns: Rc<dyn Dns>, capacity: usize) -> Names {
        let known = RefCell::new(Known::new(capacity));
        Names(Rc::new(Inner {
            dns,
            known,
            asked: RefCell::default(),
        }))
    }

    /// The first name of an address, or Haraka's words for why there is none: `Unknown`,
    /// `NXDOMAIN`, `DNSERROR`. Takes as long as the DNS may take.
    pub async fn of(&self, ip: IpAddr) -> Rc<str> {
        let ip = ip.to_canonical();
        if let Some(name) = self.remembered(ip) {
            return name;
        }
        let question = self.question(ip);
        question.answered.wait().await;
        let answer = question.answer.borrow().clone();
        answer.unwrap_or_else(|| ERROR.into())
    }

    /// The name, if it is known without asking.
    pub fn remembered(&self, ip: IpAddr) -> Option<Rc<str>> {
        self.0.known.borrow_mut().get(ip.to_canonical(), rt::now())
    }

    /// The question about this address that is under way, begun if there was none. It has a task
    /// of its own, since the session that began it may end first.
    fn question(&self, ip: IpAddr) -> Rc<Question> {
        if let Some(question) = self.0.asked.borrow().get(&ip) {
            return question.clone();
        }
        let question = Rc::new(Question::default());
        self.0.asked.borrow_mut().insert(ip, question.clone());
        let asking = Asking {
            names: self.clone(),
            ip,
            question: question.clone(),
        };
        rt::spawn(async move { asking.ask().await }).detach();
        question
    }
}

#[derive(Default)]
struct Question {
    answer: RefCell<Option<Rc<str>>>,
    answered: Event,
}

/// Ends the question however its task ends, so that nobody waits for ever.
struct Asking {
    names: Names,
    ip: IpAddr,
    question: Rc<Question>,
}

impl Asking {
    async fn ask(self) {
        let answer = self.names.0.dns.ptr(self.ip).await;
        let (name, lasting) = match answer {
            Ok(names) => (
                names
                    .into_iter()
                    .next()
                    .map_or_else(|| "Unknown".into(), Rc::from),
                LASTING,
            ),
            Err(DnsError::NoSuchName) => ("NXDOMAIN".into(), LASTING),
            // Node's resolver, and so Haraka, has this as an error too.
            Err(DnsError::NoData) => (ERROR.into(), LASTING),
            Err(DnsError::Temporary(_)) => (Rc::<str>::from(ERROR), PASSING),
        };
        let until = rt::now() + lasting;
        self.names
            .0
            .known
            .borrow_mut()
            .put(self.ip, name.clone(), until);
        *self.question.answer.borrow_mut() = Some(name);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.names.0.asked.borrow_mut().remove(&self.ip);
        self.question.answered.set();
    }
}

/// A bounded map with a clock hand.
struct Known {
    capacity: usize,
    places: HashMap<IpAddr, usize>,
    entries: Vec<Entry>,
    hand: usize,
}

struct Entry {
    ip: IpAddr,
    name: Rc<str>,
    until: Instant,
    used: bool,
}

impl Known {
    fn new(capacity: usize) -> Known {
        Known {
            capacity: capacity.max(1),
            places: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
        }
    }

    fn get(&mut self, ip: IpAddr, now: Instant) -> Option<Rc<str>> {
        let entry = self.entries.get_mut(*self.places.get(&ip)?)?;
        if entry.until <= now {
            return None;
        }
        entry.used = true;
        Some(entry.name.clone())
    }

    fn put(&mut self, ip: IpAddr, name: Rc<str>, until: Instant) {
        let entry = Entry {
            ip,
            name,
            until,
            used: false,
        };
        let place = match self.places.get(&ip) {
            Some(&place) => place,
            None if self.entries.len() < self.capacity => self.entries.len(),
            None => self.make_room(),
        };
        self.places.insert(ip, place);
        match self.entries.get_mut(place) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// The place of an entry that was not used since the hand passed it. Ends after two rounds at
    /// the latest.
    fn make_room(&mut self) -> usize {
        loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.len().max(1);
            match self.entries.get_mut(place) {
                Some(entry) if entry.used => entry.used = false,
                Some(entry) => {
                    self.places.remove(&entry.ip);
                    return place;
                }
                None => return place,
            }
        }
    }
}

const ERROR: &str = "DNSERROR";
/// Names of mail servers change rarely; a wrong one is only shown.
const LASTING: Duration = Duration::from_secs(300);
/// Long enough to spare servers in trouble the questions of a busy client.
const PASSING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_where_nobody_looked_since() {
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut known = Known::new(3);
        for n in 0..3 {
            known.put(ip(n), n.to_string().into(), until);
        }
        assert_eq!(known.get(ip(0), now).as_deref(), Some("0"));
        known.put(ip(3), "3".into(), until);
        assert_eq!(known.get(ip(1), now), None, "was not used");
        for n in [0, 2, 3] {
            assert_eq!(known.get(ip(n), now).as_deref(), Some(&*n.to_string()));
        }
        assert_eq!(known.get(ip(2), until), None, "is over");
        known.put(ip(2), "new".into(), until + Duration::from_secs(1));
        assert_eq!(known.get(ip(2), until).as_deref(), Some("new"));
        for n in 10..100 {
            known.put(ip(n), "x".into(), until);
            assert!(known.places.len() == 3 && known.entries.len() == 3);
        }
    }
}
