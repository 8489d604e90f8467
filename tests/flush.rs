//! A flush of one domain while items of others are just being put off, or taken over: it is about that domain
//! only. What flushes reach is in `queue.rs` and `queue_tools.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::process::Command;
use std::time::Duration;

use harness::server::Signal;
use harness::slow_calls::SlowCalls;
use harness::{DEADLINE, Install, Rule, Server, Sink, Stage, poll_until, processes, wait_for};
use relaying::{numbered, submit, to_next_hop};

/// One worker; nobody is delivered to, and items are tried again after an hour.
fn putting_off(sink: &Sink) -> Install {
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 later"));
    to_next_hop(sink.addr())
        .set("smtp.ini", "main", "nodes", "1")
        .set("outbound.ini", "main", "temp_fail_intervals", "1h*9")
}

fn flush(server: &Server, domain: &str) {
    let ended = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["--qunstick", domain, "-c"])
        .arg(server.install().path())
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

fn send(server: &Server, domain: &str) {
    submit(
        server,
        "from@client.test",
        &[&format!("to@{domain}")],
        &numbered(domain),
    );
}

/// How often the sink was asked about this domain.
fn asked(sink: &Sink, domain: &str) -> usize {
    let lines = sink.lines();
    let about = |line: &String| line.starts_with("RCPT") && line.contains(domain);
    lines.iter().filter(|(_, line)| about(line)).count()
}

/// The numbers of attempts in the names of the queue files.
fn attempts(server: &Server) -> Vec<u32> {
    let files = server.install().queue_files();
    let number = |name: &String| name.split('_').nth(2)?.parse().ok();
    files.iter().filter_map(number).collect()
}

// covers OUT-15
#[test]
fn items_of_other_domains_that_are_just_being_put_off_wait_for_their_time() {
    let sink = Sink::start();
    let install = putting_off(&sink)
        .file(
            "plugins/slow.js",
            "exports.hook_deferred = (next) => { setTimeout(next, 1500) }",
        )
        .plugins(&["relay", "slow"]);
    let server = Server::start(install);
    for n in 0..20 {
        send(&server, &format!("other{n}.test"));
    }
    send(&server, "one.test");
    // Each is with the plugin then, and has no place in the schedule.
    wait_for("the ends of all attempts", || {
        server.log_text().matches("> deferred: ").count() == 21
    });
    flush(&server, "one.test");
    wait_for("the other attempt", || asked(&sink, "one.test") == 2);
    wait_for("all to be put off", || {
        let mut tried = attempts(&server);
        tried.sort_unstable();
        tried == [vec![1; 20], vec![2]].concat()
    });
    // One that was due now would be under way by the time that another message has come and gone.
    send(&server, "last.test");
    wait_for("an attempt of a later one", || {
        asked(&sink, "last.test") == 1
    });
    assert_eq!(asked(&sink, "other"), 20);
}

// covers OUT-15
#[test]
fn items_of_other_domains_wait_for_their_time_while_a_backlog_is_taken_over() {
    let sink = Sink::start();
    let server = Server::start(putting_off(&sink));
    for domain in ["one.test", "two.test"] {
        send(&server, domain);
    }
    wait_for("the first attempts", || attempts(&server) == [1, 1]);
    let Some(slow) = SlowCalls::of(server.pid(), "getdents64", Duration::from_secs(3)) else {
        return;
    };
    let first = server.wait_for_workers(1);
    processes::send(first[0], Signal::SIGKILL);
    wait_for("another worker", || {
        let now = server.worker_pids();
        now.len() == 1 && now != first
    });
    // The new worker reads the directory twice, some seconds for each call.
    let twice = || server.log_text().matches("queue taken over").count() > 1;
    wait_for("a worker that takes over", || {
        server.log_text().matches("worker 1 listening").count() == 2
    });
    assert!(!twice(), "the take-over was over before the flush");
    flush(&server, "one.test");
    assert!(!twice(), "the take-over was over before the flush");
    drop(slow);
    wait_for("the end of the take-over", twice);
    let second = poll_until(DEADLINE, || (asked(&sink, "one.test") == 2).then_some(()));
    assert!(second.is_some(), "{}", server.log_text());
    wait_for("it to be put off again", || {
        let mut tried = attempts(&server);
        tried.sort_unstable();
        tried == [1, 2]
    });
    send(&server, "last.test");
    wait_for("an attempt of a later one", || {
        asked(&sink, "last.test") == 1
    });
    assert_eq!(asked(&sink, "two.test"), 1);
}
