//! Local trouble in the middle of taking over and of writing down, and what comes of it: nothing is stuck, and
//! what may come twice is named.

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
use harness::{DEADLINE, FakeDns, Install, Rule, Server, Sink, Stage, processes, wait_for};
use relaying::{numbered, submit, to_next_hop, wait_empty};

fn one_worker(sink: &Sink) -> Install {
    to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "1")
}

fn kill_worker(server: &Server) {
    let first = server.wait_for_workers(1);
    processes::send(first[0], Signal::SIGKILL);
    wait_for("another worker", || {
        let now = server.worker_pids();
        now.len() == 1 && now != first
    });
}

// covers PB-21
#[test]
fn item_that_is_held_when_its_worker_dies_is_named_in_doubt() {
    let sink = Sink::start();
    sink.rule(
        Rule::reply(Stage::Rcpt, "451 4.3.0 later")
            .containing("later")
            .times(1),
    );
    let server = Server::start(one_worker(&sink));
    let worker = server.wait_for_workers(1)[0];
    let Some(failing) = SlowCalls::failing(worker, "link,linkat", "EIO") else {
        return;
    };
    let to = ["now@far.test", "later@far.test"];
    submit(&server, "from@client.test", &to, &numbered("held"));
    server.wait_for_log("could not be updated", DEADLINE);
    // What is under way has come to its end when another message has come and gone.
    submit(
        &server,
        "from@client.test",
        &["other@far.test"],
        &numbered("other"),
    );
    sink.wait_accepted(2);
    let mut left = Vec::new();
    wait_for("one item left in the queue", || {
        left = server.install().queue_files();
        left.len() == 1
    });
    let file = left.remove(0);
    kill_worker(&server);
    drop(failing);
    wait_for("the other recipient's message", || {
        sink.accepted()
            .iter()
            .filter(|m| m.serial() == "held")
            .count()
            == 2
    });
    // The name has the number of attempts in it, which may differ; what comes after it is the item's own.
    let (_, own) = file.split_once("_0_").unwrap();
    wait_for("the item that is named in doubt", || {
        let lines = server.log_lines();
        lines
            .iter()
            .any(|line| line.contains("in doubt file=") && line.contains(own))
    });
    wait_empty(server.install());
}

// covers PB-25
#[test]
fn backlog_that_cannot_be_read_at_first_is_taken_over_later() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.3.0 later").times(1));
    let server = Server::start(one_worker(&sink));
    submit(
        &server,
        "from@client.test",
        &["a@far.test"],
        &numbered("late"),
    );
    wait_for("its first attempt", || {
        let files = server.install().queue_files();
        files.iter().any(|f| f.split('_').nth(2) == Some("1"))
    });
    let Some(failing) = SlowCalls::failing(server.pid(), "getdents64", "EIO") else {
        return;
    };
    kill_worker(&server);
    server.wait_for_log("queue not taken over", DEADLINE);
    drop(failing);
    wait_for("its delivery", || {
        server.signal(Signal::SIGHUP);
        !sink.accepted().is_empty()
    });
    wait_empty(server.install());
    sink.assert_each_once(&["late"]);
}

#[test]
fn suspension_that_ends_while_its_provider_is_looked_up_holds_nothing_back() {
    let Some(sink) = harness::CountingSink::on_port_25(&["127.26.8.1"]) else {
        return;
    };
    let dns = FakeDns::start();
    dns.mx("far.test", &[(10, "mx.host.test")]);
    dns.address("mx.host.test", "127.26.8.1");
    dns.late("far.test", Duration::from_millis(2500));
    let install = relaying::by_dns(&dns).set("smtp.ini", "main", "nodes", "1");
    let server = Server::start(install);
    let suspended = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args([
            "queue",
            "suspend",
            "--provider",
            "host.test",
            "--for",
            "2s",
            "-c",
        ])
        .arg(server.install().path())
        .output()
        .unwrap();
    assert!(suspended.status.success(), "{suspended:?}");
    server.wait_for_log("suspended: ", DEADLINE);
    submit(
        &server,
        "from@client.test",
        &["a@far.test"],
        &numbered("waits"),
    );
    sink.wait_taken(1, DEADLINE);
    wait_empty_but_suspensions(server.install());
}

fn wait_empty_but_suspensions(install: &Install) {
    wait_for("an empty queue", || {
        let files = install.queue_files();
        files.iter().all(|name| name.starts_with('.'))
    });
}
