//! The hook `init_master`, run once before the first worker (HOK-01).
//!
//! Plugins leave threads and state behind, which the master must not have when it forks. So they run
//! in a process of their own that ends when they have answered; what they say comes back by a pipe.

use std::io;
use std::path::Path;

use haraka_shared::config::Config;

use crate::WorkerSide;
use crate::apart::{self, Ended};
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

/// Runs the hook and waits for it. The process has the rights of a worker, and the time of each
/// plugin is limited as in every hook. The caller must be the only thread.
pub fn run(
    config: &Config,
    install_dir: &Path,
    identity: Option<&Identity>,
    side: WorkerSide,
) -> Result<(), InitMasterError> {
    let ended = apart::run(|| {
        identity
            .map_or(Ok(()), Identity::assume)
            .map_err(|e| e.to_string())?;
        (side.init_master)(config, install_dir).map(|()| 0)
    })?;
    match ended {
        Ended::Done(_) => Ok(()),
        Ended::Failed(why) => Err(InitMasterError::Refused(why)),
        Ended::Died(how) => Err(InitMasterError::Died(how)),
    }
}
