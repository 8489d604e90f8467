//! RCPT TO (CON-24 to CON-26, RFC 5321 §4.1.1.3).

use haraka_shared::address::Address;
use haraka_shared::hook::{Call, Code, Message, Path, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::{Outcome as Counted, Transaction};

use super::mail::path;
use crate::smtp::answer::{Denied, reply, spoken};
use crate::smtp::proto::params::Path as Which;
use crate::smtp::session::{Outcome, Session};

pub(super) async fn rcpt(s: &mut Session, args: &str) -> Outcome {
    let Some(txn) = s.conn.transaction() else {
        s.conn.count_error();
        return Outcome::Say(Reply::new(503, "Use MAIL before RCPT"));
    };
    let to = match path(s, Which::Rcpt, args) {
        Ok(path) => path,
        Err(refusal) => return refusal,
    };
    let most = s.config.connection.max_recipients;
    if most.is_some_and(|most| txn.recipient_count() >= most as usize) {
        // RFC 5321 §4.5.3.1.10: the client sends what it has and comes back for the rest.
        return Outcome::Say(Reply::new(452, "4.5.3 Too many recipients"));
    }
    txn.push_recipient(to.address.clone(), to.params.clone());
    txn.asked.take();
    let mut verdict = s.hook(Call::Rcpt(&to)).await;
    // From here on it is what plugins have made of it.
    let to = as_left(&txn, to);
    if verdict.code == Code::Cont && s.conn.relaying() {
        verdict.code = Code::Ok;
    }
    if verdict.code == Code::Ok {
        return rcpt_ok(s, &txn, &to.address, verdict.message).await;
    }
    log_recipient(s, &txn, &to.address, &verdict);
    if let Some(outcome) = refused(s, &txn, &to.address, &verdict) {
        return outcome;
    }
    if verdict.code != Code::Cont {
        log_conn!(
            Level::Alert,
            s.conn,
            [],
            "No plugin determined if relaying was allowed"
        );
    }
    let text = format!("I cannot deliver mail for {}", to.address);
    count(
        s,
        &txn,
        &to.address,
        Counted::Reject,
        Some((&text, verdict.code)),
    );
    txn.pop_recipient();
    Outcome::Say(Reply::new(550, text))
}

fn as_left(txn: &Transaction, asked: Path) -> Path {
    match txn.rcpt_to.borrow().last() {
        Some(left) if left.address != asked.address => left.clone(),
        _ => asked,
    }
}

/// A plugin vouched for the recipient; another may still object (HOK-13). What the first said is
/// the reply if the second says nothing.
async fn rcpt_ok(s: &mut Session, txn: &Transaction, to: &Address, vouched: Message) -> Outcome {
    let mut verdict = s.hook(Call::RcptOk(to)).await;
    if verdict.message.text().is_none() {
        verdict.message = vouched;
    }
    log_recipient(s, txn, to, &verdict);
    if let Some(outcome) = refused(s, txn, to, &verdict) {
        return outcome;
    }
    count(s, txn, to, Counted::Accept, None);
    Outcome::Say(reply(250, verdict.message, format!("recipient {to} OK")))
}

fn refused(s: &Session, txn: &Transaction, to: &Address, verdict: &Verdict) -> Option<Outcome> {
    if !verdict.code.denies() {
        return None;
    }
    let default = format!("recipient {to} denied");
    let denied = Denied::from(verdict, (550, &default), (450, &default))?;
    let said = spoken(verdict);
    let why = (!said.is_empty()).then_some((said.as_str(), verdict.code));
    count(s, txn, to, denied.counted, why);
    txn.pop_recipient();
    Some(denied.and_go_on())
}

/// Haraka writes OK for CONT here (LOG-11).
fn log_recipient(s: &Session, txn: &Transaction, to: &Address, verdict: &Verdict) {
    if !haraka_shared::log::enabled(Level::Notice) {
        return;
    }
    let code = if verdict.code == Code::Cont {
        Code::Ok
    } else {
        verdict.code
    };
    log_conn!(
        Level::Notice,
        s.conn,
        [
            ("code", code.name().into()),
            ("msg", (&spoken(verdict)).into()),
            ("sender", (&txn.sender().address()).into()),
        ],
        "recipient {to}"
    );
}

/// Counters and the result `rcpt_to.recipient` (CON-26).
fn count(s: &Session, txn: &Transaction, to: &Address, action: Counted, why: Option<(&str, Code)>) {
    txn.rcpt_count.count(action);
    s.conn.rcpt_count.count(action);
    let mut recipient = serde_json::json!({
        "address": to.to_string().trim_start_matches('<').trim_end_matches('>'),
        "action": action.name(),
    });
    if let (Some((text, code)), Some(map)) = (why, recipient.as_object_mut()) {
        map.insert("msg".to_owned(), text.into());
        map.insert("code".to_owned(), code.name().into());
    }
    txn.results.push("rcpt_to", "recipient", recipient);
}
