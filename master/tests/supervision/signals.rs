//! Signals and the control socket: the rows of `docs/signals.md`.

use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::server::{Install, children, wait_for};
use crate::{TWO, daemon_ini, daemon_pid, pids, two};

// covers PRC-12, KEY-06
pub fn hup_flushes_in_every_worker() {
    let server = two();
    server.signal(SIGHUP);
    server.log_has("Flushing the temp fail queue");
    server.frame_reaches("Flush { domain: None }", &server.children());
}

// covers PRC-15, PB-27
pub fn term_stops_workers_at_once_and_cleanly() {
    let mut server = two();
    let workers = server.children();
    server.signal(SIGTERM);
    server.log_has("SIGTERM received");
    server.log_has("Shutting down.");
    assert!(server.ended().success());
    server.frame_reaches("Stop", &workers);
    assert!(!server.install.path("haraka.sock").exists());
}

// covers PRC-10, PRC-16, KEY-10
pub fn int_drains_if_graceful_shutdown_is_set() {
    let install = Install::new(&format!(
        "{TWO}graceful_shutdown=true\nforce_shutdown_timeout=30\n"
    ));
    let mut server = install.start();
    let workers = server.children();
    server.signal(SIGINT);
    server.frame_reaches("Drain { deadline_ms: 30000 }", &workers);
    assert!(server.runs(), "waits for its workers");
    server.install.write("release", "");
    assert!(server.ended().success());
}

// covers PRC-16, KEY-10
pub fn a_drain_that_takes_too_long_becomes_a_stop() {
    let install = Install::new(&format!(
        "{TWO}graceful_shutdown=true\nforce_shutdown_timeout=1\n"
    ));
    let mut server = install.start();
    let workers = server.children();
    server.signal(SIGTERM);
    assert!(server.ended().success());
    server.frame_reaches("Drain { deadline_ms: 1000 }", &workers);
    server.frame_reaches("Stop", &workers);
}

// covers PRC-10
pub fn a_second_term_kills() {
    let install = Install::new(TWO);
    install.write("script", "stubborn");
    let mut server = install.start();
    server.signal(SIGTERM);
    server.frame_reaches("Stop", &server.children());
    assert!(server.runs());
    server.signal(SIGTERM);
    assert_eq!(server.ended().code(), Some(1));
}

// covers PB-54
pub fn usr1_reopens_the_log_of_a_daemon_and_its_workers() {
    let install = Install::new(TWO);
    daemon_ini(&install);
    assert!(install.tool(&[]).status.success());
    let pid = daemon_pid(&install);
    let workers = wait_for("workers", || Some(children(pid)).filter(|c| c.len() == 2));
    let old = install.path("daemon.log.1");
    std::fs::rename(install.path("daemon.log"), &old).unwrap();
    kill(Pid::from_raw(pid), SIGUSR1).unwrap();
    for worker in &workers {
        let line = format!("worker {worker} writes the new log");
        wait_for(&line, || {
            install.read("daemon.log").contains(&line).then_some(())
        });
    }
    wait_for("line of the master", || {
        install
            .read("daemon.log")
            .contains("log file reopened")
            .then_some(())
    });
    assert!(!install.read("daemon.log.1").contains("writes the new log"));
}

pub fn usr1_without_a_log_file_changes_nothing() {
    let server = two();
    server.signal(SIGUSR1);
    server.log_has("no log file to reopen");
    assert_eq!(pids(&server.frames()), server.children());
}

// covers PRC-17, CLI-09, PB-26
pub fn usr2_replaces_workers_and_the_queue_follows_when_the_old_are_gone() {
    let server = two();
    let old = server.children();
    server.signal(SIGUSR2);
    server.frame_reaches("Drain { deadline_ms: 30000 }", &old);
    server.log_has("Reload complete, workers: ");
    // Both generations live; nobody was told to own the queue again.
    assert_eq!(server.children().len(), 4);
    assert_eq!(pids(&server.frames()), old);
    server.install.write("release", "");
    let owned = wait_for("owners", || Some(server.frames()).filter(|f| f.len() == 4));
    let new = server.children();
    assert!(new.is_disjoint(&old) && new.len() == 2);
    assert_eq!(pids(&owned[2..]), new);
    // Files of the old generation fall to whoever their name hashes to.
    for o in &owned[2..] {
        assert!(!o.text.contains(&owned[0].incarnation), "{}", o.text);
    }
    server.answered_by(server.addr(0), &new);
}

// covers PB-46
pub fn usr2_with_a_bad_configuration_changes_nothing() {
    for (file, text, said) in [
        (
            "config/smtp.ini",
            "listen=127.0.0.1:banana\nnodes=2\n",
            "smtp.ini:1: listen",
        ),
        (
            "config/plugins",
            "bad_plugin\n",
            "plugin bad_plugin: not found",
        ),
        (
            "config/smtp.ini",
            "listen=127.0.0.1:0\nnodes=0\n",
            "nodes=0 needs the server",
        ),
    ] {
        let server = two();
        let workers = server.children();
        server.install.write(file, text);
        server.signal(SIGUSR2);
        server.log_has(said);
        server.signal(SIGHUP);
        server.frame_reaches("Flush", &workers);
        assert_eq!(server.children(), workers);
    }
}

// covers PB-46, PB-48
pub fn usr2_with_workers_that_fail_rolls_back() {
    let server = two();
    let workers = server.children();
    server.install.write("script", "fail");
    server.signal(SIGUSR2);
    server.log_has("graceful restart failed, the workers in place go on");
    wait_for("old workers only", || {
        (server.children() == workers).then_some(())
    });
    server.answered_by(server.addr(0), &workers);
    // The next attempt is not refused.
    server.install.write("script", "");
    server.install.write("release", "");
    server.signal(SIGUSR2);
    server.log_has("Reload complete, workers: ");
    wait_for("new workers", || {
        server.children().is_disjoint(&workers).then_some(())
    });
}

// covers PRC-17
pub fn usr2_again_during_a_restart_is_ignored() {
    let server = two();
    let old = server.children();
    server.signal(SIGUSR2);
    server.frame_reaches("Drain", &old);
    server.signal(SIGUSR2);
    server.log_has("Restart currently in progress - ignoring request");
    assert_eq!(server.children().len(), 4);
}

pub fn usr2_takes_on_more_workers_and_listeners() {
    let server = two();
    let first = server.addr(0);
    let path = server.install.path("smtp.sock");
    server.install.write(
        "config/smtp.ini",
        &format!("listen=127.0.0.1:0,{}:660\nnodes=3\n", path.display()),
    );
    server.install.write("release", "");
    server.signal(SIGUSR2);
    server.log_has("Reload complete, workers: ");
    let owned = wait_for("owners", || Some(server.frames()).filter(|f| f.len() == 5));
    assert!(owned[2..].iter().all(|o| o.nodes == 3));
    UnixStream::connect(&path).unwrap();
    server.answered_by(first, &server.children());
}

// covers PB-27
pub fn signals_to_the_whole_group_leave_workers_to_the_master() {
    let server = two();
    let workers = server.children();
    nix::sys::signal::killpg(Pid::from_raw(server.pid()), SIGHUP).unwrap();
    server.frame_reaches("Flush", &workers);
    for signal in [SIGUSR1, SIGTERM, SIGINT] {
        for worker in &workers {
            kill(Pid::from_raw(*worker), signal).unwrap();
        }
    }
    server.answered_by(server.addr(0), &workers);
    assert!(!server.log().contains("killed by signal"));
    assert!(
        !server.log().contains("received"),
        "the master saw a worker's signal"
    );
}

// covers CLI-08, CLI-09, CLI-11, OUT-14
pub fn tools_talk_to_the_running_server() {
    let install = Install::new(TWO);
    for tool in [&["--qunstick"][..], &["--graceful"]] {
        let output = install.tool(tool);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("error: Haraka is not running in "), "{said}");
    }
    let server = install.start();
    let workers = server.children();
    assert!(
        server
            .install
            .tool(&["--qunstick", "Example.COM"])
            .status
            .success()
    );
    server.frame_reaches("Flush { domain: Some(\"example.com\") }", &workers);
    assert!(server.install.tool(&["--qunstick"]).status.success());
    server.log_has("Flushing the temp fail queue\n");
    let stat = haraka_master::control::ask(&server.install.dir, "stat").unwrap();
    assert_eq!(
        stat,
        "in_progress=2 pending=20 deferred=200 workers=2 silent=0"
    );
    assert_eq!(server.install.tool(&["-o"]).stdout, b"Hook: rcpt\n");
    server.install.write("release", "");
    assert!(server.install.tool(&["--graceful"]).status.success());
    wait_for("new workers", || {
        Some(server.children()).filter(|c| c.is_disjoint(&workers) && c.len() == 2)
    });
    let alone = Install::new("nodes=0\n").tool(&["--graceful"]);
    assert!(!alone.status.success());
}

// covers PB-02
pub fn silent_and_hostile_clients_do_not_block_the_control_socket() {
    use std::io::Write as _;
    let server = two();
    let path = haraka_master::control::socket_path(&server.install.dir);
    let connect = || UnixStream::connect(&path).unwrap();
    let _silent: Vec<_> = (0..10).map(|_| connect()).collect();
    for bytes in [
        &b"x".repeat(100_000)[..],
        b"\0\xff\n",
        b"performShutdown\n",
        b"flush a b c\n",
    ] {
        // The server may have hung up before all is written.
        let _ = connect().write_all(bytes);
    }
    assert_eq!(
        haraka_master::control::ask(&server.install.dir, "ping").unwrap(),
        ""
    );
    server.signal(SIGHUP);
    server.frame_reaches("Flush", &server.children());
}
