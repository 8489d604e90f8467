//! What the whole program writes to its log: every line of one dialogue in each form, beside the real
//! Haraka's where `PEER_HARAKA` names it; readers that are slow or gone; a terminal's colours.
//! `UPDATE=1` rewrites the files in `tests/logs/`.

// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::{DEADLINE, Install, Server, SmtpClient, skip, wait_for};

/// One client that does a bit of everything, answered alike by both programs.
fn dialogue(client: &mut SmtpClient) {
    client.ehlo("client.test");
    for (line, code) in [
        ("AUTH PLAIN AGEAc2VjcmV0", 500),
        ("MAIL FROM:<a@example.com>", 250),
        ("RCPT TO:<b@here.test>", 250),
        ("RCPT TO:<c@there.test>", 550),
    ] {
        client.cmd(line).expect(code);
    }
    client
        .data("Subject: x \"y\" = z\r\nMessage-Id: <1@x y>\r\n\r\nline\r\n.dot\r\n")
        .expect(250);
    for (line, code) in [
        ("FOO \\ \"bar\"", 500),
        ("MAIL FROM:<>", 250),
        ("RCPT bad", 501),
        ("RSET", 250),
        ("QUIT", 221),
    ] {
        client.cmd(line).expect(code);
    }
}

fn install(format: &str) -> Install {
    Install::new()
        .config("loglevel", "data\n")
        .config(
            "log.ini",
            &format!("[main]\nlevel=data\ntimestamps=false\nformat={format}\n"),
        )
        // Offers that Haraka does not make would be lines of the log.
        .set("connection.ini", "esmtp", "chunking", "false")
        .set("connection.ini", "esmtp", "dsn", "false")
}

/// The lines of one session, without what differs from run to run.
fn session_lines(log: &str) -> Vec<String> {
    let uuid = log.split(['[', ']', '"', '=', ' ']).find(|w| is_uuid(w));
    let uuid = uuid.unwrap_or_else(|| panic!("no uuid in:\n{log}"));
    let lines = log.lines().filter(|line| line.contains(uuid));
    lines.map(|line| masked(line, uuid)).collect()
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn masked(line: &str, uuid: &str) -> String {
    let mut line = line.replace(uuid, "U").replace(&uuid[..6], "U6");
    // The name that the DNS of this machine gives 127.0.0.1.
    for (start, end) in [
        ("250-mx.test Hello ", " [127"),
        ("Haraka/", " ready"),
        ("Saving to ", "mail_U"),
    ] {
        replace_between(&mut line, start, end);
    }
    for key in ["port", "local_port", "time", "delay", "rdns"] {
        replace_between(&mut line, &format!(" {key}="), " ");
        replace_between(&mut line, &format!("\"{key}\":"), ",");
    }
    line
}

/// Puts `*` for what stands after `start`, up to `end` or, without one, the end of the line.
fn replace_between(line: &mut String, start: &str, end: &str) {
    let Some(from) = line.find(start).map(|at| at + start.len()) else {
        return;
    };
    let rest = &line[from..];
    let closing = rest.len() - usize::from(rest.ends_with('}'));
    let len = rest.find(end).unwrap_or(closing);
    line.replace_range(from..from + len, "*");
}

fn logged_by(mut server: Server) -> Vec<String> {
    dialogue(&mut server.client());
    server.wait_for_log("disconnect", DEADLINE);
    server.stop();
    session_lines(&server.log_text())
}

/// What the real Haraka has to say as well: what happens in its core, not how it gets there. Three
/// differences are meant: it writes secrets, it breaks data lines in two in logfmt, and its JSON has
/// the inside of an address where the other forms have the address.
fn comparable(lines: &[String]) -> Vec<String> {
    let inner = |line: &&String| {
        let debug = ["[DEBUG]", "=DEBUG ", "\"DEBUG\""];
        !debug.iter().any(|d| line.contains(d))
    };
    let alike = |line: &String| {
        let mut line = line.replace("AGEAc2VjcmV0", "[redacted]");
        if line.starts_with("level=DATA") {
            line = line.trim_end_matches("\\n\"").to_owned();
        }
        if let Some(at) = line.find("\"params\":{\"original\":") {
            replace_between(&mut line, "\"params\":", "\"<");
            replace_between(&mut line, ">\"", ",\"retval\"");
            assert_eq!(&line[at..at + 12], "\"params\":*\"<");
            line = line.replace(":*\"<", ":\"<").replace(">\"*,", ">\",");
        }
        line
    };
    lines.iter().filter(inner).map(alike).collect()
}

fn check(format: &str) {
    let ours = logged_by(Server::start(install(format)));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/logs/{format}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, ours.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(ours, golden.lines().collect::<Vec<_>>(), "{format}");
    match Server::start_peer(install(format)) {
        Some(peer) => assert_eq!(comparable(&ours), comparable(&logged_by(peer)), "{format}"),
        None => skip("PEER_HARAKA does not name the real Haraka; compared with files only"),
    }
}

// covers LOG-01, LOG-02, LOG-05, LOG-06, LOG-10 … LOG-14, LOG-16, HOK-38, PA-26, PA-27
#[test]
fn every_line_of_a_session_is_haraka_s() {
    check("default");
}

// covers LOG-03
#[test]
fn every_line_of_a_session_is_haraka_s_in_logfmt() {
    check("logfmt");
}

// covers LOG-04
#[test]
fn every_line_of_a_session_is_haraka_s_in_json() {
    check("json");
    let lines =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs/json.txt"));
    for line in lines.unwrap().lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(&line.replace(":*", ":0"));
        assert!(parsed.is_ok(), "{line}");
    }
}

// covers LOG-17, KEY-36
#[test]
fn level_and_form_are_said_at_the_start_and_lines_begin_with_the_time_if_wanted() {
    let server = Server::start(install("default").config("log_timestamps", "true\n"));
    for part in [
        "Z [INFO] [-] [logger] loglevel: DATA",
        "Z [INFO] [-] [logger] log format: DEFAULT",
    ] {
        let line = server.wait_for_log(part, DEADLINE);
        assert_eq!(
            line.find('Z'),
            Some("2026-01-01T00:00:00.000".len()),
            "{line}"
        );
    }
}

/// A server whose standard output is ours.
struct Piped {
    child: Child,
    addr: SocketAddr,
    install: Install,
}

impl Piped {
    fn start() -> Piped {
        let addr = harness::port::reserve();
        let install = install("default").config("smtp.ini", &format!("listen={addr}\nnodes=0\n"));
        let child = Command::new(env!("CARGO_BIN_EXE_haraka"))
            .arg("-c")
            .arg(install.path())
            .env("TMPDIR", install.path().join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the server", || TcpStream::connect(addr).is_ok());
        Piped {
            child,
            addr,
            install,
        }
    }

    fn mail(&self) {
        dialogue(&mut SmtpClient::connect(self.addr));
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It lives as long as the server.
        let _ = self.install.path();
    }
}

// covers LOG-07, PB-54
#[test]
fn a_reader_that_does_not_read_holds_up_nothing_and_hears_how_much_it_missed() {
    let mut server = Piped::start();
    // Far more than a pipe and the lines that wait can hold.
    for _ in 0..150 {
        server.mail();
    }
    let mut out = server.child.stdout.take().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 65536];
    wait_for("what was missed", || {
        server.mail();
        let got = out.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..got]));
        text.contains(" lines were dropped, nobody reads fast enough\n")
    });
    // Nothing was cut in two.
    let whole = text.lines().filter(|l| !l.is_empty()).rev().skip(1);
    let odd: Vec<&str> = whole.filter(|l| !l.starts_with(['[', '2'])).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

// covers LOG-07, PB-54
#[test]
fn a_reader_that_has_gone_ends_the_log_and_not_the_server() {
    let mut server = Piped::start();
    server.mail();
    drop(server.child.stdout.take());
    for _ in 0..3 {
        server.mail();
    }
    assert!(server.child.try_wait().unwrap().is_none());
}

// covers LOG-07
#[test]
fn a_terminal_shows_levels_in_haraka_s_colours() {
    let install = install("default").plugins(&["rcpt_to.in_host_list"]);
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave = File::from(pty.slave);
    let mut child = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["-t", "all", "-c"])
        .arg(install.path())
        .stdin(Stdio::null())
        .stdout(slave)
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    // A terminal whose other end has closed is an error, not an end.
    let _ = File::from(pty.master).read_to_end(&mut text);
    assert!(child.wait().unwrap().success());
    let text = String::from_utf8(text).unwrap();
    for part in [
        "\x1b[36m[INFO] [-] [plugins] loading rcpt_to.in_host_list\x1b[39m\r\n",
        "\x1b[90m[DEBUG] ",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
