//! Plugins before an attempt: whether it is made now (`send_email`), to whom (`get_mx`), and what they
//! change of the item or decide about it.
//!
//! Must never talk to a host or change a file: it gives a [`Plan`].

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::address::Address;
use haraka_shared::delivery::{Decision, Delivered, Delivery, DeliveryState};
use haraka_shared::hook::{Call, Code, HookName, Message as Said};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::notes::Notes;
use haraka_shared::reply::Reply;
use haraka_shared::route::{Host, Route};
use haraka_shared::spool::QueueName;

use super::attempt::{Attempt, Cause, Peer, RcptResult};
use super::item::Loaded;
use super::route::NoRoute;
use super::wish::TlsOutcome;
use crate::worker::Worker;

/// What is done with an item.
pub(super) enum Plan {
    /// Offer it to these hosts, or to those that the DNS gives.
    Offer(Option<Vec<Route>>),
    /// Try again after this time; it was no attempt (HOK-26).
    Postpone(Duration),
    /// Nobody needs to be asked: this came of it.
    Settle(Attempt),
    /// Remove it.
    Discard,
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
        let todo = &item.todo;
        let (file, sender) = (name.as_str().to_owned(), todo.mail_from.clone());
        Delivery::new(DeliveryState {
            queue_time: todo.queue_time,
            rcpt_to: todo.rcpt_to.clone().into(),
            attempts: name.attempts.into(),
            force_tls: todo.force_tls.into(),
            notes: Notes::from_json(todo.notes.clone()),
            ..DeliveryState::of(todo.uuid.clone(), file, todo.domain.clone(), sender)
        })
    })
}

/// Asks the plugins and takes over what they have changed.
pub(super) async fn plan(worker: &Rc<Worker>, delivery: &Delivery, item: &mut Loaded) -> Plan {
    let postponed = postponed(worker, delivery).await;
    adopt(delivery, item);
    if let Some(decision) = delivery.take_decision() {
        return decided(item, decision);
    }
    if let Some(delay) = postponed {
        return Plan::Postpone(delay);
    }
    let routes = routes(worker, delivery).await;
    adopt(delivery, item);
    if let Some(decision) = delivery.take_decision() {
        return decided(item, decision);
    }
    match routes {
        Ok(routes) => Plan::Offer(routes),
        Err(cause) => Plan::Settle(Attempt::without_host(item.todo.rcpt_to.len(), cause)),
    }
}

/// What plugins have changed of the envelope and the notes counts from now on.
fn adopt(delivery: &Delivery, item: &mut Loaded) {
    let todo = &mut item.todo;
    let mut changed = false;
    changed |= replace(&mut todo.domain, &delivery.domain.borrow());
    changed |= replace(&mut todo.mail_from, &delivery.mail_from.borrow());
    changed |= replace(&mut todo.force_tls, &delivery.force_tls.get());
    let mut recipients = delivery.rcpt_to.borrow_mut();
    if recipients.is_empty() {
        log_at!(
            Level::Warn,
            &todo.uuid,
            "outbound",
            [],
            "a plugin left no recipient; it goes to those that it had"
        );
        recipients.clone_from(&todo.rcpt_to);
    }
    changed |= replace(&mut todo.rcpt_to, &recipients);
    item.changed |= changed;
    adopt_notes(delivery, item);
}

/// What plugins have noted goes into the queue file (PA-11), with the next change of the item.
pub(super) fn adopt_notes(delivery: &Delivery, item: &mut Loaded) {
    let notes = delivery.notes.to_json();
    // Somebody else's file may have anything in the place of notes.
    let none = notes.as_object().is_some_and(serde_json::Map::is_empty);
    if item.todo.notes.is_object() || !none {
        item.changed |= replace(&mut item.todo.notes, &notes);
    }
}

fn replace<T: PartialEq + Clone>(now: &mut T, new: &T) -> bool {
    let differs = now != new;
    if differs {
        now.clone_from(new);
    }
    differs
}

/// What a plugin's decision comes to.
fn decided(item: &Loaded, decision: Decision) -> Plan {
    log_at!(
        Level::Info,
        &item.todo.uuid,
        "outbound",
        [],
        "a plugin has decided: {}",
        match &decision {
            Decision::TempFail(why) => format!("temporary failure: {why}"),
            Decision::Bounce(why) => format!("bounce: {why}"),
            Decision::Discard => "discard".to_owned(),
            Decision::Delivered(told) => format!("delivered to {}", told.host),
        }
    );
    match result(item, decision) {
        Some(attempt) => Plan::Settle(attempt),
        None => Plan::Discard,
    }
}

/// A decision as the result of an attempt; none to discard the item.
pub(super) fn result(item: &Loaded, decision: Decision) -> Option<Attempt> {
    let causes = |class: u8, why: &str| {
        let of = |r| RcptResult::from(cause_of(r, class, why));
        Attempt {
            results: item.todo.rcpt_to.iter().map(of).collect(),
            peer: None,
            in_doubt: false,
        }
    };
    match decision {
        Decision::Discard => None,
        Decision::TempFail(why) => Some(causes(4, &why)),
        Decision::Bounce(why) => Some(causes(5, &why)),
        Decision::Delivered(told) => Some(delivered(item.todo.rcpt_to.len(), &told)),
    }
}

/// Why, with the status that the plugin has left at the recipient if there is one.
fn cause_of(recipient: &haraka_shared::spool::Recipient, class: u8, why: &str) -> Cause {
    let status = recipient.state.as_ref().and_then(|s| s.dsn_status.clone());
    let status = status.unwrap_or_default();
    let mut digits = status.split('.').map(|d| d.parse::<u16>().ok());
    let (subject, detail) = match (digits.next(), digits.next(), digits.next()) {
        (Some(Some(given)), Some(Some(s)), Some(Some(d))) if given == u16::from(class) => (s, d),
        _ => (0, 0),
    };
    match class {
        5 => Cause::permanent(subject, detail, why),
        _ => Cause::temporary(subject, detail, why),
    }
}

fn delivered(recipients: usize, told: &Delivered) -> Attempt {
    let reply = Reply::new(250, told.response.clone());
    Attempt {
        results: vec![RcptResult::Delivered(reply); recipients],
        peer: Some(Peer {
            host: told.host.as_str().into(),
            ip: told.ip.clone(),
            port: told.port,
            lmtp: told.mode == "LMTP",
            dsn: false,
            secured: told.secured,
            authenticated: told.authenticated,
            tls_policy: None,
            tls: TlsOutcome::NotWanted,
        }),
        in_doubt: false,
    }
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
async fn routes(worker: &Rc<Worker>, delivery: &Delivery) -> Result<Option<Vec<Route>>, Cause> {
    let verdict = worker.ask_outbound(delivery, Call::GetMx(delivery)).await;
    let domain = delivery.domain.borrow().clone();
    let said = verdict.message.text().unwrap_or_default().into_owned();
    let warn = |code: &str| {
        log_at!(
            Level::Warn,
            &delivery.uuid,
            "outbound",
            [],
            "get_mx plugin returned {code}: {said}"
        );
    };
    match (verdict.code, verdict.message) {
        (Code::Ok, Said::Routes(routes)) => given(routes, &domain).map(Some),
        (Code::Ok, Said::Text(text)) => match Route::parse(&text) {
            Ok(route) => Ok(Some(vec![route])),
            Err(e) => Err(unusable(&format!("{text:?}: {e}"))),
        },
        (Code::Ok, _) => Err(unusable("nothing")),
        (Code::Deny, _) => {
            warn("DENY");
            Err(Cause::permanent(1, 2, format!("No MX for {domain}")))
        }
        (Code::DenySoft, _) => {
            warn("DENYSOFT");
            let why = format!("Temporary MX lookup error for {domain}");
            Err(Cause::temporary(4, 3, why))
        }
        _ => Ok(None),
    }
}

/// A plugin that has asked the DNS itself may bring a null MX back (RFC 7505).
fn given(routes: Vec<Route>, domain: &str) -> Result<Vec<Route>, Cause> {
    let nameless = |r: &Route| matches!(&r.host, Host::Name(name) if name.is_empty());
    match routes.as_slice() {
        // OUT-32
        [] => Err(Cause::temporary(4, 4, "Tried all MXs")),
        [only] if nameless(only) && only.preference == 0 => {
            Err(NoRoute::NullMx(domain.to_owned()).cause())
        }
        _ => Ok(routes),
    }
}

fn unusable(what: &str) -> Cause {
    Cause::temporary(4, 4, format!("get_mx plugin gave {what}"))
}

/// The address and name that the notes of an item ask to use towards hosts (OUT-30).
pub(super) fn own_name(item: &Loaded) -> Own {
    let text = |key: &str| {
        let value = item.todo.notes.get(key)?.as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let bind = text("outbound_ip");
    if bind.is_some() {
        log_at!(
            Level::Error,
            &item.todo.uuid,
            "outbound",
            [],
            "notes.outbound_ip is deprecated. Use get_mx.bind instead!"
        );
    }
    Own {
        bind: bind.and_then(|ip| ip.parse().ok()),
        helo: text("outbound_helo"),
    }
}

/// How this server shows itself to a host.
#[derive(Default)]
pub(super) struct Own {
    /// The address to connect from, where the route has none.
    pub(super) bind: Option<std::net::IpAddr>,
    /// The name for EHLO, whatever the route has.
    pub(super) helo: Option<String>,
}

impl Own {
    /// Whether it changes anything.
    pub(super) fn is_usual(&self) -> bool {
        self.bind.is_none() && self.helo.is_none()
    }

    /// The route, used by this name.
    pub(super) fn over(&self, route: &mut Route) {
        route.bind = route.bind.or(self.bind);
        if self.helo.is_some() {
            route.bind_helo.clone_from(&self.helo);
        }
    }
}

impl From<Cause> for RcptResult {
    fn from(cause: Cause) -> RcptResult {
        match cause.status.class() {
            5 => RcptResult::Failed(cause),
            _ => RcptResult::Deferred(cause),
        }
    }
}

/// The addresses of recipients.
pub(super) fn addresses(item: &Loaded) -> Vec<Address> {
    let recipients = item.todo.rcpt_to.iter();
    recipients.map(|r| r.address.clone()).collect()
}
