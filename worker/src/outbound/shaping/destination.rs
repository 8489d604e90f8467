//! Which destination a domain is: who runs its mail hosts, and what that takes.
//!
//! Known for a while, so that most items ask nobody. Where plugins give routes the first host of those
//! counts, as it was for the domain's last item.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::route::{Host, Route};
use haraka_shared::services::{Dns, DnsError};
use haraka_shared::shaping::{Limits, Shaping, Source};
use haraka_shared::traffic::Key;

use crate::outbound::mail_hosts::literal;
use crate::outbound::route::ascii;
use crate::rt;
use crate::worker::Worker;

/// How long a domain's best mail host is taken for granted. A change of the DNS moves what is counted,
/// not what is delivered.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Domains that are known at a time.
const MOST_KNOWN: usize = 10_000;

/// Where items for one domain go.
pub(super) struct Destination {
    /// As the DNS knows it, in lower case.
    domain: Rc<str>,
    /// The best mail host; none if there is nothing to count, as with a socket of this machine.
    host: Option<Box<str>>,
    /// A plugin gave it.
    pub(super) by_route: bool,
    /// By the source that is sent from.
    limits: RefCell<Vec<BySource>>,
}

/// A source's name, none for the server's own address, and what a destination takes from it.
type BySource = (Option<Arc<str>>, Rc<Limits>);

impl Destination {
    pub(super) fn new(domain: &str, host: Option<String>, by_route: bool) -> Rc<Destination> {
        Rc::new(Destination {
            domain: ascii(domain).to_ascii_lowercase().into(),
            host: host.map(Into::into),
            by_route,
            limits: RefCell::default(),
        })
    }

    /// The domain, as the DNS knows it.
    pub(super) fn domain(&self) -> &Rc<str> {
        &self.domain
    }

    /// Whether nothing is counted of it.
    pub(super) fn is_unlimited(&self) -> bool {
        self.host.is_none()
    }

    /// What it takes from this source.
    pub(super) fn limits(&self, rules: &Shaping, source: Option<&Arc<Source>>) -> Rc<Limits> {
        let name = source.map(|s| &s.name);
        let mut known = self.limits.borrow_mut();
        if let Some((_, limits)) = known.iter().find(|(of, _)| of.as_ref() == name) {
            return Rc::clone(limits);
        }
        let host = self.host.as_deref().unwrap_or(&self.domain);
        let limits = Rc::new(rules.limits(&self.domain, host, source.map(|s| &**s)));
        known.push((name.cloned(), Rc::clone(&limits)));
        limits
    }

    /// Calls `each` with what it takes, from each source that it was sent to from lately.
    pub(super) fn each_limits(&self, mut each: impl FnMut(&Limits)) {
        let known = self.limits.borrow();
        known.iter().for_each(|(_, limits)| each(limits));
    }

    /// What its provider is counted by.
    pub(super) fn provider(&self, rules: &Shaping) -> Option<Key> {
        if self.is_unlimited() {
            return None;
        }
        self.limits(rules, None).counters.first().map(|c| c.key)
    }
}

/// Destinations of the last minutes.
#[derive(Default)]
pub(super) struct Known(HashMap<Box<str>, (Rc<Destination>, Instant)>);

impl Known {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The destination of a domain (in lower case), if it is known.
    pub(super) fn get(&self, domain: &str) -> Option<Rc<Destination>> {
        let (to, until) = self.0.get(domain)?;
        (*until > rt::now()).then(|| Rc::clone(to))
    }

    /// All that are known.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.values().map(|(to, _)| &**to)
    }

    fn put(&mut self, domain: &str, to: &Rc<Destination>) {
        let now = rt::now();
        if self.0.len() >= MOST_KNOWN {
            self.0.retain(|_, (_, until)| *until > now);
        }
        if self.0.len() >= MOST_KNOWN {
            self.0.clear();
        }
        self.0
            .insert(domain.into(), (Rc::clone(to), now + KNOWN_FOR));
    }

    /// A plugin sends mail for this domain along these routes.
    pub(super) fn routed(&mut self, domain: &str, routes: &[Route]) -> Rc<Destination> {
        let host = routes.first().and_then(|route| match &route.host {
            Host::Name(name) => Some(ascii(name).to_ascii_lowercase()),
            Host::Ip(ip) => Some(ip.to_string()),
            Host::Path(_) => None,
        });
        if let Some(to) = self.get(domain)
            && to.by_route
            && to.host.as_deref() == host.as_deref()
        {
            return to;
        }
        let to = Destination::new(domain, host, true);
        self.put(domain, &to);
        to
    }
}

/// Asks the DNS who serves a domain; `None` where it does not tell. The attempt finds out why.
pub(super) async fn look_up(worker: &Worker, domain: &str) -> Option<Rc<Destination>> {
    let host = match literal(domain) {
        Some(ip) => ip.to_string(),
        None => {
            let name = ascii(domain).to_ascii_lowercase();
            match worker.resolver.mx(&name).await {
                // Equal hosts are tried in any order; what is counted should not depend on that.
                Ok(records) => records
                    .into_iter()
                    .min_by(|a, b| (a.preference, &a.exchange).cmp(&(b.preference, &b.exchange)))
                    .map_or(name, |mx| {
                        mx.exchange.trim_end_matches('.').to_ascii_lowercase()
                    }),
                Err(DnsError::NoData | DnsError::NoSuchName) => name,
                Err(DnsError::Temporary(_)) => return None,
            }
        }
    };
    let to = Destination::new(domain, Some(host), false);
    let known = &worker.outbound.shaper.0.known;
    known.borrow_mut().put(domain, &to);
    Some(to)
}
