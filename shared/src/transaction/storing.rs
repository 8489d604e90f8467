//! Whether a message is just being put where it will outlive this process, and for whom it is there
//! already: the answer to the client waits for that, and must agree with it (ADR 0035).
//!
//! Kept by whoever stores the message; read by the session. Must never wait for anything itself.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::task::{Context, Poll, Waker};

use super::Transaction;
use crate::address::Address;

/// What is known about the storing of one message.
#[derive(Debug, Default)]
pub struct Storing {
    under_way: Cell<u32>,
    /// Sum over the recipients that the client is answered for; none before that is asked for.
    wanted: Cell<Option<u64>>,
    stored: Cell<Stored>,
    overdue: Cell<bool>,
    given_up: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// For whom a message is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stored {
    /// Nobody.
    #[default]
    No,
    /// Some, or others than the client named.
    Partly,
    /// All those that the client is answered for.
    Whole,
}

impl Storing {
    /// The recipients that the next answer is about.
    pub fn answers_for(&self, recipients: &[Address]) {
        self.wanted.set(Some(sum(recipients)));
    }

    /// Whether somebody is in the middle of it.
    pub fn is_under_way(&self) -> bool {
        self.under_way.get() > 0
    }

    /// For whom the message is stored by now.
    pub fn stored(&self) -> Stored {
        self.stored.get()
    }

    /// A plugin has taken longer than it may: what it stores from now on may come too late.
    pub fn set_overdue(&self) {
        self.overdue.set(true);
    }

    /// Whether a plugin has.
    pub fn is_overdue(&self) -> bool {
        self.overdue.get()
    }

    /// The client was told to send the message again: whoever can must not store it any more, and take
    /// back what was not handed on yet.
    pub fn give_up(&self) {
        self.given_up.set(true);
    }

    /// Whether that is so.
    pub fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    /// Ready when nobody is in the middle of it; wakes then.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_under_way() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// Says that a message is being stored, until it is dropped.
#[must_use = "it is over when this is dropped"]
pub struct Keeping(Transaction);

impl Transaction {
    /// The message is going to be stored: from here on giving up could mean that it is stored, and the
    /// client sends it again.
    pub fn keeping(&self) -> Keeping {
        let count = &self.storing.under_way;
        count.set(count.get().saturating_add(1));
        Keeping(self.clone())
    }
}

impl Keeping {
    /// Whose message it is.
    pub fn transaction(&self) -> &Transaction {
        &self.0
    }

    /// It is stored for these recipients.
    pub fn stored<'a>(&self, recipients: impl IntoIterator<Item = &'a Address>) {
        let storing = &self.0.storing;
        // Nobody asks unless plugins were asked before.
        let Some(wanted) = storing.wanted.get() else {
            return;
        };
        if sum(recipients) == wanted {
            storing.stored.set(Stored::Whole);
        } else if storing.stored.get() == Stored::No {
            storing.stored.set(Stored::Partly);
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let storing = &self.0.storing;
        let left = storing.under_way.get().saturating_sub(1);
        storing.under_way.set(left);
        if left == 0
            && let Some(waker) = storing.waker.take()
        {
            waker.wake();
        }
    }
}

/// The same for the same addresses in any order.
fn sum<'a>(recipients: impl IntoIterator<Item = &'a Address>) -> u64 {
    let each = recipients.into_iter().map(|address| {
        let mut hasher = DefaultHasher::new();
        address.user().hash(&mut hasher);
        address.host().hash(&mut hasher);
        hasher.finish()
    });
    each.fold(1, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Limits;
    use crate::hook::Path;

    fn addresses(list: &[&str]) -> Vec<Address> {
        let parse = |a: &&str| Address::parse(a, Limits { postel: false }).unwrap();
        list.iter().map(parse).collect()
    }

    fn transaction() -> Transaction {
        let address = Address::null();
        let params = Vec::new();
        Transaction::new("A.1".to_owned(), Path { address, params })
    }

    // covers H4
    #[test]
    fn message_is_stored_whole_for_the_same_recipients_in_any_order_only() {
        let (both, swapped) = (["<a@x.org>", "<b@x.org>"], ["<b@x.org>", "<a@x.org>"]);
        for (stored, expected) in [
            (&swapped[..], Stored::Whole),
            (&both[..1], Stored::Partly),
            (&["<a@x.org>", "<c@x.org>"][..], Stored::Partly),
        ] {
            let txn = transaction();
            txn.storing.answers_for(&addresses(&both));
            txn.keeping().stored(&addresses(stored));
            assert_eq!(txn.storing.stored(), expected, "{stored:?}");
        }
        let nobody_asks = transaction();
        nobody_asks.keeping().stored(&addresses(&both));
        assert_eq!(nobody_asks.storing.stored(), Stored::No);
    }

    // covers H4
    #[test]
    fn whoever_waits_is_woken_by_the_last_who_stores() {
        let txn = transaction();
        let (one, two) = (txn.keeping(), txn.keeping());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(txn.storing.poll_ended(&mut cx).is_pending());
        drop(one);
        assert!(txn.storing.waker.borrow().is_some(), "not woken yet");
        drop(two);
        assert!(txn.storing.waker.borrow().is_none(), "woken");
        assert!(txn.storing.poll_ended(&mut cx).is_ready());
    }
}
