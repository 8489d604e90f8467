//! A block of IP addresses in CIDR notation, as lists of trusted hosts write it.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

/// `192.0.2.0/24`, `2001:db8::/32`, or a single address. Both families work alike: an address
/// without prefix length is one host (Haraka takes a bare IPv6 address for a /64, PB-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    ip: IpAddr,
    prefix: u8,
}

impl IpRange {
    /// Whether the address is in the block. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differ = u32::from(a) ^ u32::from(b);
                differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differ = u128::from(a) ^ u128::from(b);
                differ
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for IpRange {
    type Err = String;

    /// Takes brackets around an IPv6 address, as Haraka's own example shows them.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (host, length) = match text.split_once('/') {
            Some((host, length)) => (host, Some(length)),
            None => (text, None),
        };
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let ip: IpAddr = inner
            .unwrap_or(host)
            .parse()
            .map_err(|_| format!("\"{text}\" is not an IP address or CIDR block"))?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match length {
            None => width,
            Some(l) => l
                .parse()
                .ok()
                .filter(|n| *n <= width)
                .ok_or_else(|| format!("\"{text}\": the prefix length is not 0 to {width}"))?,
        };
        Ok(IpRange { ip, prefix })
    }
}

impl Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &str, ip: &str) -> bool {
        range
            .parse::<IpRange>()
            .unwrap()
            .contains(ip.parse().unwrap())
    }

    #[test]
    fn blocks_of_both_families_match_by_prefix() {
        // covers KEY-19
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.4", "192.0.2.4"));
        assert!(!contains("192.0.2.4", "192.0.2.5"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(contains("192.0.2.4", "::ffff:192.0.2.4"));
        assert!(contains("2001:db8::/32", "2001:db8:1::9"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(!contains("::/0", "192.0.2.1"));
        assert!(!contains("2001:db8::1", "2001:db8::2"));
    }

    #[test]
    fn bracketed_ipv6_is_read_and_nonsense_refused() {
        assert!(contains("[2001:db8::1]", "2001:db8::1"));
        for bad in [
            "",
            "x",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.0/",
            "192.0.2.0/-1",
        ] {
            assert!(bad.parse::<IpRange>().is_err(), "{bad}");
        }
    }
}
