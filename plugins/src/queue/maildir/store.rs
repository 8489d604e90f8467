//! Writing one message into Maildirs: all of them or none.
//!
//! Blocks on disk; runs on the offload pool. A message is written and synced in every `tmp` before
//! the first file is renamed into a `new`, so a full disk is noticed while nothing is visible yet.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use haraka_shared::limits::BODY_CHUNK;
use haraka_shared::message_stream::MessageReader;

use super::names;

/// Counts the files of this process, for their names.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// One mailbox of a delivery.
pub(super) struct Mailbox {
    /// Below which everything lies.
    pub(super) root: PathBuf,
    /// Directory names from the root to the mailbox.
    pub(super) dirs: Vec<String>,
    /// The recipient, for the header.
    pub(super) delivered_to: String,
}

/// A message with its mailboxes.
pub(super) struct Job {
    pub(super) boxes: Vec<Mailbox>,
    /// The sender in angle brackets.
    pub(super) return_path: String,
    pub(super) message: MessageReader,
    /// This host, for file names.
    pub(super) host: Arc<str>,
    /// Set when the client is not going to hear of a success any more.
    pub(super) abandoned: Arc<AtomicBool>,
}

/// Why nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// A file or directory could not be written.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody waits for the delivery any more.
    #[error("given up, it took too long")]
    Abandoned,
    /// There is no thread for it.
    #[error("the offload pool did not run it")]
    NotRun,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

impl Job {
    /// Delivers; on an error everything that was written is removed again.
    pub(super) fn run(self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for mailbox in &self.boxes {
            self.write(mailbox, &mut batch)?;
            if self.abandoned.load(Ordering::Acquire) {
                return Err(StoreError::Abandoned);
            }
        }
        batch.publish()
    }

    fn write(&self, mailbox: &Mailbox, batch: &mut Batch) -> Result<(), StoreError> {
        let dir = make_mailbox(mailbox)?;
        let name = names::file(
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or(Duration::ZERO),
            std::process::id(),
            SEQUENCE.fetch_add(1, Ordering::Relaxed),
            &self.host,
        );
        let tmp = dir.join("tmp").join(&name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)
            .map_err(at(&tmp))?;
        batch.files.push(Placed {
            tmp: tmp.clone(),
            new: dir.join("new").join(&name),
            published: false,
        });
        self.fill(file, mailbox).map_err(at(&tmp))
    }

    fn fill(&self, file: File, mailbox: &Mailbox) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(BODY_CHUNK, file);
        writeln!(out, "Return-Path: {}", self.return_path)?;
        writeln!(out, "Delivered-To: {}", mailbox.delivered_to)?;
        self.message.clone().write_to(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

/// The files of one delivery. What was not committed is removed when this is dropped.
#[derive(Default)]
struct Batch {
    files: Vec<Placed>,
    committed: bool,
}

struct Placed {
    tmp: PathBuf,
    new: PathBuf,
    published: bool,
}

impl Batch {
    /// Makes all files visible and their names durable.
    fn publish(mut self) -> Result<(), StoreError> {
        for file in &mut self.files {
            fs::rename(&file.tmp, &file.new).map_err(at(&file.tmp))?;
            file.published = true;
        }
        for file in &self.files {
            if let Some(dir) = file.new.parent() {
                sync_dir(dir)?;
            }
        }
        self.committed = true;
        Ok(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        for file in &self.files {
            let path = if file.published { &file.new } else { &file.tmp };
            // A failure is being reported already, and a mail reader may have moved the file.
            drop(fs::remove_file(path));
        }
    }
}

/// The mailbox's directory, made with all that belongs to it if it was not there.
fn make_mailbox(mailbox: &Mailbox) -> Result<PathBuf, StoreError> {
    let mut dir = mailbox.root.clone();
    dir.extend(&mailbox.dirs);
    let new = dir.join("new");
    // `new` is made last, so where it is nothing is missing.
    if new.is_dir() {
        return Ok(dir);
    }
    let mut above = mailbox.root.clone();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&above)
        .map_err(at(&above))?;
    make_dir(&above)?;
    for name in &mailbox.dirs {
        above.push(name);
        make_dir(&above)?;
    }
    for name in ["tmp", "cur", "new"] {
        make_dir(&dir.join(name))?;
    }
    Ok(dir)
}

/// Makes a directory durable in the one above it. One that is there already is fine: another worker
/// may be making the same, and may not have synced it yet.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other.map_err(at(dir))?,
    }
    match dir.parent() {
        Some(above) => sync_dir(above),
        None => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(at(dir))
}
