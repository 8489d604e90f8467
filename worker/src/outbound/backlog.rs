//! Reading the queue directory: taking over what a slot has, and finding again what did not fit into
//! memory. Each reads on the offload pool and gives the schedule what it found; nothing is opened but for
//! the flush of a single domain.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::date::epoch_ms;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::spool::PendingHeap;

use super::ledger::Estate;
use super::schedule::{Job, Portion};
use super::{Takeover, trash};
use crate::rt;
use crate::worker::Worker;

/// Time to wait before a directory that could not be read is read again.
const SCAN_RETRY: Duration = Duration::from_secs(60);

/// Until it works, as nobody else delivers what this slot has.
pub(super) async fn take_over(worker: Rc<Worker>) {
    let out = &worker.outbound;
    loop {
        out.takeover.set(Takeover {
            again: false,
            ..out.takeover.get()
        });
        let why = match Box::pin(take_over_once(&worker)).await {
            Ok(()) if !out.takeover.get().again => break,
            Ok(()) => continue,
            Err(why) => why,
        };
        log_server!(
            Level::Crit,
            "queue not taken over, trying again later: {why}"
        );
        out.moment(SCAN_RETRY).await;
    }
    let was = out.takeover.replace(Takeover {
        done: true,
        ..Takeover::default()
    });
    out.book.set_settled(true);
    if was.flush {
        out.schedule.borrow_mut().flush(epoch_ms());
    }
    for domain in out.to_flush.take() {
        rt::spawn(flush_domain(Rc::clone(&worker), domain)).detach();
    }
    out.wake.notify();
    trash::clear_now(&worker);
}

/// What was taken over before is being delivered, and must not be looked at as what the dead have left.
async fn take_over_once(worker: &Rc<Worker>) -> Result<(), String> {
    let out = &worker.outbound;
    let spool = out.spool();
    let share = out.ownership.borrow().clone();
    let ownership = match out.taken_over.borrow().as_ref() {
        Some(before) => share.clone().beyond(before),
        None => share.clone(),
    };
    let mut estate = Estate::new(&out.book, &ownership, out.known());
    let found = rt::offload(move || {
        let mut heap = PendingHeap::default();
        let report = spool.recover(&ownership, |name| {
            if estate.sees(name) {
                heap.push(name);
            }
        });
        (heap, estate, report)
    })
    .await;
    let (heap, estate, report) = match found {
        Ok((heap, estate, Ok(report))) => (heap, estate, report),
        Ok((_, _, Err(e))) => return Err(e.to_string()),
        Err(e) => return Err(e.to_string()),
    };
    log_server!(
        Level::Info,
        "queue taken over: {} items, {} completed, {} removed, {} set aside now, {} before",
        report.items,
        report.completed,
        report.removed,
        report.broken,
        report.aside
    );
    out.schedule.borrow_mut().absorb(heap);
    estate.settle(&out.book, report.broken);
    out.taken_over.replace(Some(share));
    if let Some(oldest) = report.oldest_trash {
        out.trash.note(oldest);
    }
    Ok(())
}

/// Another look at the items that did not fit into memory, until it works.
pub(super) async fn rescan_from(worker: Rc<Worker>, from: u64) {
    let out = &worker.outbound;
    loop {
        let spool = out.spool();
        let ownership = out.ownership.borrow().clone();
        let found = rt::offload(move || {
            let mut heap = PendingHeap::default();
            let report = spool.scan(&ownership, |name| {
                if name.next_attempt >= from {
                    heap.push(name);
                }
            });
            report.map(|()| heap)
        })
        .await;
        match found {
            Ok(Ok(heap)) => {
                out.trust_disk();
                out.schedule.borrow_mut().absorb(heap);
                return out.wake.notify();
            }
            Ok(Err(e)) => log_server!(Level::Error, "queue not read again: {e}"),
            Err(e) => log_server!(Level::Error, "queue not read again: {e}"),
        }
        out.moment(SCAN_RETRY).await;
    }
}

/// The next items of a flush that are on disk only: those that nothing has happened to since.
pub(super) async fn flush_portion(worker: Rc<Worker>, portion: Portion) {
    let out = &worker.outbound;
    let spool = out.spool();
    let ownership = out.ownership.borrow().clone();
    let found = rt::offload(move || {
        let mut heap = portion.heap();
        let report = spool.scan_untouched(&ownership, portion.from, portion.since, |name| {
            heap.push_at(name, portion.since);
        });
        report.map(|()| heap)
    })
    .await;
    let found = match found {
        Ok(Ok(heap)) => heap,
        Ok(Err(e)) => {
            log_server!(Level::Error, "queue not flushed: {e}");
            PendingHeap::default()
        }
        Err(e) => {
            log_server!(Level::Error, "queue not flushed: {e}");
            PendingHeap::default()
        }
    };
    out.trust_disk();
    out.schedule.borrow_mut().found(portion, found);
    out.wake.notify();
}

/// The domain is in the file, so each of our items is opened once.
pub(super) async fn flush_domain(worker: Rc<Worker>, domain: String) {
    let out = &worker.outbound;
    let spool = out.spool();
    let ownership = out.ownership.borrow().clone();
    let found = rt::offload(move || {
        let mut names = Vec::new();
        let report = spool.scan(&ownership, |name| {
            let name = name.to_owned();
            let same = spool
                .open_item(&name)
                .is_ok_and(|item| item.todo.domain.eq_ignore_ascii_case(&domain));
            if same {
                names.push(name);
            }
        });
        report.map(|_| names)
    })
    .await;
    match found {
        Ok(Ok(names)) => {
            out.trust_disk();
            let mut schedule = out.schedule.borrow_mut();
            for name in names {
                schedule.due_now(Job::named(name));
            }
            drop(schedule);
            out.wake.notify();
        }
        Ok(Err(e)) => log_server!(Level::Error, "queue not flushed: {e}"),
        Err(e) => log_server!(Level::Error, "queue not flushed: {e}"),
    }
}
