//! The plugins that take finished messages.

pub(crate) mod discard;
pub(crate) mod lmtp;
pub(crate) mod maildir;
pub(crate) mod quarantine;
pub(crate) mod smtp_forward;
pub(crate) mod test;

use haraka_shared::transaction::Transaction;

/// The queue plugin that others chose for this message in the note `queue.wants`; empty counts as
/// none.
fn wanted(transaction: &Transaction) -> Option<String> {
    transaction
        .notes
        .text("queue.wants")
        .filter(|w| !w.is_empty())
}
