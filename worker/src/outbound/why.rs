//! What an item waits for, in one sentence, from the worker that knows.

use std::rc::Rc;

use haraka_shared::date::epoch_ms;
use haraka_shared::queue_order::Outcome;
use haraka_shared::spool::{StoredName, Todo};
use haraka_shared::waiting::{self, Waiting};

use super::schedule::Standing;
use super::{PER_DOMAIN, suspend};
use crate::rt;
use crate::worker::Worker;

/// Looks and tells.
pub(super) async fn outcome(worker: &Rc<Worker>, item: &StoredName) -> Outcome {
    let out = &worker.outbound;
    let under_way = out.in_flight.borrow().contains(&item.name);
    let unwritten = out.held.borrow().contains(&item.name);
    let (spool, asked) = (out.spool(), item.clone());
    let todo = match rt::offload(move || spool.look_at(&asked)).await {
        Ok(Ok(found)) => found.todo,
        Ok(Err(e)) if e.is_gone() => return Outcome::Gone,
        Ok(Err(e)) => return Outcome::Said(format!("It cannot be read: {e}")),
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    let waiting = if unwritten {
        Waiting::Unwritten
    } else if under_way {
        Waiting::Delivery
    } else {
        standing(worker, item, &todo).await
    };
    let hours = worker.settings().outbound.trash_hours;
    Outcome::Said(waiting::sentence(item, &todo, &waiting, hours, epoch_ms()))
}

async fn standing(worker: &Rc<Worker>, item: &StoredName, todo: &Todo) -> Waiting {
    let out = &worker.outbound;
    if out.mail.disabled() {
        return Waiting::Disabled;
    }
    if let Some(met) = Box::pin(suspend::met(worker, todo)).await {
        return Waiting::Suspended(met);
    }
    let ours = item.name.incarnation == Some(out.spool.incarnation());
    if !out.takeover.get().done && !ours {
        return Waiting::Start;
    }
    if let Some(waiting) = out.shaper.waits_for(&item.name) {
        return waiting;
    }
    match out.schedule.borrow().standing(&item.name, &todo.domain) {
        Standing::Closed => Waiting::Restart,
        Standing::Lane { active, before } => Waiting::Lane {
            active,
            before,
            most: PER_DOMAIN,
        },
        Standing::Full { active } => Waiting::Full { active },
        Standing::Time => Waiting::Time,
    }
}
