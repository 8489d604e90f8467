//! The right to deliver one message: a connection that counts, and a message of the rate.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::shaping::{Limits, Source};
use haraka_shared::traffic::{Counted, Key, Lease, now};

use super::{Denied, Inner, Shaper, Why};
use crate::outbound::attempt::{Attempt, RcptResult};
use crate::outbound::client::Client;
use crate::rt;

/// A connection as it is counted. Held by the connection itself for as long as it is open, and by the
/// permit that it was made for.
pub(crate) struct Held {
    /// Given up before others are told that there is room.
    leases: Vec<Lease>,
    keys: Rc<[Key]>,
    messages: u32,
    inner: Rc<Inner>,
}

impl Held {
    pub(super) fn new(inner: &Rc<Inner>, limits: &Limits, leases: Vec<Lease>) -> Rc<Held> {
        Rc::new(Held {
            leases,
            keys: keys(limits),
            messages: limits.messages_per_connection,
            inner: Rc::clone(inner),
        })
    }

    /// What it counts for, the provider as a whole in front.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Messages that may go over the connection.
    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// The connection is idle: who waits in this worker may use it.
    pub(crate) fn idles(&self) {
        if let Some(provider) = self.keys.first() {
            self.inner.spare(*provider);
        }
    }

    /// Other workers wait for one of its kind, and nothing in this one does.
    pub(crate) fn is_wanted_elsewhere(&self) -> bool {
        let waits_here = |key: &Key| match self.inner.rooms.try_borrow() {
            Ok(rooms) => rooms.of_provider(*key).0 > 0,
            Err(_) => true,
        };
        self.is_wanted() && !self.keys.first().is_some_and(waits_here)
    }

    fn is_wanted(&self) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| self.inner.is_wanted_elsewhere(*key))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.clear();
        // Where others wait too, they have as good a chance as we at the next look.
        if !self.is_wanted() {
            self.idles();
        }
    }
}

impl PartialEq for Held {
    /// Whether they count for the same.
    fn eq(&self, other: &Held) -> bool {
        self.keys == other.keys
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("keys", &self.keys).finish()
    }
}

/// What connections count for: those that count for the same can stand for each other.
pub(super) fn keys(limits: &Limits) -> Rc<[Key]> {
    limits.counters.iter().map(|c| c.key).collect()
}

/// Longest wait, with a connection in hand, for the next message of the rate.
const MOST_WAIT: u64 = 10_000_000;

/// The right to deliver one message.
pub(crate) struct Permit {
    shaper: Shaper,
    limits: Rc<Limits>,
    source: Option<Arc<Source>>,
    held: RefCell<Rc<Held>>,
    /// The connection that it stands for, if that was an idle one.
    idle: Cell<Option<Box<Client>>>,
    /// When the message of the rate was taken; none if it is used up.
    taken: Cell<Option<u64>>,
    /// Its warm-up counts it, and that is not written down yet.
    unwritten: Cell<bool>,
}

impl Permit {
    pub(super) fn new(
        shaper: Shaper,
        limits: Rc<Limits>,
        source: Option<Arc<Source>>,
        held: Rc<Held>,
        idle: Option<Client>,
    ) -> Permit {
        Permit {
            shaper,
            limits,
            source,
            held: RefCell::new(held),
            idle: Cell::new(idle.map(Box::new)),
            taken: Cell::new(None),
            unwritten: Cell::new(false),
        }
    }

    /// The address to send from, if one was chosen.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.as_deref()
    }

    /// What a connection that is made with it counts as.
    pub(crate) fn held(&self) -> Rc<Held> {
        Rc::clone(&self.held.borrow())
    }

    /// The idle connection that it stands for; has to be used, or closed before another is made.
    pub(crate) fn take_idle(&self) -> Option<Client> {
        self.idle.take().map(|client| *client)
    }

    /// A connection that counts already is used: there is no need for one of its own.
    pub(crate) fn stand_for(&self, held: &Rc<Held>) {
        let before = self.held.replace(Rc::clone(held));
        drop(before);
    }

    /// Whether it is for what has these limits.
    pub(super) fn is_for(&self, provider: Option<Key>) -> bool {
        self.limits.counters.first().map(|c| c.key) == provider
    }

    pub(super) fn take_rate(&self, now: u64) -> Result<(), Denied> {
        let Counted { traffic, seat, .. } = &self.shaper.0.counted;
        for counter in &self.limits.counters {
            let Some(rate) = counter.rate else { continue };
            let slowing = Some(self.limits.slowing);
            let taken = traffic.pace(*seat, counter.key, rate, slowing, now);
            taken.map_err(|until| Denied {
                why: Why::Rate,
                what: Arc::clone(&counter.name),
                until: Some(until),
            })?;
        }
        self.taken.set(Some(now));
        Ok(())
    }

    pub(super) fn take_of_day(&self, source: &Source, now: u64) -> Result<(), Denied> {
        let inner = &self.shaper.0;
        let counts = inner.warm_ups.take(&inner.counted, source, now);
        self.unwritten.set(counts.map_err(|until| Denied {
            why: Why::WarmUp,
            what: Arc::clone(&source.name),
            until: Some(until),
        })?);
        Ok(())
    }

    /// The message is about to be sent. Its turn has passed if that took long, or if another host was
    /// offered it before: then it takes another, and waits for that. False if that is far away.
    pub(crate) async fn is_due(&self) -> bool {
        if !self.in_time().await {
            return false;
        }
        if let Some(source) = self.source.as_ref().filter(|_| self.unwritten.get()) {
            let written = self.shaper.0.warm_ups.write_down(source).await;
            self.unwritten.set(!written);
        }
        true
    }

    async fn in_time(&self) -> bool {
        let rates = self.limits.counters.iter().filter_map(|c| c.rate);
        let Some(leeway) = rates.map(|rate| rate.leeway()).min() else {
            return true;
        };
        let begun = now();
        if let Some(taken) = self.taken.take()
            && begun <= taken.saturating_add(leeway)
        {
            return true;
        }
        loop {
            let now = now();
            match self.take_rate(now) {
                Ok(()) => {
                    self.taken.set(None);
                    return true;
                }
                Err(Denied { until, .. }) => {
                    let until = until.unwrap_or(now);
                    if until.saturating_sub(begun) > MOST_WAIT {
                        return false;
                    }
                    rt::sleep(Duration::from_micros(until.saturating_sub(now).max(1000))).await;
                }
            }
        }
    }

    /// A host answered this instead of taking the message.
    pub(crate) fn heard(&self, reply: &str) {
        self.shaper
            .heard(&self.limits, self.source.is_some(), reply);
    }

    /// The host's answers for the recipients.
    pub(crate) fn heard_all(&self, attempt: &Attempt) {
        let mut last: Option<&str> = None;
        for result in &attempt.results {
            let (RcptResult::Deferred(cause) | RcptResult::Failed(cause)) = result else {
                continue;
            };
            // The same words for many recipients are one complaint.
            if cause.reply.is_some() && last != Some(&cause.text) {
                self.heard(&cause.text);
                last = Some(&cause.text);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = self.idle.take() {
            self.shaper.0.idle.put(*client);
        }
    }
}
