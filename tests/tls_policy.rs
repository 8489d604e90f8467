//! TLS policies of destinations, with the real program: MTA-STS from a web server, TLSA records from a
//! resolver that vouches for them, and what that means for a message.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use harness::pki::Identity;
use harness::{Authority, DEADLINE, FakeDns, Install, PolicyWeb, Server, Sink, wait_for};
use relaying::{attempts, by_dns, numbered, on_port_25, submit, wait_empty};

/// A domain `far.test` with one host `mx.far.test`, and a server that delivers to it.
struct Site {
    dns: FakeDns,
    sink: Sink,
    authority: Authority,
}

impl Site {
    /// The host listens on this address, on port 25; `None` where that needs rights that we lack.
    fn new(ip: &str) -> Option<Site> {
        let sink = on_port_25(&[ip])?.pop()?;
        let dns = FakeDns::start();
        dns.mx("far.test", &[(10, "mx.far.test")])
            .address("mx.far.test", ip)
            .address("mta-sts.far.test", ip);
        Some(Site {
            dns,
            sink,
            authority: Authority::new(),
        })
    }

    /// Announces and serves a policy.
    fn publish(&self, ip: &str, policy: &str) -> PolicyWeb {
        self.dns.txt("_mta-sts.far.test", "v=STSv1; id=1;");
        let identity = self.authority.issue("mta-sts.far.test");
        PolicyWeb::on(&format!("{ip}:443"), identity.server_config(), policy)
    }

    fn server(&self) -> Server {
        Server::start(self.install())
    }

    fn install(&self) -> Install {
        let install = by_dns(&self.dns).file("config/test-ca.pem", &self.authority.pem());
        let ca = install.path().join("config/test-ca.pem");
        install.set(
            "outbound.ini",
            "mta_sts",
            "ca_file",
            &ca.display().to_string(),
        )
    }

    fn send(&self, server: &Server) {
        submit(
            server,
            "from@client.test",
            &["to@far.test"],
            &numbered("one"),
        );
    }

    /// Sends a message, waits until it has been put off, and gives that line of the log.
    #[track_caller]
    fn deferred(&self, server: &Server) -> String {
        self.send(server);
        wait_for("the message to be deferred", || {
            attempts(server.install()) == [1]
        });
        assert_eq!(self.sink.messages().len(), 0);
        server.wait_for_log("deferred file=", DEADLINE)
    }

    /// Sends a message, waits until it has been delivered, and gives that line of the log.
    #[track_caller]
    fn delivered(&self, server: &Server) -> String {
        self.send(server);
        self.sink.wait_accepted(1);
        wait_empty(server.install());
        server.wait_for_log("delivered file=", DEADLINE)
    }
}

/// A domain `far.test` whose host speaks TLS, with a certificate for this name.
struct Secured {
    dns: FakeDns,
    sink: Sink,
    authority: Authority,
    identity: Identity,
    ip: &'static str,
}

impl Secured {
    fn new(ip: &'static str, name: &str) -> Option<Secured> {
        let sink = on_port_25(&[ip])?.pop()?;
        let authority = Authority::new();
        let identity = authority.issue(name);
        sink.secure(identity.server_config());
        let dns = FakeDns::start();
        dns.mx("far.test", &[(10, "mx.far.test")])
            .address("mx.far.test", ip)
            .address("mta-sts.far.test", ip);
        Some(Secured {
            dns,
            sink,
            authority,
            identity,
            ip,
        })
    }

    /// The host's key is this, says a signed zone.
    fn tlsa(&self, key: &[u8]) {
        self.dns
            .validating()
            .signed("far.test")
            .tlsa("_25._tcp.mx.far.test", [3, 1, 0], key);
    }

    fn publish(&self, mode: &str) -> PolicyWeb {
        self.dns.txt("_mta-sts.far.test", "v=STSv1; id=1;");
        let identity = self.authority.issue("mta-sts.far.test");
        let addr = format!("{}:443", self.ip);
        PolicyWeb::on(
            &addr,
            identity.server_config(),
            &policy(mode, "mx.far.test"),
        )
    }

    /// Sends a message and gives the line that tells what became of it.
    #[track_caller]
    fn fate(&self, fate: &str) -> String {
        let install = by_dns(&self.dns).file("config/test-ca.pem", &self.authority.pem());
        let ca = install.path().join("config/test-ca.pem");
        let install = install.set(
            "outbound.ini",
            "mta_sts",
            "ca_file",
            &ca.display().to_string(),
        );
        let server = Server::start(install);
        submit(
            &server,
            "from@client.test",
            &["to@far.test"],
            &numbered("one"),
        );
        let line = server.wait_for_log(&format!("{fate} file="), DEADLINE);
        let taken = usize::from(fate == "delivered");
        assert_eq!(self.sink.messages().len(), taken, "{line}");
        line
    }
}

fn policy(mode: &str, host: &str) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: 86400\r\n")
}

// covers PB-08
#[test]
fn enforced_policy_defers_mail_for_a_host_that_it_does_not_name() {
    let ip = "127.25.31.1";
    let Some(site) = Site::new(ip) else { return };
    let web = site.publish(ip, &policy("enforce", "*.other.test"));
    let server = site.server();
    let line = site.deferred(&server);
    let why = "TLS policy sts-enforce: mx.far.test is not named in the MTA-STS policy of far.test";
    assert!(line.contains(why), "{line}");
    assert_eq!(site.sink.connections(), 0);
    assert_eq!(web.requests().len(), 1);
    // It is kept for other workers and later days.
    let kept = server.install().path().join("queue-tls/mta-sts/far.test");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(kept.contains("mode: enforce\nmx: *.other.test\n"), "{kept}");
}

// covers PB-08
#[test]
fn policy_under_test_is_told_and_holds_nothing_back() {
    let ip = "127.25.31.2";
    let Some(site) = Site::new(ip) else { return };
    let _web = site.publish(ip, &policy("testing", "*.other.test"));
    let server = site.server();
    let line = site.delivered(&server);
    assert!(line.ends_with("tls_policy=sts-testing"), "{line}");
    server.wait_for_log(
        "TLS policy sts-testing does not hold mail back: mx.far.test is not named in the MTA-STS \
         policy of far.test",
        DEADLINE,
    );
}

#[test]
fn enforced_policy_keeps_mail_from_a_host_without_tls() {
    let ip = "127.25.31.3";
    let Some(site) = Site::new(ip) else { return };
    let _web = site.publish(ip, &policy("enforce", "mx.far.test"));
    let server = site.server();
    let line = site.deferred(&server);
    assert!(
        line.contains(
            "No TLS available but required (TLS policy sts-enforce): STARTTLS is not offered"
        ),
        "{line}"
    );
}

#[test]
fn policy_that_cannot_be_had_or_is_switched_off_changes_nothing() {
    let ip = "127.25.31.4";
    let Some(site) = Site::new(ip) else { return };
    let _web = site.publish(ip, &policy("enforce", "*.other.test"));
    // The web server's certificate is for another name.
    site.dns.txt("_mta-sts.alias.test", "v=STSv1; id=1;");
    site.dns
        .mx("alias.test", &[(10, "mx.far.test")])
        .address("mta-sts.alias.test", ip);
    let server = site.server();
    submit(
        &server,
        "from@client.test",
        &["to@alias.test"],
        &numbered("two"),
    );
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(!line.contains("tls_policy"), "{line}");
    server.wait_for_log(
        "MTA-STS policy of alias.test not fetched (sts-webpki-invalid): ",
        DEADLINE,
    );
    drop(server);
    let install = site
        .install()
        .set("outbound.ini", "mta_sts", "enabled", "false");
    let server = Server::start(install);
    site.send(&server);
    site.sink.wait_accepted(2);
}

#[test]
fn host_with_tlsa_records_gets_no_mail_without_tls() {
    let Some(site) = Site::new("127.25.31.5") else {
        return;
    };
    site.dns
        .validating()
        .signed("far.test")
        .tlsa("_25._tcp.mx.far.test", [3, 1, 1], &[7; 32]);
    let server = site.server();
    let line = site.deferred(&server);
    assert!(
        line.contains("No TLS available but required (TLS policy dane): STARTTLS is not offered"),
        "{line}"
    );
}

#[test]
fn tlsa_records_count_only_if_the_resolver_vouches_for_them() {
    let Some(site) = Site::new("127.25.31.6") else {
        return;
    };
    site.dns
        .signed("far.test")
        .tlsa("_25._tcp.mx.far.test", [3, 1, 1], &[7; 32]);
    let line = site.delivered(&site.server());
    assert!(!line.contains("tls_policy"), "{line}");
}

#[test]
fn tlsa_records_that_cannot_be_had_defer_the_mail() {
    let Some(site) = Site::new("127.25.31.7") else {
        return;
    };
    site.dns
        .validating()
        .signed("far.test")
        .servfail("_25._tcp.mx.far.test");
    let line = site.deferred(&site.server());
    assert!(
        line.contains("TLS policy dane: no genuine DNS answer: TLSA of mx.far.test"),
        "{line}"
    );
    assert_eq!(site.sink.connections(), 0);
}

#[test]
fn host_with_the_key_of_its_tlsa_record_gets_mail_whatever_its_certificate_says() {
    let Some(site) = Secured::new("127.25.31.11", "elsewhere.test") else {
        return;
    };
    site.tlsa(&site.identity.public_key());
    let line = site.fate("delivered");
    assert!(
        line.contains("tls=Y") && line.ends_with("tls_policy=dane"),
        "{line}"
    );
    assert_eq!(site.sink.asked_for(), ["mx.far.test"]);
}

#[test]
fn host_with_another_key_than_its_tlsa_record_says_gets_no_mail() {
    let Some(site) = Secured::new("127.25.31.12", "mx.far.test") else {
        return;
    };
    site.tlsa(&site.authority.issue("mx.far.test").public_key());
    let line = site.fate("deferred");
    let why =
        "certificate matches none of the host's 1 TLSA records (TLS is required: TLS policy dane)";
    assert!(line.contains(why), "{line}");
}

#[test]
fn enforced_policy_is_met_by_a_good_certificate() {
    let Some(site) = Secured::new("127.25.31.13", "mx.far.test") else {
        return;
    };
    let _web = site.publish("enforce");
    let line = site.fate("delivered");
    assert!(
        line.contains("tls=Y") && line.ends_with("tls_policy=sts-enforce"),
        "{line}"
    );
}

#[test]
fn enforced_policy_is_not_met_by_a_certificate_for_another_name() {
    let Some(site) = Secured::new("127.25.31.14", "elsewhere.test") else {
        return;
    };
    let _web = site.publish("enforce");
    let line = site.fate("deferred");
    assert!(
        line.contains("(TLS is required: TLS policy sts-enforce)"),
        "{line}"
    );
    assert!(line.contains("not valid for name"), "{line}");
}

#[test]
fn tlsa_records_go_before_an_enforced_policy() {
    let Some(site) = Secured::new("127.25.31.15", "elsewhere.test") else {
        return;
    };
    let _web = site.publish("enforce");
    site.tlsa(&site.identity.public_key());
    let line = site.fate("delivered");
    assert!(line.ends_with("tls_policy=dane"), "{line}");
}

#[test]
fn unusable_tlsa_records_demand_tls_with_any_certificate() {
    let Some(site) = Secured::new("127.25.31.16", "elsewhere.test") else {
        return;
    };
    site.dns
        .validating()
        .signed("far.test")
        .tlsa("_25._tcp.mx.far.test", [1, 1, 1], &[7; 32]);
    let line = site.fate("delivered");
    assert!(
        line.contains("tls=Y") && line.ends_with("tls_policy=dane-encrypt"),
        "{line}"
    );
}

#[test]
fn policy_under_test_takes_any_certificate() {
    let Some(site) = Secured::new("127.25.31.17", "elsewhere.test") else {
        return;
    };
    let _web = site.publish("testing");
    let line = site.fate("delivered");
    assert!(
        line.contains("tls=Y") && line.ends_with("tls_policy=sts-testing"),
        "{line}"
    );
}
