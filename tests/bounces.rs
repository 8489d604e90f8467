//! Reports on mail that was not delivered, or is late, from a running server: what readers of mail and
//! other servers make of them, what operators can say about them, and what becomes of those that
//! reach nobody.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
#[path = "tls_out/postfix.rs"]
mod postfix;
mod relaying;

#[path = "bounces/readers.rs"]
mod readers;

use std::path::PathBuf;

use harness::server::Signal;
use harness::{DEADLINE, FakeDns, Install, Message, Rule, Server, Sink, Stage, greeted, wait_for};
use relaying::{attempts, by_dns, field, mail, numbered, report, submit, to_next_hop, wait_empty};

const NO_SUCH: &str = "550 5.1.1 no such user";

/// A sink that refuses these recipients.
fn refusing(recipients: &[(&str, &str)]) -> Sink {
    let sink = Sink::start();
    for (recipient, reply) in recipients {
        sink.rule(Rule::reply(Stage::Rcpt, reply).containing(recipient));
    }
    sink
}

/// What is kept of undeliverable mail without a sender.
fn kept(install: &Install) -> Vec<PathBuf> {
    let dir = install.path().join("queue-bounces");
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn reports(sink: &Sink) -> Vec<Message> {
    let mut all = sink.accepted();
    all.retain(|m| m.from.starts_with("<>"));
    all
}

// covers PA-47, BNC-01, PB-31
#[test]
fn mail_without_a_sender_is_kept_in_a_file_when_it_cannot_be_delivered() {
    let sink = refusing(&[("to@far.test", NO_SUCH)]);
    let server = Server::start(to_next_hop(sink.addr()));
    submit(&server, "", &["to@far.test"], &numbered("1"));
    let line = server.wait_for_log("Double bounce", DEADLINE);
    assert!(line.contains("[NOTICE] ["), "{line}");
    assert!(line.contains("class=no-such-user"), "{line}");
    wait_empty(server.install());
    let files = kept(server.install());
    assert_eq!(files.len(), 1);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    for part in [
        "Final-Recipient: rfc822;to@far.test\r\n",
        "Content-Type: message/rfc822\r\n",
        "X-Serial: 1\r\n",
        "This is 1.\r\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(sink.accepted().is_empty());
}

// covers PB-31
#[test]
fn pb31_mail_stays_in_the_queue_until_it_is_kept() {
    let sink = refusing(&[("to@far.test", NO_SUCH)]);
    let install = to_next_hop(sink.addr()).file("queue-bounces", "in the way");
    let server = Server::start(install);
    submit(&server, "", &["to@far.test"], &numbered("1"));
    server.wait_for_log("double bounce not stored", DEADLINE);
    assert_eq!(server.install().queue_files().len(), 1);
    std::fs::remove_file(server.install().path().join("queue-bounces")).unwrap();
    server.signal(Signal::SIGHUP);
    wait_empty(server.install());
    assert_eq!(kept(server.install()).len(), 1);
}

// covers PA-47, BNC-01
#[test]
fn operator_gets_what_has_no_sender_and_it_never_comes_round() {
    let sink = refusing(&[("to@far.test", NO_SUCH), ("gone@ops.test", NO_SUCH)]);
    let install = to_next_hop(sink.addr()).set(
        "outbound.ini",
        "bounces",
        "double_bounce_to",
        "ops@ops.test",
    );
    let mut server = Server::start(install);
    submit(&server, "", &["to@far.test"], &numbered("1"));
    let told = report(&sink);
    assert_eq!(told.to, ["<ops@ops.test>"]);
    assert_eq!(
        told.header("X-Loop").as_deref(),
        Some("double-bounce@mx.test")
    );
    assert_eq!(field(&told, "to@far.test", "Status"), "5.1.1");
    assert!(
        told.text().contains("\r\nThis is 1.\r\n"),
        "{}",
        told.text()
    );
    wait_empty(server.install());
    assert!(kept(server.install()).is_empty());

    // An operator who is gone is a double bounce as well, and ends it.
    server.stop();
    let gone = "local_mx_ok=true\n[bounces]\ndouble_bounce_to=gone@ops.test\n";
    server
        .install()
        .write("config/outbound.ini", gone.as_bytes());
    server.restart();
    submit(&server, "", &["to@far.test"], &numbered("2"));
    wait_for("the file", || kept(server.install()).len() == 1);
    wait_empty(server.install());
    let text = std::fs::read_to_string(&kept(server.install())[0]).unwrap();
    assert!(
        text.contains("Final-Recipient: rfc822;gone@ops.test"),
        "{text}"
    );
    assert!(text.contains("This is 2."), "{text}");
    assert_eq!(reports(&sink).len(), 1);
    // Marked mail from elsewhere goes the same way.
    let marked = format!("X-Loop: double-bounce@other.test\r\n{}", numbered("3"));
    submit(&server, "", &["to@far.test"], &marked);
    wait_for("the second file", || kept(server.install()).len() == 2);
    assert_eq!(reports(&sink).len(), 1);
}

#[test]
fn bounce_of_a_bounce_is_kept_and_nothing_else_is_sent() {
    let sink = refusing(&[("to@far.test", NO_SUCH), ("sender@back.test", NO_SUCH)]);
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        "sender@back.test",
        &["to@far.test"],
        &numbered("1"),
    );
    wait_for("the file", || kept(server.install()).len() == 1);
    wait_empty(server.install());
    let text = std::fs::read_to_string(&kept(server.install())[0]).unwrap();
    for who in ["sender@back.test", "to@far.test"] {
        assert!(
            text.contains(&format!("Final-Recipient: rfc822;{who}\r\n")),
            "{text}"
        );
    }
    assert!(sink.accepted().is_empty());
    let log = server.log_text();
    assert_eq!(log.matches("Double bounce").count(), 1, "{log}");
}

// covers PB-38, BNC-10
#[test]
fn pb38_each_refused_recipient_of_several_has_all_its_fields() {
    let sink = refusing(&[
        ("none@far.test", NO_SUCH),
        ("full@far.test", "552 5.2.2 mailbox full"),
    ]);
    let server = Server::start(to_next_hop(sink.addr()));
    let rcpts = ["good@far.test", "none@far.test", "full@far.test"];
    submit(&server, "sender@back.test", &rcpts, &numbered("1"));
    let report = report(&sink);
    wait_empty(server.install());
    for (recipient, status, said) in [
        ("none@far.test", "5.1.1", "no such user"),
        ("full@far.test", "5.2.2", "mailbox full"),
    ] {
        let get = |name| field(&report, recipient, name);
        assert_eq!(get("Action"), "failed");
        assert_eq!(get("Status"), status);
        assert!(get("Diagnostic-Code").ends_with(said));
        assert!(get("Remote-MTA").starts_with("dns;"));
        assert_eq!(get("Last-Attempt-Date"), report.header("Date").unwrap());
    }
    let text = report.text();
    assert!(!text.contains("good@far.test"), "{text}");
    assert!(
        text.contains("\r\nReceived-From-MTA: dns;client.test ([127.0.0.1])\r\n"),
        "{text}"
    );
    for (recipient, class) in [("none", "no-such-user"), ("full", "mailbox-full")] {
        let line = server.wait_for_log(
            &format!("recipient <{recipient}@far.test> rejected"),
            DEADLINE,
        );
        assert!(line.contains(&format!("class={class}")), "{line}");
    }
    let line = server.wait_for_log(" bounced file=", DEADLINE);
    assert!(
        line.contains(" class=no-such-user,mailbox-full kind=hard "),
        "{line}"
    );
}

// covers PB-17
#[test]
fn pb17_report_of_an_lmtp_delivery_names_the_recipient_that_failed() {
    let sink = Sink::lmtp_on("127.0.0.1:0");
    sink.rule(Rule::reply(Stage::Dot, "550 5.2.1 switched off").containing("second@far.test"));
    let back = Sink::start();
    let hops = format!(
        "[domains]\nfar.test={{\"action\":\"accept\",\"nexthop\":\"lmtp://{}\"}}\nany={{\"action\":\"accept\",\"nexthop\":\"{}\"}}\n",
        sink.addr(),
        back.addr()
    );
    let server = Server::start(to_next_hop(back.addr()).config("relay_dest_domains.ini", &hops));
    let rcpts = ["first@far.test", "second@far.test", "third@far.test"];
    submit(&server, "sender@back.test", &rcpts, &numbered("1"));
    let report = report(&back);
    wait_empty(server.install());
    assert_eq!(field(&report, "second@far.test", "Status"), "5.2.1");
    let text = report.text();
    assert!(
        !text.contains("first@far.test") && !text.contains("third@far.test"),
        "{text}"
    );
}

// covers PB-16, PB-30
#[test]
fn pb16_pb30_unusual_good_replies_are_no_reason_for_a_bounce() {
    for reply in ["251 will forward", "252 cannot verify", "250"] {
        let sink = refusing(&[("to@far.test", reply)]);
        let server = Server::start(to_next_hop(sink.addr()));
        submit(
            &server,
            "sender@back.test",
            &["to@far.test"],
            &numbered("1"),
        );
        let got = sink.wait_accepted(1);
        wait_empty(server.install());
        assert_eq!(
            (got.len(), got[0].to.as_slice()),
            (1, &["<to@far.test>".to_owned()][..])
        );
        assert!(reports(&sink).is_empty());
    }
}

// covers PB-21, PB-22
#[test]
fn pb21_pb22_trouble_with_our_own_disk_bounces_nobody() {
    let sink = refusing(&[
        ("later@far.test", "451 later"),
        ("busy@far.test", "451 busy"),
    ]);
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "disabled", "true");
    if !relaying::tiny_queue(&install, "256k") {
        return harness::skip("a small file system over the queue directory needs root");
    }
    let _unmount = relaying::Unmount::queue_of(install.path());
    let server = Server::start(install);
    let rcpts = ["good@far.test", "later@far.test"];
    submit(&server, "sender@back.test", &rcpts, &numbered("1"));
    submit(
        &server,
        "sender@back.test",
        &["busy@far.test"],
        &numbered("2"),
    );
    relaying::remount(server.install(), "ro");
    let on = b"local_mx_ok=true\n";
    server.install().write("config/outbound.ini", on);
    // One recipient is served, which cannot be written down; and an item cannot get its new name.
    server.wait_for_log("could not be updated", DEADLINE);
    server.wait_for_log("could not be put off", DEADLINE);
    relaying::remount(server.install(), "rw");
    sink.clear_rules();
    server.signal(Signal::SIGHUP);
    sink.wait_accepted(3);
    wait_empty(server.install());
    let mut got: Vec<String> = sink.accepted().into_iter().flat_map(|m| m.to).collect();
    got.sort();
    assert_eq!(
        got,
        ["<busy@far.test>", "<good@far.test>", "<later@far.test>"]
    );
    assert!(!server.log_text().contains(" bounced file="));
}

// covers PB-29
#[test]
fn pb29_refused_greeting_puts_mail_off_and_bounces_nothing() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Greeting, "554 no service here"));
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        "sender@back.test",
        &["to@far.test"],
        &numbered("1"),
    );
    wait_for("a deferral", || attempts(server.install()) == [1]);
    assert!(!server.log_text().contains(" bounced file="));
    sink.clear_rules();
    server.signal(Signal::SIGHUP);
    wait_empty(server.install());
    assert!(reports(&sink).is_empty());
}

// covers PB-37, KEY-54, KEY-55
#[test]
fn pb37_missing_templates_are_built_in_and_new_ones_count_without_a_restart() {
    let sink = refusing(&[("to@far.test", NO_SUCH)]);
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        "sender@back.test",
        &["to@far.test"],
        &numbered("1"),
    );
    let first = report(&sink);
    for (name, expected) in [
        ("From", "MAILER-DAEMON@mx.test"),
        ("To", "<sender@back.test>"),
        ("Subject", "failure notice"),
        ("Auto-Submitted", "auto-replied"),
    ] {
        assert_eq!(
            first.header(name).as_deref(),
            Some(expected),
            "{}",
            first.text()
        );
    }
    assert!(first.text().contains("This is the mail server at mx.test."));

    let words = "Subject: Zur\u{fc}ck\n\nNeue Worte.\n";
    let html = "<html>\n<p>{recipients}</p>\n</html>\n";
    let image = "Content-Type: image/png\nContent-ID: <icon.png>\nContent-Transfer-Encoding: base64\n\nAAAA\n";
    for (name, text) in [("", words), ("_html", html), ("_image", image)] {
        let name = format!("config/outbound.bounce_message{name}");
        server.install().write(&name, text.as_bytes());
    }
    let mut count = 1;
    wait_for("a report in the new words", || {
        submit(
            &server,
            "sender@back.test",
            &["to@far.test"],
            &numbered("2"),
        );
        count += 1;
        wait_for("another report", || reports(&sink).len() == count);
        reports(&sink)[count - 1].text().contains("Neue Worte.")
    });
    let text = reports(&sink)[count - 1].text();
    for part in [
        "multipart/related",
        "multipart/alternative",
        "image/png",
        "&lt;to@far.test&gt;",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

// covers PB-39
#[test]
fn delay_warning_goes_once_to_senders_who_did_not_say_otherwise() {
    let sink = refusing(&[("@far.test", "451 4.2.1 busy")]);
    let install = to_next_hop(sink.addr())
        .set("outbound.ini", "main", "delay_warning", "1")
        .set("outbound.ini", "main", "temp_fail_intervals", "1h*5000");
    let server = Server::start(install);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<sender@back.test>").expect(250);
    for rcpt in [
        "<plain@far.test>",
        "<never@far.test> NOTIFY=NEVER",
        "<failure@far.test> NOTIFY=FAILURE",
    ] {
        client.cmd(&format!("RCPT TO:{rcpt}")).expect(250);
    }
    client.data(&numbered("1")).expect(250);
    client.quit();
    submit(&server, "", &["null@far.test"], &numbered("2"));
    wait_for("the warning", || {
        server.signal(Signal::SIGHUP);
        !reports(&sink).is_empty()
    });
    let late = report(&sink);
    assert_eq!(field(&late, "plain@far.test", "Action"), "delayed");
    assert_eq!(field(&late, "plain@far.test", "Status"), "4.2.1");
    let until = field(&late, "plain@far.test", "Will-Retry-Until");
    assert!(until.contains("2027"), "5000 hours from now: {until}");
    let text = late.text();
    for other in ["never@far", "failure@far", "null@far"] {
        assert!(!text.contains(other), "{text}");
    }
    let tried = || attempts(server.install()).iter().sum::<u32>();
    let before = tried();
    wait_for("more attempts", || {
        server.signal(Signal::SIGHUP);
        tried() >= before + 4
    });
    assert_eq!(reports(&sink).len(), 1);
    assert!(mail(&sink).is_empty());
}

#[test]
fn nobody_is_warned_of_a_delay_unless_that_is_switched_on() {
    let sink = refusing(&[("@far.test", "451 4.2.1 busy")]);
    let install = to_next_hop(sink.addr())
        .set("outbound.ini", "main", "delay_notice", "1")
        .set("outbound.ini", "main", "temp_fail_intervals", "1h*5000");
    let server = Server::start(install);
    submit(
        &server,
        "sender@back.test",
        &["plain@far.test"],
        &numbered("1"),
    );
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<sender@back.test>").expect(250);
    client
        .cmd("RCPT TO:<asked@far.test> NOTIFY=DELAY")
        .expect(250);
    client.data(&numbered("2")).expect(250);
    client.quit();
    // Who asks is told, at a time when the other one has waited as long.
    wait_for("the report", || {
        server.signal(Signal::SIGHUP);
        !reports(&sink).is_empty()
    });
    let before: u32 = attempts(server.install()).iter().sum();
    wait_for("more attempts", || {
        server.signal(Signal::SIGHUP);
        attempts(server.install()).iter().sum::<u32>() >= before + 4
    });
    let told: Vec<String> = reports(&sink).iter().map(Message::text).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("asked@far.test") && !told[0].contains("plain@far.test"));
}

#[test]
fn international_sender_gets_an_international_report() {
    let sink = refusing(&[("@far.test", NO_SUCH)]);
    sink.capabilities(&["PIPELINING", "8BITMIME", "SMTPUTF8"]);
    let server = Server::start(to_next_hop(sink.addr()));
    let mut client = greeted(&server);
    client
        .cmd("MAIL FROM:<d\u{f6}@back.test> SMTPUTF8")
        .expect(250);
    client.cmd("RCPT TO:<\u{fc}@far.test>").expect(250);
    client
        .data("Subject: Gr\u{fc}\u{df}e\r\n\r\ntext\r\n")
        .expect(250);
    client.quit();
    let report = report(&sink);
    assert_eq!(report.from, "<> BODY=8BITMIME SMTPUTF8");
    assert_eq!(report.to, ["<d\u{f6}@back.test>"]);
    let text = report.text();
    for part in [
        "To: <d\u{f6}@back.test>\r\n",
        "Content-Type: message/global-delivery-status\r\n",
        "Final-Recipient: utf-8;\u{fc}@far.test\r\n",
        "Content-Type: message/global-headers\r\n",
        "\r\nSubject: Gr\u{fc}\u{df}e\r\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn domain_that_takes_no_mail_has_a_class_and_no_remote_host() {
    let dns = FakeDns::start();
    dns.null_mx("nomail.test");
    let sink = Sink::start();
    let install = by_dns(&dns);
    let server = Server::start(install);
    submit(&server, "", &["to@nomail.test"], &numbered("1"));
    let line = server.wait_for_log(" bounced file=", DEADLINE);
    assert!(line.contains("class=no-such-domain kind=hard"), "{line}");
    wait_for("the file", || kept(server.install()).len() == 1);
    let text = std::fs::read_to_string(&kept(server.install())[0]).unwrap();
    assert!(text.contains("Status: 5.1.10 ("), "{text}");
    assert!(
        !text.contains("Remote-MTA") && !text.contains("Last-Attempt"),
        "{text}"
    );
    drop(sink);
}

#[test]
fn largest_message_that_is_returned_is_a_setting() {
    let sink = refusing(&[("to@far.test", NO_SUCH)]);
    let install = to_next_hop(sink.addr()).set("outbound.ini", "bounces", "return_size", "4000");
    let server = Server::start(install);
    for (lines, kind) in [(10, "message/rfc822"), (200, "text/rfc822-headers")] {
        let mut client = greeted(&server);
        client
            .cmd("MAIL FROM:<sender@back.test> RET=FULL")
            .expect(250);
        client.cmd("RCPT TO:<to@far.test>").expect(250);
        let text = "This is a line of text.\r\n".repeat(lines);
        client
            .data(&format!("Subject: {lines}\r\n\r\n{text}"))
            .expect(250);
        client.quit();
        let subject = format!("\r\nSubject: {lines}\r\n");
        let mut found = None;
        wait_for("the report", || {
            found = reports(&sink)
                .iter()
                .map(Message::text)
                .find(|t| t.contains(&subject));
            found.is_some()
        });
        let text = found.unwrap();
        assert!(
            text.contains(&format!("Content-Type: {kind}\r\n")),
            "{text}"
        );
        assert_eq!(text.contains("a line of text"), kind == "message/rfc822");
    }
}
