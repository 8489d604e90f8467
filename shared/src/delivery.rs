//! A queue item as hooks see it while it is being delivered (Haraka's `hmail`).

use std::ops::Deref;
use std::rc::Rc;

use crate::address::Address;
use crate::notes::Notes;
use crate::route::Route;

/// A cheap handle to the item under delivery.
#[derive(Clone)]
pub struct Delivery(Rc<DeliveryState>);

/// What the handle gives.
pub struct DeliveryState {
    /// Queue item id, `<connection uuid>.<transaction>.<item>`.
    pub uuid: String,
    /// File name in the queue directory.
    pub file: String,
    /// Destination domain.
    pub domain: String,
    /// Envelope sender; null for bounces.
    pub mail_from: Address,
    /// Recipients still to be served.
    pub rcpt_to: Vec<Address>,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The transaction's notes, as they were queued (PA-11).
    pub notes: Notes,
}

impl Delivery {
    /// Makes a handle.
    pub fn new(state: DeliveryState) -> Delivery {
        Delivery(Rc::new(state))
    }
}

impl Deref for Delivery {
    type Target = DeliveryState;
    fn deref(&self) -> &DeliveryState {
        &self.0
    }
}

/// What the `deferred` hook is told (HOK-28).
pub struct Deferral {
    /// Seconds until the next attempt.
    pub delay: f64,
    /// Why.
    pub error: String,
    /// Recipients that were put off.
    pub recipients: Vec<Address>,
}

/// What the `bounce` hook is told (HOK-29).
pub struct Bounced {
    /// Why.
    pub error: String,
    /// The host that refused, if one did.
    pub mx: Option<Route>,
    /// Recipients that failed for good, with the remote reply.
    pub recipients: Vec<(Address, String)>,
}

/// What the `delivered` hook is told (HOK-30).
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
