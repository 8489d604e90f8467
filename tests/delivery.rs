//! What the real program makes of everything that another mail server, or the DNS, may answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::time::Duration;

use harness::server::Signal;
use harness::sink_rules::{Action, Gate};
use harness::{DEADLINE, FakeDns, Rule, Server, Sink, Stage, wait_for};
use relaying::{
    attempts, by_dns, field, mail, numbered, on_port_25, report, submit, to_next_hop, wait_empty,
};

// covers OUT-38, OUT-39, PB-16, PB-21, PB-38, BNC-09, BNC-10
#[test]
fn each_recipient_of_a_message_has_a_result_of_its_own() {
    let sink = Sink::start();
    for (rcpt, reply) in [
        ("second@", "251 2.1.5 forwarded"),
        ("third@", "252 2.0.0 will try"),
        ("later@", "450 4.2.1 mailbox busy"),
        ("never@", "550 5.1.1 no such user"),
        ("nor@", "550 5.7.26 not from you"),
    ] {
        sink.rule(Rule::reply(Stage::Rcpt, reply).containing(rcpt));
    }
    let server = Server::start(to_next_hop(sink.addr()));
    let rcpts =
        ["first", "second", "third", "later", "never", "nor"].map(|u| format!("{u}@far.test"));
    let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
    submit(&server, "sender@back.test", &rcpts, &numbered("mixed"));
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(line.contains(" rcpts=3/1/2"), "{line}");

    let report = report(&sink);
    assert_eq!(report.to, ["<sender@back.test>"]);
    assert_eq!(
        report.header("Auto-Submitted").as_deref(),
        Some("auto-replied")
    );
    assert!(
        report
            .header("To")
            .is_some_and(|to| to.contains("sender@back.test"))
    );
    assert!(
        report
            .header("Content-Type")
            .is_some_and(|t| t.starts_with("multipart/report; report-type=delivery-status;"))
    );
    for (rcpt, status, said) in [
        ("never@far.test", "5.1.1", "smtp;550 5.1.1 no such user"),
        ("nor@far.test", "5.7.26", "smtp;550 5.7.26 not from you"),
    ] {
        assert_eq!(field(&report, rcpt, "Action"), "failed");
        assert_eq!(field(&report, rcpt, "Status"), status);
        assert_eq!(field(&report, rcpt, "Remote-MTA"), "dns;[127.0.0.1]");
        assert_eq!(field(&report, rcpt, "Diagnostic-Code"), said);
    }
    let text = report.text();
    assert!(text.contains("Reporting-MTA: dns;mx.test\r\n"), "{text}");
    assert!(text.contains("\r\nArrival-Date: "), "{text}");
    assert!(
        text.contains("X-Serial: mixed\r\n"),
        "the header is returned: {text}"
    );
    assert!(
        !text.contains("This is mixed"),
        "and the body is not: {text}"
    );
    assert!(!text.contains("Final-Recipient: rfc822;later@"), "{text}");

    wait_for("one recipient to be left", || {
        attempts(server.install()) == [1]
    });
    sink.clear_rules();
    server.signal(Signal::SIGHUP);
    wait_for("the second delivery", || mail(&sink).len() == 2);
    wait_empty(server.install());
    let mail = mail(&sink);
    assert_eq!(
        mail[0].to,
        ["<first@far.test>", "<second@far.test>", "<third@far.test>"]
    );
    assert_eq!(mail[1].to, ["<later@far.test>"]);
    assert_eq!(mail[0].content(), mail[1].content());
    assert_eq!(sink.accepted().len(), 3, "one report, no more");
}

// covers OUT-31, OUT-36, PB-29, PB-30, PA-44
#[test]
fn host_without_a_word_about_the_message_makes_room_for_the_next_mx() {
    let bad = [
        (
            "greeting421",
            Rule::reply_then_drop(Stage::Greeting, "421 4.3.2 not now"),
        ),
        (
            "greeting554",
            Rule::reply(Stage::Greeting, "554 5.3.2 not here"),
        ),
        ("greetingdrop", Rule::drop(Stage::Greeting)),
        ("ehlodrop", Rule::drop(Stage::Ehlo)),
        (
            "ehlo421",
            Rule::reply_then_drop(Stage::Ehlo, "421 4.3.2 closing"),
        ),
        ("maildrop", Rule::drop(Stage::Mail)),
        (
            "mail421",
            Rule::reply_then_drop(Stage::Mail, "421 4.3.2 closing"),
        ),
        ("rcptdrop", Rule::drop(Stage::Rcpt)),
        ("datadrop", Rule::drop(Stage::Data)),
        ("greetingstall", Rule::stall(Stage::Greeting)),
        ("ehlostall", Rule::stall(Stage::Ehlo)),
        ("mailstall", Rule::stall(Stage::Mail)),
        ("rcptstall", Rule::stall(Stage::Rcpt)),
        ("datastall", Rule::stall(Stage::Data)),
        (
            "garbage",
            Rule::act(Stage::Mail, Action::Raw(b"hello world\r\n".to_vec())),
        ),
    ];
    let addresses: Vec<String> = (0..=bad.len())
        .map(|n| format!("127.25.1.{}", n + 1))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let Some(sinks) = on_port_25(&addresses) else {
        return;
    };
    let (good, broken) = sinks.split_last().unwrap();
    let dns = FakeDns::start();
    dns.address("good.mx.test", addresses[bad.len()]);
    for (n, (name, rule)) in bad.iter().enumerate() {
        broken[n].rule(rule.clone());
        let (domain, host) = (format!("{name}.test"), format!("mx-{name}.test"));
        dns.address(&host, addresses[n]);
        dns.mx(&domain, &[(20, "good.mx.test"), (10, &host)]);
    }
    let timeouts = "\n[timeouts]\ngreeting=1\nhelo=1\nmail=1\nrcpt=1\ndata_init=1\n";
    let server =
        Server::start(by_dns(&dns).config("outbound.ini", &format!("local_mx_ok=true{timeouts}")));
    for (name, _) in &bad {
        submit(
            &server,
            "a@b.test",
            &[&format!("to@{name}.test")],
            &numbered(name),
        );
    }
    good.wait_accepted(bad.len());
    wait_empty(server.install());
    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
    good.assert_each_once(&names);
    for ((name, _), sink) in bad.iter().zip(broken) {
        assert!(
            sink.connections() > 0,
            "{name}: the better MX was not asked"
        );
        assert!(sink.accepted().is_empty(), "{name}");
        assert!(
            server
                .log_text()
                .contains(&format!("Delivery to mx-{name}.test ")),
            "{name}"
        );
    }
}

// covers OUT-35, OUT-38, OUT-33, PB-30
#[test]
fn reply_about_the_message_counts_and_no_other_mx_is_asked() {
    #[derive(PartialEq, Debug)]
    enum End {
        Delivered,
        Deferred(&'static str),
        Bounced(&'static str, &'static str),
    }
    use End::{Bounced, Deferred, Delivered};
    let r = Rule::reply;
    let cases = [
        (
            "helo",
            vec![
                r(Stage::Helo, "250 hello"),
                r(Stage::Ehlo, "500 5.5.1 what").times(1),
            ],
            Delivered,
        ),
        (
            "blankless",
            vec![
                r(Stage::Mail, "250"),
                r(Stage::Rcpt, "250"),
                r(Stage::Data, "354"),
                r(Stage::Dot, "250"),
            ],
            Delivered,
        ),
        (
            "lines",
            vec![
                r(Stage::Greeting, "220-a\n220-b\n220 c"),
                r(Stage::Mail, "250-2.1.0 a\n250 2.1.0 b"),
                r(Stage::Dot, "250-2.0.0 a\n250 2.0.0 b"),
            ],
            Delivered,
        ),
        (
            "mail451",
            vec![r(Stage::Mail, "451 4.3.0 later")],
            Deferred("451 4.3.0 later"),
        ),
        (
            "mail550",
            vec![r(Stage::Mail, "550 5.7.1 never")],
            Bounced("5.7.1", "smtp;550 5.7.1 never"),
        ),
        (
            "data451",
            vec![r(Stage::Data, "451 4.3.0 later")],
            Deferred("451 4.3.0 later"),
        ),
        (
            "data554",
            vec![r(Stage::Data, "554 5.6.0 never")],
            Bounced("5.6.0", "smtp;554 5.6.0 never"),
        ),
        (
            "dot452",
            vec![r(Stage::Dot, "452 4.3.1 full")],
            Deferred("452 4.3.1 full"),
        ),
        (
            "dot554",
            vec![r(Stage::Dot, "554 no")],
            Bounced("5.0.0", "smtp;554 no"),
        ),
        (
            "rcpt450",
            vec![r(Stage::Rcpt, "450 4.2.0 grey")],
            Deferred("450 4.2.0 grey"),
        ),
    ];
    let addresses: Vec<String> = (0..=cases.len())
        .map(|n| format!("127.25.2.{}", n + 1))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let Some(sinks) = on_port_25(&addresses) else {
        return;
    };
    let (other, first) = sinks.split_last().unwrap();
    let dns = FakeDns::start();
    dns.address("other.mx.test", addresses[cases.len()]);
    dns.mx("back.test", &[(10, "other.mx.test")]);
    for (n, (name, rules, _)) in cases.iter().enumerate() {
        for rule in rules {
            first[n].rule(rule.clone());
        }
        dns.address(&format!("mx-{name}.test"), addresses[n]);
        dns.mx(
            &format!("{name}.test"),
            &[(10, &format!("mx-{name}.test")), (20, "other.mx.test")],
        );
    }
    let server = Server::start(by_dns(&dns));
    for (name, ..) in &cases {
        submit(
            &server,
            &format!("{name}@back.test"),
            &[&format!("to@{name}.test")],
            &numbered(name),
        );
    }
    let deferred = cases
        .iter()
        .filter(|(.., end)| matches!(end, Deferred(_)))
        .count();
    let bounced = cases
        .iter()
        .filter(|(.., end)| matches!(end, Bounced(..)))
        .count();
    wait_for("only the deferred to be left", || {
        attempts(server.install()) == vec![1; deferred]
    });
    let reports = other.wait_accepted(bounced);
    assert_eq!(reports.len(), bounced, "no other MX is asked: {reports:#?}");
    for (n, (name, _, end)) in cases.iter().enumerate() {
        match end {
            Delivered => first[n].assert_each_once(&[name]),
            Deferred(why) => {
                let domain = format!(" domain={name}.test delay=64 fails=1 rcpts=1 err=\"{why}\"");
                assert!(
                    server.log_text().contains(&domain),
                    "{name}: {}",
                    server.log_text()
                );
            }
            Bounced(status, said) => {
                let to = format!("<{name}@back.test>");
                let report = reports.iter().find(|r| r.to == [to.as_str()]).expect(name);
                let rcpt = format!("to@{name}.test");
                assert_eq!(field(report, &rcpt, "Status"), *status);
                assert_eq!(field(report, &rcpt, "Diagnostic-Code"), *said);
                assert_eq!(
                    field(report, &rcpt, "Remote-MTA"),
                    format!("dns;mx-{name}.test")
                );
            }
        }
    }
    let helo = first[0].lines();
    assert!(helo[0].1.starts_with("EHLO "));
    assert_eq!(helo[1].1, "HELO mx.test");
}

// covers PB-18, OUT-37
#[test]
fn drop_between_dot_and_reply_is_in_doubt_and_waits_for_a_later_attempt() {
    let Some(sinks) = on_port_25(&["127.25.3.1", "127.25.3.2"]) else {
        return;
    };
    let dns = FakeDns::start();
    dns.address("a.mx.test", "127.25.3.1")
        .address("b.mx.test", "127.25.3.2");
    dns.mx("far.test", &[(10, "a.mx.test"), (20, "b.mx.test")]);
    sinks[0].rule(Rule::drop(Stage::Dot).times(1));
    let server = Server::start(by_dns(&dns));
    submit(&server, "a@b.test", &["to@far.test"], &numbered("1"));
    server.wait_for_log("] [outbound] in doubt file=", DEADLINE);
    wait_for("the item to be put off", || {
        attempts(server.install()) == [1]
    });
    let line = server.wait_for_log(" deferred file=", DEADLINE);
    assert!(line.contains(" delay=256 "), "four times the usual: {line}");
    assert_eq!(sinks[1].connections(), 0);
    server.signal(Signal::SIGHUP);
    sinks[0].wait_accepted(1);
    wait_empty(server.install());
    assert_eq!(sinks[1].connections(), 0);
}

// covers PB-18
#[test]
fn slow_answer_to_the_dot_is_waited_for_longer_than_a_connection() {
    let sink = Sink::start();
    sink.rule(Rule::delay(Stage::Dot, Duration::from_secs(3)));
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "connect_timeout", "1");
    let server = Server::start(install);
    submit(&server, "a@b.test", &["to@far.test"], &numbered("1"));
    sink.wait_accepted(1);
    wait_empty(server.install());
    assert_eq!(sink.connections(), 1);
}

// covers OUT-31
#[test]
fn silence_after_the_dot_is_in_doubt_when_its_own_time_is_over() {
    let sink = Sink::start();
    sink.rule(Rule::stall(Stage::Dot).times(1));
    let timeouts = "local_mx_ok=true\n[timeouts]\ndata_done=1\n";
    let server = Server::start(to_next_hop(sink.addr()).config("outbound.ini", timeouts));
    submit(&server, "a@b.test", &["to@far.test"], &numbered("1"));
    server.wait_for_log("] [outbound] in doubt file=", DEADLINE);
    let line = server.wait_for_log(" deferred file=", DEADLINE);
    assert!(line.contains("timeout waiting on the final dot"), "{line}");
    server.signal(Signal::SIGHUP);
    sink.wait_accepted(1);
    wait_empty(server.install());
}

// covers OUT-20, KEY-46, PB-37, BNC-03
#[test]
fn no_intervals_return_mail_at_its_first_failure_in_the_built_in_words() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "450 4.2.1 mailbox busy").containing("to@far.test"));
    let install =
        to_next_hop(sink.addr()).set("outbound.ini", "main", "temp_fail_intervals", "none");
    let server = Server::start(install);
    submit(
        &server,
        "sender@back.test",
        &["to@far.test"],
        &numbered("1"),
    );
    let report = report(&sink);
    wait_empty(server.install());
    assert_eq!(field(&report, "to@far.test", "Status"), "5.2.1");
    assert_eq!(field(&report, "to@far.test", "Action"), "failed");
    assert_eq!(
        field(&report, "to@far.test", "Diagnostic-Code"),
        "smtp;450 4.2.1 mailbox busy"
    );
    let text = report.text();
    assert!(
        text.contains("Too many failures (450 4.2.1 mailbox busy)"),
        "{text}"
    );
    for name in ["From", "To", "Subject", "Date", "Message-Id"] {
        assert!(report.header(name).is_some(), "no {name}: {text}");
    }
    let line = server.wait_for_log(" bounced file=", DEADLINE);
    assert!(line.contains("domain=far.test rcpts=1"), "{line}");
}

// covers BNC-03, BNC-04, BNC-08, KEY-54, BNC-02
#[test]
fn operators_bounce_text_is_used_and_filled_in() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "550 5.1.1 unknown").containing("to@far.test"));
    let template = "From: The Post <post@{me}>\nTo: {to}\nSubject: Sorry: {subject}\n\nNot for {recipients}: {reason}\n";
    let install = to_next_hop(sink.addr()).config("outbound.bounce_message", template);
    let server = Server::start(install);
    submit(
        &server,
        "sender@back.test",
        &["to@far.test"],
        &numbered("1"),
    );
    let report = report(&sink);
    assert_eq!(
        report.header("From").as_deref(),
        Some("The Post <post@mx.test>")
    );
    assert_eq!(report.header("Subject").as_deref(), Some("Sorry: test"));
    let text = report.text();
    assert!(
        text.contains("Not for <to@far.test>: 550 5.1.1 unknown\r\n"),
        "{text}"
    );
    assert!(report.header("Message-Id").is_some());
    wait_empty(server.install());
}

// covers PB-31, BNC-12
#[test]
fn item_is_kept_when_its_bounce_cannot_be_stored() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "550 5.1.1 unknown").containing("to@far.test"));
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "disabled", "true");
    if !relaying::tiny_queue(&install, "256k") {
        return harness::skip("a small file system over the queue directory needs root");
    }
    let _unmount = relaying::Unmount::queue_of(install.path());
    let server = Server::start(install);
    let rcpts = ["good@far.test", "to@far.test"];
    submit(&server, "sender@back.test", &rcpts, &numbered("1"));
    let ballast = server.install().path().join("queue/error.ballast");
    let full = std::fs::write(&ballast, vec![0; 1 << 20]);
    assert!(full.is_err(), "the file system is full now");
    server
        .install()
        .write("config/outbound.ini", b"local_mx_ok=true\n");
    server.wait_for_log("not queued", DEADLINE);
    wait_for("the first recipient to be served", || {
        mail(&sink).len() == 1
    });
    assert_eq!(server.install().queue_files().len(), 2, "ballast and item");
    std::fs::remove_file(&ballast).unwrap();
    // Whatever is held or waits is tried again: first the state, then the bounce.
    let told = harness::poll_until(DEADLINE, || {
        server.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(100)); // pace of the signals, not a wait
        sink.accepted()
            .iter()
            .any(|m| m.from.starts_with("<>"))
            .then_some(())
    });
    assert!(told.is_some(), "{:?}", server.install().queue_files());
    wait_empty(server.install());
    assert_eq!(mail(&sink).len(), 1, "nobody has it twice");
}

// covers PB-32, OUT-15
#[test]
fn flush_during_a_delivery_begins_no_second_one() {
    let sink = Sink::start();
    let gate = Gate::default();
    sink.rule(Rule::behind(Stage::Data, &gate));
    let server = Server::start(to_next_hop(sink.addr()));
    submit(&server, "a@b.test", &["to@far.test"], &numbered("1"));
    let under_way = || sink.lines().iter().any(|(_, line)| line == "DATA");
    wait_for("the delivery to be under way", under_way);
    for n in 1..=3 {
        server.signal(Signal::SIGHUP);
        let flushed = || {
            server
                .log_text()
                .matches("Flushing the temp fail queue")
                .count()
                >= n
        };
        wait_for("the flush to be there", flushed);
    }
    gate.open();
    wait_empty(server.install());
    assert_eq!(sink.messages().len(), 1);
    assert_eq!(sink.connections(), 1);
}
