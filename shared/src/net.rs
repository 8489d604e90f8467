//! IP addresses as policy sees them: which are local or private, and lists of networks.
//!
//! Must never open a socket or ask DNS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use thiserror::Error;

/// The address with IPv4 in IPv6 (`::ffff:1.2.3.4`) shown as the IPv4 that it is (PA-38).
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Whether the address is of this host or link: one of its interfaces, loopback, unspecified,
/// link-local, or IPv6 unique local (CON-03, `remote.is_local`).
#[must_use]
pub fn is_local_ip(ip: IpAddr) -> bool {
    is_local_range(ip) || interface_addresses().contains(&canonical(ip))
}

/// Whether the address is local by its range, or of a private (RFC 1918) or documentation (RFC 5737)
/// network (CON-03, `remote.is_private`).
#[must_use]
pub fn is_private_ip(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(v4) => is_local_range(ip) || v4.is_private() || v4.is_documentation(),
        IpAddr::V6(_) => is_local_range(ip),
    }
}

fn is_local_range(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
                || v6.is_unique_local()
        }
    }
}

/// The addresses of this host's interfaces, as they were at the first call in this process.
fn interface_addresses() -> &'static [IpAddr] {
    static ADDRESSES: OnceLock<Vec<IpAddr>> = OnceLock::new();
    ADDRESSES.get_or_init(|| {
        let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
            return Vec::new();
        };
        let addresses = interfaces.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        addresses.map(canonical).collect()
    })
}

/// An entry of an address list that is neither address nor network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{entry}\": {reason}")]
pub struct IpListError {
    /// The entry as it was given.
    pub entry: String,
    /// What is wrong with it.
    pub reason: IpListReason,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IpListReason {
    /// A host name, or nothing known.
    #[error("is not an IP address or network (host names are not allowed here)")]
    NotAnAddress,
    /// The number behind the slash.
    #[error("needs a prefix length from 0 to {0} behind the slash")]
    Prefix(u8),
}

/// A set of addresses and networks, for allow and deny lists. A look-up is a binary search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpList {
    /// First and last address of each range; sorted, apart from each other.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl IpList {
    /// Reads entries such as `127.0.0.1`, `10.0.0.0/8`, `2001:db8::1`, `[2001:db8::]/32`. An address
    /// alone is one address, also in IPv6 (PB-07). Blank entries are skipped; bits behind the prefix
    /// are ignored.
    ///
    /// # Errors
    /// [`IpListError`] with the first entry that is no address.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, IpListError> {
        let mut list = Self::default();
        for entry in entries {
            let entry = entry.as_ref().trim();
            if !entry.is_empty() {
                let fail = |reason| IpListError {
                    entry: entry.to_owned(),
                    reason,
                };
                list.push(entry).map_err(fail)?;
            }
        }
        list.v4 = merged(list.v4);
        list.v6 = merged(list.v6);
        Ok(list)
    }

    /// Whether the address is in one of the networks. IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match canonical(ip) {
            IpAddr::V4(v4) => within(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => within(&self.v6, v6.to_bits()),
        }
    }

    /// Whether nothing can be in the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn push(&mut self, entry: &str) -> Result<(), IpListReason> {
        let (address, prefix) = match entry.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (entry, None),
        };
        let bracketed = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
        // brackets are for IPv6 only
        let ip = match bracketed {
            Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => address.parse::<IpAddr>(),
        };
        match ip.map_err(|_| IpListReason::NotAnAddress)? {
            IpAddr::V4(v4) => self.push_v4(v4, prefix_length(prefix, 32)?),
            IpAddr::V6(v6) => {
                let length = prefix_length(prefix, 128)?;
                match v6.to_ipv4_mapped() {
                    Some(v4) if length >= 96 => self.push_v4(v4, length - 96),
                    _ => {
                        let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
                        let bits = v6.to_bits();
                        self.v6.push((bits & !host, bits | host));
                    }
                }
            }
        }
        Ok(())
    }

    fn push_v4(&mut self, v4: Ipv4Addr, length: u8) {
        let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        let bits = v4.to_bits();
        self.v4.push((bits & !host, bits | host));
    }
}

fn prefix_length(text: Option<&str>, max: u8) -> Result<u8, IpListReason> {
    let Some(text) = text else { return Ok(max) };
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    let length = text
        .parse::<u8>()
        .ok()
        .filter(|length| digits && *length <= max);
    length.ok_or(IpListReason::Prefix(max))
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(previous) if first <= previous.1 => previous.1 = previous.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], wanted: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= wanted);
    let before = after.checked_sub(1).and_then(|at| ranges.get(at));
    before.is_some_and(|(_, last)| wanted <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // covers CON-03, PA-38
    #[test]
    fn local_and_private_addresses() {
        for (text, local, private) in [
            ("127.0.0.1", true, true),
            ("127.255.0.1", true, true),
            ("0.0.0.0", true, true),
            ("0.0.0.1", false, false),
            ("169.254.1.1", true, true),
            ("::1", true, true),
            ("::", true, true),
            ("fe80::1", true, true),
            ("fe80:1::1", true, true),
            ("febf::1", true, true),
            ("fec0::1", false, false),
            ("fc00::1", true, true),
            ("fdff::1", true, true),
            ("10.1.2.3", false, true),
            ("172.16.0.1", false, true),
            ("172.32.0.1", false, false),
            ("192.168.1.1", false, true),
            ("192.0.2.77", false, true),
            ("198.51.100.77", false, true),
            ("203.0.113.77", false, true),
            ("8.8.8.8", false, false),
            ("2001:4860::1", false, false),
            ("2001:db8::1", false, false),
            ("::ffff:127.0.0.1", true, true),
            ("::ffff:10.0.0.1", false, true),
        ] {
            assert_eq!(is_local_range(ip(text)), local, "{text}");
            assert_eq!(is_private_ip(ip(text)), private, "{text}");
        }
        assert!(is_local_ip(ip("127.0.0.1")));
        assert!(is_local_ip(ip("::1")));
        assert!(!is_local_ip(ip("8.8.8.8")));
        assert_eq!(canonical(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }

    #[test]
    fn own_interfaces_are_local() {
        for own in interface_addresses() {
            assert!(is_local_ip(*own), "{own}");
        }
    }

    // covers PB-07
    #[test]
    fn lists_hold_addresses_and_networks() {
        let list = IpList::parse([
            "127.0.0.1/32",
            " 10.0.0.1/8 ",
            "192.0.2.7",
            "",
            "2001:db8::1",
            "[2001:db8:1::]/48",
            "[2001:db8:2::5]",
            "::ffff:198.51.100.0/120",
        ])
        .unwrap();
        for inside in [
            "127.0.0.1",
            "10.0.0.0",
            "10.255.255.255",
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "2001:db8::1",
            "2001:db8:1:ffff::",
            "2001:db8:2::5",
            "198.51.100.200",
        ] {
            assert!(list.contains(ip(inside)), "{inside}");
        }
        for outside in [
            "127.0.0.2",
            "9.255.255.255",
            "11.0.0.0",
            "192.0.2.6",
            "192.0.2.8",
            "2001:db8::2",
            "2001:db8:2::",
            "2001:db8:0:ffff::",
            "198.51.101.0",
            "::1",
        ] {
            assert!(!list.contains(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn everything_and_nothing() {
        let all = IpList::parse(["0.0.0.0/0", "::/0"]).unwrap();
        for text in ["0.0.0.0", "255.255.255.255", "::", "ffff::1", "1.2.3.4"] {
            assert!(all.contains(ip(text)), "{text}");
        }
        let v4 = IpList::parse(["1.2.3.4/0"]).unwrap();
        assert!(v4.contains(ip("9.9.9.9")) && !v4.contains(ip("::1")));
        let none = IpList::parse::<&str>([]).unwrap();
        assert!(none.is_empty() && !none.contains(ip("1.2.3.4")));
    }

    #[test]
    fn overlapping_networks_do_not_hide_each_other() {
        let list = IpList::parse(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.0.0.0/24"]).unwrap();
        assert!(list.contains(ip("10.200.0.1")));
        assert_eq!(list.v4.len(), 1);
    }

    #[test]
    fn entries_that_are_no_network_are_named() {
        for (entry, expected) in [
            (
                "mail.example",
                "\"mail.example\": is not an IP address or network (host names are not allowed here)",
            ),
            (
                "10.0.0.0/33",
                "\"10.0.0.0/33\": needs a prefix length from 0 to 32 behind the slash",
            ),
            (
                "::1/129",
                "\"::1/129\": needs a prefix length from 0 to 128 behind the slash",
            ),
            (
                "10.0.0.0/",
                "\"10.0.0.0/\": needs a prefix length from 0 to 32 behind the slash",
            ),
            (
                "10.0.0.0/+8",
                "\"10.0.0.0/+8\": needs a prefix length from 0 to 32 behind the slash",
            ),
            (
                "10.0.0.0/255.0.0.0",
                "\"10.0.0.0/255.0.0.0\": needs a prefix length from 0 to 32 behind the slash",
            ),
        ] {
            assert_eq!(
                IpList::parse(["1.2.3.4", entry]).unwrap_err().to_string(),
                expected
            );
        }
        for entry in [
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "10.0.0",
            "010.0.0.1",
            "/8",
            "fe80::1%eth0",
        ] {
            let reason = IpList::parse([entry]).unwrap_err().reason;
            assert_eq!(reason, IpListReason::NotAnAddress, "{entry}");
        }
    }
}
