//! What the queue costs on this machine: `spool_cost DIR commit` and `spool_cost DIR scan COUNT`.
//! The ratios in `docs/adr/0003-spool.md` come from here.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::{Duration, Instant};

use haraka_shared::address::Address;
use haraka_shared::spool::{
    Incarnation, NewItem, NewMessage, Ownership, PendingHeap, Spool, SpoolOptions, SyncWay,
};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let dir = Path::new(&args[1]);
    std::fs::create_dir_all(dir).unwrap();
    match args[2].as_str() {
        "commit" => commit(dir),
        _ => scan(dir, args[3].parse().unwrap()),
    }
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros as u64)
}

fn message() -> NewMessage {
    let address = |host: &str| Address::from_parts("someone", host).unwrap();
    NewMessage {
        uuid: "0D4F2C8B-0000-4000-8000-000000000001.1".into(),
        queue_time: 1_790_000_000_000,
        next_attempt: 1_790_000_000_000,
        mail_from: address("from.example"),
        items: vec![NewItem {
            domain: "one.example".into(),
            rcpt_to: vec![address("one.example").into()],
        }],
        notes: serde_json::json!({}),
        extra: serde_json::Map::new(),
        body: vec![b'x'; 4096].into(),
    }
}

fn commit(dir: &Path) {
    for sync in [SyncWay::PerFile, SyncWay::Auto] {
        for batch in [1, 2, 5, 20, 100] {
            let options = SpoolOptions {
                sync,
                ..SpoolOptions::default()
            };
            let spool = Spool::open(dir, options).unwrap();
            let (mut wall, mut used, mut rounds) = (Duration::ZERO, Duration::ZERO, 0);
            while wall < Duration::from_millis(500) {
                let messages = (0..batch).map(|_| message()).collect();
                let (begun, cpu_before) = (Instant::now(), cpu());
                let answers = spool.commit(messages);
                wall += begun.elapsed();
                used += cpu() - cpu_before;
                rounds += batch;
                for answer in answers {
                    spool.remove(&answer.unwrap().items[0]).unwrap();
                }
            }
            println!(
                "{sync:?} batch {batch:3}: {:6.0} messages/s, {:5.1} us CPU each",
                f64::from(rounds) / wall.as_secs_f64(),
                used.as_micros() as f64 / f64::from(rounds)
            );
        }
    }
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |key: &str| {
        status
            .lines()
            .find(|l| l.starts_with(key))
            .unwrap_or_default()
            .to_owned()
    };
    format!("{} {}", line("VmRSS"), line("VmHWM"))
}

fn scan(dir: &Path, count: u64) {
    let have = std::fs::read_dir(dir).unwrap().count() as u64;
    for n in have..count {
        let name = format!(
            "{}_{}_3_{}_{}_{}_mail.example.com",
            1_790_000_000_000 + n * 3,
            1_790_000_000_000 + (n * 7_919) % 100_000_000,
            1000 + n % 5,
            Incarnation::random(),
            n % 10_000
        );
        std::fs::File::create(dir.join(name)).unwrap();
    }
    let spool = Spool::open(dir, SpoolOptions::default()).unwrap();
    for nodes in [1, 2] {
        let view = Ownership::new(nodes, 0, spool.incarnation());
        let mut heap = PendingHeap::default();
        let (begun, cpu_before) = (Instant::now(), cpu());
        let report = spool.recover(&view, |name| heap.push(name)).unwrap();
        println!(
            "{nodes} nodes: {:?}, {:?} CPU, {} items in memory, {}\n{report:?}",
            begun.elapsed(),
            cpu() - cpu_before,
            heap.len(),
            resident()
        );
        let (begun, mut popped) = (Instant::now(), 0);
        while heap.pop_due(u64::MAX).is_some() {
            popped += 1;
        }
        println!("{popped} names given out in {:?}", begun.elapsed());
    }
}
