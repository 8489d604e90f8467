//! What there is to say about certificates when they are loaded.

use std::fmt::{self, Display};

use haraka_shared::log::Level;
use haraka_shared::log_server;

/// Something about keys, certificates or the files that hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How urgent it is. From `Error` on, a certificate or all of TLS is missing.
    pub level: Level,
    /// What it is, with the file's name.
    pub text: String,
}

impl Remark {
    /// Something that cannot be used.
    pub(super) fn error(text: impl Into<String>) -> Remark {
        Remark {
            level: Level::Error,
            text: text.into(),
        }
    }

    /// Something to look at.
    pub(super) fn warn(text: impl Into<String>) -> Remark {
        Remark {
            level: Level::Warn,
            text: text.into(),
        }
    }

    /// What was found.
    pub(super) fn info(text: impl Into<String>) -> Remark {
        Remark {
            level: Level::Info,
            text: text.into(),
        }
    }

    /// Writes it to the log.
    pub fn log(&self) {
        log_server!(self.level, "{}", self.text);
    }
}

impl Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
