//! The worker's part of the queue as plugins see it.
//!
//! Shows and makes due; takes nothing out of the queue.

use haraka_shared::ipc::ToMaster;
use haraka_shared::services::{QueueCounts, WorkerQueue};
use haraka_shared::spool::QueueName;

use super::orders;
use crate::worker::Worker;

impl WorkerQueue for Worker {
    fn counts(&self) -> QueueCounts {
        let stats = self.outbound.stats();
        QueueCounts {
            in_progress: stats.in_progress,
            pending: stats.pending,
            deferred: stats.deferred,
        }
    }

    fn waiting(&self, most: usize) -> (Vec<QueueName>, Vec<QueueName>) {
        self.outbound.schedule.borrow().names(most)
    }

    fn flush(&self, domain: Option<&str>) {
        match (domain, self.this.upgrade()) {
            (Some(domain), _) => self.tell_master(ToMaster::FlushQueue {
                domain: Some(domain.to_ascii_lowercase()),
            }),
            (None, Some(worker)) => self.outbound.flush(&worker, None),
            (None, None) => {}
        }
    }

    fn retry(&self, file: &str) {
        if let Some(worker) = self.this.upgrade() {
            orders::retry_one(&worker, file);
        }
    }
}
