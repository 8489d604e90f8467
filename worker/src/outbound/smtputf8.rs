//! Whether a client declared its message an internationalized one (RFC 6531 §3.4), as a transaction or
//! a queue file has it.
//!
//! Only then is a header beyond ASCII known to be UTF-8; without the word it is one of the many 8-bit
//! headers that were never legal, and goes to any host as it came. Addresses speak for themselves.

use haraka_shared::spool::Todo;
use haraka_shared::transaction::Transaction;
use serde_json::{Map, Value};

/// Key of the queue file.
const KEY: &str = "smtputf8";

/// As the client said at MAIL.
pub(super) fn of_transaction(txn: &Transaction) -> bool {
    let from = txn.mail_from();
    from.params.iter().any(|(name, _)| name == "SMTPUTF8")
}

/// As the queue file says; files of Haraka do not.
pub(super) fn of_item(todo: &Todo) -> bool {
    todo.extra.get(KEY).and_then(Value::as_bool) == Some(true)
}

/// Writes it into a queue file.
pub(super) fn store(extra: &mut Map<String, Value>) {
    extra.insert(KEY.to_owned(), true.into());
}
