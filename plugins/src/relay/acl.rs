//! `relay_acl_allow`: the networks whose clients may relay.

use std::net::IpAddr;

use haraka_shared::config::{At, Warning};
use haraka_shared::net::IpList;

/// The file's name below `config/`.
pub(super) const FILE: &str = "relay_acl_allow";

/// The networks.
#[derive(Debug, Default)]
pub(super) struct Acl(IpList);

impl Acl {
    /// Takes the lines with their numbers; what is wrong with them comes back as log messages. An
    /// invalid line is left out, as Haraka does, so it never lets anyone in.
    pub(super) fn parse(lines: &[(u32, String)]) -> (Acl, Vec<Warning>) {
        let mut networks = Vec::with_capacity(lines.len());
        let mut complaints = Vec::new();
        for (line, text) in lines {
            let here = At::line(FILE, *line);
            let entry = text.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            if let Err(e) = IpList::parse([entry]) {
                complaints.push(here.warn(format!("invalid entry in {FILE}: {e}")));
                continue;
            }
            match entry.split_once('/') {
                None => {
                    let text = format!("appending missing CIDR suffix in: {FILE}");
                    complaints.push(here.warn(text));
                }
                // Haraka reads a suffix of 0 as a single address. Taking it for all addresses now
                // would make an open relay of an installation that is none.
                Some((_, suffix)) if suffix.parse() == Ok(0) => {
                    let text = format!(
                        "invalid entry in {FILE}: {entry}: for an open relay set all=true in relay.ini"
                    );
                    complaints.push(here.warn(text));
                    continue;
                }
                Some(_) => {}
            }
            networks.push(entry);
        }
        match IpList::parse(networks) {
            Ok(list) => (Acl(list), complaints),
            // Cannot happen, each was tried above; if it does, nobody is let in.
            Err(e) => {
                complaints.push(At::file(FILE).warn(format!("invalid entry in {FILE}: {e}")));
                (Acl::default(), complaints)
            }
        }
    }

    /// Whether a client at this address may relay.
    pub(super) fn allows(&self, ip: IpAddr) -> bool {
        self.0.contains(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Acl, Vec<Warning>) {
        let lines: Vec<_> = (1..).zip(text.lines().map(str::to_owned)).collect();
        Acl::parse(&lines)
    }

    fn allows(acl: &Acl, ip: &str) -> bool {
        acl.allows(ip.parse().unwrap())
    }

    #[test]
    fn networks_of_both_families_match_their_own_addresses_only() {
        let (acl, complaints) = parse("192.0.2.0/24 # office\n10.0.0.1/32\n2001:db8::/33");
        assert!(complaints.is_empty(), "{complaints:?}");
        for ip in ["192.0.2.0", "192.0.2.255", "10.0.0.1", "2001:db8:7fff::1"] {
            assert!(allows(&acl, ip), "{ip}");
        }
        for ip in ["192.0.3.0", "10.0.0.2", "2001:db8:8000::1", "::1"] {
            assert!(!allows(&acl, ip), "{ip}");
        }
    }

    // covers PB-07
    #[test]
    fn address_without_suffix_is_one_address_in_both_families() {
        let (acl, complaints) = parse("192.0.2.1\n2001:db8::1");
        assert_eq!(complaints.len(), 2);
        assert!(
            complaints[0]
                .text
                .starts_with("appending missing CIDR suffix in: relay_acl_allow")
        );
        assert!(allows(&acl, "192.0.2.1") && allows(&acl, "2001:db8::1"));
        assert!(!allows(&acl, "192.0.2.2") && !allows(&acl, "2001:db8::2"));
    }

    #[test]
    fn invalid_lines_let_nobody_in_and_spare_the_others() {
        let (acl, complaints) = parse(
            "example.com\n10.0.0.0/33\n10.0.0.0/x\n0.0.0.0/0\n::/00\n192.0.2.9/-1\n198.51.100.1/32",
        );
        assert_eq!(complaints.len(), 6, "{complaints:?}");
        assert!(complaints[0].text.contains("\"example.com\"") && complaints[0].at.line == 1);
        for ip in ["10.0.0.0", "0.0.0.0", "127.0.0.1", "::", "::1", "192.0.2.9"] {
            assert!(!allows(&acl, ip), "{ip}");
        }
        assert!(allows(&acl, "198.51.100.1"));
    }
}
