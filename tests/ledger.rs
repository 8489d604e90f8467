//! The ledger of a running server: what operators see of it, and the alarm when somebody's hands were in the
//! queue directory. That it closes whatever dies is in `chaos.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::process::Command;
use std::time::{Duration, Instant};

use harness::server::Signal;
use harness::slow_calls::SlowCalls;
use harness::{DEADLINE, Rule, Server, Sink, Stage, poll_until, processes, wait_for};
use relaying::{numbered, submit, to_next_hop, wait_empty};
use serde_json::Value;

fn queue(server: &Server, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .arg("queue")
        .args(arguments)
        .arg("-c")
        .arg(server.install().path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn ledger(server: &Server) -> Value {
    let text = queue(server, &["stat", "--json"]);
    let mut first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    first["ledger"].take()
}

/// Waits until the numbers are these.
#[track_caller]
fn await_ledger(server: &Server, side: &str, numbers: &[(&str, u64)], queued: i64) -> Value {
    let right = poll_until(DEADLINE, || {
        let ledger = ledger(server);
        let all = numbers.iter().all(|(word, n)| ledger[side][word] == *n);
        (all && ledger["queued"] == queued && ledger["closes"] == true).then_some(ledger)
    });
    right.unwrap_or_else(|| panic!("not {numbers:?}, {queued}: {}", ledger(server)))
}

fn server(sink: &Sink) -> Server {
    let install = to_next_hop(sink.addr())
        .set("smtp.ini", "main", "nodes", "1")
        .set("outbound.ini", "main", "temp_fail_intervals", "1h*9");
    Server::start(install)
}

fn send(server: &Server, to: &str) {
    submit(server, "from@client.test", &[to], &numbered(to));
}

/// The queue files, once there are so many and each was put off.
#[track_caller]
fn put_off(server: &Server, many: usize) -> Vec<String> {
    let tried = |name: &String| name.split('_').nth(2) == Some("1");
    let files = poll_until(DEADLINE, || {
        let files = server.install().queue_files();
        (files.len() == many && files.iter().all(tried)).then_some(files)
    });
    files.unwrap_or_else(|| panic!("{:?}", server.install().queue_files()))
}

#[test]
fn items_are_in_the_ledger_wherever_operators_put_them_and_recipients_by_domain() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 later").containing("later"));
    sink.rule(Rule::reply(Stage::Rcpt, "550 5.1.1 nobody").containing("bad"));
    let server = server(&sink);
    send(&server, "good@one.test");
    send(&server, "bad@Two.test");
    // The report for it is an item, too.
    await_ledger(&server, "out", &[("delivered", 2), ("bounced", 1)], 0);
    for n in 0..4 {
        send(&server, &format!("later{n}@three.test"));
    }
    let names = put_off(&server, 4);
    queue(&server, &["hold", &names[0]]);
    queue(&server, &["rm", &names[1]]);
    await_ledger(&server, "out", &[("held", 1), ("removed", 1)], 2);
    queue(&server, &["release", &format!("hold_{}", names[0])]);
    await_ledger(&server, "in", &[("accepted", 7), ("returned", 1)], 3);
    queue(&server, &["bounce", &names[2]]);
    let ledger = await_ledger(&server, "out", &[("bounced", 2), ("delivered", 3)], 2);
    let rows = ledger["domains"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!(of("one.test")["delivered"], 1);
    assert_eq!(of("two.test")["bounced"], 1);
    assert_eq!(
        (&of("three.test")["accepted"], &of("three.test")["bounced"]),
        (&4.into(), &1.into())
    );
    assert!(
        of("three.test")["deferred"].as_u64().unwrap() >= 4,
        "{rows:?}"
    );
    assert!(!ledger["providers"].as_array().unwrap().is_empty());
    let text = queue(&server, &["stat"]);
    assert!(text.contains("since the start: came accepted"), "{text}");
    assert!(
        !server.log_text().contains("ledger: "),
        "{}",
        server.log_text()
    );
}

#[test]
fn item_that_fell_out_of_the_schedule_is_named_in_an_alarm_and_delivered() {
    let sink = Sink::start();
    sink.rule(
        Rule::reply(Stage::Rcpt, "451 4.3.0 later")
            .containing("later")
            .times(1),
    );
    let server = server(&sink);
    send(&server, "good@one.test");
    await_ledger(&server, "out", &[("delivered", 1)], 0);
    send(&server, "later@one.test");
    let file = put_off(&server, 1).remove(0);
    // The serial number of the first item, so that nobody in the server knows the file.
    let mut fields: Vec<&str> = file.split('_').collect();
    fields[5] = "0";
    let other = fields.join("_");
    let path = |name: &str| server.install().path().join("queue").join(name);
    std::fs::rename(path(&file), path(&other)).unwrap();
    server.signal(Signal::SIGHUP);
    let alarm = server.wait_for_log("ledger: drift", DEADLINE);
    assert!(
        alarm.contains("[ALERT]") && alarm.contains(&other),
        "{alarm}"
    );
    wait_for("its delivery", || {
        server.signal(Signal::SIGHUP);
        server.install().queue_files().is_empty()
    });
    let ledger = ledger(&server);
    assert_eq!(
        (&ledger["queued"], &ledger["drift"]),
        (&0.into(), &1.into()),
        "{ledger}"
    );
}

#[test]
fn item_that_somebody_took_away_is_missed_once() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 later"));
    let server = server(&sink);
    send(&server, "a@one.test");
    let file = put_off(&server, 1).remove(0);
    std::fs::remove_file(server.install().path().join("queue").join(&file)).unwrap();
    server.signal(Signal::SIGHUP);
    let alarm = server.wait_for_log("ledger: drift", DEADLINE);
    assert!(
        alarm.contains("in neither: 1") && alarm.contains(&file),
        "{alarm}"
    );
    let missed = poll_until(DEADLINE, || {
        Some(ledger(&server)).filter(|l| l["queued"] == 0)
    });
    let missed = missed.unwrap();
    assert_eq!(
        (&missed["out"]["missing"], &missed["drift"]),
        (&1.into(), &1.into())
    );
    wait_empty(server.install());
    assert_eq!(server.log_text().matches("ledger: ").count(), 1);
}

#[test]
fn item_of_a_dead_worker_that_nobody_finds_is_named() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 later"));
    let server = server(&sink);
    for n in 0..5 {
        send(&server, &format!("later{n}@one.test"));
    }
    let files = put_off(&server, 5);
    // Until its queue was found once, after a second, a server takes what it finds for all there is; a
    // look of the worker comes no earlier.
    let begun = Instant::now();
    wait_for("the first look at the queue", || {
        begun.elapsed() > Duration::from_secs(2) && ledger(&server)["closes"] == true
    });
    let Some(slow) = SlowCalls::of(
        server.pid(),
        "getdents64",
        std::time::Duration::from_secs(1),
    ) else {
        return;
    };
    let worker = server.wait_for_workers(1)[0];
    processes::send(worker, Signal::SIGKILL);
    for file in &files[1..3] {
        std::fs::remove_file(server.install().path().join("queue").join(file)).unwrap();
    }
    drop(slow);
    let alarm = server.wait_for_log("ledger: drift", DEADLINE);
    assert!(
        alarm.contains("[ALERT]") && alarm.contains("2 items of workers that died"),
        "{alarm}"
    );
    for (n, file) in files.iter().enumerate() {
        let fields: Vec<&str> = file.split('_').collect();
        let pattern = format!("*_{}_{}_*", fields[4], fields[5]);
        assert_eq!(
            alarm.contains(&pattern),
            (1..3).contains(&n),
            "{pattern}: {alarm}"
        );
    }
    // The next death is not about them again.
    let first = server.wait_for_workers(1);
    processes::send(first[0], Signal::SIGKILL);
    wait_for("another worker", || {
        let now = server.worker_pids();
        now.len() == 1 && now != first
    });
    let settled = poll_until(DEADLINE, || {
        Some(ledger(&server)).filter(|l| l["queued"] == 3 && l["estate"] == 0)
    });
    assert!(settled.is_some(), "{}", ledger(&server));
    assert_eq!(server.log_text().matches("ledger: drift").count(), 1);
}

#[test]
fn held_items_that_are_slowly_removed_are_no_drift() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 later").containing("later"));
    let server = server(&sink);
    for n in 0..10 {
        send(&server, &format!("later{n}@one.test"));
    }
    put_off(&server, 10);
    queue(&server, &["hold", "--all"]);
    let worker = server.wait_for_workers(1)[0];
    let each = Duration::from_millis(500);
    let Some(slow) = SlowCalls::of(worker, "rename,renameat,renameat2", each) else {
        return;
    };
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| queue(&server, &["rm", "--sender", "client.test"]));
        // Where nothing happens, nothing is checked.
        while !removal.is_finished() {
            send(&server, "meanwhile@far.test");
        }
        assert!(removal.join().unwrap().contains("10 items removed"));
    });
    drop(slow);
    await_ledger(&server, "out", &[("held", 10), ("removed", 0)], 0);
    let log = server.log_text();
    assert!(!log.contains("ledger: drift"), "{log}");
}
