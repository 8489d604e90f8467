//! The Authentication-Results field (RFC 8601): ours put together, those that came set aside (TXN-07,
//! TXN-08, PA-28).
//!
//! Pure functions over notes and header. A result is data that a client may have chosen: it can never
//! begin another line.

use serde_json::Value;

use crate::connection::Connection;
use crate::header::Header;
use crate::notes::Notes;
use crate::transaction::Transaction;

/// The field.
pub const FIELD: &str = "Authentication-Results";
/// Where fields of other servers go.
pub const ORIGINAL: &str = "Original-Authentication-Results";
/// The note, a list of texts, on connections and transactions.
const NOTE: &str = "authentication_results";

/// Notes a result of the open transaction, or of the connection if there is none.
pub fn add(connection: &Connection, result: &str) {
    let result = printable(result);
    match connection.transaction() {
        Some(transaction) => push(&transaction.notes, result),
        None => push(&connection.notes, result),
    }
}

/// The value of our field: this server's name, results of the connection, then of the transaction;
/// none without results.
#[must_use]
pub fn value(me: &str, connection: &Notes, transaction: Option<&Notes>) -> Option<String> {
    let mut entries = vec![printable(me)];
    entries.extend(results(connection));
    entries.extend(transaction.into_iter().flat_map(results));
    (entries.len() > 1).then(|| entries.join(";\r\n\t"))
}

/// Renames every field that came with the message, so that nobody takes it for ours. Values stay octet
/// for octet.
pub fn set_aside(header: &mut Header) {
    let values: Vec<Vec<u8>> = header.get_all(FIELD).map(<[u8]>::to_vec).collect();
    for value in values {
        header.add_end_raw(ORIGINAL, &value);
    }
    header.remove(FIELD);
}

/// Before the `data_post` hooks, so that scanners see the results so far: others' fields are set aside
/// if `clean`, ours comes last.
pub fn before_data_post(me: &str, connection: &Connection, transaction: &Transaction, clean: bool) {
    let mut header = transaction.header.borrow_mut();
    if clean {
        set_aside(&mut header);
    }
    if let Some(value) = value(me, &connection.notes, Some(&transaction.notes)) {
        header.add_end(FIELD, &value);
    }
}

/// After the `data_post` hooks: ours again, with their results, as the first field. Every other one
/// goes, as in Haraka, whatever `clean_auth_results` says.
pub fn after_data_post(me: &str, connection: &Connection, transaction: &Transaction) {
    if let Some(value) = value(me, &connection.notes, Some(&transaction.notes)) {
        let mut header = transaction.header.borrow_mut();
        header.remove(FIELD);
        header.add(FIELD, &value);
    }
}

fn push(notes: &Notes, result: String) {
    let mut list = match notes.get(NOTE) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    list.push(Value::String(result));
    notes.set(NOTE, list);
}

fn results(notes: &Notes) -> Vec<String> {
    match notes.get(NOTE) {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(printable)
            .collect(),
        _ => Vec::new(),
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use super::*;
    use crate::address::Address;
    use crate::connection::Local;
    use crate::header::HeaderLimits;
    use crate::hook::{Params, Path};

    fn pair(message: &[u8]) -> (Connection, Transaction) {
        let local = Local {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 25,
        };
        let connection = Connection::new(local.ip, 1, local, Instant::now());
        let transaction = Transaction::new(
            "U.1".to_owned(),
            Path {
                address: Address::null(),
                params: Params::default(),
            },
        );
        *transaction.header.borrow_mut() = Header::split(message, HeaderLimits::default()).0;
        (connection, transaction)
    }

    fn text(transaction: &Transaction) -> String {
        String::from_utf8_lossy(transaction.header.borrow().as_bytes()).into_owned()
    }

    const OTHERS: &[u8] = b"A: b\r\nAuthentication-Results: x;\r\n\tspf=pass\r\n\
        authentication-results: y; \xff\r\n\r\n";

    // covers TXN-07, TXN-08, PA-28
    #[test]
    fn fields_of_others_are_set_aside_and_ours_comes_last_then_first() {
        let (connection, transaction) = pair(OTHERS);
        add(&connection, "iprev=pass");
        connection.set_transaction(Some(transaction.clone()));
        add(&connection, "auth=fail\r\nBcc: x (a\tb)");
        before_data_post("mx.me", &connection, &transaction, true);
        let aside = "Original-Authentication-Results: x;\r\n\tspf=pass\r\n\
            Original-Authentication-Results: y; \u{fffd}\r\n";
        let ours = "Authentication-Results: mx.me;\r\n\tiprev=pass;\r\n\tauth=failBcc: x (ab)";
        assert_eq!(text(&transaction), format!("A: b\r\n{aside}{ours}\r\n"));

        add(&connection, "dkim=pass");
        after_data_post("mx.me", &connection, &transaction);
        assert_eq!(
            text(&transaction),
            format!("{ours};\r\n\tdkim=pass\r\nA: b\r\n{aside}")
        );
    }

    // covers TXN-08, PA-28
    #[test]
    fn without_cleaning_fields_of_others_go_only_when_ours_comes() {
        let (connection, transaction) = pair(OTHERS);
        before_data_post("mx.me", &connection, &transaction, false);
        after_data_post("mx.me", &connection, &transaction);
        assert_eq!(transaction.header.borrow().count(FIELD), 2, "no results");
        add(&connection, "iprev=pass");
        before_data_post("mx.me", &connection, &transaction, false);
        assert_eq!(transaction.header.borrow().count(FIELD), 3);
        after_data_post("mx.me", &connection, &transaction);
        assert_eq!(
            text(&transaction),
            "Authentication-Results: mx.me;\r\n\tiprev=pass\r\nA: b\r\n"
        );
    }

    #[test]
    fn notes_of_another_kind_are_no_results() {
        let (connection, transaction) = pair(b"\r\n");
        connection.notes.set(NOTE, "text");
        transaction.notes.set(NOTE, vec![Value::from(1)]);
        assert_eq!(
            value("me", &connection.notes, Some(&transaction.notes)),
            None
        );
        add(&connection, "x=y");
        assert_eq!(
            value("me", &connection.notes, None).as_deref(),
            Some("me;\r\n\tx=y")
        );
    }
}
