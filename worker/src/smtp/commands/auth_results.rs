//! The Authentication-Results field of a message (TXN-07, PA-28, RFC 8601).
//!
//! Made from what plugins left in the notes `authentication_results` of connection and transaction;
//! fields that came with the message are not ours to vouch for and get another name.

use haraka_shared::connection::Connection;
use haraka_shared::notes::Notes;
use haraka_shared::transaction::Transaction;
use serde_json::Value;

const FIELD: &str = "Authentication-Results";
const ORIGINAL: &str = "Original-Authentication-Results";

/// Before data_post, so that scanners see the results so far.
pub(super) fn before(me: &str, clean: bool, conn: &Connection, txn: &Transaction) {
    let mut header = txn.header.borrow_mut();
    if clean {
        let foreign: Vec<Vec<u8>> = header.get_all(FIELD).map(<[u8]>::to_vec).collect();
        for value in &foreign {
            header.add_end_raw(ORIGINAL, value);
        }
        if !foreign.is_empty() {
            header.remove(FIELD);
        }
    }
    if let Some(value) = value(me, conn, txn) {
        header.add_end(FIELD, &value);
    }
}

/// After data_post, with its results, as the first field.
pub(super) fn after(me: &str, conn: &Connection, txn: &Transaction) {
    if let Some(value) = value(me, conn, txn) {
        let mut header = txn.header.borrow_mut();
        header.remove(FIELD);
        header.add(FIELD, &value);
    }
}

fn value(me: &str, conn: &Connection, txn: &Transaction) -> Option<String> {
    let mut all = String::new();
    for entry in entries(&conn.notes).into_iter().chain(entries(&txn.notes)) {
        all.push_str(";\r\n\t");
        // A failed login's user name, for one, must not add a line to the header.
        all.extend(entry.chars().filter(|c| !c.is_control()));
    }
    (!all.is_empty()).then(|| format!("{me}{all}"))
}

fn entries(notes: &Notes) -> Vec<String> {
    let Some(Value::Array(entries)) = notes.get("authentication_results") else {
        return Vec::new();
    };
    let texts = entries.into_iter().filter_map(|entry| match entry {
        Value::String(text) => Some(text),
        _ => None,
    });
    texts.collect()
}
