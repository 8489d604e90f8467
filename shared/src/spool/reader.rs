//! Reading a queue directory without having a part in it: for the command line, beside a server.
//!
//! Takes no lock, owns nothing and changes nothing. What is found may be gone or renamed a moment
//! later, which is no error.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LENGTH_FIELD;
use super::directory::Directory;
use super::entry::Entry;
use super::error::{ItemError, SpoolError};
use super::name::{Form, QueueName};
use super::remark::fill_in;
use super::store::{Item, LoadError, StoredBody, fill, read_header};
use super::stored::{StagedName, State, StoredName};
use super::todo::{Todo, header_len};

/// An open queue directory.
pub struct QueueReader {
    dir: Directory,
    path: PathBuf,
}

/// What the directory has besides items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Others {
    /// Files set aside.
    pub aside: u64,
    /// Files of an import that are no items yet.
    pub staged: u64,
}

impl QueueReader {
    /// Opens a directory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<QueueReader, SpoolError> {
        let dir = Directory::open(path, None).map_err(|source| SpoolError::Directory {
            path: path.display().to_string(),
            source,
        })?;
        Ok(QueueReader {
            dir,
            path: path.to_owned(),
        })
    }

    /// Calls `each` for every item, in the order of the directory, and counts the rest.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn items(&self, mut each: impl FnMut(State, &str)) -> Result<Others, SpoolError> {
        let mut others = Others::default();
        self.dir.for_each(|file| match Entry::classify(file) {
            Entry::Item(name) => each(State::Queued, name.as_str()),
            Entry::Shelved(state, name) => each(state, name.as_str()),
            Entry::Aside if file.starts_with("error.body.") => {}
            Entry::Aside => others.aside += 1,
            Entry::Staged(_) => others.staged += 1,
            _ => {}
        })?;
        Ok(others)
    }

    /// The files of an import that are no items yet, at most `most`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn staged(&self, most: usize) -> Result<Vec<StagedName>, SpoolError> {
        let mut found = Vec::new();
        self.dir.for_each(|file| {
            if found.len() < most {
                found.extend(StagedName::parse(file));
            }
        })?;
        Ok(found)
    }

    /// An item's envelope, and the length of its message in bytes where it is known.
    ///
    /// # Errors
    /// [`SpoolError::is_gone`], or it is damaged, or the system refuses.
    pub fn envelope(&self, item: &StoredName) -> Result<(Todo, Option<u64>), SpoolError> {
        match read_header(&self.dir, &item.file()) {
            Ok((_, len, mut todo, offset)) => {
                fill_in(&self.path, &item.file(), &mut todo);
                let own = (item.name.form != Form::Split).then(|| len.saturating_sub(offset));
                let size = todo.size.or(own);
                Ok((todo, size))
            }
            Err(e) => Err(broken(item, e)),
        }
    }

    /// An item with its message.
    ///
    /// # Errors
    /// As [`QueueReader::envelope`].
    pub fn open_item(&self, item: &StoredName) -> Result<Item, SpoolError> {
        let loaded = load(&self.dir, &item.name, &item.file());
        let mut opened = loaded.map_err(|e| broken(item, e))?;
        fill_in(&self.path, &item.file(), &mut opened.todo);
        Ok(opened)
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    /// The system refuses to tell.
    pub fn has(&self, item: &StoredName) -> Result<bool, SpoolError> {
        self.dir.inode(&item.file()).map(|inode| inode.is_some())
    }

    /// When the file was last touched, its renaming included, in milliseconds since 1970.
    ///
    /// # Errors
    /// The system refuses to tell.
    pub fn changed(&self, item: &StoredName) -> Result<Option<u64>, SpoolError> {
        self.dir.changed(&item.file())
    }
}

fn broken(item: &StoredName, error: LoadError) -> SpoolError {
    match error {
        LoadError::System(e) => e,
        LoadError::Damaged(cause) => SpoolError::Broken {
            name: item.file(),
            cause,
            set_aside: false,
        },
    }
}

/// Reads an item whose header is in this file.
pub(super) fn load(dir: &Directory, name: &QueueName, file: &str) -> Result<Item, LoadError> {
    let (file, len, todo, offset) = read_header(dir, file)?;
    let (file, offset, found) = match name.form {
        Form::Plain | Form::Old => (file, offset, len.saturating_sub(offset)),
        Form::Split => open_body(dir, &name.body_file())?,
    };
    if let Some(expected) = todo.size
        && expected != found
    {
        return Err(ItemError::BodySize { expected, found }.into());
    }
    Ok(Item {
        name: name.clone(),
        todo,
        body: StoredBody::new(Arc::new(file), offset, found),
    })
}

/// The file with the body of a split item begins with the header of the item it came with.
fn open_body(dir: &Directory, name: &str) -> Result<(File, u64, u64), LoadError> {
    let (file, len) = match dir.open_regular(name) {
        Err(e) if e.is_gone() => return Err(ItemError::BodyMissing(name.to_owned()).into()),
        other => other?.ok_or(ItemError::NotRegular)?,
    };
    let mut field = [0; LENGTH_FIELD as usize];
    let have = field.len().min(usize::try_from(len).unwrap_or(0));
    let start = field.get_mut(..have).unwrap_or_default();
    fill(name, &file, start, 0)?;
    let offset = LENGTH_FIELD + u64::from(header_len(start)?);
    let found = len.checked_sub(offset).ok_or(ItemError::Truncated {
        needed: offset,
        found: len,
    })?;
    Ok((file, offset, found))
}

impl std::fmt::Debug for QueueReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueReader").finish_non_exhaustive()
    }
}
