//! What a destination demands of TLS, and whether a host meets it: MTA-STS (RFC 8461), DANE (RFC
//! 7672), and the results that TLS reports will tell (RFC 8460).
//!
//! Texts and decisions are pure (`sts_text`, `http_response`, `tlsa`, `decision`, `report`); `sts` and
//! `dane` ask the network; `sts_store` and `counters` write files. Deliveries come here with a domain,
//! then with each of its hosts, and go by what [`HostPolicy`] says. Must never be asked about hosts
//! that a plugin or the configuration chose: those are the operator's own word.

pub mod counters;
pub mod dane;
pub mod decision;
pub mod http_response;
mod https;
pub mod report;
pub mod sts;
pub mod sts_store;
pub mod sts_text;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tlsa;
pub mod trust;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::config::{Config, DaneUse};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::services::Dns;

use self::counters::{Counters, Session};
use self::dane::{Dane, Exchanges};
pub use self::decision::{Demand, HostPolicy, Known, Source, decide};
pub use self::report::{Failure, FailureType};
use self::sts::{Found, Sts};
use self::sts_store::Store;
use self::tlsa::DaneVerifier;
use self::trust::Trust;
use crate::dns::{ValidatedDns, Validating};
use crate::rt;

/// The policies of all destinations, as one worker knows them.
pub struct Policies {
    sts: Sts,
    sts_on: Cell<bool>,
    validated: Rc<dyn ValidatedDns>,
    dane_on: Cell<bool>,
    trust: RefCell<Rc<Trust>>,
    verifiers: RefCell<Vec<Arc<DaneVerifier>>>,
    counters: Counters,
}

/// What is known of a destination before its hosts are looked at.
#[derive(Clone, Debug)]
pub struct DomainPolicy {
    /// The destination, in lower case and ASCII.
    pub domain: Rc<str>,
    sts: Found,
    /// None where DANE is off.
    exchanges: Option<Exchanges>,
}

/// The policies of one delivery: its destination's, and what was decided about hosts so far.
pub struct Scope<'a> {
    policies: &'a Policies,
    destination: DomainPolicy,
    judged: Vec<(Rc<str>, Rc<HostPolicy>)>,
}

impl<'a> Scope<'a> {
    /// For a destination whose hosts the DNS names.
    pub fn new(policies: &'a Policies, destination: DomainPolicy) -> Scope<'a> {
        Scope {
            policies,
            destination,
            judged: Vec::new(),
        }
    }

    /// The decision about a host; the same one each time.
    pub async fn judge(&mut self, host: &Rc<str>) -> Rc<HostPolicy> {
        if let Some((_, known)) = self.judged.iter().find(|(h, _)| h == host) {
            return Rc::clone(known);
        }
        let policy = Box::pin(self.policies.of_host(&self.destination, host)).await;
        let policy = Rc::new(self.policies.with_judge(policy).await);
        self.judged.push((host.clone(), Rc::clone(&policy)));
        policy
    }

    /// Notes what came of a connection, for TLS reports.
    pub fn note(&self, policy: &HostPolicy, host: &str, ip: &str, failure: Option<&Failure>) {
        let destination = &self.destination;
        self.policies.note(destination, policy, host, ip, failure);
    }
}

impl Policies {
    /// Goes by these settings; `dns` answers what needs no proof.
    pub fn new(config: &Config, dns: Rc<dyn Dns>) -> Policies {
        let validated = Validating::new(&config.dns);
        let dane_on = dane_on(config, &validated);
        let trust = Rc::new(Trust::new(config.outbound.mta_sts_ca.clone()));
        let dir = config.tls_dir();
        let store = Store::at(dir.join("mta-sts"));
        let on = config.outbound.tls_rpt;
        Policies {
            sts: Sts::new(Rc::clone(&dns), store, Rc::clone(&trust), HTTPS),
            sts_on: Cell::new(config.outbound.mta_sts),
            validated: Rc::new(validated),
            dane_on: Cell::new(dane_on),
            trust: RefCell::new(trust),
            verifiers: RefCell::default(),
            counters: Counters::new(dns, dir.join("tls-rpt"), on),
        }
    }

    /// Goes by these settings from now on.
    pub fn configure(&self, config: &Config) {
        self.sts_on.set(config.outbound.mta_sts);
        self.counters.switch(config.outbound.tls_rpt);
        let on = dane_on(config, &Validating::new(&config.dns));
        if on != self.dane_on.replace(on) {
            let state = if on { "on" } else { "off" };
            log_server!(Level::Notice, "DANE is {state}");
        }
        let file = config.outbound.mta_sts_ca.as_deref();
        if file != self.trust.borrow().file() {
            let trust = Rc::new(Trust::new(config.outbound.mta_sts_ca.clone()));
            self.sts.trust(Rc::clone(&trust));
            self.trust.replace(trust);
        }
    }

    /// What is known of a destination, its name in lower case and ASCII. Takes as long as the DNS may
    /// take, and a minute more when its MTA-STS policy has to be fetched.
    pub async fn of_domain(&self, domain: &str) -> DomainPolicy {
        let domain: Rc<str> = domain.into();
        let sts = match self.sts_on.get() {
            true => Box::pin(self.sts.policy_of(&domain)).await,
            false => Found::Nothing,
        };
        let exchanges = match self.dane_on.get() && self.validated.vouches().await {
            true => Some(Exchanges::of(&*self.validated, &domain).await),
            false => None,
        };
        if let Found::Failed(failure) = &sts {
            self.counters.note(Session {
                domain: domain.clone(),
                policy_type: "sts",
                policy: Rc::default(),
                host: None,
                ip: None,
                failure: Some(failure.clone()),
            });
        }
        DomainPolicy {
            domain,
            sts,
            exchanges,
        }
    }

    /// The decision about one of the destination's hosts, by its name in the MX record.
    pub async fn of_host(&self, destination: &DomainPolicy, host: &str) -> HostPolicy {
        let domain = &*destination.domain;
        let dane = match &destination.exchanges {
            None => Dane::Absent,
            Some(found) => dane::of_host(&*self.validated, domain, found, host, SMTP).await,
        };
        decide(&Known {
            domain,
            host,
            dane: &dane,
            sts: match &destination.sts {
                Found::Policy(kept) => Some(&kept.policy),
                Found::Nothing | Found::Failed(_) => None,
            },
        })
    }

    /// Puts in who judges certificates. Without authorities no host under MTA-STS can be used. Of
    /// judges by TLSA records one is kept for all deliveries, so that they can share connections.
    async fn with_judge(&self, mut policy: HostPolicy) -> HostPolicy {
        if let Demand::Records { verifier, .. } = &mut policy.demand {
            let mut known = self.verifiers.borrow_mut();
            match known.iter().find(|k| *k == verifier) {
                Some(same) => *verifier = Arc::clone(same),
                None => {
                    if known.len() >= VERIFIERS {
                        known.remove(0);
                    }
                    known.push(Arc::clone(verifier));
                }
            }
        }
        if policy.source == Source::StsEnforce && matches!(policy.demand, Demand::Authorities(_)) {
            let trust = Rc::clone(&self.trust.borrow());
            match trust.judge().await {
                Ok(judge) => policy.demand = Demand::Authorities(Some(judge)),
                Err(e) => {
                    policy.demand = Demand::Refused;
                    let kind = FailureType::CertificateNotTrusted;
                    policy.failure = Some(Failure::new(kind, e.to_string()));
                }
            }
        }
        policy
    }

    /// Notes what came of a connection under a policy, for TLS reports.
    pub fn note(
        &self,
        destination: &DomainPolicy,
        policy: &HostPolicy,
        host: &str,
        ip: &str,
        failure: Option<&Failure>,
    ) {
        if !self.counters.is_on() {
            return;
        }
        let (policy_type, text): (_, Rc<[String]>) = match (policy.source, &destination.sts) {
            (Source::Dane, _) => ("tlsa", policy.records()),
            (Source::DaneEncrypt, _) => ("tlsa", Rc::default()),
            (Source::StsEnforce | Source::StsTesting, Found::Policy(kept)) => {
                let text = kept.policy.to_string();
                (
                    "sts",
                    text.lines().take(MOST_LINES).map(str::to_owned).collect(),
                )
            }
            _ => ("no-policy-found", Rc::default()),
        };
        self.counters.note(Session {
            domain: destination.domain.clone(),
            policy_type,
            policy: text,
            host: Some(host.to_ascii_lowercase().into()),
            ip: failure.is_some().then(|| ip.to_owned()),
            failure: failure.cloned(),
        });
    }

    /// Writes down what is to be told in TLS reports, before the worker ends; gives up after some
    /// seconds, as the numbers are not worth more.
    pub async fn write_counters(&self) {
        let _ = rt::timeout(LAST_WRITE, self.counters.write()).await;
    }
}

/// DANE leans on the resolver's word, which is worth something only if it comes untouched.
fn dane_on(config: &Config, resolver: &Validating) -> bool {
    match config.outbound.dane {
        DaneUse::On => true,
        DaneUse::Off => false,
        DaneUse::Auto => resolver.is_local(),
    }
}

/// Judges by TLSA records that are kept: more than hosts with idle connections.
const VERIFIERS: usize = 128;
const HTTPS: u16 = 443;
const SMTP: u16 = 25;
/// Longest time that a worker's end waits for its counters.
const LAST_WRITE: Duration = Duration::from_secs(3);
/// Lines of a policy in a report.
const MOST_LINES: usize = 100;
