//! What new addresses have sent today, in a file for each: its length is the count.
//!
//! The table of traffic has the same number, for all workers at once; the file is what a restart finds.
//! Written before a message is sent, so that a crash costs messages of the day and never adds any.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use haraka_shared::date::epoch_ms;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::shaping::Source;
use haraka_shared::traffic::{Counted, Key};

use crate::rt;

const DAY_MS: u64 = 86_400_000;

/// The files.
pub(super) struct WarmUps {
    dir: PathBuf,
}

/// Today, and until when that is.
struct Today {
    day: u32,
    /// On the clock of the table.
    ends: u64,
}

impl Today {
    fn new(now: u64) -> Today {
        let ms = epoch_ms();
        let left = DAY_MS - ms % DAY_MS;
        Today {
            day: u32::try_from(ms / DAY_MS).unwrap_or(u32::MAX),
            ends: now.saturating_add(left.saturating_mul(1000)),
        }
    }
}

impl WarmUps {
    /// In this directory.
    pub(super) fn new(dir: PathBuf) -> WarmUps {
        WarmUps { dir }
    }

    /// Whether the source may send one more today; else when the next day begins.
    pub(super) fn allows(&self, counted: &Counted, source: &Source, now: u64) -> Result<(), u64> {
        let today = Today::new(now);
        let Some(cap) = cap(source, &today) else {
            return Ok(());
        };
        let known = counted.traffic.today(key(source), today.day);
        let sent = known.unwrap_or_else(|| self.sent(source, today.day));
        if sent < cap { Ok(()) } else { Err(today.ends) }
    }

    /// Counts one more; true if that is to be written down.
    pub(super) fn take(&self, counted: &Counted, source: &Source, now: u64) -> Result<bool, u64> {
        let today = Today::new(now);
        let Some(cap) = cap(source, &today) else {
            return Ok(false);
        };
        let key = key(source);
        let before = match counted.traffic.today(key, today.day) {
            Some(_) => 0,
            None => self.sent(source, today.day),
        };
        let counts = (today.day, before);
        let taken = counted
            .traffic
            .count_today(counted.seat, key, cap, counts, now);
        taken.map(|()| true).map_err(|_| today.ends)
    }

    /// What the source has sent today, and may; none if it is not new.
    pub(super) fn today(&self, counted: &Counted, source: &Source) -> Option<(u32, u32)> {
        let today = Today::new(0);
        let cap = cap(source, &today)?;
        let known = counted.traffic.today(key(source), today.day);
        let sent = known.unwrap_or_else(|| self.sent(source, today.day));
        Some((sent, cap))
    }

    /// Writes down that one more is sent; false if that cannot be done.
    pub(super) async fn write_down(&self, source: &Source) -> bool {
        let day = Today::new(0).day;
        let (dir, file) = (self.dir.clone(), file(source, day));
        let written = rt::offload(move || append(&dir, &file, day)).await;
        let why = match written {
            Ok(Ok(())) => return true,
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        log_server!(
            Level::Error,
            "warm-up of {}: what is sent cannot be written down, and will not be known after a restart: {why}",
            source.name
        );
        false
    }

    fn sent(&self, source: &Source, day: u32) -> u32 {
        let length = fs::metadata(self.dir.join(file(source, day))).map_or(0, |m| m.len());
        u32::try_from(length).unwrap_or(u32::MAX)
    }
}

fn cap(source: &Source, today: &Today) -> Option<u32> {
    source.warm_up.as_ref()?.cap(today.day.into())
}

fn key(source: &Source) -> Key {
    Key::of("warm-up", &*source.name)
}

/// Days since 1970, then the source. What cannot be part of a file name is written as its number.
fn file(source: &Source, day: u32) -> String {
    use std::fmt::Write as _;
    let mut name = format!("{day}.");
    for byte in source.name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

fn append(dir: &Path, file: &str, day: u32) -> io::Result<()> {
    let path = dir.join(file);
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    let mut opened = match options.open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            sweep(dir, day);
            options.create(true).open(&path)?
        }
        opened => opened?,
    };
    opened.write_all(b".")
}

/// Removes what is left of days before. What cannot be removed does no harm.
fn sweep(dir: &Path, day: u32) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name
            .to_str()
            .and_then(|n| n.split('.').next()?.parse().ok());
        if of.is_some_and(|of: u32| of < day) {
            drop(fs::remove_file(entry.path()));
        }
    }
}
