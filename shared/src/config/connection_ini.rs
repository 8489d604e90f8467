//! `connection.ini`: what a client may do in a session (KEY-13 to KEY-34), and the built-in limits
//! that Haraka lacks (PB-13).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::dir::ConfigDir;
use super::error::Problems;
use super::ip_range::IpRange;
use super::kinds::{
    Bool, Choice, Count, FilePath, Limit, Many, OptionalSeconds, Range, Seconds, Text,
};
use super::reader::Reader;
use super::row::{Describe, Kind, Row, settings};

/// Longest line that may be allowed: each connection may hold one in memory.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

settings! {
    /// Sessions: spooling, strictness, headers, limits and texts. A change counts for connections
    /// that are made after it.
    ConnectionIni, CONNECTION_INI = "connection.ini";
    sections {
        "main" => "",
        "haproxy" => "Clients behind a proxy that speaks the PROXY protocol, version 1 or 2.",
        "esmtp" => "Extensions that the reply to EHLO offers after Haraka's own.",
        "headers" => "Header fields of messages that come in.",
        "max" => "Limits. Those on connections count in each worker process by itself. Clients on \
                  this machine (loopback addresses) are exempt from connections_per_ip.",
        "message" => "What the server says.",
        "uuid" => "How much of its identifier a connection shows.",
    }
    gone {}
    rows {
        /// Directory for large messages while they are received.
        spool_dir: PathBuf = Row::new("main", "spool_dir", "/tmp").live().example("/var/spool/haraka"),
            FilePath;
        /// Size in bytes from which a message that is received goes to disk. 0 means always, -1
        /// never.
        spool_after: SpoolAfter = Row::new("main", "spool_after", "26214400").live().lenient(),
            SpoolAfterKind;
        /// Refuse MAIL and RCPT with stray blanks or without angle brackets.
        strict_rfc1869: bool = Row::new("main", "strict_rfc1869", "false").live(), Bool;
        /// Accept envelope addresses that go beyond the limits of RFC 5321.
        postel: bool = Row::new("main", "postel", "false").live(), Bool;
        /// Offer SMTPUTF8 (RFC 6531).
        smtputf8: bool = Row::new("main", "smtputf8", "true").live(), Bool;
        /// What to do with a line of a message that ends in LF without CR: `convert` makes it a
        /// proper line end, `reject` refuses the message. It never ends the message, so none can
        /// be smuggled in.
        bare_newline: BareNewline = Row::new("main", "bare_newline", "convert").live().ours(),
            Choice(&[("convert", BareNewline::Convert), ("reject", BareNewline::Reject)]);

        /// Understand the PROXY protocol from the hosts below.
        haproxy_enabled: bool = Row::new("haproxy", "enabled", "true").live(), Bool;
        /// Proxies. An address without prefix length is one host.
        haproxy_hosts: Vec<IpRange> = Row::new("haproxy", "hosts", "").live()
            .example("192.0.2.4").former("haproxy_hosts"), Many(Range);
        /// How long a proxy may take to say who its client is.
        haproxy_timeout: Duration = Row::new("haproxy", "timeout", "30").live().ours(),
            Seconds { min: 1, max: 3600 };

        /// Refuse parameters of MAIL and RCPT that no offered extension has (555), and bad values
        /// of those that one has (501). Haraka ignores both.
        strict_parameters: bool = Row::new("esmtp", "strict_parameters", "true").live().ours(), Bool;
        /// Offer CHUNKING (RFC 3030): messages in counted pieces.
        chunking: bool = Row::new("esmtp", "chunking", "true").live().ours(), Bool;
        /// Offer DSN (RFC 3461): senders choose which reports they get.
        dsn: bool = Row::new("esmtp", "dsn", "true").live().ours(), Bool;
        /// Offer ENHANCEDSTATUSCODES (RFC 2034): each reply begins with a status code. Off, as
        /// scripts may know Haraka's replies by heart.
        enhanced_status_codes: bool = Row::new("esmtp", "enhancedstatuscodes", "false").live().ours(),
            Bool;
        /// Offer LIMITS (RFC 9422) with the number of recipients that a message may have. Off, as
        /// few clients read it.
        limits: bool = Row::new("esmtp", "limits", "false").live().ours(), Bool;

        /// Add a Received field.
        add_received: bool = Row::new("headers", "add_received", "true").live(), Bool;
        /// Remove Authentication-Results fields that came with the message.
        clean_auth_results: bool = Row::new("headers", "clean_auth_results", "true").live(), Bool;
        /// Show the server's version in banner and Received.
        show_version: bool = Row::new("headers", "show_version", "true").live(), Bool;
        /// Header lines that are parsed; what follows counts as body.
        max_header_lines: usize = Row::new("headers", "max_lines", "1000").live()
            .former("max_header_lines"), Count::<usize>::new(1, 1_000_000);
        /// Received fields above which a message is taken for a loop.
        max_received: usize = Row::new("headers", "max_received", "100").live()
            .former("max_received_count"), Count::<usize>::new(1, 1_000_000);

        /// Size of a message in bytes; 0 for no limit.
        max_bytes: Option<u64> = Row::new("max", "bytes", "26214400").live().former("databytes"),
            Limit::<u64>::new(u64::MAX);
        /// MIME parts of a message that plugins take apart; one with more is refused.
        max_mime_parts: usize = Row::new("max", "mime_parts", "1000").live().former("max_mime_parts"),
            Count::<usize>::new(1, 1_000_000);
        /// Length of a command line in bytes, with its line end. RFC 5321 asks for 512.
        max_line_length: usize = Row::new("max", "line_length", "512").live().former("max_line_length"),
            Count::<usize>::new(64, LONGEST_LINE);
        /// Length of a message line in bytes, with its line end. Haraka folds longer lines, which
        /// breaks signatures; here a message is never altered, so nothing follows from this.
        max_data_line_length: usize = Row::new("max", "data_line_length", "992").live()
            .former("max_data_line_length"), Count::<usize>::new(64, LONGEST_LINE);
        /// Open connections; more are answered with 421. Enough for the busiest relay, and with a
        /// message in memory for each far from what a flood would take.
        max_connections: Option<u32> = Row::new("max", "connections", "20000").live().ours(),
            Limit::<u32>::new(10_000_000);
        /// Open connections of one client address; more are answered with 421. The largest senders
        /// use some tens; whole networks behind one address stay below as well.
        max_connections_per_ip: Option<u32> = Row::new("max", "connections_per_ip", "1000").live().ours(),
            Limit::<u32>::new(10_000_000);
        /// Recipients of one message; more are answered with 452, so that the client sends the
        /// message again for the rest. RFC 5321 asks for at least 100; a large mailing list may
        /// send ten thousand, which take a few megabytes.
        max_recipients: Option<u32> = Row::new("max", "recipients", "10000").live()
            .former("rcpt_to.max_count").ours(), Limit::<u32>::new(10_000_000);
        /// Refused commands of one connection before it is closed with 421. A mailing list with
        /// many dead addresses stays below; one that guesses addresses or passwords does not.
        max_errors: Option<u32> = Row::new("max", "errors", "100").live()
            .former("max_unrecognized_commands").ours(), Limit::<u32>::new(10_000_000);
        /// How long a connection may last in all, however busy it is. No sender needs a day; one
        /// that sends a byte now and then would stay for ever.
        session_time: Option<Duration> = Row::new("max", "session_time", "86400").live().ours(),
            OptionalSeconds;
        /// How long a client may take to send one whole command line; RFC 5321 section 4.5.3.2.7
        /// asks for 300.
        command_time: Option<Duration> = Row::new("max", "command_time", "300").live().ours(),
            OptionalSeconds;
        /// How long a client may take to send one whole message. The largest message that is
        /// accepted by default takes less than an hour over a line of 64 kbit/s.
        data_time: Option<Duration> = Row::new("max", "data_time", "7200").live().ours(), OptionalSeconds;

        /// Lines of the greeting, instead of the usual one.
        greeting: Vec<String> = Row::new("message", "greeting", "").live()
            .example("Welcome to our server").former("smtpgreeting"), Many(Text);
        /// What follows the client's name in the reply to HELO and EHLO.
        helo: String = Row::new("message", "helo", "Haraka is at your service.").live()
            .former("ehlo_hello_message"), Text;
        /// What the server says when a client leaves.
        close: String = Row::new("message", "close", "closing connection. Have a jolly good day.").live()
            .former("connection_close_message"), Text;

        /// Characters of the identifier in the greeting; 0 for none, 36 for all.
        banner_chars: usize = Row::new("uuid", "banner_chars", "6").live().former("banner_includes_uuid"),
            Count::<usize>::new(0, 1000);
        /// Characters of the identifier before each line of a refusal; 0 for none, 1 for all.
        deny_chars: usize = Row::new("uuid", "deny_chars", "0").live().former("deny_includes_uuid"),
            Count::<usize>::new(0, 1000);
    }
    derived {}
}

impl ConnectionIni {
    /// Whether this peer is a proxy, which speaks for others (HAP-01).
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.haproxy_enabled && self.haproxy_hosts.iter().any(|range| range.contains(peer))
    }

    /// Reads the file; a missing one, or missing sections, mean defaults (PB-43).
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<ConnectionIni> {
        ConnectionIni::read(&mut Reader::open(dir, &CONNECTION_INI, problems)?)
    }

    /// Takes what counts while the server runs from a newer reading.
    pub(super) fn adopt(&mut self, newer: &ConnectionIni) {
        self.adopt_live(newer);
    }
}

/// When a message that is received goes to disk (KEY-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolAfter {
    /// Never: it stays in memory.
    Never,
    /// From its first byte.
    Always,
    /// Once it has more bytes than this.
    Bytes(u64),
}

/// What becomes of a bare LF in a message (PB-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// It becomes CR LF.
    Convert,
    /// The message is refused.
    Reject,
}

struct SpoolAfterKind;

impl Describe for SpoolAfterKind {
    fn describe(&self) -> String {
        "bytes, 0 for always, -1 for never".to_owned()
    }
}

impl Kind for SpoolAfterKind {
    type Out = SpoolAfter;
    fn parse(&self, text: &str) -> Result<SpoolAfter, String> {
        match text {
            "-1" => Ok(SpoolAfter::Never),
            "0" => Ok(SpoolAfter::Always),
            _ => text
                .parse()
                .map(SpoolAfter::Bytes)
                .map_err(|_| format!("\"{text}\" is not a number of bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    fn load(text: &str) -> (Option<ConnectionIni>, Problems) {
        let t = TestDir::new();
        t.write("connection.ini", text);
        let mut problems = Problems::default();
        (ConnectionIni::load(t.dir(), &mut problems), problems)
    }

    #[test]
    fn file_without_sections_means_defaults() {
        // covers KEY-13 to KEY-33, PB-43
        let (ini, problems) = load("[main]\n");
        let ini = ini.unwrap();
        assert!(problems.warnings.is_empty(), "{problems:?}");
        assert_eq!(ini.spool_dir.to_str(), Some("/tmp"));
        assert_eq!(ini.spool_after, SpoolAfter::Bytes(25 * 1024 * 1024));
        assert!(ini.smtputf8 && ini.haproxy_enabled && ini.add_received);
        assert!(ini.clean_auth_results && ini.show_version);
        assert!(!ini.strict_rfc1869 && !ini.postel);
        assert_eq!((ini.max_header_lines, ini.max_received), (1000, 100));
        assert_eq!(ini.max_bytes, Some(26_214_400));
        assert_eq!(ini.max_mime_parts, 1000);
        assert_eq!((ini.max_line_length, ini.max_data_line_length), (512, 992));
        assert!(ini.greeting.is_empty() && ini.haproxy_hosts.is_empty());
        assert_eq!(ini.helo, "Haraka is at your service.");
        assert_eq!(ini.close, "closing connection. Have a jolly good day.");
        assert_eq!((ini.banner_chars, ini.deny_chars), (6, 0));
        assert_eq!(ini.bare_newline, BareNewline::Convert);
        assert!(ini.strict_parameters && ini.chunking && ini.dsn);
        assert!(!ini.enhanced_status_codes && !ini.limits);
        assert_eq!(ini.haproxy_timeout, Duration::from_secs(30));
    }

    #[test]
    fn values_and_lists_are_read() {
        let (ini, problems) = load(
            "spool_after = -1\n[max]\nbytes=0\nerrors=0\n[message]\ngreeting[]=One\ngreeting[]=Two\n\
             helo=\n[haproxy]\nhosts[] =\nhosts[] = [2001:db8::1]\nhosts[] = 10.0.0.0/8\n",
        );
        let ini = ini.unwrap();
        assert!(problems.warnings.is_empty(), "{problems:?}");
        assert_eq!(ini.spool_after, SpoolAfter::Never);
        assert_eq!((ini.max_bytes, ini.max_errors), (None, None));
        assert_eq!(ini.greeting, ["One", "Two"]);
        assert_eq!(ini.helo, "");
        let hosts: Vec<_> = ini.haproxy_hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["2001:db8::1/128", "10.0.0.0/8"]);
    }

    #[test]
    fn proxies_are_the_listed_hosts_while_enabled() {
        // covers HAP-01, PB-07
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let hosts = "hosts[] = [2001:db8::1]\nhosts[] = 10.0.0.0/8\n";
        let on = load(&format!("[haproxy]\n{hosts}")).0.unwrap();
        for (peer, trusted) in [
            ("10.9.8.7", true),
            ("::ffff:10.1.1.1", true),
            ("11.0.0.1", false),
            ("2001:db8::1", true),
            // Haraka takes a bare address for a /64.
            ("2001:db8::2", false),
        ] {
            assert_eq!(on.is_proxy(ip(peer)), trusted, "{peer}");
        }
        let off = load(&format!("[haproxy]\nenabled=false\n{hosts}"))
            .0
            .unwrap();
        assert!(!off.is_proxy(ip("10.9.8.7")));
        assert!(!load("").0.unwrap().is_proxy(ip("127.0.0.1")));
    }

    #[test]
    fn bad_spool_after_only_warns() {
        // covers KEY-14
        let (ini, problems) = load("\nspool_after = lots\n");
        assert_eq!(
            ini.unwrap().spool_after,
            SpoolAfter::Bytes(25 * 1024 * 1024)
        );
        assert_eq!(
            problems.warnings[0].to_string(),
            "connection.ini:2: spool_after: \"lots\" is not a number of bytes; 26214400 applies"
        );
    }

    #[test]
    fn all_bad_values_are_told_at_once() {
        let (ini, problems) =
            load("[max]\nbytes=1M\n[uuid]\ndeny_chars=-1\n[haproxy]\nhosts[]=a\nhosts[]=b\n");
        assert!(ini.is_none());
        let told: Vec<_> = problems.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "connection.ini:6: [haproxy] hosts: \"a\" is not an IP address or CIDR block",
                "connection.ini:7: [haproxy] hosts: \"b\" is not an IP address or CIDR block",
                "connection.ini:2: [max] bytes: \"1M\" is not a whole number",
                "connection.ini:4: [uuid] deny_chars: \"-1\" is not a whole number",
            ]
        );
    }
}
