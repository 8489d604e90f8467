//! What each answer of a plugin at each hook makes of the reply and of the session.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::hook::{Call, Code, HookName, Message, Verdict};
use haraka_shared::plugin::Wants;
use haraka_shared::reply::{Enhanced, Reply};

use super::rig::{Client, Rig, answering, taking, vouching, with};
use crate::hooks::tests::script::{Loaded, answers, meddle, plugin};

/// How a hook's answers come out.
struct Row {
    hook: HookName,
    /// DENY and DENYDISCONNECT.
    hard: (u16, &'static str),
    /// DENYSOFT and DENYSOFTDISCONNECT.
    soft: (u16, &'static str),
    /// OK, and whether the plugin's text is the reply's.
    ok: (u16, &'static str, bool),
    /// Any code that the hook does not know, such as DISCONNECT (PA-16).
    other: (u16, &'static str, bool),
    /// What a denial that does not close leaves of the transaction.
    keeps_transaction: bool,
    relaying: bool,
}

const HELLO: &str =
    "mx.example.org Hello client.example.com [192.0.2.1], Haraka is at your service.";
const EHLO: &str = "mx.example.org Hello client.example.com [192.0.2.1], Haraka is at your service.\n\
                    PIPELINING\n8BITMIME\nSMTPUTF8\nSIZE 26214400\nCHUNKING\nDSN";
const BYE: &str = "mx.example.org closing connection. Have a jolly good day.";
const VRFY: &str = "Just try sending a mail and we'll see how it turns out...";
const GO: &str = "go ahead, make my day";
const QUEUED: &str = "Message Queued ({T})";
const DECLINED: &str = "Queuing declined or disabled, try later ({T})";

/// The hooks that a plugin can deny at, in the order of a session; those of the start are in
/// `start.rs`.
fn rows() -> Vec<Row> {
    let row = |hook, hard, soft, ok, other| Row {
        hook,
        hard,
        soft,
        ok,
        other,
        keeps_transaction: false,
        relaying: false,
    };
    let sender = "sender <a@b.c> denied";
    let recipient = "recipient <x@y.z> denied";
    let denied = "Message denied ({T})";
    let later = "Message denied temporarily ({T})";
    let mut rows = vec![
        row(
            HookName::Helo,
            (550, "HELO denied"),
            (450, "HELO denied"),
            (250, HELLO, false),
            (250, HELLO, false),
        ),
        row(
            HookName::Ehlo,
            (550, "EHLO denied"),
            (450, "EHLO denied"),
            (250, EHLO, false),
            (250, EHLO, false),
        ),
        row(
            HookName::Noop,
            (500, "Stop wasting my time"),
            (450, "Stop wasting my time"),
            (250, "OK", false),
            (250, "OK", false),
        ),
        row(
            HookName::Vrfy,
            (550, "Access Denied"),
            (450, "Lookup Failed"),
            (250, "User OK", true),
            (252, VRFY, false),
        ),
        row(
            HookName::Mail,
            (550, sender),
            (450, sender),
            (250, "sender <a@b.c> OK", true),
            (250, "sender <a@b.c> OK", true),
        ),
        row(
            HookName::Rcpt,
            (550, recipient),
            (450, recipient),
            (250, "recipient <x@y.z> OK", true),
            (550, "I cannot deliver mail for <x@y.z>", false),
        ),
        row(
            HookName::RcptOk,
            (550, recipient),
            (450, recipient),
            (250, "recipient <x@y.z> OK", true),
            (250, "recipient <x@y.z> OK", true),
        ),
        row(
            HookName::Data,
            (554, "Message denied"),
            (451, "Message denied"),
            (354, GO, false),
            (354, GO, false),
        ),
        row(
            HookName::DataPost,
            (550, "Message denied"),
            (450, "Message denied temporarily"),
            (250, QUEUED, false),
            (250, QUEUED, false),
        ),
        row(
            HookName::Queue,
            (550, denied),
            (450, later),
            (250, QUEUED, true),
            (451, DECLINED, true),
        ),
        // Not OK and no denial: the built-in queue takes it.
        row(
            HookName::QueueOutbound,
            (550, denied),
            (450, later),
            (250, QUEUED, true),
            (250, QUEUED, false),
        ),
    ];
    for row in &mut rows {
        row.keeps_transaction =
            matches!(row.hook, HookName::Noop | HookName::Rcpt | HookName::RcptOk);
        row.relaying = row.hook == HookName::QueueOutbound;
    }
    rows
}

/// Goes to the hook and gives the reply that it decides.
async fn reach(rig: &Rig, hook: HookName) -> (Client, String) {
    let mut c = rig.greeted().await;
    if matches!(hook, HookName::Helo | HookName::Ehlo) {
        let reply = c.say(&format!("{} x", hook.name())).await;
        return (c, reply);
    }
    let after_data = matches!(
        hook,
        HookName::DataPost | HookName::Queue | HookName::QueueOutbound
    );
    let lines: &[&str] = match hook {
        HookName::Mail => &["EHLO x", "MAIL FROM:<a@b.c>"],
        HookName::Noop => &["EHLO x", "MAIL FROM:<a@b.c>", "NOOP"],
        HookName::Vrfy => &["EHLO x", "MAIL FROM:<a@b.c>", "VRFY joe"],
        HookName::Rcpt | HookName::RcptOk => &["EHLO x", "MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>"],
        _ => &["EHLO x", "MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>", "DATA"],
    };
    let mut reply = String::new();
    for line in lines {
        reply = c.say(line).await;
    }
    if after_data {
        assert_eq!(reply, format!("354 {GO}"));
        reply = c.say("Subject: s\r\n\r\ntext\r\n.").await;
    }
    (c, reply)
}

/// The reply on the wire, lines separated by LF.
fn wire(code: u16, text: &str) -> String {
    String::from_utf8(Reply::new(code, text.to_owned()).to_wire())
        .unwrap()
        .replace("\r\n", "\n")
        .trim_end()
        .to_owned()
}

fn messages() -> [Message; 5] {
    let reply = || Reply::new(571, "all of it");
    [
        Message::None,
        Message::Text("".into()),
        Message::Text("mine".into()),
        Message::Text("one\ntwo".into()),
        Message::Reply(reply().with_enhanced(Enhanced::new(5, 7, 1).unwrap())),
    ]
}

/// What the client sees for a plugin's message where the hook would say this.
fn expected(row: &Row, code: u16, default: &str, message: &Message, txn: &str) -> String {
    let queueing = matches!(row.hook, HookName::Queue | HookName::QueueOutbound);
    let tail = if queueing {
        format!(" ({txn})")
    } else {
        String::new()
    };
    match message {
        Message::Text(text) if !text.is_empty() => wire(code, &format!("{text}{tail}")),
        Message::Reply(reply) => format!("571 5.7.1 {}{tail}", reply.text()),
        _ => wire(code, &default.replace("{T}", txn)),
    }
}

// covers CON-14 … CON-19, CON-22, CON-25, CON-32, CON-38 … CON-40, CON-52,
// covers HOK-08, HOK-11 … HOK-15, HOK-17, HOK-18, HOK-21, PA-03, PA-16, PA-17, PB-69, PB-74
#[test]
fn every_answer_at_every_hook_has_its_reply() {
    for row in rows() {
        for code in [
            Code::Deny,
            Code::DenySoft,
            Code::DenyDisconnect,
            Code::DenySoftDisconnect,
            Code::Disconnect,
            Code::Stop,
            Code::Ok,
        ] {
            for message in messages() {
                check(&row, code, message);
            }
        }
    }
}

fn check(row: &Row, code: Code, message: Message) {
    let about = format!("{} {} {message:?}", row.hook.name(), code.name());
    let mut plugins = taking();
    plugins.insert(
        0,
        answers(
            "judge",
            row.hook,
            Verdict {
                code,
                message: message.clone(),
            },
        ),
    );
    if row.relaying {
        plugins.push(relaying());
    }
    with("", plugins, async |rig| {
        let (mut c, reply) = reach(&rig, row.hook).await;
        let txn = format!("{}.1", c.uuid());
        let (number, default, takes_text) = match code {
            Code::Deny | Code::DenyDisconnect => (row.hard.0, row.hard.1, true),
            Code::DenySoft | Code::DenySoftDisconnect => (row.soft.0, row.soft.1, true),
            Code::Ok => row.ok,
            _ => row.other,
        };
        let message = if takes_text { message } else { Message::None };
        assert_eq!(
            reply,
            expected(row, number, default, &message, &txn),
            "{about}"
        );
        if matches!(code, Code::DenyDisconnect | Code::DenySoftDisconnect) {
            assert_eq!(c.rest().await, "", "{about}");
            return;
        }
        if number == 354 {
            return;
        }
        assert_eq!(c.say("HELP").await, "250 Not implemented", "{about}");
        if code.denies() && !matches!(row.hook, HookName::Helo | HookName::Ehlo) {
            assert_eq!(
                c.conn.transaction().is_some(),
                row.keeps_transaction,
                "{about}"
            );
        }
        let hello = c.conn.hello.borrow().is_some();
        let refused = code.denies() && matches!(row.hook, HookName::Helo | HookName::Ehlo);
        assert_eq!(hello, !refused, "{about}");
    });
}

/// May send anywhere.
fn relaying() -> Loaded {
    plugin("relay", &[Wants::hook(HookName::ConnectInit)], |_, cx| {
        cx.connection.as_ref().unwrap().set_relaying(true);
        Box::pin(async { Verdict::CONT })
    })
}

// covers CON-25, HOK-12, HOK-13
#[test]
fn recipient_plugins_text_is_the_reply_unless_rcpt_ok_has_its_own() {
    let vouch = || answers("vouch", HookName::Rcpt, Verdict::ok("known here"));
    with("", vec![vouch()], async |rig| {
        assert_eq!(reach(&rig, HookName::Rcpt).await.1, "250 known here");
    });
    let deny = answers("deny", HookName::RcptOk, Verdict::from(Code::Deny));
    with("", vec![vouch(), deny], async |rig| {
        assert_eq!(reach(&rig, HookName::Rcpt).await.1, "550 known here");
    });
    let own = answers("own", HookName::RcptOk, Verdict::new(Code::Cont, "mine"));
    with("", vec![vouch(), own], async |rig| {
        assert_eq!(reach(&rig, HookName::Rcpt).await.1, "250 mine");
    });
    with("", vec![relaying()], async |rig| {
        assert_eq!(
            reach(&rig, HookName::Rcpt).await.1,
            "250 recipient <x@y.z> OK"
        );
    });
}

// covers CON-26, HOK-11, TXN-01
#[test]
fn results_tell_what_became_of_sender_and_recipients() {
    let keep = std::rc::Rc::new(std::cell::RefCell::new(None));
    let kept = std::rc::Rc::clone(&keep);
    let grab = plugin("grab", &[Wants::hook(HookName::Mail)], move |_, cx| {
        *kept.borrow_mut() = cx.transaction();
        Box::pin(async { Verdict::CONT })
    });
    let judge = plugin("judge", &[Wants::hook(HookName::Rcpt)], |call, _| {
        let haraka_shared::hook::Call::Rcpt(to) = call else {
            panic!("only rcpt")
        };
        let verdict = match to.address.user() {
            "good" => Verdict::OK,
            "bad" => Verdict::deny("not you"),
            "later" => Verdict::from(Code::DenySoft),
            _ => Verdict::CONT,
        };
        Box::pin(async move { verdict })
    });
    with("", vec![grab, judge], async |rig| {
        let mut c = rig.introduced().await;
        c.say("MAIL FROM:<a@b.c>").await;
        for user in ["good", "bad", "later", "nobody"] {
            c.say(&format!("RCPT TO:<{user}@y.z>")).await;
        }
        let txn = keep.take().unwrap();
        let from = txn.results.get("mail_from").unwrap();
        let said = [&from["action"], &from["code"], &from["address"]];
        assert_eq!(said, ["accept", "CONT", "a@b.c"]);
        assert_eq!(
            txn.results.get("rcpt_to").unwrap()["recipient"],
            serde_json::json!([
                { "address": "good@y.z", "action": "accept" },
                { "address": "bad@y.z", "action": "reject", "msg": "not you", "code": "DENY" },
                { "address": "later@y.z", "action": "tempfail" },
                {
                    "address": "nobody@y.z", "action": "reject",
                    "msg": "I cannot deliver mail for <nobody@y.z>", "code": "CONT"
                },
            ])
        );
        assert_eq!(txn.recipient_count(), 1);
        assert_eq!(txn.rcpt_count.to_string(), "1/1/2");
    });
}

// covers CON-41, HOK-10
#[test]
fn answers_to_an_unknown_verb() {
    for (code, number, closes, counts) in [
        (Code::Cont, 500, false, 1),
        (Code::Deny, 500, false, 0),
        (Code::DenySoft, 500, false, 1),
        (Code::DenyDisconnect, 521, true, 0),
        (Code::DenySoftDisconnect, 421, true, 0),
        (Code::Disconnect, 500, false, 1),
    ] {
        for text in [None, Some("what?")] {
            let message = text.map_or(Message::None, |t: &str| Message::Text(t.to_owned().into()));
            let judge = answers(
                "judge",
                HookName::UnrecognizedCommand,
                Verdict { code, message },
            );
            with("", vec![judge], async |rig| {
                let mut c = rig.introduced().await;
                let expected = format!("{number} {}", text.unwrap_or("Unrecognized command"));
                assert_eq!(c.say("AUTH PLAIN").await, expected);
                assert_eq!(c.conn.errors.get(), counts, "{code:?}");
                if closes {
                    assert_eq!(c.rest().await, "");
                } else {
                    assert_eq!(c.say("NOOP").await, "250 OK");
                }
            });
        }
    }
}

// covers HOK-21
#[test]
fn quit_takes_a_text_and_rset_none() {
    for code in [Code::Cont, Code::Ok, Code::Deny, Code::DenySoftDisconnect] {
        let quit = answers("p", HookName::Quit, Verdict::new(code, "so long"));
        let rset = answers("p", HookName::Rset, Verdict::new(code, "never"));
        with("", vec![quit, rset], async |rig| {
            let mut c = rig.introduced().await;
            assert_eq!(c.say("RSET").await, "250 OK");
            assert_eq!(c.last("QUIT").await, "221 so long\n");
        });
    }
    with(
        "",
        vec![answers("p", HookName::Quit, Verdict::from(Code::Deny))],
        async |rig| {
            assert_eq!(
                rig.introduced().await.last("QUIT").await,
                format!("221 {BYE}\n")
            );
        },
    );
}

// covers HOK-09
#[test]
fn capabilities_are_what_the_hook_leaves() {
    let add = plugin("tls", &[Wants::hook(HookName::Capabilities)], |_, cx| {
        let conn = cx.connection.as_ref().unwrap();
        conn.capabilities.borrow_mut().push("STARTTLS".to_owned());
        Box::pin(async { Verdict::deny("ignored") })
    });
    with(
        "[main]\nsmtputf8=false\n[max]\nbytes=0\n",
        vec![add],
        async |rig| {
            let mut c = rig.greeted().await;
            let expected = format!(
                "250-{HELLO}\n250-PIPELINING\n250-8BITMIME\n250-SIZE 0\n250-CHUNKING\n250-DSN\n250 STARTTLS"
            );
            assert_eq!(c.say("EHLO x").await, expected);
        },
    );
}

// The session never holds a borrow of the connection while a plugin runs.
#[test]
fn plugin_may_change_the_connection_at_every_hook_of_a_session() {
    let wants: Vec<Wants> = HookName::ALL.iter().map(|&h| Wants::at(h, -100)).collect();
    let meddler = plugin("meddler", &wants, |_, cx| {
        if let Some(connection) = &cx.connection {
            meddle(connection);
        }
        Box::pin(async { Verdict::CONT })
    });
    let mut plugins = taking();
    plugins.push(meddler);
    with("[uuid]\ndeny_chars=1\n", plugins, async |rig| {
        let mut c = rig.greeted().await;
        for (line, code) in [
            ("HELO x", "250"),
            ("EHLO x", "250"),
            ("FOO", "500"),
            ("VRFY x", "252"),
            ("NOOP", "250"),
            ("RSET", "250"),
            ("MAIL FROM:<a@b.c>", "250"),
            ("RCPT TO:<x@y.z>", "250"),
            ("DATA", "354"),
            ("Subject: s\r\n\r\nbody\r\n.", "250"),
            ("MAIL FROM:<a@b.c>", "250"),
        ] {
            let reply = c.say(line).await;
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
        c.last("QUIT").await;
    });
}

// covers HOK-19
#[test]
fn queue_ok_hears_what_was_said_and_changes_nothing() {
    for (queue, heard, reply) in [
        (
            Verdict::OK,
            vec!["Message Queued ({U}.1)"],
            "250 Message Queued ({U}.1)",
        ),
        (
            Verdict::ok("kept"),
            vec!["kept ({U}.1)"],
            "250 kept ({U}.1)",
        ),
        (Verdict::deny("no"), vec![], "550 no ({U}.1)"),
        (Verdict::deny_soft("no"), vec![], "450 no ({U}.1)"),
    ] {
        let told = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&told);
        let listener = answering(HookName::QueueOk, move |call| {
            if let Call::QueueOk(said) = call {
                seen.borrow_mut().push(said.to_owned());
            }
            Verdict::deny("too late")
        });
        let store = answers("store", HookName::Queue, queue);
        with("", vec![vouching(), store, listener], async |rig| {
            let mut c = rig.introduced().await;
            for line in ["MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>", "DATA"] {
                c.say(line).await;
            }
            c.dialogue(&[("A: b\r\n\r\n.", reply)]).await;
            let uuid = c.uuid();
            let told: Vec<_> = told
                .take()
                .iter()
                .map(|t| t.replace(&uuid, "{U}"))
                .collect();
            assert_eq!(told, heard);
        });
    }
}
