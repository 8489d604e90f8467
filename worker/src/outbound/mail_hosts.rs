//! Which hosts serve a domain and in which order: the decisions of `route.rs` as pure functions.

use std::collections::HashSet;
use std::net::IpAddr;

use fastrand::Rng;
use haraka_shared::config::InetPrefer;
use haraka_shared::route::{Host, Route};
use haraka_shared::services::{DnsError, MxRecord};

/// MX records as routes: ascending preference, equal ones in random order (RFC 5321 §5.1, PB-65).
pub(super) fn ascending(mut records: Vec<MxRecord>, rng: &mut Rng) -> Vec<Route> {
    // A null MX beside others is a mistake (RFC 7505 §3).
    records.retain(|r| !r.exchange.trim_end_matches('.').is_empty());
    rng.shuffle(&mut records);
    records.sort_by_key(|r| r.preference);
    records.truncate(MOST_HOSTS);
    records
        .into_iter()
        .map(|record| {
            let name = record.exchange.trim_end_matches('.').to_ascii_lowercase();
            // No name can be an address, yet such records exist.
            let host = name.parse().map_or(Host::Name(name), Host::Ip);
            Route {
                preference: record.preference,
                from_dns: true,
                ..Route::to(host)
            }
        })
        .collect()
}

/// The addresses of a host in the order to try them. What one family has counts even if the
/// other's lookup failed.
pub(super) fn preferred(
    v6: Result<Vec<IpAddr>, DnsError>,
    v4: Result<Vec<IpAddr>, DnsError>,
    prefer: InetPrefer,
) -> Result<Vec<IpAddr>, DnsError> {
    let (first, second) = match prefer {
        InetPrefer::V4 => (v4, v6),
        InetPrefer::Default | InetPrefer::V6 => (v6, v4),
    };
    match (first, second) {
        (Ok(mut a), Ok(b)) => {
            a.extend(b);
            if a.is_empty() {
                Err(DnsError::NoData)
            } else {
                Ok(a)
            }
        }
        (Ok(a), Err(e)) | (Err(e), Ok(a)) => match e {
            _ if !a.is_empty() => Ok(a),
            DnsError::NoSuchName => Err(DnsError::NoData),
            e => Err(e),
        },
        // One of them may be there at another time.
        (Err(e @ DnsError::Temporary(_)), Err(_)) | (Err(_), Err(e @ DnsError::Temporary(_))) => {
            Err(e)
        }
        (Err(DnsError::NoSuchName), Err(DnsError::NoSuchName)) => Err(DnsError::NoSuchName),
        (Err(_), Err(_)) => Err(DnsError::NoData),
    }
}

/// The address in `[1.2.3.4]`, `[IPv6:…]` (RFC 5321 §4.1.3); none for names.
pub(super) fn literal(domain: &str) -> Option<IpAddr> {
    let inside = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inside.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("ipv6:") => {
            address.parse().ok().map(IpAddr::V6)
        }
        _ => inside.parse().ok(),
    }
}

/// What this server is called and where it listens, to notice mail that would come back.
#[derive(Clone, Debug, Default)]
pub struct Local {
    names: HashSet<String>,
    addresses: HashSet<IpAddr>,
}

impl Local {
    /// From this server's name, the address that the world sees it at, and those of its interfaces.
    pub fn new(
        me: &str,
        public: Option<IpAddr>,
        interfaces: impl IntoIterator<Item = IpAddr>,
    ) -> Local {
        Local {
            names: [
                me.trim_end_matches('.').to_ascii_lowercase(),
                "localhost".to_owned(),
            ]
            .into(),
            addresses: interfaces
                .into_iter()
                .chain(public)
                .map(|ip| ip.to_canonical())
                .collect(),
        }
    }

    /// As [`new`](Local::new), with the interfaces that the system has now.
    pub fn of_this_host(me: &str, public: Option<IpAddr>) -> Local {
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        });
        Local::new(me, public, addresses)
    }

    /// Whether this name is ours.
    pub fn is_name(&self, name: &str) -> bool {
        self.names
            .contains(&name.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Whether this address leads here.
    pub fn is_address(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified() || self.addresses.contains(&ip)
    }
}

/// Mail exchangers looked at; no sane domain has more.
const MOST_HOSTS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn mx(preference: u16, exchange: &str) -> MxRecord {
        MxRecord {
            preference,
            exchange: exchange.into(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // covers OUT-24, PB-65
    #[test]
    fn every_order_of_equal_preference_comes_up_about_equally_often() {
        let mut rng = Rng::with_seed(7);
        let mut seen = std::collections::HashMap::<String, u32>::new();
        for _ in 0..6000 {
            let records = vec![
                mx(20, "z"),
                mx(10, "a"),
                mx(10, "b"),
                mx(10, "c"),
                mx(5, "first"),
            ];
            let order: Vec<_> = ascending(records, &mut rng)
                .iter()
                .map(|r| r.host.to_string())
                .collect();
            assert_eq!((&*order[0], &*order[4]), ("first", "z"));
            *seen.entry(order.join(" ")).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
    }

    #[test]
    fn names_are_cleaned_and_addresses_recognised() {
        let mut rng = Rng::with_seed(1);
        let routes = ascending(
            vec![mx(1, "MX.Example.COM."), mx(2, "192.0.2.1"), mx(3, ".")],
            &mut rng,
        );
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[0].host, Host::Name("mx.example.com".into()));
        assert_eq!(routes[1].host, Host::Ip(ip("192.0.2.1")));
        assert!(routes.iter().all(|r| r.from_dns));
    }

    // covers OUT-25, OUT-26
    #[test]
    fn one_family_is_enough_and_trouble_outweighs_absence() {
        let v6 = || Ok(vec![ip("2001:db8::1")]);
        let v4 = || Ok(vec![ip("192.0.2.1")]);
        let trouble = || DnsError::Temporary("timeout".into());
        assert_eq!(
            preferred(v6(), v4(), InetPrefer::Default),
            Ok(vec![ip("2001:db8::1"), ip("192.0.2.1")])
        );
        assert_eq!(
            preferred(v6(), v4(), InetPrefer::V4),
            Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")])
        );
        assert_eq!(preferred(Err(DnsError::NoData), v4(), InetPrefer::V6), v4());
        assert_eq!(preferred(v6(), Err(trouble()), InetPrefer::V4), v6());
        assert_eq!(
            preferred(Err(trouble()), Err(DnsError::NoData), InetPrefer::Default),
            Err(trouble())
        );
        assert_eq!(
            preferred(Err(DnsError::NoData), Err(trouble()), InetPrefer::Default),
            Err(trouble())
        );
        let none = || Err(DnsError::NoSuchName);
        assert_eq!(preferred(none(), none(), InetPrefer::Default), none());
        assert_eq!(
            preferred(Ok(vec![]), none(), InetPrefer::Default),
            Err(DnsError::NoData)
        );
        assert_eq!(
            preferred(Ok(vec![]), Ok(vec![]), InetPrefer::V6),
            Err(DnsError::NoData)
        );
    }

    #[test]
    fn literals_are_addresses_and_names_are_not() {
        for (text, expected) in [
            ("[192.0.2.1]", Some("192.0.2.1")),
            ("[IPv6:2001:db8::1]", Some("2001:db8::1")),
            ("[ipv6:::1]", Some("::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[IPv6:192.0.2.1]", None),
            ("192.0.2.1", None),
            ("[example.com]", None),
            ("[", None),
        ] {
            assert_eq!(literal(text), expected.map(ip), "{text}");
        }
    }

    // covers OUT-27, KEY-04
    #[test]
    fn this_server_is_known_by_name_address_and_public_address() {
        let local = Local::new(
            "Mail.Example.com",
            Some(ip("203.0.113.9")),
            [ip("192.0.2.7")],
        );
        for here in [
            "203.0.113.9",
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "127.1.2.3",
            "::1",
            "0.0.0.0",
        ] {
            assert!(local.is_address(ip(here)), "{here}");
        }
        assert!(!local.is_address(ip("192.0.2.8")));
        assert!(
            local.is_name("mail.example.COM.") && local.is_name("localhost") && !local.is_name("x")
        );
        assert!(Local::of_this_host("me", None).is_address(ip("127.0.0.1")));
    }
}
