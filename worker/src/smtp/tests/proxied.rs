//! Clients behind a proxy: what is awaited, what it changes, and who may not.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::plugin::Wants;

use super::rig::{BANNER, BYE, Client, Rig, pausing, taking, with};
use crate::hooks::tests::script::{Loaded, plugin};
use crate::rt;

const TRUSTING: &str = "[haproxy]\nhosts[] = 192.0.2.0/24\n";
const LINE: &str = "PROXY TCP4 203.0.113.9 198.51.100.7 50000 587\r\n";

fn binary(command: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[command, 0x11, 0, u8::try_from(addresses.len()).unwrap()]);
    header.extend_from_slice(addresses);
    header
}

fn binary_client() -> Vec<u8> {
    binary(
        0x21,
        &[203, 0, 113, 9, 198, 51, 100, 7, 0xc3, 0x50, 2, 0x4b],
    )
}

/// Writes down who the client is at these hooks.
fn noting(seen: &Rc<RefCell<Vec<String>>>) -> Loaded {
    let seen = Rc::clone(seen);
    let hooks = [
        Wants::hook(HookName::ConnectInit),
        Wants::hook(HookName::Connect),
    ];
    plugin("note", &hooks, move |call, cx| {
        if let Some(conn) = &cx.connection {
            let line = format!("{} {}", call.hook().name(), conn.remote_ip());
            seen.borrow_mut().push(line);
        }
        Box::pin(async { Verdict::CONT })
    })
}

async fn said_nothing(c: &mut Client) {
    let mut buffer = [0; 16];
    let read = c.stream.read(&mut buffer);
    let waited = rt::timeout(Duration::from_secs(5), read).await;
    assert!(waited.is_err(), "the server speaks before the header");
}

async fn is_the_client(rig: &Rig, c: &mut Client) {
    let banner = c.reply().await;
    assert!(banner.starts_with(BANNER), "{banner}");
    let remote = c.conn.remote.borrow().clone();
    assert_eq!(remote.ip.to_string(), "203.0.113.9");
    assert_eq!((remote.port, remote.is_local), (50000, false));
    let local = c.conn.local.get();
    assert_eq!(
        (local.ip.to_string().as_str(), local.port),
        ("198.51.100.7", 587)
    );
    let proxy = c.conn.proxy.get();
    assert!(proxy.allowed);
    assert_eq!(proxy.ip.unwrap().to_string(), "192.0.2.1");
    assert!(!c.conn.early_talker.get());
    let notes = c.conn.notes.get("proxy").unwrap();
    assert_eq!(
        serde_json::to_string(&notes).unwrap(),
        concat!(
            r#"{"type":"haproxy","proto":"TCP4","src_ip":"203.0.113.9","src_port":"50000","#,
            r#""dst_ip":"198.51.100.7","dst_port":"587","proxy_ip":"192.0.2.1"}"#
        )
    );
    let results = c.conn.result("remote").unwrap();
    assert_eq!(results["ip"], "203.0.113.9");
    assert_eq!(c.conn.result("local").unwrap()["port"], 587);
    let reply = c.say("EHLO x.example.com").await;
    assert!(
        reply.contains("Hello client.example.com [203.0.113.9]"),
        "{reply}"
    );
    // PA-29: the port that the client came to decides
    assert_eq!(
        c.say("MAIL FROM:<a@b.c>").await,
        "550 Authentication required"
    );
    assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
    assert_eq!(rig.worker.sessions.count(), 0);
}

// covers HAP-01, HAP-02, HAP-06, HAP-07
#[test]
fn header_comes_first_and_makes_the_connection_its_clients() {
    for header in [LINE.as_bytes().to_vec(), binary_client()] {
        let seen = Rc::default();
        with(TRUSTING, vec![noting(&seen)], async |rig| {
            let mut c = rig.connect();
            c.conn.may_relay.set(true);
            said_nothing(&mut c).await;
            assert!(seen.borrow().is_empty());
            c.send(&header).await;
            is_the_client(&rig, &mut c).await;
            assert!(!c.conn.may_relay.get());
        });
        let seen = seen.borrow();
        assert_eq!(*seen, ["connect_init 203.0.113.9", "connect 203.0.113.9"]);
    }
}

// covers HAP-06
#[test]
fn header_may_come_octet_by_octet() {
    for header in [LINE.as_bytes().to_vec(), binary_client()] {
        with(TRUSTING, vec![], async |rig| {
            let mut c = rig.connect();
            for octet in &header {
                c.send([*octet]).await;
                rt::sleep(Duration::from_millis(100)).await;
            }
            is_the_client(&rig, &mut c).await;
        });
    }
}

// covers HAP-06
#[test]
fn hello_in_the_packet_of_the_header_is_answered_and_not_early() {
    for header in [LINE.as_bytes().to_vec(), binary_client()] {
        for hello in ["EHLO a.b", "helo a.b"] {
            // The pause lets the session see the input during a hook.
            with(TRUSTING, vec![pausing(HookName::Connect, 5)], async |rig| {
                let mut c = rig.connect();
                let sent = [&header, hello.as_bytes(), b"\r\n"].concat();
                c.send(sent).await;
                assert!(c.reply().await.starts_with(BANNER));
                assert!(c.reply().await.starts_with("250"));
                assert!(!c.conn.early_talker.get(), "{hello}");
            });
        }
    }
    with(TRUSTING, vec![], async |rig| {
        let mut c = rig.connect();
        c.send(format!("{LINE}MAIL FROM:<>\r\n")).await;
        assert!(c.reply().await.starts_with(BANNER));
        assert!(c.conn.early_talker.get());
    });
}

// covers HAP-07
#[test]
fn proxy_that_speaks_for_itself_keeps_its_address() {
    for rest in [&b""[..], &[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]] {
        with(TRUSTING, vec![], async |rig| {
            let mut c = rig.connect();
            c.send(binary(0x20, rest)).await;
            assert!(c.reply().await.starts_with(BANNER));
            assert_eq!(c.conn.remote_ip().to_string(), "192.0.2.1");
            assert_eq!(c.conn.proxy.get().ip, None);
            assert!(c.conn.notes.get("proxy").is_none());
            assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
        });
    }
}

// covers HAP-02
#[test]
fn proxy_that_says_nothing_or_something_else_is_let_go_after_its_time() {
    let shorter = format!("{TRUSTING}timeout = 7\n");
    for (ini, seconds) in [(TRUSTING, 30), (&shorter, 7)] {
        for said in ["", "PROXY TC", "EHLO x\r\n", "\r\n\r\n", "\x16\x03\x01"] {
            with(ini, vec![], async |rig| {
                let start = rt::now();
                let mut c = rig.connect();
                c.send(said).await;
                assert_eq!(c.rest().await, "421 PROXY timeout\n", "{said:?}");
                // Past its end, time goes to the client that is being let go.
                let waited = (rt::now() - start).as_secs();
                assert!((seconds..seconds + 3).contains(&waited), "{waited}");
            });
        }
    }
}

#[test]
fn proxy_that_dribbles_is_let_go_after_its_time() {
    with(TRUSTING, vec![], async |rig| {
        let mut c = rig.connect();
        for octet in LINE.as_bytes().iter().take(7) {
            c.send([*octet]).await;
            rt::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(c.rest().await, "421 PROXY timeout\n");
    });
}

// covers HAP-03, HAP-04
#[test]
fn bad_header_ends_the_connection() {
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(),
        [b"PROXY ", &[b'x'; 200][..]].concat(),
        binary(0x21, &[1, 2, 3]),
        binary(0x11, &[]),
    ] {
        with(TRUSTING, vec![], async |rig| {
            let mut c = rig.connect();
            c.send(&header).await;
            assert_eq!(c.rest().await, "421 Invalid PROXY format\n");
        });
    }
}

// covers HAP-05, KEY-18
#[test]
fn header_from_anybody_else_is_refused() {
    let sent = [LINE.as_bytes().to_vec(), binary_client()];
    for header in &sent {
        let off = format!("{TRUSTING}enabled = false\n");
        for ini in ["", "[haproxy]\nhosts[] = 192.0.2.2\n", &off] {
            with(ini, vec![], async |rig| {
                let mut c = rig.greeted().await;
                c.send(header).await;
                assert_eq!(c.rest().await, "421 PROXY not allowed from 192.0.2.1\n");
            });
        }
        // Nor may the client speak for others once it is known.
        with(TRUSTING, vec![], async |rig| {
            let mut c = rig.connect();
            c.send(LINE).await;
            assert!(c.reply().await.starts_with(BANNER));
            c.send(header).await;
            assert_eq!(c.rest().await, "421 PROXY not allowed from 203.0.113.9\n");
        });
    }
}

// covers HAP-06, PB-13
#[test]
fn limit_per_address_counts_the_client_and_not_its_proxy() {
    let ini = format!("{TRUSTING}[max]\nconnections_per_ip=1\n");
    with(&ini, taking(), async |rig| {
        let mut first = rig.connect_as_proxy();
        first.send(LINE).await;
        assert!(first.reply().await.starts_with(BANNER));
        let mut second = rig.connect_as_proxy();
        second.send(LINE).await;
        assert_eq!(
            second.rest().await,
            "421 mx.example.org too many connections from your address, try again later\n"
        );
        let mut third = rig.connect_as_proxy();
        third
            .send(LINE.replace("203.0.113.9", "203.0.113.10"))
            .await;
        assert!(third.reply().await.starts_with(BANNER));
        assert_eq!(first.last("QUIT").await, format!("{BYE}\n"));
        let mut fourth = rig.connect_as_proxy();
        fourth.send(LINE).await;
        assert!(fourth.reply().await.starts_with(BANNER));
    });
}

#[test]
fn proxy_that_hangs_up_leaves_nothing_behind() {
    with(TRUSTING, vec![], async |rig| {
        let mut c = rig.connect();
        c.send("PROXY TCP4").await;
        c.stream.shutdown(std::net::Shutdown::Write).unwrap();
        c.over().await;
        assert_eq!(rig.worker.sessions.count(), 0);
    });
}
