//! `outbound.ini` and the older files that it replaces: delivery to other servers (KEY-42 to
//! KEY-53).

use std::path::PathBuf;
use std::time::Duration;

use super::dir::ConfigDir;
use super::error::Problems;
use super::kinds::{
    Bool, Choice, Count, OptionalAddress, OptionalPath, Seconds, SecondsOrNever, Text,
};
use super::reader::Reader;
use super::retry_times::{RetryTimes, from_max_failures};
use super::row::{Row, settings};

/// Longest time that any step of a delivery may be given.
const STEP: Seconds = Seconds { min: 1, max: 86400 };

settings! {
    /// Delivery of queued mail to other servers.
    OutboundIni, OUTBOUND_INI = "outbound.ini";
    sections {
        "main" => "",
        "timeouts" => "How long the other server may take for each step. The defaults are those of \
                       RFC 5321 section 4.5.3.2.",
        "bounces" => "Reports to senders, and what becomes of mail that has no sender to tell. See \
                      docs/bounces.md.",
        "mta_sts" => "Policies that destinations publish over HTTPS (MTA-STS, RFC 8461). See \
                      docs/tls-outbound-policy.md.",
        "dane" => "Certificates that destinations publish in signed DNS (DANE, RFC 7672).",
        "tls_rpt" => "Results for reports to destinations (TLS-RPT, RFC 8460).",
    }
    gone {
        "main", "ipv6_enabled" => "set inet_prefer",
    }
    rows {
        /// Deliver nothing; the queue waits.
        disabled: bool = Row::new("main", "disabled", "false").live().legacy("outbound.disabled"), Bool;
        /// Deliveries at the same time, in each worker process.
        concurrency_max: usize = Row::new("main", "concurrency_max", "10000")
            .legacy("outbound.concurrency_max").zero_is_default(), Count::<usize>::new(1, 1_000_000);
        /// Use TLS where the other server offers it.
        enable_tls: bool = Row::new("main", "enable_tls", "true").live().legacy("outbound.enable_tls"),
            Bool;
        /// Send passwords (AUTH PLAIN and LOGIN) also to hosts with which TLS is not spoken. Without
        /// it, only over TLS, over loopback, and over Unix sockets.
        auth_in_clear: bool = Row::new("main", "auth_in_clear", "false").live().ours(), Bool;
        /// Attempts before a message is returned, at growing distances from 64 seconds on. Counts
        /// only without `temp_fail_intervals`.
        max_temp_failures: u32 = Row::new("main", "maxTempFailures", "13").live()
            .legacy("outbound.maxTempFailures").zero_is_default(), Count::<u32>::new(1, 1000);
        /// Waiting times between attempts, each with a unit (s, m, h, d) and optionally `*` and how
        /// many times; at least 5 seconds each. `none` returns a message at its first failure.
        temp_fail_intervals_set: Option<Vec<Duration>> = Row::new("main", "temp_fail_intervals", "").live()
            .example("1m, 5m*2, 1h*3").legacy("outbound.temp_fail_intervals").lenient(), RetryTimes;
        /// Queue a message for each recipient by itself.
        always_split: bool = Row::new("main", "always_split", "false").live(), Bool;
        /// How long a message must have waited before a sender who asked for it (NOTIFY=DELAY, RFC
        /// 3461) is told that it is late.
        delay_notice: Duration = Row::new("main", "delay_notice", "14400").live().ours(),
            Seconds { min: 1, max: 2_592_000 };
        /// How long a message must have waited before a sender who did not say when to report
        /// (NOTIFY) is told that it is late.
        delay_warning: Option<Duration> = Row::new("main", "delay_warning", "0").live().ours(),
            SecondsOrNever;
        /// Text of the Received field that queued mail gets; `disabled` for no such field.
        received_header_text: String = Row::new("main", "received_header", "Haraka outbound").live()
            .legacy("outbound.received_header"), Text;
        /// How long a message that `haraka queue rm` removed can be brought back, in hours.
        trash_hours: u32 = Row::new("main", "trash_hours", "24").live().ours(),
            Count::<u32>::new(1, 8760);
        /// How long to wait for a connection to the other server.
        connect_timeout: Duration = Row::new("main", "connect_timeout", "30").live().zero_is_default(),
            STEP;
        /// Deliver to a mail exchanger that is this server itself.
        local_mx_ok: bool = Row::new("main", "local_mx_ok", "false").live(), Bool;
        /// Addresses to try first: `v4`, `v6`, or `default` for the order of the system.
        inet_prefer: InetPrefer = Row::new("main", "inet_prefer", "default").live().lenient(),
            Choice(&[
                ("default", InetPrefer::Default),
                ("v4", InetPrefer::V4),
                ("v6", InetPrefer::V6),
            ]);

        /// The greeting.
        greeting_timeout: Duration = Row::new("timeouts", "greeting", "300").live().ours(), STEP;
        /// The reply to EHLO, HELO or LHLO.
        helo_timeout: Duration = Row::new("timeouts", "helo", "300").live().ours(), STEP;
        /// The reply to MAIL.
        mail_timeout: Duration = Row::new("timeouts", "mail", "300").live().ours(), STEP;
        /// The reply to RCPT.
        rcpt_timeout: Duration = Row::new("timeouts", "rcpt", "300").live().ours(), STEP;
        /// The reply to DATA.
        data_init_timeout: Duration = Row::new("timeouts", "data_init", "120").live().ours(), STEP;
        /// The acceptance of each piece of the message.
        data_block_timeout: Duration = Row::new("timeouts", "data_block", "180").live().ours(), STEP;
        /// The reply to the end of the message. A shorter time makes duplicates: the other server
        /// may have accepted what is then sent again.
        data_done_timeout: Duration = Row::new("timeouts", "data_done", "600").live().ours(), STEP;
        /// The reply to any other command, and the TLS handshake.
        other_timeout: Duration = Row::new("timeouts", "other", "300").live().ours(), STEP;
        /// The reply to QUIT, after which nothing is at stake.
        quit_timeout: Duration = Row::new("timeouts", "quit", "10").live().ours(), STEP;

        /// Octets of the largest message that a report returns whole to a sender who asks for it
        /// (RET=FULL); of a larger one, the header.
        return_size: u64 = Row::new("bounces", "return_size", "1048576").live().ours(),
            Count::<u64>::new(0, 10_485_760);
        /// Where undeliverable mail without a sender goes, with a report. Without it, and where that
        /// fails, such mail is kept in files in `queue-bounces` beside the queue.
        double_bounce_to: Option<String> = Row::new("bounces", "double_bounce_to", "").live()
            .example("postmaster@example.com").ours(), OptionalAddress;
        /// How many of these files there are at most; the oldest go first. 0 keeps none.
        double_bounces: usize = Row::new("bounces", "double_bounces", "1000").live().ours(),
            Count::<usize>::new(0, 100_000);
        /// Octets of all these files together.
        double_bounce_size: u64 = Row::new("bounces", "double_bounce_size", "104857600").live().ours(),
            Count::<u64>::new(16_777_216, 1_099_511_627_776);
        /// How long these files are kept.
        double_bounce_time: Duration = Row::new("bounces", "double_bounce_time", "2592000").live().ours(),
            Seconds { min: 3600, max: 31_622_400 };

        /// Look for such policies and go by them: mail waits rather than go to a host that its
        /// destination does not name, or whose certificate is not good.
        mta_sts: bool = Row::new("mta_sts", "enabled", "true").live().ours(), Bool;
        /// PEM file with the authorities that vouch for the web servers and mail hosts of such
        /// policies; those of the system if not set.
        mta_sts_ca: Option<PathBuf> = Row::new("mta_sts", "ca_file", "").live()
            .example("/etc/ssl/certs/ca-certificates.crt").ours(), OptionalPath;

        /// Go by TLSA records. This needs a resolver that checks signatures (DNSSEC), and a way to
        /// it on which nobody can change its answers: `auto` means yes if all resolvers have
        /// loopback addresses. `true` takes the word of any resolver.
        dane: DaneUse = Row::new("dane", "enabled", "auto").live().ours(),
            Choice(&[
                ("auto", DaneUse::Auto),
                ("true", DaneUse::On),
                ("false", DaneUse::Off),
            ]);

        /// Count how TLS went with destinations that ask for reports, in a file a day in
        /// `queue-tls/tls-rpt` beside the queue. Nothing sends these reports yet.
        tls_rpt: bool = Row::new("tls_rpt", "enabled", "false").live().ours(), Bool;
    }
    derived {
        /// Waiting time after the first failure, the second and so on; a message that fails once
        /// more than there are times is returned. From `temp_fail_intervals`, else from
        /// `maxTempFailures`.
        temp_fail_intervals: Vec<Duration> = Vec::new();
        /// Text of the added Received field; `None` for no such field.
        received_header: Option<String> = None;
    }
}

impl OutboundIni {
    /// Reads the file and, where it is silent, the older files; defaults where those are too.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<OutboundIni> {
        let mut reader = Reader::open(dir, &OUTBOUND_INI, problems)?;
        let mut this = OutboundIni::read(&mut reader)?;
        this.derive();
        Some(this)
    }

    /// Takes what counts while the server runs from a newer reading.
    pub(super) fn adopt(&mut self, newer: &OutboundIni) {
        self.adopt_live(newer);
        self.derive();
    }

    fn derive(&mut self) {
        self.temp_fail_intervals = match &self.temp_fail_intervals_set {
            Some(times) => times.clone(),
            None => from_max_failures(self.max_temp_failures),
        };
        self.received_header = match self.received_header_text.as_str() {
            "disabled" => None,
            "" => Some("Haraka outbound".to_owned()),
            text => Some(text.to_owned()),
        };
    }
}

/// Which addresses of a mail exchanger are tried first (KEY-51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InetPrefer {
    /// As the system orders them.
    Default,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether TLSA records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaneUse {
    /// If the resolvers are on this machine.
    Auto,
    /// Whatever the resolvers are.
    On,
    /// No.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    fn load(files: &[(&str, &str)]) -> (Option<OutboundIni>, Problems) {
        let t = TestDir::new();
        for (name, text) in files {
            t.write(name, text);
        }
        let mut problems = Problems::default();
        (OutboundIni::load(t.dir(), &mut problems), problems)
    }

    #[test]
    fn missing_file_means_defaults() {
        // covers KEY-42 to KEY-51, PA-42
        let (ini, problems) = load(&[]);
        let ini = ini.unwrap();
        assert!(problems.warnings.is_empty());
        assert!(!ini.disabled && ini.enable_tls && !ini.always_split && !ini.local_mx_ok);
        assert_eq!(ini.concurrency_max, 10_000);
        assert_eq!(ini.connect_timeout, Duration::from_secs(30));
        assert_eq!(ini.received_header.as_deref(), Some("Haraka outbound"));
        assert_eq!(ini.inet_prefer, InetPrefer::Default);
        assert_eq!(ini.temp_fail_intervals.len(), 12);
        assert_eq!(ini.temp_fail_intervals[0], Duration::from_secs(64));
        assert_eq!(ini.temp_fail_intervals[11], Duration::from_secs(131_072));
        assert_eq!(ini.data_done_timeout, Duration::from_secs(600));
    }

    #[test]
    fn older_files_count_while_the_key_is_absent() {
        // covers KEY-53
        let (ini, problems) = load(&[
            ("outbound.disabled", "true\n"),
            ("outbound.concurrency_max", "# few\n7\n"),
            ("outbound.temp_fail_intervals", "1m\n"),
            ("outbound.received_header", "disabled"),
            ("outbound.maxTempFailures", "3"),
            ("outbound.ini", "concurrency_max = 9\n"),
        ]);
        let ini = ini.unwrap();
        assert!(ini.disabled);
        assert_eq!(ini.concurrency_max, 9);
        assert_eq!(ini.temp_fail_intervals, [Duration::from_secs(60)]);
        assert_eq!(ini.received_header, None);
        assert_eq!(ini.max_temp_failures, 3);
        assert_eq!(problems.warnings.len(), 4);
        assert_eq!(
            problems.warnings[0].to_string(),
            "outbound.disabled: still counts; disabled in outbound.ini replaces it"
        );
    }

    #[test]
    fn bad_value_in_an_older_file_names_that_file() {
        let (ini, problems) = load(&[("outbound.concurrency_max", "\nmany\n")]);
        assert!(ini.is_none());
        assert_eq!(
            problems.errors[0].to_string(),
            "outbound.concurrency_max:2: concurrency_max: \"many\" is not a whole number"
        );
    }

    #[test]
    fn bad_intervals_and_preference_only_warn() {
        // covers KEY-46 KEY-51
        let (ini, problems) = load(&[(
            "outbound.ini",
            "temp_fail_intervals = 1m,2x\ninet_prefer=v5\nmaxTempFailures=2",
        )]);
        let ini = ini.unwrap();
        assert_eq!(ini.temp_fail_intervals, [Duration::from_secs(64)]);
        assert_eq!(ini.inet_prefer, InetPrefer::Default);
        let told: Vec<_> = problems.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "outbound.ini:1: temp_fail_intervals: \"2x\" has no unit (s, m, h, d); it counts as not set",
                "outbound.ini:2: inet_prefer: \"v5\" is none of default, v4, v6; default applies",
            ]
        );
    }

    #[test]
    fn zero_means_the_default_where_haraka_says_so() {
        let (ini, problems) = load(&[("outbound.ini", "concurrency_max=0\nconnect_timeout=0")]);
        let ini = ini.unwrap();
        assert_eq!(ini.concurrency_max, 10_000);
        assert_eq!(ini.connect_timeout, Duration::from_secs(30));
        assert_eq!(problems.warnings.len(), 2);
    }
}
