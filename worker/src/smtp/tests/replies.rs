//! Each verb's replies, word for word as the real Haraka 3.3.1 gave them to the same lines.

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::ipc::ToMaster;

use super::rig::{taking, vouching, with, with_files};
use crate::hooks::tests::script::answers;

const EHLO: &str = "250-mx.example.org Hello client.example.com [192.0.2.1], Haraka is at your service.\n\
                    250-PIPELINING\n250-8BITMIME\n250-SMTPUTF8\n250-SIZE 26214400\n250-CHUNKING\n250 DSN";
const HELO: &str =
    "250 mx.example.org Hello client.example.com [192.0.2.1], Haraka is at your service.";
const BYE: &str = "221 mx.example.org closing connection. Have a jolly good day.";

// covers CON-12 … CON-20, CON-41, PA-21
#[test]
fn verbs_without_a_transaction() {
    with("", vec![], async |rig| {
        let mut c = rig.greeted().await;
        c.dialogue(&[
            (
                "HELO",
                "501 HELO requires domain/address - see RFC-2821 4.1.1.1",
            ),
            ("HELO a\tb", "501 HELO syntax error - see RFC-2821 4.1.1.1"),
            ("HELO x.y", HELO),
            ("VRFY ü", "501 Syntax error (8-bit characters not allowed)"),
            (
                "EHLO",
                "501 EHLO requires domain/address - see RFC-2821 4.1.1.1",
            ),
            ("EHLO a\tb", "501 EHLO syntax error - see RFC-2821 4.1.1.1"),
            ("EHLO x.y", EHLO),
            ("NOOP", "250 OK"),
            ("NOOP foo", "250 OK"),
            ("HELP", "250 Not implemented"),
            (
                "VRFY joe",
                "252 Just try sending a mail and we'll see how it turns out...",
            ),
            (
                "VRFY ü",
                "252 Just try sending a mail and we'll see how it turns out...",
            ),
            ("EXPN x", "500 Unrecognized command"),
            ("EXPN x", "500 Unrecognized command"),
            ("", "500 Unrecognized command"),
            ("RSET x", "501 Syntax error"),
            ("RSET", "250 OK"),
            ("QUIT now", "501 Syntax error"),
            ("QUIT", BYE),
        ])
        .await;
        assert_eq!(c.rest().await, "");
        assert_eq!(c.conn.errors.get(), 3);
    });
}

// covers CON-21 … CON-27, CON-31, CON-42, PA-19, PA-20, PA-21
#[test]
fn verbs_of_a_transaction() {
    let local = answers("local", HookName::Rcpt, Verdict::OK);
    let other = crate::hooks::tests::script::plugin(
        "other",
        &[haraka_shared::plugin::Wants::at(HookName::Rcpt, -1)],
        |call, _| {
            let foreign = matches!(call, haraka_shared::hook::Call::Rcpt(to) if to.address.host() != "example.com");
            let code = if foreign {
                haraka_shared::hook::Code::Stop
            } else {
                haraka_shared::hook::Code::Cont
            };
            Box::pin(async move { code.into() })
        },
    );
    let store = answers("store", HookName::Queue, Verdict::OK);
    with("", vec![local, other, store], async |rig| {
        let mut c = rig.greeted().await;
        c.dialogue(&[
            ("MAIL FROM:<a@b.c>", "503 Use EHLO/HELO before MAIL"),
            ("EHLO x", EHLO),
            ("MAIL", "501-Command parsing failed\n501 Error: Invalid format of mail command: missing FROM: prefix"),
            (
                "MAIL FROM <a@b.c>",
                "501-Command parsing failed\n501 Error: Invalid format of mail command: missing FROM: prefix",
            ),
            ("MAIL FROM:<a@b.c> body=7bit auth=<>", "250 sender <a@b.c> OK"),
            (
                "MAIL FROM:<a@@b>",
                "501 Invalid MAIL FROM address <a@@b>: Invalid RFC-5321 address at position 3: expected sub-domain",
            ),
            ("MAIL FROM:<a@b.c> SIZE=99999999", "550 Message too big!"),
            ("RCPT TO:<a@b.c>", "550 I cannot deliver mail for <a@b.c>"),
            ("DATA", "503 RCPT required first"),
            ("MAIL FROM:<a@b.c>", "250 sender <a@b.c> OK"),
            ("RCPT", "501-Command parsing failed\n501 Error: Invalid format of rcpt command: missing TO: prefix"),
            (
                "RCPT TO:<x",
                "501 Invalid RCPT TO address <x: Invalid RFC-5321 address at position 2: expected \"@\"",
            ),
            ("RCPT TO:<u@other.com>", "550 I cannot deliver mail for <u@other.com>"),
            ("DATA", "503 RCPT required first"),
            ("DATA x", "501 Syntax error"),
            ("RCPT TO:<u@example.com>", "250 recipient <u@example.com> OK"),
            ("MAIL FROM:<>", "250 sender <> OK"),
            ("RCPT TO:<u@example.com>", "250 recipient <u@example.com> OK"),
            ("DATA", "354 go ahead, make my day"),
            ("Subject: a\r\n\r\nhi\r\n.", "250 Message Queued ({U}.3)"),
            ("RCPT TO:<u@example.com>", "503 Use MAIL before RCPT"),
            ("DATA", "503 MAIL required first"),
            ("QUIT", BYE),
        ])
        .await;
        assert_eq!(c.conn.errors.get(), 9);
        assert_eq!(c.conn.rcpt_count.to_string(), "2/0/2");
        assert_eq!(c.conn.msg_count.to_string(), "1/0/0");
    });
}

// covers CON-13, CON-21, CON-24
#[test]
fn parameters_need_ehlo() {
    with("", taking(), async |rig| {
        let mut c = rig.greeted().await;
        c.dialogue(&[
            ("HELO x", HELO),
            ("MAIL FROM:<a@b.c> SIZE=5", "555 Invalid command parameters"),
            ("MAIL FROM:<a@b.c>", "250 sender <a@b.c> OK"),
            (
                "RCPT TO:<u@example.com> A=b",
                "555 Invalid command parameters",
            ),
            (
                "MAIL FROM:<ü@b.c>",
                "501 Syntax error (8-bit characters not allowed)",
            ),
        ])
        .await;
        assert_eq!(c.conn.errors.get(), 0);
    });
}

// covers PA-19
#[test]
fn data_after_refused_recipients_in_a_group_is_554() {
    with("", vec![], async |rig| {
        let mut c = rig.introduced().await;
        c.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<u@other.com>\r\nDATA\r\n")
            .await;
        assert_eq!(c.reply().await, "250 sender <a@b.c> OK");
        assert_eq!(
            c.reply().await,
            "550 I cannot deliver mail for <u@other.com>"
        );
        assert_eq!(c.reply().await, "554 No valid recipients");
    });
}

// covers CON-57, PA-29
#[test]
fn submission_ports_want_authentication() {
    with("", vec![vouching()], async |rig| {
        for (port, reply) in [
            (587, "550 Authentication required"),
            (25, "250 sender <a@b.c> OK"),
        ] {
            let mut c = rig.connect_from("192.0.2.1", port);
            c.reply().await;
            c.dialogue(&[("EHLO x", EHLO), ("MAIL FROM:<a@b.c>", reply)])
                .await;
            c.conn.set_relaying(true);
            assert_eq!(c.say("MAIL FROM:<a@b.c>").await, "250 sender <a@b.c> OK");
        }
    });
}

// covers HAP-05
#[test]
fn proxy_line_from_an_ordinary_client_closes() {
    with("", vec![], async |rig| {
        let mut c = rig.greeted().await;
        assert_eq!(
            c.last("PROXY TCP4 1.2.3.4 5.6.7.8 1 2").await,
            "421 PROXY not allowed from 192.0.2.1\n"
        );
    });
}

// covers CON-53, PB-02, PRC-21
#[test]
fn internal_commands_need_the_key_and_a_local_client() {
    let key = [("internalcmd_key", "secret\n")];
    with_files(&key, vec![], async |rig| {
        let mut c = rig.greeted().await;
        assert_eq!(
            c.say("INTERNALCMD key:secret flushQueue").await,
            "501 INTERNALCMD not allowed remotely"
        );
        let mut c = rig.connect_from("127.0.0.1", 25);
        c.reply().await;
        c.dialogue(&[
            ("INTERNALCMD", "501 Missing internalcmd_key - check config"),
            (
                "INTERNALCMD flushQueue",
                "501 Missing internalcmd_key - check config",
            ),
            (
                "INTERNALCMD key:secres flushQueue",
                "501 Invalid internalcmd_key - check config",
            ),
            ("INTERNALCMD key:secret", "501 No command given"),
            (
                "INTERNALCMD key:secret exec",
                "501 Command is not one of flushQueue, gracefulRestart",
            ),
        ])
        .await;
        const SENT: &str = "250 Command sent for execution. Check Haraka logs for results.";
        c.dialogue(&[
            ("INTERNALCMD key:secret flushQueue Example.COM", SENT),
            ("internalcmd key:secret  gracefulRestart", SENT),
        ])
        .await;
        let orders = rig.orders();
        assert!(
            matches!(&orders[0], ToMaster::FlushQueue { domain: Some(d) } if d == "example.com")
        );
        assert!(matches!(orders[1], ToMaster::GracefulRestart));
        assert_eq!(orders.len(), 2);
    });
    with("", vec![], async |rig| {
        let mut c = rig.connect_from("127.0.0.1", 25);
        c.reply().await;
        assert_eq!(
            c.say("INTERNALCMD key: flushQueue").await,
            "501 Invalid internalcmd_key - check config"
        );
    });
}
