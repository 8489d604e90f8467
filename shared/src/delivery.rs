//! A queue item as hooks see it while it is being delivered (Haraka's `hmail`).
//!
//! Plugins may change its envelope and notes, and may decide what becomes of it. The outbound engine
//! takes both over after each hook; nothing here writes to the queue.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use crate::address::Address;
use crate::notes::Notes;
use crate::spool::Recipient;

/// A cheap handle to the item under delivery.
#[derive(Clone)]
pub struct Delivery(Rc<Held>);

struct Held {
    state: DeliveryState,
    decision: RefCell<Option<Decision>>,
    over: Cell<bool>,
}

/// What the handle gives.
pub struct DeliveryState {
    /// Queue item id, `<connection uuid>.<transaction>.<item>`.
    pub uuid: String,
    /// File name in the queue directory.
    pub file: String,
    /// When the message was accepted, in milliseconds since 1970.
    pub queue_time: u64,
    /// Destination domain; where a plugin replaces it, mail goes there.
    pub domain: RefCell<String>,
    /// Envelope sender; null for bounces.
    pub mail_from: RefCell<Address>,
    /// Recipients still to be served; at `deferred` and `bounce` those that it is about. What
    /// plugins change before the delivery counts.
    pub rcpt_to: RefCell<Vec<Recipient>>,
    /// Failed attempts so far; at `deferred` with the one that it is about.
    pub attempts: Cell<u32>,
    /// Deliver over verified TLS, or not at all.
    pub force_tls: Cell<bool>,
    /// The transaction's notes, as they were queued (PA-11). Changes go into the queue file when the
    /// item is put off.
    pub notes: Notes,
}

/// What a plugin has decided about an item, instead of delivering it.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Try again later, for this reason.
    TempFail(String),
    /// Return it to its sender, for this reason.
    Bounce(String),
    /// Remove it without a word.
    Discard,
    /// The plugin has delivered it, by this account.
    Delivered(Box<Delivered>),
}

impl Delivery {
    /// Makes a handle.
    pub fn new(state: DeliveryState) -> Delivery {
        Delivery(Rc::new(Held {
            state,
            decision: RefCell::default(),
            over: Cell::default(),
        }))
    }

    /// Decides about the item instead of answering; the hook that is running should answer `STOP`,
    /// so that no other plugin is asked. Of several decisions the first counts. Says whether it does:
    /// not when the attempt is over.
    pub fn decide(&self, decision: Decision) -> bool {
        let mut decided = self.0.decision.borrow_mut();
        if self.0.over.get() || decided.is_some() {
            return false;
        }
        *decided = Some(decision);
        true
    }

    /// Takes what plugins have decided.
    pub fn take_decision(&self) -> Option<Decision> {
        self.0.decision.borrow_mut().take()
    }

    /// Whether the attempt is over.
    pub fn is_over(&self) -> bool {
        self.0.over.get()
    }

    /// The attempt ends; nothing can be decided any more.
    pub fn end(&self) {
        self.0.over.set(true);
    }
}

impl DeliveryState {
    /// An item in the state before its first attempt, without recipients or notes.
    pub fn of(uuid: String, file: String, domain: String, mail_from: Address) -> DeliveryState {
        DeliveryState {
            uuid,
            file,
            queue_time: 0,
            domain: domain.into(),
            mail_from: mail_from.into(),
            rcpt_to: RefCell::default(),
            attempts: Cell::default(),
            force_tls: Cell::default(),
            notes: Notes::default(),
        }
    }
}

impl Deref for Delivery {
    type Target = DeliveryState;
    fn deref(&self) -> &DeliveryState {
        &self.0.state
    }
}

/// The host that a message was offered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailHost {
    /// Its name; its address when it came without one.
    pub name: String,
    /// Its address, or the path of its Unix socket.
    pub ip: String,
    /// Its port; 0 for a Unix socket.
    pub port: u16,
    /// LMTP rather than SMTP.
    pub lmtp: bool,
}

/// What the `deferred` hook is told (HOK-28).
pub struct Deferral {
    /// Seconds until the next attempt.
    pub delay: f64,
    /// Why.
    pub error: String,
    /// Recipients that were put off.
    pub recipients: Vec<Recipient>,
    /// They were put off one by one, while the host may have taken others.
    pub one_by_one: bool,
    /// The host that did it, if one did.
    pub mx: Option<MailHost>,
}

/// What the `bounce` hook is told (HOK-29).
pub struct Bounced {
    /// Why.
    pub error: String,
    /// The host that refused, if one did.
    pub mx: Option<MailHost>,
    /// Recipients that failed for good, with the reason of each.
    pub recipients: Vec<Recipient>,
    /// They were refused one by one, while the host may have taken others.
    pub one_by_one: bool,
    /// They were put off too often, rather than refused.
    pub given_up: bool,
}

/// What the `delivered` hook is told (HOK-30).
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// Name of the host that took the message.
    pub host: String,
    /// Its address.
    pub ip: String,
    /// Its reply to the final dot.
    pub response: String,
    /// Seconds since the message was queued.
    pub delay: f64,
    /// Port.
    pub port: u16,
    /// `SMTP` or `LMTP`.
    pub mode: &'static str,
    /// Recipients that it took.
    pub recipients: Vec<Address>,
    /// Over TLS.
    pub secured: bool,
    /// After AUTH.
    pub authenticated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Delivery {
        let (uuid, file) = ("U.1.1".to_owned(), "file".to_owned());
        let state = DeliveryState::of(uuid, file, "far.test".to_owned(), Address::null());
        Delivery::new(state)
    }

    // covers HOK-26
    #[test]
    fn first_decision_counts_and_none_after_the_end() {
        let item = item();
        assert!(item.decide(Decision::Discard));
        assert!(!item.decide(Decision::Bounce("no".to_owned())));
        assert_eq!(item.take_decision(), Some(Decision::Discard));
        assert_eq!(item.take_decision(), None);
        item.end();
        assert!(!item.decide(Decision::Discard));
        assert_eq!(item.take_decision(), None);
    }
}
