//! Limits per destination, as this worker keeps to them: an item gets a permit before it is delivered, or
//! waits by its name in a room of its destination (ADR 0026).
//!
//! Counting is the business of `haraka_shared::traffic`, rules are that of `haraka_shared::shaping`. This
//! is where they meet items, connections and replies. Must never count an attempt, or touch a file, for
//! an item that waits.

mod destination;
mod egress;
mod permit;
mod report;
mod rooms;
#[cfg(test)]
mod tests;
mod turn;
mod usage;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::shaping::{Action, Counter, Limits, ReplyRule, Shaping, Source};
use haraka_shared::spool::QueueName;
use haraka_shared::traffic::{Counted, Key, now};

use self::destination::{Destination, Known};
use self::egress::WarmUps;
pub(crate) use self::permit::{Held, Permit};
use self::rooms::{RoomId, Rooms};
pub(super) use self::turn::{routed, turn};
use super::pool::Pool;
use crate::rt::sync::Notify;

/// Between two looks at a destination all of whose connections are in use by others, in microseconds, with
/// up to as much again by chance: workers that ask in step would always find the same one first.
const POLL: u64 = 50_000;

/// A look at least this often, whatever a destination waits for: rules and suspensions change.
const LOOK: u64 = 1_000_000;

/// Why an item waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) why: Why,
    /// What is counted.
    pub(crate) what: Arc<str>,
    /// Not before this time (on the clock of [`now`]), if that is known.
    pub(crate) until: Option<u64>,
}

/// See [`Denied`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It asked to be left alone.
    Suspended,
    /// As many connections as it takes.
    Connections,
    /// As many messages as it takes.
    Rate,
    /// The source has sent what a new address may send in a day.
    WarmUp,
}

/// What an item is told that asks for its turn.
pub(super) enum Turn {
    /// It can be delivered; without a permit if nothing limits its destination.
    Now(Option<Permit>),
    /// It waits, or its turn would not be now.
    Wait,
}

/// The limits of one worker. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shaper(Rc<Inner>);

pub(super) struct Inner {
    counted: Counted,
    rules: RefCell<Arc<Shaping>>,
    known: RefCell<Known>,
    rooms: RefCell<Rooms>,
    /// How many wait, for those who drop something while the rooms are in use.
    waiting: Cell<usize>,
    /// Providers of which this worker has a connection to spare since the last look.
    spared: RefCell<Vec<Key>>,
    /// Rings when there may be something to start.
    wake: Notify,
    /// Idle connections, which count.
    idle: Pool,
    warm_ups: WarmUps,
}

impl Shaper {
    /// `warm_ups` is the directory of what new addresses have sent.
    pub(super) fn new(
        counted: Counted,
        rules: Arc<Shaping>,
        warm_ups: PathBuf,
        wake: Notify,
        idle: Pool,
    ) -> Shaper {
        Shaper(Rc::new(Inner {
            counted,
            rules: RefCell::new(rules),
            known: RefCell::default(),
            rooms: RefCell::default(),
            waiting: Cell::default(),
            spared: RefCell::default(),
            wake,
            idle,
            warm_ups: WarmUps::new(warm_ups),
        }))
    }

    /// Goes by these rules from now on. Gives the items that waited by others, to be looked at again.
    pub(super) fn configure(&self, rules: Arc<Shaping>) -> Vec<QueueName> {
        let before = self.0.rules.replace(Arc::clone(&rules));
        if Arc::ptr_eq(&before, &rules) {
            return Vec::new();
        }
        self.0.known.borrow_mut().clear();
        self.0.waiting.set(0);
        self.0.rooms.take().into_names()
    }

    /// Calls `each` with every item that waits.
    pub(super) fn for_each(&self, each: impl FnMut(&QueueName)) {
        self.0.rooms.borrow().for_each(each);
    }

    /// Who runs the mail hosts of a domain (in lower case), as far as that is known.
    pub(super) fn provider(&self, domain: &str) -> Option<Arc<str>> {
        let to = self.0.known.borrow().get(domain)?;
        let rules = self.0.rules.borrow();
        (!to.is_unlimited()).then(|| Arc::clone(&to.limits(&rules, None).provider))
    }

    /// How many items wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting.get()
    }

    /// A permit for one message to this destination, from one of the sources of a pool if there is one.
    /// Those who wait already come first.
    fn admit(&self, to: &Rc<Destination>, pool: Option<&str>) -> Result<Permit, Denied> {
        let Some(pool) = pool else {
            return self.admit_from(to, None);
        };
        let rules = Arc::clone(&self.0.rules.borrow());
        let Some(pool) = rules.pools.iter().find(|p| p.name == pool) else {
            // The pool is gone with the rules of before.
            return self.admit_from(to, None);
        };
        let mut soonest: Option<Denied> = None;
        for source in pool.order(|most| fastrand::u32(..most.max(1))) {
            match self.admit_from(to, Some(&source)) {
                Ok(permit) => return Ok(permit),
                Err(denied) => {
                    let at = |d: &Denied| d.until.unwrap_or(0);
                    if soonest.as_ref().is_none_or(|s| at(&denied) < at(s)) {
                        soonest = Some(denied);
                    }
                }
            }
        }
        match soonest {
            Some(denied) => Err(denied),
            None => self.admit_from(to, None),
        }
    }

    fn admit_from(
        &self,
        to: &Rc<Destination>,
        source: Option<&Arc<Source>>,
    ) -> Result<Permit, Denied> {
        let Inner { counted, .. } = &*self.0;
        let limits = to.limits(&self.0.rules.borrow(), source);
        let slowing = Some(limits.slowing);
        let now = now();
        let denied = |why, counter: &Counter, until| Denied {
            why,
            what: Arc::clone(&counter.name),
            until,
        };
        for counter in &limits.counters {
            if let Some(until) = counted.traffic.suspended(counter.key, now) {
                return Err(denied(Why::Suspended, counter, Some(until)));
            }
            // Looked at before anything is taken: what is taken of a rate is not given back.
            if let Some(rate) = counter.rate
                && let Err(at) = counted.traffic.may_pace(counter.key, rate, slowing, now)
            {
                return Err(denied(Why::Rate, counter, Some(at)));
            }
        }
        if let Some(source) = source
            && let Err(until) = self.0.warm_ups.allows(counted, source, now)
        {
            return Err(Denied {
                why: Why::WarmUp,
                what: Arc::clone(&source.name),
                until: Some(until),
            });
        }
        let permit = match self.connection(&limits, now) {
            Ok(held) => Permit::new(self.clone(), limits, source.cloned(), held, None),
            Err((counter, until)) => {
                let idle = self.idle_connection(&limits).ok_or_else(|| {
                    let counter = limits.counters.get(counter);
                    Denied {
                        why: Why::Connections,
                        what: counter.map_or_else(|| "".into(), |c| Arc::clone(&c.name)),
                        until,
                    }
                })?;
                let (held, client) = idle;
                Permit::new(self.clone(), limits, source.cloned(), held, Some(client))
            }
        };
        permit.take_rate(now)?;
        if let Some(source) = source {
            permit.take_of_day(source, now)?;
        }
        Ok(permit)
    }

    /// Counts a new connection; else which counter has no room.
    fn connection(&self, limits: &Limits, now: u64) -> Result<Rc<Held>, (usize, Option<u64>)> {
        let Counted { traffic, seat, .. } = &self.0.counted;
        let mut leases = Vec::with_capacity(limits.counters.len());
        for (at, counter) in limits.counters.iter().enumerate() {
            if let Some(most) = counter.connections {
                let slowing = Some(limits.slowing);
                let lease = traffic.connect(*seat, counter.key, most, slowing, now);
                leases.push(lease.map_err(|_| (at, None))?);
            }
        }
        Ok(Held::new(&self.0, limits, leases))
    }

    /// An idle connection of ours that counts for the same; one that counts for less is closed, to make
    /// room in a moment.
    fn idle_connection(&self, limits: &Limits) -> Option<(Rc<Held>, super::client::Client)> {
        let keys = permit::keys(limits);
        let client = self.0.idle.take_counted(&keys);
        let found = client.and_then(|client| Some((Rc::clone(client.held()?), client)));
        if found.is_none()
            && let Some(provider) = keys.first()
        {
            self.0.idle.spare(*provider);
        }
        found
    }

    /// Puts an item by until its destination has room; not if too many wait already.
    fn park(
        &self,
        id: RoomId,
        to: &Rc<Destination>,
        who: (QueueName, Rc<str>),
        denied: Denied,
    ) -> bool {
        let now = now();
        let mut rooms = self.0.rooms.borrow_mut();
        let parked = rooms.park(id, to, who, look_at(&denied, now), denied);
        self.0.waiting.set(rooms.len());
        drop(rooms);
        if parked {
            // The wait of those who start items may have to be a shorter one now.
            self.0.wake.notify();
        }
        parked
    }

    /// The next item that waited and has its turn. `is_open` tells for a domain whether one more can be
    /// started.
    pub(super) fn next(&self, is_open: impl Fn(&str) -> bool) -> Option<(QueueName, Permit)> {
        if self.0.waiting.get() == 0 {
            return None;
        }
        let now = now();
        for provider in self.0.spared.take() {
            self.0.rooms.borrow_mut().ring(provider, now);
        }
        loop {
            let due = self.0.rooms.borrow().due(now)?;
            let again = if is_open(&due.domain) {
                match self.admit(&due.to, due.pool.as_deref()) {
                    Ok(permit) => {
                        let mut rooms = self.0.rooms.borrow_mut();
                        let name = rooms.leave(due.room, now);
                        self.0.waiting.set(rooms.len());
                        drop(rooms);
                        match name {
                            Some(name) => return Some((name, permit)),
                            None => continue,
                        }
                    }
                    Err(denied) => (look_at(&denied, now), Some(denied)),
                }
            } else {
                (now.saturating_add(POLL), None)
            };
            self.0.rooms.borrow_mut().again(due.room, again.0, again.1);
        }
    }

    /// When there is something to look at, in microseconds from now.
    pub(super) fn next_look(&self) -> Option<u64> {
        if self.0.waiting.get() == 0 {
            return None;
        }
        let at = self.0.rooms.borrow().next_look()?;
        Some(at.saturating_sub(now()))
    }

    /// A host answered this; acts if it is a complaint.
    fn heard(&self, limits: &Limits, has_source: bool, reply: &str) {
        let Some(rule) = limits.complaint(reply) else {
            return;
        };
        let counters = &limits.counters;
        let counter = if has_source {
            counters.last()
        } else {
            counters.first()
        };
        if let Some(counter) = counter {
            self.answer(limits, counter, rule, reply);
        }
    }

    fn answer(&self, limits: &Limits, counter: &Counter, rule: &ReplyRule, reply: &str) {
        let Counted { traffic, seat, .. } = &self.0.counted;
        let now = now();
        let reply: String = reply.chars().take(200).collect();
        match rule.action {
            Action::SlowDown => {
                let most = counter.connections.unwrap_or(1);
                let left = traffic.slow_down(*seat, counter.key, most, limits.slowing, now);
                if let Some(left) = left {
                    let whole = u64::from(most) * u64::from(left) / 1000;
                    log_server!(
                        Level::Notice,
                        "{} complains and is sent less: {} of {most} connections, {}% of its rate (rule {:?}): {reply}",
                        counter.name,
                        whole.max(1),
                        left.div_ceil(10),
                        rule.pattern.as_str()
                    );
                }
            }
            Action::Suspend(seconds) => {
                let until = now.saturating_add(seconds.saturating_mul(1_000_000));
                let before = traffic.suspended(counter.key, now);
                traffic.suspend(*seat, counter.key, until, now);
                if before.is_none() {
                    log_server!(
                        Level::Notice,
                        "{} complains and is left alone for {seconds} s (rule {:?}): {reply}",
                        counter.name,
                        rule.pattern.as_str()
                    );
                }
            }
        }
    }
}

impl Inner {
    /// This worker has a connection to spare, or one less.
    fn spare(&self, provider: Key) {
        if self.waiting.get() > 0 {
            self.spared.borrow_mut().push(provider);
            self.wake.notify();
        }
    }

    /// Another worker waits for a connection to this provider.
    fn is_wanted_elsewhere(&self, provider: Key) -> bool {
        let Counted { traffic, seat, .. } = &self.counted;
        traffic.is_wanted(*seat, provider, now())
    }
}

/// When to ask again.
fn look_at(denied: &Denied, now: u64) -> u64 {
    let by_chance = POLL + fastrand::u64(..POLL);
    match denied.until {
        Some(until) => until.min(now.saturating_add(LOOK)),
        None => now.saturating_add(by_chance),
    }
}
