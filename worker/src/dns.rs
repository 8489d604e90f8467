//! DNS for sessions, plugins and deliveries, over hickory-resolver.
//!
//! Owns the resolver, its limits and the meaning of its errors; names from the hosts file are
//! answered before the DNS is asked, as the system's own resolver does. hickory runs beside our
//! runtime, see `rt::library`. Must never make anyone wait longer than the configured time.

mod hosts;
mod names;
pub(crate) mod records;
#[cfg(test)]
mod tests;
mod validated;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::DnsIni;
use haraka_shared::plugin::LocalFuture;
use haraka_shared::services::{Dns, DnsError, MxRecord};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Answer, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use self::hosts::Hosts;
pub use self::names::Names;
pub use self::validated::{TlsaRecord, Validated, ValidatedDns, Validating};
use crate::rt;

/// Asks the configured servers. Cheap to clone; nothing is set up before the first question.
#[derive(Clone)]
pub struct Resolver(Rc<Shared>);

struct Shared {
    settings: DnsIni,
    hosts: Hosts,
    /// Built on first use, again if that failed: the system's configuration may come later.
    resolver: RefCell<Option<TokioResolver>>,
}

impl Resolver {
    /// A resolver with these settings and the system's hosts file.
    pub fn new(settings: &DnsIni) -> Resolver {
        // A machine without that file has no such names.
        let text = std::fs::read(HOSTS).unwrap_or_default();
        Resolver::with_hosts(settings, &text)
    }

    fn with_hosts(settings: &DnsIni, hosts: &[u8]) -> Resolver {
        Resolver(Rc::new(Shared {
            settings: settings.clone(),
            hosts: Hosts::parse(&String::from_utf8_lossy(hosts)),
            resolver: RefCell::default(),
        }))
    }

    /// The longest that one question takes, all tries together.
    pub fn limit(&self) -> Duration {
        self.0
            .settings
            .timeout
            .saturating_mul(self.0.settings.tries.max(1))
    }

    fn resolver(&self) -> Result<TokioResolver, DnsError> {
        if let Some(built) = &*self.0.resolver.borrow() {
            return Ok(built.clone());
        }
        let built = build(&self.0.settings)
            .map_err(|e| DnsError::Temporary(format!("resolver cannot be set up: {e}")))?;
        *self.0.resolver.borrow_mut() = Some(built.clone());
        Ok(built)
    }

    /// The records of one type as scripts get them; see [`records::kind`].
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn records(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<serde_json::Value>, DnsError> {
        let pick = |record: &Record| records::shown(kind, &record.data, record.ttl);
        self.ask_for(absolute(name)?, kind, pick).await
    }

    /// Addresses of a host, with the hosts file.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn host(&self, host: &str, v6: bool) -> Result<Vec<IpAddr>, DnsError> {
        self.addresses(host.trim_end_matches('.'), v6).await
    }

    /// Names of an address, with the hosts file.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn names_of(&self, ip: IpAddr) -> Result<Vec<String>, DnsError> {
        self.ptr(ip).await
    }

    /// The records of one type, as far as `pick` wants them.
    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        self.ask_for(name, kind, |record| pick(&record.data)).await
    }

    async fn ask_for<T>(
        &self,
        name: Name,
        kind: RecordType,
        pick: impl Fn(&Record) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        let resolver = self.resolver()?;
        let question = rt::library::run(Box::pin(async move { resolver.lookup(name, kind).await }))
            .map_err(|e| DnsError::Temporary(e.to_string()))?;
        let answer = match rt::timeout(self.limit(), question).await {
            Ok(answer) => answer.map_err(meaning)?,
            Err(rt::Elapsed) => return Err(DnsError::Temporary("timeout".to_owned())),
        };
        let found: Vec<T> = answer.answers().iter().filter_map(pick).collect();
        if found.is_empty() {
            Err(DnsError::NoData)
        } else {
            Ok(found)
        }
    }

    async fn addresses(&self, host: &str, v6: bool) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return if ip.is_ipv6() == v6 {
                Ok(vec![ip])
            } else {
                Err(DnsError::NoData)
            };
        }
        if let Some(known) = self.0.hosts.addresses(host) {
            let found: Vec<_> = known
                .iter()
                .copied()
                .filter(|ip| ip.is_ipv6() == v6)
                .collect();
            return if found.is_empty() {
                Err(DnsError::NoData)
            } else {
                Ok(found)
            };
        }
        let kind = if v6 { RecordType::AAAA } else { RecordType::A };
        self.ask(absolute(host)?, kind, RData::ip_addr).await
    }
}

impl Dns for Resolver {
    fn mx(&self, domain: &str) -> LocalFuture<'_, Result<Vec<MxRecord>, DnsError>> {
        let name = absolute(domain);
        Box::pin(async move { self.ask(name?, RecordType::MX, mail_exchanger).await })
    }

    fn a(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        let host = host.to_owned();
        Box::pin(async move { self.addresses(&host, false).await })
    }

    fn aaaa(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        let host = host.to_owned();
        Box::pin(async move { self.addresses(&host, true).await })
    }

    fn ptr(&self, ip: IpAddr) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        let ip = ip.to_canonical();
        Box::pin(async move {
            if let Some(known) = self.0.hosts.names(ip) {
                return Ok(known);
            }
            self.ask(Name::from(ip), RecordType::PTR, |data| match data {
                RData::PTR(name) => Some(relative(name)),
                _ => None,
            })
            .await
        })
    }

    fn txt(&self, name: &str) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        let name = absolute(name);
        Box::pin(async move {
            self.ask(name?, RecordType::TXT, |data| match data {
                RData::TXT(txt) => {
                    Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned())
                }
                _ => None,
            })
            .await
        })
    }
}

fn build(settings: &DnsIni) -> Result<TokioResolver, NetError> {
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let config = ResolverConfig::from_name_servers(servers(settings));
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    limit(builder.options_mut(), settings);
    builder.build()
}

fn servers(settings: &DnsIni) -> Vec<NameServerConfig> {
    let servers = settings.servers.iter().map(|server| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        connections.iter_mut().for_each(|c| c.port = server.port());
        NameServerConfig::new(server.ip(), true, connections)
    });
    servers.collect()
}

fn limit(options: &mut ResolverOpts, settings: &DnsIni) {
    options.timeout = settings.timeout;
    // hickory counts the tries after the first one
    options.attempts = usize::try_from(settings.tries.max(1)).unwrap_or(1) - 1;
    options.cache_size = CACHED;
    options.max_active_requests = AT_ONCE;
    options.use_hosts_file = ResolveHosts::Never;
}

/// A name with its root, so that no search list applies: mail domains are complete.
fn absolute(name: &str) -> Result<Name, DnsError> {
    // What can be no name has no records, today and tomorrow.
    let mut name = Name::from_utf8(name).map_err(|_| DnsError::NoSuchName)?;
    name.set_fqdn(true);
    Ok(name)
}

fn mail_exchanger(data: &RData) -> Option<MxRecord> {
    match data {
        RData::MX(mx) => Some(MxRecord {
            preference: mx.preference,
            exchange: relative(&mx.exchange),
        }),
        _ => None,
    }
}

fn relative(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.truncate(text.trim_end_matches('.').len());
    text
}

/// RFC 2308 §2: a name that does not exist, a name without such records, or no answer at all.
fn meaning(error: NetError) -> DnsError {
    match error {
        NetError::Dns(Answer::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DnsError::NoSuchName,
            ResponseCode::NoError => DnsError::NoData,
            other => DnsError::Temporary(other.to_string()),
        },
        NetError::Dns(Answer::ResponseCode(code)) => DnsError::Temporary(code.to_string()),
        NetError::Timeout => DnsError::Temporary("timeout".to_owned()),
        other => DnsError::Temporary(other.to_string()),
    }
}

const HOSTS: &str = "/etc/hosts";
/// Answers kept: about a kilobyte each at most, so that the cache stays below 4 MB.
const CACHED: u64 = 4096;
/// Questions under way; each session and delivery has one or two.
const AT_ONCE: usize = 1024;
