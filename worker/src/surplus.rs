//! Gives back to the system what a rush of clients has left free. The allocator keeps memory for the
//! next rush, and what lives longer lies between it, so that it never shrinks by itself.
//!
//! Must never cost anything where there was no rush, and never hold up a session.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::log::Level;
use haraka_shared::log_server;

use crate::rt;
use crate::worker::Worker;

/// Clients often come back at once, and what they used would be wanted again.
const QUIET: Duration = Duration::from_secs(5);

/// Starts looking out for the ends of rushes.
pub(crate) fn start(worker: &Rc<Worker>) {
    if !cfg!(target_env = "gnu") {
        return;
    }
    let worker = Rc::downgrade(worker);
    rt::spawn(async move {
        while let Some(worker) = worker.upgrade() {
            let sessions = worker.sessions.clone();
            drop(worker);
            sessions.rush_over().await;
            rt::sleep(QUIET).await;
            if let Err(e) = rt::offload(give_back).await {
                log_server!(Level::Warn, "memory was not given back: {e}");
                return;
            }
        }
    })
    .detach();
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it takes no pointer, and glibc lets any thread call it while others allocate.
    #[allow(unsafe_code)]
    let _given = unsafe { nix::libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}
