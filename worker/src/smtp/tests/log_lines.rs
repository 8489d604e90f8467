//! The lines that operators account by: keys, values and their order as the real Haraka writes them.

use std::time::Duration;

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::log::{Format, Level, configure};
use haraka_shared::plugin::Wants;

use super::rig::{Client, answering, taking, with, with_files};
use crate::hooks::tests::script::{answers, plugin};
use crate::rt::tests::{keep_logs, logged};
use crate::rt::{self, Stream, UnixStream};
use crate::smtp::listener::admit;

/// What was logged at NOTICE about this client, without the uuid and the level.
fn notices(c: &Client) -> Vec<String> {
    let uuid = c.uuid();
    let lines = logged(&uuid)
        .into_iter()
        .filter(|l| l.starts_with("[NOTICE] ") || l.starts_with("[WARN] "));
    lines
        .map(|l| l.replace(&uuid, "U").replace("[NOTICE] ", ""))
        .collect()
}

fn log() {
    keep_logs();
    configure(Level::Info, Format::Default, false);
}

// covers LOG-11 … LOG-14, PA-27, CON-56
#[test]
fn session_with_a_message_and_refusals() {
    log();
    let judge = answering(HookName::Rcpt, |call| match call {
        haraka_shared::hook::Call::Rcpt(to) if to.address.user() == "u" => Verdict::OK,
        haraka_shared::hook::Call::Rcpt(to) if to.address.user() == "full" => {
            Verdict::deny_soft("box full")
        }
        _ => Verdict::CONT,
    });
    with("", vec![judge, super::rig::storing()], async |rig| {
        let mut c = rig.introduced().await;
        for line in [
            "MAIL",
            "MAIL FROM:<a@@b>",
            "MAIL FROM:<a@b.c>",
            "RCPT TO:<u@other.com>",
            "RCPT TO:<x@other.com>",
            "RCPT TO:<full@other.com>",
            "MAIL FROM:<>",
            "RCPT TO:<u@example.com>",
            "DATA",
            "Message-ID: <1@x>\r\nSubject: a\r\n\r\nhi\r\n.",
        ] {
            c.say(line).await;
        }
        rt::sleep(Duration::from_millis(1250)).await;
        c.last("QUIT").await;
        assert_eq!(
            notices(&c),
            [
                "[U] [core] Error: Invalid format of mail command: missing FROM: prefix",
                "[U] [core] Invalid MAIL FROM address <a@@b>: Invalid RFC-5321 address at position 3: expected sub-domain",
                "[U.1] [core] sender <a@b.c> code=CONT msg=\"\"",
                "[U.1] [core] recipient <u@other.com> code=OK msg=\"\" sender=a@b.c",
                "[U.1] [core] recipient <x@other.com> code=OK msg=\"\" sender=a@b.c",
                "[U.1] [core] recipient <full@other.com> code=DENYSOFT msg=\"box full\" sender=a@b.c",
                "[U.2] [core] sender <> code=CONT msg=\"\"",
                "[U.2] [core] recipient <u@example.com> code=OK msg=\"\" sender=\"\"",
                "[U.2] [core] message mid=<1@x> size=40 rcpts=1/0/0 delay=0 code=CONT msg=\"\"",
                "[U.2] [core] queue code=OK msg=\"Message Queued (U.2)\"",
                "[U.2] [core] disconnect ip=192.0.2.1 rdns=client.example.com helo=client.example.com relay=N \
                 early=N esmtp=Y tls=N pipe=N errors=1 txns=2 rcpts=2/1/1 msgs=1/0/0 bytes=40 \
                 lr=\"450 box full\" time=1.25",
            ]
        );
    });
}

// covers LOG-13, LOG-14
#[test]
fn refused_messages_are_logged_with_the_text_that_the_client_got() {
    log();
    let store = answers("store", HookName::Queue, Verdict::deny("no room"));
    with("", vec![super::rig::vouching(), store], async |rig| {
        let mut c = rig.introduced().await;
        for line in [
            "MAIL FROM:<a@b.c>",
            "RCPT TO:<x@y.z>",
            "DATA",
            "A: b\r\n\r\n.",
        ] {
            c.say(line).await;
        }
        c.last("QUIT").await;
        let lines = notices(&c);
        assert_eq!(
            lines[2],
            "[U.1] [core] message mid=\"\" size=11 rcpts=1/0/0 delay=0 code=CONT msg=\"\""
        );
        assert_eq!(
            lines[3],
            "[U.1] [core] queue code=DENY msg=\"no room (U.1)\""
        );
        assert!(
            lines[4].contains(" rcpts=1/0/0 msgs=0/0/1 bytes=11 lr=\"550 no room (U.1)\" "),
            "{}",
            lines[4]
        );
    });
}

// covers LOG-10, LOG-14, CON-54
#[test]
fn client_that_says_nothing_has_its_two_lines() {
    log();
    let uuid = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
    let seen = std::rc::Rc::clone(&uuid);
    let spy = crate::hooks::tests::script::plugin(
        "spy",
        &[haraka_shared::plugin::Wants::hook(HookName::ConnectInit)],
        move |_, cx| {
            *seen.borrow_mut() = cx.log_id();
            Box::pin(async { Verdict::CONT })
        },
    );
    with("", vec![spy], async |rig| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let local = "198.51.100.1:25".parse().unwrap();
        admit(
            &rig.worker,
            Stream::from(theirs),
            "[::ffff:192.0.2.1]:4321".parse().unwrap(),
            local,
        );
        ours.read(&mut [0; 200]).await.unwrap();
        rt::sleep(Duration::from_millis(500)).await;
        drop(ours);
        rig.worker.sessions.empty().await;
        rt::sleep(Duration::from_millis(1)).await;
        let id = uuid.borrow();
        let lines: Vec<_> = logged(&id)
            .into_iter()
            .filter(|l| !l.contains("hook="))
            .collect();
        assert_eq!(
            lines,
            [
                format!(
                    "[NOTICE] [{id}] [core] connect ip=192.0.2.1 port=4321 local_ip=198.51.100.1 local_port=25"
                ),
                format!("[INFO] [{id}] [core] client half closed connection ip=192.0.2.1"),
                format!(
                    "[NOTICE] [{id}] [core] disconnect ip=192.0.2.1 rdns=client.example.com helo=\"\" relay=N \
                     early=N esmtp=N tls=N pipe=N errors=0 txns=0 rcpts=0/0/0 msgs=0/0/0 bytes=0 lr=\"\" time=0.5"
                ),
            ]
        );
    });
}

// covers CON-48, LOG-14
#[test]
fn timed_out_client_is_a_warning() {
    log();
    with("", taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.rest().await;
        let lines = notices(&c);
        assert_eq!(
            lines[0],
            "[WARN] [U] [core] client connection timed out ip=192.0.2.1"
        );
        assert!(
            lines[1].ends_with(" lr=\"421 timeout\" time=300"),
            "{}",
            lines[1]
        );
    });
}

// covers CON-46, CON-47, LOG-14
#[test]
fn flags_of_the_disconnect_line() {
    log();
    with("", vec![], async |rig| {
        let mut c = rig.connect();
        c.send("HELO x\r\nEHLO y\r\nRSET\r\nRSET\r\n").await;
        c.last("QUIT").await;
        let line = &notices(&c)[0];
        assert!(
            line.contains(" helo=y relay=N early=Y esmtp=Y tls=N pipe=Y errors=0 "),
            "{line}"
        );
    });
    with(
        "",
        vec![answers(
            "p",
            HookName::Ehlo,
            Verdict::from(haraka_shared::hook::Code::DenyDisconnect),
        )],
        async |rig| {
            let mut c = rig.greeted().await;
            c.last("EHLO bad.example").await;
            let line = &notices(&c)[0];
            assert!(
                line.contains(" helo=bad.example relay=N early=N esmtp=N "),
                "{line}"
            );
        },
    );
}

// covers TXN-17, TXN-18, TXN-19
#[test]
fn odd_parts_are_told_once_for_each_kind() {
    log();
    let nested = |n: usize| -> String {
        (0..n)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
            .collect()
    };
    for (message, expected) in [
        (
            nested(4),
            "[ERROR] [U.1] [core] Max MIME depth exceeded: 3",
        ),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: x-odd\r\n\r\n\
             a\r\n--b\r\nContent-Transfer-Encoding: other\r\n\r\na\r\n--b--\r\n"
                .to_owned(),
            "[WARN] [U.1] [core] Invalid CTE on email: x-odd, using 8bit",
        ),
        (
            "Content-Type: multipart/mixed\r\n\r\na\r\n".to_owned(),
            "[WARN] [U.1] [core] Multipart message without boundary: multipart/mixed",
        ),
        (
            format!("A: b\r\n\r\n{}\r\n", "x".repeat(200)),
            "[WARN] [U.1] [core] 1 text(s) over mailparser.attachment_max_buffered (100) left as they came",
        ),
    ] {
        let files = [
            ("mailparser.max_mime_depth", "3\n"),
            ("mailparser.attachment_max_buffered", "100\n"),
        ];
        let wish = plugin("wish", &[Wants::hook(HookName::Data)], |_, cx| {
            cx.transaction().unwrap().set_banner("bye", None);
            Box::pin(async { Verdict::CONT })
        });
        let mut plugins = taking();
        plugins.push(wish);
        with_files(&files, plugins, async |rig| {
            let mut c = rig.introduced().await;
            for line in ["MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>", "DATA"] {
                c.say(line).await;
            }
            assert!(c.say(&format!("{message}.")).await.starts_with("250 "));
            let uuid = c.uuid();
            let odd: Vec<_> = logged(&uuid)
                .into_iter()
                .filter(|l| l.starts_with("[WARN]") || l.starts_with("[ERROR]"))
                .map(|l| l.replace(&uuid, "U"))
                .collect();
            assert_eq!(odd, [expected]);
        });
    }
}
