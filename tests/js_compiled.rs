//! Scripts are compiled once for all workers of a configuration: who uses that, who does not, and what a
//! plugin shows of itself either way.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::fs;
use std::time::{Duration, SystemTime};

use harness::scripts::{MESSAGE, install_with, send};
use harness::{DEADLINE, Install, Server, processes, wait_for};
use nix::sys::signal::Signal;

const SCRIPT: &str = "exports.hook_mail = function (next) {
    this.loginfo(`text ${exports.hook_mail}`.slice(0, 22))
    next()
    // Nobody waits for this one.
    null.length
}
";

/// Of each worker since the start: scripts that were compiled before, and by itself.
fn counts(server: &Server) -> Vec<(u32, u32)> {
    let lines = server.log_lines();
    let told = lines.iter().filter_map(|line| {
        let (before, after) = line.split_once(" were compiled before the start, ")?;
        let taken = before.rsplit(' ').next()?.parse().ok()?;
        Some((taken, after.split(' ').next()?.parse().ok()?))
    });
    told.collect()
}

fn wait_for_counts(server: &Server, workers: usize) -> Vec<(u32, u32)> {
    wait_for("workers that tell", || counts(server).len() >= workers);
    counts(server)
}

fn install(script: &str) -> Install {
    install_with(script).config("loglevel", "info\n")
}

/// Until the file of the plugin is so old that its code is kept.
fn let_it_age(install: &Install) {
    let file = install.path().join("plugins/mine.js");
    wait_for("an old file", || {
        let written = fs::metadata(&file).unwrap().modified().unwrap();
        SystemTime::now()
            .duration_since(written)
            .is_ok_and(|age| age > Duration::from_millis(3100))
    });
}

// covers PLG-16, PRO-05
#[test]
fn workers_take_what_was_compiled_before_the_start_until_a_file_changes() {
    let install = install(SCRIPT).config("smtp.ini", "listen=127.0.0.1:0\nnodes=2\n");
    let_it_age(&install);
    let server = Server::start(install);
    let first = wait_for_counts(&server, 2);
    assert!(first[0].0 > 20, "{first:?}");
    assert!(first.iter().all(|c| *c == (first[0].0, 0)), "{first:?}");
    // What the plugin shows of itself, and where it fails.
    send(&server, MESSAGE);
    server.wait_for_log("[mine] text function (next) {", DEADLINE);
    let fault = server.wait_for_log("[CRIT]", DEADLINE);
    let place = "plugins/mine.js:5:";
    assert!(
        fault.contains(place) && fault.contains("'length' of null"),
        "{fault}"
    );

    // A worker that takes the place of another runs the file as it is now.
    let changed = SCRIPT.replace("text", "News");
    server
        .install()
        .write("plugins/mine.js", changed.as_bytes());
    processes::send(server.wait_for_workers(2)[0], Signal::SIGKILL);
    let third = wait_for_counts(&server, 3)[2];
    assert_eq!(third, (first[0].0 - 1, 1));

    // The next configuration has its own.
    let_it_age(server.install());
    server.signal(Signal::SIGUSR2);
    let all = wait_for_counts(&server, 5);
    assert_eq!(all[3..], [first[0], first[0]]);
    server.wait_for_log("Reload complete", DEADLINE);
    send(&server, MESSAGE);
    server.wait_for_log("[mine] News function (next) {", DEADLINE);
}

#[test]
fn single_process_takes_it_as_well_but_no_file_that_was_written_just_now() {
    let install = install(SCRIPT).config("smtp.ini", "listen=127.0.0.1:0\nnodes=0\n");
    // It would not stay young for as long as a busy machine takes to start.
    let file = fs::File::options()
        .append(true)
        .open(install.path().join("plugins/mine.js"));
    let soon = SystemTime::now() + DEADLINE;
    file.unwrap().set_modified(soon).unwrap();
    let server = Server::start(install);
    let (taken, made) = wait_for_counts(&server, 1)[0];
    assert!(taken > 20 && made == 1, "{taken} taken, {made} compiled");
    send(&server, MESSAGE);
    server.wait_for_log("[mine] text function (next) {", DEADLINE);
}

/// A plugin could write to the memory file through `/proc` where it is open for that.
#[test]
fn plugins_cannot_change_what_workers_take() {
    let script = r#"
        const fs = require('fs')
        let stores = 0
        for (const fd of fs.readdirSync('/proc/self/fd')) {
            let name = ''
            try { name = fs.readlinkSync(`/proc/self/fd/${fd}`) } catch (err) { continue }
            if (!name.startsWith('/memfd:haraka-scripts')) continue
            stores += 1
            exports.outcome = 'written'
            try { fs.writeFileSync(`/proc/self/fd/${fd}`, 'x'.repeat(100), { flag: 'r+' }) } catch (err) { exports.outcome = err.code }
        }
        exports.hook_mail = function (next) {
            this.loginfo(`${stores} stores, ${exports.outcome}`)
            next()
        }"#;
    let server = Server::start(install(script));
    let (taken, _) = wait_for_counts(&server, 1)[0];
    assert!(taken > 20, "{taken} taken");
    send(&server, MESSAGE);
    server.wait_for_log("1 stores, EPERM", DEADLINE);
}
