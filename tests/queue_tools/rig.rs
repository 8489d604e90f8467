//! Running the tools, and queues that wait.

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::harness::{Install, Server, port, wait_for};
use crate::relaying::{serials, submit_all, to_next_hop};
use serde_json::Value;

/// A server with this many items for a host that does not answer, serials `m-0` and so on.
pub fn with_deferred_on(count: usize, nodes: &str) -> (Server, SocketAddr) {
    let dead = port::reserve();
    let server = Server::start(to_next_hop(dead).set("smtp.ini", "main", "nodes", nodes));
    for part in serials("m", count).chunks(count.div_ceil(4)) {
        submit_all(&server, part);
    }
    wait_deferred(server.install(), count);
    (server, dead)
}

/// Waits until this many items were tried once.
#[track_caller]
pub fn wait_deferred(install: &Install, count: usize) {
    wait_for("all items to be put off", || {
        let files = install.queue_files();
        let tried = files.iter().filter(|f| f.split('_').nth(2) == Some("1"));
        tried.count() == count
    });
}

/// As `relaying::wait_empty`, with what the tools keep in the directory left out.
#[track_caller]
pub fn wait_empty_but_kept(install: &Install) {
    wait_for("no items in the queue directory", || {
        install.queue_files().iter().all(|f| f.starts_with('.'))
    });
}

/// Files of the queue with names that begin so.
pub fn starting(install: &Install, prefix: &str) -> usize {
    let files = install.queue_files();
    files.iter().filter(|f| f.starts_with(prefix)).count()
}

/// `haraka queue ARGS`, not run yet.
pub fn command(install: &Install, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haraka"));
    command
        .arg("queue")
        .args(args)
        .arg("-c")
        .arg(install.path());
    command
}

/// Runs `haraka queue ARGS`.
pub fn tool(install: &Install, args: &[&str]) -> Output {
    command(install, args).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a tool that must do all it is asked; gives what it prints.
#[track_caller]
pub fn done(install: &Install, args: &[&str]) -> String {
    let output = tool(install, args);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{args:?}: {:?}\n{}{}",
        output.status,
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

/// The items that `list` tells of.
#[track_caller]
pub fn list(install: &Install, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = ["list", "--json"].iter().chain(args).copied().collect();
    let text = done(install, &args);
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The number of a removal, from what `rm` says.
pub fn removal(said: &str) -> String {
    let (_, rest) = said.split_once("haraka queue undo ").expect(said);
    rest.split(' ').next().unwrap().to_owned()
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    haraka_shared::date::epoch_ms()
}
