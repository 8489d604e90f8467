//! One message on its way in: envelope, header, body, notes, results (area TXN).
//!
//! A cheap handle to shared cells, because plugins keep it after they answered. Every accessor is
//! short and synchronous; no borrow lives across an `.await`.

mod message;
mod storing;

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use crate::address::Address;
use crate::body::Body;
use crate::header::Header;
use crate::hook::{Params, Path};
use crate::notes::Notes;
use crate::results::Results;

pub use self::message::{Attachment, AttachmentHook, Wishes};
pub use self::storing::{Keeping, Stored, Storing};

/// How many recipients or messages were accepted, put off, refused; written `a/t/r` in log lines.
#[derive(Debug, Default)]
pub struct Tally {
    /// Accepted.
    pub accept: Cell<u32>,
    /// Refused for now.
    pub tempfail: Cell<u32>,
    /// Refused for good.
    pub reject: Cell<u32>,
}

impl Tally {
    /// All of them.
    pub fn total(&self) -> u32 {
        let (accept, tempfail) = (self.accept.get(), self.tempfail.get());
        accept
            .saturating_add(tempfail)
            .saturating_add(self.reject.get())
    }
}

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted.
    Accept,
    /// Refused for now.
    Tempfail,
    /// Refused for good.
    Reject,
}

impl Outcome {
    /// The word in results.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Accept => "accept",
            Outcome::Tempfail => "tempfail",
            Outcome::Reject => "reject",
        }
    }
}

impl Tally {
    /// Counts one.
    pub fn count(&self, outcome: Outcome) {
        let cell = match outcome {
            Outcome::Accept => &self.accept,
            Outcome::Tempfail => &self.tempfail,
            Outcome::Reject => &self.reject,
        };
        cell.set(cell.get().saturating_add(1));
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.accept.get(),
            self.tempfail.get(),
            self.reject.get()
        )
    }
}

/// The handle.
#[derive(Clone)]
pub struct Transaction(Rc<TransactionState>);

/// What the handle gives.
pub struct TransactionState {
    /// `<connection uuid>.<n>`, n counting from 1 (CON-02).
    pub uuid: String,
    /// See [`Transaction::mail_from`].
    mail_from: RefCell<Rc<Path>>,
    /// See [`Transaction::mail_from_version`].
    mail_from_version: Cell<u32>,
    /// Recipients that may still get the message.
    pub rcpt_to: RefCell<Vec<Path>>,
    /// What a plugin made of the recipient that the others are being asked about.
    pub asked: RefCell<Option<Box<Path>>>,
    /// The header block; plugins may add and remove fields.
    pub header: RefCell<Header>,
    /// The body, once the message is complete; empty when it was discarded.
    pub body: RefCell<Body>,
    /// Bytes of message data that the client sent, without the final dot.
    pub data_bytes: Cell<u64>,
    /// Recipients by outcome.
    pub rcpt_count: Tally,
    /// What plugins leave for each other; goes into the queue file.
    pub notes: Notes,
    /// What plugins found.
    pub results: Results,
    /// Relaying for this transaction only, when it was set during it (PA-09).
    pub relaying: Cell<Option<bool>>,
    /// What plugins want of the body.
    pub wishes: Wishes,
    /// What became of the message.
    pub status: Cell<Option<Outcome>>,
    /// Whether it is being stored, and for whom it is.
    pub storing: Storing,
}

impl Transaction {
    /// A transaction for this sender.
    pub fn new(uuid: String, mail_from: Path) -> Transaction {
        Transaction(Rc::new(TransactionState {
            uuid,
            mail_from: RefCell::new(Rc::new(mail_from)),
            mail_from_version: Cell::new(0),
            rcpt_to: RefCell::default(),
            asked: RefCell::default(),
            header: RefCell::default(),
            body: RefCell::default(),
            data_bytes: Cell::new(0),
            rcpt_count: Tally::default(),
            notes: Notes::default(),
            results: Results::default(),
            relaying: Cell::new(None),
            wishes: Wishes::default(),
            status: Cell::new(None),
            storing: Storing::default(),
        }))
    }

    /// The sender with its parameters, as of now.
    pub fn mail_from(&self) -> Rc<Path> {
        Rc::clone(&self.mail_from.borrow())
    }

    /// Replaces the sender; what was taken from [`Transaction::mail_from`] before stays as it was.
    pub fn set_mail_from(&self, mail_from: Path) {
        *self.mail_from.borrow_mut() = Rc::new(mail_from);
        let version = self.mail_from_version.get();
        self.mail_from_version.set(version.wrapping_add(1));
    }

    /// Counts how often the sender was replaced: who keeps a copy sees whether it is still the sender.
    pub fn mail_from_version(&self) -> u32 {
        self.mail_from_version.get()
    }

    /// Whether both are the same transaction.
    pub fn is(&self, other: &Transaction) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The sender's address.
    pub fn sender(&self) -> Address {
        self.mail_from.borrow().address.clone()
    }

    /// The recipients' addresses.
    pub fn recipients(&self) -> Vec<Address> {
        self.rcpt_to
            .borrow()
            .iter()
            .map(|p| p.address.clone())
            .collect()
    }

    /// How many recipients there are.
    pub fn recipient_count(&self) -> usize {
        self.rcpt_to.borrow().len()
    }

    /// Adds a recipient.
    pub fn push_recipient(&self, address: Address, params: Params) {
        self.rcpt_to.borrow_mut().push(Path { address, params });
    }

    /// Takes the newest recipient back.
    pub fn pop_recipient(&self) {
        self.rcpt_to.borrow_mut().pop();
    }

    /// Whether `notes.skip_plugins` names this plugin (PLG-14).
    pub fn skips(&self, plugin: &str) -> bool {
        self.notes.lists("skip_plugins", plugin)
    }
}

impl Deref for Transaction {
    type Target = TransactionState;
    fn deref(&self) -> &TransactionState {
        &self.0
    }
}
