//! A worker dies while it takes an import in: the items are counted once and delivered once, whatever the
//! moment. What an import does otherwise is in `queue_tools/transfer.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::server::Signal;
use harness::slow_calls::SlowCalls;
use harness::{Install, Server, Sink, processes, wait_for};
use relaying::{numbered, serials, submit, to_next_hop};
use serde_json::Value;

fn queue(install: &Install) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haraka"));
    command.args(["queue", "-c"]).arg(install.path());
    command
}

/// Fills a directory with queue files.
fn exported(sent: &[String]) -> (Install, PathBuf) {
    let nobody = Sink::start();
    let mut server =
        Server::start(to_next_hop(nobody.addr()).set("outbound.ini", "main", "disabled", "true"));
    for serial in sent {
        submit(
            &server,
            "from@client.test",
            &["to@far.test"],
            &numbered(serial),
        );
    }
    server.stop();
    let install = server.into_install();
    let path = install.path().join("queue");
    (install, path)
}

fn import(server: &Server, from: &Path) -> Child {
    let mut command = queue(server.install());
    let command = command.arg("import").arg(from).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn staged(server: &Server) -> usize {
    let files = server.install().queue_files();
    files.iter().filter(|f| f.starts_with("import_")).count()
}

fn items(server: &Server) -> usize {
    let files = server.install().queue_files();
    files.iter().filter(|f| f.starts_with('1')).count()
}

fn ledger(server: &Server) -> Value {
    let output = queue(server.install()).args(["stat", "--json"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut stat: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    stat["ledger"].take()
}

/// Kills the worker when `now` says so, while these calls take a while.
fn killed_during(calls: &str, now: impl Fn(&Server) -> bool) {
    let sent = serials("moved", 5);
    let (_source, from) = exported(&sent);
    let sink = Sink::start();
    let server = Server::start(to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "1"));
    server.wait_for_log("queue taken over", Duration::from_secs(20));
    let worker = server.wait_for_workers(1)[0];
    let Some(slow) = SlowCalls::of(worker, calls, Duration::from_secs(1)) else {
        return;
    };
    let mut tool = import(&server, &from);
    wait_for("the moment to kill", || now(&server));
    processes::send(worker, Signal::SIGKILL);
    drop(slow);
    assert!(tool.wait().unwrap().success());
    sink.wait_accepted(5);
    wait_for("all items to be delivered", || {
        server.install().queue_files() == [".import.lock"]
    });
    wait_for("the ledger to close", || {
        let ledger = ledger(&server);
        let log = server.log_text();
        assert!(!log.contains("ledger: "), "{ledger} {log}");
        // Estates are looked at twice before anybody is alarmed.
        ledger["closes"] == true && ledger["in"]["returned"] == 5 && ledger["queued"] == 0
    });
    sink.assert_each_once(&sent);
}

#[test]
fn import_whose_worker_dies_between_renames_and_count_is_counted_once() {
    killed_during("fsync", |server| items(server) == 5 && staged(server) == 0);
}

#[test]
fn import_whose_worker_dies_between_two_renames_is_counted_once() {
    killed_during("rename,renameat,renameat2", |server| {
        items(server) > 0 && staged(server) > 0
    });
}
