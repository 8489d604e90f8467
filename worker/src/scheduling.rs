//! How the system's scheduler treats a worker.

/// Asks that waking up never interrupts whoever runs.
///
/// A server on a busy machine is woken by each line of each client. If it runs at once, it finds that line alone,
/// answers it, and sleeps again; when it waits until the processor is free, several have come. For threads and
/// programs that are started from now on it holds as well. A policy that somebody has chosen stays, and where this
/// one is refused, or unknown, all stays as it is.
#[cfg(target_os = "linux")]
pub(crate) fn in_batches() {
    use nix::libc::{
        SCHED_BATCH, SCHED_OTHER, sched_getscheduler, sched_param, sched_setscheduler,
    };

    let parameters = sched_param { sched_priority: 0 };
    // SAFETY: zero is the calling thread, and the structure is read during the call only.
    #[allow(unsafe_code)]
    unsafe {
        if sched_getscheduler(0) == SCHED_OTHER {
            sched_setscheduler(0, SCHED_BATCH, &raw const parameters);
        }
    }
}

/// As above, where there is nothing to ask for.
#[cfg(not(target_os = "linux"))]
pub(crate) fn in_batches() {}
