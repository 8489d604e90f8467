//! Whether a mail host is to be known by its TLSA records, and by which (RFC 7672 §2.2).
//!
//! Each step counts only as far as the one before was genuine: the MX records, the host's addresses,
//! then the TLSA records. What is not signed has no DANE; what is signed and cannot be had makes the
//! host unusable, as an attacker could suppress it otherwise. Must never ask for TLSA records of a host
//! whose addresses are not signed: some name servers choke on the question (RFC 7672 §2.2.2).

use haraka_shared::services::DnsError;

use super::tlsa::Associations;
use crate::dns::{Validated, ValidatedDns};

/// What DANE says about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Nothing.
    Absent,
    /// The host promises TLS and publishes nothing that could be checked (RFC 7672 §2.2).
    Encrypt,
    /// It is to be known by these records.
    Records {
        /// The usable ones.
        records: Associations,
        /// The name that they were found under; it goes into the TLS handshake.
        base: String,
    },
    /// Genuine answers could not be had.
    Failed(String),
}

/// How far the MX records of a domain can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchanges {
    /// They are genuine: these hosts, in lower case.
    Secure(Vec<String>),
    /// There are none, so the domain itself is the host (RFC 5321 §5.1). That this is genuine shows in
    /// its address being so: in a signed zone an unsigned denial of MX records is a failure.
    Itself,
    /// They are not signed.
    Insecure,
    /// Genuine ones could not be had.
    Failed(String),
}

impl Exchanges {
    /// Asks for the MX records of a domain.
    pub async fn of(dns: &dyn ValidatedDns, domain: &str) -> Exchanges {
        match dns.mx(domain).await {
            Ok(found) if found.secure => {
                let names = found.records.into_iter();
                Exchanges::Secure(names.map(|mx| mx.exchange.to_ascii_lowercase()).collect())
            }
            Ok(_) => Exchanges::Insecure,
            Err(DnsError::NoData | DnsError::NoSuchName) => Exchanges::Itself,
            Err(DnsError::Temporary(why)) => Exchanges::Failed(format!("MX of {domain}: {why}")),
        }
    }
}

/// What DANE says about one of a domain's hosts, by the name in its MX record.
pub async fn of_host(
    dns: &dyn ValidatedDns,
    domain: &str,
    exchanges: &Exchanges,
    host: &str,
    port: u16,
) -> Dane {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match exchanges {
        Exchanges::Secure(hosts) if hosts.contains(&host) => {}
        Exchanges::Itself if host.eq_ignore_ascii_case(domain) => {}
        Exchanges::Insecure => return Dane::Absent,
        Exchanges::Failed(why) => return Dane::Failed(why.clone()),
        // The two questions for MX records were answered at different times.
        _ => return Dane::Failed(format!("{host} is not among the signed MX of {domain}")),
    }
    let bases = match bases(dns, &host).await {
        Ok(bases) => bases,
        Err(why) => return Dane::Failed(why),
    };
    for base in bases {
        match dns.tlsa(&format!("_{port}._tcp.{base}")).await {
            Ok(found) if found.secure => {
                let records = Associations::usable(found.records);
                if records.is_empty() {
                    return Dane::Encrypt;
                }
                return Dane::Records { records, base };
            }
            Ok(_) | Err(DnsError::NoData | DnsError::NoSuchName) => {}
            Err(DnsError::Temporary(why)) => return Dane::Failed(format!("TLSA of {base}: {why}")),
        }
    }
    Dane::Absent
}

/// The names under which a host's TLSA records may be, best first (RFC 7672 §2.2.2): where its
/// aliases lead to, then its own. None if it is not signed.
async fn bases(dns: &dyn ValidatedDns, host: &str) -> Result<Vec<String>, String> {
    let failed = |why: String| format!("address of {host}: {why}");
    let mut found: Result<Validated<_>, _> = dns.addresses(host, false).await;
    if matches!(found, Err(DnsError::NoData)) {
        found = dns.addresses(host, true).await;
    }
    let found = match found {
        Ok(found) => found,
        Err(DnsError::NoData | DnsError::NoSuchName) => return Ok(Vec::new()),
        Err(DnsError::Temporary(why)) => return Err(failed(why)),
    };
    let own = host.to_owned();
    let target = found.owner.to_ascii_lowercase();
    if found.secure {
        return Ok(if target == own {
            vec![own]
        } else {
            vec![target, own]
        });
    }
    if target == own {
        return Ok(Vec::new());
    }
    // The alias may be signed though what it leads to is not.
    match dns.alias(host).await {
        Ok(alias) if alias.secure => Ok(vec![own]),
        Ok(_) | Err(DnsError::NoData | DnsError::NoSuchName) => Ok(Vec::new()),
        Err(DnsError::Temporary(why)) => Err(failed(why)),
    }
}
