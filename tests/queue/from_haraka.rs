//! Queues that the real Haraka has left, or is still working on.

use crate::harness::*;
use crate::relaying::*;
use crate::*;

/// The committed samples: items as Haraka writes them, and damaged ones.
fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spool");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    files
        .filter(|path| path.extension().is_none_or(|e| e != "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

// covers OUT-08, OUT-09, OUT-10, OUT-16, PA-39, PA-40, CLI-06, CLI-07
#[test]
fn queue_that_haraka_left_is_shown_and_delivered_and_damage_is_set_aside() {
    let sink = Sink::start();
    let install = two_workers(sink.addr());
    for (name, bytes) in samples() {
        install.write(&format!("queue/{name}"), &bytes);
    }
    install.write("queue/error.earlier", b"looked at by a person");
    install.write("queue/notes.txt", b"not of the queue");
    install.write(
        "queue/__tmp__.1700000000008_1700000000008_0_4242_AbCdEm_8_mail.example.net",
        b"half",
    );
    let (well, shown) = tool_ending(&install, &["--qlist"]);
    assert!(!well, "there is damage: {shown}");
    assert_eq!(shown.matches(" is broken: ").count(), 4, "{shown}");
    let lines: Vec<&str> = shown.lines().filter(|l| l.starts_with("Q: ")).collect();
    assert_eq!(lines.len(), 4, "{shown}");
    for part in [
        "Q: 1700000000000_1700000000000_0_4242_AbCdEf_1_mail.example.net rcpt:1 from:<sender@back.test> domain:far.test",
        "Q: 1700000000002_2_4242_7.mail.example.net rcpt:1 from:<> domain:far.test",
    ] {
        assert!(lines.contains(&part), "no {part:?} in {shown}");
    }
    let stat = tool(&install, &["--qstat"]);
    assert!(stat.contains("queue_count: 8"), "{stat}");

    let server = Server::start(install);
    sink.wait_accepted(4);
    let damaged = ["_zero", "_short", "_garbage", "_huge"];
    wait_for("all else to be gone or set aside", || {
        let files = server.install().queue_files();
        files.len() == 2 + damaged.len()
    });
    sink.assert_each_once(&["new", "deferred", "old name", "bare line ends"]);
    let files = server.install().queue_files();
    for end in damaged {
        let found = files.iter().find(|f| f.ends_with(end)).expect(end);
        assert!(found.starts_with("error.1700"), "{found}");
        let line = server.wait_for_log(found.trim_start_matches("error."), DEADLINE);
        assert!(line.contains("[ERROR]"), "{line}");
    }
    let all = sink.accepted();
    let with = |serial: &str| all.iter().find(|m| m.serial() == serial).unwrap();
    assert_eq!(with("deferred").to, ["<a@far.test>", "<b@far.test>"]);
    assert!(with("old name").from.starts_with("<>"));
    assert!(
        with("new")
            .text()
            .ends_with("\r\n\r\nA line.\r\n.with a dot\r\n")
    );
    let bare = with("bare line ends").text();
    assert!(bare.ends_with("bare\r\nline\r\n.\r\nends\r\n"), "{bare:?}");
    // Set aside for good: another start reports nothing new.
    let install = server.into_install();
    let server = Server::start(install);
    server.wait_for_log("error.earlier", DEADLINE);
    assert_eq!(server.install().queue_files(), files);
}

// covers PA-39, PA-40
#[test]
fn queue_of_a_running_haraka_is_taken_over() {
    let closed = port::reserve();
    let install = to_next_hop(closed).plugins(&["relay"]);
    let Some(peer) = Server::start_peer(install) else {
        return harness::skip("PEER_HARAKA is not set to the real bin/haraka");
    };
    let sent = serials("peer", 3);
    submit_all(&peer, &sent);
    wait_for("the items to be put off", || {
        let files = peer.install().queue_files();
        files.len() == 3 && files.iter().all(|f| f.split('_').nth(2) == Some("1"))
    });
    let install = peer.into_install();
    assert_eq!(
        qlist(&install)
            .lines()
            .filter(|l| l.starts_with("Q: "))
            .count(),
        3
    );
    let sink = Sink::on(&closed.to_string());
    let server = Server::start(install);
    server.wait_for_log("queue taken over", DEADLINE);
    server.signal(Signal::SIGHUP);
    sink.wait_accepted(3);
    wait_empty(server.install());
    sink.assert_each_once(&sent);
}
