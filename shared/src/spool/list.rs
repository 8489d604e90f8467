//! The queue as the command line shows it: `--qlist` (CLI-06) and `--qstat` (CLI-07).
//!
//! Reads only. Works beside running servers, theirs or ours, and needs no ownership.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::dir::OwningIter;

use super::directory::{Directory, Step};
use super::entry::Entry;
use super::error::SpoolError;
use super::name::QueueName;
use super::store::{LoadError, read_header};
use super::todo::Todo;

/// One line of the queue listing; its text form is the one that Haraka prints.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The file.
    pub name: QueueName,
    /// Its envelope.
    pub todo: Todo,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Q: {} rcpt:{} from:{} domain:{}",
            self.name,
            self.todo.rcpt_to.len(),
            self.todo.mail_from,
            self.todo.domain
        )
    }
}

/// Iterator over the items of a queue directory, in the directory's order. A file that cannot be
/// read is an error of its own and does not end the listing.
pub struct Listing {
    dir: Directory,
    entries: OwningIter,
}

impl Listing {
    /// Starts a listing.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let dir = Directory::open(path, None).map_err(|source| SpoolError::Directory {
            path: path.display().to_string(),
            source,
        })?;
        let entries = dir.list()?.into_iter();
        Ok(Self { dir, entries })
    }

    fn read(&self, name: &QueueName) -> Result<Listed, SpoolError> {
        match read_header(&self.dir, name.as_str()) {
            Ok((_, _, todo, _)) => Ok(Listed {
                name: name.clone(),
                todo,
            }),
            Err(LoadError::System(error)) => Err(error),
            Err(LoadError::Damaged(cause)) => Err(SpoolError::Broken {
                name: name.as_str().to_owned(),
                cause,
                set_aside: false,
            }),
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Listed, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(e) => return Some(Err(SpoolError::io(Step::List, ".", e.into()))),
            };
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if let Entry::Item(name) = Entry::classify(name) {
                match self.read(&name.to_owned()) {
                    // delivered between the listing and the look at it
                    Err(error) if error.is_gone() => {}
                    other => return Some(other),
                }
            }
        }
    }
}

/// What `--qstat` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStat {
    /// The directory.
    pub queue_dir: PathBuf,
    /// Names in it that are items' names; nothing is opened.
    pub queue_count: u64,
}

impl QueueStat {
    /// Counts the items of a queue directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn of(path: &Path) -> Result<Self, SpoolError> {
        let dir = Directory::open(path, None).map_err(|source| SpoolError::Directory {
            path: path.display().to_string(),
            source,
        })?;
        let mut queue_count = 0;
        dir.for_each(|name| {
            queue_count += u64::from(matches!(Entry::classify(name), Entry::Item(_)));
        })?;
        Ok(Self {
            queue_dir: path.to_owned(),
            queue_count,
        })
    }
}

impl fmt::Display for QueueStat {
    /// As Node prints an object: on one line while it is short, quotes chosen by content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.queue_dir.display().to_string();
        let quote = match (path.contains('\''), path.contains('"'), path.contains('`')) {
            (false, ..) => '\'',
            (true, false, _) => '"',
            (true, true, false) => '`',
            (true, true, true) => '\'',
        };
        let escaped = path.replace('\\', "\\\\");
        let escaped = if quote == '\'' {
            escaped.replace('\'', "\\'")
        } else {
            escaped
        };
        let dir = format!("queue_dir: {quote}{escaped}{quote}");
        let count = format!("queue_count: {}", self.queue_count);
        if dir.chars().count() + count.len() <= ONE_LINE {
            write!(f, "{{ {dir}, {count} }}")
        } else {
            write!(f, "{{\n  {dir},\n  {count}\n}}")
        }
    }
}

/// Longest properties that Node puts on one line.
const ONE_LINE: usize = 65;
