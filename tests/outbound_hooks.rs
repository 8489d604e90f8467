//! Outbound hooks from plugins in JavaScript: every form of their answers, what they are told, and what they
//! change; the same plugin on the real Haraka. Native plugins: `worker/src/smtp/tests/outbound_hooks.rs`.

#![allow(missing_docs)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::scripts::install_with;
use harness::server::peer_command;
use harness::sink_rules::{Rule, Stage};
use harness::{DEADLINE, Install, Server, Sink, greeted, poll_until, skip};

fn install(script: &str) -> Install {
    install_with(script)
        .config("outbound.ini", "local_mx_ok=true\nauth_in_clear=true\n")
        .config("plugin_timeout", "20\n")
}

/// The program under test, and the real Haraka where the environment names one.
fn commands() -> Vec<Vec<String>> {
    let own = vec![env!("CARGO_BIN_EXE_haraka").to_owned()];
    let peer = peer_command().map(Vec::from);
    if peer.is_none() {
        skip("PEER_HARAKA is not set: nothing to compare with");
    }
    [peer, Some(own)].into_iter().flatten().collect()
}

/// Waits until there is what the file of this name has: what the real Haraka told and sent, sorted. With
/// `UPDATE=1` the real Haraka writes that file, when nothing has come for a while.
#[track_caller]
fn expect_record(name: &str, command: &[String], what: impl Fn() -> Vec<String>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/outbound_hooks")
        .join(name);
    if std::env::var_os("UPDATE").is_some() && command.len() > 1 {
        let mut last = what();
        while poll_until(Duration::from_secs(5), || (what() != last).then_some(())).is_some() {
            last = what();
        }
        fs::write(&file, last.join("\n") + "\n").unwrap();
    }
    let expected = fs::read_to_string(file).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    if poll_until(DEADLINE, || (what() == expected).then_some(())).is_none() {
        let got = what();
        let missing: Vec<_> = expected
            .iter()
            .filter(|l| !got.iter().any(|g| g == *l))
            .collect();
        let more: Vec<_> = got
            .iter()
            .filter(|l| !expected.contains(&l.as_str()))
            .collect();
        panic!(
            "{} lines of {}; missing {missing:#?}, instead {more:#?}",
            got.len(),
            expected.len()
        );
    }
}

/// The far ends of one run.
struct Hosts {
    smtp: Sink,
    lmtp: Sink,
}

impl Hosts {
    fn start() -> Hosts {
        let smtp = Sink::start();
        smtp.capabilities(&["8BITMIME", "AUTH PLAIN LOGIN"]);
        smtp.rule(Rule::reply(Stage::Auth, "334 VXNlcm5hbWU6").containing("AUTH LOGIN"));
        smtp.rule(Rule::reply(Stage::Other, "334 UGFzc3dvcmQ6").containing("dQ=="));
        smtp.rule(Rule::reply(Stage::Other, "235 welcome").containing("cA=="));
        for (stage, of, reply) in [
            (Stage::Mail, "mail-450.test", "450 4.7.0 slowly"),
            (Stage::Mail, "mail-550.test", "550 5.7.1 not you"),
            (Stage::Rcpt, "bad@rcpt-550", "550 5.1.1 no such user"),
            (Stage::Rcpt, "worse@rcpt-550", "551 elsewhere"),
            (Stage::Rcpt, "rcpt-all-550", "550 5.7.1 nobody here"),
            (Stage::Rcpt, "bad@rcpt-450", "450 4.2.0 full"),
            (Stage::Rcpt, "worse@rcpt-450", "451 busy"),
        ] {
            smtp.rule(Rule::reply(stage, reply).containing(of));
        }
        let lmtp = Sink::lmtp_on("127.0.0.1:0");
        lmtp.capabilities(&["8BITMIME"]);
        Hosts { smtp, lmtp }
    }

    /// What they got, sorted.
    fn arrived(&self) -> Vec<String> {
        let of = |sink: &Sink| {
            sink.accepted()
                .into_iter()
                .map(|m| (m.to.join(","), m.from, m.helo))
        };
        let all = of(&self.smtp).map(|m| ("smtp", m));
        let all = all.chain(of(&self.lmtp).map(|m| ("lmtp", m)));
        let mut all: Vec<String> = all
            .map(|(by, (to, from, helo))| format!("{by} {helo} {from} {to}"))
            .collect();
        all.sort();
        all
    }
}

/// A Unix socket that leads to a host, as long as the test runs.
fn forwarded(path: &std::path::Path, to: std::net::SocketAddr) {
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for from in listener.incoming() {
            let (from, to) = (from.unwrap(), std::net::TcpStream::connect(to).unwrap());
            let (mut from_copy, mut to_copy) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (mut from, mut to) = (from, to);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to_copy));
            std::thread::spawn(move || std::io::copy(&mut to, &mut from_copy));
        }
    });
}

/// What the plugin was told so far, sorted: deliveries run beside each other.
fn told(server: &Server) -> Vec<String> {
    let file = server.install().path().join("tmp/told");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

// covers HOK-23, HOK-26 to HOK-30, OUT-28 to OUT-30, OUT-32, OUT-40, OUT-44, PA-45, PA-48
#[test]
fn every_form_of_every_hook_does_and_tells_what_it_does_and_tells_in_haraka() {
    for command in commands() {
        let hosts = Hosts::start();
        let (smtp, lmtp) = (hosts.smtp.addr().to_string(), hosts.lmtp.addr().to_string());
        let script = include_str!("outbound_hooks/forms.js").replace("SINK", &smtp);
        let script = script.replace("LMTP", &lmtp);
        let install = install("");
        let socket = install.path().join("lmtp.sock");
        forwarded(&socket, hosts.lmtp.addr());
        let script = script.replace("PATH", &socket.display().to_string());
        let server = Server::start_command(install.file("plugins/mine.js", &script), &command);
        greeted(&server).cmd("NOOP").expect(250);
        expect_record("forms.told", &command, || told(&server));
        expect_record("forms.arrived", &command, || hosts.arrived());
        let lines = hosts.smtp.lines();
        for (auth, times) in [
            ("AUTH PLAIN AHUAcA==", 2),
            ("AUTH LOGIN", 1),
            ("dQ==", 1),
            ("cA==", 1),
        ] {
            let found = lines.iter().filter(|(_, line)| line == auth).count();
            assert_eq!(found, times, "{auth} in {lines:#?}");
        }
    }
}

/// Messages as far as those of two servers can be the same.
fn arrived(sink: &Sink) -> Vec<String> {
    let mut shown: Vec<String> = sink.accepted().iter().map(shown).collect();
    shown.sort();
    shown
}

fn shown(message: &harness::Message) -> String {
    let text = message.text();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n\t", " ");
    let fields = head.split("\r\n").map(|line| {
        let (name, _) = line.split_once(':').unwrap_or((line, ""));
        let made = match name {
            "Message-Id" => !line.contains("<old@id>"),
            "Date" => !line.contains("1970"),
            _ => name == "Received",
        };
        if made {
            format!("{name} made")
        } else {
            line.to_owned()
        }
    });
    let fields: Vec<String> = fields.collect();
    let (from, to) = (&message.from, message.to.join(","));
    format!("{to} {from} {} {fields:?} {body:?}", message.helo)
}

// covers OUT-01, OUT-02, OUT-03, OUT-30, HOK-18, HOK-25, RES-08
#[test]
fn mail_of_plugins_and_of_clients_is_queued_as_in_haraka() {
    for command in commands() {
        let sink = Sink::start();
        sink.capabilities(&["8BITMIME"]);
        let script = include_str!("outbound_hooks/sending.js");
        let install = install(&script.replace("SINK", &sink.addr().to_string()))
            .file(
                "plugins/second.js",
                include_str!("outbound_hooks/second.js"),
            )
            .plugins(&["mine", "second", "queue/test"]);
        let server = Server::start_command(install, &command);
        greeted(&server).cmd("NOOP").expect(250);
        for (user, code, text) in [
            ("ok", 250, "mine now "),
            ("deny", 550, "not that "),
            ("denysoft", 450, "not now "),
            ("denydisconnect", 550, "go "),
            ("silent", 550, "Message denied "),
            ("skipped", 250, "Message Queued "),
            ("not-skipped", 550, "second "),
            ("sent", 250, "Message Queued "),
            ("inbound", 250, "Message Queued "),
            ("plain", 250, "Message Queued "),
        ] {
            let message = "Subject: x\r\nMessage-Id: <old@id>\r\n\r\n.x\r\n";
            let to = format!("{user}@far.test");
            let reply = greeted(&server).send_mail("a@b.test", &[&to], message);
            assert_eq!(reply.code, code, "{user}: {}", reply.text());
            assert!(reply.text().starts_with(text), "{user}: {}", reply.text());
        }
        expect_record("sending.arrived", &command, || arrived(&sink));
        expect_record("sending.said", &command, || {
            let said = greeted(&server).cmd("VRFY x").text();
            said.split('|').map(str::to_owned).collect()
        });
    }
}
