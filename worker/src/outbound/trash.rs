//! What was thrown away is removed for good when its time is over, by the worker that owns it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::date::epoch_ms;
use haraka_shared::log::Level;
use haraka_shared::log_server;

use super::Outbound;
use crate::rt;
use crate::worker::Worker;

/// How often it is looked whether something is due; a look at the clock as long as nothing is.
const LOOK: Duration = Duration::from_secs(60);

/// When the oldest item in the trash was thrown away, in milliseconds since 1970.
#[derive(Default)]
pub(super) struct Trash(Cell<Option<u64>>);

impl Trash {
    /// There is an item in the trash since then.
    pub(super) fn note(&self, at: u64) {
        let oldest = self.0.get().map_or(at, |oldest| oldest.min(at));
        self.0.set(Some(oldest));
    }
}

/// Removes what is due, beside whatever else is done.
pub(super) fn clear_now(worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    rt::spawn(async move { clear(&worker).await }).detach();
}

/// Clears the trash of a worker for as long as it runs.
pub(super) fn start(worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    rt::spawn(async move {
        loop {
            rt::sleep(LOOK).await;
            clear(&worker).await;
        }
    })
    .detach();
}

/// Removes what is due.
async fn clear(worker: &Rc<Worker>) {
    let out: &Outbound = &worker.outbound;
    let hours = u64::from(worker.settings().outbound.trash_hours);
    let before = epoch_ms().saturating_sub(hours * 3_600_000);
    if out.trash.0.get().is_none_or(|oldest| oldest >= before) || !out.takeover.get().done {
        return;
    }
    let (spool, ownership) = (out.spool(), out.ownership.borrow().clone());
    // What is thrown away meanwhile is noted beside it.
    out.trash.0.set(None);
    let cleared = rt::offload(move || spool.clear_trash(&ownership, before)).await;
    let why = match cleared {
        Ok(Ok(report)) => {
            if let Some(oldest) = report.oldest {
                out.trash.note(oldest);
            }
            log_server!(
                Level::Notice,
                "{} items removed from the trash for good, {} failed",
                report.removed,
                report.failed
            );
            return;
        }
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    out.trash.note(before.saturating_sub(1));
    log_server!(Level::Error, "trash not cleared: {why}");
}
