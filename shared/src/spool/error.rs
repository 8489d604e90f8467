//! What can go wrong with the queue directory, told apart by what the caller has to do about it.
//!
//! Trouble of this machine ([`SpoolError::Io`]) is always temporary for the peer and keeps the
//! item; a damaged item ([`SpoolError::Broken`]) has been set aside and must not be tried again.

use std::io;

use nix::errno::Errno;

use super::directory::Step;

/// Why an operation on the queue directory failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The operating system refused; nothing that was on disk before has changed.
    #[error("cannot {step} queue file {name}: {source}")]
    Io {
        /// What was being done.
        step: Step,
        /// The file, relative to the queue directory.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The item is damaged. Unless the rename failed too, it is now called `error.<name>`.
    #[error("queue file {name} is broken: {cause}")]
    Broken {
        /// The name it had.
        name: String,
        /// What is wrong with it.
        cause: ItemError,
        /// Whether it was renamed to `error.<name>`.
        set_aside: bool,
    },
    /// A message without a single recipient domain was handed in.
    #[error("message {uuid} has no recipients")]
    NoRecipients {
        /// The transaction.
        uuid: String,
    },
    /// The message's header does not fit the format.
    #[error("message {uuid} cannot be written: {cause}")]
    Unwritable {
        /// The transaction.
        uuid: String,
        /// What is wrong with it.
        cause: ItemError,
    },
    /// A name that no queue file of ours or of Haraka's can have.
    #[error("not a queue file name: {name}")]
    BadName {
        /// The text given.
        name: String,
    },
    /// Somebody else holds a lock on the queue directory.
    #[error("queue directory {path} is in use by {by}")]
    InUse {
        /// The directory.
        path: String,
        /// Who that must be.
        by: &'static str,
    },
    /// The queue directory cannot be created, opened or written to.
    #[error("queue directory {path}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

impl SpoolError {
    pub(super) fn io(step: Step, name: &str, source: io::Error) -> Self {
        Self::Io {
            step,
            name: name.to_owned(),
            source,
        }
    }

    /// The system's error, where there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } | Self::Directory { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether space, inodes or quota ran out: the caller answers 452 4.3.1 and may stop accepting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.errno()
            .is_some_and(|e| matches!(e, Errno::ENOSPC | Errno::EDQUOT))
    }

    /// Whether the item is damaged and was set aside: forget it, do not retry.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    /// Whether the file is not there (any more): somebody removed it by hand.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.errno() == Some(Errno::ENOENT)
    }

    fn errno(&self) -> Option<Errno> {
        self.io_error()?.raw_os_error().map(Errno::from_raw)
    }
}

/// What is wrong with the content of a queue file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// A file without content.
    #[error("zero bytes")]
    Empty,
    /// It ends inside the header.
    #[error("header needs {needed} bytes, file has {found}")]
    Truncated {
        /// Bytes that the length field asks for, itself included.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The length field is over [`super::HEADER_MAX`].
    #[error("header of {len} bytes is over the limit")]
    HeaderTooLong {
        /// The length that the file claims.
        len: u64,
    },
    /// The header is not the JSON of an envelope.
    #[error("header: {0}")]
    Header(String),
    /// The body is not as long as the header says: a write was cut short, or the file was edited.
    #[error("body has {found} bytes, header says {expected}")]
    BodySize {
        /// Bytes according to the header.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file with the body of this item is gone.
    #[error("body file {0} is missing")]
    BodyMissing(String),
    /// A directory, symbolic link, pipe or device.
    #[error("not a regular file")]
    NotRegular,
}
