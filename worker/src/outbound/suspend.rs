//! Suspensions: items that meet one wait, without an attempt, until it ends.
//!
//! The file is the tool's; this follows it. A provider is the organisation that runs the best mail
//! host of a domain, or the domain's own where none is known.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::date::epoch_ms;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::services::Dns;
use haraka_shared::spool::{QueueName, Suspension, Suspensions, Todo};

use super::route::ascii;
use crate::rt;
use crate::rt::sync::Notify;
use crate::worker::Worker;

/// What this worker knows of suspensions.
pub(super) struct Suspending {
    all: RefCell<Suspensions>,
    /// The file has changed.
    changed: Notify,
}

impl Suspending {
    /// Knows them before anything is delivered. A file that cannot be read is no reason to keep all
    /// mail; [`Suspending::start`] tells of it.
    pub(super) fn new(queue_dir: &Path) -> Suspending {
        let all = Suspensions::load(queue_dir).unwrap_or_default();
        Suspending {
            all: RefCell::new(all),
            changed: Notify::new(),
        }
    }

    /// Reads the file, now and whenever it changes, and ends what ends by itself.
    pub(super) fn start(worker: &Rc<Worker>) {
        rt::spawn(follow(Rc::clone(worker))).detach();
    }

    /// The file has changed.
    pub(super) fn changed(&self) {
        self.changed.notify();
    }
}

async fn follow(worker: Rc<Worker>) {
    let out = &worker.outbound;
    loop {
        read(&worker).await;
        out.schedule.borrow_mut().resume(epoch_ms());
        out.wake.notify();
        let end = out.suspending.all.borrow().next_end(epoch_ms());
        let changed = out.suspending.changed.notified();
        match end {
            Some(end) => {
                let wait = Duration::from_millis(end.saturating_sub(epoch_ms()).max(1));
                let _ = rt::timeout(wait, changed).await;
            }
            None => changed.await,
        }
    }
}

/// One that cannot be read changes nothing: mail that was to wait goes on waiting.
async fn read(worker: &Rc<Worker>) {
    let out = &worker.outbound;
    let path = out.spool().path().to_owned();
    let why = match rt::offload(move || Suspensions::load(&path)).await {
        Ok(Ok(all)) => {
            let active: Vec<String> = all.active(epoch_ms()).map(Suspension::subject).collect();
            if !active.is_empty() {
                log_server!(Level::Notice, "suspended: {}", active.join(", "));
            }
            out.suspending.all.replace(all);
            return;
        }
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    log_server!(Level::Error, "suspensions not read: {why}");
}

/// The suspension that an item meets.
pub(super) async fn met(worker: &Rc<Worker>, todo: &Todo) -> Option<Suspension> {
    let now = epoch_ms();
    let suspending = &worker.outbound.suspending;
    let by_provider = {
        let all = suspending.all.borrow();
        if let Some(met) = all.of_mail(&todo.domain, &todo.mail_from, now) {
            return Some(met.clone());
        }
        all.of_providers(now)
    };
    if !by_provider {
        return None;
    }
    let host = Box::pin(best_host(worker, &todo.domain)).await;
    // One that has ended meanwhile would be the end of nobody's wait any more.
    let now = epoch_ms();
    let all = suspending.all.borrow();
    let provider = organisation(&host).unwrap_or(&host);
    let met = all.of_provider(provider, now);
    // The name that shaping.toml gives it is as good.
    let named = || worker.settings().shaping.provider_of(&host);
    met.or_else(|| all.of_provider(&named(), now)).cloned()
}

/// Puts an item by that meets a suspension; true if it does.
pub(super) async fn waits(worker: &Rc<Worker>, name: &QueueName, todo: &Todo) -> bool {
    let out = &worker.outbound;
    if out.suspending.all.borrow().active(0).next().is_none() {
        return false;
    }
    let met = met(worker, todo).await;
    if met.is_some() {
        out.schedule.borrow_mut().suspend(name);
    }
    met.is_some()
}

/// The best mail host of a domain, or the domain where none is known.
async fn best_host(worker: &Rc<Worker>, domain: &str) -> String {
    let domain = ascii(domain).to_ascii_lowercase();
    let best = match worker.resolver.mx(&domain).await {
        Ok(records) => records.into_iter().min_by_key(|mx| mx.preference),
        Err(_) => None,
    };
    let host = best.map_or(domain, |mx| mx.exchange.to_ascii_lowercase());
    host.trim_end_matches('.').to_owned()
}

fn organisation(host: &str) -> Option<&str> {
    std::str::from_utf8(psl::domain(host.as_bytes())?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_is_the_name_below_a_public_suffix() {
        assert_eq!(
            organisation("mx1.mail.example.co.uk"),
            Some("example.co.uk")
        );
        assert_eq!(organisation("localhost"), None);
    }
}
