//! The Authentication-Results field of a message (TXN-07, PA-28, RFC 8601).
//!
//! Made from what plugins found ([`Connection::auth_results`]); fields that came with the message are
//! not ours to vouch for and get another name.

use haraka_shared::connection::Connection;
use haraka_shared::transaction::Transaction;

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
    if let Some(value) = conn.auth_results(me) {
        header.add_end(FIELD, &value);
    }
}

/// After data_post, with its results, as the first field.
pub(super) fn after(me: &str, conn: &Connection, txn: &Transaction) {
    if let Some(value) = conn.auth_results(me) {
        let mut header = txn.header.borrow_mut();
        header.remove(FIELD);
        header.add(FIELD, &value);
    }
}
