//! DNS answers that are known to be genuine, for DANE (RFC 7672 §2.1).
//!
//! Asks with DNSSEC wanted (DO) and reports whether the resolver vouches for the answer (AD). That is
//! worth something only if nobody can tamper with it on its way here: [`Validating::is_local`] tells
//! whether all servers are on this machine. Must never call an answer secure on its own judgement.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::config::DnsIni;
use haraka_shared::plugin::LocalFuture;
use haraka_shared::services::{DnsError, MxRecord};
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError as Answer, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use super::{absolute, limit, mail_exchanger, meaning, relative, servers};
use crate::rt;
use crate::rt::sync::Event;

/// A TLSA record (RFC 6698 §2.1), as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsaRecord {
    /// What kind of certificate it is about.
    pub usage: u8,
    /// The certificate (0) or its key (1).
    pub selector: u8,
    /// In full (0), as SHA-256 (1) or SHA-512 (2).
    pub matching: u8,
    /// The certificate, key or digest.
    pub data: Box<[u8]>,
}

/// Records, and what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated<T> {
    /// At least one.
    pub records: Vec<T>,
    /// The resolver vouches for them, and for every alias on the way.
    pub secure: bool,
    /// The name that has them: the one that was asked for, or where its aliases lead.
    pub owner: String,
}

/// DNS questions whose answers say whether they are genuine.
pub trait ValidatedDns {
    /// Whether the resolver vouches for anything: for the name servers of the root, which are
    /// signed. Once it did, this is not asked again, so that nobody can switch it off by trouble.
    fn vouches(&self) -> LocalFuture<'_, bool>;
    /// Mail exchangers of a domain.
    fn mx(&self, domain: &str) -> LocalFuture<'_, Result<Validated<MxRecord>, DnsError>>;
    /// IPv4 addresses of a host, or IPv6 ones.
    fn addresses(
        &self,
        host: &str,
        v6: bool,
    ) -> LocalFuture<'_, Result<Validated<IpAddr>, DnsError>>;
    /// What a host says about its certificates; `name` has port and protocol in front.
    fn tlsa(&self, name: &str) -> LocalFuture<'_, Result<Validated<TlsaRecord>, DnsError>>;
    /// Where a name that is an alias leads to at first.
    fn alias(&self, name: &str) -> LocalFuture<'_, Result<Validated<String>, DnsError>>;
}

type Pool = RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>;

/// Asks the configured servers. Cheap to clone; nothing is set up before the first question.
#[derive(Clone)]
pub struct Validating(Rc<Shared>);

struct Shared {
    settings: DnsIni,
    pool: RefCell<Option<Pool>>,
    known: RefCell<HashMap<(Name, RecordType), Known>>,
    vouched: Cell<bool>,
    /// The question whether it vouches: when it was asked last, and set once it is answered.
    asked: RefCell<Option<(Instant, Event)>>,
}

struct Known {
    until: Instant,
    answer: Result<Rc<Raw>, DnsError>,
}

/// An answer before it is known what is wanted of it.
struct Raw {
    data: Vec<RData>,
    secure: bool,
    owner: String,
}

impl Validating {
    /// A resolver with these settings.
    pub fn new(settings: &DnsIni) -> Validating {
        Validating(Rc::new(Shared {
            settings: settings.clone(),
            pool: RefCell::default(),
            known: RefCell::default(),
            vouched: Cell::default(),
            asked: RefCell::default(),
        }))
    }

    /// Whether all servers are on this machine, so that what they say comes here untouched. Reads
    /// the system's resolver configuration if no servers are set.
    pub fn is_local(&self) -> bool {
        match config(&self.0.settings) {
            Ok((config, _)) => {
                let servers = config.name_servers();
                !servers.is_empty() && servers.iter().all(|s| s.ip.is_loopback())
            }
            Err(_) => false,
        }
    }

    fn pool(&self) -> Result<Pool, DnsError> {
        if let Some(pool) = &*self.0.pool.borrow() {
            return Ok(pool.clone());
        }
        let pool = build(&self.0.settings)
            .map_err(|e| DnsError::Temporary(format!("resolver cannot be set up: {e}")))?;
        *self.0.pool.borrow_mut() = Some(pool.clone());
        Ok(pool)
    }

    /// Asks about the root, or joins the one who does. The answer is waited for by itself, as those
    /// who want it may leave.
    fn ask_whether_it_vouches(&self) -> Event {
        let now = rt::now();
        let mut asked = self.0.asked.borrow_mut();
        match &*asked {
            Some((at, answered)) if now < *at + ASK_AGAIN => return answered.clone(),
            _ => {}
        }
        let answered = Event::new();
        *asked = Some((now, answered.clone()));
        drop(asked);
        let (this, event) = (self.clone(), answered.clone());
        rt::spawn(async move {
            let is_ns = |data: &RData| matches!(data, RData::NS(_)).then_some(());
            let found = Box::pin(this.ask(Name::root(), RecordType::NS, is_ns)).await;
            this.0.vouched.set(found.is_ok_and(|f| f.secure));
            event.set();
        })
        .detach();
        answered
    }

    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Validated<T>, DnsError> {
        let key = (name.to_lowercase(), kind);
        let now = rt::now();
        let known = {
            let known = self.0.known.borrow();
            let fresh = known.get(&key).filter(|k| k.until > now);
            fresh.map(|k| k.answer.clone())
        };
        let answer = match known {
            Some(answer) => answer,
            None => {
                let (answer, kept) = self.fetch(key.0.clone(), kind).await;
                self.remember(key, &answer, kept);
                answer
            }
        }?;
        let records: Vec<T> = answer.data.iter().filter_map(pick).collect();
        if records.is_empty() {
            return Err(DnsError::NoData);
        }
        Ok(Validated {
            records,
            secure: answer.secure,
            owner: answer.owner.clone(),
        })
    }

    /// The answer, and how long it may be kept.
    async fn fetch(&self, name: Name, kind: RecordType) -> (Result<Rc<Raw>, DnsError>, Duration) {
        let never = Duration::ZERO;
        let pool = match self.pool() {
            Ok(pool) => pool,
            Err(e) => return (Err(e), never),
        };
        let query = Query::query(name.clone(), kind);
        let mut options = DnsRequestOptions::default();
        options.edns_set_dnssec_ok = true;
        let lookup = async move { pool.lookup(query, options).first_answer().await };
        let question = match rt::library::run(Box::pin(lookup)) {
            Ok(question) => question,
            Err(e) => return (Err(DnsError::Temporary(e.to_string())), never),
        };
        let within = self
            .0
            .settings
            .timeout
            .saturating_mul(self.0.settings.tries.max(1));
        match rt::timeout(within, question).await {
            Err(rt::Elapsed) => (Err(DnsError::Temporary("timeout".to_owned())), never),
            Ok(Err(e)) => {
                let kept = match &e {
                    NetError::Dns(Answer::NoRecordsFound(none)) => {
                        seconds(none.negative_ttl.unwrap_or(0)).min(NEGATIVE)
                    }
                    _ => never,
                };
                (Err(meaning(e)), kept)
            }
            Ok(Ok(response)) => match follow(&name, kind, &response.answers) {
                None => (Err(DnsError::NoData), never),
                Some((owner, ttl, data)) => {
                    let raw = Raw {
                        data,
                        secure: response.metadata.authentic_data,
                        owner: relative(&owner),
                    };
                    (Ok(Rc::new(raw)), seconds(ttl).min(POSITIVE))
                }
            },
        }
    }

    fn remember(
        &self,
        key: (Name, RecordType),
        answer: &Result<Rc<Raw>, DnsError>,
        kept: Duration,
    ) {
        if kept.is_zero() {
            return;
        }
        let mut known = self.0.known.borrow_mut();
        let now = rt::now();
        if known.len() >= CACHED {
            known.retain(|_, k| k.until > now);
            if known.len() >= CACHED {
                known.clear();
            }
        }
        let (until, answer) = (now + kept, answer.clone());
        known.insert(key, Known { until, answer });
    }
}

impl ValidatedDns for Validating {
    fn vouches(&self) -> LocalFuture<'_, bool> {
        Box::pin(async move {
            if !self.0.vouched.get() {
                self.ask_whether_it_vouches().wait().await;
            }
            self.0.vouched.get()
        })
    }

    fn mx(&self, domain: &str) -> LocalFuture<'_, Result<Validated<MxRecord>, DnsError>> {
        let name = absolute(domain);
        Box::pin(async move { self.ask(name?, RecordType::MX, mail_exchanger).await })
    }

    fn addresses(
        &self,
        host: &str,
        v6: bool,
    ) -> LocalFuture<'_, Result<Validated<IpAddr>, DnsError>> {
        let name = absolute(host);
        let kind = if v6 { RecordType::AAAA } else { RecordType::A };
        Box::pin(async move { self.ask(name?, kind, RData::ip_addr).await })
    }

    fn tlsa(&self, name: &str) -> LocalFuture<'_, Result<Validated<TlsaRecord>, DnsError>> {
        let name = absolute(name);
        Box::pin(async move {
            self.ask(name?, RecordType::TLSA, |data| match data {
                RData::TLSA(tlsa) => Some(TlsaRecord {
                    usage: tlsa.cert_usage.into(),
                    selector: tlsa.selector.into(),
                    matching: tlsa.matching.into(),
                    data: tlsa.cert_data.clone().into(),
                }),
                _ => None,
            })
            .await
        })
    }

    fn alias(&self, name: &str) -> LocalFuture<'_, Result<Validated<String>, DnsError>> {
        let name = absolute(name);
        Box::pin(async move {
            self.ask(name?, RecordType::CNAME, |data| match data {
                RData::CNAME(target) => Some(relative(target)),
                _ => None,
            })
            .await
        })
    }
}

/// The records of a type that an answer holds for a name, their owner and their time to live:
/// aliases inside the answer are followed. One that is not complete in itself is no answer, as its
/// security says nothing about the rest.
fn follow(name: &Name, kind: RecordType, answers: &[Record]) -> Option<(Name, u32, Vec<RData>)> {
    let mut owner = name.clone();
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES {
        let found: Vec<_> = answers
            .iter()
            .filter(|r| r.name == owner && r.record_type() == kind)
            .collect();
        if !found.is_empty() {
            ttl = found.iter().fold(ttl, |least, r| least.min(r.ttl));
            return Some((owner, ttl, found.iter().map(|r| r.data.clone()).collect()));
        }
        let (target, alias_ttl) = answers.iter().find_map(|r| match &r.data {
            RData::CNAME(target) if r.name == owner => Some((target.0.clone(), r.ttl)),
            _ => None,
        })?;
        (owner, ttl) = (target, ttl.min(alias_ttl));
    }
    None
}

fn build(settings: &DnsIni) -> Result<Pool, NetError> {
    let (config, mut options) = config(settings)?;
    limit(&mut options, settings);
    let attempts = options.attempts;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
    let (_, _, servers) = config.into_parts();
    let pool = NameServerPool::from_config(servers, context, TokioRuntimeProvider::default());
    Ok(RetryDnsHandle::new(pool, attempts))
}

/// The servers to ask.
fn config(settings: &DnsIni) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    if settings.servers.is_empty() {
        return hickory_resolver::system_conf::read_system_conf();
    }
    let config = ResolverConfig::from_name_servers(servers(settings));
    Ok((config, ResolverOpts::default()))
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

/// Answers kept: a host has three, of some hundred octets each.
const CACHED: usize = 4096;
/// Longest time that an answer is kept; the local resolver keeps it as well.
const POSITIVE: Duration = Duration::from_secs(3600);
/// Longest time that "there is none" is kept.
const NEGATIVE: Duration = Duration::from_secs(300);
/// Time between two questions whether a resolver vouches for anything.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Aliases in a row; resolvers follow about as many.
const ALIASES: usize = 10;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        absolute(text).unwrap()
    }

    fn alias(from: &str, to: &str, ttl: u32) -> Record {
        Record::from_rdata(name(from), ttl, RData::CNAME(CNAME(name(to))))
    }

    fn address(of: &str, ttl: u32) -> Record {
        Record::from_rdata(name(of), ttl, RData::A(A::new(192, 0, 2, 1)))
    }

    #[test]
    fn aliases_are_followed_only_inside_one_answer() {
        let asked = name("mx.test");
        let chain = [
            address("other.test", 1),
            alias("mx.test", "a.test", 300),
            alias("a.test", "B.test", 60),
            address("b.test", 100),
        ];
        let (owner, ttl, data) = follow(&asked, RecordType::A, &chain).unwrap();
        assert_eq!(
            (relative(&owner).to_lowercase(), ttl, data.len()),
            ("b.test".to_owned(), 60, 1)
        );
        assert!(follow(&asked, RecordType::A, &chain[..3]).is_none());
        let (owner, _, data) = follow(&asked, RecordType::CNAME, &chain).unwrap();
        assert_eq!((owner, data.len()), (asked.clone(), 1));
        let round = [alias("mx.test", "a.test", 1), alias("a.test", "mx.test", 1)];
        assert!(follow(&asked, RecordType::A, &round).is_none());
    }
}
