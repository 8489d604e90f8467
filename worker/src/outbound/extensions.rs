//! What a remote host offers in its EHLO reply. Pure.

use haraka_shared::reply::Reply;

/// The offers that delivery makes use of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub start_tls: bool,
    /// Postfix's XCLIENT with its attribute ADDR.
    pub xclient: bool,
    /// RFC 1870: offered, with the largest message in octets when the host names one.
    pub size: Option<Option<u64>>,
    /// RFC 4954: mechanisms in upper case.
    pub auth: Vec<String>,
}

impl Extensions {
    /// Reads the reply; its first line is the host's name.
    pub fn from_reply(reply: &Reply) -> Extensions {
        let mut found = Extensions::default();
        for line in reply.lines().skip(1) {
            // Old servers write `AUTH=LOGIN`.
            let mut words = line.split([' ', '\t', '=']).filter(|w| !w.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.start_tls = true,
                "XCLIENT" => found.xclient = true,
                // RFC 1870 §4: zero means no fixed limit
                "SIZE" => {
                    found.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0))
                }
                "AUTH" => {
                    for mechanism in words.map(str::to_ascii_uppercase) {
                        if !found.auth.contains(&mechanism) {
                            found.auth.push(mechanism);
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether a message of so many octets is over the host's limit.
    pub fn refuses_size(&self, octets: u64) -> Option<u64> {
        self.size.flatten().filter(|limit| octets > *limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PB-63
    #[test]
    fn offers_are_read_whatever_their_case_and_order() {
        let reply = Reply::fixed(
            250,
            "mx.example.com\npipelining\nSIZE 1000\n8BITMIME\nSTARTTLS\nAUTH PLAIN login\nAUTH=LOGIN\nSMTPUTF8\nDSN\nXCLIENT NAME ADDR\nX-ODD",
        );
        let expected = Extensions {
            pipelining: true,
            eight_bit_mime: true,
            smtp_utf8: true,
            dsn: true,
            start_tls: true,
            xclient: true,
            size: Some(Some(1000)),
            auth: vec!["PLAIN".into(), "LOGIN".into()],
        };
        assert_eq!(Extensions::from_reply(&reply), expected);
        assert_eq!(expected.refuses_size(1000), None);
        assert_eq!(expected.refuses_size(1001), Some(1000));
    }

    #[test]
    fn a_host_of_that_name_offers_nothing() {
        let found = Extensions::from_reply(&Reply::fixed(250, "PIPELINING\nSIZE 0"));
        assert!(!found.pipelining);
        assert_eq!(found.size, Some(None));
        assert_eq!(found.refuses_size(u64::MAX), None);
    }
}
