//! Starts, good and bad: listeners, daemons, privileges, one process.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal::{SIGHUP, SIGKILL, SIGTERM, SIGUSR2};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use crate::server::{Install, children, greeting, status_field, wait_for};
use crate::{TWO, daemon_ini, daemon_pid, pids, two};

// covers PRC-02, PRC-05, PRC-25
pub fn all_workers_own_the_queue_once_all_are_ready() {
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

fn gone(pid: i32) {
    // Process 1 may take its time to reap it.
    let dead = |status: String| status.contains("State:\tZ");
    wait_for("end of the daemon", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.map_or(true, dead).then_some(())
    });
}

// covers PRC-07, PB-48
pub fn a_worker_that_fails_at_start_fails_the_start() {
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
pub fn a_start_that_cannot_succeed_says_why() {
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

// covers PRC-01
pub fn one_process_serves_without_workers() {
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

pub fn one_process_fails_with_a_message() {
    let install = Install::new("listen=127.0.0.1:0\nnodes=0\n");
    install.write("script", "fail");
    let said = install.refused();
    assert!(
        said.contains("error: start failed: scripted failure"),
        "{said}"
    );
}

// covers PRC-09, KEY-09, PB-44
pub fn a_daemon_detaches_when_it_serves_and_holds_its_pid_file() {
    let install = Install::new(TWO);
    install.write("pid", "1\n");
    daemon_ini(&install);
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

pub fn a_daemon_that_does_not_come_up_tells_the_terminal() {
    let install = Install::new(TWO);
    daemon_ini(&install);
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
pub fn workers_give_up_root() {
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
pub fn one_process_gives_up_root() {
    if !root("one_process_gives_up_root") {
        return;
    }
    let install = Install::new(&format!("listen=127.0.0.1:0\nnodes=0\n{IDS}"));
    open_to_all(&install);
    let server = install.start();
    assert_eq!(status_field(server.pid(), "Uid"), "65534 65534 65534 65534");
    assert_eq!(status_field(server.pid(), "CapEff"), "0000000000000000");
}

// covers KEY-01
pub fn several_listeners_of_every_kind_serve() {
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

// covers HOK-01, PRC-06
pub fn a_start_ends_where_init_master_says_no() {
    for ini in [TWO, "listen=127.0.0.1:0\nnodes=0\n"] {
        let install = Install::new(ini);
        install.write("config/plugins", "init_refuses\n");
        let said = install.refused();
        assert!(
            said.contains("error: init_master returned error: DENY: not today"),
            "{said}"
        );
        let install = Install::new(ini);
        install.write("config/plugins", "init_dies\n");
        let said = install.refused();
        assert!(
            said.contains("error: init_master returned error: killed by SIGKILL"),
            "{said}"
        );
    }
}

// covers HOK-01, PRC-02
pub fn init_master_runs_once_before_the_first_worker_and_leaves_nothing_behind() {
    for ini in [TWO, "listen=127.0.0.1:0\nnodes=0\n"] {
        let install = Install::new(ini);
        install.write("config/plugins", "init_notes\n");
        let mut server = install.start();
        // It said which process it ran in.
        let note = server.install.read("init_master");
        let pids: Vec<&str> = note.lines().collect();
        assert_eq!(pids.len(), 1, "{note}");
        assert_ne!(pids[0], server.pid().to_string());
        assert!(!server.children().contains(&pids[0].parse().unwrap()));
        server.signal(SIGTERM);
        assert!(server.ended().success());
    }
}
