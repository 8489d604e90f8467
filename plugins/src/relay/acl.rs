//! `relay_acl_allow`: the networks whose clients may relay.

use std::net::IpAddr;

/// The file's name below `config/`.
pub(super) const FILE: &str = "relay_acl_allow";

/// The networks.
#[derive(Debug, Default)]
pub(super) struct Acl(Vec<Network>);

#[derive(Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Acl {
    /// Takes the lines with their numbers; what is wrong with them comes back as log messages. An
    /// invalid line is left out, as Haraka does, so it never lets anyone in.
    pub(super) fn parse(lines: &[(u32, String)]) -> (Acl, Vec<String>) {
        let mut acl = Acl::default();
        let mut complaints = Vec::new();
        for (line, text) in lines {
            let entry = text.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let (address, suffix) = match entry.split_once('/') {
                Some((address, suffix)) => (address, suffix),
                None => (entry, ""),
            };
            let Ok(address) = address.parse::<IpAddr>() else {
                complaints.push(format!("invalid entry in {FILE}: {address} (line {line})"));
                continue;
            };
            let widest = if address.is_ipv4() { 32 } else { 128 };
            if suffix.is_empty() {
                complaints.push(format!("appending missing CIDR suffix in: {FILE} (line {line})"));
                acl.0.push(Network::new(address, widest));
                continue;
            }
            match suffix.parse() {
                // Haraka reads a suffix of 0 as a single address. Taking it for all addresses now
                // would make an open relay of an installation that is none.
                Ok(0) => complaints.push(format!(
                    "invalid entry in {FILE}: {entry} (line {line}): for an open relay set all=true in relay.ini"
                )),
                Ok(prefix) if prefix <= widest => acl.0.push(Network::new(address, prefix)),
                _ => complaints.push(format!("invalid entry in {FILE}: {entry} (line {line})")),
            }
        }
        (acl, complaints)
    }

    /// Whether a client at this address may relay.
    pub(super) fn allows(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|n| n.contains(ip))
    }
}

impl Network {
    /// An IPv4-mapped network is the IPv4 one, as clients' addresses are (PA-38).
    fn new(address: IpAddr, prefix: u32) -> Network {
        match (address.to_canonical(), prefix.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(prefix)) if address.is_ipv6() => Network {
                address: v4,
                prefix,
            },
            _ => Network { address, prefix },
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let drop = 32u32.saturating_sub(self.prefix);
                let shifted = |a: u32| a.checked_shr(drop).unwrap_or(0);
                shifted(net.to_bits()) == shifted(ip.to_bits())
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let drop = 128u32.saturating_sub(self.prefix);
                let shifted = |a: u128| a.checked_shr(drop).unwrap_or(0);
                shifted(net.to_bits()) == shifted(ip.to_bits())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Acl, Vec<String>) {
        let lines: Vec<_> = (1..).zip(text.lines().map(str::to_owned)).collect();
        Acl::parse(&lines)
    }

    fn allows(acl: &Acl, ip: &str) -> bool {
        acl.allows(ip.parse().unwrap())
    }

    #[test]
    fn networks_of_both_families_match_their_own_addresses_only() {
        let (acl, complaints) = parse("192.0.2.0/24 # office\n10.0.0.1/32\n2001:db8::/33\n198.51.100.128/25");
        assert!(complaints.is_empty(), "{complaints:?}");
        for ip in ["192.0.2.0", "192.0.2.255", "10.0.0.1", "2001:db8:7fff::1", "198.51.100.200"] {
            assert!(allows(&acl, ip), "{ip}");
        }
        for ip in ["192.0.3.0", "10.0.0.2", "2001:db8:8000::1", "198.51.100.127", "::1"] {
            assert!(!allows(&acl, ip), "{ip}");
        }
    }

    #[test]
    fn address_without_suffix_is_one_address_in_both_families() {
        let (acl, complaints) = parse("192.0.2.1\n2001:db8::1");
        assert_eq!(complaints.len(), 2);
        assert!(complaints[0].starts_with("appending missing CIDR suffix in: relay_acl_allow"));
        assert!(allows(&acl, "192.0.2.1") && allows(&acl, "2001:db8::1"));
        assert!(!allows(&acl, "192.0.2.2") && !allows(&acl, "2001:db8::2"));
    }

    #[test]
    fn invalid_lines_let_nobody_in() {
        let (acl, complaints) = parse("example.com\n10.0.0.0/33\n10.0.0.0/x\n0.0.0.0/0\n::/0\n192.0.2.9/-1");
        assert_eq!(complaints.len(), 6, "{complaints:?}");
        assert!(complaints[0].contains("example.com (line 1)"));
        for ip in ["10.0.0.0", "0.0.0.0", "127.0.0.1", "::", "::1", "192.0.2.9"] {
            assert!(!allows(&acl, ip), "{ip}");
        }
    }

    #[test]
    fn mapped_network_matches_the_ipv4_client() {
        let (acl, _) = parse("::ffff:192.0.2.0/120");
        assert!(allows(&acl, "192.0.2.7"));
        assert!(!allows(&acl, "192.0.3.7"));
    }
}
