//! `haraka queue suspend` and `resume`: the list in the queue directory, and telling the server.

use std::io::Write;

use haraka_shared::date::epoch_ms;
use std::time::Instant;

use haraka_shared::spool::{
    Lock, Spool, SpoolError, Suspended, Suspension, Suspensions, SuspensionsError,
};
use haraka_shared::waiting::when;
use serde_json::json;

use super::args::{NewSuspension, Resume};
use super::owner::{PATIENCE, PAUSE, open};
use super::text::plain;
use super::{Complete, Place, ToolError};
use crate::control::{AskError, ask};

/// Suspends.
pub(super) fn add(
    place: &Place,
    new: &NewSuspension,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let now = epoch_ms();
    let all = new.subjects.iter().map(|(what, value)| Suspension {
        what: *what,
        value: value.clone(),
        since: now,
        until: new.time.map(|time| now.saturating_add(time)),
        reason: new.reason.clone(),
    });
    let all: Vec<Suspension> = all.collect();
    let spool = open(place, Lock::None)?;
    change(&spool, now, |list| {
        all.iter().cloned().for_each(|s| list.add(s));
    })?;
    let served = tell(place)?;
    for suspension in &all {
        writeln!(out, "{}", line(suspension, now))?;
    }
    if !served {
        writeln!(out, "No server runs; the next one will go by it.")?;
    }
    Ok(true)
}

/// Changes the list; one tool at a time, and others wait for a moment.
fn change<T>(
    spool: &Spool,
    now: u64,
    change: impl Fn(&mut Suspensions) -> T,
) -> Result<T, SuspensionsError> {
    let begun = Instant::now();
    loop {
        match spool.change_suspensions(now, &change) {
            Err(SuspensionsError::Spool(SpoolError::InUse { .. }))
                if begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Resumes.
pub(super) fn end(
    place: &Place,
    which: &Resume,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let spool = open(place, Lock::None)?;
    let is_meant = |s: &Suspension| {
        let named = |(what, value): &(Suspended, String)| *what == s.what && *value == s.value;
        which.all || which.subjects.iter().any(named)
    };
    let ended = change(&spool, epoch_ms(), |list| list.end(is_meant))?;
    tell(place)?;
    for suspension in &ended {
        writeln!(out, "{} goes on", suspension.subject())?;
    }
    let mut complete = true;
    for (what, value) in &which.subjects {
        let was = |s: &Suspension| s.what == *what && s.value == *value;
        if !ended.iter().any(was) {
            complete = false;
            eprintln!("{value}: was not suspended");
        }
    }
    if which.all && ended.is_empty() {
        writeln!(out, "nothing was suspended")?;
    }
    Ok(complete)
}

/// Lists what is suspended.
pub(super) fn list(place: &Place, json: bool, out: &mut impl Write) -> Result<Complete, ToolError> {
    let (all, now) = (Suspensions::load(&place.queue_dir)?, epoch_ms());
    let mut any = false;
    for suspension in all.active(now) {
        any = true;
        match json {
            true => writeln!(out, "{}", json!(suspension))?,
            false => writeln!(out, "{}", line(suspension, now))?,
        }
    }
    if !any && !json {
        writeln!(out, "nothing is suspended")?;
    }
    Ok(true)
}

fn line(s: &Suspension, now: u64) -> String {
    let until = match s.until {
        Some(until) => format!("resumes {}", when(until, now)),
        None => "until resumed".to_owned(),
    };
    let reason = match s.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", plain(reason)),
    };
    let subject = plain(&s.subject());
    format!(
        "{subject} suspended since {}, {until}{reason}",
        when(s.since, now)
    )
}

/// Has the server read the list again; false if none runs.
fn tell(place: &Place) -> Result<bool, ToolError> {
    match ask(&place.install_dir, "suspensions") {
        Ok(_) => Ok(true),
        Err(AskError::NotRunning(_)) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
