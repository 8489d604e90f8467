//! MAIL FROM (CON-21 to CON-23, RFC 5321 §4.1.1.2).

use haraka_shared::address::{Address, Limits};
use haraka_shared::hook::{Call, Params, Path};
use haraka_shared::log::Level;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::{Outcome as Counted, Transaction};
use haraka_shared::log_conn;

use crate::smtp::proto::params::{self, PathVerb};
use crate::smtp::session::{Denied, Outcome, Session, reply, spoken};

pub(super) async fn mail(s: &mut Session, args: &str) -> Outcome {
    if s.conn.hello.borrow().is_none() {
        s.conn.count_error();
        return Outcome::Say(Reply::new(503, "Use EHLO/HELO before MAIL"));
    }
    if s.conn.needs_auth() && !s.conn.relaying() {
        s.conn.count_error();
        return Outcome::Say(Reply::new(550, "Authentication required"));
    }
    let from = match path(s, PathVerb::Mail, args) {
        Ok(path) => path,
        Err(refusal) => return refusal,
    };
    let most = s.worker.config.connection.max_bytes;
    let size = from.params.iter().find(|(k, _)| k == "SIZE");
    if let Some((_, Some(size))) = size
        && most > 0
        && size.parse::<f64>().is_ok_and(|n| n > most as f64)
    {
        return Outcome::Say(Reply::new(550, "Message too big!"));
    }
    s.reset_transaction().await;
    s.wire.busy(true);
    let number = s.conn.tran_count.get() + 1;
    s.conn.tran_count.set(number);
    let uuid = format!("{:X}.{number}", s.conn.uuid.hyphenated());
    let txn = Transaction::new(uuid, from);
    s.conn.set_transaction(Some(txn.clone()));

    let verdict = s.hook(Call::Mail(&txn.mail_from)).await;
    let shown = txn.sender().to_string();
    log_conn!(
        Level::Notice,
        s.conn,
        [("code", verdict.code.name().into()), ("msg", (&spoken(&verdict)).into())],
        "sender {shown}"
    );
    let default = format!("sender {shown} denied");
    let denied = Denied::from(&verdict, (550, &default), (450, &default));
    let action = denied.as_ref().map_or(Counted::Accept, |d| d.counted);
    txn.results.add("mail_from", "action", action.name());
    txn.results.add("mail_from", "code", verdict.code.name());
    let bare = shown.trim_start_matches('<').trim_end_matches('>');
    txn.results.add("mail_from", "address", if bare.is_empty() { &shown } else { bare });
    match denied {
        Some(denied) => denied.and_reset(),
        None => Outcome::Say(reply(250, verdict.message, format!("sender {shown} OK"))),
    }
}

/// The address and parameters of MAIL and RCPT, or what to answer instead.
pub(super) fn path(s: &Session, verb: PathVerb, args: &str) -> Result<Path, Outcome> {
    let config = &s.worker.config.connection;
    let strict = config.strict_rfc1869 && !s.conn.relaying();
    let (raw, params): (String, Params) = match params::parse(verb, args, strict) {
        Ok(parsed) => parsed,
        Err(e) => {
            s.conn.count_error();
            log_conn!(Level::Notice, s.conn, [], "{e}");
            let lines = vec!["Command parsing failed".to_owned(), e.to_string()];
            return Err(Outcome::Say(Reply::from_lines(501, lines)));
        }
    };
    let limits = Limits { postel: config.postel };
    let address = Address::parse(&raw, limits).map_err(|e| {
        let text = format!("Invalid {} address {}: {e}", verb.phrase(), printable(&raw));
        log_conn!(Level::Notice, s.conn, [], "{text}");
        Outcome::Say(Reply::new(501, text))
    })?;
    if !s.conn.esmtp.get() && !params.is_empty() {
        return Err(Outcome::Say(Reply::new(555, "Invalid command parameters")));
    }
    Ok(Path { address, params })
}

/// Without control characters, which must not come back in a reply.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
