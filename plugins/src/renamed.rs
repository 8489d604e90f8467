//! Names that plugins had in older versions of Haraka (PLG-02).

/// What the plugin of this old name is called now; `None` if the name is not an old one. The answer
/// may be a plugin that is not native.
pub fn renamed(name: &str) -> Option<&'static str> {
    Some(match name {
        "auth/auth_ldap" => "auth-ldap",
        "backscatterer" | "dnsbl" | "dnswl" => "dns-list",
        "connect.asn" => "asn",
        "connect.fcrdns" => "fcrdns",
        "connect.geoip" => "geoip",
        "connect.p0f" => "p0f",
        "connect.rdns_access"
        | "mail_from.access"
        | "mail_from.blocklist"
        | "rcpt_to.access"
        | "rcpt_to.blocklist"
        | "rdns.regexp" => "access",
        "data.nomsgid" | "data.noreceived" | "data.rfc5322_header_checks" | "data.headers" => {
            "headers"
        }
        "data.uribl" => "uribl",
        "dkim_sign" | "dkim_verify" => "dkim",
        "log.syslog" => "syslog",
        "mail_from.nobounces" => "bounce",
        "max_unrecognized_commands" | "rate_limit" | "rcpt_to.max_count" => "limit",
        "rcpt_to.ldap" => "rcpt-ldap",
        "rcpt_to.qmail_deliverable" => "qmail-deliverable",
        "relay_acl" | "relay_all" | "relay_force_routing" => "relay",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PLG-02
    #[test]
    fn old_names_lead_to_names_that_are_not_old() {
        for (old, now) in [
            ("relay_acl", "relay"),
            ("relay_all", "relay"),
            ("relay_force_routing", "relay"),
            ("rcpt_to.max_count", "limit"),
            ("dnsbl", "dns-list"),
            ("log.syslog", "syslog"),
        ] {
            assert_eq!(renamed(old), Some(now));
            assert_eq!(renamed(now), None);
        }
        assert_eq!(renamed("rcpt_to.in_host_list"), None);
    }
}
