//! The open queue directory of one worker process: opening it, and reading items for delivery.
//!
//! All calls block; the worker makes them on its offload threads. Writing is in `commit` and
//! `update`, start-up in `recover`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use nix::unistd::{AccessFlags, access};

use super::commit::SyncPolicy;
use super::directory::{Directory, FaultPoint, Step};
use super::error::{ItemError, SpoolError};
use super::name::{ASIDE_PREFIX, Form, Incarnation, NewName, QueueName, escape_host};
use super::reader::load;
use super::spares::Spares;
use super::todo::{Todo, header_len, parse_item};
use super::{FIRST_READ, LENGTH_FIELD};

/// How to open a queue directory.
#[derive(Default)]
pub struct SpoolOptions {
    /// This machine's name as it goes into file names; empty for the system's.
    pub host: String,
    /// This process; none for a fresh one. Only one process may ever use an incarnation.
    pub incarnation: Option<Incarnation>,
    /// How data is made durable.
    pub sync: SyncWay,
    /// Keeps those away who must not work beside this process.
    pub lock: Lock,
    /// New files are given to whom the directory belongs to: for root, who is none of the workers.
    pub give_files_to_owner: bool,
    /// Whether files of delivered messages are written again.
    pub reuse: Reuse,
    /// For tests.
    pub faults: Option<Box<dyn FaultPoint>>,
}

/// How a queue directory is locked; it stays so until the [`Spool`] is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lock {
    /// Not at all.
    #[default]
    None,
    /// With other workers: each touches what is its own.
    Workers,
    /// Alone: whoever touches items of all workers.
    Alone,
}

/// How the data of a batch is made durable; both ways are equally safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncWay {
    /// One sync of the file system per batch where that is the cheaper way, else file by file.
    #[default]
    Auto,
    /// File by file.
    PerFile,
}

/// When the file of a delivered message is kept to be written again, instead of being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// Never.
    #[default]
    Never,
    /// While many messages are being written.
    UnderLoad,
    /// Always, for tests.
    Always,
}

/// The queue directory, opened by one process. Shared by its threads.
pub struct Spool {
    pub(super) dir: Directory,
    pub(super) sync: SyncPolicy,
    pub(super) spares: Spares,
    path: PathBuf,
    incarnation: Incarnation,
    pid: u32,
    host: String,
    serial: AtomicU32,
    /// Old headers that an update could not remove: they must go before their item does, or they
    /// would stand in for it at the next start.
    pub(super) stale: Mutex<Vec<QueueName>>,
}

impl Spool {
    /// Opens an existing queue directory.
    ///
    /// # Errors
    /// It is missing, or this user may not read and write it: better known at start than at the
    /// first message. [`SpoolError::InUse`] if somebody has a lock that does not go with this one;
    /// tools have theirs for a moment only.
    pub fn open(path: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        let failed = |source: io::Error| SpoolError::Directory {
            path: path.display().to_string(),
            source,
        };
        let needed = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
        access(path, needed).map_err(|e| failed(e.into()))?;
        let mut dir = Directory::open(path, options.faults).map_err(failed)?;
        if options.give_files_to_owner {
            dir.give_files_to_owner().map_err(failed)?;
        }
        lock(&dir, path, options.lock)?;
        let host = if options.host.is_empty() {
            nix::unistd::gethostname()
                .map_err(|e| failed(e.into()))?
                .to_string_lossy()
                .into_owned()
        } else {
            options.host
        };
        Ok(Self {
            dir,
            sync: SyncPolicy::new(options.sync),
            spares: Spares::new(options.reuse),
            path: path.to_owned(),
            incarnation: options.incarnation.unwrap_or_else(Incarnation::random),
            pid: std::process::id(),
            host: escape_host(&host),
            serial: AtomicU32::new(0),
            stale: Mutex::new(Vec::new()),
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The incarnation that this process writes into names.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The serial number of the item that is written next.
    #[must_use]
    pub fn next_serial(&self) -> u32 {
        self.serial.load(Ordering::Relaxed)
    }

    pub(super) fn serial(&self) -> u32 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn new_name(&self, arrival: u64, next_attempt: u64, form: Form) -> QueueName {
        NewName {
            arrival,
            next_attempt,
            attempts: 0,
            pid: self.pid,
            incarnation: self.incarnation,
            counter: self.serial(),
            host: &self.host,
            form,
        }
        .build()
    }

    /// Reads an item's envelope and opens its body.
    ///
    /// # Errors
    /// [`SpoolError::Broken`] when the item is damaged: it has been set aside and an ERROR logged.
    /// [`SpoolError::Io`] when the system refuses: the item is as it was, try again later.
    pub fn open_item(&self, name: &QueueName) -> Result<Item, SpoolError> {
        load(&self.dir, name, name.as_str()).map_err(|e| match e {
            LoadError::System(e) => e,
            LoadError::Damaged(cause) => {
                let set_aside = match self.set_aside(name, &cause.to_string()) {
                    Ok(()) => true,
                    Err(error) => {
                        log::error!("{error}");
                        false
                    }
                };
                SpoolError::Broken {
                    name: name.as_str().to_owned(),
                    cause,
                    set_aside,
                }
            }
        })
    }

    /// Renames a damaged item, and its body if it has one apart, to `error.<name>`, with an ERROR in
    /// the log. Nothing reads it again.
    ///
    /// # Errors
    /// The rename failed: the item is still there, do not open it again in a loop.
    pub fn set_aside(&self, name: &QueueName, why: &str) -> Result<(), SpoolError> {
        log::error!("queue file {name} set aside as {ASIDE_PREFIX}{name}: {why}");
        let aside = |name: &str| self.dir.rename(name, &format!("{ASIDE_PREFIX}{name}"));
        if name.form == Form::Split {
            // first, since a body without an item is removed at start-up
            match aside(&name.body_file()) {
                Err(e) if !e.is_gone() => return Err(e),
                _ => {}
            }
        }
        aside(name.as_str())
    }
}

/// See [`Lock`]. A file system without locks is for one server, and nobody else.
fn lock(dir: &Directory, path: &Path, lock: Lock) -> Result<(), SpoolError> {
    let (alone, by) = match lock {
        Lock::None => return Ok(()),
        Lock::Workers => (false, "a queue tool"),
        Lock::Alone => (true, "a server that does not answer, or by another tool"),
    };
    let path = || path.display().to_string();
    match dir.lock(alone) {
        Ok(true) => Ok(()),
        Ok(false) => Err(SpoolError::InUse { path: path(), by }),
        Err(source) if alone => Err(SpoolError::Directory {
            path: path(),
            source,
        }),
        Err(e) => {
            log::warn!("{}: cannot be locked: {e}", path());
            Ok(())
        }
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// The file, its length, the header and where that ends.
pub(super) fn read_header(
    dir: &Directory,
    name: &str,
) -> Result<(File, u64, Todo, u64), LoadError> {
    let (file, len) = dir.open_regular(name)?.ok_or(ItemError::NotRegular)?;
    let mut bytes = vec![0; FIRST_READ.min(usize::try_from(len).unwrap_or(FIRST_READ))];
    fill(name, &file, &mut bytes, 0)?;
    let needed = LENGTH_FIELD + u64::from(header_len(&bytes)?);
    if needed > len {
        return Err(ItemError::Truncated { needed, found: len }.into());
    }
    let have = bytes.len();
    if needed > have as u64 {
        bytes.resize(usize::try_from(needed).unwrap_or(have), 0);
        let rest = bytes.get_mut(have..).unwrap_or_default();
        fill(name, &file, rest, have as u64)?;
    }
    let parsed = parse_item(&bytes)?;
    Ok((file, len, parsed.todo, parsed.body_offset))
}

pub(super) fn fill(name: &str, file: &File, into: &mut [u8], at: u64) -> Result<(), SpoolError> {
    file.read_exact_at(into, at)
        .map_err(|e| SpoolError::io(Step::Read, name, e))
}

pub(super) enum LoadError {
    System(SpoolError),
    Damaged(ItemError),
}

impl From<SpoolError> for LoadError {
    fn from(error: SpoolError) -> Self {
        Self::System(error)
    }
}

impl From<ItemError> for LoadError {
    fn from(error: ItemError) -> Self {
        Self::Damaged(error)
    }
}

/// An item opened for delivery.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name now.
    pub name: QueueName,
    /// Its envelope.
    pub todo: Todo,
    /// Its message.
    pub body: StoredBody,
}

/// The message of an item: a range of an open file, which stays readable even when the name goes.
#[derive(Debug, Clone)]
pub struct StoredBody {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

impl StoredBody {
    pub(super) fn new(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self { file, offset, len }
    }

    /// Bytes of the message in wire format, without the final dot.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no message at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `into` from `at` on and returns how many bytes that were: less than asked only at the
    /// end, where it is 0.
    ///
    /// # Errors
    /// The disk's, or `UnexpectedEof` when the file has become shorter than it was.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = left.min(into.len());
        let into = into.get_mut(..wanted).unwrap_or_default();
        self.file
            .read_exact_at(into, self.offset.saturating_add(at))?;
        Ok(wanted)
    }

    /// The file and the offset of the first byte, for handing it to another item or to the kernel.
    #[must_use]
    pub fn file(&self) -> (&Arc<File>, u64) {
        (&self.file, self.offset)
    }
}
