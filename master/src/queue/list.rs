//! `haraka queue list`: a line or two for each item, oldest first.

use std::io::Write;

use haraka_shared::spool::{State, StoredName, Todo};
use haraka_shared::waiting::{last_error, span};
use serde_json::{Value, json};

use super::args::Select;
use super::filter::Wait;
use super::select::{Finder, Found, Means};
use super::text::{id, plain, short, size};
use super::{Complete, Place, Progress, ToolError, items};

/// Characters of a sender.
const SENDER: usize = 40;

/// Lists items.
pub(super) fn run(
    place: &Place,
    select: &Select,
    json: bool,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let mut finder = Finder::open(place)?;
    let mut progress = Progress::new();
    let (mut count, mut bytes) = (0u64, 0u64);
    // `--all` means the trash as well where a list is concerned.
    let mut select = select.clone();
    if select.all && select.filter.state.is_none() {
        select.filter.state = Some(Wait::Any);
    }
    finder.each(&select, Means::Alive, true, &mut |finder, found: Found| {
        let Some((todo, length)) = found.envelope else {
            return Ok(());
        };
        if json {
            writeln!(out, "{}", object(finder, &found.item, &todo, length))?;
        } else {
            if count == 0 {
                writeln!(
                    out,
                    "{:<14} {:<9} {:>7} {:>7} {:>5} {:>5}  FROM → TO",
                    "ID", "STATE", "AGE", "NEXT", "TRIES", "SIZE"
                )?;
            }
            line(finder, &found.item, &todo, length, out)?;
        }
        count += 1;
        bytes += length.unwrap_or(0);
        progress.tell(|| format!("{} listed", items(count)));
        Ok(())
    })?;
    progress.clear();
    if !json {
        match count {
            0 => writeln!(out, "no items")?,
            _ => writeln!(out, "{}, {} bytes", items(count), size(bytes))?,
        }
    }
    out.flush()?;
    Ok(finder.tell_problems())
}

fn line(
    finder: &Finder,
    item: &StoredName,
    todo: &Todo,
    length: Option<u64>,
    out: &mut impl Write,
) -> Result<(), ToolError> {
    let now = finder.now;
    let age = match item.name.arrival {
        0 => todo.queue_time,
        arrival => arrival,
    };
    let next = match item.state {
        State::Queued if item.name.next_attempt <= now => "now".to_owned(),
        State::Queued => span(item.name.next_attempt - now),
        _ => "-".to_owned(),
    };
    let recipients: Vec<String> = todo
        .rcpt_to
        .iter()
        .take(3)
        .map(|r| plain(&r.address.address()))
        .collect();
    let more = match todo.rcpt_to.len().saturating_sub(3) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    writeln!(
        out,
        "{:<14} {:<9} {:>7} {:>7} {:>5} {:>5}  {} → {}{more}",
        id(item),
        finder.wait(item, todo).word(),
        span(now.saturating_sub(age)),
        next,
        item.name.attempts,
        length.map_or("?".to_owned(), size),
        short(&todo.mail_from.to_string(), SENDER),
        recipients.join(", "),
    )?;
    if let Some(error) = todo.rcpt_to.iter().find_map(last_error) {
        writeln!(out, "{:15}{}", "", short(error, 120))?;
    }
    Ok(())
}

/// An item for programs.
pub(super) fn object(
    finder: &Finder,
    item: &StoredName,
    todo: &Todo,
    length: Option<u64>,
) -> Value {
    let recipients: Vec<Value> = todo
        .rcpt_to
        .iter()
        .map(|r| json!({"address": r.address.address(), "error": last_error(r)}))
        .collect();
    let removed = match item.state {
        State::Trashed { at, .. } => Some(at),
        _ => None,
    };
    json!({
        "id": id(item),
        "file": item.file(),
        "state": finder.wait(item, todo).word(),
        "uuid": todo.uuid,
        "arrival": match item.name.arrival { 0 => todo.queue_time, at => at },
        "next_attempt": item.name.next_attempt,
        "attempts": item.name.attempts,
        "removed": removed,
        "size": length,
        "domain": todo.domain,
        "mail_from": todo.mail_from.address(),
        "rcpt_to": recipients,
    })
}
