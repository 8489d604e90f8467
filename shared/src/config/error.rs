//! What is wrong with a configuration, with file, line and key.
//!
//! An error ends the start; a warning is printed and the server runs.

use std::fmt::{self, Display};
use std::io;

/// Largest configuration file that is read; lists of a million hosts stay below it.
pub const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Why a configuration cannot be used. `file` is the name below `config/`, as an operator knows it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or directory is there but cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// Its name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The name belongs to something other than a file.
    #[error("{file}: is {what}, not a file")]
    NotAFile {
        /// Its name.
        file: String,
        /// What it is.
        what: &'static str,
    },
    /// The file is larger than [`MAX_FILE`].
    #[error("{file}: larger than {} MiB", MAX_FILE / (1024 * 1024))]
    TooLarge {
        /// Its name.
        file: String,
    },
    /// A relative name that leads out of the configuration directory (CFS-16).
    #[error("{file}: leads out of the configuration directory")]
    Escapes {
        /// The name as asked for.
        file: String,
    },
    /// A file that does not follow its form.
    #[error("{at}: {why}")]
    Syntax {
        /// File and line.
        at: At,
        /// What is wrong.
        why: String,
    },
    /// A value that makes no sense.
    #[error("{at}: {key}: {why}")]
    Value {
        /// File and line.
        at: At,
        /// Key, with its section unless that is `main`.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Something an operator should look at; the server runs all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub at: At,
    /// What.
    pub text: String,
}

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}

/// A place in a configuration file, written `smtp.ini:3`, or `smtp.ini` for the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Name below `config/`.
    pub file: String,
    /// Line from 1; 0 for the file as a whole.
    pub line: u32,
}

impl At {
    /// A line of a file, from 1.
    pub fn line(file: &str, line: u32) -> At {
        At {
            file: file.to_owned(),
            line,
        }
    }

    /// A file as a whole.
    pub fn file(file: &str) -> At {
        At::line(file, 0)
    }

    /// A warning about this place.
    pub fn warn(self, text: impl Into<String>) -> Warning {
        Warning {
            at: self,
            text: text.into(),
        }
    }
}

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A key as messages name it: `listen`, or `[max] bytes` outside `main`.
pub fn key_name(section: &str, key: &str) -> String {
    if section == "main" {
        key.to_owned()
    } else {
        format!("[{section}] {key}")
    }
}

/// Collects everything that is wrong, so that an operator sees all of it at once.
#[derive(Debug, Default)]
pub struct Problems {
    /// What ends the start.
    pub errors: Vec<ConfigError>,
    /// What does not.
    pub warnings: Vec<Warning>,
}

impl Problems {
    /// The value, or `None` with the error noted.
    pub fn note<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                self.errors.push(e);
                None
            }
        }
    }
}
