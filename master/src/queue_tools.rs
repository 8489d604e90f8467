//! The outbound queue on disk, for the command line: it is read without a running server.

use std::io::{self, Write};
use std::path::Path;

/// Prints a line per message.
pub fn list(_queue_dir: &Path, _out: &mut impl Write) -> io::Result<()> {
    Ok(())
}

/// Prints the number of messages.
pub fn stat(_queue_dir: &Path, _out: &mut impl Write) -> io::Result<()> {
    Ok(())
}
