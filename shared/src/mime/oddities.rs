//! What was odd about a message that was taken apart, for the log (TXN-18, TXN-19). Each kind is told
//! once per message, however many parts have it: the sender decides how many there are.

use std::fmt;

use super::MimeTree;
use crate::log::Level;

/// One kind of oddity, with its first example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// Multiparts within each other beyond this limit stayed whole.
    TooDeep(usize),
    /// A Content-Transfer-Encoding that nobody knows.
    Encoding(String),
    /// A multipart whose Content-Type has no boundary.
    NoBoundary(String),
}

impl Oddity {
    /// All that a message has; `max_depth` is the limit that it was taken apart with.
    pub(crate) fn all(tree: &MimeTree, max_depth: usize) -> Vec<Oddity> {
        let parts = || tree.parts().iter();
        let unknown = parts().find(|p| !p.encoding_known());
        let unknown = unknown.map(|p| p.header().get_decoded("content-transfer-encoding"));
        let whole = parts().find(|p| p.is_type("multipart/") && !p.is_multipart());
        let deep = tree.is_too_deep().then_some(Oddity::TooDeep(max_depth));
        deep.into_iter()
            .chain(unknown.map(|name| Oddity::Encoding(begin(&name))))
            .chain(whole.map(|p| Oddity::NoBoundary(begin(p.content_type()))))
            .collect()
    }

    /// Haraka's level for it.
    pub(crate) fn level(&self) -> Level {
        match self {
            Oddity::TooDeep(_) => Level::Error,
            Oddity::Encoding(_) | Oddity::NoBoundary(_) => Level::Warn,
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Oddity::TooDeep(depth) => write!(f, "Max MIME depth exceeded: {depth}"),
            Oddity::Encoding(name) => write!(f, "Invalid CTE on email: {name}, using 8bit"),
            Oddity::NoBoundary(kind) => write!(f, "Multipart message without boundary: {kind}"),
        }
    }
}

fn begin(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

/// Characters of the sender's that a line shows.
const LONGEST: usize = 100;
