//! Returning mail to its sender: a delivery report goes into the queue like any other message.
//!
//! A report is never about a report: mail from the null sender that cannot be delivered is set aside
//! and logged (PA-47), so that a person can look at it.

use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::date;
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::spool::{QueueName, Recipient};
use haraka_shared::stuffing::Stuffer;
use uuid::Uuid;

use super::accept::Submission;
use super::attempt::Cause;
use super::bounce::{Report, compose};
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

/// Tells the sender who did not get the message. With `last`, nobody else is waiting for it.
pub(super) async fn send(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    failed: &[(Recipient, Cause)],
    why: &str,
    last: bool,
) -> Told {
    let todo = &item.todo;
    if todo.mail_from.is_null() {
        return double_bounce(worker, name, item, failed, why, last).await;
    }
    let header = match header(item).await {
        Ok(header) => header,
        Err(e) => {
            log_at!(
                Level::Error,
                &todo.uuid,
                "outbound",
                [],
                "{name} not read for its bounce: {e}"
            );
            return Told::NotStored;
        }
    };
    let id = format!("{:X}", Uuid::new_v4().hyphenated());
    let now = date::rfc2822_now();
    let arrival = date::rfc2822(i64::try_from(todo.queue_time / 1000).unwrap_or(i64::MAX));
    let recipients: Vec<(&Address, &Cause)> = failed
        .iter()
        .map(|(r, cause)| (&r.address, cause))
        .collect();
    let report = Report {
        me: &worker.settings().me,
        pid: std::process::id(),
        date: &now,
        arrival: &arrival,
        id: &id,
        sender: &todo.mail_from,
        recipients: &recipients,
        reason: why,
        header: &header,
    };
    let text = compose(&report, &templates(worker));
    let submission = Submission {
        uuid: format!("{id}.1"),
        mail_from: Address::null(),
        rcpt_to: vec![todo.mail_from.clone()],
        notes: serde_json::json!({ "skip_plugins": [] }),
        message: stored(&text),
    };
    match worker.outbound.submit(worker, submission).await {
        Ok(()) => {
            log_at!(
                Level::Info,
                &todo.uuid,
                "outbound",
                [],
                "bounce queued as {id}.1"
            );
            Told::Queued
        }
        Err(e) => {
            log_at!(
                Level::Error,
                &todo.uuid,
                "outbound",
                [],
                "bounce for {name} not queued: {e}"
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
    let (spool, name, why) = (
        worker.outbound.spool(),
        name.clone(),
        format!("double bounce: {why}"),
    );
    match rt::offload(move || spool.set_aside(&name, &why)).await {
        Ok(Ok(())) => Told::SetAside,
        Ok(Err(e)) => {
            log_at!(
                Level::Error,
                &item.todo.uuid,
                "outbound",
                [],
                "double bounce not set aside: {e}"
            );
            Told::NotStored
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

/// The header of the message, as far as it is within reach.
async fn header(item: &Loaded) -> std::io::Result<Header> {
    let (head, body) = item.message.parts();
    if !head.is_empty() {
        return Ok(Header::split(head, HeaderLimits::default()).0);
    }
    let body = body.clone();
    let start = rt::offload(move || first(&body))
        .await
        .map_err(|e| std::io::Error::other(e.to_string()))??;
    Ok(Header::split(&start, HeaderLimits::default()).0)
}

fn first(body: &Body) -> std::io::Result<Vec<u8>> {
    let mut start = vec![0; HEADER_OCTETS];
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

fn stored(text: &[u8]) -> Stored {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut stuffer = Stuffer::default();
    stuffer.push(text, &mut |piece| out.extend_from_slice(piece));
    stuffer.finish(&mut |piece| out.extend_from_slice(piece));
    Stored {
        header: out.into(),
        body: Body::default(),
    }
}
