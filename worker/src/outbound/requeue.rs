//! Writing down what became of an item: it is removed, put off, or shortened.
//!
//! An item keeps its name until the change is on disk (PB-21, PB-22). What cannot be written down is
//! tried again and the item is held until then. Must never decide what becomes of an item.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::date::epoch_ms;
use haraka_shared::ledger::Out;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::spool::{QueueName, Todo};

use crate::rt;
use crate::worker::Worker;

/// Time to wait before local trouble with an item's file is met again.
pub(super) const LOCAL_RETRY: Duration = Duration::from_secs(60);

/// When an item is tried again.
#[derive(Clone, Copy)]
pub(super) struct Again {
    /// In milliseconds since 1970.
    pub(super) at: u64,
    pub(super) attempts: u32,
    /// Flushes before the attempt ended; one that comes later means this item as well (OUT-15).
    pub(super) flushes: u64,
}

/// A time in milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

/// Removes an item that is done with. One that cannot be removed would be delivered again after a
/// restart, so that is tried until it works.
///
/// `kind`: what became of it.
pub(super) async fn remove(worker: &Rc<Worker>, name: &QueueName, kind: Out) {
    if let Err(why) = remove_once(worker, name, kind).await {
        log_trouble(name, &why);
        worker.outbound.held.borrow_mut().insert(name.clone());
        let (worker, name) = (Rc::clone(worker), name.clone());
        rt::spawn(async move {
            loop {
                worker.outbound.moment(LOCAL_RETRY).await;
                if remove_once(&worker, &name, kind).await.is_ok() {
                    break;
                }
            }
            worker.outbound.no_longer_held(&name);
        })
        .detach();
    }
}

async fn remove_once(worker: &Rc<Worker>, name: &QueueName, kind: Out) -> Result<(), String> {
    let out = &worker.outbound;
    out.book.note(name, kind);
    match out.writes.remove(name.clone()).await {
        Ok(Ok(())) => {
            out.leaves(name, kind);
            out.removed();
            Ok(())
        }
        // Somebody removed it by hand.
        Ok(Err(e)) if e.is_gone() => {
            out.leaves(name, kind);
            Ok(())
        }
        Ok(Err(e)) => Err(format!("cannot be removed: {e}")),
        Err(e) => Err(format!("cannot be removed: {e}")),
    }
}

/// Puts the whole item off. It waits under its old name if that cannot be changed: it stays queued
/// whatever happens (PB-22).
///
/// `said`: how the attempt ended, for operators.
pub(super) async fn defer(
    worker: &Rc<Worker>,
    name: &QueueName,
    domain: &str,
    again: Again,
    said: Option<String>,
) {
    let spool = worker.outbound.spool();
    let old = name.clone();
    let deferred = rt::offload(move || {
        if let Some(said) = said {
            spool.remark(old.as_str(), &said);
        }
        spool.defer(&old, again.at, again.attempts)
    })
    .await;
    let why = match deferred {
        Ok(Ok(new)) => return worker.outbound.wait_for(&new, domain, again.flushes),
        Ok(Err(e)) if e.is_gone() => return worker.outbound.misses(name),
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    log_trouble(name, &format!("could not be put off: {why}"));
    worker
        .outbound
        .wait_until(name, epoch_ms() + ms(LOCAL_RETRY));
}

/// Some recipients are done with, `todo` has the others. While that cannot be written down the item
/// is held: another attempt would deliver to the first ones again (PB-21).
pub(super) async fn rewrite(worker: &Rc<Worker>, name: QueueName, todo: Todo, again: Again) {
    let Err(why) = rewrite_once(worker, &name, &todo, again).await else {
        return;
    };
    log_trouble(&name, &why);
    worker.outbound.held.borrow_mut().insert(name.clone());
    let worker = Rc::clone(worker);
    rt::spawn(async move {
        loop {
            worker.outbound.moment(LOCAL_RETRY).await;
            if rewrite_once(&worker, &name, &todo, again).await.is_ok() {
                break;
            }
        }
        worker.outbound.no_longer_held(&name);
    })
    .detach();
}

async fn rewrite_once(
    worker: &Rc<Worker>,
    name: &QueueName,
    todo: &Todo,
    again: Again,
) -> Result<(), String> {
    let spool = worker.outbound.spool();
    let (old, left) = (name.clone(), todo.clone());
    let done = rt::offload(move || {
        let mut item = spool.open_item(&old)?;
        spool.update(&mut item, &left, again.at, again.attempts)
    })
    .await;
    match done {
        Ok(Ok(new)) => {
            let domain = &todo.domain;
            worker.outbound.wait_for(&new, domain, again.flushes);
            Ok(())
        }
        Ok(Err(e)) if e.is_gone() => {
            worker.outbound.misses(name);
            Ok(())
        }
        Ok(Err(e)) if e.is_broken() => {
            worker.outbound.leaves(name, Out::Aside);
            Ok(())
        }
        Ok(Err(e)) => Err(format!("could not be updated: {e}")),
        Err(e) => Err(format!("could not be updated: {e}")),
    }
}

fn log_trouble(name: &QueueName, why: &str) {
    log_at!(Level::Error, &"-", "outbound", [], "{name} {why}");
}
