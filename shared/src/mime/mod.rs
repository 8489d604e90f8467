//! MIME (RFC 2045 to 2047, 2183): the parts of a stored message, found and read only when a plugin
//! asks, and edits of text parts that leave every other octet alone.
//!
//! Must never recurse: the depth of a message is the sender's choice. Must never hold a body: parts
//! are ranges of the stored message, read through the same decoders in pieces. A `message/rfc822` part
//! is text, as in Haraka, and is not taken apart. Why this is our own: `docs/adr/0013-mime.md`.

pub mod charset;
mod edit;
mod oddities;
mod part;
mod reader;
mod scan;
pub mod transfer;
mod tree;

pub(crate) use self::edit::concerns;
pub use self::edit::{Banner, BodyFilter, FilterText, TypeMatch, edit_part};
pub(crate) use self::oddities::Oddity;
pub use self::part::{Part, PartKind, Text};
pub use self::reader::PartReader;
pub use self::tree::MimeTree;

/// How much of a message is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MimeLimits {
    /// `mailparser.max_mime_depth`: multiparts within each other; deeper ones stay whole.
    pub max_depth: usize,
    /// `max.mime_parts`: at this many boundary lines the message is refused (CON-35).
    pub max_parts: usize,
    /// `mailparser.attachment_max_buffered`: octets of a text that are held for a filter or a script.
    pub max_buffered: usize,
}

impl Default for MimeLimits {
    /// Haraka's: 100, 1000, 64 MiB.
    fn default() -> Self {
        MimeLimits {
            max_depth: 100,
            max_parts: 1000,
            max_buffered: 64 * 1024 * 1024,
        }
    }
}

/// Why a message cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum MimeError {
    /// `max.mime_parts` was reached.
    #[error("too many MIME parts")]
    TooManyParts,
    /// The body could not be read.
    #[error("reading the message: {0}")]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
