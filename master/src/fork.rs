//! Making a process. The only place that forks.
//!
//! The child does not run a worker from here: it returns, and by returning through the hub it drops
//! everything that was the master's, which closes every descriptor that is not its own.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{ForkResult, Pid};

/// Which process this is now.
#[derive(Debug)]
pub enum Forked {
    /// The master.
    Master(Pid),
    /// The new process. Signals stay blocked until this is dropped, which must happen only after
    /// the master's handlers are gone: they would write into the master's pipe.
    Worker(Blocked),
}

/// Signals are blocked while this lives.
#[derive(Debug)]
pub struct Blocked {
    before: SigSet,
}

impl Blocked {
    fn new() -> Result<Blocked, Errno> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        Ok(Blocked { before })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Fails only for a mask that is none.
        let restored = self.before.thread_set_mask();
        debug_assert!(restored.is_ok());
    }
}

/// Forks. The caller must be the only thread of the process.
#[allow(unsafe_code)]
pub fn fork() -> Result<Forked, Errno> {
    let blocked = Blocked::new()?;
    // SAFETY: the master has one thread (crate documentation), so no lock is held by a thread that
    // the child lacks, and the child may use everything that the master could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Master(child)),
        ForkResult::Child => {
            haraka_shared::log::forget_waiting();
            Ok(Forked::Worker(blocked))
        }
    }
}
