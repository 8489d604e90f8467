//! Holding items back, throwing them away, and bringing them back: a rename each.
//!
//! Called for items that nobody else touches: by their owner, or where no server runs. The message
//! of a split item keeps its file; recovery knows that it is wanted (`docs/spool.md`).

use super::directory::Step;
use super::entry::Entry;
use super::error::SpoolError;
use super::name::{Form, QueueName};
use super::ownership::Ownership;
use super::reader::load;
use super::remark::fill_in;
use super::store::{Item, LoadError, Spool};
use super::stored::{State, StoredName};

/// What is left in the trash after some of it was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrashReport {
    /// Items removed for good.
    pub removed: u64,
    /// Items that could not be removed; they are tried again.
    pub failed: u64,
    /// When the oldest that is left was thrown away, in milliseconds since 1970.
    pub oldest: Option<u64>,
}

impl Spool {
    /// Moves an item to where it is to stand. Not durable before [`Spool::sync_names`].
    ///
    /// # Errors
    /// [`SpoolError::is_gone`] if it does not stand where it was thought to; `AlreadyExists` if there
    /// is another of its name where it is to go. Nothing has changed then.
    pub fn shelve(&self, item: &StoredName, to: State) -> Result<StoredName, SpoolError> {
        let moved = item.at(to);
        let (from, to) = (item.file(), moved.file());
        if from != to {
            if self.dir.inode(&to)?.is_some() {
                let exists = std::io::ErrorKind::AlreadyExists.into();
                return Err(SpoolError::io(Step::Rename, &to, exists));
            }
            self.dir.rename(&from, &to)?;
        }
        Ok(moved)
    }

    /// Makes renames durable.
    ///
    /// # Errors
    /// A power cut may undo them.
    pub fn sync_names(&self) -> Result<(), SpoolError> {
        self.dir.sync_entries()
    }

    /// Whether an item stands here.
    ///
    /// # Errors
    /// The system refuses to tell.
    pub fn has(&self, item: &StoredName) -> Result<bool, SpoolError> {
        self.dir.inode(&item.file()).map(|inode| inode.is_some())
    }

    /// Reads an item wherever it stands; a damaged one is not set aside.
    ///
    /// # Errors
    /// As [`Spool::open_item`], with [`SpoolError::Broken`] for a file that is left where it is.
    pub fn look_at(&self, item: &StoredName) -> Result<Item, SpoolError> {
        let loaded = load(&self.dir, &item.name, &item.file());
        let mut opened = loaded.map_err(|e| match e {
            LoadError::System(e) => e,
            LoadError::Damaged(cause) => SpoolError::Broken {
                name: item.file(),
                cause,
                set_aside: false,
            },
        })?;
        fill_in(self.path(), &item.file(), &mut opened.todo);
        Ok(opened)
    }

    /// Removes what was thrown away before `before`, in milliseconds since 1970, and is this
    /// worker's.
    ///
    /// # Errors
    /// The directory cannot be read. Trouble with single files is logged and counted.
    pub fn clear_trash(
        &self,
        ownership: &Ownership,
        before: u64,
    ) -> Result<TrashReport, SpoolError> {
        let mut report = TrashReport::default();
        let mut split = Vec::new();
        self.dir.for_each(|file| {
            let Entry::Shelved(State::Trashed { at, .. }, name) = Entry::classify(file) else {
                return;
            };
            if !ownership.owns(&name) {
                return;
            }
            let over = at < before;
            if over && name.form != Form::Split {
                report.count(at, self.dir.unlink(file));
            } else if over && split.len() < MOST_AT_ONCE {
                split.push((at, file.to_owned(), name.to_owned()));
            } else {
                report.keep(at);
            }
        })?;
        for (at, file, name) in split {
            report.count(at, self.remove_shelved(&file, &name));
        }
        Ok(report)
    }

    fn remove_shelved(&self, file: &str, name: &QueueName) -> Result<(), SpoolError> {
        self.remove_stale(name)?;
        self.dir.unlink(file)?;
        self.dir.unlink(&name.body_file())
    }
}

/// Split items removed in one pass over the directory; their names are kept for that long.
const MOST_AT_ONCE: usize = 10_000;

impl TrashReport {
    fn keep(&mut self, at: u64) {
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }

    fn count(&mut self, at: u64, removed: Result<(), SpoolError>) {
        match removed {
            Ok(()) => self.removed += 1,
            Err(error) => {
                log::error!("{error}");
                self.failed += 1;
                self.keep(at);
            }
        }
    }
}
