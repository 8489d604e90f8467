//! Where the real program sends mail: what the DNS says, what routes say, and which destination
//! waits for which.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::time::Instant;

use harness::server::Signal;
use harness::{DEADLINE, FakeDns, Message, Rule, Server, Sink, Stage, wait_for};
use relaying::{
    attempts, by_dns, destinations, field, numbered, on_port_25, routed, serials, submit,
    submit_all, to_next_hop, wait_empty,
};

// covers OUT-21, OUT-22, OUT-23, OUT-24, OUT-25, OUT-27
#[test]
fn dns_decides_where_mail_goes_and_whether_it_waits() {
    let Some(sinks) = on_port_25(&["127.25.4.1", "127.25.4.2", "127.25.4.3"]) else {
        return;
    };
    let dns = FakeDns::start();
    dns.address("one.mx.test", "127.25.4.1");
    dns.address("two.mx.test", "127.25.4.2");
    dns.mx("back.test", &[(10, "two.mx.test")]);
    dns.mx("order.test", &[(20, "two.mx.test"), (10, "one.mx.test")]);
    dns.mx("equal.test", &[(10, "one.mx.test"), (10, "two.mx.test")]);
    dns.null_mx("null.test");
    dns.address("implicit.test", "127.25.4.3");
    dns.servfail("servfail.test");
    dns.refused("refused.test");
    dns.exists("nowhere.test");
    dns.nxdomain("gone.test");
    let server = Server::start(by_dns(&dns));
    let send = |rcpt: &str| {
        submit(
            &server,
            &format!("{}@back.test", rcpt.replace(['@', '[', ']'], "-")),
            &[rcpt],
            &numbered(rcpt),
        )
    };
    for rcpt in [
        "a@order.test",
        "a@null.test",
        "a@implicit.test",
        "a@servfail.test",
        "a@refused.test",
        "a@nowhere.test",
        "a@gone.test",
        "a@[127.25.4.3]",
    ] {
        send(rcpt);
    }
    for n in 0..40 {
        send(&format!("a{n}@equal.test"));
    }
    wait_for("only what has to wait to be left", || {
        attempts(server.install()) == [1, 1]
    });
    wait_for("all others to be through", || {
        sinks.iter().map(|s| s.accepted().len()).sum::<usize>() == 46
    });
    let serials = |n: usize| sinks[n].serials();
    assert!(serials(0).contains_key("a@order.test"));
    let equal = |n: usize| {
        serials(n)
            .keys()
            .filter(|s| s.contains("@equal.test"))
            .count()
    };
    assert_eq!(equal(0) + equal(1), 40);
    assert!(
        equal(0) > 0 && equal(1) > 0,
        "{} and {}",
        equal(0),
        equal(1)
    );
    sinks[2].assert_each_once(&["a@implicit.test", "a@[127.25.4.3]"]);
    let reports: Vec<Message> = sinks[1]
        .accepted()
        .into_iter()
        .filter(|m| m.from.starts_with("<>"))
        .collect();
    assert_eq!(reports.len(), 3);
    for (domain, status, reason) in [
        ("null.test", "5.1.10", "NULL MX"),
        (
            "nowhere.test",
            "5.1.2",
            "Nowhere to deliver mail to for domain: nowhere.test",
        ),
        ("gone.test", "5.1.2", "No Such Domain: gone.test"),
    ] {
        let to = format!("<a-{domain}@back.test>");
        let report = reports
            .iter()
            .find(|r| r.to == [to.as_str()])
            .expect(domain);
        let told = field(report, &format!("a@{domain}"), "Status");
        assert!(
            told.split(' ').next() == Some(status) && told.contains(" ("),
            "{told}"
        );
        assert!(report.text().contains(reason), "{}", report.text());
    }
    assert!(
        server
            .log_text()
            .contains("DNS lookup failure: servfail.test")
    );
    dns.recovered("servfail.test")
        .mx("servfail.test", &[(1, "one.mx.test")]);
    dns.recovered("refused.test")
        .mx("refused.test", &[(1, "one.mx.test")]);
    server.signal(Signal::SIGHUP);
    wait_empty(server.install());
    assert!(
        serials(0).contains_key("a@servfail.test") && serials(0).contains_key("a@refused.test")
    );
}

// covers OUT-27, KEY-50
#[test]
fn mail_for_this_very_host_is_not_sent_to_itself() {
    let dns = FakeDns::start();
    dns.mx("self.test", &[(10, "mx.test")]);
    dns.address("mx.test", "192.0.2.1");
    dns.mx("loop.test", &[(10, "other.test")])
        .address("other.test", "127.0.0.1");
    let server = Server::start(by_dns(&dns).config("outbound.ini", ""));
    for domain in ["self", "loop"] {
        submit(
            &server,
            "a@b.test",
            &[&format!("to@{domain}.test")],
            &numbered(domain),
        );
    }
    wait_for("both to be put off", || {
        attempts(server.install()) == [1, 1]
    });
    let log = server.log_text();
    assert!(log.contains("MX mx.test is local"), "{log}");
    assert!(log.contains("MX other.test is local"), "{log}");
}

// covers PB-64
#[test]
fn domain_that_never_answers_does_not_hold_up_the_others() {
    let (silent, lively) = (Sink::start(), Sink::start());
    silent.rule(Rule::stall(Stage::Greeting));
    let hops = [
        ("slow.test", silent.addr().to_string()),
        ("any", lively.addr().to_string()),
    ];
    let hops: Vec<(&str, &str)> = hops.iter().map(|(d, h)| (*d, h.as_str())).collect();
    let install = routed(&hops).set("outbound.ini", "main", "concurrency_max", "4");
    let server = Server::start(install);
    for n in 0..20 {
        submit(
            &server,
            "a@b.test",
            &["to@slow.test"],
            &numbered(&format!("slow-{n}")),
        );
    }
    wait_for("the silent host to be busy", || {
        silent.open_connections() >= 3
    });
    let sent = serials("m", 20);
    submit_all(&server, &sent);
    lively.wait_accepted(20);
    lively.assert_each_once(&sent);
    // Deliveries that get no answer do not hold up the server's end either.
    let mut server = server;
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    assert_eq!(server.install().queue_files().len(), 20);
}

// covers HOK-27, OUT-22
#[test]
fn route_that_changes_is_followed_at_the_next_start() {
    let (old, new) = (Sink::start(), Sink::start());
    old.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 moved"));
    let mut server = Server::start(to_next_hop(old.addr()));
    submit(&server, "a@b.test", &["to@far.test"], &numbered("1"));
    wait_for("the item to be put off", || {
        attempts(server.install()) == [1]
    });
    let to_new = destinations(&[("any", &new.addr().to_string())]);
    server
        .install()
        .write("config/relay_dest_domains.ini", to_new.as_bytes());
    server.restart();
    server.signal(Signal::SIGHUP);
    new.wait_accepted(1);
    wait_empty(server.install());
    assert!(old.accepted().is_empty());
}
