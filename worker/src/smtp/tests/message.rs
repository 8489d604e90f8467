//! DATA: what is kept of a message, where, and how it is refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{Code, HookName, Verdict};
use haraka_shared::plugin::Wants;
use haraka_shared::transaction::Transaction;

use super::rig::{Client, Rig, taking, with};
use crate::hooks::tests::script::{Loaded, answers, plugin};
use crate::rt;

/// Keeps the transactions that come to the queue hook.
pub(super) fn keeping(kept: &Rc<RefCell<Vec<Transaction>>>) -> Loaded {
    let kept = Rc::clone(kept);
    plugin("keep", &[Wants::at(HookName::DataPost, 0)], move |_, cx| {
        kept.borrow_mut().extend(cx.transaction());
        Box::pin(async { Verdict::CONT })
    })
}

async fn at_data(rig: &Rig) -> Client {
    let mut c = rig.introduced().await;
    c.say("MAIL FROM:<a@b.c>").await;
    c.say("RCPT TO:<x@y.z>").await;
    assert_eq!(c.say("DATA").await, "354 go ahead, make my day");
    c
}

pub(super) fn body(txn: &Transaction) -> Vec<u8> {
    let body = txn.body.borrow();
    let mut bytes = vec![0; usize::try_from(body.len()).unwrap()];
    let mut at = 0;
    while at < bytes.len() {
        let got = body.read_at(at as u64, &mut bytes[at..]).unwrap();
        assert!(got > 0);
        at += got;
    }
    bytes
}

/// Sends this and the final dot; gives header without our Received, and body.
fn stored(ini: &str, message: &str) -> (String, String) {
    let kept = Rc::default();
    let mut plugins = taking();
    plugins.push(keeping(&kept));
    with(ini, plugins, async |rig| {
        let mut c = at_data(&rig).await;
        let reply = c.say(&format!("{message}.")).await;
        assert!(reply.starts_with("250 Message Queued"), "{reply}");
    });
    let txn = kept.borrow()[0].clone();
    let body = String::from_utf8(body(&txn)).unwrap();
    let mut header = txn.header.borrow_mut();
    assert_eq!(header.remove("Received"), 1);
    (String::from_utf8(header.as_bytes().to_vec()).unwrap(), body)
}

// covers TXN-06, PB-35
#[test]
fn header_and_body_are_kept_as_they_came_in_memory_and_on_disk() {
    let long = format!("A: b\r\n\r\n{}\r\n", "x".repeat(100_000));
    for ini in [
        "",
        "[main]\nspool_after=0\n",
        "[main]\nspool_after=10\n",
        "[main]\nspool_after=-1\n",
    ] {
        for (message, header, text) in [
            (
                "A: b\r\nC: d\r\n\r\nhi\r\n..\r\n",
                "A: b\r\nC: d\r\n",
                "hi\r\n..\r\n",
            ),
            ("A: b\r\n", "A: b\r\n", ""),
            ("A: b\r\nno field\r\n", "A: b\r\n", "no field\r\n"),
            (
                "\r\njust text of some length\r\n",
                "",
                "just text of some length\r\n",
            ),
            (
                "just text of some length\r\n",
                "",
                "just text of some length\r\n",
            ),
            ("", "", ""),
            (&long, "A: b\r\n", long.split_at(8).1),
        ] {
            let (got_header, got_body) = stored(ini, message);
            assert_eq!(got_header, header, "{ini:?} {:.40?}", message);
            assert!(
                got_body == text,
                "{ini:?} {:.40?}: {:.80?}",
                message,
                got_body
            );
        }
    }
}

// covers TXN-02, TXN-04, KEY-26
#[test]
fn received_field_is_the_first_and_has_haraka_s_form() {
    let kept = Rc::default();
    let mut plugins = taking();
    plugins.push(keeping(&kept));
    with("", plugins, async |rig| {
        let mut c = at_data(&rig).await;
        c.say("A: b\r\n\r\nhi\r\n.").await;
        let txn = kept.borrow()[0].clone();
        let header = String::from_utf8(txn.header.borrow().as_bytes().to_vec()).unwrap();
        let start = format!(
            "Received: from client.example.com (client.example.com [192.0.2.1])\r\n\
             \tby mx.example.org (Haraka/{}) with ESMTP id {}.1\r\n\
             \tenvelope-from <a@b.c>;\r\n\t",
            env!("CARGO_PKG_VERSION"),
            c.uuid()
        );
        assert!(header.starts_with(&start), "{header}");
        assert!(header.ends_with("\r\nA: b\r\n"));
        assert_eq!(txn.data_bytes.get(), 15);
    });
    with(
        "[headers]\nadd_received=false\n",
        vec![answers("v", HookName::Rcpt, Verdict::OK), keeping(&kept)],
        async |rig| {
            let mut c = at_data(&rig).await;
            c.say("A: b\r\n\r\nhi\r\n.").await;
            assert_eq!(kept.borrow()[1].header.borrow().as_bytes(), b"A: b\r\n");
        },
    );
}

/// `bytes` of message, the dot not counted.
fn of_size(bytes: usize) -> String {
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let mut message = "A: b\r\n\r\n".to_owned();
    while message.len() + line.len() + 3 <= bytes {
        message.push_str(line);
    }
    let rest = bytes - message.len() - 2;
    message + &"x".repeat(rest) + "\r\n"
}

// covers CON-34, PA-20, HOK-16
#[test]
fn message_of_just_the_limit_is_taken_and_one_byte_more_is_not() {
    for (size, code, reply) in [
        (100_000, None, "250 Message Queued ({U}.1)"),
        (100_001, None, "550 Message too big!"),
        (300_000, None, "550 Message too big!"),
        (100_001, Some(Code::DenySoft), "450 Message too big!"),
        (100_001, Some(Code::Deny), "550 Message too big!"),
        (100_001, Some(Code::Ok), "550 Message too big!"),
    ] {
        let mut plugins = taking();
        plugins.extend(code.map(|code| {
            answers(
                "max",
                HookName::MaxDataExceeded,
                Verdict::new(code, "unused"),
            )
        }));
        with("[max]\nbytes=100000\n", plugins, async |rig| {
            let mut c = at_data(&rig).await;
            let message = of_size(size);
            assert_eq!(message.len(), size);
            // Both ends must run for as much as the socket does not hold.
            for piece in message.as_bytes().chunks(50_000) {
                c.stream.write_all(piece).await.unwrap();
            }
            c.dialogue(&[
                (".", reply),
                ("NOOP", "250 OK"),
                ("DATA", "503 MAIL required first"),
            ])
            .await;
        });
    }
}

// covers CON-21, PA-20
#[test]
fn announced_size_over_the_limit_is_refused_at_once() {
    with("[max]\nbytes=1000\n", taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.dialogue(&[
            ("MAIL FROM:<a@b.c> SIZE=1001", "550 Message too big!"),
            (
                "MAIL FROM:<a@b.c> SIZE=99999999999999999999999",
                "550 Message too big!",
            ),
            ("MAIL FROM:<a@b.c> SIZE=1000", "250 sender <a@b.c> OK"),
        ])
        .await;
    });
    with("[max]\nbytes=0\n", taking(), async |rig| {
        let mut c = rig.introduced().await;
        assert_eq!(
            c.say("MAIL FROM:<a@b.c> SIZE=99999999999").await,
            "250 sender <a@b.c> OK"
        );
    });
}

// covers KEY-13, KEY-14, TXN-25, TXN-30, CON-55
#[test]
fn large_message_is_in_a_file_without_a_name_and_memory_stays_small() {
    let spool = std::env::temp_dir().join(format!("haraka-spool-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&spool).unwrap();
    let kept = Rc::default();
    let mut plugins = taking();
    plugins.push(keeping(&kept));
    let ini = format!(
        "[main]\nspool_dir={}\nspool_after=100000\n",
        spool.display()
    );
    let message = of_size(3_000_000);
    with(&ini, plugins, async |rig| {
        let mut c = at_data(&rig).await;
        for piece in message.as_bytes().chunks(50_000) {
            c.stream.write_all(piece).await.unwrap();
        }
        c.dialogue(&[(".", "250 Message Queued ({U}.1)")]).await;
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
        let txn = kept.borrow()[0].clone();
        assert!(txn.body.borrow().on_disk());
        assert_eq!(
            txn.body.borrow().slices().map(<[u8]>::len).sum::<usize>(),
            0
        );
        assert!(body(&txn) == message.as_bytes()[8..]);
    });
    std::fs::remove_dir(&spool).unwrap();
}

// covers PB-24, CON-51
#[test]
fn spool_directory_that_cannot_be_written_puts_the_message_off_only() {
    with(
        "[main]\nspool_dir=/nonexistent/spool\nspool_after=1000\n",
        taking(),
        async |rig| {
            let mut c = at_data(&rig).await;
            let message = of_size(200_000);
            for piece in message.as_bytes().chunks(50_000) {
                c.stream.write_all(piece).await.unwrap();
            }
            c.dialogue(&[
                (".", "452 4.3.1 Insufficient system storage"),
                ("MAIL FROM:<a@b.c>", "250 sender <a@b.c> OK"),
                ("RCPT TO:<x@y.z>", "250 recipient <x@y.z> OK"),
                ("DATA", "354 go ahead, make my day"),
                ("small\r\n.", "250 Message Queued ({U}.2)"),
            ])
            .await;
            assert_eq!(c.conn.msg_count.to_string(), "1/1/0");
        },
    );
}

// covers PB-01, CON-33
#[test]
fn lone_line_feeds_end_no_message() {
    let smuggled = "A: b\r\n\r\none\n.\r\nMAIL FROM:<evil@b.c>\r\n";
    let (_, text) = stored("", smuggled);
    assert_eq!(text, "one\r\n..\r\nMAIL FROM:<evil@b.c>\r\n");
    for (what, reply) in [
        ("one\ntwo\r\n.", "550 5.6.11 Message has a bare line feed"),
        (
            "one\rtwo\r\n.",
            "550 5.6.11 Message has a bare carriage return",
        ),
    ] {
        with("[main]\nbare_newline=reject\n", taking(), async |rig| {
            let mut c = at_data(&rig).await;
            c.dialogue(&[(what, reply), ("NOOP", "250 OK")]).await;
        });
    }
}

// covers CON-36
#[test]
fn too_many_received_fields_are_a_loop() {
    for (fields, reply) in [
        (4, "250 Message Queued ({U}.1)"),
        (5, "550 Too many received headers - possible mail loop"),
    ] {
        with("[headers]\nmax_received=5\n", taking(), async |rig| {
            let mut c = at_data(&rig).await;
            c.dialogue(&[(&("Received: x\r\n".repeat(fields) + "\r\n."), reply)])
                .await;
        });
    }
}

#[test]
fn client_that_leaves_within_its_message_is_not_served_further() {
    let kept: Rc<RefCell<Vec<Transaction>>> = Rc::default();
    let mut plugins = taking();
    plugins.push(keeping(&kept));
    with("", plugins, async |rig| {
        let mut c = at_data(&rig).await;
        c.send("A: b\r\n\r\nhalf a mess").await;
        c.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(c.rest().await, "");
        assert!(kept.borrow().is_empty());
        assert!(c.conn.transaction().is_none());
        assert_eq!(c.conn.msg_count.to_string(), "0/0/0");
    });
}

// covers PB-55
#[test]
fn client_that_closes_its_half_after_the_dot_still_gets_its_reply() {
    let mut plugins = taking();
    plugins.push(super::rig::pausing(HookName::DataPost, 5));
    with("", plugins, async |rig| {
        let mut c = at_data(&rig).await;
        c.send("A: b\r\n\r\ntext\r\n.\r\n").await;
        c.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(
            c.rest().await,
            format!("250 Message Queued ({}.1)\n", c.uuid())
        );
        assert_eq!(c.conn.msg_count.to_string(), "1/0/0");
    });
}

#[test]
fn data_that_trickles_in_is_one_message() {
    let kept: Rc<RefCell<Vec<Transaction>>> = Rc::default();
    let mut plugins = taking();
    plugins.push(keeping(&kept));
    with("", plugins, async |rig| {
        let mut c = at_data(&rig).await;
        for byte in "A: b\r\n\r\nte\r\n..xt\r\n.\r\n".chars() {
            c.send(&byte.to_string()).await;
            rt::sleep(Duration::from_millis(10)).await;
        }
        assert!(c.reply().await.starts_with("250 Message Queued"));
        assert_eq!(body(&kept.borrow()[0]), b"te\r\n..xt\r\n");
    });
}

// covers CON-37, TXN-07, PA-28, KEY-27
#[test]
fn authentication_results_are_ours_only_and_seen_before_and_after_data_post() {
    const FOREIGN: &str = "Authentication-Results: evil;\r\n\tspf=pass\r\nA: b\r\n";
    let ours = "Authentication-Results: mx.example.org;\r\n\tauth=pass x;\r\n\tspf=fail";
    let original = "Original-Authentication-Results: evil;\r\n\tspf=pass\r\n";
    for (clean, noted, before, after) in [
        (
            true,
            false,
            format!("A: b\r\n{original}"),
            format!("A: b\r\n{original}"),
        ),
        (
            true,
            true,
            format!("A: b\r\n{original}{ours}\r\n"),
            format!("{ours};\r\n\tdkim=pass\r\nA: b\r\n{original}"),
        ),
        (false, false, FOREIGN.to_owned(), FOREIGN.to_owned()),
        (
            false,
            true,
            format!("{FOREIGN}{ours}\r\n"),
            format!("{ours};\r\n\tdkim=pass\r\nA: b\r\n"),
        ),
    ] {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let notes = Rc::clone(&seen);
        let hooks = [HookName::Mail, HookName::DataPost, HookName::Queue].map(|h| Wants::at(h, -1));
        let spy = plugin("spy", &hooks, move |call, cx| {
            let (conn, txn) = (cx.connection.as_ref().unwrap(), cx.transaction().unwrap());
            let note = |entries: &[&str]| txn.notes.set("authentication_results", entries);
            match call.hook() {
                HookName::Mail if noted => {
                    conn.notes
                        .set("authentication_results", vec!["auth=pass\r\n x"]);
                    note(&["spf=fail"]);
                }
                HookName::Mail => {}
                hook => {
                    let header = txn.header.borrow().as_bytes().to_vec();
                    notes.borrow_mut().push(String::from_utf8(header).unwrap());
                    if noted && hook == HookName::DataPost {
                        note(&["spf=fail", "dkim=pass"]);
                    }
                }
            }
            Box::pin(async { Verdict::CONT })
        });
        let mut plugins = taking();
        plugins.push(spy);
        let ini = format!("[headers]\nadd_received=false\nclean_auth_results={clean}\n");
        with(&ini, plugins, async |rig| {
            let mut c = at_data(&rig).await;
            c.say(&format!("{FOREIGN}\r\n.")).await;
            assert_eq!(*seen.borrow(), [before, after]);
        });
    }
}
