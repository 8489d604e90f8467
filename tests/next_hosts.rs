//! Deliveries to whole servers of other makes, and to LMTP servers over either kind of socket: what is said
//! to them of a message, and that each recipient gets exactly its own outcome.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;
#[path = "tls_out/postfix.rs"]
mod postfix;
mod relaying;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;

use harness::server::{Signal, peer_command};
use harness::{Authority, DEADLINE, Install, Rule, Server, Sink, Stage, greeted, skip, wait_for};
use postfix::Postfix;
use relaying::{attempts, field, mail, numbered, report, routed, submit, to_next_hop, wait_empty};

/// A Unix socket that leads to a host, as long as the test runs.
fn forwarded(path: &Path, to: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for from in listener.incoming() {
            let (mut from, mut to) = (from.unwrap(), TcpStream::connect(to).unwrap());
            let (mut from_copy, mut to_copy) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to_copy));
            std::thread::spawn(move || std::io::copy(&mut to, &mut from_copy));
        }
    });
}

/// A server whose mail for far.test goes to this LMTP server, for other domains to that SMTP server.
fn lmtp_server(lmtp: &Sink, reports: &Sink, unix: bool) -> Server {
    let back = reports.addr().to_string();
    if !unix {
        let hop = format!("lmtp://{}", lmtp.addr());
        return Server::start(routed(&[("far.test", &hop), ("any", &back)]));
    }
    let install = routed(&[("any", &back)]);
    let socket = install.path().join("lmtp.sock");
    forwarded(&socket, lmtp.addr());
    let script = format!(
        "exports.hook_get_mx = (next, hmail, domain) => domain === 'far.test'\n\
         ? next(OK, {{ path: '{}', using_lmtp: true }}) : next()\n",
        socket.display()
    );
    let install = install
        .file("plugins/mailbox.js", &script)
        .plugins(&["mailbox", "relay"]);
    Server::start(install)
}

// covers PB-17, OUT-29, OUT-40, OUT-38
#[test]
fn recipients_of_an_lmtp_server_have_their_own_outcome_over_either_socket() {
    for unix in [false, true] {
        let (lmtp, reports) = (Sink::lmtp_on("127.0.0.1:0"), Sink::start());
        for (stage, rcpt, reply) in [
            (Stage::Rcpt, "nobody@", "550 5.1.1 no such user"),
            (Stage::Dot, "gone@", "554 5.2.1 closed"),
            (Stage::Dot, "full@", "452 4.2.2 over quota"),
        ] {
            lmtp.rule(Rule::reply(stage, reply).containing(rcpt));
        }
        let server = lmtp_server(&lmtp, &reports, unix);
        let rcpts = ["one", "gone", "nobody", "full", "two"].map(|u| format!("{u}@far.test"));
        let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
        submit(&server, "from@back.test", &rcpts, &numbered("mixed"));
        let line = server.wait_for_log("delivered file=", DEADLINE);
        assert!(line.contains(" mode=LMTP "), "{line}");
        assert!(line.contains(" rcpts=2/1/2"), "{line}");
        let report = report(&reports);
        assert_eq!(
            field(&report, "gone@far.test", "Diagnostic-Code"),
            "smtp;554 5.2.1 closed"
        );
        assert_eq!(field(&report, "nobody@far.test", "Status"), "5.1.1");
        let text = report.text();
        for other in ["one@", "two@", "full@"] {
            assert!(
                !text.contains(&format!("rfc822;{other}")),
                "{other}: {text}"
            );
        }
        wait_for("one recipient to be left", || {
            attempts(server.install()) == [1]
        });
        lmtp.clear_rules();
        server.signal(Signal::SIGHUP);
        wait_empty(server.install());
        let got = lmtp.messages();
        let to: Vec<_> = got.iter().map(|m| m.to.join(",")).collect();
        let first = "<one@far.test>,<gone@far.test>,<full@far.test>,<two@far.test>";
        assert_eq!(to, [first, "<full@far.test>"]);
        assert_eq!(reports.accepted().len(), 1, "one report, no more");
    }
}

// covers PB-76, OUT-07
#[test]
fn word_smtputf8_of_a_client_is_kept_with_its_message() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "450 4.2.1 busy").times(1));
    let server = Server::start(relaying::to_next_hop(sink.addr()));
    let text = "Subject: Grüße\r\nX-Serial: 1\r\n\r\nhi\r\n";
    let send = |param: &str| {
        let mut client = greeted(&server);
        client
            .cmd(&format!("MAIL FROM:<a@back.test>{param}"))
            .expect(250);
        client.cmd("RCPT TO:<to@far.test>").expect(250);
        client.data(text).expect(250);
        client.quit();
    };
    send(" SMTPUTF8");
    wait_for("the item to be put off", || {
        attempts(server.install()) == [1]
    });
    server.signal(Signal::SIGHUP);
    let got = sink.wait_accepted(1);
    assert!(got[0].from.ends_with(" SMTPUTF8"), "{}", got[0].from);
    wait_empty(server.install());

    // The same where it is not offered, and once more without the word.
    sink.capabilities(&["PIPELINING", "8BITMIME"]);
    let server = Server::start(relaying::to_next_hop(sink.addr()));
    let send = |param: &str| {
        let mut client = greeted(&server);
        client
            .cmd(&format!("MAIL FROM:<a@back.test>{param}"))
            .expect(250);
        client.cmd("RCPT TO:<to@far.test>").expect(250);
        client.data(text).expect(250);
        client.quit();
    };
    send(" SMTPUTF8");
    let report = report(&sink);
    let status = field(&report, "to@far.test", "Status");
    assert!(status.starts_with("5.6.9 "), "{status}");
    send("");
    wait_for("the undeclared one", || mail(&sink).len() == 2);
    let last = mail(&sink).pop().unwrap();
    assert!(last.from.ends_with(" BODY=8BITMIME"), "{}", last.from);
    assert!(last.text().contains("Subject: Grüße\r\n"));
    wait_empty(server.install());
}

// covers OUT-33, OUT-38, PB-63
#[test]
fn real_postfix_gets_what_it_offers_to_take_and_decides_for_each_recipient() {
    let authority = Authority::new();
    let more = "smtputf8_enable = no\nmessage_size_limit = 100000\n\
                smtpd_recipient_restrictions = check_recipient_access \
                inline:{ {never@far.test = 550 5.7.1 never}, {later@far.test = 450 4.7.1 later} }, permit\n";
    let Some(postfix) = Postfix::start_with(&authority.issue("localhost"), more) else {
        return;
    };
    let reports = Sink::start();
    let (hop, back) = (
        format!("127.0.0.1:{}", postfix.port()),
        reports.addr().to_string(),
    );
    let install = routed(&[("far.test", &hop), ("any", &back)]);
    let server = Server::start(install.set("outbound.ini", "main", "enable_tls", "false"));
    let rcpts = ["ok@far.test", "never@far.test", "later@far.test"];
    submit(&server, "mixed@back.test", &rcpts, &numbered("mixed"));
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(line.contains(" rcpts=1/1/1"), "{line}");
    let big = format!("Subject: big\r\n\r\n{}", "0123456789\r\n".repeat(9000));
    submit(&server, "big@back.test", &["ok@far.test"], &big);
    submit(
        &server,
        "utf8@back.test",
        &["ü@far.test"],
        &numbered("utf8"),
    );
    let eight_bit = "Subject: 8\r\n\r\n\u{fc}\r\n..\r\n";
    submit(&server, "eight@back.test", &["eight@far.test"], eight_bit);
    let reports = reports.wait_accepted(3);
    for (from, to, status, said) in [
        ("mixed", "never@far.test", "5.7.1", Some("smtp;550 5.7.1 ")),
        ("big", "ok@far.test", "5.3.4", None),
        ("utf8", "ü@far.test", "5.6.7", None),
    ] {
        let to_sender = [format!("<{from}@back.test>")];
        let report = reports.iter().find(|r| r.to == to_sender).expect(from);
        let text = report.text();
        assert!(text.contains(&format!("\r\nStatus: {status}")), "{text}");
        if let Some(said) = said {
            assert!(field(report, to, "Diagnostic-Code").starts_with(said));
        }
    }
    let sent = |to: &str| {
        let log = postfix.log();
        let of_it =
            |line: &&str| line.contains(&format!("to=<{to}>, ")) && line.contains("status=sent");
        log.lines().filter(of_it).count()
    };
    wait_for("Postfix to pass them on", || {
        sent("ok@far.test") == 1 && sent("eight@far.test") == 1
    });
    wait_for("one recipient to be left", || {
        attempts(server.install()) == [1]
    });
    assert_eq!(sent("never@far.test") + sent("later@far.test"), 0);
}

/// Refuses by the user's name, as the host itself cannot.
const CHOOSY: &str = "
exports.hook_rcpt = (next, connection, [to]) => ({ never: () => next(DENY, 'never'), later: () => next(DENYSOFT, 'later') }[to.user] ?? (() => next(OK)))()
exports.hook_queue = (next, connection) => connection.transaction.rcpt_to[0].user === 'full' ? next(DENYSOFT, 'full') : next()
";

// covers OUT-33, OUT-38, PB-63
#[test]
fn real_haraka_gets_messages_octet_for_octet_and_decides_for_each_recipient() {
    let Some(command) = peer_command() else {
        return skip("PEER_HARAKA is not set: no Haraka to send to");
    };
    let peer = Install::new()
        .file("plugins/choosy.js", CHOOSY)
        .plugins(&["choosy", "queue/test"]);
    let peer = Server::start_command(peer, &command);
    let reports = Sink::start();
    let (hop, back) = (peer.addr().to_string(), reports.addr().to_string());
    let server = Server::start(routed(&[("far.test", &hop), ("any", &back)]));
    let rcpts = ["ok@far.test", "never@far.test", "later@far.test"];
    let body = "..stuffed\r\n.\u{fc}\r\n\r\n..\r\nend\r\n";
    let text = format!("Subject: mixed\r\n\r\n{body}");
    submit(&server, "mixed@back.test", &rcpts, &text);
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(line.contains(" rcpts=1/1/1"), "{line}");
    submit(
        &server,
        "a@back.test",
        &["full@far.test"],
        &numbered("full"),
    );
    let line = server.wait_for_log("recipient <full@far.test> deferred", DEADLINE);
    assert!(line.contains("full"), "{line}");
    for n in 0..20 {
        submit(
            &server,
            "a@back.test",
            &[&format!("u{n}@far.test")],
            &numbered("n"),
        );
    }
    let stored = || peer.install().stored();
    wait_for("21 messages", || stored().len() == 21);
    let ends = |message: &&Vec<u8>| {
        let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
        text.ends_with(&body.replace("\r\n", "\n"))
    };
    assert_eq!(stored().iter().filter(ends).count(), 1, "octet for octet");
    wait_for("two items to be left", || {
        attempts(server.install()) == [1, 1]
    });
    let report = report(&reports);
    assert!(field(&report, "never@far.test", "Diagnostic-Code").starts_with("smtp;550 "));
}

/// The program under test, and the real Haraka where the environment names one.
fn commands() -> Vec<Vec<String>> {
    let own = vec![env!("CARGO_BIN_EXE_haraka").to_owned()];
    let peer = peer_command().map(Vec::from);
    [Some(own), peer].into_iter().flatten().collect()
}

// covers PI2-11
#[test]
fn lmtp_plugin_delivers_to_the_server_of_the_domain_as_in_haraka() {
    for command in commands() {
        let lmtp = Sink::lmtp_on("127.0.0.1:0");
        lmtp.capabilities(&["8BITMIME"]);
        let port = lmtp.addr().port();
        let install = Install::new()
            .plugins(&["rcpt_to.in_host_list", "queue/lmtp"])
            .config(
                "lmtp.ini",
                &format!("port=1\n[here.test]\nhost=127.0.0.1\nport={port}\n"),
            )
            .config("outbound.ini", "local_mx_ok=true\n");
        let server = Server::start_command(install, &command);
        let mut client = greeted(&server);
        let reply = client.send_mail("a@b.test", &["x@here.test", "y@here.test"], &numbered("1"));
        assert!(
            reply.text().starts_with("Message Queued ("),
            "{}",
            reply.text()
        );
        let got = lmtp.wait_accepted(1);
        assert_eq!(got[0].to, ["<x@here.test>", "<y@here.test>"]);
        wait_empty(server.install());
        assert_eq!(lmtp.accepted()[0].replies.len(), 2);
        assert_eq!(lmtp.connections(), 1);
    }
}

// covers PI2-13
#[test]
fn quarantine_plugin_keeps_the_same_copy_and_answers_the_same_as_in_haraka() {
    for command in commands() {
        let mark = "exports.hook_data_post = (next, { transaction: txn }) => {\n\
            txn.notes.quarantine = 'high/spam'; txn.notes.quarantine_action = [DENY, 'kept']; next() }\n";
        let install = Install::new().file("plugins/mark.js", mark).plugins(&[
            "rcpt_to.in_host_list",
            "mark",
            "queue/quarantine",
            "queue/test",
        ]);
        let kept = install.path().join("kept");
        let path = format!("quarantine_path={}\n", kept.display());
        let server = Server::start_command(install.config("quarantine.ini", &path), &command);
        let reply = greeted(&server).send_mail("a@b.test", &["x@here.test"], &numbered("1"));
        assert_eq!(reply.code, 550);
        assert!(reply.text().starts_with("kept ("), "{}", reply.text());
        let entries = |dir: &Path| {
            let found = std::fs::read_dir(dir).unwrap();
            found.map(|e| e.unwrap().path()).collect::<Vec<_>>()
        };
        let days = entries(&kept.join("high/spam"));
        let copies = entries(&days[0]);
        let copy = std::fs::read_to_string(&copies[0]).unwrap();
        assert!(copy.ends_with("\nX-Serial: 1\n\nThis is 1.\n"), "{copy}");
        wait_for("the temporary name to go", || {
            entries(&kept.join("tmp")).is_empty()
        });
        assert!(server.install().stored().is_empty());
    }
}

// covers OUT-33
#[test]
fn size_that_is_declared_is_that_of_the_message_without_doubled_dots() {
    for spool_after in ["-1", "0"] {
        let sink = Sink::start();
        let install =
            to_next_hop(sink.addr()).set("connection.ini", "main", "spool_after", spool_after);
        let server = Server::start(install);
        let dots = format!(
            "Subject: dots\r\n\r\n{}",
            ".\r\n..\r\n.text\r\n".repeat(400)
        );
        let declared = || {
            submit(&server, "from@client.test", &["to@far.test"], &dots);
            let message = sink.messages().pop();
            message.map(|m| (m.from.clone(), m.content().len()))
        };
        wait_for("a first message", || declared().is_some());
        let message = sink.messages().remove(0);
        let size = message.content().len();
        assert!(message.raw.len() >= size + 1200);
        assert!(
            message.from.ends_with(&format!(" SIZE={size}")),
            "{}",
            message.from
        );
        // A host that takes exactly this.
        let before = sink.accepted().len();
        sink.capabilities(&[&format!("SIZE {size}")]);
        submit(&server, "from@client.test", &["to@other.test"], &dots);
        wait_for("a message that just fits", || {
            let all = sink.accepted();
            all.iter()
                .skip(before)
                .any(|m| m.to.iter().any(|to| to.contains("other.test")))
        });
    }
}
