//! Returning mail to its sender: a delivery report goes into the queue like any other message.
//!
//! A report is never about a report: mail from the null sender that cannot be delivered is set aside
//! and logged (PA-47), so that a person can look at it.

use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::date;
use haraka_shared::dsn::{MessageRequest, RecipientRequest, Return};
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::ledger::Out;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::spool::{QueueName, Recipient};
use haraka_shared::stuffing::{Stuffer, Unstuffer};
use serde_json::Map;
use uuid::Uuid;

use super::accept::Submission;
use super::attempt::Cause;
use super::bounce::{About, Action, Report, compose};
use super::item::{Loaded, Stored};
use super::template::Templates;
use crate::rt;
use crate::worker::Worker;

/// What became of the news for the sender.
pub(super) enum Told {
    /// The report is on disk.
    Queued,
    /// There is nobody to tell; the item is kept for a person under another name.
    SetAside,
    /// Nothing could be stored; the item must stay as it is.
    NotStored,
}

/// Octets at the beginning of a message in which its header is looked for.
const HEADER_OCTETS: usize = 64 * 1024;

/// Octets of a message that is returned whole (RET=FULL); of a larger one only the header is.
const LARGEST_RETURNED: u64 = 1024 * 1024;

/// Tells the sender who did not get the message. With `last`, nobody else is waiting for it.
pub(super) async fn send(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    failed: &[(Recipient, Cause)],
    why: &str,
    last: bool,
) -> Told {
    if item.todo.mail_from.is_null() {
        return double_bounce(worker, name, item, failed, why, last).await;
    }
    let asked = |(r, _): &&(Recipient, Cause)| request(r).wants_failure();
    let told: Vec<_> = failed.iter().filter(asked).collect();
    if told.len() < failed.len() {
        log_at!(
            Level::Info,
            &item.todo.uuid,
            "outbound",
            [],
            "{} of {} recipients are not reported, as the sender asked",
            failed.len() - told.len(),
            failed.len()
        );
    }
    if told.is_empty() {
        return Told::Queued;
    }
    report(worker, name, item, Action::Failed, &told, why).await
}

/// Tells a sender who asked for it that the message was delivered or handed on, or that it is late.
/// Whoever calls has seen to it that these recipients are to be reported.
pub(super) async fn notify(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    action: Action,
    recipients: &[(Recipient, Cause)],
) -> Told {
    let why = match recipients.first() {
        Some((_, cause)) if !item.todo.mail_from.is_null() => cause.to_string(),
        _ => return Told::Queued,
    };
    let told: Vec<_> = recipients.iter().collect();
    report(worker, name, item, action, &told, &why).await
}

fn request(recipient: &Recipient) -> RecipientRequest {
    RecipientRequest::of_recipient(&recipient.extra)
}

async fn report(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    action: Action,
    told: &[&(Recipient, Cause)],
    why: &str,
) -> Told {
    let todo = &item.todo;
    let request_of_message = MessageRequest::of_item(&todo.extra);
    let whole = action == Action::Failed && request_of_message.ret == Some(Return::Full);
    let (header, message) = match read(item, whole).await {
        Ok(read) => read,
        Err(e) => {
            log_at!(
                Level::Error,
                &todo.uuid,
                "outbound",
                [],
                "{name} not read for its report: {e}"
            );
            return Told::NotStored;
        }
    };
    let id = format!("{:X}", Uuid::new_v4().hyphenated());
    let now = date::rfc2822_now();
    let arrival = date::rfc2822(i64::try_from(todo.queue_time / 1000).unwrap_or(i64::MAX));
    let recipients: Vec<About<'_>> = told
        .iter()
        .map(|(recipient, cause)| About {
            address: &recipient.address,
            cause,
            original: request(recipient).original_recipient(),
        })
        .collect();
    let envelope_id = request_of_message.envelope_id();
    let report = Report {
        me: &worker.settings().me,
        pid: std::process::id(),
        date: &now,
        arrival: &arrival,
        id: &id,
        sender: &todo.mail_from,
        action,
        recipients: &recipients,
        envelope_id: envelope_id.as_deref(),
        reason: why,
        header: &header,
        message: message.as_deref(),
    };
    let words = match action {
        Action::Failed => templates(worker),
        Action::Delayed => Templates::delayed(),
        Action::Delivered | Action::Relayed => Templates::done(),
    };
    let submission = Submission {
        uuid: format!("{id}.1"),
        mail_from: Address::null(),
        rcpt_to: vec![todo.mail_from.clone().into()],
        extra: Map::new(),
        notes: serde_json::json!({ "skip_plugins": [] }),
        message: stored(&compose(&report, &words)),
    };
    let what = match action {
        Action::Failed => "bounce",
        _ => "report",
    };
    match worker.outbound.submit(worker, submission).await {
        Ok(()) => {
            log_at!(
                Level::Info,
                &todo.uuid,
                "outbound",
                [],
                "{what} queued as {id}.1"
            );
            Told::Queued
        }
        Err(e) => {
            log_at!(
                Level::Error,
                &todo.uuid,
                "outbound",
                [],
                "{what} for {name} not queued: {e}"
            );
            Told::NotStored
        }
    }
}

async fn double_bounce(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    failed: &[(Recipient, Cause)],
    why: &str,
    last: bool,
) -> Told {
    let recipients: Vec<String> = failed.iter().map(|(r, _)| r.address.to_string()).collect();
    let recipients = recipients.join(",");
    log_at!(
        Level::Notice,
        &item.todo.uuid,
        "outbound",
        [
            ("file", name.as_str().into()),
            ("rcpts", (&recipients).into())
        ],
        "Double bounce: {why}"
    );
    if !last {
        // The message stays in the queue for the other recipients.
        return Told::Queued;
    }
    let item_name = name.clone();
    worker.outbound.book.note(name, Out::Aside);
    let (spool, name, why) = (
        worker.outbound.spool(),
        name.clone(),
        format!("double bounce: {why}"),
    );
    let set_aside = move || spool.set_aside(&name, &why).map_err(|e| e.to_string());
    let tried = rt::offload(set_aside).await;
    match tried.map_err(|e| e.to_string()).flatten() {
        Ok(()) => {
            worker.outbound.leaves(&item_name, Out::Aside);
            Told::SetAside
        }
        Err(e) => {
            log_at!(
                Level::Error,
                &item.todo.uuid,
                "outbound",
                [],
                "double bounce not set aside: {e}"
            );
            Told::NotStored
        }
    }
}

/// The header of the message, as far as it is within reach, and the message if all of it is wanted
/// and it is not too large.
async fn read(item: &Loaded, whole: bool) -> std::io::Result<(Header, Option<Vec<u8>>)> {
    let (head, body) = item.message.parts();
    let split = |start: &[u8]| Header::split(start, HeaderLimits::default()).0;
    let whole = whole && item.message.octets() <= LARGEST_RETURNED;
    if !whole && !head.is_empty() {
        return Ok((split(head), None));
    }
    let body = body.clone();
    let most = if whole {
        usize::try_from(LARGEST_RETURNED).unwrap_or(HEADER_OCTETS)
    } else {
        HEADER_OCTETS
    };
    let start = rt::offload(move || first(&body, most))
        .await
        .map_err(|e| std::io::Error::other(e.to_string()))??;
    let stored = [head, &start].concat();
    let message = whole.then(|| unstuffed(&stored));
    Ok((split(&stored), message))
}

fn unstuffed(stored: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(stored.len());
    Unstuffer::new().push(stored, &mut |piece| plain.extend_from_slice(piece));
    plain
}

fn first(body: &Body, most: usize) -> std::io::Result<Vec<u8>> {
    let len = usize::try_from(body.len()).unwrap_or(most);
    let mut start = vec![0; len.min(most)];
    let mut filled = 0;
    while let Some(room) = start.get_mut(filled..)
        && !room.is_empty()
    {
        match body.read_at(filled as u64, room)? {
            0 => break,
            n => filled += n,
        }
    }
    start.truncate(filled);
    Ok(start)
}

/// Read at each bounce: they are rare, and an operator who edits a text wants to see it.
fn templates(worker: &Worker) -> Templates {
    let text = |name: &str| match worker.dir.bytes(name) {
        Ok(bytes) => bytes.map(|b| String::from_utf8_lossy(&b).into_owned()),
        Err(e) => {
            log_at!(
                Level::Error,
                &"-",
                "outbound",
                [],
                "{e}; the built-in text is used"
            );
            None
        }
    };
    Templates::new(
        text("outbound.bounce_message"),
        text("outbound.bounce_message_html"),
        text("outbound.bounce_message_image"),
    )
}

/// A composed report as it is stored and sent: stuffed, and with whole line ends only.
pub(super) fn stored(text: &[u8]) -> Stored {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut stuffer = Stuffer::default();
    stuffer.push(text, &mut |piece| out.extend_from_slice(piece));
    stuffer.finish(&mut |piece| out.extend_from_slice(piece));
    Stored {
        header: out.into(),
        body: Body::default(),
    }
}
