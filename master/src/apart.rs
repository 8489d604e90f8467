//! Work in a process of its own, for what would leave threads, plugin state or a script engine behind.
//!
//! The process ends when the work is done; what it says comes back by a pipe. Must be used while the
//! master is the only thread.

use std::io::{self, Read, Write as _};
use std::process::exit;

use haraka_shared::log;
use nix::sys::wait::{WaitStatus, waitpid};

use crate::fork::{Forked, fork};

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The work is done, with this result.
    Done(u8),
    /// The work failed and says why.
    Failed(String),
    /// The process died over it.
    Died(String),
}

/// Longest complaint that is taken from the process.
const LONGEST_COMPLAINT: u64 = 64 * 1024;

/// Exit status for work that failed; results are below.
const FAILED: i32 = 255;

/// Runs the work and waits for it. Its result must be below 255.
///
/// # Errors
/// The process cannot be made or followed.
pub fn run(work: impl FnOnce() -> Result<u8, String>) -> io::Result<Ended> {
    let (mut said, mut say) = io::pipe()?;
    match fork()? {
        Forked::Worker(blocked) => {
            drop(said);
            drop(blocked);
            let done = work();
            if let Err(why) = &done {
                // A master that is gone needs no reason.
                drop(say.write_all(why.as_bytes()));
            }
            log::finish();
            // Not a return: sockets and files of the start are the master's to put away.
            exit(done.map_or(FAILED, i32::from));
        }
        Forked::Master(pid) => {
            drop(say);
            let mut why = Vec::new();
            Read::by_ref(&mut said)
                .take(LONGEST_COMPLAINT)
                .read_to_end(&mut why)?;
            let status = loop {
                match waitpid(pid, None) {
                    Err(nix::errno::Errno::EINTR) => {}
                    other => break other.map_err(io::Error::from)?,
                }
            };
            let why = String::from_utf8_lossy(&why).into_owned();
            Ok(match status {
                _ if !why.is_empty() => Ended::Failed(why),
                WaitStatus::Exited(_, status) if status != FAILED => {
                    Ended::Done(u8::try_from(status).unwrap_or_default())
                }
                WaitStatus::Signaled(_, signal, _) => Ended::Died(format!("killed by {signal}")),
                other => Ended::Died(format!("{other:?}")),
            })
        }
    }
}
