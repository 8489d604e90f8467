//! BDAT: chunks become messages, and nothing in them becomes a command.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{Call, Code, HookName, Verdict};
use haraka_shared::transaction::Transaction;

use super::message::{body, keeping};
use super::rig::{BYE, Client, Rig, answering, pausing, taking, with};
use crate::hooks::tests::script::{Loaded, answers};
use crate::rt;

const ENVELOPE: &str = "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\n";

async fn at_message(rig: &Rig) -> Client {
    let mut c = rig.introduced().await;
    c.say("MAIL FROM:<a@b.c>").await;
    c.say("RCPT TO:<x@y.z>").await;
    c
}

fn kept_with(kept: &Rc<RefCell<Vec<Transaction>>>) -> Vec<Loaded> {
    let mut plugins = taking();
    plugins.push(keeping(kept));
    plugins
}

/// Header without our Received, and body.
pub(super) fn text(txn: &Transaction) -> String {
    let mut header = txn.header.borrow_mut();
    header.remove("Received");
    let header = String::from_utf8(header.as_bytes().to_vec()).unwrap();
    format!("{header}|{}", String::from_utf8(body(txn)).unwrap())
}

/// Sends each chunk, its octets in the packet of its command; gives what is stored.
fn stored(ini: &str, chunks: &[&str]) -> String {
    let kept = Rc::default();
    with(ini, kept_with(&kept), async |rig| {
        let mut c = at_message(&rig).await;
        for (at, chunk) in chunks.iter().enumerate() {
            let last = at + 1 == chunks.len();
            let word = if last { " LAST" } else { "" };
            c.send(format!("BDAT {}{word}\r\n{chunk}", chunk.len()))
                .await;
            let reply = c.reply().await;
            let expected = match last {
                false => format!("250 {} octets received", chunk.len()),
                true => format!("250 Message Queued ({}.1)", c.uuid()),
            };
            assert_eq!(reply, expected);
        }
        assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
        assert!(!c.conn.early_talker.get());
    });
    let kept = kept.borrow();
    assert_eq!(kept.len(), 1);
    let octets: usize = chunks.iter().map(|c| c.len()).sum();
    assert_eq!(kept[0].data_bytes.get(), octets as u64);
    text(&kept[0])
}

// covers PB-76
#[test]
fn chunks_become_the_message_that_data_would_have_made() {
    for ini in ["", "[main]\nspool_after=0\n", "[main]\nspool_after=5\n"] {
        for (chunks, expected) in [
            (&["A: b\r\n\r\nhi\r\n"][..], "A: b\r\n|hi\r\n"),
            (&["A: b\r\n", "\r\nhi\r\n", ""], "A: b\r\n|hi\r\n"),
            (&["A: b\r\n\r\nh", "i"], "A: b\r\n|hi\r\n"),
            (
                &["", "A: b\r", "\n\r\n.\r\n.", ".\r\n"],
                "A: b\r\n|..\r\n...\r\n",
            ),
            (&["A: b\n\nx\ry\n.\nz"], "A: b\r\n|x\r\ny\r\n..\r\nz\r\n"),
            (
                &["A: b\r\n\r\nQUIT\r\n.\r\nRSET\r\n"],
                "A: b\r\n|QUIT\r\n..\r\nRSET\r\n",
            ),
            (&["A: b\r\n\r\n\0\u{e9}\r\n"], "A: b\r\n|\0\u{e9}\r\n"),
            (&[""], "|"),
            (&["", ""], "|"),
        ] {
            assert_eq!(stored(ini, chunks), expected, "{ini} {chunks:?}");
        }
    }
}

#[test]
fn large_chunks_pass_through_buffers_and_disk_unharmed() {
    let line = "0123456789 the quick brown fox jumps over\r\n.dots too\r\n";
    let body = line.repeat(20_000);
    let chunk = format!("A: b\r\n\r\n{body}");
    let expected = format!("A: b\r\n|{}", body.replace("\n.", "\n.."));
    for ini in ["", "[main]\nspool_after=1000\n"] {
        let (first, second) = chunk.split_at(300_001);
        assert!(stored(ini, &[first, second]) == expected);
    }
}

// covers PA-18, PB-76
#[test]
fn chunks_may_be_pipelined_with_everything() {
    let kept = Rc::default();
    with("", kept_with(&kept), async |rig| {
        let mut c = rig.introduced().await;
        let one = format!("{ENVELOPE}BDAT 8\r\nA: b\r\n\r\nBDAT 0\r\nBDAT 6 LAST\r\nQUIT\r\n");
        c.send(format!("{one}{one}QUIT\r\n")).await;
        let answers = |n| {
            format!(
                "250 sender <a@b.c> OK\n250 recipient <x@y.z> OK\n250 8 octets received\n\
                 250 0 octets received\n250 Message Queued ({}.{n})\n",
                c.uuid()
            )
        };
        let expected = format!("{}{}{BYE}\n", answers(1), answers(2));
        assert_eq!(c.rest().await, expected);
        assert!(c.conn.pipelining.get() && !c.conn.early_talker.get());
    });
    for txn in kept.borrow().iter() {
        assert_eq!(text(txn), "A: b\r\n|QUIT\r\n");
    }
    assert_eq!(kept.borrow().len(), 2);
}

#[test]
fn chunk_out_of_order_is_read_and_refused() {
    with("", taking(), async |rig| {
        let mut c = rig.introduced().await;
        let bad = "QUIT\r\nQUIT\r\n";
        c.send(format!("BDAT 12 LAST\r\n{bad}")).await;
        assert_eq!(c.reply().await, "503 MAIL required first");
        c.say("MAIL FROM:<a@b.c>").await;
        c.send(format!("BDAT 12\r\n{bad}")).await;
        assert_eq!(c.reply().await, "503 RCPT required first");
        c.say("RCPT TO:<x@y.z>").await;
        c.send("BDAT 2 LAST\r\n\r\n").await;
        assert!(c.reply().await.starts_with("250 Message Queued"));
        // LAST twice
        c.send(format!("BDAT 12 LAST\r\n{bad}")).await;
        assert_eq!(c.reply().await, "503 MAIL required first");
        assert_eq!(c.conn.errors.get(), 3);
        assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
    });
}

#[test]
fn between_chunks_only_bdat_goes_on_and_rset_begins_anew() {
    with("", taking(), async |rig| {
        let mut c = at_message(&rig).await;
        c.send("BDAT 2\r\nA:").await;
        assert_eq!(c.reply().await, "250 2 octets received");
        let busy = "503 Send BDAT or RSET first";
        c.dialogue(&[
            ("DATA", busy),
            ("MAIL FROM:<e@b.c>", busy),
            ("RCPT TO:<e@y.z>", busy),
            ("NOOP", "250 OK"),
        ])
        .await;
        c.send("BDAT 6 LAST\r\n b\r\n\r\n").await;
        assert_eq!(
            c.reply().await,
            format!("250 Message Queued ({}.1)", c.uuid())
        );

        for reset in ["RSET", "EHLO x.y"] {
            c.send(format!("{ENVELOPE}BDAT 2\r\nA:")).await;
            for _ in 0..3 {
                c.reply().await;
            }
            assert!(c.say(reset).await.starts_with("250"));
            c.send("BDAT 4 LAST\r\nQUIT").await;
            assert_eq!(c.reply().await, "503 MAIL required first");
            // What came before is forgotten: DATA may follow.
            assert_eq!(c.say("MAIL FROM:<a@b.c>").await, "250 sender <a@b.c> OK");
            c.say("RCPT TO:<x@y.z>").await;
            assert_eq!(c.say("DATA").await, "354 go ahead, make my day");
            assert!(c.say("x\r\n.").await.starts_with("250 Message Queued"));
        }
    });
}

#[test]
fn chunk_after_data_needs_a_transaction_of_its_own() {
    with("", taking(), async |rig| {
        let mut c = at_message(&rig).await;
        c.say("DATA").await;
        assert!(c.say("x\r\n.").await.starts_with("250 Message Queued"));
        c.send("BDAT 6 LAST\r\nQUIT\r\n").await;
        assert_eq!(c.reply().await, "503 MAIL required first");
        c.send(format!("{ENVELOPE}DATA\r\nBDAT 3 LAST\r\n.\r\n.\r\n"))
            .await;
        // Behind DATA it is text.
        c.reply().await;
        c.reply().await;
        assert_eq!(c.reply().await, "354 go ahead, make my day");
        assert!(c.reply().await.starts_with("250 Message Queued"));
    });
}

#[test]
fn size_that_nobody_can_read_ends_the_connection() {
    for argument in [
        "",
        "x",
        "-1",
        "5 LAST 6",
        "99999999999999999999999",
        "5LAST",
    ] {
        with("", taking(), async |rig| {
            let mut c = at_message(&rig).await;
            c.send(format!("BDAT {argument}\r\nMAIL FROM:<e@b.c>\r\n"))
                .await;
            assert_eq!(
                c.rest().await,
                "521 5.5.4 Syntax: BDAT size [LAST], closing connection\n"
            );
        });
    }
}

// covers PA-20, KEY-22
#[test]
fn message_over_the_limit_is_read_to_the_end_of_its_chunk_and_refused() {
    let denying = answers("deny", HookName::MaxDataExceeded, Code::DenySoft.into());
    for (extra, code) in [(None, 550), (Some(denying), 450)] {
        let mut plugins = taking();
        plugins.extend(extra);
        with("[max]\nbytes=20\n", plugins, async |rig| {
            let mut c = at_message(&rig).await;
            c.send("BDAT 10\r\nA: b\r\n\r\nx\n").await;
            assert_eq!(c.reply().await, "250 10 octets received");
            let more = "QUIT\r\n".repeat(10_000);
            c.send(format!(
                "BDAT {}\r\n{more}BDAT 6 LAST\r\nQUIT\r\n",
                more.len()
            ))
            .await;
            assert_eq!(c.reply().await, format!("{code} Message too big!"));
            assert_eq!(c.reply().await, "503 MAIL required first");
            assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
        });
    }
}

#[test]
fn announced_exabytes_take_no_memory_and_no_longer_than_a_message_may() {
    with("[max]\ndata_time=60\n", taking(), async |rig| {
        let mut c = at_message(&rig).await;
        c.send("BDAT 18446744073709551615 LAST\r\n").await;
        for _ in 0..10 {
            c.send("QUIT\r\n".repeat(1000)).await;
            rt::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(c.rest().await, "421 timeout\n");
    });
}

// covers PB-01
#[test]
fn lone_line_ends_are_refused_where_data_refuses_them() {
    let kept = Rc::default();
    with(
        "[main]\nbare_newline=reject\n",
        kept_with(&kept),
        async |rig| {
            let mut c = at_message(&rig).await;
            for (chunk, what) in [("a\nb\r\n", "line feed"), ("a\r", "carriage return")] {
                c.send(format!("BDAT {} LAST\r\n{chunk}", chunk.len()))
                    .await;
                assert_eq!(
                    c.reply().await,
                    format!("550 5.6.11 Message has a bare {what}")
                );
                c.say("MAIL FROM:<a@b.c>").await;
                c.say("RCPT TO:<x@y.z>").await;
            }
        },
    );
    assert!(kept.borrow().is_empty());
}

// covers HOK-15
#[test]
fn data_hook_is_asked_once_and_its_denial_reads_the_chunk() {
    for (code, reply) in [(Code::Deny, "554 no"), (Code::DenySoft, "451 no")] {
        let mut plugins = taking();
        plugins.push(answers("deny", HookName::Data, Verdict::new(code, "no")));
        with("", plugins, async |rig| {
            let mut c = at_message(&rig).await;
            c.send("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n").await;
            assert_eq!(c.reply().await, reply);
            assert_eq!(c.reply().await, "503 MAIL required first");
            assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
        });
    }
    let mut plugins = taking();
    plugins.push(answers("deny", HookName::Data, Code::DenyDisconnect.into()));
    with("", plugins, async |rig| {
        let mut c = at_message(&rig).await;
        c.send("BDAT 600\r\nQUIT\r\n").await;
        assert_eq!(c.rest().await, "554 Message denied\n");
    });
    let asked = Rc::new(RefCell::new(0));
    let count = Rc::clone(&asked);
    let mut plugins = taking();
    plugins.push(answering(HookName::Data, move |call| {
        assert!(matches!(call, Call::Data(())));
        *count.borrow_mut() += 1;
        Verdict::CONT
    }));
    plugins.push(pausing(HookName::Data, 5));
    with("", plugins, async |rig| {
        let mut c = at_message(&rig).await;
        c.send("BDAT 6\r\nA: b\r\nBDAT 2\r\n\r\nBDAT 0 LAST\r\n")
            .await;
        for _ in 0..2 {
            c.reply().await;
        }
        assert!(c.reply().await.starts_with("250 Message Queued"));
        assert!(!c.conn.early_talker.get());
    });
    assert_eq!(*asked.borrow(), 1);
}

#[test]
fn client_that_is_lost_within_or_between_chunks_leaves_nothing() {
    for sent in [
        "BDAT 10 LAST\r\nA: b\r\n\r\n",
        "BDAT 8\r\nA: b\r\n\r\n",
        "BDAT 10 LA",
    ] {
        let kept = Rc::default();
        with("", kept_with(&kept), async |rig| {
            let mut c = at_message(&rig).await;
            c.send(sent).await;
            c.stream.shutdown(std::net::Shutdown::Write).unwrap();
            c.over().await;
            assert!(c.conn.transaction().is_none());
            assert_eq!(rig.worker.sessions.count(), 0);
        });
        assert!(kept.borrow().is_empty(), "{sent:?}");
    }
}

#[test]
fn who_was_not_offered_chunks_cannot_send_them() {
    with("", taking(), async |rig| {
        let mut c = rig.greeted().await;
        c.say("HELO x.y").await;
        c.send("BDAT 6 LAST\r\nQUIT\r\n").await;
        assert_eq!(c.reply().await, "503 Use EHLO before BDAT");
    });
    with("[esmtp]\nchunking=false\n", taking(), async |rig| {
        let mut c = rig.greeted().await;
        let reply = c.say("EHLO x.y").await;
        assert!(!reply.contains("CHUNKING"), "{reply}");
        assert_eq!(c.say("BDAT 0 LAST").await, "500 Unrecognized command");
    });
}
