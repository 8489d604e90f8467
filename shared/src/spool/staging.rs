//! Bringing items of another queue into this one: all of them once, also when it is interrupted.
//!
//! 1. Each file is written whole under a name that nobody takes for an item.
//! 2. When all are on disk, `.import` gets the list of what was read; its rename is the commit point.
//! 3. Each file is renamed to an item, by the worker that will own it, or here where no server runs.
//! 4. `.import` is removed.
//!
//! Interrupted before 2, nothing was imported, and the next import removes the files. Interrupted
//! after it, the next import first finishes, and then reads again what it is given, without the files
//! on the list: the same source brings nothing twice. One import at a time has the lock.

use std::fs::File;
use std::io::{Read, Write as _};

use super::directory::Step;
use super::entry::{Entry, NEW_SUFFIX};
use super::error::{ItemError, SpoolError};
use super::name::{Fnv, Form};
use super::store::Spool;
use super::stored::{StagedName, State, StoredName};
use super::todo::parse_item;
use super::{HEADER_MAX, IMPORT_FILE, LENGTH_FIELD};
use crate::date::epoch_ms;

/// After the list of an import that was interrupted, once it was finished.
const DONE_SUFFIX: &str = ".done";
/// After the name of the file whose lock an import holds.
const LOCK_SUFFIX: &str = ".lock";

/// Bytes of one reading call.
const COPY: usize = 128 * 1024;

/// An import. Dropping it leaves whatever there is to the next one.
pub struct Import<'a> {
    spool: &'a Spool,
    /// Hashes of the names that were read: by an import that was interrupted, sorted, and now.
    before: Vec<u64>,
    now: std::collections::HashSet<u64>,
    serial: u64,
    /// Items of an interrupted import that wait to be taken in.
    unfinished: bool,
    _lock: File,
}

/// A file to be imported.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name where it comes from.
    pub name: &'a str,
    /// When it arrived, in milliseconds since 1970; 0 for what its header says.
    pub arrival: u64,
    /// When it is due, in milliseconds since 1970.
    pub next_attempt: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Its length in bytes.
    pub len: u64,
}

impl Spool {
    /// Begins an import.
    ///
    /// # Errors
    /// Another one is at work, or the directory cannot be read or written.
    pub fn import(&self) -> Result<Import<'_>, SpoolError> {
        let lock = self.lock_kept(&format!("{IMPORT_FILE}{LOCK_SUFFIX}"), "another import")?;
        let unfinished = self.dir.inode(IMPORT_FILE)?.is_some();
        let list = if unfinished {
            IMPORT_FILE.to_owned()
        } else {
            self.remove_staged()?;
            format!("{IMPORT_FILE}{DONE_SUFFIX}")
        };
        Ok(Import {
            spool: self,
            before: self.read_list(&list)?,
            now: std::collections::HashSet::new(),
            serial: epoch_ms() << 16,
            unfinished,
            _lock: lock,
        })
    }

    fn remove_staged(&self) -> Result<(), SpoolError> {
        let mut debris = Vec::new();
        self.dir.for_each(|file| {
            if let Entry::Staged(_) = Entry::classify(file) {
                debris.push(file.to_owned());
            }
        })?;
        debris.iter().try_for_each(|file| self.dir.unlink(file))
    }

    /// The item that [`Spool::adopt`] is to make of a staged file: a name that nobody has had.
    #[must_use]
    pub fn item_of(&self, staged: &StagedName, held: bool) -> StoredName {
        let name = self
            .new_name(staged.arrival, staged.next_attempt, Form::Plain)
            .rescheduled(staged.next_attempt, staged.attempts);
        let state = if held { State::Held } else { State::Queued };
        StoredName { state, name }
    }

    /// Makes an item of a staged file. Not durable before [`Spool::sync_names`].
    ///
    /// # Errors
    /// [`SpoolError::is_gone`] if it is one already, or the system refuses.
    pub fn adopt(&self, staged: &StagedName, item: &StoredName) -> Result<(), SpoolError> {
        self.dir.rename(&staged.file(), &item.file())
    }

    /// An open and locked file of the tools; the lock goes when it is dropped.
    pub(super) fn lock_kept(&self, name: &str, by: &'static str) -> Result<File, SpoolError> {
        let file = match self.dir.create(name) {
            Err(SpoolError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                let (file, _) =
                    self.dir
                        .open_regular(name)?
                        .ok_or_else(|| SpoolError::BadName {
                            name: name.to_owned(),
                        })?;
                file
            }
            other => other?,
        };
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(SpoolError::InUse {
                path: self.path().display().to_string(),
                by,
            }),
            Err(std::fs::TryLockError::Error(e)) => Err(SpoolError::io(Step::Open, name, e)),
        }
    }

    fn read_list(&self, file: &str) -> Result<Vec<u64>, SpoolError> {
        let mut text = String::new();
        match self.dir.open_regular(file) {
            Err(e) if e.is_gone() => {}
            Err(e) => return Err(e),
            Ok(None) => {}
            Ok(Some((mut from, _))) => {
                let read = from.read_to_string(&mut text);
                read.map_err(|e| SpoolError::io(Step::Read, file, e))?;
            }
        }
        let hashes = text.lines().map(|line| u64::from_str_radix(line, 16));
        let mut list: Vec<u64> = hashes.filter_map(Result::ok).collect();
        list.sort_unstable();
        Ok(list)
    }

    /// Replaces a file of the tools; on disk when it returns.
    pub(super) fn replace_kept(&self, name: &str, content: &[u8]) -> Result<(), SpoolError> {
        let new = format!("{name}{NEW_SUFFIX}");
        self.dir.unlink(&new)?;
        let mut file = self.dir.create(&new)?;
        self.dir.write(&new, &mut file, &[content])?;
        self.dir.sync_data(&new, &file)?;
        self.dir.rename(&new, name)?;
        self.dir.sync_entries()
    }
}

impl Import<'_> {
    /// Whether an interrupted import has to be finished first: with [`Spool::adopt`] for all staged
    /// files, then [`Import::finished`].
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// All files of the interrupted import are items now.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finished(&mut self) -> Result<(), SpoolError> {
        let done = format!("{IMPORT_FILE}{DONE_SUFFIX}");
        self.spool.dir.rename(IMPORT_FILE, &done)?;
        self.spool.dir.sync_entries()?;
        self.unfinished = false;
        Ok(())
    }

    /// Writes a file that is to become an item; false if it was read before.
    ///
    /// # Errors
    /// [`SpoolError::Broken`] if it is no queue file, which concerns no other; else the source
    /// cannot be read or the disk cannot be written.
    pub fn stage(&mut self, source: Source<'_>, from: &mut dyn Read) -> Result<bool, SpoolError> {
        let hash = hash(source.name);
        if self.before.binary_search(&hash).is_ok() || self.now.contains(&hash) {
            return Ok(false);
        }
        let (header, queue_time) = header(&source, from)?;
        self.serial += 1;
        let staged = StagedName {
            serial: self.serial,
            arrival: match source.arrival {
                0 => queue_time.max(1),
                known => known,
            },
            next_attempt: source.next_attempt,
            attempts: source.attempts,
        };
        let file = staged.file();
        if let Err(e) = self.write(&file, &header, &source, from) {
            self.spool.dir.unlink(&file)?;
            return Err(e);
        }
        self.now.insert(hash);
        Ok(true)
    }

    fn write(
        &self,
        file: &str,
        header: &[u8],
        source: &Source<'_>,
        from: &mut dyn Read,
    ) -> Result<(), SpoolError> {
        let dir = &self.spool.dir;
        let mut out = dir.create(file)?;
        dir.write(file, &mut out, &[header])?;
        let mut left = source.len.saturating_sub(header.len() as u64);
        let mut buffer = vec![0; COPY];
        while left > 0 {
            let wanted = usize::try_from(left).map_or(COPY, |n| n.min(COPY));
            let room = buffer.get_mut(..wanted).unwrap_or_default();
            let n = read_some(from, room).map_err(|e| unread(source, e))?;
            if n == 0 {
                return Err(unread(source, std::io::ErrorKind::UnexpectedEof.into()));
            }
            dir.write(file, &mut out, &[room.get(..n).unwrap_or_default()])?;
            left -= n as u64;
        }
        dir.sync_data(file, &out)
    }

    /// Everything was read: from here on it is imported, whatever happens.
    ///
    /// # Errors
    /// The list cannot be written; nothing is imported.
    pub fn commit(&mut self) -> Result<(), SpoolError> {
        // the names of the staged files first
        self.spool.dir.sync_entries()?;
        let mut list = Vec::new();
        for hash in self.before.iter().chain(&self.now) {
            // memory cannot refuse
            let _ = writeln!(list, "{hash:x}");
        }
        self.spool.replace_kept(IMPORT_FILE, &list)
    }

    /// Removes what was staged: nothing is imported.
    ///
    /// # Errors
    /// Something is left, which the next import removes.
    pub fn abandon(self) -> Result<(), SpoolError> {
        self.spool.remove_staged()
    }

    /// All files of this import are items now, and it is forgotten.
    ///
    /// # Errors
    /// The list is still there; the next import of the same files would import nothing.
    pub fn end(self) -> Result<(), SpoolError> {
        let dir = &self.spool.dir;
        // the last one first: with neither the same files may come again
        dir.unlink(&format!("{IMPORT_FILE}{DONE_SUFFIX}"))?;
        dir.unlink(IMPORT_FILE)?;
        if let Err(error) = dir.sync_entries() {
            // the list may come back with a power cut, which repeats nothing
            log::warn!("{error}");
        }
        Ok(())
    }
}

/// Reads the header of a queue file with its length, checks it, and tells when it was queued.
fn header(source: &Source<'_>, from: &mut dyn Read) -> Result<(Vec<u8>, u64), SpoolError> {
    let broken = |cause| SpoolError::Broken {
        name: source.name.to_owned(),
        cause,
        set_aside: false,
    };
    if source.len == 0 {
        return Err(broken(ItemError::Empty));
    }
    let truncated = |needed| ItemError::Truncated {
        needed,
        found: source.len,
    };
    if source.len < LENGTH_FIELD {
        return Err(broken(truncated(LENGTH_FIELD)));
    }
    let mut field = [0; LENGTH_FIELD as usize];
    from.read_exact(&mut field).map_err(|e| unread(source, e))?;
    let len = u32::from_be_bytes(field);
    if len > HEADER_MAX {
        return Err(broken(ItemError::HeaderTooLong { len: len.into() }));
    }
    let needed = LENGTH_FIELD + u64::from(len);
    if needed > source.len {
        return Err(broken(truncated(needed)));
    }
    let mut header = field.to_vec();
    header.resize(usize::try_from(needed).unwrap_or(field.len()), 0);
    let rest = header.get_mut(field.len()..).unwrap_or_default();
    from.read_exact(rest).map_err(|e| unread(source, e))?;
    let todo = parse_item(&header).map_err(broken)?.todo;
    let found = source.len - needed;
    match todo.size {
        Some(expected) if expected != found => Err(broken(ItemError::BodySize { expected, found })),
        _ if todo.rcpt_to.is_empty() => Err(SpoolError::NoRecipients { uuid: todo.uuid }),
        _ => Ok((header, todo.queue_time)),
    }
}

fn read_some(from: &mut dyn Read, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(into) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn unread(source: &Source<'_>, error: std::io::Error) -> SpoolError {
    SpoolError::io(Step::Read, source.name, error)
}

fn hash(name: &str) -> u64 {
    let mut hash = Fnv::default();
    hash.add(name);
    hash.finish()
}
