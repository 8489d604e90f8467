//! No end of data but CRLF . CRLF, wherever packets are cut, and nothing with a bare CR or LF leaves
//! (PB-01, RFC 5321 §2.3.8).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::plugin::Wants;
use haraka_shared::transaction::Transaction;

use super::message::{body, keeping};
use super::rig::{BANNER, Client, Rig, taking, with};
use crate::hooks::tests::script::plugin;
use crate::outbound::WireForm;
use crate::rt;

/// What would be a message of its own if the data ended before it.
const SECOND: &str = "MAIL FROM:<evil@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nevil\r\n";

/// Everything that some server takes for the end of data, with its neighbours.
fn variants() -> Vec<String> {
    let ends = [
        "\r\n", "\n", "\r", "\r\r\n", "\n\r", "\0\r\n", "\r\0\n", "\r\n\0", "\n\n", "",
    ];
    let pairs = ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b)));
    pairs
        // A line that begins with CRLF and a dot, and ends with CRLF right away, is the real end.
        .filter(|(a, b)| !((a.ends_with("\r\n")) && b.starts_with("\r\n")))
        .map(|(a, b)| format!("{a}.{b}"))
        .collect()
}

/// Sends in these pieces, each of which the server reads before the next one comes.
async fn pieces(c: &mut Client, pieces: &[&[u8]]) {
    for piece in pieces {
        c.send(piece).await;
        rt::sleep(Duration::from_millis(1)).await;
    }
}

/// The message must leave as one: no bare CR or LF, and no lone dot before its end.
fn assert_one(what: &str, txn: &Transaction) {
    let mut sent = txn.header.borrow().as_bytes().to_vec();
    sent.extend_from_slice(b"\r\n");
    sent.extend(body(txn));
    sent.extend_from_slice(WireForm::finish_known(&sent));
    assert_pure(what, &sent);
    let end = sent.windows(5).position(|w| w == b"\r\n.\r\n").unwrap();
    assert_eq!(end + 5, sent.len(), "{what}: {}", sent.escape_ascii());
    assert!(sent.windows(4).any(|w| w == b"evil"), "{what}");
}

fn assert_pure(what: &str, sent: &[u8]) {
    for (at, octet) in sent.iter().enumerate() {
        let whole = match octet {
            b'\r' => sent.get(at + 1) == Some(&b'\n'),
            b'\n' => at > 0 && sent[at - 1] == b'\r',
            _ => continue,
        };
        assert!(
            whole,
            "{what}: bare line end at {at} of {}",
            sent.escape_ascii()
        );
    }
}

/// Waits for each reply before the next command.
async fn envelope(c: &mut Client) {
    for line in ["MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>"] {
        let reply = c.say(line).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
}

fn keeper(kept: &Rc<RefCell<Vec<Transaction>>>) -> Vec<crate::hooks::tests::script::Loaded> {
    let mut plugins = taking();
    plugins.push(keeping(kept));
    plugins
}

async fn one_data(rig: &Rig, what: &str, cut: &[&[u8]]) {
    let mut c = rig.introduced().await;
    envelope(&mut c).await;
    assert!(c.say("DATA").await.starts_with("354 "));
    pieces(&mut c, cut).await;
    let queued = format!("250 Message Queued ({}.1)", c.uuid());
    assert_eq!(c.reply().await, queued, "{what}");
    assert_eq!(c.say("NOOP").await, "250 OK", "{what}");
    assert_eq!(c.conn.tran_count.get(), 1, "{what}");
    assert!(!c.conn.early_talker.get(), "{what}");
}

// covers PB-01, CON-33
#[test]
fn no_variant_ends_data_when_the_client_waits_for_every_reply() {
    let kept = Rc::new(RefCell::new(Vec::new()));
    with("", keeper(&kept), async |rig| {
        for variant in variants() {
            let data = format!("A: b\r\n\r\none{variant}{SECOND}.\r\n");
            let what = variant.escape_debug().to_string();
            // cut around the variant, and once everywhere
            let from = data.find("one").unwrap();
            for at in from..from + variant.len() + 6 {
                let (a, b) = data.as_bytes().split_at(at);
                one_data(&rig, &what, &[a, b]).await;
            }
            let single: Vec<&[u8]> = data.as_bytes().chunks(1).collect();
            one_data(&rig, &what, &single).await;
            for txn in kept.borrow_mut().drain(..) {
                assert_one(&what, &txn);
            }
        }
    });
}

/// The end of data that there is, so that the tests beside it cannot pass for nothing.
#[test]
fn real_end_of_data_makes_two_messages_wherever_it_is_cut() {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let data = format!("A: b\r\n\r\none\r\n.\r\n{SECOND}.\r\n");
    with("", keeper(&kept), async |rig| {
        for at in 0..data.len() {
            let mut c = rig.introduced().await;
            envelope(&mut c).await;
            assert!(c.say("DATA").await.starts_with("354 "));
            let (a, b) = data.as_bytes().split_at(at);
            pieces(&mut c, &[a, b]).await;
            for code in [
                "250 Message",
                "250 sender",
                "250 recipient",
                "354",
                "250 Message",
            ] {
                let reply = c.reply().await;
                assert!(reply.starts_with(code), "cut at {at}: {reply}");
            }
        }
    });
    assert_eq!(kept.borrow().len(), 2 * data.len());
}

// covers PB-01, PB-76
#[test]
fn no_variant_ends_a_chunk_wherever_it_is_cut() {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let mut all = variants();
    all.push("\r\n.\r\n".to_owned());
    with("", keeper(&kept), async |rig| {
        for variant in all {
            let chunk = format!("A: b\r\n\r\none{variant}{SECOND}");
            let what = variant.escape_debug().to_string();
            let sent = format!("BDAT {} LAST\r\n{chunk}", chunk.len());
            let from = sent.find("one").unwrap();
            let cuts = (from..from + variant.len() + 6).chain(0..20);
            for at in cuts {
                let (a, b) = sent.as_bytes().split_at(at);
                one_chunk(&rig, &what, &[a, b]).await;
            }
            let single: Vec<&[u8]> = sent.as_bytes().chunks(1).collect();
            one_chunk(&rig, &what, &single).await;
            // and as two chunks, cut within the variant
            let (a, b) = chunk.split_at(chunk.find("one").unwrap() + 4);
            let first = format!("BDAT {}\r\n{a}", a.len());
            let second = format!("BDAT {} LAST\r\n{b}", b.len());
            let mut c = rig.introduced().await;
            envelope(&mut c).await;
            c.send(&first).await;
            assert!(c.reply().await.starts_with("250 "), "{what}");
            c.send(&second).await;
            assert!(c.reply().await.starts_with("250 Message Queued"), "{what}");
            for txn in kept.borrow_mut().drain(..) {
                assert_one(&what, &txn);
            }
        }
    });
}

async fn one_chunk(rig: &Rig, what: &str, cut: &[&[u8]]) {
    let mut c = rig.introduced().await;
    envelope(&mut c).await;
    pieces(&mut c, cut).await;
    let queued = format!("250 Message Queued ({}.1)", c.uuid());
    assert_eq!(c.reply().await, queued, "{what}");
    assert_eq!(c.say("NOOP").await, "250 OK", "{what}");
    assert_eq!(c.conn.tran_count.get(), 1, "{what}");
}

/// Texts that would end a line early or begin another one.
const HOSTILE: [&str; 8] = [
    "a\r\nX-Injected: b",
    "a\nX-Injected: b",
    "a\rX-Injected: b",
    "a\r\n\r\nX-Injected: b",
    "a\n\nX-Injected: b",
    "a\r\n.\r\nX-Injected: b",
    "a\r",
    "\n\r\n\r",
];

// covers PA-28, TXN-24
#[test]
fn fields_that_plugins_add_hold_no_bare_line_end_and_end_no_header() {
    for hostile in HOSTILE {
        let hooks = [HookName::DataPost, HookName::Mail].map(|hook| Wants::at(hook, -5));
        let spoiler = plugin("spoiler", &hooks, move |call, cx| {
            let (conn, txn) = (cx.connection.as_ref().unwrap(), cx.transaction().unwrap());
            if call.hook() == HookName::Mail {
                conn.add_auth_result(hostile);
            } else {
                let mut header = txn.header.borrow_mut();
                header.add("X-First", hostile);
                header.add_end("X-Last", hostile);
                header.add_raw("X-Raw", hostile.as_bytes());
                header.add_end_raw("X-Raw-Last", hostile.as_bytes());
                header.add(hostile, "name");
                header.add_end_raw(hostile, b"name");
            }
            Box::pin(async { Verdict::CONT })
        });
        let kept = Rc::new(RefCell::new(Vec::new()));
        let mut plugins = keeper(&kept);
        plugins.push(spoiler);
        with("", plugins, async |rig| {
            let mut c = rig.introduced().await;
            envelope(&mut c).await;
            c.say("DATA").await;
            c.say("A: b\r\n\r\nevil\r\n.").await;
        });
        let kept = kept.borrow();
        let what = hostile.escape_debug().to_string();
        assert_one(&what, &kept[0]);
        let header = kept[0].header.borrow();
        let block = header.as_bytes();
        assert!(
            !block.windows(4).any(|w| w == b"\r\n\r\n"),
            "{}",
            block.escape_ascii()
        );
        for line in block.split(|b| *b == b'\n') {
            assert!(!line.starts_with(b"X-Injected"), "{}", block.escape_ascii());
        }
    }
}

// covers PB-01, CON-52
#[test]
fn replies_hold_no_bare_line_end_whatever_plugins_and_clients_say() {
    const HOOKS: [HookName; 8] = [
        HookName::Ehlo,
        HookName::Noop,
        HookName::Vrfy,
        HookName::Mail,
        HookName::Rcpt,
        HookName::Data,
        HookName::DataPost,
        HookName::Queue,
    ];
    for hostile in HOSTILE {
        for hook in HOOKS {
            for verdict in [Verdict::deny(hostile), Verdict::deny_soft(hostile)] {
                let mut plugins = taking();
                let answer = Wants::at(hook, -50);
                plugins.push(plugin("judge", &[answer], move |_, _| {
                    let verdict = verdict.clone();
                    Box::pin(async move { verdict })
                }));
                let ini = "[uuid]\ndeny_chars=8\n";
                with(ini, plugins, async |rig| {
                    let mut c = rig.connect();
                    for line in [
                        "EHLO c.test",
                        "NOOP a\rb",
                        "VRFY a\0b",
                        "MAIL FROM:<a@b.c>",
                        "RCPT TO:<x@y.z>",
                        "DATA",
                    ] {
                        c.send(format!("{line}\r\n")).await;
                        rt::sleep(Duration::from_millis(1)).await;
                    }
                    c.send("A: b\r\n\r\nx\r\n.\r\nQUIT\r\n").await;
                    let said = c.rest_raw().await;
                    let what = format!("{} {}", hook.name(), hostile.escape_debug());
                    assert_pure(&what, &said);
                    assert!(said.starts_with(BANNER.as_bytes()), "{what}");
                    for line in said.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                        let code = line.iter().take(3).all(u8::is_ascii_digit);
                        let sign = line.get(3).is_some_and(|s| b" -".contains(s));
                        assert!(code && sign, "{what}: {}", line.escape_ascii());
                    }
                });
            }
        }
    }
}
