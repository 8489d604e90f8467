//! What follows from an attempt: the item is removed, put off, shortened, or returned to its sender.
//!
//! Order is the safety argument. A bounce is on disk before the item that it is about changes
//! (PB-31); an item keeps its name until the change is on disk (PB-21, PB-22); only then is anything
//! forgotten. A crash in between can repeat a bounce, never lose one.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::delivery::{Bounced, Deferral, Delivered, Delivery};
use haraka_shared::dsn::RecipientRequest;
use haraka_shared::hook::{Call, Code, HookName, Message as Said, Verdict};
use haraka_shared::log::{Level, emit, enabled};
use haraka_shared::log_at;
use haraka_shared::reply::Reply;
use haraka_shared::spool::{QueueName, Recipient, RecipientState, Todo};
use haraka_shared::waiting::last_error;

use super::attempt::{Attempt, Cause, Peer, RcptResult};
use super::bounce::Action;
use super::bounces::{self, Told};
use super::item::Loaded;
use super::retry;
use crate::rt;
use crate::worker::Worker;
use haraka_shared::date::epoch_ms;

/// Time to wait before local trouble with an item's file is met again.
const LOCAL_RETRY: Duration = Duration::from_secs(60);

/// Carries out what an attempt came to.
pub(super) async fn settle(
    worker: &Rc<Worker>,
    name: QueueName,
    mut item: Loaded,
    delivery: Option<&Delivery>,
    attempt: Attempt,
) {
    let flushes = worker.outbound.flushes();
    let Attempt {
        results,
        peer,
        response,
        in_doubt,
    } = attempt;
    let (delivered, deferred, mut failed) = sort(std::mem::take(&mut item.todo.rcpt_to), results);
    log_refusals(&item.todo, "deferred", &deferred);
    log_refusals(&item.todo, "rejected", &failed);
    if !delivered.is_empty()
        && let Some(peer) = &peer
    {
        let tally = format!("{}/{}/{}", delivered.len(), deferred.len(), failed.len());
        let response = response.as_ref().map(ToString::to_string);
        let response = response.unwrap_or_default();
        log_delivered(&name, &item.todo, peer, &response, &tally);
        if let Some(delivery) = delivery {
            tell_delivered(worker, delivery, &item.todo, peer, &response, &delivered).await;
        }
    }
    if let Some(peer) = &peer {
        tell_of_success(worker, &name, &item, peer, response.as_ref(), &delivered).await;
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
    let facts = Facts {
        worker,
        name: &name,
        delivery,
        flushes,
    };
    let late = late(worker, &item.todo, &deferred);
    let mut later = put_off(&facts, &item.todo, deferred, &mut failed, in_doubt).await;
    if !failed.is_empty() {
        let last = later.recipients.is_empty();
        match return_to_sender(&facts, &item, &failed, last).await {
            Told::Queued => {}
            Told::SetAside => return,
            Told::NotStored => {
                let mut rest: Vec<Recipient> = failed.into_iter().map(|(r, _)| r).collect();
                rest.extend(later.recipients);
                return Box::pin(keep(&facts, item.todo, rest, delivered.is_empty())).await;
            }
        }
    }
    if later.recipients.is_empty() {
        return remove(worker, &name).await;
    }
    let again = Again {
        at: later.at,
        attempts: name.attempts + 1,
        flushes,
    };
    let told = tell_of_delay(&facts, &item, &late, &mut later.recipients).await;
    if delivered.is_empty() && failed.is_empty() && !told {
        let said = later.recipients.first().and_then(last_error);
        return defer(worker, &name, again, said.map(str::to_owned)).await;
    }
    item.todo.rcpt_to = later.recipients;
    rewrite(worker, name, item.todo, again).await;
}

/// What the steps of settling need to know of the item besides its envelope.
struct Facts<'a> {
    worker: &'a Rc<Worker>,
    name: &'a QueueName,
    delivery: Option<&'a Delivery>,
    /// Flushes before the attempt ended.
    flushes: u64,
}

/// When an item is tried again.
#[derive(Clone, Copy)]
struct Again {
    /// In milliseconds since 1970.
    at: u64,
    attempts: u32,
    /// Flushes before the attempt ended; one that comes later means this item as well (OUT-15).
    flushes: u64,
}

fn log_refusals(todo: &Todo, what: &str, recipients: &[(Recipient, Cause)]) {
    for (recipient, cause) in recipients {
        log_at!(
            Level::Notice,
            &todo.uuid,
            "outbound",
            [],
            "recipient {} {what}: {cause}",
            recipient.address
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
    Vec<Recipient>,
    Vec<(Recipient, Cause)>,
    Vec<(Recipient, Cause)>,
);

fn sort(recipients: Vec<Recipient>, results: Vec<RcptResult>) -> Sorted {
    let (mut delivered, mut deferred, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (recipient, result) in recipients.into_iter().zip(results) {
        match result {
            RcptResult::Delivered(_) => delivered.push(recipient),
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
    response: Option<&Reply>,
    delivered: &[Recipient],
) {
    if peer.dsn {
        return;
    }
    let cause = Cause::success(response.cloned(), &peer.host);
    let told: Vec<_> = delivered
        .iter()
        .filter(|r| RecipientRequest::of_recipient(&r.extra).wants_success())
        .map(|r| (r.clone(), cause.clone()))
        .collect();
    // RFC 2033 §1: an LMTP server has put it where it belongs.
    let action = if peer.lmtp {
        Action::Delivered
    } else {
        Action::Relayed
    };
    if !told.is_empty() {
        Box::pin(bounces::notify(worker, name, item, action, &told)).await;
    }
}

/// Key of a recipient in a queue file: its sender has been told of the delay.
const TOLD_OF_DELAY: &str = "dsn_delay_told";

/// Recipients whose delay the sender wants to hear of, and has not heard of.
fn late(worker: &Worker, todo: &Todo, deferred: &[(Recipient, Cause)]) -> Vec<(Recipient, Cause)> {
    if age(todo) < worker.settings().outbound.delay_notice.as_secs_f64() {
        return Vec::new();
    }
    let untold = |r: &Recipient| {
        !r.extra.contains_key(TOLD_OF_DELAY)
            && RecipientRequest::of_recipient(&r.extra).wants_delay()
    };
    let late = deferred.iter().filter(|(r, _)| untold(r));
    late.cloned().collect()
}

/// Tells the sender, once; true if that is now to be written down.
async fn tell_of_delay(
    facts: &Facts<'_>,
    item: &Loaded,
    late: &[(Recipient, Cause)],
    waiting: &mut [Recipient],
) -> bool {
    if late.is_empty() {
        return false;
    }
    let Facts { worker, name, .. } = facts;
    let report = bounces::notify(worker, name, item, Action::Delayed, late);
    if !matches!(Box::pin(report).await, Told::Queued) {
        return false;
    }
    for (told, _) in late {
        for recipient in waiting.iter_mut().filter(|r| r.address == told.address) {
            let key = TOLD_OF_DELAY.to_owned();
            recipient.extra.insert(key, true.into());
        }
    }
    true
}

/// Recipients that are tried again.
struct Later {
    recipients: Vec<Recipient>,
    /// When, in milliseconds since 1970.
    at: u64,
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
    let mut later = Later {
        recipients: Vec::new(),
        at: 0,
    };
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
    let Some(delay) = asked_for(facts, todo, &deferred, &why, delay).await else {
        return later;
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

/// The delay that deferred plugins want; none if the mail is to be deleted (HOK-28).
async fn asked_for(
    facts: &Facts<'_>,
    todo: &Todo,
    deferred: &[(Recipient, Cause)],
    why: &str,
    delay: Duration,
) -> Option<Duration> {
    let Some(delivery) = facts.delivery else {
        return Some(delay);
    };
    if !facts.worker.minds(HookName::Deferred) {
        return Some(delay);
    }
    let deferral = Deferral {
        delay: delay.as_secs_f64(),
        error: why.to_owned(),
        recipients: deferred.iter().map(|(r, _)| r.address.clone()).collect(),
    };
    let call = Call::Deferred(&deferral);
    let verdict = facts.worker.ask_outbound(delivery, call).await;
    let end = match (verdict.code, verdict.message) {
        (Code::Cont, _) => return Some(delay),
        (Code::DenySoft, Said::Seconds(seconds)) => {
            return Some(Duration::try_from_secs_f64(seconds).unwrap_or(delay));
        }
        (Code::DenySoft, _) => return Some(delay),
        // Haraka deletes the mail on any other code (PB-28); only OK says that on purpose.
        (Code::Ok, _) => " Not deferring. Deleting mail.",
        _ => " Ignored.",
    };
    log_at!(
        Level::Info,
        &todo.uuid,
        "outbound",
        [],
        "plugin responded with: {}.{end}",
        verdict.code.name()
    );
    (verdict.code != Code::Ok).then_some(delay)
}

/// What became of a recipient, for the operator who looks into the file (OUT-39).
fn state(cause: &Cause, action: &str) -> RecipientState {
    RecipientState {
        dsn_action: Some(action.to_owned()),
        dsn_status: Some(cause.status.to_string()),
        dsn_smtp_code: cause.reply.as_ref().map(haraka_shared::reply::Reply::code),
        dsn_smtp_extc: cause
            .reply
            .as_ref()
            .and_then(|r| r.enhanced())
            .map(|e| e.to_string()),
        dsn_smtp_response: cause.reply.as_ref().map(|r| r.text().to_owned()),
        dsn_remote_mta: cause.host.as_ref().map(ToString::to_string),
        reason: Some(cause.text.clone()),
        ..RecipientState::default()
    }
}

/// Asks the bounce hook and tells the sender.
async fn return_to_sender(
    facts: &Facts<'_>,
    item: &Loaded,
    failed: &[(Recipient, Cause)],
    last: bool,
) -> Told {
    let Facts { worker, name, .. } = facts;
    let why = failed
        .first()
        .map(|(_, c)| c.to_string())
        .unwrap_or_default();
    log_at!(
        Level::Notice,
        &item.todo.uuid,
        "outbound",
        [],
        "bounced file={name} domain={} rcpts={} err={why:?}",
        item.todo.domain,
        failed.len()
    );
    if let Some(delivery) = facts.delivery
        && worker.minds(HookName::Bounce)
    {
        let bounced = Bounced {
            error: why.clone(),
            mx: None,
            recipients: failed
                .iter()
                .map(|(r, c)| (r.address.clone(), c.to_string()))
                .collect(),
        };
        let verdict = worker.ask_outbound(delivery, Call::Bounce(&bounced)).await;
        if verdict.code != Code::Cont {
            log_at!(
                Level::Info,
                &item.todo.uuid,
                "outbound",
                [],
                "Plugin responded with: {}. Not sending bounce.",
                verdict.code.name()
            );
            return Told::Queued;
        }
    }
    bounces::send(worker, name, item, failed, &why, last).await
}

async fn tell_delivered(
    worker: &Rc<Worker>,
    delivery: &Delivery,
    todo: &Todo,
    peer: &Peer,
    response: &str,
    recipients: &[Recipient],
) {
    if !worker.minds(HookName::DeliveredOk) {
        return;
    }
    let delivered = Delivered {
        host: peer.host.to_string(),
        ip: peer.ip.clone(),
        response: response.to_owned(),
        delay: age(todo),
        port: peer.port,
        mode: peer.mode(),
        recipients: recipients.iter().map(|r| r.address.clone()).collect(),
        secured: peer.secured,
        authenticated: peer.authenticated,
    };
    let verdict: Verdict = worker
        .ask_outbound(delivery, Call::DeliveredOk(&delivered))
        .await;
    if verdict.code != Code::Cont {
        log_at!(
            Level::Warn,
            &todo.uuid,
            "outbound",
            [("retval", verdict.code.name().into())],
            "delivered plugin responded"
        );
    }
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

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

/// Removes an item that is done with. One that cannot be removed would be delivered again after a
/// restart, so that is tried until it works.
async fn remove(worker: &Rc<Worker>, name: &QueueName) {
    if let Err(why) = remove_once(worker, name).await {
        log_trouble(name, &why);
        worker.outbound.held.borrow_mut().insert(name.clone());
        let (worker, name) = (Rc::clone(worker), name.clone());
        rt::spawn(async move {
            loop {
                worker.outbound.moment(LOCAL_RETRY).await;
                if remove_once(&worker, &name).await.is_ok() {
                    break;
                }
            }
            worker.outbound.held.borrow_mut().remove(&name);
        })
        .detach();
    }
}

async fn remove_once(worker: &Rc<Worker>, name: &QueueName) -> Result<(), String> {
    match worker.outbound.removals.run(name.clone()).await {
        Ok(Ok(())) => Ok(()),
        // Somebody removed it by hand.
        Ok(Err(e)) if e.is_gone() => Ok(()),
        Ok(Err(e)) => Err(format!("cannot be removed: {e}")),
        Err(e) => Err(format!("cannot be removed: {e}")),
    }
}

/// Puts the whole item off. It waits under its old name if that cannot be changed: it stays queued
/// whatever happens (PB-22).
async fn defer(worker: &Rc<Worker>, name: &QueueName, again: Again, said: Option<String>) {
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
        Ok(Ok(new)) => return worker.outbound.wait_for(&new, again.flushes),
        Ok(Err(e)) if e.is_gone() => return,
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
async fn rewrite(worker: &Rc<Worker>, name: QueueName, todo: Todo, again: Again) {
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
        worker.outbound.held.borrow_mut().remove(&name);
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
    let (old, todo) = (name.clone(), todo.clone());
    let done = rt::offload(move || {
        let mut item = spool.open_item(&old)?;
        spool.update(&mut item, &todo, again.at, again.attempts)
    })
    .await;
    match done {
        Ok(Ok(new)) => {
            worker.outbound.wait_for(&new, again.flushes);
            Ok(())
        }
        Ok(Err(e)) if e.is_gone() || e.is_broken() => Ok(()),
        Ok(Err(e)) => Err(format!("could not be updated: {e}")),
        Err(e) => Err(format!("could not be updated: {e}")),
    }
}

fn log_trouble(name: &QueueName, why: &str) {
    log_at!(Level::Error, &"-", "outbound", [], "{name} {why}");
}
