//! The whole program under signals and sudden deaths, with real workers. What needs workers that
//! misbehave is in `master/tests/supervision`. The table is `docs/signals.md`.

// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Instant;

use harness::server::Signal;
use harness::{DEADLINE, Install, Server, SmtpClient, greeted, processes, wait_for};

fn haraka(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_haraka");
    Command::new(program).args(args).output().unwrap()
}

fn set_of(pids: Vec<i32>) -> BTreeSet<i32> {
    pids.into_iter().collect()
}

fn two_workers() -> Install {
    Install::new().set("smtp.ini", "main", "nodes", "2")
}

// covers CLI-01, CLI-03, CLI-17
#[test]
fn version_and_usage_are_printed_and_nonsense_is_an_error() {
    let version = haraka(&["-v"]);
    let wanted = format!("Haraka — Version: {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), wanted);
    assert!(haraka(&["-h"]).stdout.starts_with(b"Haraka: "));
    for args in [&[][..], &["--nonsense"]] {
        let output = haraka(args);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("Error: Undefined or erroneous arguments"),
            "{said}"
        );
    }
}

// covers CLI-15, CLI-14
#[test]
fn an_installed_directory_serves() {
    let install = Install::new();
    let dir = install.path().join("installed");
    let output = haraka(&["-i", dir.to_str().unwrap()]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains(&format!(
            "create: {}",
            dir.join("config/smtp.ini").display()
        )),
        "{said}"
    );
    // As it is, but for a port that anybody may bind.
    for entry in std::fs::read_dir(dir.join("config")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("config/{}", entry.file_name().to_str().unwrap());
        install.write(&name, &std::fs::read(entry.path()).unwrap());
    }
    let install = install.set("smtp.ini", "main", "listen", "127.0.0.1:0");
    let server = Server::start(install);
    greeted(&server).cmd("QUIT").expect(221);
}

// covers CLI-06, CLI-07
#[test]
fn the_queue_is_listed_without_a_server() {
    let install = Install::new();
    let dir = install.path().to_str().unwrap();
    let stat = haraka(&["--qstat", "-c", dir]);
    let wanted = format!("queue_dir: '{dir}/queue'");
    assert!(String::from_utf8(stat.stdout).unwrap().contains(&wanted));
    let list = haraka(&["--qlist", "-c", dir]);
    assert!(list.status.success() && list.stdout.is_empty());
    let missing = haraka(&["--qlist"]);
    assert!(!missing.status.success());
}

// covers PB-27, PRC-11
#[test]
fn term_tells_clients_and_ends_with_success() {
    let mut server = Server::start(two_workers());
    let mut client = greeted(&server);
    server.signal(Signal::SIGTERM);
    client.reply().expect(421);
    client.expect_close();
    assert!(server.wait_exit().success());
}

// covers PRC-16, KEY-10, PRC-14
#[test]
fn a_graceful_stop_lets_a_session_finish_its_mail() {
    let install = two_workers().set("smtp.ini", "main", "graceful_shutdown", "true");
    let mut server = Server::start(install);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@example.com>").expect(250);
    server.signal(Signal::SIGTERM);
    server.wait_for_log("Shutting down.", DEADLINE);
    wait_for("listeners to close", || {
        TcpStream::connect(server.addr()).is_err()
    });
    client.cmd("RCPT TO:<b@here.test>").expect(250);
    client.data("Subject: last\r\n\r\nwords\r\n").expect(250);
    // The mail was the last thing that the worker waited for.
    client.reply().expect(421);
    client.expect_close();
    assert!(server.wait_exit().success());
    assert_eq!(server.install().stored().len(), 1);
}

// covers PRC-17, PB-45
#[test]
fn a_graceful_restart_keeps_open_sessions_and_loses_no_connection() {
    let server = Server::start(two_workers());
    let old = set_of(server.wait_for_workers(2));
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@example.com>").expect(250);
    server.signal(Signal::SIGUSR2);
    let addr: SocketAddr = server.addr();
    let until = Instant::now() + DEADLINE;
    let mut ignored = 0;
    // Connections are answered at every moment of the change.
    while !server.log_text().contains("Reload complete") {
        assert!(Instant::now() < until, "{}", server.log_text());
        // A master whose workers have not all begun ignores the signal, and says so.
        let said = server.log_text().matches("ignoring request").count();
        if said > ignored {
            ignored = said;
            server.signal(Signal::SIGUSR2);
        }
        let mut other = SmtpClient::connect(addr);
        other.reply().expect(220);
        // An old worker that drains may part with a session between two commands.
        assert!(matches!(other.cmd("QUIT").code, 221 | 421));
    }
    client.cmd("RCPT TO:<b@here.test>").expect(250);
    client.data("Subject: kept\r\n\r\nx\r\n").expect(250);
    // The mail was the last thing that the worker waited for.
    client.reply().expect(421);
    client.expect_close();
    wait_for("only new workers", || {
        let now = set_of(server.worker_pids());
        now.len() == 2 && now.is_disjoint(&old)
    });
    greeted(&server).quit();
}

// covers PRC-04
#[test]
fn a_killed_worker_is_replaced_and_the_other_goes_on() {
    let server = Server::start(two_workers());
    let workers = server.wait_for_workers(2);
    // A session with each worker.
    let mut clients: Vec<SmtpClient> = (0..8).map(|_| greeted(&server)).collect();
    processes::send(workers[0], Signal::SIGKILL);
    server.wait_for_log("killed by signal SIGKILL", DEADLINE);
    wait_for("replacement", || {
        let now = server.worker_pids();
        now.len() == 2 && !now.contains(&workers[0])
    });
    let alive = clients
        .iter_mut()
        .filter_map(|c| {
            c.try_send(b"NOOP\r\n")
                .ok()
                .and_then(|()| c.try_reply().ok().flatten())
        })
        .count();
    assert!(alive < 8, "none of the sessions was the dead worker's");
    for _ in 0..8 {
        greeted(&server).quit();
    }
}

// covers PRC-04
#[cfg(target_os = "linux")]
#[test]
fn a_worker_is_replaced_though_the_signal_of_its_death_is_lost() {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    let server = Server::start(two_workers());
    let workers = server.wait_for_workers(2);
    for number in 1..=2 {
        server.wait_for_log(&format!("worker {number} listening on"), DEADLINE);
    }
    let master = Pid::from_raw(server.pid());
    // What a tracer does that is killed at the wrong moment.
    if let Err(e) = ptrace::seize(master, ptrace::Options::empty()) {
        harness::skip(&format!("tracing is not allowed here: {e}"));
        return;
    }
    processes::send(workers[0], Signal::SIGKILL);
    assert_eq!(
        waitpid(master, None).unwrap(),
        WaitStatus::Stopped(master, Signal::SIGCHLD)
    );
    ptrace::detach(master, None).unwrap();
    server.wait_for_log("killed by signal SIGKILL", DEADLINE);
    wait_for("another worker", || {
        let now = server.worker_pids();
        now.len() == 2 && !now.contains(&workers[0])
    });
}

// covers PRC-04
#[cfg(target_os = "linux")]
#[test]
fn workers_do_not_interrupt_unless_another_policy_was_chosen() {
    use nix::libc::{SCHED_BATCH, SCHED_IDLE};

    let program = env!("CARGO_BIN_EXE_haraka");
    let as_told = [program];
    let idle = ["chrt", "--idle", "0", program];
    for (command, expected) in [(&as_told[..], SCHED_BATCH), (&idle[..], SCHED_IDLE)] {
        let server = Server::start_command(two_workers(), command);
        greeted(&server).quit();
        for worker in server.wait_for_workers(2) {
            wait_for("the policy of a worker", || {
                processes::policy(worker) == Some(expected)
            });
        }
    }
}

// covers design section 6
#[test]
fn workers_of_a_killed_master_finish_and_go() {
    let install = two_workers().set("smtp.ini", "main", "force_shutdown_timeout", "5");
    let mut server = Server::start(install);
    server.wait_for_workers(2);
    processes::send(server.pid(), Signal::SIGKILL);
    assert!(!server.wait_exit().success());
}

// covers PRC-01
#[test]
fn one_process_takes_mail_and_stops() {
    let mut server = Server::start(Install::new().set("smtp.ini", "main", "nodes", "0"));
    assert!(server.worker_pids().is_empty());
    let mut client = greeted(&server);
    client
        .send_mail(
            "a@example.com",
            &["b@here.test"],
            "Subject: one\r\n\r\nx\r\n",
        )
        .expect(250);
    server.signal(Signal::SIGTERM);
    assert!(server.wait_exit().success());
    assert_eq!(server.install().stored().len(), 1);
}
