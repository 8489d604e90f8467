//! Delivering items: each lane of a domain takes its items one after the other, and one item goes
//! through hooks, route and client to its results.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use haraka_shared::address::Address;
use haraka_shared::date::epoch_ms;
use haraka_shared::delivery::{Delivery, DeliveryState};
use haraka_shared::hook::{Call, Code, HookName, Message as Said};
use haraka_shared::log::Level;
use haraka_shared::notes::Notes;
use haraka_shared::route::Route;
use haraka_shared::spool::QueueName;
use haraka_shared::{log_at, log_server};

use super::asked::Asked;
use super::attempt::{Attempt, Cause};
use super::item::Loaded;
use super::mail::Mail;
use super::mail_hosts::literal;
use super::message::Envelope;
use super::policy::Scope;
use super::route::{Targets, ascii};
use super::schedule::Job;
use super::settle::settle;
use super::suspend;
use crate::rt;
use crate::rt::sync::Event;
use crate::worker::Worker;

/// Time to wait before an item that could not be read or that broke its delivery is met again.
const LOCAL_RETRY_MS: u64 = 60_000;

/// Delivers an item, then what waits for the same domain.
pub(super) async fn lane(worker: Rc<Worker>, first: Job) {
    let out = &worker.outbound;
    let Some((name, item)) = load(&worker, first).await else {
        out.schedule.borrow_mut().ended();
        return out.wake.notify();
    };
    let domain: Rc<str> = item.todo.domain.to_ascii_lowercase().into();
    if !out.schedule.borrow_mut().enter(&domain, &name) {
        out.release(&name);
        return out.wake.notify();
    }
    let mut current = Some((name, item));
    loop {
        if let Some((name, item)) = current.take() {
            one(&worker, name, item).await;
        }
        if out.mail.disabled() {
            out.schedule.borrow_mut().disband(&domain);
        }
        let next = out.schedule.borrow_mut().next_in_lane(&domain);
        match next {
            Some(name) => current = load(&worker, Job::named(name)).await,
            None => break,
        }
    }
    out.wake.notify();
}

/// Reads an item and marks it as being delivered; `None` if there is nothing to deliver.
async fn load(worker: &Rc<Worker>, job: Job) -> Option<(QueueName, Loaded)> {
    let out = &worker.outbound;
    if out.held.borrow().contains(&job.name) {
        return None;
    }
    if !out.in_flight.borrow_mut().insert(job.name.clone()) {
        // The item is under way already; a flush named it once more.
        return None;
    }
    let orders = out.orders.get();
    let current = |l: &Loaded| l.fresh.as_ref().is_some_and(|f| f.is_current(orders));
    if let Some(loaded) = job.loaded.filter(|l| current(l)) {
        return unless_suspended(worker, job.name, *loaded).await;
    }
    let (spool, flight, name) = (out.spool(), out.flight(), job.name.clone());
    let opened = rt::offload(move || {
        let _noted = flight.note(name.as_str());
        spool.open_item(&name)
    })
    .await;
    let failed = match opened {
        Ok(Ok(item)) => return unless_suspended(worker, job.name, Loaded::stored(item)).await,
        // Delivered or renamed since it was listed, or set aside with an ERROR just now.
        Ok(Err(e)) if e.is_gone() || e.is_broken() => None,
        Ok(Err(e)) => Some(e.to_string()),
        Err(e) => Some(e.to_string()),
    };
    out.release(&job.name);
    if let Some(why) = failed {
        log_server!(
            Level::Error,
            "queue file {} not read, trying again later: {why}",
            job.name
        );
        out.wait_until(&job.name, epoch_ms() + LOCAL_RETRY_MS);
    }
    None
}

/// An item whose deliveries are not suspended.
async fn unless_suspended(
    worker: &Rc<Worker>,
    name: QueueName,
    item: Loaded,
) -> Option<(QueueName, Loaded)> {
    if suspend::waits(worker, &name, &item.todo).await {
        worker.outbound.release(&name);
        return None;
    }
    Some((name, item))
}

/// One item; a panic costs one attempt.
async fn one(worker: &Rc<Worker>, name: QueueName, item: Loaded) {
    let out = &worker.outbound;
    let delivery = Box::pin(deliver(worker, name.clone(), item));
    if let Err(panic) = rt::catch(delivery).await {
        log_server!(Level::Crit, "delivery of {name} failed: {panic}");
        out.wait_until(&name, epoch_ms() + LOCAL_RETRY_MS);
    }
    out.release(&name);
}

async fn deliver(worker: &Rc<Worker>, name: QueueName, item: Loaded) {
    let delivery = handle(worker, &name, &item);
    if let Some(delivery) = &delivery
        && let Some(delay) = postponed(worker, delivery).await
    {
        // Only in memory, as in Haraka: after a restart the item is due at once (HOK-26).
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / 2);
        return worker
            .outbound
            .wait_until(&name, epoch_ms().saturating_add(ms));
    }
    let attempt = match routes(worker, delivery.as_ref()).await {
        Ok(routes) => {
            let at_stake = Cell::new(false);
            let attempt = Box::pin(attempt(worker, &item, routes, &at_stake));
            match unless_stopped(attempt, &worker.outbound.stopping, &at_stake).await {
                Some(attempt) => attempt,
                // As it was; it is due when a server runs here again.
                None => return,
            }
        }
        Err(cause) => for_all(&item, &cause),
    };
    Box::pin(settle(worker, name, item, delivery.as_ref(), attempt)).await;
}

/// The item as hooks see it, if any hook wants to.
pub(super) fn handle(worker: &Rc<Worker>, name: &QueueName, item: &Loaded) -> Option<Delivery> {
    const WANTED: [HookName; 5] = [
        HookName::SendEmail,
        HookName::GetMx,
        HookName::Deferred,
        HookName::Bounce,
        HookName::DeliveredOk,
    ];
    WANTED.iter().any(|h| worker.minds(*h)).then(|| {
        Delivery::new(DeliveryState {
            uuid: item.todo.uuid.clone(),
            file: name.as_str().to_owned(),
            domain: item.todo.domain.clone(),
            mail_from: item.todo.mail_from.clone(),
            rcpt_to: item
                .todo
                .rcpt_to
                .iter()
                .map(|r| r.address.clone())
                .collect(),
            attempts: name.attempts,
            notes: Notes::from_json(item.todo.notes.clone()),
        })
    })
}

/// The delay that a send_email plugin asks for.
async fn postponed(worker: &Rc<Worker>, delivery: &Delivery) -> Option<Duration> {
    let verdict = worker
        .ask_outbound(delivery, Call::SendEmail(delivery))
        .await;
    match (verdict.code, verdict.message) {
        (Code::Delay, Said::Seconds(s)) => Duration::try_from_secs_f64(s).ok(),
        (Code::Delay, Said::Text(t)) => Duration::try_from_secs_f64(t.trim().parse().ok()?).ok(),
        _ => None,
    }
}

/// What get_mx plugins say: routes, `None` for the DNS, or why there is none (HOK-27).
async fn routes(
    worker: &Rc<Worker>,
    delivery: Option<&Delivery>,
) -> Result<Option<Vec<Route>>, Cause> {
    let Some(delivery) = delivery else {
        return Ok(None);
    };
    let verdict = worker.ask_outbound(delivery, Call::GetMx(delivery)).await;
    let said = verdict.message.text().unwrap_or_default().into_owned();
    match (verdict.code, verdict.message) {
        (Code::Ok, Said::Routes(routes)) if !routes.is_empty() => Ok(Some(routes)),
        (Code::Ok, Said::Text(text)) => match Route::parse(&text) {
            Ok(route) => Ok(Some(vec![route])),
            Err(e) => Err(Cause::temporary(
                4,
                4,
                format!("get_mx plugin gave {text:?}: {e}"),
            )),
        },
        (Code::Deny, _) => {
            log_at!(
                Level::Warn,
                &delivery.uuid,
                "outbound",
                [],
                "get_mx plugin returned DENY: {said}"
            );
            let why = format!("No MX for {}", delivery.domain);
            Err(Cause::permanent(
                1,
                2,
                if said.is_empty() { why } else { said },
            ))
        }
        (Code::DenySoft, _) => {
            log_at!(
                Level::Warn,
                &delivery.uuid,
                "outbound",
                [],
                "get_mx plugin returned DENYSOFT: {said}"
            );
            let why = format!("Temporary MX lookup error for {}", delivery.domain);
            Err(Cause::temporary(
                4,
                3,
                if said.is_empty() { why } else { said },
            ))
        }
        _ => Ok(None),
    }
}

/// Offers the item to one host after the other until one decides.
async fn attempt(
    worker: &Rc<Worker>,
    item: &Loaded,
    routes: Option<Vec<Route>>,
    at_stake: &Cell<bool>,
) -> Attempt {
    let mail: &Mail = &worker.outbound.mail;
    let dns = &worker.resolver;
    let routing = mail.routing();
    let from_dns = routes.is_none();
    let targets = match routes {
        Some(routes) => Ok(Targets::of_routes(dns, routes, &routing)),
        None => Targets::of_domain(dns, &item.todo.domain, &routing).await,
    };
    let mut targets = match targets {
        Ok(targets) if from_dns => under_policies(worker, &item.todo.domain, targets).await,
        Ok(targets) => targets,
        Err(none) => return for_all(item, &none.cause()),
    };
    let recipients: Vec<Address> = item
        .todo
        .rcpt_to
        .iter()
        .map(|r| r.address.clone())
        .collect();
    let asked = Asked::of_item(&item.todo);
    let envelope = Envelope {
        uuid: item.todo.uuid.as_str().into(),
        sender: &item.todo.mail_from,
        recipients: &recipients,
        requests: asked.as_ref().map(Asked::requests),
        all_or_none: false,
        domain: &item.todo.domain,
        force_tls: item.todo.force_tls,
        must_log_in: false,
        at_stake: Some(at_stake),
    };
    Box::pin(mail.courier.offer(&mut targets, &envelope, &item.message)).await
}

/// The same targets under the TLS policies of their destination. Those have a say about hosts that the
/// DNS names for it, not about an address that was given (RFC 8461 §4, RFC 7672 §2.2).
async fn under_policies<'a>(worker: &'a Worker, domain: &str, targets: Targets<'a>) -> Targets<'a> {
    if literal(domain).is_some() {
        return targets;
    }
    let policies = &worker.outbound.policies;
    let domain = ascii(domain).to_ascii_lowercase();
    let destination = Box::pin(policies.of_domain(&domain)).await;
    targets.under(Scope::new(policies, destination))
}

/// Gives an attempt up when the worker is told to stop, as long as nothing is lost by that.
async fn unless_stopped(
    mut attempt: Pin<Box<impl Future<Output = Attempt>>>,
    stopping: &Event,
    at_stake: &Cell<bool>,
) -> Option<Attempt> {
    let mut stopped = pin!(stopping.wait());
    poll_fn(|cx| {
        if let Poll::Ready(attempt) = attempt.as_mut().poll(cx) {
            return Poll::Ready(Some(attempt));
        }
        let stop = stopping.is_set() || stopped.as_mut().poll(cx).is_ready();
        if stop && !at_stake.get() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// The same cause for every recipient.
fn for_all(item: &Loaded, cause: &Cause) -> Attempt {
    Attempt::without_host(item.todo.rcpt_to.len(), cause.clone())
}
