//! What the accept path hands to the spool: one message, its recipients by domain, and its bytes.

use std::fs::File;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::name::QueueName;
use super::todo::Recipient;
use crate::address::Address;

/// A message to be stored. Everything in it is accepted, or nothing is.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Transaction id; the items get `.1`, `.2` … appended as in Haraka.
    pub uuid: String,
    /// When the message was accepted, in milliseconds since 1970.
    pub queue_time: u64,
    /// When delivery is first due, in milliseconds since 1970; usually `queue_time`.
    pub next_attempt: u64,
    /// Envelope sender.
    pub mail_from: Address,
    /// One item per destination domain (or per recipient with `always_split`); at least one.
    pub items: Vec<NewItem>,
    /// The transaction's notes, written into every item. An object.
    pub notes: Value,
    /// Further keys of the header: parameters of MAIL (RFC 3461) and the like.
    pub extra: Map<String, Value>,
    /// The message as it goes over the wire.
    pub body: Body,
}

/// The recipients of one domain.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// Destination domain.
    pub domain: String,
    /// Its recipients.
    pub rcpt_to: Vec<Recipient>,
}

/// A message in wire format: lines end with CRLF, leading dots are doubled, and the final dot is
/// missing. The pieces are written one after another as they are.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// The pieces in order.
    pub pieces: Vec<BodyPiece>,
}

impl Body {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(BodyPiece::len).sum()
    }

    /// Whether there is not a single byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            pieces: vec![BodyPiece::Owned(bytes)],
        }
    }
}

/// A run of bytes of a body.
#[derive(Debug, Clone)]
pub enum BodyPiece {
    /// In memory.
    Owned(Vec<u8>),
    /// In memory and shared, so that no copy is needed to hand it to the offload thread.
    Shared(Arc<[u8]>),
    /// A body as the SMTP session received it: in memory or in a file.
    Whole(crate::body::Body),
    /// In a file, copied by the kernel where it can.
    File {
        /// Open for reading; its position is not used.
        file: Arc<File>,
        /// First byte.
        offset: u64,
        /// Number of bytes; a shorter file is an error.
        len: u64,
    },
}

impl BodyPiece {
    fn len(&self) -> u64 {
        match self {
            Self::Owned(bytes) => bytes.len() as u64,
            Self::Shared(bytes) => bytes.len() as u64,
            Self::Whole(body) => body.len(),
            Self::File { len, .. } => *len,
        }
    }
}

/// A message that is on disk for good: data and directory entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The items' names, in the order of [`NewMessage::items`].
    pub items: Vec<QueueName>,
}
