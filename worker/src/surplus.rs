//! Gives back to the system what the start, and a rush of clients, has left behind. The allocator keeps memory
//! for the next rush, and what lives longer lies between it, so that it never shrinks by itself; code that ran
//! once stays mapped.
//!
//! Must never cost anything where there was no rush, and never hold up a session.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::resident;

use crate::rt;
use crate::worker::Worker;

/// Clients often come back at once, and what they used would be wanted again.
const QUIET: Duration = Duration::from_secs(5);

/// The queue has been taken over by then, if it is not long.
const STARTED: Duration = Duration::from_millis(500);

/// Looks out for the end of the start and the ends of rushes.
pub(crate) fn start(worker: &Rc<Worker>) {
    let worker = Rc::downgrade(worker);
    rt::spawn(async move {
        rt::sleep(STARTED).await;
        // Here and now: a thread for it would cost more than it brings.
        resident::let_go_of_files();
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

fn give_back() {
    trim();
    resident::let_go_of_files();
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes no pointer, and glibc lets any thread call it while others allocate.
    #[allow(unsafe_code)]
    let _given = unsafe { nix::libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
