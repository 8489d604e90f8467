//! What plugins found out about who a message is from, for its Authentication-Results field
//! (TXN-07, RFC 8601).
//!
//! Kept in the notes `authentication_results` of connection and transaction, where scripts look for
//! it. A finding often holds what the client sent: it must never add a line to a header.

use serde_json::Value;

use crate::connection::Connection;
use crate::notes::Notes;

const NOTE: &str = "authentication_results";

/// Findings kept of a connection and of a transaction each: a client that fails to log in again and
/// again does not fill the memory.
const MOST: usize = 100;

impl Connection {
    /// Adds a finding such as `spf=pass smtp.mailfrom=a@b.c`: to the transaction if one is open, else
    /// to the connection and so to all its messages. Control characters are left out; findings over
    /// a hundred are not kept.
    pub fn add_auth_result(&self, finding: &str) {
        let finding = without_controls(finding);
        if finding.is_empty() {
            return;
        }
        match self.transaction() {
            Some(transaction) => transaction.notes.append(NOTE, finding, MOST),
            None => self.notes.append(NOTE, finding, MOST),
        }
    }

    /// The value of the field as of now, folded with CRLF and tab: this server's name `me`, what was
    /// found of the connection, then of the open transaction. None while nothing was found.
    pub fn auth_results(&self, me: &str) -> Option<String> {
        let mut found = entries(&self.notes);
        if let Some(transaction) = self.transaction() {
            found.extend(entries(&transaction.notes));
        }
        if found.is_empty() {
            return None;
        }
        let mut value = without_controls(me);
        for finding in found {
            value.push_str(";\r\n\t");
            value.push_str(&without_controls(&finding));
        }
        Some(value)
    }
}

/// Texts only; scripts can set the note themselves and put anything there.
fn entries(notes: &Notes) -> Vec<String> {
    let Some(Value::Array(entries)) = notes.get(NOTE) else {
        return Vec::new();
    };
    let texts = entries.into_iter().filter_map(|entry| match entry {
        Value::String(text) => Some(text),
        _ => None,
    });
    texts.collect()
}

fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::connection::Local;
    use crate::hook::{Params, Path};
    use crate::transaction::Transaction;

    fn connection() -> Connection {
        let local = Local {
            ip: [127, 0, 0, 1].into(),
            port: 25,
        };
        Connection::new(local.ip, 1, local, std::time::Instant::now())
    }

    fn transaction() -> Transaction {
        let sender = Path {
            address: Address::null(),
            params: Params::default(),
        };
        Transaction::new("U.1".to_owned(), sender)
    }

    // covers TXN-07
    #[test]
    fn findings_of_the_connection_come_before_those_of_the_message_and_outlive_it() {
        let c = connection();
        assert_eq!(c.auth_results("mx.test"), None);
        c.add_auth_result("auth=pass (plain)");
        c.set_transaction(Some(transaction()));
        c.add_auth_result("spf=pass");
        c.add_auth_result("");
        assert_eq!(
            c.auth_results("mx.test").as_deref(),
            Some("mx.test;\r\n\tauth=pass (plain);\r\n\tspf=pass")
        );
        c.set_transaction(None);
        assert_eq!(
            c.auth_results("mx.test").as_deref(),
            Some("mx.test;\r\n\tauth=pass (plain)")
        );
    }

    // covers TXN-07, PA-28
    #[test]
    fn no_finding_adds_a_line_whoever_left_it() {
        let c = connection();
        c.add_auth_result("auth=fail smtp.auth=x\r\nSubject: y\0\u{85}");
        assert_eq!(
            c.notes.get(NOTE),
            Some(serde_json::json!(["auth=fail smtp.auth=xSubject: y"]))
        );
        c.notes.set(NOTE, serde_json::json!(["a\r\nB: c", 7]));
        assert_eq!(
            c.auth_results("mx\r\n.test").as_deref(),
            Some("mx.test;\r\n\taB: c")
        );
    }

    #[test]
    fn a_client_that_fails_without_end_leaves_a_hundred_findings() {
        let c = connection();
        (0..1000).for_each(|n| c.add_auth_result(&format!("auth=fail {n}")));
        assert_eq!(c.auth_results("x").unwrap().matches("fail").count(), MOST);
    }
}
