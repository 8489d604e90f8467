//! Storing new messages: a whole batch shares one round of syncs (group commit).
//!
//! Order per batch: write everything under temporary names → make the data durable → rename → make
//! the directory durable. The rename of a message's first item is its commit point. Why the data is
//! synced the way it is: `docs/adr/0003-spool.md`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::error::SpoolError;
use super::message::{Body, BodyPiece, Committed, NewItem, NewMessage};
use super::name::{Form, QueueName};
use super::spares::Reused;
use super::store::{Spool, SyncWay};
use super::todo::{Todo, write_header};
use crate::body::Chunk;

/// Files of a batch that stay open until they are synced one by one; more are opened again.
const KEPT_OPEN: usize = 128;
/// Pieces per writing call.
const PIECES: usize = 64;
/// Bytes per reading call where the kernel cannot copy between two files by itself.
const COPY_BUFFER: usize = 128 * 1024;

impl Spool {
    /// Stores a batch of messages. The answers are in the order of the batch; one message that
    /// fails does not touch the others and leaves nothing behind.
    ///
    /// `Ok` means that data and names are on disk: only then may a peer be told 250.
    pub fn commit(&self, batch: Vec<NewMessage>) -> Vec<Result<Committed, SpoolError>> {
        let files = batch.iter().map(|m| m.items.len()).sum();
        self.spares.count(files);
        let together = self.sync.together(files);
        let mut keep_open = if together { 0 } else { KEPT_OPEN };
        let mut buffer = Vec::with_capacity(2048);
        let mut staged: Vec<Result<Staged, SpoolError>> = batch
            .into_iter()
            .map(|message| self.stage(message, &mut keep_open, &mut buffer))
            .collect();
        self.sync_data(&mut staged, together, files);
        for slot in &mut staged {
            self.advance(slot, |staged| self.publish(staged));
        }
        if staged.iter().any(Result::is_ok) {
            let mark = self.spares.mark();
            match self.dir.sync_entries() {
                Ok(()) => self.spares.settle(mark),
                Err(error) => {
                    log::error!("{error}");
                    for slot in &mut staged {
                        self.advance(slot, |staged| {
                            staged.stuck = !self.withdraw(staged, staged.files.len());
                            Err(error.again())
                        });
                    }
                }
            }
        }
        staged
            .into_iter()
            .map(|slot| slot.map(Staged::into_committed))
            .collect()
    }

    /// Runs the next stage of a message; when that fails, the message is taken back.
    fn advance(
        &self,
        slot: &mut Result<Staged, SpoolError>,
        stage: impl FnOnce(&mut Staged) -> Result<(), SpoolError>,
    ) {
        if let Ok(staged) = slot
            && let Err(error) = stage(staged)
        {
            self.discard(staged);
            *slot = Err(error);
        }
    }

    /// Writes all files of a message under temporary names.
    fn stage(
        &self,
        message: NewMessage,
        keep_open: &mut usize,
        buffer: &mut Vec<u8>,
    ) -> Result<Staged, SpoolError> {
        if message.items.is_empty() {
            return Err(SpoolError::NoRecipients { uuid: message.uuid });
        }
        let mut staged = Staged {
            files: Vec::with_capacity(message.items.len()),
            stuck: false,
        };
        match self.stage_items(message, &mut staged, keep_open, buffer) {
            Ok(()) => Ok(staged),
            Err(error) => {
                self.discard(&staged);
                Err(error)
            }
        }
    }

    fn stage_items(
        &self,
        message: NewMessage,
        staged: &mut Staged,
        keep_open: &mut usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SpoolError> {
        let NewMessage {
            uuid, items, body, ..
        } = message;
        let mut todo = Todo {
            queue_time: message.queue_time,
            domain: String::new(),
            rcpt_to: Vec::new(),
            mail_from: message.mail_from,
            notes: message.notes,
            uuid: String::new(),
            force_tls: false,
            size: Some(body.len()),
            lead: None,
            extra: message.extra,
        };
        let alone = items.len() == 1;
        for (index, NewItem { domain, rcpt_to }) in items.into_iter().enumerate() {
            (todo.domain, todo.rcpt_to) = (domain, rcpt_to);
            todo.uuid = format!("{uuid}.{}", index + 1);
            todo.lead = staged.lead().map(|lead| lead.as_str().to_owned());
            buffer.clear();
            write_header(&todo, buffer).map_err(|cause| SpoolError::Unwritable {
                uuid: todo.uuid.clone(),
                cause,
            })?;
            let form = if index == 0 { Form::Plain } else { Form::Split };
            let name = self.new_name(message.queue_time, message.next_attempt, form);
            // Others are named after their message, and have links to its file.
            let reused = match alone {
                true => self.reuse(buffer.len() as u64 + body.len()),
                false => None,
            };
            let (temp, mut file, had) = match reused {
                Some(Reused { temp, file, len }) => (temp, file, len),
                None => {
                    let temp = name.temp_file();
                    let file = self.dir.create(&temp)?;
                    (temp, file, 0)
                }
            };
            let links = staged.files.first().map(|lead| lead.temp.clone());
            let entry = staged.files.len();
            staged.files.push(StagedFile {
                name,
                temp,
                open: None,
            });
            let Some(new) = staged.files.get_mut(entry) else {
                continue;
            };
            match links {
                None => {
                    write_body(&self.dir, &new.temp, &mut file, buffer, &body)?;
                    if had > 0 {
                        self.dir.cut_off(&new.temp, &mut file, had)?;
                    }
                }
                Some(lead) => {
                    self.dir.write(&new.temp, &mut file, &[buffer])?;
                    self.dir.link(&lead, &new.name.body_file())?;
                }
            }
            if *keep_open > 0 {
                *keep_open -= 1;
                new.open = Some(file);
            }
        }
        Ok(())
    }

    fn sync_data(&self, batch: &mut [Result<Staged, SpoolError>], together: bool, files: usize) {
        if together && batch.iter().any(Result::is_ok) {
            match self.sync.run(&self.dir, files) {
                Ok(()) => return,
                // which file it was is found below: each reports its own trouble
                Err(error) => log::warn!("{error}; syncing file by file"),
            }
        }
        let mut links = false;
        for slot in batch.iter_mut() {
            self.advance(slot, |staged| {
                links |= staged.files.len() > 1;
                staged.files.iter_mut().try_for_each(|f| self.sync_file(f))
            });
        }
        // the temporary names and links of items that become valid through another's rename
        if links && let Err(error) = self.dir.sync_entries() {
            for slot in batch {
                self.advance(slot, |_| Err(error.again()));
            }
        }
    }

    fn sync_file(&self, file: &mut StagedFile) -> Result<(), SpoolError> {
        let handle = match file.open.take() {
            Some(handle) => handle,
            None => match self.dir.open_regular(&file.temp)? {
                Some((handle, _)) => handle,
                None => return Ok(()),
            },
        };
        self.dir.sync_data(&file.temp, &handle)
    }

    /// Gives all files of a message their names; the first one counts.
    fn publish(&self, staged: &mut Staged) -> Result<(), SpoolError> {
        for (done, file) in staged.files.iter().enumerate() {
            if let Err(error) = self.dir.rename(&file.temp, file.name.as_str()) {
                staged.stuck = !self.withdraw(staged, done);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes back the first `done` renames, the first item last: a crash on the way finds the
    /// message either still committed, and finishes it, or not at all. False when the first item
    /// could not be taken back: the message is then left for the next start to finish, whole.
    fn withdraw(&self, staged: &Staged, done: usize) -> bool {
        let mut withdrawn = true;
        for file in staged.files.iter().take(done).rev() {
            withdrawn = match self.dir.rename(file.name.as_str(), &file.temp) {
                Ok(()) => true,
                Err(error) => {
                    log::error!("{error}");
                    false
                }
            };
        }
        withdrawn
    }

    /// Removes whatever a message has on disk, the first item first, since the others count only
    /// with it.
    fn discard(&self, staged: &Staged) {
        if staged.stuck {
            return;
        }
        for file in &staged.files {
            let mut names = vec![file.temp.clone()];
            if file.name.form == Form::Split {
                names.push(file.name.body_file());
            }
            for name in names {
                if let Err(error) = self.dir.unlink(&name) {
                    log::error!("{error}");
                }
            }
        }
    }
}

/// A message whose files are written under temporary names.
struct Staged {
    files: Vec<StagedFile>,
    /// Committed, reported as failed, and not to be taken back: see [`Spool::withdraw`].
    stuck: bool,
}

struct StagedFile {
    name: QueueName,
    temp: String,
    open: Option<File>,
}

impl Staged {
    fn lead(&self) -> Option<&QueueName> {
        self.files.first().map(|f| &f.name)
    }

    fn into_committed(self) -> Committed {
        Committed {
            items: self.files.into_iter().map(|f| f.name).collect(),
        }
    }
}

/// Writes header and body; pieces in memory go out together in as few calls as possible.
fn write_body(
    dir: &Directory,
    name: &str,
    file: &mut File,
    header: &[u8],
    body: &Body,
) -> Result<(), SpoolError> {
    let mut pending: Vec<&[u8]> = Vec::with_capacity(PIECES.min(body.pieces.len() + 1));
    pending.push(header);
    for piece in &body.pieces {
        match piece {
            BodyPiece::Owned(bytes) => pending.push(bytes),
            BodyPiece::Shared(bytes) => pending.push(bytes),
            BodyPiece::Whole(whole) => {
                for chunk in whole.chunks() {
                    match chunk {
                        Chunk::Memory(bytes) => pending.push(bytes),
                        Chunk::File(from, offset, len) => {
                            dir.write(name, file, &pending)?;
                            pending.clear();
                            copy_range(dir, name, (from, offset, len), file)?;
                        }
                    }
                    if pending.len() == PIECES {
                        dir.write(name, file, &pending)?;
                        pending.clear();
                    }
                }
            }
            BodyPiece::File {
                file: from,
                offset,
                len,
            } => {
                dir.write(name, file, &pending)?;
                pending.clear();
                copy_range(dir, name, (from, *offset, *len), file)?;
            }
        }
        if pending.len() == PIECES {
            dir.write(name, file, &pending)?;
            pending.clear();
        }
    }
    dir.write(name, file, &pending)
}

/// Appends a range of one file to another.
fn copy_range(
    dir: &Directory,
    name: &str,
    (from, offset, len): (&File, u64, u64),
    to: &mut File,
) -> Result<(), SpoolError> {
    let mut done = 0;
    #[cfg(target_os = "linux")]
    while done < len {
        let copied = dir.copy(name, || kernel_copy(from, offset + done, to, len - done))?;
        let Some(copied) = copied else {
            break;
        };
        done += copied;
    }
    let mut buffer = Vec::new();
    while done < len {
        buffer.resize(COPY_BUFFER, 0);
        let wanted = usize::try_from(len - done).map_or(COPY_BUFFER, |n| n.min(COPY_BUFFER));
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        dir.copy(name, || from.read_exact_at(chunk, offset + done))?;
        dir.write(name, to, &[chunk])?;
        done += wanted as u64;
    }
    Ok(())
}

/// None where the two files cannot be copied this way.
#[cfg(target_os = "linux")]
fn kernel_copy(from: &File, at: u64, to: &File, len: u64) -> io::Result<Option<u64>> {
    use nix::errno::Errno;
    let mut at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 30);
    match nix::fcntl::copy_file_range(from, Some(&mut at), to, None, len) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(copied) => Ok(Some(copied as u64)),
        Err(Errno::EINTR) => Ok(Some(0)),
        Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM) => {
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

/// Decides how a batch is synced, by what the last ones took.
///
/// One sync of the whole file system beats a sync per file from two files on, unless somebody else
/// has a lot of unwritten data on it: then files are synced one by one for a while.
pub(super) struct SyncPolicy {
    allowed: bool,
    start: Instant,
    /// Milliseconds after `start` until which files are synced one by one.
    avoid_until: AtomicU64,
}

impl SyncPolicy {
    /// Expected at most, plus `PER_FILE` for each file; a slow disk is slow either way.
    const PATIENCE: Duration = Duration::from_millis(50);
    const PER_FILE: Duration = Duration::from_millis(10);
    const AVOID: Duration = Duration::from_secs(10);

    pub(super) fn new(way: SyncWay) -> Self {
        Self {
            allowed: way == SyncWay::Auto && reports_errors(),
            start: Instant::now(),
            avoid_until: AtomicU64::new(0),
        }
    }

    fn together(&self, files: usize) -> bool {
        self.allowed && files >= 2 && self.elapsed() >= self.avoid_until.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    #[cfg(target_os = "linux")]
    fn run(&self, dir: &Directory, files: usize) -> Result<(), SpoolError> {
        let begun = Instant::now();
        let outcome = dir.sync_all();
        let files = u32::try_from(files).unwrap_or(u32::MAX);
        if outcome.is_err() || begun.elapsed() > Self::PATIENCE + Self::PER_FILE * files {
            let until = self
                .elapsed()
                .saturating_add(Self::AVOID.as_millis() as u64);
            self.avoid_until.store(until, Ordering::Relaxed);
        }
        outcome
    }

    #[cfg(not(target_os = "linux"))]
    fn run(&self, _: &Directory, _: usize) -> Result<(), SpoolError> {
        Ok(())
    }
}

/// Whether a sync of the file system says when it failed: Linux does from 5.8 on.
fn reports_errors() -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let Ok(system) = nix::sys::utsname::uname() else {
        return false;
    };
    let release = system.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (5, 8)
}
