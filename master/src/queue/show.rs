//! `haraka queue show`: everything about items, or their messages.

use std::io::Write;

use haraka_shared::date::iso8601;
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::spool::{Item, StoredName};
use haraka_shared::stuffing::Unstuffer;
use haraka_shared::waiting::last_error;
use serde_json::json;

use super::args::{Select, Show};
use super::select::{Finder, Found, Means};
use super::text::{id, plain, size};
use super::{Complete, Place, ToolError};

/// Bytes of a message in which its header is looked for.
const HEADER_BYTES: usize = 64 * 1024;

/// Fields of the message that are shown.
const FIELDS: [&str; 5] = ["From", "To", "Subject", "Date", "Message-Id"];

/// Shows items.
pub(super) fn run(
    place: &Place,
    select: &Select,
    how: Show,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let mut finder = Finder::open(place)?;
    finder.each(select, Means::Alive, false, &mut |finder, found: Found| {
        let item = match finder.reader.open_item(&found.item) {
            Ok(item) => item,
            Err(e) if e.is_gone() => {
                finder.problem(format!("{}: is not in the queue any more", found.item));
                return Ok(());
            }
            Err(e) => {
                finder.problem(e.to_string());
                return Ok(());
            }
        };
        match how {
            Show::Text => text(finder, &found.item, &item, out),
            Show::Message => message(&item, out),
            Show::Json => {
                let file = found.item.file();
                let envelope =
                    json!({"file": file, "envelope": item.todo, "size": item.body.len()});
                Ok(writeln!(out, "{envelope}")?)
            }
        }
    })?;
    out.flush()?;
    Ok(finder.tell_problems())
}

fn text(
    finder: &Finder,
    stored: &StoredName,
    item: &Item,
    out: &mut impl Write,
) -> Result<(), ToolError> {
    let todo = &item.todo;
    let time = |ms: u64| iso8601(i64::try_from(ms).unwrap_or(i64::MAX));
    let mut field = |name: &str, value: &str| writeln!(out, "{name:<12} {}", plain(value));
    field("Id", &id(stored))?;
    field("File", &stored.file())?;
    field("Uuid", &todo.uuid)?;
    field("State", finder.wait(stored, todo).word())?;
    field("Arrived", &time(todo.queue_time))?;
    field("Next try", &time(stored.name.next_attempt))?;
    field("Tries", &stored.name.attempts.to_string())?;
    field(
        "Size",
        &format!("{} bytes ({})", item.body.len(), size(item.body.len())),
    )?;
    field("Sender", &todo.mail_from.to_string())?;
    field("Domain", &todo.domain)?;
    for recipient in &todo.rcpt_to {
        field("Recipient", &recipient.address.to_string())?;
        if let Some(error) = last_error(recipient) {
            let host = recipient
                .state
                .as_ref()
                .and_then(|s| s.dsn_remote_mta.clone());
            field("  error", error)?;
            if let Some(host) = host {
                field("  from", &host)?;
            }
        }
    }
    let start = read(item, HEADER_BYTES)?;
    let (header, _) = Header::split(&start, HeaderLimits::default());
    for name in FIELDS {
        if let Some(value) = header.get(name) {
            field(&format!("{name}:"), String::from_utf8_lossy(value).trim())?;
        }
    }
    Ok(writeln!(out)?)
}

fn read(item: &Item, most: usize) -> Result<Vec<u8>, ToolError> {
    let len = usize::try_from(item.body.len()).unwrap_or(most).min(most);
    let mut start = vec![0; len];
    let read = item.body.read_at(0, &mut start)?;
    start.truncate(read);
    Ok(start)
}

/// The message as it would be written to a file: dots single, line ends as on the wire.
fn message(item: &Item, out: &mut impl Write) -> Result<(), ToolError> {
    let mut unstuffer = Unstuffer::new();
    let mut buffer = vec![0; HEADER_BYTES];
    let mut at = 0;
    loop {
        let n = item.body.read_at(at, &mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        at += n as u64;
        let mut written = Ok(());
        unstuffer.push(buffer.get(..n).unwrap_or_default(), &mut |piece| {
            if written.is_ok() {
                written = out.write_all(piece);
            }
        });
        written?;
    }
}
