//! What operators have done with items: each is carried out by the worker that owns the item.
//!
//! An item that is being delivered is left alone. While an order has it, it counts as under way, so
//! that no delivery of it begins. Copies in memory are not trusted once an order was carried out.

use std::rc::Rc;

use haraka_shared::date::epoch_ms;
use haraka_shared::ipc::ToMaster;
use haraka_shared::ledger::Out;
use haraka_shared::log::Level;
use haraka_shared::queue_order::{Order, Outcome, Verb};
use haraka_shared::spool::{OwnerKey, QueueName, SpoolError, StagedName, State, StoredName};
use haraka_shared::{log_at, log_server};

use super::attempt::{Attempt, Cause};
use super::hooks_before::handle;
use super::item::Loaded;
use super::settle::settle;
use super::{Outbound, why};
use crate::rt;
use crate::worker::Worker;

/// What became of the names that are this worker's, by their places in the order.
type Outcomes = Vec<(u32, Outcome)>;

/// Carries an order out and tells the master.
pub(crate) fn carry_out(worker: &Rc<Worker>, request: u64, order: Order) {
    let worker = Rc::clone(worker);
    rt::spawn(async move {
        let outcomes = Box::pin(outcomes(&worker, order)).await;
        worker.tell_master(ToMaster::OrderDone { request, outcomes });
    })
    .detach();
}

/// Makes an item due, for a plugin. One that is not this worker's, or under way, stays as it is.
pub(super) fn retry_one(worker: &Rc<Worker>, file: &str) {
    let worker = Rc::clone(worker);
    let order = Order {
        verb: Verb::Retry,
        names: vec![file.to_owned()],
    };
    rt::spawn(async move { drop(Box::pin(outcomes(&worker, order)).await) }).detach();
}

async fn outcomes(worker: &Rc<Worker>, order: Order) -> Outcomes {
    let verb = order.verb;
    if let Verb::Adopt { hold } = verb {
        return adopt(worker, order.names, hold).await;
    }
    let mut outcomes = Outcomes::new();
    let mut wanted = Vec::new();
    for (place, file) in (0..).zip(&order.names) {
        match wants(&worker.outbound, &verb, file) {
            Some(Ok(item)) => wanted.push((place, item)),
            Some(Err(outcome)) => outcomes.push((place, outcome)),
            None => {}
        }
    }
    let done = match &verb {
        Verb::Why => tell(worker, wanted).await,
        Verb::Retry => retry(worker, wanted).await,
        Verb::Bounce { reason } => bounce(worker, wanted, reason).await,
        _ => shelve(worker, wanted, &verb).await,
    };
    outcomes.extend(done);
    outcomes
}

/// A name that this order is to be carried out for by this worker, or why not.
fn wants(out: &Outbound, verb: &Verb, file: &str) -> Option<Result<StoredName, Outcome>> {
    let Some(item) = StoredName::parse(file) else {
        // All workers say so, and one of them is heard.
        return Some(Err(Outcome::Refused("is no queue file".to_owned())));
    };
    if !out.ownership.borrow().owns(&item.name) {
        return None;
    }
    if *verb != Verb::Why && !out.is_settled(item.name.owner_key()) {
        return Some(Err(Outcome::NotYet));
    }
    if let Err(why) = verb.fits(item.state) {
        return Some(Err(Outcome::Refused(why.to_owned())));
    }
    let under_way =
        out.in_flight.borrow().contains(&item.name) || out.held.borrow().contains(&item.name);
    if under_way && !matches!(verb, Verb::Why) {
        return Some(Err(Outcome::Delivering));
    }
    Some(Ok(item))
}

impl Outbound {
    /// Whether nothing of a dead worker's is being made whole that this key belongs to.
    fn is_settled(&self, key: OwnerKey) -> bool {
        self.takeover.get().done || key.incarnation == Some(self.spool.incarnation())
    }
}

/// Items that count as under way for as long as this lives.
struct Taken<'a> {
    out: &'a Outbound,
    names: Vec<QueueName>,
}

impl<'a> Taken<'a> {
    fn new(out: &'a Outbound) -> Self {
        out.trust_disk();
        out.ordered.set(out.ordered.get() + 1);
        Taken {
            out,
            names: Vec::new(),
        }
    }

    /// False if the order names it twice.
    fn take(&mut self, name: &QueueName) -> bool {
        let new = self.out.in_flight.borrow_mut().insert(name.clone());
        if new {
            self.names.push(name.clone());
        }
        new
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            self.out.release(name);
        }
        let others = self.out.ordered.get().saturating_sub(1);
        self.out.ordered.set(others);
    }
}

async fn shelve(worker: &Rc<Worker>, wanted: Vec<(u32, StoredName)>, verb: &Verb) -> Outcomes {
    let out = &worker.outbound;
    let mut outcomes = Outcomes::new();
    let mut taken = Taken::new(out);
    let mut moves = Vec::with_capacity(wanted.len());
    for (place, item) in wanted {
        if taken.take(&item.name) {
            let to = verb.moves(item.state);
            announce(out, &item, to);
            moves.push((place, item, to));
        } else {
            outcomes.push((place, Outcome::Delivering));
        }
    }
    let (spool, todo) = (out.spool(), moves.clone());
    let done = rt::offload(move || {
        let moved: Vec<_> = todo
            .iter()
            .map(|(_, item, to)| spool.shelve(item, *to))
            .collect();
        (moved, spool.sync_names())
    })
    .await;
    let (results, synced) = match done {
        Ok((results, synced)) => (results, synced.map_err(|e| e.to_string())),
        Err(e) => (Vec::new(), Err(e.to_string())),
    };
    let mut results = results.into_iter();
    for (place, item, _) in moves {
        let result = results.next();
        let stands = match &result {
            Some(Ok(now)) => {
                account(out, item.state, now);
                now.clone()
            }
            _ => item,
        };
        match stands.state {
            // Its turn may have come and gone while it was taken.
            State::Queued => out.wait_until(&stands.name, stands.name.next_attempt),
            State::Trashed { at, .. } => out.trash.note(at),
            State::Held => {}
        }
        outcomes.push((place, outcome(verb, &stands, result, &synced)));
    }
    drop(taken);
    outcomes
}

/// Notes in the ledger where an item is going to stand.
fn announce(out: &Outbound, item: &StoredName, to: State) {
    match (item.state, to) {
        (State::Queued, State::Held) => out.book.note(&item.name, Out::Held),
        (State::Queued, State::Trashed { .. }) => out.book.note(&item.name, Out::Removed),
        (State::Held | State::Trashed { .. }, State::Queued) => out.book.note_return(&item.name),
        _ => {}
    }
}

/// Counts where it stands now.
fn account(out: &Outbound, was: State, now: &StoredName) {
    match (was, now.state) {
        (State::Queued, State::Held) => out.leaves(&now.name, Out::Held),
        (State::Queued, State::Trashed { .. }) => out.leaves(&now.name, Out::Removed),
        (State::Held | State::Trashed { .. }, State::Queued) => out.returns(&now.name),
        _ => {}
    }
}

fn outcome(
    verb: &Verb,
    item: &StoredName,
    result: Option<Result<StoredName, SpoolError>>,
    synced: &Result<(), String>,
) -> Outcome {
    match (result, synced) {
        (Some(Ok(_)), Ok(())) => {
            log_done(verb, item);
            Outcome::Done
        }
        (Some(Ok(_)), Err(why)) => Outcome::Failed(format!("done, but not on disk yet: {why}")),
        (Some(Err(e)), _) if e.is_gone() => Outcome::Gone,
        (Some(Err(e)), _) => Outcome::Failed(e.to_string()),
        (None, Err(why)) => Outcome::Failed(why.clone()),
        (None, Ok(())) => Outcome::Failed("not tried".to_owned()),
    }
}

/// Accepted mail does not vanish without a line.
fn log_done(verb: &Verb, item: &StoredName) {
    log_at!(
        Level::Notice,
        &"-",
        "outbound",
        [],
        "{} by command file={item}",
        verb.done()
    );
}

async fn retry(worker: &Rc<Worker>, wanted: Vec<(u32, StoredName)>) -> Outcomes {
    let out = &worker.outbound;
    let (spool, names) = (out.spool(), wanted.clone());
    let there = rt::offload(move || {
        let has = |(_, item): &(u32, StoredName)| spool.has(item).map_err(|e| e.to_string());
        names.iter().map(has).collect::<Vec<_>>()
    })
    .await;
    let there = match there {
        Ok(there) => there,
        Err(e) => vec![Err(e.to_string()); wanted.len()],
    };
    out.trust_disk();
    let mut outcomes = Outcomes::new();
    for ((place, item), there) in wanted.into_iter().zip(there) {
        let outcome = match there {
            Ok(true) => {
                out.wait_until(&item.name, epoch_ms());
                log_done(&Verb::Retry, &item);
                Outcome::Done
            }
            Ok(false) => Outcome::Gone,
            Err(why) => Outcome::Failed(why),
        };
        outcomes.push((place, outcome));
    }
    outcomes
}

async fn tell(worker: &Rc<Worker>, wanted: Vec<(u32, StoredName)>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for (place, item) in wanted {
        outcomes.push((place, Box::pin(why::outcome(worker, &item)).await));
    }
    outcomes
}

/// All at once: their reports share their rounds of syncs.
async fn bounce(worker: &Rc<Worker>, wanted: Vec<(u32, StoredName)>, reason: &str) -> Outcomes {
    let tasks: Vec<_> = wanted
        .into_iter()
        .map(|(place, item)| {
            let (worker, reason) = (Rc::clone(worker), reason.to_owned());
            let task = rt::spawn(async move { Box::pin(bounce_one(&worker, item, reason)).await });
            (place, task)
        })
        .collect();
    let mut outcomes = Outcomes::new();
    for (place, task) in tasks {
        let outcome = task
            .await
            .unwrap_or_else(|e| Outcome::Failed(e.to_string()));
        outcomes.push((place, outcome));
    }
    outcomes
}

async fn bounce_one(worker: &Rc<Worker>, item: StoredName, reason: String) -> Outcome {
    let out = &worker.outbound;
    let mut taken = Taken::new(out);
    if !taken.take(&item.name) {
        return Outcome::Delivering;
    }
    // Who settles an item knows it by its name in the queue; until then it counts as under way.
    let (spool, name, was) = (out.spool(), item.name.clone(), item.state);
    announce(out, &item, State::Queued);
    let shelved = rt::offload(move || spool.shelve(&item, State::Queued)).await;
    if let Ok(Ok(now)) = &shelved {
        account(out, was, now);
    }
    let spool = out.spool();
    let opened = match shelved {
        Ok(Ok(item)) => rt::offload(move || spool.open_item(&item.name)).await,
        Ok(Err(e)) => Ok(Err(e)),
        Err(e) => Err(e),
    };
    let opened = match opened {
        Ok(Ok(item)) => Ok(item),
        Ok(Err(e)) if e.is_gone() => return Outcome::Gone,
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let item = match opened {
        Ok(item) => item,
        Err(why) => {
            out.wait_until(&name, name.next_attempt);
            return Outcome::Failed(why);
        }
    };
    let null = item.todo.mail_from.is_null();
    let item = Loaded::stored(item);
    let text = match reason.as_str() {
        "" => "Returned by the operator of this server",
        reason => reason,
    };
    let cause = Cause::permanent(0, 0, text);
    let attempt = Attempt::without_host(item.todo.rcpt_to.len(), cause);
    let delivery = handle(worker, &name, &item);
    let settled = settle(worker, name.clone(), item, delivery.as_ref(), attempt);
    Box::pin(settled).await;
    if let Some(delivery) = &delivery {
        delivery.end();
    }
    let stored = StoredName {
        state: State::Queued,
        name,
    };
    let spool = out.spool();
    match rt::offload(move || spool.has(&stored)).await {
        Ok(Ok(false)) if null => Outcome::Said(
            "its sender is null, so nobody can be told: treated as a double bounce".to_owned(),
        ),
        Ok(Ok(false)) => Outcome::Done,
        Ok(Ok(true)) => Outcome::Failed("stays queued, as no report could be stored".to_owned()),
        Ok(Err(e)) => Outcome::Failed(e.to_string()),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

/// Each item is noted before its file has its name, as all that comes back: whoever dies in between leaves
/// a doubt that the heir clears up.
async fn adopt(worker: &Rc<Worker>, names: Vec<String>, hold: bool) -> Outcomes {
    let out = &worker.outbound;
    if !out.takeover.get().done {
        return Outcomes::new();
    }
    let spool = out.spool();
    let owned = |staged: &StagedName| out.ownership.borrow().owns_key(staged.owner_key());
    let mine: Vec<Adopted> = (0..)
        .zip(&names)
        .filter_map(|(place, file)| {
            let staged = StagedName::parse(file).filter(owned)?;
            let item = spool.item_of(&staged, hold);
            Some((place, staged, item))
        })
        .collect();
    let queued = |item: &StoredName| item.state == State::Queued;
    for (_, _, item) in mine.iter().filter(|(_, _, item)| queued(item)) {
        out.book.note_return(&item.name);
    }
    let todo = mine.clone();
    let adopted = rt::offload(move || {
        let done = todo
            .iter()
            .map(|(_, staged, item)| spool.adopt(staged, item));
        let done: Vec<_> = done.collect();
        (done, spool.sync_names().map_err(|e| e.to_string()))
    })
    .await;
    let (results, synced) = match adopted {
        Ok(done) => done,
        Err(e) => {
            log_server!(Level::Error, "import: {e}");
            return Outcomes::new();
        }
    };
    let verb = Verb::Adopt { hold };
    let mut outcomes = Outcomes::new();
    for ((place, _, item), result) in mine.into_iter().zip(results) {
        match &result {
            Ok(()) if queued(&item) => {
                out.returns(&item.name);
                out.wait_until(&item.name, item.name.next_attempt);
            }
            _ => out.book.forget(&item.name),
        }
        let result = result.map(|()| item.clone());
        outcomes.push((place, outcome(&verb, &item, Some(result), &synced)));
    }
    outcomes
}

/// A staged file by its place in the order, and the item that it becomes.
type Adopted = (u32, StagedName, StoredName);
