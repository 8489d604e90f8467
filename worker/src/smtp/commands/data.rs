//! DATA (CON-31 to CON-38, RFC 5321 §4.1.1.4).

use std::time::Instant;

use haraka_shared::connection::HelloVerb;
use haraka_shared::date;
use haraka_shared::hook::{Call, Code};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::mime::MimeError;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::{Outcome as Counted, Transaction};

use super::message::{self, Received};
use super::{auth_results, queue};
use crate::rt;
use crate::smtp::answer::{Denied, spoken};
use crate::smtp::proto::command::{ARGUMENT_NOT_ALLOWED, Bare};
use crate::smtp::session::{Outcome, Session};
use crate::worker::info;

pub(super) async fn data(s: &mut Session, bare: Bare) -> Outcome {
    if bare == Bare::No {
        s.conn.count_error();
        return Outcome::Say(ARGUMENT_NOT_ALLOWED);
    }
    let txn = match ready(s) {
        Ok(txn) => txn,
        Err(refusal) => return Outcome::Say(refusal),
    };
    if let Some(denied) = asked(s).await {
        return denied.and_reset();
    }
    let received = received(s, &txn);
    s.say(&Reply::new(354, "go ahead, make my day"));
    match message::receive(s, &txn).await {
        Ok(Received::Whole) => {}
        Ok(Received::TooBig) => return too_big(s).await,
        Ok(Received::Unusable(reply)) => return unusable(s, &txn, reply),
        Err(lost) => return Outcome::Lost(lost),
    }
    complete(s, &txn, received).await
}

/// The transaction, if it has come as far as its message.
pub(super) fn ready(s: &Session) -> Result<Transaction, Reply> {
    let Some(txn) = s.conn.transaction() else {
        s.conn.count_error();
        return Err(Reply::new(503, "MAIL required first"));
    };
    if txn.recipient_count() > 0 {
        return Ok(txn);
    }
    if s.conn.pipelining.get() {
        return Err(Reply::new(554, "No valid recipients"));
    }
    s.conn.count_error();
    Err(Reply::new(503, "RCPT required first"))
}

/// What the plugins say to a message that is about to come.
pub(super) async fn asked(s: &mut Session) -> Option<Denied> {
    let verdict = s.hook(Call::Data(())).await;
    let refused = "Message denied";
    Denied::from(&verdict, (554, refused), (451, refused))
}

/// The message cannot be taken, whatever the plugins would say.
pub(super) fn unusable(s: &Session, txn: &Transaction, reply: Reply) -> Outcome {
    count(s, txn, &reply);
    Outcome::SayReset(reply)
}

fn count(s: &Session, txn: &Transaction, reply: &Reply) {
    let outcome = if reply.code() >= 500 {
        Counted::Reject
    } else {
        Counted::Tempfail
    };
    s.conn.msg_count.count(outcome);
    txn.status.set(Some(outcome));
}

/// What happens when the whole message is here (CON-36 to CON-38).
pub(super) async fn complete(
    s: &mut Session,
    txn: &Transaction,
    received: Option<String>,
) -> Outcome {
    if let Some(value) = received {
        txn.header
            .borrow_mut()
            .add_raw("Received", value.as_bytes());
    }
    let config = &s.config.connection;
    if txn.header.borrow().count("received") > config.max_received {
        log_conn!(
            Level::Error,
            s.conn,
            [],
            "Incoming message had too many Received headers"
        );
        // Not counted in `msgs`, nor is one that is too big (LOG-14).
        txn.status.set(Some(Counted::Reject));
        return Outcome::SayReset(Reply::new(
            550,
            "Too many received headers - possible mail loop",
        ));
    }
    let (me, clean) = (&s.config.me, config.clean_auth_results);
    auth_results::before(me, clean, &s.conn, txn);
    if let Err(e) = prepare(s, txn).await {
        return unreadable(s, txn, &e);
    }
    let started = rt::precise_now();
    let verdict = s.hook(Call::DataPost(())).await;
    log_message(s, txn, started, &verdict);
    auth_results::after(&s.config.me, &s.conn, txn);
    let denied = Denied::from(
        &verdict,
        (550, "Message denied"),
        (450, "Message denied temporarily"),
    );
    if let Some(denied) = denied {
        s.conn.msg_count.count(denied.counted);
        txn.status.set(Some(denied.counted));
        return denied.and_reset();
    }
    // what data_post plugins asked for
    if let Err(e) = prepare(s, txn).await {
        return unreadable(s, txn, &e);
    }
    queue::queue(s, txn).await
}

/// Takes the body apart as far as plugins asked; nothing happens if none did.
async fn prepare(s: &Session, txn: &Transaction) -> Result<(), MimeError> {
    let services = s.worker.services();
    Box::pin(txn.prepare_body(&*services, s.config.mime)).await
}

/// A message that cannot be taken apart (CON-35).
fn unreadable(s: &Session, txn: &Transaction, error: &MimeError) -> Outcome {
    let (level, reply) = match error {
        MimeError::TooManyParts => (
            Level::Crit,
            Reply::new(554, "Transaction failed due to too many MIME parts"),
        ),
        MimeError::Io(_) => (Level::Error, Reply::new(451, "Message could not be read")),
    };
    log_conn!(level, s.conn, [], "message not taken apart: {error}");
    count(s, txn, &reply);
    match error {
        MimeError::TooManyParts => Outcome::SayClose(reply),
        MimeError::Io(_) => Outcome::SayReset(reply),
    }
}

fn log_message(
    s: &Session,
    txn: &Transaction,
    started: Instant,
    verdict: &haraka_shared::hook::Verdict,
) {
    if !haraka_shared::log::enabled(Level::Notice) {
        return;
    }
    let header = txn.header.borrow();
    let mid = String::from_utf8_lossy(header.get("message-id").unwrap_or_default());
    log_conn!(
        Level::Notice,
        s.conn,
        [
            ("mid", mid.trim().into()),
            ("size", txn.data_bytes.get().into()),
            ("rcpts", (&txn.rcpt_count.to_string()).into()),
            ("delay", (rt::precise_now() - started).as_secs_f64().into()),
            ("code", verdict.code.name().into()),
            ("msg", (&spoken(verdict)).into()),
        ],
        "message"
    );
}

/// The message was read to its end, so that its rest is never taken for commands (PA-20).
pub(super) async fn too_big(s: &mut Session) -> Outcome {
    let most = s.config.connection.max_bytes.unwrap_or(0);
    log_conn!(
        Level::Notice,
        s.conn,
        [],
        "Incoming message exceeded max size of {most}"
    );
    let verdict = s.hook(Call::MaxDataExceeded(())).await;
    let code = if verdict.code == Code::DenySoft {
        450
    } else {
        550
    };
    Outcome::SayReset(Reply::new(code, "Message too big!"))
}

/// The value of our Received field (TXN-02, RFC 5321 §4.4), unless there is to be none.
pub(super) fn received(s: &Session, txn: &Transaction) -> Option<String> {
    if !s.config.connection.add_received {
        return None;
    }
    let hello = s.conn.hello.borrow();
    let (verb, host) = match &*hello {
        Some((verb, host)) => (*verb, &**host),
        None => (HelloVerb::Helo, ""),
    };
    let protocol = match verb {
        HelloVerb::Ehlo => "ESMTP",
        HelloVerb::Helo => "SMTP",
    };
    // RFC 3848, RFC 8314 §4.3; where the login stands is Haraka's choice.
    let tls = s.conn.tls.borrow();
    let (secure, cipher) = match &*tls {
        Some(tls) => (
            "S",
            format!(
                "
	tls {}",
                tls.standard_cipher
            ),
        ),
        None => ("", String::new()),
    };
    let login = s.conn.authheader.borrow();
    let (auth, login) = match login.as_deref().map(str::trim_ascii_end) {
        Some(text) if !text.is_empty() => ("A", format!(" {}", text.replace(char::is_control, ""))),
        _ => ("", String::new()),
    };
    let helo_info = s.conn.remote.borrow().info.clone();
    Some(format!(
        "from {host} ({})
	by {} ({}) with {protocol}{secure}{auth} id {}
	envelope-from {}{cipher}{login};
	{}",
        s.conn.shown(helo_info.as_ref()),
        s.config.me,
        info(&s.config),
        txn.uuid,
        txn.mail_from().address,
        date::rfc2822_now(),
    ))
}
