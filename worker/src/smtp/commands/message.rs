//! Reading a message from 354 to the final dot: header to memory, body to memory or disk.
//!
//! The bytes are kept as they came, dot-stuffed; only line ends that are no CRLF are dealt with
//! (PB-01). A message that is too big is read to its end so that its rest is not taken for commands.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

use haraka_shared::body::BodyWriter;
use haraka_shared::config::SpoolAfter;
use haraka_shared::header::{Header, HeaderReader};
use haraka_shared::limits::SPOOL_WRITE;
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::Transaction;

use crate::rt;
use crate::smtp::proto::data::{BareLineEnds, DataScanner, Violation};
use crate::smtp::session::Session;
use crate::smtp::wire::Lost;

/// What came.
pub(super) enum Received {
    /// A message; it is in the transaction.
    Whole,
    /// More bytes than allowed.
    TooBig,
    /// A message that cannot be taken, with the answer.
    Unusable(Reply),
}
