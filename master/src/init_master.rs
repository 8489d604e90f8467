//! The hook `init_master`, run once before the first worker (HOK-01).
//!
//! Plugins leave threads and state behind, which the master must not have when it forks. So they run
//! in a process of their own that ends when they have answered; what they say comes back by a pipe.

use std::io::{self, Read, Write as _};
use std::path::Path;

use haraka_shared::config::Config;
use haraka_shared::log;
use nix::sys::wait::{WaitStatus, waitpid};

use crate::WorkerSide;
use crate::fork::{Forked, fork};
use crate::privileges::Identity;

/// Why the start ends here.
#[derive(Debug, thiserror::Error)]
pub enum InitMasterError {
    /// A plugin said so, or could not be asked.
    #[error("{0}")]
    Refused(String),
    /// The process died over it.
    #[error("init_master returned error: {0}")]
    Died(String),
    /// The process cannot be made or followed.
    #[error("init_master: {0}")]
    System(#[from] io::Error),
}

/// Longest complaint that is taken from the process.
const LONGEST_COMPLAINT: u64 = 64 * 1024;

/// Runs the hook and waits for it. The process has the rights of a worker, and the time of each
/// plugin is limited as in every hook. The caller must be the only thread.
pub fn run(
    config: &Config,
    install_dir: &Path,
    identity: Option<&Identity>,
    side: WorkerSide,
) -> Result<(), InitMasterError> {
    let (mut said, mut say) = io::pipe()?;
    match fork().map_err(io::Error::from)? {
        Forked::Worker(blocked) => {
            drop(said);
            drop(blocked);
            let done = identity
                .map_or(Ok(()), Identity::assume)
                .map_err(|e| e.to_string())
                .and_then(|()| (side.init_master)(config, install_dir));
            if let Err(why) = &done {
                // A master that is gone needs no reason.
                drop(say.write_all(why.as_bytes()));
            }
            log::finish();
            // Not a return: sockets and files of the start are the master's to put away.
            std::process::exit(i32::from(done.is_err()));
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
            match status {
                WaitStatus::Exited(_, 0) => Ok(()),
                _ if !why.is_empty() => {
                    let why = String::from_utf8_lossy(&why).into_owned();
                    Err(InitMasterError::Refused(why))
                }
                WaitStatus::Signaled(_, signal, _) => {
                    Err(InitMasterError::Died(format!("killed by {signal}")))
                }
                other => Err(InitMasterError::Died(format!("{other:?}"))),
            }
        }
    }
}
