//! Returning mail to its sender: a delivery report goes into the queue like any other message.
//!
//! A report is never about a report: mail from the null sender that cannot be delivered goes another
//! way, see `double_bounces.rs`. Whether there is trouble, and with whom, is decided elsewhere.

use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::date;
use haraka_shared::dsn::{MessageRequest, RecipientRequest, Return};
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::spool::{QueueName, Recipient};
use haraka_shared::stuffing::{Stuffer, Unstuffer};
use serde_json::Map;
use uuid::Uuid;

use super::attempt::Cause;
use super::bounce::{About, Action, Report, compose, received_from};
use super::double_bounces;
use super::item::{Loaded, Stored};
use super::submit::Submission;
use super::template::Templates;
use crate::rt;
use crate::worker::Worker;

/// What became of the news for the sender.
pub(super) enum Told {
    /// It is on disk, or nobody wants it.
    Done,
    /// Nothing could be stored; the item must stay as it is.
    NotStored,
}

/// What a report is about.
pub(super) struct News<'a> {
    pub(super) action: Action,
    /// Who is told.
    pub(super) reader: Address,
    pub(super) told: &'a [&'a (Recipient, Cause)],
    /// Why, in a line.
    pub(super) why: &'a str,
    /// The whole message is wanted, if it is not too large.
    pub(super) whole: bool,
    /// Until when it is tried, in milliseconds since 1970.
    pub(super) retry_until: Option<u64>,
}

/// A report, and what it is about.
pub(super) struct Written {
    /// Its name.
    pub(super) id: String,
    pub(super) text: Vec<u8>,
    /// Of the message that the report is about.
    pub(super) header: Header,
}

/// Octets at the beginning of a message in which its header is looked for.
const HEADER_OCTETS: usize = 64 * 1024;

/// Tells the sender who did not get the message.
pub(super) async fn send(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    failed: &[(Recipient, Cause)],
    why: &str,
) -> Told {
    let _turn = worker.outbound.writing.acquire().await;
    let todo = &item.todo;
    if todo.mail_from.is_null() {
        return Box::pin(double_bounces::take(worker, name, item, failed, why)).await;
    }
    let asked = |(r, _): &&(Recipient, Cause)| request(r).wants_failure();
    let told: Vec<_> = failed.iter().filter(asked).collect();
    if told.len() < failed.len() {
        log_at!(
            Level::Info,
            &todo.uuid,
            "outbound",
            [],
            "{} of {} recipients are not reported, as the sender asked",
            failed.len() - told.len(),
            failed.len()
        );
    }
    if told.is_empty() {
        return Told::Done;
    }
    let news = News {
        action: Action::Failed,
        reader: todo.mail_from.clone(),
        told: &told,
        why,
        whole: MessageRequest::of_item(&todo.extra).ret == Some(Return::Full),
        retry_until: None,
    };
    report(worker, name, item, &news).await
}

/// Tells a sender that the message was delivered or handed on, or that it is late. Whoever calls has
/// seen to it that these recipients are to be reported.
pub(super) async fn notify(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    action: Action,
    recipients: &[(Recipient, Cause)],
    retry_until: Option<u64>,
) -> Told {
    let why = match recipients.first() {
        Some((_, cause)) if !item.todo.mail_from.is_null() => cause.to_string(),
        _ => return Told::Done,
    };
    let _turn = worker.outbound.writing.acquire().await;
    let told: Vec<_> = recipients.iter().collect();
    let news = News {
        action,
        reader: item.todo.mail_from.clone(),
        told: &told,
        why: &why,
        // RFC 3461 §4.3: RET is about failures.
        whole: false,
        retry_until,
    };
    report(worker, name, item, &news).await
}

fn request(recipient: &Recipient) -> RecipientRequest {
    RecipientRequest::of_recipient(&recipient.extra)
}

async fn report(worker: &Rc<Worker>, name: &QueueName, item: &Loaded, news: &News<'_>) -> Told {
    let written = match news.action {
        Action::Failed => {
            let words = worker.outbound.words.of_bounces(&worker.dir);
            write(worker, item, news, &words).await
        }
        Action::Delayed => write(worker, item, news, &Templates::delayed()).await,
        Action::Delivered | Action::Relayed => write(worker, item, news, &Templates::done()).await,
    };
    match written {
        Ok(written) => queue(worker, name, item, news, written).await,
        Err(e) => {
            log_at!(
                Level::Error,
                &item.todo.uuid,
                "outbound",
                [],
                "{name} not read for its report: {e}"
            );
            Told::NotStored
        }
    }
}

/// Composes a report.
///
/// # Errors
/// The message cannot be read now.
pub(super) async fn write(
    worker: &Rc<Worker>,
    item: &Loaded,
    news: &News<'_>,
    words: &Templates,
) -> std::io::Result<Written> {
    let todo = &item.todo;
    let settings = worker.settings();
    let largest = if news.whole {
        settings.outbound.return_size
    } else {
        0
    };
    let (header, message) = read(item, largest).await?;
    let id = format!("{:X}", Uuid::new_v4().hyphenated());
    let recipients: Vec<About<'_>> = news
        .told
        .iter()
        .map(|(recipient, cause)| About {
            address: &recipient.address,
            cause,
            original: request(recipient).original_recipient(),
        })
        .collect();
    let transaction = todo.uuid.rsplit_once('.').map_or("", |(uuid, _)| uuid);
    let envelope_id = MessageRequest::of_item(&todo.extra).envelope_id();
    let received_from = received_from(&header, transaction);
    let retry_until = news.retry_until.map(mail_date);
    let report = Report {
        me: &settings.me,
        pid: std::process::id(),
        date: &date::rfc2822_now(),
        arrival: &mail_date(todo.queue_time),
        id: &id,
        reader: &news.reader,
        action: news.action,
        recipients: &recipients,
        envelope_id: envelope_id.as_deref(),
        received_from: received_from.as_deref(),
        retry_until: retry_until.as_deref(),
        reason: news.why,
        header: &header,
        message: message.as_deref(),
    };
    let text = compose(&report, words);
    Ok(Written { id, text, header })
}

/// Puts a report into the queue.
pub(super) async fn queue(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    news: &News<'_>,
    written: Written,
) -> Told {
    let id = written.id;
    let submission = Submission {
        uuid: format!("{id}.1"),
        mail_from: Address::null(),
        rcpt_to: vec![news.reader.clone().into()],
        extra: Map::new(),
        notes: serde_json::json!({ "skip_plugins": [] }),
        message: stored(&written.text),
    };
    let what = match news.action {
        Action::Failed => "bounce",
        _ => "report",
    };
    let uuid = &item.todo.uuid;
    match worker.outbound.submit(worker, submission, None).await {
        Ok(()) => {
            log_at!(Level::Info, uuid, "outbound", [], "{what} queued as {id}.1");
            Told::Done
        }
        Err(e) => {
            log_at!(
                Level::Error,
                uuid,
                "outbound",
                [],
                "{what} for {name} not queued: {e}"
            );
            Told::NotStored
        }
    }
}

/// A time in milliseconds since 1970 as mail writes it.
fn mail_date(ms: u64) -> String {
    date::rfc2822(i64::try_from(ms / 1000).unwrap_or(i64::MAX)).to_string()
}

/// The header of the message, as far as it is within reach, and the message if it has at most this
/// many octets.
async fn read(item: &Loaded, largest: u64) -> std::io::Result<(Header, Option<Vec<u8>>)> {
    let (head, body) = item.message.parts();
    let split = |start: &[u8]| Header::split(start, HeaderLimits::default()).0;
    let octets = item.message.octets();
    let whole = largest > 0 && octets <= largest;
    if !whole && !head.is_empty() {
        return Ok((split(head), None));
    }
    let body = body.clone();
    let most = if whole {
        usize::try_from(octets).unwrap_or(HEADER_OCTETS)
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
