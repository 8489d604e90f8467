//! What follows from an attempt: the item is removed, put off, shortened, or returned to its sender.
//!
//! Order is the safety argument. A bounce is on disk before the item that it is about changes
//! (PB-31); an item keeps its name until the change is on disk (PB-21, PB-22); only then is anything
//! forgotten. A crash in between can repeat a bounce, never lose one.

use std::rc::Rc;

use haraka_shared::date::epoch_ms;
use haraka_shared::delivery::Delivery;
use haraka_shared::dsn::RecipientRequest;
use haraka_shared::ledger::{Out, Outcome};
use haraka_shared::log::{Level, emit, enabled};
use haraka_shared::log_at;
use haraka_shared::reply::Reply;
use haraka_shared::spool::{QueueName, Recipient, Todo};
use haraka_shared::waiting::last_error;

use super::attempt::{Attempt, Cause, Peer, RcptResult};
use super::bounce::{Action, Class, classes, kind};
use super::bounces::{self, Told};
use super::hooks_after::{After, PutOff, Returned, state};
use super::hooks_before::adopt_notes;
use super::item::Loaded;
use super::requeue::{Again, LOCAL_RETRY, defer, ms, remove, rewrite};
use super::retry;
use crate::worker::Worker;

/// Carries out what an attempt came to.
pub(super) async fn settle(
    worker: &Rc<Worker>,
    name: QueueName,
    mut item: Loaded,
    delivery: Option<&Delivery>,
    attempt: Attempt,
) {
    let flushes = worker.outbound.flushes();
    // Whoever inherits the item knows that some of what follows may have been done.
    worker.outbound.book.note(&name, Out::Delivered);
    let Attempt {
        results,
        peer,
        in_doubt,
    } = attempt;
    let (delivered, deferred, mut failed) = sort(std::mem::take(&mut item.todo.rcpt_to), results);
    log_refusals(&item.todo, "deferred", &deferred);
    log_refusals(&item.todo, "rejected", &failed);
    let facts = Facts {
        worker,
        name: &name,
        delivery,
        peer: peer.as_ref(),
        flushes,
    };
    if !delivered.is_empty() {
        let tally = format!("{}/{}/{}", delivered.len(), deferred.len(), failed.len());
        tell_delivered(&facts, &item.todo, &delivered, &tally).await;
    }
    if let Some(peer) = &peer {
        tell_of_success(worker, &name, &item, peer, &delivered).await;
    }
    if in_doubt {
        log_at!(
            Level::Warn,
            &item.todo.uuid,
            "outbound",
            [],
            "in doubt file={name}: the connection was lost between the final dot and its reply; \
             the message may be delivered twice"
        );
    }
    let late = late(worker, &item.todo, &deferred);
    let settled = delivered.len() + deferred.len() + failed.len();
    let mut later = put_off(&facts, &item.todo, deferred, &mut failed, in_doubt).await;
    let any_failed = !failed.is_empty();
    if any_failed {
        match return_to_sender(&facts, &item, &mut failed, &mut later).await {
            Told::Done => {}
            Told::NotStored => {
                let mut rest: Vec<Recipient> = failed.into_iter().map(|(r, _)| r).collect();
                rest.extend(later.recipients);
                let unchanged = delivered.is_empty() && !item.changed;
                return Box::pin(keep(&facts, item.todo, rest, unchanged)).await;
            }
        }
    }
    let domain = item.todo.domain.as_str();
    let out = &worker.outbound;
    let (put_off, given_up) = (later.recipients.len(), failed.len());
    let dropped = settled - delivered.len() - put_off - given_up;
    out.tally(domain, Outcome::Delivered, delivered.len());
    out.tally(domain, Outcome::Deferred, put_off);
    out.tally(domain, Outcome::Bounced, given_up);
    out.tally(domain, Outcome::Discarded, dropped);
    if later.recipients.is_empty() {
        let kind = match (any_failed, delivered.is_empty()) {
            (true, _) => Out::Bounced,
            (false, false) => Out::Delivered,
            (false, true) => Out::Discarded,
        };
        return remove(worker, &name, kind).await;
    }
    let again = Again {
        at: later.at,
        attempts: name.attempts + 1,
        flushes,
    };
    let told = tell_of_delay(&facts, &item, &late, &mut later).await;
    if let Some(delivery) = delivery {
        adopt_notes(delivery, &mut item);
    }
    if delivered.is_empty() && !any_failed && !told && !item.changed {
        let said = later.recipients.first().and_then(last_error);
        return defer(
            worker,
            &name,
            &item.todo.domain,
            again,
            said.map(str::to_owned),
        )
        .await;
    }
    item.todo.rcpt_to = later.recipients;
    rewrite(worker, name, item.todo, again).await;
}

/// What the steps of settling need to know of the item besides its envelope.
struct Facts<'a> {
    worker: &'a Rc<Worker>,
    name: &'a QueueName,
    delivery: Option<&'a Delivery>,
    /// Who was talked to.
    peer: Option<&'a Peer>,
    /// Flushes before the attempt ended.
    flushes: u64,
}

impl<'a> Facts<'a> {
    /// For the hooks, where any is wanted.
    fn after(&self, todo: &'a Todo) -> Option<After<'a>> {
        Some(After {
            worker: self.worker,
            delivery: self.delivery?,
            todo,
            peer: self.peer,
        })
    }
}

async fn tell_delivered(
    facts: &Facts<'_>,
    todo: &Todo,
    delivered: &[(Recipient, Reply)],
    tally: &str,
) {
    let Some(peer) = facts.peer else { return };
    let response = delivered.last().map(|(_, reply)| reply);
    let text = response.map(ToString::to_string).unwrap_or_default();
    log_delivered(facts.name, todo, peer, &text, tally);
    if let Some(after) = facts.after(todo) {
        after.delivered(age(todo), delivered).await;
    }
}

fn log_refusals(todo: &Todo, what: &str, recipients: &[(Recipient, Cause)]) {
    for (recipient, cause) in recipients {
        log_at!(
            Level::Notice,
            &todo.uuid,
            "outbound",
            [],
            "recipient {} {what}: {cause} class={}",
            recipient.address,
            Class::of(cause)
        );
    }
}

/// A report could not be stored: nothing about these recipients may change but their time (PB-31).
async fn keep(facts: &Facts<'_>, mut todo: Todo, rest: Vec<Recipient>, unchanged: bool) {
    let at = epoch_ms() + ms(LOCAL_RETRY);
    if unchanged {
        return facts.worker.outbound.wait_until(facts.name, at);
    }
    todo.rcpt_to = rest;
    let again = Again {
        at,
        attempts: facts.name.attempts,
        flushes: facts.flushes,
    };
    rewrite(facts.worker, facts.name.clone(), todo, again).await;
}

type Sorted = (
    Vec<(Recipient, Reply)>,
    Vec<(Recipient, Cause)>,
    Vec<(Recipient, Cause)>,
);

fn sort(recipients: Vec<Recipient>, results: Vec<RcptResult>) -> Sorted {
    let (mut delivered, mut deferred, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (recipient, result) in recipients.into_iter().zip(results) {
        match result {
            RcptResult::Delivered(reply) => delivered.push((recipient, reply)),
            RcptResult::Deferred(cause) => deferred.push((recipient, cause)),
            RcptResult::Failed(cause) => failed.push((recipient, cause)),
        }
    }
    (delivered, deferred, failed)
}

/// Reports the recipients that the sender wanted to hear of, unless the host will do it itself. The
/// message is out: whatever goes wrong here must not send it again.
async fn tell_of_success(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    peer: &Peer,
    delivered: &[(Recipient, Reply)],
) {
    if peer.dsn {
        return;
    }
    let wanted = |r: &Recipient| RecipientRequest::of_recipient(&r.extra).wants_success();
    let told: Vec<_> = delivered
        .iter()
        .filter(|(r, _)| wanted(r))
        .map(|(r, reply)| (r.clone(), Cause::success(Some(reply.clone()), &peer.host)))
        .collect();
    // RFC 2033 §1: an LMTP server has put it where it belongs.
    let action = if peer.lmtp {
        Action::Delivered
    } else {
        Action::Relayed
    };
    if !told.is_empty() {
        Box::pin(bounces::notify(worker, name, item, action, &told, None)).await;
    }
}

/// Key of a recipient in a queue file: its sender has been told of the delay.
const TOLD_OF_DELAY: &str = "dsn_delay_told";

/// Recipients whose delay the sender is to hear of, and has not heard of. A sender who said when to
/// report hears of delays only if that was among it (RFC 3461 §4.1).
fn late(worker: &Worker, todo: &Todo, deferred: &[(Recipient, Cause)]) -> Vec<(Recipient, Cause)> {
    if todo.mail_from.is_null() {
        return Vec::new();
    }
    let settings = worker.settings();
    let age = age(todo);
    let after = |r: &Recipient| {
        let request = RecipientRequest::of_recipient(&r.extra);
        match request.notify {
            None => settings.outbound.delay_warning,
            Some(_) => request
                .wants_delay()
                .then_some(settings.outbound.delay_notice),
        }
    };
    let untold = |r: &Recipient| {
        !r.extra.contains_key(TOLD_OF_DELAY) && after(r).is_some_and(|t| age >= t.as_secs_f64())
    };
    let late = deferred.iter().filter(|(r, _)| untold(r));
    late.cloned().collect()
}

/// Tells the sender, once; true if that is now to be written down.
async fn tell_of_delay(
    facts: &Facts<'_>,
    item: &Loaded,
    late: &[(Recipient, Cause)],
    later: &mut Later,
) -> bool {
    if late.is_empty() {
        return false;
    }
    let Facts { worker, name, .. } = facts;
    let intervals = &worker.settings().outbound.temp_fail_intervals;
    let remaining = retry::remaining(name.attempts + 1, intervals);
    let until = later.at.saturating_add(ms(remaining));
    let report = bounces::notify(worker, name, item, Action::Delayed, late, Some(until));
    if !matches!(Box::pin(report).await, Told::Done) {
        return false;
    }
    for (told, _) in late {
        let waiting = later.recipients.iter_mut();
        for recipient in waiting.filter(|r| r.address == told.address) {
            let key = TOLD_OF_DELAY.to_owned();
            recipient.extra.insert(key, true.into());
        }
    }
    true
}

/// Recipients that are tried again.
#[derive(Default)]
struct Later {
    recipients: Vec<Recipient>,
    /// When, in milliseconds since 1970.
    at: u64,
}

impl Later {
    /// All of them together, at the later time.
    fn absorb(&mut self, more: Later) {
        self.at = self.at.max(more.at);
        self.recipients.extend(more.recipients);
    }
}

/// Works out when deferred recipients are tried again; those that never are move to `failed`.
async fn put_off(
    facts: &Facts<'_>,
    todo: &Todo,
    deferred: Vec<(Recipient, Cause)>,
    failed: &mut Vec<(Recipient, Cause)>,
    in_doubt: bool,
) -> Later {
    let Facts { worker, name, .. } = facts;
    let mut later = Later::default();
    let Some((_, first)) = deferred.first() else {
        return later;
    };
    let why = first.to_string();
    let failures = name.attempts + 1;
    let Some(mut delay) = retry::delay(failures, &worker.settings().outbound.temp_fail_intervals)
    else {
        for (recipient, mut cause) in deferred {
            cause.text = format!("Too many failures ({})", cause.text);
            failed.push((recipient, cause.given_up()));
        }
        return later;
    };
    if in_doubt {
        // RFC 1047: the longer we wait, the likelier the first copy has shown itself.
        delay = delay.saturating_mul(4);
    }
    let said = match facts.after(todo) {
        Some(after) => after.deferred(&deferred, failures, delay).await,
        None => PutOff::For(delay),
    };
    let delay = match said {
        PutOff::For(delay) => delay,
        PutOff::Drop => return later,
        PutOff::Return(why) => {
            let cause = Cause::permanent(0, 0, why);
            failed.extend(deferred.into_iter().map(|(r, _)| (r, cause.clone())));
            return later;
        }
    };
    log_at!(
        Level::Notice,
        &todo.uuid,
        "outbound",
        [],
        "deferred file={name} domain={} delay={} fails={failures} rcpts={} err={why:?}",
        todo.domain,
        delay.as_secs(),
        deferred.len()
    );
    later.at = epoch_ms() + ms(delay);
    for (mut recipient, cause) in deferred {
        recipient.state = Some(Box::new(state(&cause, "delayed")));
        later.recipients.push(recipient);
    }
    later
}

/// Asks the bounce hook and tells the sender. Recipients that a plugin wants to be tried again move to
/// `later`.
async fn return_to_sender(
    facts: &Facts<'_>,
    item: &Loaded,
    failed: &mut Vec<(Recipient, Cause)>,
    later: &mut Later,
) -> Told {
    let Facts { worker, name, .. } = facts;
    let why = log_bounced(name, &item.todo, failed);
    let said = match facts.after(&item.todo) {
        Some(after) => after.bounce(failed).await,
        None => Returned::Report,
    };
    match said {
        Returned::Report => {}
        Returned::Silent => return Told::Done,
        Returned::TryAgain(why) => {
            let again = std::mem::take(failed)
                .into_iter()
                .map(|(recipient, cause)| {
                    let text = why.clone();
                    let cause = Cause { text, ..cause }.passing();
                    (recipient, cause)
                });
            let again: Vec<_> = again.collect();
            let more = put_off(facts, &item.todo, again, failed, false).await;
            later.absorb(more);
            if failed.is_empty() {
                return Told::Done;
            }
        }
    }
    bounces::send(worker, name, item, failed, &why).await
}

fn log_bounced(name: &QueueName, todo: &Todo, failed: &[(Recipient, Cause)]) -> String {
    let first = failed.first().map(|(_, cause)| cause);
    let why = first.map(Cause::to_string).unwrap_or_default();
    log_at!(
        Level::Notice,
        &todo.uuid,
        "outbound",
        [],
        "bounced file={name} domain={} rcpts={} class={} kind={} err={why:?}",
        todo.domain,
        failed.len(),
        classes(failed.iter().map(|(_, cause)| cause)),
        first.map_or("soft", kind)
    );
    why
}

/// LOG-15
fn log_delivered(name: &QueueName, todo: &Todo, peer: &Peer, response: &str, tally: &str) {
    if !enabled(Level::Notice) {
        return;
    }
    let yes_no = |b: bool| if b { "Y" } else { "N" };
    let mut fields = vec![
        ("delivered file", name.as_str().into()),
        ("domain", (&todo.domain).into()),
        ("host", (&*peer.host).into()),
        ("ip", (&peer.ip).into()),
        ("port", peer.port.into()),
        ("mode", peer.mode().into()),
        ("tls", yes_no(peer.secured).into()),
        ("auth", yes_no(peer.authenticated).into()),
        ("response", response.into()),
        ("delay", age(todo).into()),
        ("fails", name.attempts.into()),
        ("rcpts", tally.into()),
    ];
    // Not one of Haraka's fields, so it is last, and there only where it says something.
    if let Some(policy) = peer.tls_policy {
        fields.push(("tls_policy", policy.into()));
    }
    let (level, uuid) = (Level::Notice, &todo.uuid);
    emit(level, uuid, "outbound", &fields, format_args!(""));
}

/// Seconds since the message was queued.
fn age(todo: &Todo) -> f64 {
    epoch_ms().saturating_sub(todo.queue_time) as f64 / 1000.0
}
