//! One encoded sample of every frame is kept as data: a change of the encoding shows as a changed
//! file, never as a worker that misreads its master. `UPDATE=1 cargo test` rewrites the files.

#![allow(clippy::unwrap_used)] // a failure of a test is a panic

use std::fmt::{Debug, Write as _};
use std::path::PathBuf;

use haraka_shared::ipc::{Decoder, TicketKey, ToMaster, ToWorker, encode};
use haraka_shared::queue_order::{Order, Outcome, Verb};
use haraka_shared::usage::Usage;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(file: &str, values: &[(&str, T)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ipc")
        .join(file);
    let mut now = String::new();
    for (name, value) in values {
        let frame = encode(value).unwrap();
        let mut decoder = Decoder::<T>::new();
        decoder.push(&frame);
        assert_eq!(
            decoder.next().unwrap().as_ref(),
            Some(value),
            "{name} does not come back"
        );
        let hex = frame.iter().fold(String::new(), |mut s, b| {
            write!(s, "{b:02x}").unwrap();
            s
        });
        writeln!(now, "{name} {hex}").unwrap();
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        now, then,
        "the encoding changed: raise PROTOCOL, then UPDATE=1"
    );
}

#[test]
fn frames_to_a_worker_are_encoded_as_recorded() {
    check(
        "to_worker.golden",
        &[
            (
                "Hello",
                ToWorker::Hello {
                    protocol: 5,
                    build: "0.1.0".to_owned(),
                },
            ),
            (
                "OwnQueue",
                ToWorker::OwnQueue {
                    nodes: 2,
                    slot: 1,
                    incarnations: vec![("aB3dEf".to_owned(), 0), ("Zz9yXw".to_owned(), 1)],
                },
            ),
            ("Flush-all", ToWorker::Flush { domain: None }),
            (
                "Flush-domain",
                ToWorker::Flush {
                    domain: Some("example.com".to_owned()),
                },
            ),
            (
                "Drain",
                ToWorker::Drain {
                    deadline_ms: 30_000,
                },
            ),
            ("Stop", ToWorker::Stop),
            ("ReopenLog", ToWorker::ReopenLog),
            ("QueueStats", ToWorker::QueueStats { request: 7 }),
            ("Usage", ToWorker::Usage { request: 7 }),
            (
                "Order",
                ToWorker::Order {
                    request: 8,
                    order: Order {
                        verb: Verb::Remove { at: 9 },
                        names: vec!["1_2_3_4_aB3dEf_5_mx".to_owned()],
                    },
                },
            ),
            ("Suspensions", ToWorker::Suspensions),
            (
                "TicketKeys",
                ToWorker::TicketKeys {
                    keys: vec![TicketKey {
                        id: [1; 16],
                        secret: [2; 32],
                    }],
                },
            ),
        ],
    );
}

#[test]
fn frames_to_the_master_are_encoded_as_recorded() {
    check(
        "to_master.golden",
        &[
            (
                "Hello",
                ToMaster::Hello {
                    protocol: 5,
                    build: "0.1.0".to_owned(),
                },
            ),
            ("Ready", ToMaster::Ready { pid: 4242 }),
            (
                "Failed",
                ToMaster::Failed {
                    reason: "plugin tls: no key".to_owned(),
                },
            ),
            (
                "Stats",
                ToMaster::Stats {
                    request: 7,
                    in_progress: 1,
                    pending_delivery: 300,
                    deferred: 70_000,
                },
            ),
            (
                "Usage",
                ToMaster::Usage {
                    request: 7,
                    rows: vec![Usage {
                        name: "big".to_owned(),
                        connections: 3,
                        most: Some(20),
                        rate: Some((100, 60_000)),
                        share: 50,
                        suspended: None,
                        paced: Some(5),
                        today: Some((7, 50)),
                        waiting: 2,
                        why: Some("busy".to_owned()),
                    }],
                },
            ),
            (
                "OrderDone",
                ToMaster::OrderDone {
                    request: 8,
                    outcomes: vec![(0, Outcome::Done), (2, Outcome::Failed("disk".to_owned()))],
                },
            ),
            ("Drained", ToMaster::Drained),
            (
                "FlushQueue",
                ToMaster::FlushQueue {
                    domain: Some("example.com".to_owned()),
                },
            ),
            ("GracefulRestart", ToMaster::GracefulRestart),
            ("Successor", ToMaster::Successor),
        ],
    );
}
