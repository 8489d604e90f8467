//! The hosts file: names and addresses that are answered without the DNS. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names and addresses by each other.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_name: HashMap<String, Vec<IpAddr>>,
    by_address: HashMap<IpAddr, Vec<String>>,
}

impl Hosts {
    /// Reads the text of a hosts file (hosts(5)); lines that make no sense are left out.
    pub(super) fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines().take(MOST_LINES) {
            let mut words = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace();
            let Some(ip) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else {
                continue;
            };
            for name in words {
                hosts.add(ip, name);
            }
        }
        // RFC 6761 §6.3: localhost never goes to the DNS
        if !hosts.by_name.contains_key(LOCALHOST) {
            hosts.add(Ipv4Addr::LOCALHOST.into(), LOCALHOST);
            hosts.add(Ipv6Addr::LOCALHOST.into(), LOCALHOST);
        }
        hosts
    }

    fn add(&mut self, ip: IpAddr, name: &str) {
        let addresses = self.by_name.entry(name.to_ascii_lowercase()).or_default();
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
        let names = self.by_address.entry(ip).or_default();
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }

    /// The addresses of a name.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.by_name.get(&name).map(Vec::as_slice)
    }

    /// The names of an address, in the order of the file.
    pub(super) fn names(&self, ip: IpAddr) -> Option<Vec<String>> {
        let known = self.by_address.get(&ip).cloned();
        known.or_else(|| ip.is_loopback().then(|| vec![LOCALHOST.to_owned()]))
    }
}

const LOCALHOST: &str = "localhost";
/// A blocklist made into a hosts file has hundreds of thousands; nobody delivers to those.
const MOST_LINES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_and_addresses_are_found_in_the_order_of_the_file() {
        let hosts = Hosts::parse(
            "# a comment\n127.0.0.1 localhost\n192.0.2.1\tMail.Example mail # alias\nnonsense x\n192.0.2.2 mail\n",
        );
        assert_eq!(hosts.names(ip("127.0.0.1")), Some(vec!["localhost".into()]));
        assert_eq!(hosts.names(ip("127.0.0.9")), Some(vec!["localhost".into()]));
        assert_eq!(
            hosts.names(ip("192.0.2.1")),
            Some(vec!["Mail.Example".into(), "mail".into()])
        );
        assert_eq!(
            hosts.addresses("MAIL"),
            Some(&[ip("192.0.2.1"), ip("192.0.2.2")][..])
        );
        assert_eq!(
            hosts.addresses("mail.example."),
            Some(&[ip("192.0.2.1")][..])
        );
        assert_eq!(hosts.addresses("x"), None);
        assert_eq!(hosts.names(ip("192.0.2.3")), None);
    }

    #[test]
    fn localhost_is_known_without_a_file() {
        let hosts = Hosts::parse("");
        assert_eq!(
            hosts.addresses("localhost"),
            Some(&[ip("127.0.0.1"), ip("::1")][..])
        );
        assert_eq!(hosts.names(ip("::1")), Some(vec!["localhost".into()]));
    }
}
