//! What follows from an attempt: the item is removed, put off, shortened, or returned to its sender.
//!
//! Order is the safety argument. A bounce is on disk before the item that it is about changes
//! (PB-31); an item keeps its name until the change is on disk (PB-21, PB-22); only then is anything
//! forgotten. A crash in between can repeat a bounce, never lose one.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::delivery::{Bounced, Deferral, Delivered, Delivery};
use haraka_shared::hook::{Call, Code, HookName, Message as Said, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::spool::{QueueName, Recipient, RecipientState, Todo};

use super::attempt::{Attempt, Cause, Peer, RcptResult};
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
    let (delivered, deferred, failed) =
        sort(std::mem::take(&mut item.todo.rcpt_to), attempt.results);
    for (recipient, cause) in &deferred {
        log_at!(
            Level::Notice,
            &item.todo.uuid,
            "outbound",
            [],
            "recipient {} deferred: {cause}",
            recipient.address
        );
    }
    for (recipient, cause) in &failed {
        log_at!(
            Level::Notice,
            &item.todo.uuid,
            "outbound",
            [],
            "recipient {} rejected: {cause}",
            recipient.address
        );
    }
    if !delivered.is_empty()
        && let Some(peer) = &attempt.peer
    {
        let tally = format!("{}/{}/{}", delivered.len(), deferred.len(), failed.len());
        let response = attempt
            .response
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        log_delivered(&name, &item.todo, peer, &response, &tally);
        if let Some(delivery) = delivery {
            tell_delivered(worker, delivery, &item.todo, peer, &response, &delivered).await;
        }
    }
    if attempt.in_doubt {
        log_at!(
            Level::Warn,
            &item.todo.uuid,
            "outbound",
            [],
            "in doubt file={name}: the connection was lost between the final dot and its reply; \
             the message may be delivered twice"
        );
    }
    let mut failed = failed;
    let later = put_off(
        worker,
        &name,
        delivery,
        &item.todo,
        deferred,
        &mut failed,
        attempt.in_doubt,
    )
    .await;
    if !failed.is_empty() {
        let last = later.recipients.is_empty();
        match return_to_sender(worker, &name, &item, delivery, &failed, last).await {
            Told::Queued => {}
            Told::SetAside => return,
            Told::NotStored => {
                // Nothing about these recipients may change but their time.
                let mut rest: Vec<Recipient> = failed.into_iter().map(|(r, _)| r).collect();
                rest.extend(later.recipients);
                let at = epoch_ms() + ms(LOCAL_RETRY);
                return rewrite(worker, &name, item.todo, rest, at, name.attempts).await;
            }
        }
    }
    match later.at {
        _ if later.recipients.is_empty() => remove(worker, &name).await,
        at if delivered.is_empty() && failed.is_empty() && !later.news => {
            defer(worker, &name, at).await;
        }
        at => {
            rewrite(
                worker,
                &name,
                item.todo,
                later.recipients,
                at,
                name.attempts + 1,
            )
            .await
        }
    }
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

/// Recipients that are tried again.
struct Later {
    recipients: Vec<Recipient>,
    /// When, in milliseconds since 1970.
    at: u64,
    /// What is known of them has changed and goes into the file.
    news: bool,
}

/// Works out when deferred recipients are tried again; those that never are move to `failed`.
async fn put_off(
    worker: &Rc<Worker>,
    name: &QueueName,
    delivery: Option<&Delivery>,
    todo: &Todo,
    deferred: Vec<(Recipient, Cause)>,
    failed: &mut Vec<(Recipient, Cause)>,
    in_doubt: bool,
) -> Later {
    let mut later = Later {
        recipients: Vec::new(),
        at: 0,
        news: false,
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
    if let Some(delivery) = delivery
        && worker.hooks.wants(HookName::Deferred)
    {
        let deferral = Deferral {
            delay: delay.as_secs_f64(),
            error: why.clone(),
            recipients: deferred.iter().map(|(r, _)| r.address.clone()).collect(),
        };
        let verdict = worker
            .ask_outbound(delivery, Call::Deferred(&deferral))
            .await;
        match (verdict.code, verdict.message) {
            (Code::Cont, _) => {}
            (Code::DenySoft, Said::Seconds(seconds)) => {
                delay = Duration::try_from_secs_f64(seconds).unwrap_or(delay);
            }
            (Code::DenySoft, _) => {}
            (other, _) => {
                // Haraka deletes the mail on any other code (PB-28); only OK says that on purpose.
                log_at!(
                    Level::Info,
                    &todo.uuid,
                    "outbound",
                    [],
                    "plugin responded with: {}. Not deferring.{}",
                    other.name(),
                    if other == Code::Ok {
                        " Deleting mail."
                    } else {
                        " Ignored."
                    }
                );
                if other == Code::Ok {
                    return later;
                }
            }
        }
    }
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
        let state = state(&cause, "delayed");
        later.news |= recipient.state.as_deref() != Some(&state);
        recipient.state = Some(Box::new(state));
        later.recipients.push(recipient);
    }
    later
}

/// What a delivery report will say (PB-38).
pub(super) fn state(cause: &Cause, action: &str) -> RecipientState {
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
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    delivery: Option<&Delivery>,
    failed: &[(Recipient, Cause)],
    last: bool,
) -> Told {
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
    if let Some(delivery) = delivery
        && worker.hooks.wants(HookName::Bounce)
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
    if !worker.hooks.wants(HookName::DeliveredOk) {
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
    let yes_no = |b: bool| if b { "Y" } else { "N" };
    log_at!(
        Level::Notice,
        &todo.uuid,
        "outbound",
        [
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
        ],
        ""
    );
}

/// Seconds since the message was queued.
fn age(todo: &Todo) -> f64 {
    epoch_ms().saturating_sub(todo.queue_time) as f64 / 1000.0
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

pub(super) async fn remove(worker: &Rc<Worker>, name: &QueueName) {
    let done = match worker.outbound.removals.run(name.clone()).await {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(e.to_string()),
        Err(e) => Some(e.to_string()),
    };
    if let Some(e) = done {
        // It would be delivered again after a restart; try to remove it until that works.
        log_at!(
            Level::Error,
            &"-",
            "outbound",
            [],
            "{name} is done with and cannot be removed: {e}"
        );
        worker
            .outbound
            .remove_later(worker, name.clone(), LOCAL_RETRY);
    }
}

async fn defer(worker: &Rc<Worker>, name: &QueueName, at: u64) {
    let spool = worker.outbound.spool();
    let (old, attempts) = (name.clone(), name.attempts + 1);
    let done = rt::offload(move || spool.defer(&old, at, attempts)).await;
    put_back(worker, name, done);
}

async fn rewrite(
    worker: &Rc<Worker>,
    name: &QueueName,
    mut todo: Todo,
    recipients: Vec<Recipient>,
    at: u64,
    attempts: u32,
) {
    todo.rcpt_to = recipients;
    let spool = worker.outbound.spool();
    let old = name.clone();
    let done = rt::offload(move || {
        let mut item = spool.open_item(&old)?;
        spool.update(&mut item, &todo, at, attempts)
    })
    .await;
    put_back(worker, name, done);
}

type Renamed = Result<Result<QueueName, haraka_shared::spool::SpoolError>, rt::OffloadError>;

/// The item waits under its new name, or under its old one if it could not be changed: it stays
/// queued whatever happens (PB-22).
fn put_back(worker: &Rc<Worker>, old: &QueueName, done: Renamed) {
    match done {
        Ok(Ok(new)) => worker.outbound.wait_for(&new),
        Ok(Err(e)) => {
            log_at!(
                Level::Error,
                &"-",
                "outbound",
                [],
                "{old} could not be put off: {e}"
            );
            worker
                .outbound
                .wait_until(old, epoch_ms() + ms(LOCAL_RETRY));
        }
        Err(e) => {
            log_at!(
                Level::Error,
                &"-",
                "outbound",
                [],
                "{old} could not be put off: {e}"
            );
            worker
                .outbound
                .wait_until(old, epoch_ms() + ms(LOCAL_RETRY));
        }
    }
}
