//! The outbound queue of the real program: what is accepted is delivered once, whatever happens in
//! between, and the operator's tools see and move it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

#[path = "queue/from_haraka.rs"]
mod from_haraka;

use std::time::Duration;

use harness::server::Signal;
use harness::{DEADLINE, Rule, Server, Sink, Stage, greeted, port, wait_for};
use relaying::{numbered, serials, submit, submit_all, to_next_hop, volume, wait_empty};

fn two_workers(next_hop: std::net::SocketAddr) -> harness::Install {
    to_next_hop(next_hop).set("smtp.ini", "main", "nodes", "2")
}

// covers OUT-33, OUT-45, PB-35, OUT-01, PA-49
#[test]
fn message_arrives_once_and_byte_for_byte() {
    let sink = Sink::start();
    let server = Server::start(to_next_hop(sink.addr()));
    let long = "x".repeat(5000);
    let bodies: [Vec<u8>; 6] = [
        b"plain\r\n".to_vec(),
        b"..two dots\r\n.\r\n.one\r\nlast\r\n".to_vec(),
        b"gr\xc3\xbc\xc3\x9fe, \xff\xfe bytes\r\n".to_vec(),
        format!("{long}\r\n{long}\r\n").into_bytes(),
        b"no line end".to_vec(),
        Vec::new(),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let mut message = format!(
            "Date: Sat, 21 Nov 2026 00:00:00 +0000\r\nMessage-Id: <{n}@client.test>\r\nX-Serial: {n}\r\n\r\n"
        )
        .into_bytes();
        message.extend_from_slice(body);
        let mut client = greeted(&server);
        client.cmd("MAIL FROM:<from@client.test>").expect(250);
        client.cmd("RCPT TO:<to@far.test>").expect(250);
        client.cmd("DATA").expect(354);
        client.send_raw(&harness::client::stuffed(&message));
        client.reply().expect(250);
        client.quit();
    }
    let mut messages = sink.wait_accepted(bodies.len());
    messages.sort_by_key(harness::Message::serial);
    for (message, body) in messages.iter().zip(&bodies) {
        let content = message.content();
        let at = content.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let mut expected = body.clone();
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend_from_slice(b"\r\n"); // SMTP knows no other end
        }
        assert_eq!(&content[at + 4..], &expected, "{}", message.text());
        // No field of ours but the two Received.
        assert_eq!(message.text().matches("Received:").count(), 2);
    }
    wait_empty(server.install());
    sink.assert_each_once(&["0", "1", "2", "3", "4", "5"]);
}

// covers LOG-15, OUT-03
#[test]
fn delivery_is_logged_with_the_keys_that_log_readers_know() {
    let sink = Sink::start();
    let server = Server::start(to_next_hop(sink.addr()));
    submit(
        &server,
        "from@client.test",
        &["a@far.test", "b@far.test"],
        &numbered("1"),
    );
    sink.wait_accepted(1);
    let line = server.wait_for_log("delivered file=", DEADLINE);
    let (head, rest) = line
        .split_once("] [outbound]  delivered file=")
        .expect(&line);
    assert!(head.contains("[NOTICE] ["), "{line}");
    assert!(head.ends_with(".1.1"), "{line}");
    let keys: Vec<&str> = rest
        .split(' ')
        .filter_map(|part| part.split_once('=').map(|(key, _)| key))
        .collect();
    assert_eq!(
        keys,
        [
            "domain", "host", "ip", "port", "mode", "tls", "auth", "response", "delay", "fails",
            "rcpts"
        ],
        "{line}"
    );
    let port = sink.addr().port();
    for part in [
        " domain=far.test ".to_owned(),
        " host=127.0.0.1 ip=127.0.0.1 ".to_owned(),
        format!(" port={port} mode=SMTP tls=N auth=N response=\""),
        " fails=0 rcpts=2/0/0".to_owned(),
    ] {
        assert!(line.contains(&part), "no {part:?} in {line}");
    }
    let message = &sink.messages()[0];
    assert!(
        message
            .header("Message-Id")
            .is_some_and(|id| id.ends_with(".1@mx.test>"))
    );
    assert!(message.header("Date").is_some());
    assert!(
        message
            .header("Received")
            .is_some_and(|r| r.starts_with("(Haraka outbound); "))
    );
}

// covers HOK-38
#[test]
fn hooks_of_a_queue_item_are_told_at_debug_even_if_nobody_wants_them() {
    let sink = Sink::start();
    let server = Server::start(to_next_hop(sink.addr()).config("loglevel", "DEBUG\n"));
    submit(&server, "a@client.test", &["b@far.test"], &numbered("1"));
    sink.wait_accepted(1);
    for hook in ["send_email", "get_mx", "delivered"] {
        let line = server.wait_for_log(&format!("running {hook} hooks"), DEADLINE);
        let head = format!(".1.1] [outbound] running {hook} hooks");
        assert!(
            line.contains(" [DEBUG] [") && line.ends_with(&head),
            "{line}"
        );
    }
}

// covers OUT-15, OUT-19, HUP
#[test]
fn hup_delivers_what_was_deferred_from_every_worker() {
    let n = volume(200);
    let closed = port::reserve();
    let server = Server::start(two_workers(closed));
    let sent = serials("m", n);
    for part in sent.chunks(n.div_ceil(8)) {
        submit_all(&server, part);
    }
    wait_for("all files to be put off once", || {
        let files = server.install().queue_files();
        files.len() == n && files.iter().all(|f| f.split('_').nth(2) == Some("1"))
    });
    let line = server.wait_for_log(" deferred file=", DEADLINE);
    assert!(
        line.contains("domain=far.test delay=64 fails=1 rcpts=1 err="),
        "{line}"
    );
    let sink = Sink::on(&closed.to_string());
    server.signal(Signal::SIGHUP);
    sink.wait_accepted(n);
    wait_empty(server.install());
    sink.assert_each_once(&sent);
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(line.contains(" fails=1 "), "{line}");
}

// covers OUT-12, PA-41
#[test]
fn deferred_mail_outlives_a_clean_restart_and_kill_9() {
    let n = volume(200) / 2;
    let closed = port::reserve();
    let mut server = Server::start(two_workers(closed));
    let sent = serials("m", n);
    submit_all(&server, &sent);
    let put_off = |server: &Server, attempts: &str| {
        wait_for("all files to be put off", || {
            let files = server.install().queue_files();
            files.len() == n && files.iter().all(|f| f.split('_').nth(2) == Some(attempts))
        });
    };
    put_off(&server, "1");
    server.restart();
    server.wait_for_log("queue taken over", DEADLINE);
    server.signal(Signal::SIGHUP);
    put_off(&server, "2");
    server.kill9_all();
    let sink = Sink::on(&closed.to_string());
    server.restart();
    server.wait_for_workers(2);
    // HUP may come before a worker has read its part of the queue; the flush must not be lost.
    server.signal(Signal::SIGHUP);
    sink.wait_accepted(n);
    wait_empty(server.install());
    sink.assert_each_once(&sent);
}

// covers KEY-42, OUT-17
#[test]
fn disabled_holds_mail_until_it_is_switched_on_again_live() {
    let sink = Sink::start();
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "disabled", "true");
    let server = Server::start(install);
    let sent = serials("m", 5);
    submit_all(&server, &sent);
    assert_eq!(server.install().queue_files().len(), 5);
    server.signal(Signal::SIGHUP);
    server.wait_for_log("Flushing the temp fail queue", DEADLINE);
    assert_eq!(sink.connections(), 0, "nothing may be delivered");
    server
        .install()
        .write("config/outbound.ini", b"disabled=false\n");
    sink.wait_accepted(5);
    wait_empty(server.install());
    sink.assert_each_once(&sent);
}

// covers OUT-04, OUT-05
#[test]
fn one_message_to_many_domains_is_stored_once_and_only_the_dead_domain_stays() {
    let sink = Sink::start();
    let (friend, closed) = (sink.addr().to_string(), port::reserve().to_string());
    let install = relaying::routed(&[("any", &friend), ("dead.test", &closed)]).set(
        "outbound.ini",
        "main",
        "disabled",
        "true",
    );
    let server = Server::start(install);
    let rcpts: Vec<String> = (0..20)
        .map(|n| format!("to@d{n}.test"))
        .chain(["to@dead.test".to_owned()])
        .collect();
    let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
    let body = format!("{}{}", numbered("1"), "0123456789\r\n".repeat(20_000));
    submit(&server, "from@client.test", &rcpts, &body);
    let queue = server.install().path().join("queue");
    let mut inodes = std::collections::HashMap::new();
    for entry in walk(&queue) {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(entry).unwrap();
        inodes.insert(meta.ino(), meta.len());
    }
    let stored: u64 = inodes.values().sum();
    assert!(
        stored < 2 * body.len() as u64,
        "{stored} bytes for a message of {}",
        body.len()
    );
    server
        .install()
        .write("config/outbound.ini", b"disabled=false\n");
    let got = sink.wait_accepted(20);
    let mut domains: Vec<String> = got.iter().flat_map(|m| m.to.clone()).collect();
    domains.sort();
    domains.dedup();
    assert_eq!(domains.len(), 20, "{domains:?}");
    let told = format!("domain={}", "dead.test");
    let line = server.wait_for_log(" deferred file=", DEADLINE);
    assert!(line.contains(&told), "{line}");
    let queue_items = || {
        let files = server.install().queue_files();
        files
            .into_iter()
            .filter(|f| !f.starts_with('.'))
            .collect::<Vec<_>>()
    };
    wait_for("only the dead domain to stay", || {
        let tool = qlist(server.install());
        tool.lines().filter(|l| l.starts_with("Q: ")).count() == 1
    });
    assert!(
        qlist(server.install()).contains("domain:dead.test"),
        "{:?}",
        queue_items()
    );
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Output of a queue tool of the program, which must end well.
fn tool(install: &harness::Install, args: &[&str]) -> String {
    let (well, text) = tool_ending(install, args);
    assert!(well, "{args:?}: {text}");
    text
}

/// Output of a queue tool, and whether it ended well.
fn tool_ending(install: &harness::Install, args: &[&str]) -> (bool, String) {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(args)
        .arg("-c")
        .arg(install.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.success(), text(&out.stdout) + &text(&out.stderr))
}

fn qlist(install: &harness::Install) -> String {
    tool(install, &["--qlist"])
}

// covers CLI-08, OUT-15
#[test]
fn qunstick_flushes_one_domain_or_all() {
    let closed = port::reserve();
    let server = Server::start(two_workers(closed));
    // A worker that is younger than what the other one was told of its neighbours.
    let first = server.wait_for_workers(2);
    // One that dies before it serves would end the start.
    for worker in ["worker 1 listening", "worker 2 listening"] {
        server.wait_for_log(worker, DEADLINE);
    }
    harness::processes::send(first[1], Signal::SIGKILL);
    wait_for("another worker", || {
        let now = server.worker_pids();
        now.len() == 2 && now != first
    });
    server.wait_for_log("queue taken over", DEADLINE);
    for n in 0..6 {
        for domain in ["one", "two"] {
            let serial = format!("{domain}-{n}");
            submit(
                &server,
                "a@b.test",
                &[&format!("to@{domain}.test")],
                &numbered(&serial),
            );
        }
    }
    wait_for("all files to be put off once", || {
        let files = server.install().queue_files();
        files.len() == 12 && files.iter().all(|f| f.split('_').nth(2) == Some("1"))
    });
    let sink = Sink::on(&closed.to_string());
    tool(server.install(), &["--qunstick", "one.test"]);
    sink.wait_accepted(6);
    wait_for("six files", || server.install().queue_files().len() == 6);
    let ones: Vec<String> = (0..6).map(|n| format!("one-{n}")).collect();
    sink.assert_each_once(&ones);
    tool(server.install(), &["--qunstick"]);
    sink.wait_accepted(12);
    wait_empty(server.install());
    assert!(sink.serials().values().all(|count| *count == 1));
}

// covers OUT-31, PB-63, OUT-13
#[test]
fn messages_to_one_host_share_connections_and_keep_to_concurrency_max() {
    let sink = Sink::start();
    sink.rule(Rule::delay(Stage::Dot, Duration::from_millis(5)));
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "concurrency_max", "3");
    let server = Server::start(install);
    let sent = serials("m", 100);
    submit_all(&server, &sent);
    sink.wait_accepted(100);
    sink.assert_each_once(&sent);
    assert!(
        sink.most_open_connections() <= 3,
        "{}",
        sink.most_open_connections()
    );
    assert!(
        sink.connections() <= 20,
        "{} connections",
        sink.connections()
    );
}

// covers OUT-15
#[test]
fn item_under_way_is_not_started_again_when_the_time_comes_that_it_waited_for() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "451 4.0.0 later").times(1));
    sink.rule(Rule::delay(Stage::Dot, Duration::from_secs(8)));
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "temp_fail_intervals", "5s");
    let server = Server::start(install);
    submit(
        &server,
        "f@client.test",
        &["to@far.test"],
        &numbered("once"),
    );
    server.wait_for_log("deferred file=", DEADLINE);
    tool(server.install(), &["queue", "retry", "--all"]);
    sink.wait_accepted(1);
    wait_empty(server.install());
    let offered = sink.lines();
    let offered = offered.iter().filter(|(_, line)| line == "DATA");
    // The first came along with the recipient that was refused.
    assert_eq!(offered.count(), 2, "{}", server.log_text());
    sink.assert_each_once(&["once"]);
}

// covers OUT-33
#[test]
fn burst_of_messages_of_all_sizes_arrives_unmixed_and_leaves_no_file_behind() {
    let sink = Sink::start();
    let mut server = Server::start(to_next_hop(sink.addr()));
    let body = |n: usize| format!("line of {n:04}\r\n").repeat(1 + n * 37 % 400);
    let text = |n: usize| format!("X-Serial: {n}\r\n\r\n{}", body(n));
    let burst = |numbers: std::ops::Range<usize>| {
        std::thread::scope(|scope| {
            for first in 0..8 {
                let (server, numbers) = (&server, numbers.clone());
                scope.spawn(move || {
                    let mut client = greeted(server);
                    for n in numbers.skip(first).step_by(8) {
                        let sent = client.send_mail("f@client.test", &["to@far.test"], &text(n));
                        sent.expect(250);
                    }
                    client.quit();
                });
            }
        });
    };
    burst(0..400);
    let messages = sink.wait_accepted(400);
    for message in &messages {
        let (n, got) = (message.serial().parse().unwrap(), message.text());
        let (_, arrived) = got.split_once("\r\n\r\n").unwrap();
        assert!(arrived == body(n), "message {n} is {got}");
    }
    // files that wait for further messages are gone as well when none come
    wait_empty(server.install());
    burst(400..600);
    sink.wait_accepted(600);
    server.stop();
    assert_eq!(server.install().queue_files(), Vec::<String>::new());
    assert!(sink.serials().values().all(|count| *count == 1));
}

// covers PB-19, PB-20, PB-24
#[test]
fn full_disk_is_a_temporary_refusal_and_leaves_nothing_half_written() {
    let sink = Sink::start();
    let install = to_next_hop(sink.addr());
    if !relaying::tiny_queue(&install, "256k") {
        return harness::skip("a small file system over the queue directory needs root");
    }
    let _unmount = relaying::Unmount::queue_of(install.path());
    let server = Server::start(install);
    let large = format!("{}{}", numbered("large"), "0123456789\r\n".repeat(40_000));
    let mut client = greeted(&server);
    let reply = client.send_mail("a@b.test", &["to@far.test", "to@near.test"], &large);
    reply.expect(452);
    assert_eq!(server.install().queue_files(), [""; 0]);
    client
        .send_mail("a@b.test", &["to@far.test"], &numbered("small"))
        .expect(250);
    client.quit();
    sink.wait_accepted(1);
    wait_empty(server.install());
    sink.assert_each_once(&["small"]);
}

// covers PB-19
#[test]
fn queue_that_cannot_be_written_is_a_temporary_refusal() {
    let sink = Sink::start();
    let install = to_next_hop(sink.addr());
    if !relaying::tiny_queue(&install, "256k") {
        return harness::skip("a read-only queue directory needs root to make one");
    }
    let _unmount = relaying::Unmount::queue_of(install.path());
    let server = Server::start(install);
    server.wait_for_log("worker 1 listening", DEADLINE);
    relaying::remount(server.install(), "ro");
    let mut client = greeted(&server);
    client
        .send_mail("a@b.test", &["to@far.test"], &numbered("1"))
        .expect(451);
    relaying::remount(server.install(), "rw");
    client
        .send_mail("a@b.test", &["to@far.test"], &numbered("2"))
        .expect(250);
    client.quit();
    sink.wait_accepted(1);
    wait_empty(server.install());
    sink.assert_each_once(&["2"]);
}
