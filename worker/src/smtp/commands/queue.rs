//! Handing a complete message on: queue or queue_outbound, then queue_ok (CON-39, CON-40).

use haraka_shared::hook::{Call, Code, Message, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::reply::Reply;
use haraka_shared::services::QueueError;
use haraka_shared::transaction::{Outcome as Counted, Transaction};

use crate::smtp::answer::{Denied, reply, spoken};
use crate::smtp::session::{Outcome, Session};

/// Gives the message to the plugins, and a relayed one that none took to the built-in queue.
pub(super) async fn queue(s: &mut Session, txn: &Transaction) -> Outcome {
    let relaying = s.conn.relaying();
    let call = if relaying {
        Call::QueueOutbound(())
    } else {
        Call::Queue(())
    };
    if s.worker.hooks.wants(call.hook()) {
        txn.storing.answers_for(&txn.recipients());
    }
    let mut verdict = s.hook(call).await;
    let own = relaying && !verdict.code.denies() && verdict.code != Code::Ok;
    if own {
        // Haraka writes this line as well, before the built-in queue's own (LOG-13).
        log_conn!(
            Level::Notice,
            s.conn,
            [
                ("code", verdict.code.name().into()),
                ("msg", (&format!("Message Queued ({})", txn.uuid)).into())
            ],
            "queue"
        );
        verdict = built_in(s, txn).await;
    }
    let said = text(&verdict);
    // Of what the built-in queue takes, the result `outbound` tells, as in Haraka.
    if !own || verdict.code != Code::Ok {
        store_result(txn, &verdict, &said);
    }
    let said = format!("{said} ({})", txn.uuid);
    let verdict = with_text(verdict, said.clone());
    if verdict.code == Code::Ok {
        return queued(s, txn, verdict).await;
    }
    if txn.storing.is_overdue() {
        // It may still be trying: two copies are worse than none of the first (H4).
        txn.storing.give_up();
    }
    log_conn!(
        Level::Notice,
        s.conn,
        [
            ("code", verdict.code.name().into()),
            ("msg", (&spoken(&verdict)).into())
        ],
        "queue"
    );
    if let Some(denied) = Denied::from(&verdict, (550, ""), (450, "")) {
        count(s, txn, denied.counted);
        return denied.and_reset();
    }
    count(s, txn, Counted::Tempfail);
    // Whatever the plugins said, a message that nobody took is not accepted.
    match reply(451, verdict.message, "") {
        refusal if refusal.code() >= 400 => Outcome::SayReset(refusal),
        _ => Outcome::SayReset(Reply::new(451, said)),
    }
}

/// The outbound queue. Local trouble is never the client's fault (PB-19): 452 when the disk is full,
/// 451 otherwise, and the client tries again.
async fn built_in(s: &Session, txn: &Transaction) -> Verdict {
    match s.worker.services().enqueue(txn).await {
        Ok(()) => Verdict::OK,
        Err(e) => {
            log_conn!(Level::Error, s.conn, [], "message not queued: {e}");
            let (code, text) = match e {
                QueueError::Full(_) => (452, "4.3.1 Insufficient system storage"),
                QueueError::Local(_) => (451, "4.3.0 Queueing failed, try again later"),
            };
            Verdict {
                code: Code::DenySoft,
                message: Message::Reply(Reply::new(code, text)),
            }
        }
    }
}

async fn queued(s: &mut Session, txn: &Transaction, verdict: Verdict) -> Outcome {
    let said = spoken(&verdict);
    s.hook(Call::QueueOk(&said)).await;
    log_conn!(
        Level::Notice,
        s.conn,
        [("code", "OK".into()), ("msg", (&said).into())],
        "queue"
    );
    count(s, txn, Counted::Accept);
    Outcome::SayReset(reply(250, verdict.message, ""))
}

/// The plugin's text or the code's own (CON-39).
fn text(verdict: &Verdict) -> String {
    if let Some(text) = verdict.message.text() {
        return text.into_owned();
    }
    match verdict.code {
        Code::Ok => "Message Queued",
        Code::Deny | Code::DenyDisconnect => "Message denied",
        Code::DenySoft | Code::DenySoftDisconnect => "Message denied temporarily",
        // Haraka's reply has no text here (PB-69).
        _ => "Queuing declined or disabled, try later",
    }
    .to_owned()
}

/// The same verdict with this text in place of its own; a reply keeps its code.
fn with_text(verdict: Verdict, text: String) -> Verdict {
    let message = match verdict.message {
        Message::Reply(r) => {
            let reply = Reply::new(r.code(), text);
            Message::Reply(match r.enhanced() {
                Some(status) => reply.with_enhanced(status),
                None => reply,
            })
        }
        _ => Message::Text(text.into()),
    };
    Verdict {
        code: verdict.code,
        message,
    }
}

fn store_result(txn: &Transaction, verdict: &Verdict, said: &str) {
    match verdict.code {
        Code::Cont => {}
        Code::Ok => txn.results.add("queue", "pass", said),
        Code::Deny | Code::DenyDisconnect => txn.results.add("queue", "fail", said),
        Code::DenySoft | Code::DenySoftDisconnect => {
            txn.results.add("queue", "fail", said);
            txn.results.add("queue", "soft", true);
        }
        _ => txn.results.add("queue", "msg", said),
    }
}

fn count(s: &Session, txn: &Transaction, outcome: Counted) {
    s.conn.msg_count.count(outcome);
    txn.status.set(Some(outcome));
}
