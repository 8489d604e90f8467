//! Files that the spool keeps for further messages go when those do not come.

use std::rc::Rc;
use std::time::Duration;

use super::Outbound;
use crate::rt;
use crate::worker::Worker;

/// Between two looks while there are any.
const LOOK: Duration = Duration::from_secs(2);

/// Looks after them for as long as the worker runs.
pub(super) fn start(worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    rt::spawn(async move {
        let out = &worker.outbound;
        loop {
            out.spared.notified().await;
            while out.spool.has_spares() {
                rt::sleep(LOOK).await;
                out.remove_spares(false).await;
            }
        }
    })
    .detach();
}

impl Outbound {
    /// An item was removed; its file may have been kept.
    pub(super) fn removed(&self) {
        if self.spool.has_spares() {
            self.spared.notify();
        }
    }

    /// Removes them if little is being written, or `always`.
    pub(super) async fn remove_spares(&self, always: bool) {
        let spool = self.spool();
        // A thread that is gone leaves them to the next start.
        let _ = rt::offload(move || spool.remove_spares(always)).await;
    }
}
