//! Equipment of the end-to-end tests: a running server in an install directory of its own, a client that
//! speaks SMTP by hand, a DNS server and a mail sink whose behaviour the test decides.
//! Every wait here is a condition with a deadline; nothing sleeps in the hope that something has happened.
//! Never reaches a network outside the loopback interface.

// Each test program includes the whole folder and uses its own part of it.
#![allow(dead_code, unused_imports, unreachable_pub)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

pub mod client;
pub mod counting;
pub mod dns;
pub mod install;
pub mod pki;
pub mod policy_web;
pub mod port;
pub mod processes;
pub mod programs;
pub mod redis;
pub mod scripts;
pub mod secured;
pub mod server;
pub mod sink;
pub mod sink_rules;
pub mod slow_calls;
pub mod transcript;
pub mod unread;

pub use client::{Reply, SmtpClient};
pub use counting::CountingSink;
pub use dns::{FakeDns, RecordType};
pub use install::Install;
pub use pki::Authority;
pub use policy_web::PolicyWeb;
pub use redis::Redis;
pub use server::Server;
pub use sink::{Answer, Message, Sink};
pub use sink_rules::{Rule, Stage};

use std::io::Write;
use std::time::{Duration, Instant};

/// How long a test waits for something that should be there at once; generous, as machines stall.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks `condition` until it answers `Some`, at most `limit` long; `None` when the time is over.
pub fn poll_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds; fails the test, naming `what`, when it does not within [`DEADLINE`].
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    if poll_until(DEADLINE, || condition().then_some(())).is_none() {
        panic!("waited {DEADLINE:?} in vain for: {what}");
    }
}

/// A client that has said EHLO.
#[track_caller]
pub fn greeted(server: &Server) -> SmtpClient {
    let mut client = server.client();
    client.ehlo("client.test");
    client
}

/// Reports on the terminal, past the capture of test output, that a test was skipped and why. Under
/// `CI=true` a skip is a failure: the machine there is meant to have everything.
#[track_caller]
pub fn skip(reason: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "skipped under CI: {reason}"
    );
    let name = std::thread::current()
        .name()
        .unwrap_or("a test")
        .to_string();
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
