//! `haraka queue export`: items as a tar of plain queue files, which Haraka reads as well as we do.
//!
//! An item whose message is in a file of its own becomes one file again. Held items are exported
//! under their plain names. Nothing is removed.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use haraka_shared::spool::{Item, StoredBody, StoredName, write_header};

use super::args::Select;
use super::select::{Finder, Found, Means};
use super::{Complete, Place, Progress, ToolError, file_error, items};

/// Exports items to a new file, or to standard output.
pub(super) fn run(
    place: &Place,
    select: &Select,
    file: Option<&Path>,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        if io::stdout().is_terminal() {
            return Err(ToolError::Refused(
                "export: a tar is not for a terminal; name a file with --output".to_owned(),
            ));
        }
        let (complete, count) = write(place, select, &mut *out)?;
        eprintln!("{} exported", items(count));
        return Ok(complete);
    };
    // It holds people's mail.
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let to = opened.map_err(file_error(path))?;
    let written = write(place, select, &mut io::BufWriter::new(&to)).and_then(|written| {
        to.sync_all().map_err(file_error(path))?;
        Ok(written)
    });
    match written {
        Ok((complete, count)) => {
            writeln!(out, "{} exported to {}", items(count), path.display())?;
            Ok(complete)
        }
        Err(e) => {
            // Half of it would look like all of it.
            std::fs::remove_file(path).map_err(file_error(path))?;
            Err(e)
        }
    }
}

fn write(
    place: &Place,
    select: &Select,
    to: &mut impl Write,
) -> Result<(Complete, u64), ToolError> {
    let mut finder = Finder::open(place)?;
    let mut tar = tar::Builder::new(to);
    let mut progress = Progress::new();
    let mut count = 0u64;
    finder.each(select, Means::Alive, false, &mut |finder, found: Found| {
        match finder.reader.open_item(&found.item) {
            Ok(item) => append(&mut tar, &found.item, &item)?,
            Err(e) if e.is_gone() => {
                finder.problem(format!("{}: was delivered meanwhile", found.item));
                return Ok(());
            }
            Err(e) => {
                finder.problem(e.to_string());
                return Ok(());
            }
        }
        count += 1;
        progress.tell(|| format!("{} exported", items(count)));
        Ok(())
    })?;
    tar.into_inner()?.flush()?;
    progress.clear();
    Ok((finder.tell_problems(), count))
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    stored: &StoredName,
    item: &Item,
) -> Result<(), ToolError> {
    let name = plain_name(stored);
    let mut header = Vec::with_capacity(2048);
    let written = write_header(&item.todo, &mut header);
    written.map_err(|e| ToolError::Refused(format!("{stored}: {e}")))?;
    let mut entry = tar::Header::new_gnu();
    entry.set_size(header.len() as u64 + item.body.len());
    entry.set_mode(0o600);
    entry.set_mtime(item.todo.queue_time / 1000);
    let body = BodyReader {
        body: &item.body,
        at: 0,
    };
    tar.append_data(&mut entry, &name, io::Read::chain(&header[..], body))?;
    Ok(())
}

/// The name as that of an item with its own message.
pub(super) fn plain_name(stored: &StoredName) -> String {
    let name = stored.name.as_str();
    let plain = match stored.name.form {
        haraka_shared::spool::Form::Split => name.strip_suffix("_b"),
        _ => None,
    };
    plain.unwrap_or(name).to_owned()
}

/// A message from its first byte to its last.
pub(super) struct BodyReader<'a> {
    pub(super) body: &'a StoredBody,
    pub(super) at: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.body.read_at(self.at, into)?;
        self.at += n as u64;
        Ok(n)
    }
}
