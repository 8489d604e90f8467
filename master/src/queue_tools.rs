//! The outbound queue on disk, for the command line: read without a running server, or beside one.

use std::io::{self, Write};
use std::path::Path;

use haraka_shared::spool::{Listing, QueueStat, SpoolError};

/// Why the queue cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue directory.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What goes out.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

/// Prints a line per message (CLI-06). Gives what is wrong with files that cannot be shown.
pub fn list(queue_dir: &Path, out: &mut impl Write) -> Result<Vec<String>, QueueError> {
    let mut broken = Vec::new();
    for item in Listing::open(queue_dir)? {
        match item {
            Ok(item) => writeln!(out, "{item}")?,
            Err(e) => broken.push(e.to_string()),
        }
    }
    out.flush()?;
    Ok(broken)
}

/// Prints the number of messages (CLI-07).
pub fn stat(queue_dir: &Path, out: &mut impl Write) -> Result<(), QueueError> {
    writeln!(out, "{}", QueueStat::of(queue_dir)?)?;
    Ok(())
}
