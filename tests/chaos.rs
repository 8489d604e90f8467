//! Mail to fifty domains, half of which make trouble by a script, while workers and masters are killed,
//! deferred mail is flushed, settings change and operators use their tools: every recipient gets exactly
//! what its server gave, and the ledger closes.
//!
//! `CHAOS_N` messages, a few hundred by default; `make chaos` runs ten thousand. `CHAOS_SEED` repeats the
//! order of the trouble, though not its moments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;
mod relaying;

#[path = "chaos/hosts.rs"]
mod hosts;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/trouble.rs"]
mod trouble;
#[path = "chaos/verdict.rs"]
mod verdict;

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::Server;
use hosts::Hosts;
use load::Load;
use serde_json::Value;
use trouble::Trouble;
use verdict::{Seen, Told};

const CLIENTS: usize = 8;

/// What must have happened in a long run.
const DEEDS: [&str; 10] = [
    "flushes",
    "graceful: done",
    "hold: items",
    "masters killed",
    "release: items",
    "resume: done",
    "retry: items",
    "rm: items",
    "undo: items",
    "workers killed",
];

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn sum(side: &Value) -> u64 {
    let numbers = side.as_object().unwrap().values();
    numbers.filter_map(Value::as_u64).sum()
}

/// Messages from which on chance leaves no rule of a host unused.
const ENOUGH: usize = 2000;

#[test]
fn every_recipient_gets_what_its_server_gave_and_the_ledger_closes_whatever_dies() {
    let messages = from_environment("CHAOS_N").unwrap_or(400);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = from_environment("CHAOS_SEED").unwrap_or(clock.subsec_nanos() as usize);
    println!("CHAOS_N={messages} CHAOS_SEED={seed}");
    let hosts = Hosts::for_messages(messages);
    let mut server = Server::start(trouble::install(&hosts));
    let load = Load::new(server.addr(), messages);
    let mut trouble = Trouble::new(&mut server, &load, seed as u64);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load.run());
        }
        trouble.go_on(messages, 1 + messages / 3000);
    });
    let left = trouble.calm(Duration::from_secs(300));
    assert!(left.is_empty(), "{} files left: {left:?}", left.len());
    // Whoever died last has been inherited from, and the check of each second has been made.
    let ledger = trouble.await_closed(Duration::from_secs(30));
    let done = trouble.done.clone();
    std::thread::sleep(Duration::from_millis(2500)); // two more checks

    let log = std::fs::read(server.install().path().join("server.log")).unwrap();
    let log = String::from_utf8_lossy(&log);
    let alarms: Vec<_> = log.lines().filter(|l| l.contains("ledger: ")).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
    assert_eq!(ledger["queued"], 0, "{ledger}");
    assert_eq!(sum(&ledger["in"]), sum(&ledger["out"]), "{ledger}");
    assert!(!log.contains("[CRIT]") || log.contains("the master is gone"));

    hosts.assert_every_rule_acted(messages < ENOUGH);
    if messages >= 2000 {
        for deed in DEEDS {
            assert!(done.contains_key(deed), "{deed}: never; {done:?}");
        }
    }
    verdict::assert_whole(&hosts);
    let told = Told::of(&log);
    let accepted: HashSet<usize> = load.accepted().into_iter().collect();
    let tally = Seen::at(&hosts).judge(load.tries(), &accepted, &told);
    println!(
        "{} accepted in {} tries: {tally:?}, {} items named as in doubt; {done:?}; in {} out {}",
        load.done(),
        load.tries(),
        told.doubtful.len(),
        ledger["in"],
        ledger["out"],
    );
}
