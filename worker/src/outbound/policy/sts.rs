//! MTA-STS policies of destinations (RFC 8461): found, fetched, remembered and kept.
//!
//! A policy stays in force until its time is over, whatever becomes of its announcement or its web
//! server (§5.1): whoever could suppress those could otherwise switch it off. Deliveries that want the
//! same policy share one fetch. Must never make a delivery fail because a policy cannot be had.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haraka_shared::date::epoch_ms;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::services::Dns;

use super::https::{FetchError, Get};
use super::report::{Failure, FailureType};
use super::sts_store::{Kept, Store};
use super::sts_text::{MAX_POLICY, Mode, StsPolicy, announced};
use super::trust::Trust;
use crate::rt;
use crate::rt::HandshakeError;
use crate::rt::sync::{Event, Semaphore};

/// What is known of a destination's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has none.
    Nothing,
    /// This one is in force.
    Policy(Rc<Kept>),
    /// One is announced, and neither it nor an earlier one can be had.
    Failed(Failure),
}

/// The policies that one worker knows. Cheap to clone.
#[derive(Clone)]
pub struct Sts(Rc<Inner>);

struct Inner {
    dns: Rc<dyn Dns>,
    store: Store,
    trust: RefCell<Rc<Trust>>,
    port: u16,
    known: RefCell<HashMap<Rc<str>, Known>>,
    /// Fetches under way; set when they end.
    fetching: RefCell<HashMap<Rc<str>, Event>>,
    at_once: Semaphore,
}

/// What is remembered of a domain.
#[derive(Clone, Default)]
struct Known {
    kept: Option<Rc<Kept>>,
    /// When the disk was asked last.
    looked: Option<Instant>,
    /// The last fetch failed: for this id, then, so.
    failed: Option<(Rc<str>, Instant, Failure)>,
}

impl Sts {
    /// No policies in memory yet. `port` is that of web servers.
    pub fn new(dns: Rc<dyn Dns>, store: Store, trust: Rc<Trust>, port: u16) -> Sts {
        Sts(Rc::new(Inner {
            dns,
            store,
            trust: RefCell::new(trust),
            port,
            known: RefCell::default(),
            fetching: RefCell::default(),
            at_once: Semaphore::new(AT_ONCE),
        }))
    }

    /// Goes by these authorities from now on.
    pub fn trust(&self, trust: Rc<Trust>) {
        self.0.trust.replace(trust);
    }

    /// The policy of a domain, given in lower case and ASCII. Takes as long as the DNS may take, and
    /// a minute more if a policy has to be fetched.
    pub async fn policy_of(&self, domain: &str) -> Found {
        // Without an answer, an earlier policy counts.
        let records = self.0.dns.txt(&format!("_mta-sts.{domain}")).await;
        let records = records.unwrap_or_default();
        let mut known = self.remembered(domain).await;
        if let Some(id) = announced(&records) {
            let current = known.kept.as_ref().is_some_and(|k| k.id == id);
            let rested = known.may_fetch(id);
            if rested && !current {
                self.fetched(domain, id).await;
                known = self.remembered(domain).await;
            } else if rested && known.kept.as_ref().is_some_and(|k| is_stale(k)) {
                // RFC 8461 §3.3: a refresh ahead of the end, which no delivery waits for.
                drop(self.start_fetch(domain, id));
            }
        }
        let announced = announced(&records);
        match (known.kept, known.failed) {
            (Some(kept), _) if kept.policy.mode != Mode::None => Found::Policy(kept),
            (None, Some((id, _, failure))) if announced == Some(&*id) => Found::Failed(failure),
            _ => Found::Nothing,
        }
    }

    /// What memory or disk has; an expired policy is forgotten.
    async fn remembered(&self, domain: &str) -> Known {
        let now = seconds();
        let mut known = self
            .0
            .known
            .borrow()
            .get(domain)
            .cloned()
            .unwrap_or_default();
        if known.kept.as_ref().is_some_and(|k| k.expires() <= now) {
            known.kept = None;
            known.looked = None;
        }
        if known.kept.is_none() && known.looked.is_none_or(|at| rt::now() >= at + PAUSE) {
            known.kept = self.stored(domain).await;
            known.looked = Some(rt::now());
            self.remember(domain, known.clone());
        }
        known
    }

    async fn stored(&self, domain: &str) -> Option<Rc<Kept>> {
        let (store, name, now) = (self.0.store.clone(), domain.to_owned(), seconds());
        let read = rt::offload(move || store.read(&name, now)).await;
        read.ok().flatten().map(Rc::new)
    }

    fn remember(&self, domain: &str, new: Known) {
        let mut known = self.0.known.borrow_mut();
        if known.len() >= REMEMBERED && !known.contains_key(domain) {
            // What has a policy is worth more; all of it is on disk as well.
            known.retain(|_, k| k.kept.is_some());
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        known.insert(domain.into(), new);
    }

    async fn fetched(&self, domain: &str, id: &str) {
        self.start_fetch(domain, id).wait().await;
    }

    /// Begins a fetch, or joins the one that is under way for this domain.
    fn start_fetch(&self, domain: &str, id: &str) -> Event {
        if let Some(event) = self.0.fetching.borrow().get(domain) {
            return event.clone();
        }
        let (event, domain, id): (_, Rc<str>, Rc<str>) = (Event::new(), domain.into(), id.into());
        self.0
            .fetching
            .borrow_mut()
            .insert(domain.clone(), event.clone());
        let ended = Ended {
            sts: self.clone(),
            domain,
        };
        rt::spawn(async move { Box::pin(ended.sts.fetch(&ended.domain, id)).await }).detach();
        event
    }

    async fn fetch(&self, domain: &str, id: Rc<str>) {
        let before = self
            .0
            .known
            .borrow()
            .get(domain)
            .and_then(|k| k.kept.clone());
        let newer = |k: &Kept| {
            k.id == *id
                && before
                    .as_ref()
                    .is_none_or(|b| b.id != *id || b.fetched < k.fetched)
        };
        let mut known = Known {
            looked: Some(rt::now()),
            kept: before.clone(),
            failed: None,
        };
        // Another worker may have been faster.
        if let Some(stored) = self.stored(domain).await.filter(|k| newer(k)) {
            known.kept = Some(stored);
            return self.remember(domain, known);
        }
        match self.fetch_now(domain, &id).await {
            Ok(kept) => {
                self.keep(domain, &kept).await;
                known.kept = Some(Rc::new(kept));
            }
            Err(failure) => {
                log_server!(
                    Level::Warn,
                    "MTA-STS policy of {domain} not fetched ({}): {}",
                    failure.kind.name(),
                    failure.why
                );
                known.failed = Some((id, rt::now(), failure));
            }
        }
        self.remember(domain, known);
    }

    async fn fetch_now(&self, domain: &str, id: &str) -> Result<Kept, Failure> {
        let _permit = self.0.at_once.acquire().await;
        let trust = Rc::clone(&self.0.trust.borrow());
        let tls = trust.web().await;
        let tls = tls.map_err(|e| Failure::new(FailureType::StsWebpkiInvalid, e.to_string()))?;
        let host = format!("mta-sts.{domain}");
        let get = Get {
            host: &host,
            port: self.0.port,
            path: "/.well-known/mta-sts.txt",
            within: FETCH_TIME,
            limit: MAX_POLICY,
        };
        let body = get.fetch(&*self.0.dns, &tls).await;
        let body = body.map_err(|e| Failure::new(failure_type(&e), e.to_string()))?;
        let policy = StsPolicy::parse(&body)
            .map_err(|e| Failure::new(FailureType::StsPolicyInvalid, e.to_string()))?;
        log_server!(
            Level::Info,
            "MTA-STS policy of {domain} fetched: id={id} mode={} hosts={} max_age={}",
            policy.mode.name(),
            policy.mx.len(),
            policy.max_age.as_secs()
        );
        Ok(Kept {
            id: id.to_owned(),
            fetched: seconds(),
            policy,
        })
    }

    async fn keep(&self, domain: &str, kept: &Kept) {
        let (store, name, kept) = (self.0.store.clone(), domain.to_owned(), kept.clone());
        let written = rt::offload(move || store.write(&name, &kept, seconds())).await;
        let why = match written {
            Ok(Ok(())) => return,
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        log_server!(
            Level::Warn,
            "MTA-STS policy of {domain} is kept in memory only: {why}"
        );
    }
}

impl Known {
    /// Not again soon after a failure (RFC 8461 §3.3).
    fn may_fetch(&self, id: &str) -> bool {
        match &self.failed {
            Some((of, at, _)) => **of != *id || rt::now() >= *at + PAUSE,
            None => true,
        }
    }
}

/// Tells those who wait that a fetch is over, however it ended.
struct Ended {
    sts: Sts,
    domain: Rc<str>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let event = self.sts.0.fetching.borrow_mut().remove(&self.domain);
        if let Some(event) = event {
            event.set();
        }
    }
}

fn is_stale(kept: &Kept) -> bool {
    let age = Duration::from_secs(seconds().saturating_sub(kept.fetched));
    age >= REFRESH.min(kept.policy.max_age / 2).max(PAUSE)
}

fn failure_type(error: &FetchError) -> FailureType {
    match error {
        FetchError::Tls(_, HandshakeError::Tls(rustls::Error::InvalidCertificate(_))) => {
            FailureType::StsWebpkiInvalid
        }
        _ => FailureType::StsPolicyFetchError,
    }
}

fn seconds() -> u64 {
    epoch_ms() / 1000
}

/// Longest time that a web server is waited for (RFC 8461 §3.3).
const FETCH_TIME: Duration = Duration::from_secs(60);
/// Time between two fetches for a domain, and between two looks at the disk.
const PAUSE: Duration = Duration::from_secs(300);
/// Age at which a policy in use is fetched again.
const REFRESH: Duration = Duration::from_secs(24 * 3600);
/// Fetches at the same time, in each worker.
const AT_ONCE: usize = 32;
/// Domains in memory, with and without policy.
const REMEMBERED: usize = 4096;
