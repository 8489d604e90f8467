//! Logging in to the real program with the clients that people use, and `haraka passwd`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use harness::programs::run;
use harness::{Install, Server, Sink, greeted, skip, wait_for};
use relaying::{destinations, numbered};

const MECHANISMS: [&str; 3] = ["PLAIN", "LOGIN", "CRAM-MD5"];
const USERS: &str = "[core]\nmethods=PLAIN,LOGIN,CRAM-MD5\n[users]\nu@here.test=pass word\n";

/// An install directory where only who logs in may relay, to `next_hop`.
fn install(next_hop: &Sink) -> Install {
    let hops = destinations(&[("any", &next_hop.addr().to_string())]);
    Install::new()
        .plugins(&["auth/flat_file", "relay"])
        .config("relay.ini", "[relay]\nacl=false\nforce_routing=true\n")
        .config("relay_dest_domains.ini", &hops)
        .config("auth_flat_file.ini", USERS)
}

fn swaks(port: &str, mechanism: &str, password: &str) -> Option<Output> {
    let server = format!("127.0.0.1:{port}");
    let args = [
        "--server",
        &server,
        "--auth",
        mechanism,
        "--auth-user",
        "u@here.test",
        "--auth-password",
        password,
        "--from",
        "a@client.test",
        "--to",
        "b@far.test",
    ];
    run("swaks", &args, "")
}

/// Python's smtplib, made to use one mechanism.
const SMTPLIB: &str = "
import smtplib, sys
port, mechanism, password = sys.argv[1:]
c = smtplib.SMTP('127.0.0.1', int(port))
c.ehlo()
c.esmtp_features['auth'] = mechanism
c.login('u@here.test', password)
c.sendmail('a@client.test', ['b@far.test'], sys.stdin.read())
c.quit()
";

fn smtplib(port: &str, mechanism: &str, password: &str) -> Option<Output> {
    let args = ["-c", SMTPLIB, port, mechanism, password];
    run("python3", &args, "Subject: x\r\n\r\ny\r\n")
}

fn msmtp(port: &str, mechanism: &str, password: &str) -> Option<Output> {
    let port = format!("--port={port}");
    let auth = format!("--auth={}", mechanism.to_lowercase());
    let password = format!("--passwordeval=echo '{password}'");
    let args = [
        "--host=127.0.0.1",
        &port,
        &auth,
        "--user=u@here.test",
        &password,
        "--tls=off",
        "--from=a@client.test",
        "b@far.test",
    ];
    run("msmtp", &args, "Subject: x\r\n\r\ny\r\n")
}

type Client = fn(&str, &str, &str) -> Option<Output>;

fn every_mechanism_of(name: &str, run: Client) {
    let sink = Sink::start();
    let server = Server::start(install(&sink));
    let port = server.addr().port().to_string();
    for (n, mechanism) in MECHANISMS.iter().enumerate() {
        let Some(output) = run(&port, mechanism, "pass word") else {
            return skip(&format!("{name} is not installed"));
        };
        assert!(output.status.success(), "{mechanism}: {output:?}");
        let message = sink.wait_accepted(n + 1)[n].text();
        assert!(message.contains(" with ESMTPA id "), "{message}");
        assert!(message.contains("(authenticated bits=0);"), "{message}");
        let result = format!("auth=pass ({})", mechanism.to_lowercase());
        assert!(message.contains(&result), "{message}");
        let output = run(&port, mechanism, "guess").unwrap();
        assert!(!output.status.success(), "{mechanism}: {output:?}");
    }
    assert_eq!(sink.accepted().len(), MECHANISMS.len());
    let log = server.log_text();
    for secret in ["pass word", "cGFzcyB3b3Jk", "guess"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

// covers AUT-01, AUT-02, AUT-03, AUT-04, AUT-05, AUT-06, PA-28
#[test]
fn swaks_logs_in_and_relays() {
    every_mechanism_of("swaks", swaks);
}

// covers AUT-01, AUT-02, AUT-03, AUT-04, AUT-05, AUT-06
#[test]
fn python_logs_in_and_relays() {
    every_mechanism_of("python3", smtplib);
}

// covers AUT-01, AUT-02, AUT-03, AUT-04, AUT-05, AUT-06
#[test]
fn msmtp_logs_in_and_relays() {
    every_mechanism_of("msmtp", msmtp);
}

fn passwd(install: &Path, user: &str, input: &str) -> Output {
    let dir = install.to_str().unwrap();
    let args = ["passwd", "-c", dir, user];
    run(env!("CARGO_BIN_EXE_haraka"), &args, input).unwrap()
}

// covers PB-04
#[test]
fn password_that_is_set_counts_at_once_and_the_file_keeps_the_rest() {
    let sink = Sink::start();
    let before = "; ours\n[core]\nmethods=PLAIN\n\n[users]\n# the old one\nv=clear\n";
    let server = Server::start(install(&sink).config("auth_flat_file.ini", before));
    let dir = server.install().path().to_owned();
    let log_in = |user: &str, password: &str| {
        let mut c = greeted(&server);
        c.cmd(&format!("AUTH PLAIN {}", response(user, password)))
            .code
    };
    assert_eq!(log_in("w@here.test", "new"), 535);
    let done = passwd(&dir, "w@here.test", "new\n");
    assert!(done.status.success(), "{done:?}");
    wait_for("the new user to be known", || {
        log_in("w@here.test", "new") == 235
    });
    assert_eq!(log_in("v", "clear"), 235);
    passwd(&dir, "w@here.test", "newer");
    wait_for("the newer password to count", || {
        log_in("w@here.test", "newer") == 235
    });
    let text = std::fs::read_to_string(dir.join("config/auth_flat_file.ini")).unwrap();
    assert!(text.starts_with(before), "{text}");
    assert_eq!(text.matches("w@here.test=$argon2id$").count(), 1, "{text}");
    assert!(!text.contains("new"), "{text}");
}

#[test]
fn passwd_makes_a_file_for_the_owner_alone_and_says_what_is_wrong() {
    let install = Install::new();
    let file = install.path().join("config/auth_flat_file.ini");
    for (user, input, complaint) in [
        ("a b", "x\n", "a user's name is"),
        ("u", "", "no password was given"),
        ("u", "\n", "no password was given"),
    ] {
        let output = passwd(install.path(), user, input);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(complaint), "{said}");
        assert!(!file.exists());
    }
    let output = passwd(install.path(), "u", "secret\r\n");
    assert!(output.status.success(), "{output:?}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let server = Server::start(install.plugins(&["auth/flat_file"]));
    let mut c = server.client();
    assert!(c.ehlo("client.test").offers("AUTH"));
    c.cmd(&format!("AUTH PLAIN {}", response("u", "secret")))
        .expect(235);
}

// covers AUT-05
#[test]
fn a_message_without_login_is_not_marked() {
    let sink = Sink::start();
    let server = Server::start(
        install(&sink)
            .plugins(&["auth/flat_file", "relay"])
            .config("relay.ini", "[relay]\nall=true\nacl=false\n"),
    );
    relaying::submit(&server, "a@client.test", &["b@far.test"], &numbered("1"));
    let message = sink.wait_accepted(1)[0].text();
    assert!(message.contains(" with ESMTP id "), "{message}");
    assert!(!message.contains("authenticated"), "{message}");
}

/// A mechanism of a script's own.
const SCRIPT: &str = r#"
exports.hook_unrecognized_command = function (next, connection, params) {
    if (connection.notes.asked) {
        connection.notes.asked = false
        const right = params[0] === 'RCpT'
        if (right) connection.authheader = '(by script)\n'
        return connection.respond(right ? 235 : 535, 'done', () => next(OK))
    }
    if (params[0] !== 'AUTH') return next()
    connection.notes.asked = true
    connection.respond(334, 'what', () => next(OK))
}
"#;

// covers AUT-05, PB-05, LOG-16
#[test]
fn a_script_asks_for_a_response_and_marks_the_message() {
    let server = Server::start(Install::new().file("plugins/mine.js", SCRIPT).plugins(&[
        "mine",
        "rcpt_to.in_host_list",
        "queue/test",
    ]));
    let mut c = greeted(&server);
    c.cmd("AUTH X").expect(334);
    c.cmd("MAIL FROM:<a@b.test>").expect(535);
    c.cmd("AUTH X").expect(334);
    c.cmd("RCpT").expect(235);
    c.send_mail("a@b.test", &["c@here.test"], &numbered("1"))
        .expect(250);
    let stored = server.install().stored();
    let message = String::from_utf8_lossy(&stored[0]);
    assert!(message.contains(" with ESMTPA id "), "{message}");
    assert!(message.contains(" (by script);"), "{message}");
    assert!(!server.log_text().contains("RCpT"));
}

/// The response of PLAIN in base64.
fn response(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("\0{user}\0{password}");
    text.as_bytes()
        .chunks(3)
        .flat_map(|three| {
            let at = |n: usize| three.get(n).map_or(0, |b| u32::from(*b));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            let digit = move |shift: u32| char::from(DIGITS[(bits >> shift & 63) as usize]);
            [digit(18), digit(12), digit(6), digit(0)]
                .into_iter()
                .take(three.len() + 1)
        })
        .collect()
}
