//! Delivering items: each lane of a domain takes its items one after the other, and one item goes
//! through hooks, route and client to its results.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use haraka_shared::date::epoch_ms;
use haraka_shared::delivery::Delivery;
use haraka_shared::ledger::{Out, Outcome};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::route::Route;
use haraka_shared::spool::QueueName;

use super::asked::Asked;
use super::attempt::{Attempt, Cause};
use super::hooks_before::{Plan, addresses, handle, own_name, plan, result};
use super::item::Loaded;
use super::ledger::AtStake;
use super::mail::Mail;
use super::mail_hosts::literal;
use super::message::Envelope;
use super::policy::Scope;
use super::requeue::{Again, ms, remove, rewrite};
use super::route::{Targets, ascii};
use super::schedule::Job;
use super::settle::settle;
use super::shaping::{self, Permit, Turn};
use super::smtputf8;
use super::suspend;
use crate::rt;
use crate::rt::sync::Event;
use crate::worker::Worker;

/// Time to wait before an item that could not be read or that broke its delivery is met again.
const LOCAL_RETRY_MS: u64 = 60_000;

/// Delivers an item, then what waits for the same domain.
pub(super) async fn lane(worker: Rc<Worker>, first: Job) {
    let out = &worker.outbound;
    let mut first = first;
    let permit = first.permit.take();
    // What follows marks the item as under way before anybody else has a turn.
    out.book.has_begun();
    let Some((name, item)) = load(&worker, first).await else {
        out.schedule.borrow_mut().ended();
        return out.wake.notify();
    };
    let domain: Rc<str> = item.todo.domain.to_ascii_lowercase().into();
    // An item whose lane is full waits there, and needs no permit for that.
    let needs = permit.is_none() && out.schedule.borrow().has_lane(&domain);
    let permit = if needs {
        match shaping::turn(&worker, &name, &item, &domain).await {
            Turn::Now(permit) => permit,
            Turn::Wait => {
                out.release(&name);
                out.schedule.borrow_mut().ended();
                return out.wake.notify();
            }
        }
    } else {
        permit
    };
    if !out.schedule.borrow_mut().enter(&domain, &name) {
        out.release(&name);
        return out.wake.notify();
    }
    let mut current = Some((name, item, permit));
    loop {
        if let Some((name, item, permit)) = current.take() {
            one(&worker, name, item, permit).await;
        }
        if out.mail.disabled() {
            out.schedule.borrow_mut().disband(&domain);
        }
        let next = out.schedule.borrow_mut().next_in_lane(&domain);
        match next {
            Some(name) => current = in_turn(&worker, name, &domain).await,
            None => break,
        }
    }
    out.wake.notify();
}

/// An item of a lane, if it can be delivered now.
async fn in_turn(
    worker: &Rc<Worker>,
    name: QueueName,
    domain: &Rc<str>,
) -> Option<(QueueName, Loaded, Option<Permit>)> {
    let (name, item) = load(worker, Job::named(name)).await?;
    match shaping::turn(worker, &name, &item, domain).await {
        Turn::Now(permit) => Some((name, item, permit)),
        Turn::Wait => {
            worker.outbound.release(&name);
            None
        }
    }
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
        Ok(Err(e)) if e.is_gone() => {
            out.book.vanished(&job.name);
            None
        }
        Ok(Err(e)) if e.is_broken() => {
            out.leaves(&job.name, Out::Aside);
            None
        }
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
async fn one(worker: &Rc<Worker>, name: QueueName, item: Loaded, permit: Option<Permit>) {
    let out = &worker.outbound;
    let delivery = Box::pin(deliver(worker, name.clone(), item, permit));
    if let Err(panic) = rt::catch(delivery).await {
        log_server!(Level::Crit, "delivery of {name} failed: {panic}");
        out.wait_until(&name, epoch_ms() + LOCAL_RETRY_MS);
    }
    out.release(&name);
}

async fn deliver(worker: &Rc<Worker>, name: QueueName, mut item: Loaded, permit: Option<Permit>) {
    let delivery = handle(worker, &name, &item);
    let plan = match &delivery {
        Some(delivery) => Box::pin(plan(worker, delivery, &mut item)).await,
        None => Plan::Offer(None),
    };
    let attempt = match plan {
        Plan::Offer(routes) => {
            let routed = shaping::routed(worker, &name, &item, routes.as_deref(), permit);
            match Box::pin(routed).await {
                Turn::Now(permit) => {
                    offered(worker, &name, &item, routes, delivery.as_ref(), permit).await
                }
                Turn::Wait => None,
            }
        }
        Plan::Settle(attempt) => Some(attempt),
        Plan::Postpone(delay) => {
            Box::pin(postpone(worker, name, item, delay)).await;
            return end(delivery.as_ref());
        }
        Plan::Discard => {
            let recipients = item.todo.rcpt_to.len();
            worker
                .outbound
                .tally(&item.todo.domain, Outcome::Discarded, recipients);
            remove(worker, &name, Out::Discarded).await;
            return end(delivery.as_ref());
        }
    };
    // If there is none it is as it was: it waits, or is due when a server runs here again.
    if let Some(attempt) = attempt {
        Box::pin(settle(worker, name, item, delivery.as_ref(), attempt)).await;
    }
    end(delivery.as_ref());
}

fn end(delivery: Option<&Delivery>) {
    if let Some(delivery) = delivery {
        delivery.end();
    }
}

/// Only in memory, as in Haraka: after a restart the item is due at once (HOK-26). What plugins have
/// changed is written down.
async fn postpone(worker: &Rc<Worker>, name: QueueName, item: Loaded, delay: Duration) {
    let at = epoch_ms().saturating_add(ms(delay));
    if !item.changed {
        return worker.outbound.wait_until(&name, at);
    }
    let again = Again {
        at,
        attempts: name.attempts,
        flushes: worker.outbound.flushes(),
    };
    rewrite(worker, name, item.todo, again).await;
}

/// Makes an attempt; none if the worker was told to stop before anything was at stake.
async fn offered(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    routes: Option<Vec<Route>>,
    delivery: Option<&Delivery>,
    permit: Option<Permit>,
) -> Option<Attempt> {
    let at_stake = AtStake::of(&worker.outbound.book, name);
    let attempt = Box::pin(attempt(worker, item, routes, &at_stake, permit));
    let attempt = unless_stopped(attempt, &worker.outbound.stopping, &at_stake).await?;
    // What a plugin has decided meanwhile counts unless somebody has the message.
    let decision = delivery.and_then(Delivery::take_decision);
    match decision {
        Some(decision) if attempt.tally().0 == 0 && !attempt.in_doubt => {
            Some(result(item, decision).unwrap_or(attempt))
        }
        _ => Some(attempt),
    }
}

/// Offers the item to one host after the other until one decides.
async fn attempt(
    worker: &Rc<Worker>,
    item: &Loaded,
    routes: Option<Vec<Route>>,
    at_stake: &AtStake,
    permit: Option<Permit>,
) -> Attempt {
    let mail: &Mail = &worker.outbound.mail;
    let dns = &worker.resolver;
    let routing = mail.routing();
    let from_dns = routes.is_none();
    let targets = match routes {
        Some(routes) => Ok(Targets::of_routes(dns, routes, &routing)),
        None => Targets::of_domain(dns, &item.todo.domain, &routing).await,
    };
    let own = own_name(item);
    let targets = targets.map(|t| t.permitted(permit));
    let targets = targets.map(|t| if own.is_usual() { t } else { t.showing(&own) });
    let mut targets = match targets {
        Ok(targets) if from_dns => under_policies(worker, &item.todo.domain, targets).await,
        Ok(targets) => targets,
        Err(none) => return for_all(item, &none.cause()),
    };
    let recipients = addresses(item);
    let asked = Asked::of_item(&item.todo);
    let envelope = Envelope {
        uuid: item.todo.uuid.as_str().into(),
        sender: &item.todo.mail_from,
        recipients: &recipients,
        requests: asked.as_ref().map(Asked::requests),
        smtputf8: smtputf8::of_item(&item.todo),
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
    at_stake: &AtStake,
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
