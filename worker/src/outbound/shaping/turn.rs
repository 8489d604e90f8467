//! An item asks for its turn: before hooks where its destination is known by then, and again when a
//! plugin has said where it goes.

use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::date::epoch_ms;
use haraka_shared::hook::HookName;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::route::Route;
use haraka_shared::spool::QueueName;

use super::destination::{Destination, look_up};
use super::rooms::RoomId;
use super::{Denied, Permit, Turn, Why};
use crate::outbound::item::Loaded;
use crate::worker::Worker;

/// Milliseconds after which an item asks again that there was no room for in memory.
const OVERFLOW_MS: u64 = 60_000;

/// Asks for an item's turn, before it is delivered. Who waits is in nobody's hands afterwards.
pub(in crate::outbound) async fn turn(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    domain: &Rc<str>,
) -> Turn {
    let known = worker.outbound.shaper.0.known.borrow().get(domain);
    let to = match known {
        Some(to) => to,
        // Plugins will say.
        None if worker.hooks.wants(HookName::GetMx) => return Turn::Now(None),
        None => match Box::pin(look_up(worker, domain)).await {
            Some(to) => to,
            None => return Turn::Now(None),
        },
    };
    ask(worker, name, item, domain, &to)
}

/// Asks again, now that plugins have said where it goes: along these routes, or as the DNS says. The
/// item is still in the hands of its delivery, which must let go of it at once where it waits.
pub(in crate::outbound) async fn routed(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    routes: Option<&[Route]>,
    permit: Option<Permit>,
) -> Turn {
    if routes.is_none() && !worker.hooks.wants(HookName::GetMx) {
        return Turn::Now(permit);
    }
    let shaper = &worker.outbound.shaper;
    let domain: Rc<str> = item.todo.domain.to_ascii_lowercase().into();
    let known = shaper.0.known.borrow().get(&domain);
    let to = match (routes, known) {
        (Some(routes), _) => shaper.0.known.borrow_mut().routed(&domain, routes),
        (None, Some(to)) if !to.by_route => to,
        (None, _) => match Box::pin(look_up(worker, &domain)).await {
            Some(to) => to,
            None => return Turn::Now(permit),
        },
    };
    let provider = to.provider(&shaper.0.rules.borrow());
    match permit {
        Some(permit) if permit.is_for(provider) => Turn::Now(Some(permit)),
        other => {
            drop(other);
            ask(worker, name, item, &domain, &to)
        }
    }
}

fn ask(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    domain: &Rc<str>,
    to: &Rc<Destination>,
) -> Turn {
    let shaper = &worker.outbound.shaper;
    let rules = Arc::clone(&shaper.0.rules.borrow());
    let Some(provider) = to.provider(&rules) else {
        return Turn::Now(None);
    };
    let limits = to.limits(&rules, None);
    let id = RoomId {
        provider,
        domain: limits.of_domain.then(|| Rc::clone(to.domain())),
        pool: pool(worker, item, to),
    };
    let denied = if shaper.0.rooms.borrow().is_taken(&id) {
        // Those who came before are served before.
        Denied {
            why: Why::Connections,
            what: Arc::clone(&limits.provider),
            until: None,
        }
    } else {
        match shaper.admit(to, id.pool.as_deref()) {
            Ok(permit) => return Turn::Now(Some(permit)),
            Err(denied) => denied,
        }
    };
    if !shaper.park(id, to, (name.clone(), Rc::clone(domain)), denied) {
        worker.outbound.wait_until(name, epoch_ms() + OVERFLOW_MS);
    }
    Turn::Wait
}

/// The pool that an item is sent from.
fn pool(worker: &Rc<Worker>, item: &Loaded, to: &Destination) -> Option<Rc<str>> {
    let rules = worker.outbound.shaper.0.rules.borrow();
    if rules.pools.is_empty() {
        return None;
    }
    let note = |key: &str| {
        let text = item.todo.notes.get(key)?.as_str()?;
        (!text.is_empty()).then_some(text)
    };
    if note("outbound_ip").is_some() {
        // Somebody has chosen an address already.
        return None;
    }
    let asked = note("egress_pool");
    let sender = &item.todo.mail_from;
    let (user, host) = (sender.user().to_lowercase(), sender.host().to_lowercase());
    let pool = rules.pool(asked, (&user, &host), to.domain());
    if let (None, Some(asked)) = (pool, asked) {
        log_at!(
            Level::Warn,
            &item.todo.uuid,
            "outbound",
            [],
            "notes.egress_pool is {asked:?}, and there is no such pool"
        );
    }
    pool.map(|p| p.name.as_str().into())
}
