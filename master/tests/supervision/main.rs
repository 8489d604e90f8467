//! The master with scripted workers: every row of `docs/signals.md`, starts that fail, restarts
//! that fail, deaths. Each test is a real server in a process of its own.
//!
//! This program is its own server: called with `serve` first it is `haraka` with scripted workers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod scripted;
mod server;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1, SIGUSR2};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use server::{Install, Owned, Server, children, greeting, sockets, status_field, wait_for};

const TWO: &str = "listen=127.0.0.1:0\nnodes=2\n";

type Test = (&'static str, fn());

macro_rules! tests {
    ($($name:ident),* $(,)?) => { const TESTS: &[Test] = &[$((stringify!($name), $name)),*]; };
}

tests![
    all_workers_own_the_queue_once_all_are_ready,
    hup_flushes_in_every_worker,
    term_stops_workers_at_once_and_cleanly,
    int_drains_if_graceful_shutdown_is_set,
    a_drain_that_takes_too_long_becomes_a_stop,
    a_second_term_kills,
    usr1_reopens_the_log_of_a_daemon_and_its_workers,
    usr1_without_a_log_file_changes_nothing,
    usr2_replaces_workers_and_the_queue_follows_when_the_old_are_gone,
    usr2_with_a_bad_configuration_changes_nothing,
    usr2_with_workers_that_fail_rolls_back,
    usr2_again_during_a_restart_is_ignored,
    usr2_takes_on_more_workers_and_listeners,
    a_dead_worker_is_replaced_and_its_files_adopted,
    a_worker_killed_after_a_restart_is_replaced,
    an_old_worker_that_dies_during_a_restart_is_replaced,
    a_worker_that_ends_with_success_is_replaced_ever_slower,
    a_file_that_ends_two_workers_is_set_aside,
    a_worker_has_no_descriptor_of_another,
    a_worker_that_fails_at_start_fails_the_start,
    a_start_that_cannot_succeed_says_why,
    signals_to_the_whole_group_leave_workers_to_the_master,
    one_process_serves_without_workers,
    one_process_fails_with_a_message,
    a_daemon_detaches_when_it_serves_and_holds_its_pid_file,
    a_daemon_that_does_not_come_up_tells_the_terminal,
    workers_give_up_root,
    one_process_gives_up_root,
    tools_talk_to_the_running_server,
    silent_and_hostile_clients_do_not_block_the_control_socket,
    several_listeners_of_every_kind_serve,
];

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap();
    let rest: Vec<_> = args.collect();
    if rest.first().is_some_and(|a| a == "serve") {
        let args = std::iter::once(program).chain(rest.into_iter().skip(1));
        return haraka_master::cli::run(args, scripted::SCRIPTED);
    }
    let filters: Vec<String> = rest
        .iter()
        .filter_map(|a| a.to_str())
        .filter(|a| !a.starts_with('-'))
        .map(str::to_owned)
        .collect();
    if rest.iter().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        let passed = std::panic::catch_unwind(test).is_ok();
        failed += u32::from(!passed);
        let outcome = if passed { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {outcome} ({} ms)",
            began.elapsed().as_millis()
        );
    }
    ExitCode::from(u8::from(failed > 0))
}

fn pids(owned: &[Owned]) -> BTreeSet<i32> {
    owned.iter().map(|o| o.pid).collect()
}

fn two() -> Server {
    Install::new(TWO).start()
}

// covers PRC-02, PRC-05, PRC-25
fn all_workers_own_the_queue_once_all_are_ready() {
    let server = two();
    let owned = server.frames();
    assert_eq!(pids(&owned), server.children());
    assert_eq!(
        owned.iter().map(|o| o.slot).collect::<BTreeSet<_>>(),
        [0, 1].into()
    );
    for o in &owned {
        assert_eq!(o.nodes, 2);
        for other in &owned {
            let entry = format!("(\"{}\", {})", other.incarnation, other.slot);
            assert!(o.text.contains(&entry), "{} lacks {entry}", o.text);
        }
    }
    server.answered_by(server.addr(0), &pids(&owned));
    server.log_has("Starting up Haraka version");
    server.log_has("worker started worker=1 pid=");
}

// covers PRC-12, KEY-06
fn hup_flushes_in_every_worker() {
    let server = two();
    server.signal(SIGHUP);
    server.log_has("Flushing the temp fail queue");
    server.frame_reaches("Flush { domain: None }", &server.children());
}

// covers PRC-15, PB-27
fn term_stops_workers_at_once_and_cleanly() {
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
fn int_drains_if_graceful_shutdown_is_set() {
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
fn a_drain_that_takes_too_long_becomes_a_stop() {
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
fn a_second_term_kills() {
    let install = Install::new(TWO);
    install.write("script", "stubborn");
    let mut server = install.start();
    server.signal(SIGTERM);
    server.frame_reaches("Stop", &server.children());
    assert!(server.runs());
    server.signal(SIGTERM);
    assert_eq!(server.ended().code(), Some(1));
}

fn daemon_ini(install: &Install, more: &str) {
    let ini = format!(
        "{TWO}daemonize=true\ndaemon_log_file={}\ndaemon_pid_file={}\n{more}",
        install.path("daemon.log").display(),
        install.path("pid").display()
    );
    install.write("config/smtp.ini", &ini);
}

fn daemon_pid(install: &Install) -> i32 {
    install.read("pid").trim().parse().unwrap()
}

fn gone(pid: i32) {
    wait_for("end of the daemon", || {
        kill(Pid::from_raw(pid), None).is_err().then_some(())
    });
}

fn usr1_reopens_the_log_of_a_daemon_and_its_workers() {
    let install = Install::new(TWO);
    daemon_ini(&install, "");
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

fn usr1_without_a_log_file_changes_nothing() {
    let server = two();
    server.signal(SIGUSR1);
    server.log_has("no log file to reopen");
    assert_eq!(pids(&server.frames()), server.children());
}

// covers PRC-17, CLI-09, PB-26
fn usr2_replaces_workers_and_the_queue_follows_when_the_old_are_gone() {
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
fn usr2_with_a_bad_configuration_changes_nothing() {
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
fn usr2_with_workers_that_fail_rolls_back() {
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
fn usr2_again_during_a_restart_is_ignored() {
    let server = two();
    let old = server.children();
    server.signal(SIGUSR2);
    server.frame_reaches("Drain", &old);
    server.signal(SIGUSR2);
    server.log_has("Restart currently in progress - ignoring request");
    assert_eq!(server.children().len(), 4);
}

fn usr2_takes_on_more_workers_and_listeners() {
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

// covers PRC-04
fn a_dead_worker_is_replaced_and_its_files_adopted() {
    let server = two();
    let before = server.frames();
    let victim = &before[0];
    kill(Pid::from_raw(victim.pid), SIGKILL).unwrap();
    let after = wait_for("adoption", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    let adopter = &after[2];
    assert_eq!(adopter.slot, victim.slot);
    assert_ne!(adopter.incarnation, victim.incarnation);
    let entry = format!("(\"{}\", {})", victim.incarnation, victim.slot);
    assert!(adopter.text.contains(&entry), "{}", adopter.text);
    server.log_has(&format!(
        "worker {} killed by signal SIGKILL",
        victim.slot + 1
    ));
    server.answered_by(server.addr(0), &server.children());
}

// covers PRC-18, PB-45
fn a_worker_killed_after_a_restart_is_replaced() {
    let server = two();
    server.install.write("release", "");
    server.signal(SIGUSR2);
    let owned = wait_for("owners", || Some(server.frames()).filter(|f| f.len() == 4));
    kill(Pid::from_raw(owned[2].pid), SIGKILL).unwrap();
    let owned = wait_for("first replacement", || {
        Some(server.frames()).filter(|f| f.len() == 5)
    });
    kill(Pid::from_raw(owned[4].pid), SIGKILL).unwrap();
    wait_for("second replacement", || {
        Some(server.frames()).filter(|f| f.len() == 6)
    });
    assert_eq!(server.children().len(), 2);
}

// covers PB-45
fn an_old_worker_that_dies_during_a_restart_is_replaced() {
    let server = two();
    let old = server.frames();
    server.install.write("script", "mute");
    server.signal(SIGUSR2);
    wait_for("new workers", || {
        (server.children().len() == 4).then_some(())
    });
    server.install.write("script", "");
    kill(Pid::from_raw(old[0].pid), SIGKILL).unwrap();
    let owned = wait_for("replacement", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    assert_eq!(owned[2].slot, old[0].slot);
    assert_eq!(server.children().len(), 4);
}

// covers PB-41, PB-47
fn a_worker_that_ends_with_success_is_replaced_ever_slower() {
    let server = two();
    server.install.write("script", "quit");
    kill(Pid::from_raw(server.frames()[0].pid), SIGKILL).unwrap();
    server.log_has("exited with error code: 0");
    server.log_has("is started again in 250 ms");
    server.log_has("is started again in 500 ms");
    server.install.write("script", "");
    wait_for("a worker that stays", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    server.answered_by(server.addr(0), &server.children());
}

fn a_file_that_ends_two_workers_is_set_aside() {
    let name = "1700000000000_1700000000000_0_11_aB3dEf_1_mx.example";
    let install = Install::new("listen=127.0.0.1:0\nnodes=1\n");
    install.write("script", "poison");
    std::fs::create_dir(install.path("queue")).unwrap();
    install.write(&format!("queue/{name}"), "poison");
    let server = install.start();
    server.log_has(&format!("{name} has ended two workers and is set aside"));
    wait_for("a worker that stays", || {
        Some(server.frames()).filter(|f| f.len() >= 3)
    });
    assert!(server.install.path(&format!("queue/error.{name}")).exists());
    assert!(!server.install.path(&format!("queue/{name}")).exists());
}

fn a_worker_has_no_descriptor_of_another() {
    let server = two();
    let before = server.frames();
    // A replacement is forked from a master that has the channels of all others.
    kill(Pid::from_raw(before[0].pid), SIGKILL).unwrap();
    wait_for("replacement", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    let workers: Vec<i32> = server.children().into_iter().collect();
    let (a, b) = (sockets(workers[0]), sockets(workers[1]));
    assert!(a.is_disjoint(&b), "{a:?} {b:?}");
    // One channel, one listener.
    assert_eq!((a.len(), b.len()), (2, 2));
    let masters = sockets(server.pid());
    assert_eq!(a.intersection(&masters).count(), 1, "the listener only");
}

// covers PRC-07, PB-48
fn a_worker_that_fails_at_start_fails_the_start() {
    let install = Install::new(TWO);
    install.write("script", "fail");
    let said = install.refused();
    assert!(
        said.contains("error: start failed: worker 1: scripted failure")
            || said.contains("worker 2: scripted"),
        "{said}"
    );
}

// covers PRC-23, KEY-07, CLI-14
fn a_start_that_cannot_succeed_says_why() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = held.local_addr().unwrap();
    for (ini, wanted) in [
        (
            format!("listen={addr}\nnodes=2\n"),
            format!("error: Failed to setup listeners: {addr}: "),
        ),
        (
            format!("listen={addr}\nnodes=0\n"),
            format!("error: Failed to setup listeners: {addr}: "),
        ),
        (
            "nodes=many\n".to_owned(),
            "error: smtp.ini:1: nodes: ".to_owned(),
        ),
        (
            format!("{TWO}user=no-such-user-here\n"),
            "error: smtp.ini: user: no user \"no-such-user-here\"".to_owned(),
        ),
    ] {
        let said = Install::new(&ini).refused();
        assert!(said.contains(&wanted), "{said}");
    }
    let install = Install::new(TWO);
    install.write("config/plugins", "bad_plugin\n");
    assert!(
        install
            .refused()
            .contains("error: plugin bad_plugin: not found")
    );
    std::fs::remove_file(install.path("config/smtp.ini")).unwrap();
    assert!(install.refused().contains("error: No smtp.ini at: "));

    let server = two();
    let said = Install::refused(&server.install);
    assert!(
        said.contains("error: Haraka is already running in "),
        "{said}"
    );
}

// covers PB-27
fn signals_to_the_whole_group_leave_workers_to_the_master() {
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

// covers PRC-01
fn one_process_serves_without_workers() {
    let install = Install::new("listen=127.0.0.1:0\nnodes=0\n");
    let mut server = install.start();
    let me = BTreeSet::from([server.pid()]);
    assert_eq!(server.children(), BTreeSet::new());
    assert_eq!(pids(&server.frames()), me);
    server.answered_by(server.addr(0), &me);
    server.signal(SIGHUP);
    server.frame_reaches("Flush", &me);
    server.signal(SIGUSR2);
    server.log_has("not possible with nodes=0");
    server.signal(SIGTERM);
    assert!(server.ended().success());
    server.frame_reaches("Stop", &me);
}

fn one_process_fails_with_a_message() {
    let install = Install::new("listen=127.0.0.1:0\nnodes=0\n");
    install.write("script", "fail");
    let said = install.refused();
    assert!(
        said.contains("error: start failed: scripted failure"),
        "{said}"
    );
}

// covers PRC-09, KEY-09, PB-44
fn a_daemon_detaches_when_it_serves_and_holds_its_pid_file() {
    let install = Install::new(TWO);
    install.write("pid", "1\n");
    daemon_ini(&install, "");
    let output = install.tool(&[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let pid = daemon_pid(&install);
    assert_eq!(children(pid).len(), 2);
    // In a session of its own, with its log on standard output.
    assert_eq!(status_field(pid, "NSsid"), status_field(pid, "NSpgid"));
    assert_ne!(
        status_field(pid, "NSsid"),
        status_field(std::process::id() as i32, "NSsid")
    );
    assert!(install.read("daemon.log").contains("worker started"));

    let said = install.refused();
    assert!(
        said.contains(&format!("held by a running server (pid {pid})")),
        "{said}"
    );
    assert_eq!(daemon_pid(&install), pid);

    kill(Pid::from_raw(pid), SIGTERM).unwrap();
    gone(pid);
    assert!(!install.path("pid").exists());

    // A crash leaves the file, which does not stop the next start.
    assert!(install.tool(&[]).status.success());
    let pid = daemon_pid(&install);
    kill(Pid::from_raw(pid), SIGKILL).unwrap();
    gone(pid);
    assert!(install.path("pid").exists());
    assert!(install.tool(&[]).status.success());
}

fn a_daemon_that_does_not_come_up_tells_the_terminal() {
    let install = Install::new(TWO);
    daemon_ini(&install, "");
    install.write("script", "fail");
    let said = install.refused();
    assert!(said.contains("scripted failure"), "{said}");
    assert!(!install.path("pid").exists());
}

fn root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("test {test} skipped: needs root");
    }
    root
}

const IDS: &str = "user=65534\ngroup=65533\n";

fn open_to_all(install: &Install) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&install.dir, mode).unwrap();
}

// covers PRC-08, KEY-07, PB-11, PB-49
fn workers_give_up_root() {
    if !root("workers_give_up_root") {
        return;
    }
    let install = Install::new(&format!("{TWO}{IDS}"));
    open_to_all(&install);
    let server = install.start();
    for worker in server.children() {
        assert_eq!(status_field(worker, "Uid"), "65534 65534 65534 65534");
        assert_eq!(status_field(worker, "Gid"), "65533 65533 65533 65533");
        assert!(!status_field(worker, "Groups").split(' ').any(|g| g == "0"));
        assert_eq!(status_field(worker, "CapEff"), "0000000000000000");
    }
    use std::os::unix::fs::MetadataExt as _;
    let queue = std::fs::metadata(server.install.path("queue")).unwrap();
    assert_eq!(
        (queue.uid(), queue.gid(), queue.mode() & 0o777),
        (65534, 65533, 0o700)
    );
    server.log_has("New uid: 65534");
    // The master still can: a replacement gets there too.
    let victim = server.frames()[0].pid;
    kill(Pid::from_raw(victim), SIGKILL).unwrap();
    wait_for("replacement", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
}

// covers PRC-01, PRC-08
fn one_process_gives_up_root() {
    if !root("one_process_gives_up_root") {
        return;
    }
    let install = Install::new(&format!("listen=127.0.0.1:0\nnodes=0\n{IDS}"));
    open_to_all(&install);
    let server = install.start();
    assert_eq!(status_field(server.pid(), "Uid"), "65534 65534 65534 65534");
    assert_eq!(status_field(server.pid(), "CapEff"), "0000000000000000");
}

// covers CLI-08, CLI-09, CLI-11
fn tools_talk_to_the_running_server() {
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
fn silent_and_hostile_clients_do_not_block_the_control_socket() {
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

// covers KEY-01
fn several_listeners_of_every_kind_serve() {
    use std::io::Read as _;
    let install = Install::new(TWO);
    let path = install.path("smtp.sock");
    let v6 = TcpListener::bind("[::1]:0").is_ok();
    let more = if v6 { ",[::1]:0" } else { "" };
    if !v6 {
        println!("no IPv6 here: that address is left out");
    }
    install.write(
        "config/smtp.ini",
        &format!("listen=127.0.0.1:0{more},{}:600\nnodes=2\n", path.display()),
    );
    let server = install.start();
    let workers = server.children();
    assert!(workers.contains(&greeting(server.addr(0)).unwrap()));
    if v6 {
        server.answered_by(server.addr(1), &workers);
    }
    let mut text = String::new();
    UnixStream::connect(&path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.starts_with("220 "), "{text}");
    let mut server = server;
    server.signal(SIGTERM);
    assert!(server.ended().success());
    assert!(!path.exists());
}
