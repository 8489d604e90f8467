//! Reports that senders ask for (RFC 3461): passed on, honoured, kept over a restart, and made here
//! where the next host cannot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use harness::server::Signal;
use harness::{DEADLINE, Install, Message, Rule, Server, Sink, Stage, greeted, wait_for};
use relaying::{attempts, field, mail, report, routed, to_next_hop, wait_empty};

const TEXT: &str = "Subject: test\r\nX-Serial: one\r\n\r\nThis is the text.\r\n.dot\r\n";

/// A sink that offers DSN.
fn knowing() -> Sink {
    let sink = Sink::start();
    sink.capabilities(&["PIPELINING", "8BITMIME", "DSN"]);
    sink
}

/// Submits a message with parameters of MAIL, and of each RCPT.
#[track_caller]
fn submit(server: &Server, mail: &str, rcpts: &[&str]) {
    let mut client = greeted(server);
    client
        .cmd(&format!("MAIL FROM:<sender@back.test>{mail}"))
        .expect(250);
    for rcpt in rcpts {
        client.cmd(&format!("RCPT TO:{rcpt}")).expect(250);
    }
    client.data(TEXT).expect(250);
    client.quit();
}

fn reports(sink: &Sink) -> Vec<Message> {
    let mut all = sink.accepted();
    all.retain(|m| m.from.starts_with("<>"));
    all
}

// covers PB-76
#[test]
fn requests_are_passed_on_to_a_host_that_offers_dsn_which_then_reports() {
    let sink = knowing();
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        " RET=HDRS ENVID=q+2B1",
        &[
            "<a@far.test> NOTIFY=success,DELAY ORCPT=rfc822;old+2Bme@far.test",
            "<b@far.test>",
            "<c@far.test> NOTIFY=NEVER",
        ],
    );
    let got = sink.wait_accepted(1);
    wait_empty(server.install());
    assert_eq!(got[0].from, "<sender@back.test> RET=HDRS ENVID=q+2B1");
    assert_eq!(
        got[0].to,
        [
            "<a@far.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bme@far.test",
            "<b@far.test>",
            "<c@far.test> NOTIFY=NEVER",
        ]
    );
    assert!(reports(&sink).is_empty());
}

// covers PB-76
#[test]
fn success_is_reported_here_when_the_next_host_cannot() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Dot, "250 2.6.0 taken as 1").times(1));
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        " RET=FULL ENVID=q+2B1",
        &[
            "<a@far.test> NOTIFY=SUCCESS ORCPT=rfc822;old+2Bme@far.test",
            "<b@far.test> NOTIFY=FAILURE",
        ],
    );
    let report = report(&sink);
    let passed = &mail(&sink)[0];
    assert!(!passed.from.contains("ENVID") && !passed.to[0].contains("NOTIFY"));
    assert_eq!(field(&report, "a@far.test", "Action"), "relayed");
    assert_eq!(field(&report, "a@far.test", "Status"), "2.6.0");
    assert_eq!(
        field(&report, "a@far.test", "Original-Recipient"),
        "rfc822;old+me@far.test"
    );
    assert_eq!(
        field(&report, "a@far.test", "Diagnostic-Code"),
        "smtp;250 2.6.0 taken as 1"
    );
    let text = report.text();
    assert!(text.contains("Original-Envelope-Id: q+1\r\n"), "{text}");
    assert!(!text.contains("b@far.test"), "{text}");
    // RFC 3461 §4.3: RET is about failures.
    assert!(!text.contains("This is the text"), "{text}");
    wait_empty(server.install());
    assert_eq!(reports(&sink).len(), 1);
}

fn to_lmtp(sink: &Sink) -> Install {
    let route = format!("lmtp://{}", sink.addr());
    routed(&[("any", &route)])
}

// covers PB-76
#[test]
fn lmtp_server_has_delivered() {
    let sink = Sink::lmtp_on("127.0.0.1:0");
    let server = Server::start(to_lmtp(&sink));
    submit(&server, "", &["<a@far.test> NOTIFY=SUCCESS"]);
    let report = report(&sink);
    assert_eq!(field(&report, "a@far.test", "Action"), "delivered");
}

// covers PB-76, OUT-37
#[test]
fn success_at_an_lmtp_server_is_reported_with_the_reply_for_that_recipient() {
    let sink = Sink::lmtp_on("127.0.0.1:0");
    for (who, reply) in [("a@", "250 2.1.5 in box a"), ("b@", "550 5.1.1 nobody")] {
        sink.rule(Rule::reply(Stage::Dot, reply).containing(who));
    }
    let server = Server::start(to_lmtp(&sink));
    let to = [
        "<a@far.test> NOTIFY=SUCCESS",
        "<c@far.test> NOTIFY=SUCCESS",
        "<b@far.test> NOTIFY=SUCCESS",
    ];
    submit(&server, "", &to);
    let report = report(&sink);
    let said = |who: &str| field(&report, who, "Diagnostic-Code");
    assert_eq!(said("a@far.test"), "smtp;250 2.1.5 in box a");
    assert_eq!(field(&report, "a@far.test", "Status"), "2.1.5");
    assert_eq!(said("c@far.test"), "smtp;250 2.0.0 taken");
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(line.contains("response=\"250 2.0.0 taken\""), "{line}");
    assert!(!report.text().contains("b@far.test"));
}

// covers PB-76, BNC-09
#[test]
fn failure_is_reported_to_whom_and_with_what_was_asked_for() {
    let refuse = |sink: &Sink| {
        sink.rule(Rule::reply(Stage::Rcpt, "550 5.1.1 nobody").containing("@far.test"));
    };
    let sink = knowing();
    refuse(&sink);
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        " RET=FULL ENVID=x",
        &[
            "<never@far.test> NOTIFY=NEVER",
            "<success@far.test> NOTIFY=SUCCESS",
            "<asked@far.test> NOTIFY=FAILURE ORCPT=rfc822;asker@far.test",
            "<plain@far.test>",
        ],
    );
    let full = report(&sink);
    wait_empty(server.install());
    assert_eq!(field(&full, "asked@far.test", "Action"), "failed");
    assert_eq!(
        field(&full, "asked@far.test", "Original-Recipient"),
        "rfc822;asker@far.test"
    );
    assert_eq!(field(&full, "plain@far.test", "Status"), "5.1.1");
    let text = full.text();
    assert!(
        !text.contains("never@") && !text.contains("success@"),
        "{text}"
    );
    assert!(text.contains("Original-Envelope-Id: x\r\n"), "{text}");
    assert!(text.contains("Content-Type: message/rfc822\r\n"), "{text}");
    assert!(
        text.contains("\r\n\r\nThis is the text.\r\n.dot\r\n"),
        "{text}"
    );

    // The item of a restarted server is read from its file.
    sink.clear_rules();
    sink.rule(Rule::reply(Stage::Rcpt, "451 later").containing("@far.test"));
    submit(&server, " RET=FULL", &["<late@far.test>"]);
    wait_for("a deferral", || attempts(server.install()) == [1]);
    let mut server = server;
    server.stop();
    sink.clear_rules();
    refuse(&sink);
    server.restart();
    server.signal(Signal::SIGHUP);
    wait_for("the second report", || reports(&sink).len() == 2);
    let text = reports(&sink)[1].text();
    assert!(
        text.contains("\r\n\r\nThis is the text.\r\n.dot\r\n"),
        "{text}"
    );

    submit(&server, " RET=HDRS", &["<heads@far.test>"]);
    wait_for("the third report", || reports(&sink).len() == 3);
    let text = reports(&sink)[2].text();
    assert!(
        text.contains("X-Serial: one") && !text.contains("This is the text"),
        "{text}"
    );
    submit(&server, "", &["<silent@far.test> NOTIFY=NEVER"]);
    server.wait_for_log("1 of 1 recipients are not reported", DEADLINE);
    wait_empty(server.install());
    assert_eq!(reports(&sink).len(), 3);
}

// covers PB-76, OUT-19
#[test]
fn delay_is_reported_once_to_whom_asked_and_requests_survive_a_restart() {
    let sink = knowing();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.2.1 busy").containing("@far.test"));
    let install = to_next_hop(sink.addr());
    // Attempts are made on demand below; there must be enough of them.
    let install = install
        .set("outbound.ini", "main", "delay_notice", "1")
        .set("outbound.ini", "main", "temp_fail_intervals", "1h*5000");
    let mut server = Server::start(install);
    submit(
        &server,
        " ENVID=x",
        &[
            "<a@far.test> NOTIFY=DELAY",
            "<b@far.test>",
            "<c@far.test> NOTIFY=FAILURE",
        ],
    );
    wait_for("a first attempt", || attempts(server.install()) == [1]);
    server.stop();
    server.restart();
    wait_for("the report", || {
        server.signal(Signal::SIGHUP);
        !reports(&sink).is_empty()
    });
    let late = report(&sink);
    assert_eq!(field(&late, "a@far.test", "Action"), "delayed");
    assert_eq!(field(&late, "a@far.test", "Status"), "4.2.1");
    let text = late.text();
    assert!(!text.contains("b@far") && !text.contains("c@far"), "{text}");
    let tried = |server: &Server| attempts(server.install()).first().copied();
    let before = tried(&server);
    wait_for("two more attempts", || {
        server.signal(Signal::SIGHUP);
        tried(&server) >= before.map(|n| n + 2)
    });
    assert_eq!(reports(&sink).len(), 1);
    sink.clear_rules();
    server.signal(Signal::SIGHUP);
    wait_for("the delivery", || mail(&sink).len() == 1);
    assert_eq!(
        mail(&sink)[0].to,
        [
            "<a@far.test> NOTIFY=DELAY",
            "<b@far.test>",
            "<c@far.test> NOTIFY=FAILURE"
        ]
    );
}

// covers PB-76, EXT-09
#[test]
fn without_dsn_requests_are_refused_or_ignored() {
    for strict in ["true", "false"] {
        let sink = knowing();
        let install = to_next_hop(sink.addr())
            .set("connection.ini", "esmtp", "dsn", "false")
            .set("connection.ini", "esmtp", "strict_parameters", strict);
        let server = Server::start(install);
        if strict == "true" {
            let mut client = greeted(&server);
            client.cmd("MAIL FROM:<a@back.test> RET=FULL").expect(555);
            client.quit();
            continue;
        }
        submit(&server, " RET=FULL", &["<a@far.test> NOTIFY=NEVER"]);
        let got = sink.wait_accepted(1);
        assert_eq!(
            (got[0].from.as_str(), got[0].to[0].as_str()),
            ("<sender@back.test>", "<a@far.test>")
        );
    }
}
