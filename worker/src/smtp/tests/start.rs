//! What a client sees before its first command.

use haraka_shared::hook::{Code, HookName, Message, Verdict};
use haraka_shared::plugin::Wants;
use haraka_shared::reply::Reply;

use super::rig::{BANNER, with};
use crate::hooks::tests::script::{answers, plugin};

// covers CON-08, KEY-32
#[test]
fn banner_shows_as_much_of_the_uuid_as_configured() {
    for (chars, shown) in [
        (6, Some(6)),
        (1, Some(1)),
        (36, Some(36)),
        (1000, Some(36)),
        (0, None),
    ] {
        with(
            &format!("[uuid]\nbanner_chars={chars}\n"),
            vec![],
            async |rig| {
                let mut c = rig.connect();
                let expected = match shown {
                    Some(n) => format!("{BANNER}{})", c.uuid().split_at(n).0),
                    None => BANNER.trim_end_matches(" (").to_owned(),
                };
                assert_eq!(c.reply().await, expected);
            },
        );
    }
}

// covers CON-08, KEY-28
#[test]
fn banner_hides_the_version_and_takes_lines_of_the_operator() {
    with("[headers]\nshow_version=false\n", vec![], async |rig| {
        let mut c = rig.connect();
        let expected = format!(
            "220 mx.example.org ESMTP Haraka ready ({})",
            c.uuid().split_at(6).0
        );
        assert_eq!(c.reply().await, expected);
    });
    let ini = "[message]\ngreeting[]=Welcome\ngreeting[]=No spam\nhelo=Go on.\nclose=Bye.\n";
    with(ini, vec![], async |rig| {
        let mut c = rig.connect();
        let expected = format!(
            "220-mx.example.org ESMTP Welcome ({})\n220 No spam",
            c.uuid().split_at(6).0
        );
        assert_eq!(c.reply().await, expected);
        c.dialogue(&[
            (
                "HELO x",
                "250 mx.example.org Hello client.example.com [192.0.2.1], Go on.",
            ),
            ("QUIT", "221 mx.example.org Bye."),
        ])
        .await;
    });
}

// covers CON-08, HOK-07, PA-01
#[test]
fn text_of_the_connect_hook_replaces_the_banner() {
    for code in [Code::Cont, Code::Ok] {
        with(
            "",
            vec![answers(
                "p",
                HookName::Connect,
                Verdict::new(code, "mine\nof two lines"),
            )],
            async |rig| {
                assert_eq!(rig.connect().reply().await, "220-mine\n220 of two lines");
            },
        );
    }
    with(
        "",
        vec![answers(
            "p",
            HookName::Connect,
            Verdict::new(Code::Cont, ""),
        )],
        async |rig| {
            assert!(rig.connect().reply().await.starts_with(BANNER));
        },
    );
}

// covers CON-09, CON-10, CON-11, PA-15, HOK-06, HOK-07
#[test]
fn denial_at_the_start_repeats_itself_until_quit_or_closes() {
    let connect = (
        HookName::Connect,
        "Your mail is not welcome here",
        "Come back later",
    );
    let rdns = (
        HookName::LookupRdns,
        "rDNS Lookup Failed",
        "rDNS Temporary Failure",
    );
    for (hook, hard, soft) in [connect, rdns] {
        for (code, number, text, stays) in [
            (Code::Deny, 554, hard, true),
            (Code::DenySoft, 421, soft, true),
            (Code::DenyDisconnect, 554, hard, false),
            (Code::DenySoftDisconnect, 421, soft, false),
            (Code::Disconnect, 554, hard, false),
        ] {
            for said in [None, Some("I know you")] {
                let verdict = Verdict {
                    code,
                    message: said.map_or(Message::None, |t| Message::Text(t.into())),
                };
                let reply = format!("{number} {}", said.unwrap_or(text));
                with("", vec![answers("p", hook, verdict)], async |rig| {
                    let mut c = rig.connect();
                    if !stays {
                        assert_eq!(c.rest().await, format!("{reply}\n"));
                        return;
                    }
                    assert_eq!(c.reply().await, reply);
                    c.dialogue(&[
                        ("EHLO x", &reply),
                        ("MAIL FROM:<a@b.c>", &reply),
                        ("QUIT now", &reply),
                    ])
                    .await;
                    let bye = "221 mx.example.org closing connection. Have a jolly good day.\n";
                    assert_eq!(c.last("quit").await, bye);
                });
            }
        }
    }
}

// covers CON-52
#[test]
fn whole_reply_of_a_plugin_sets_the_code_as_well() {
    let message = Message::Reply(Reply::new(550, "5.7.1 as I say"));
    let verdict = Verdict {
        code: Code::Deny,
        message,
    };
    with(
        "",
        vec![answers("p", HookName::Connect, verdict)],
        async |rig| {
            assert_eq!(rig.connect().reply().await, "550 5.7.1 as I say");
        },
    );
}

// covers CON-07, HOK-06
#[test]
fn name_from_a_plugin_is_used_and_an_empty_one_is_unknown() {
    for (verdict, shown) in [
        (
            Verdict::ok("host.example.net"),
            "host.example.net [192.0.2.1]",
        ),
        (Verdict::OK, "Unknown [192.0.2.1]"),
        (Verdict::ok("NXDOMAIN"), "[192.0.2.1]"),
        (Verdict::ok("DNSERROR"), "[192.0.2.1]"),
    ] {
        with(
            "",
            vec![answers("p", HookName::LookupRdns, verdict)],
            async |rig| {
                let mut c = rig.connect();
                c.reply().await;
                let expected =
                    format!("250 mx.example.org Hello {shown}, Haraka is at your service.");
                assert_eq!(c.say("HELO x").await, expected);
            },
        );
    }
}

// covers CON-41, HOK-10
#[test]
fn next_hook_greets_again_from_the_hook_that_it_names() {
    for (named, again) in [
        (
            "connect_init",
            vec!["connect_init", "lookup_rdns", "connect"],
        ),
        ("lookup_rdns", vec!["lookup_rdns", "connect"]),
        ("connect", vec!["connect"]),
    ] {
        let ran = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = std::rc::Rc::clone(&ran);
        let hooks = [
            HookName::ConnectInit,
            HookName::LookupRdns,
            HookName::Connect,
        ]
        .map(Wants::hook);
        let watcher = plugin("watch", &hooks, move |call, _| {
            seen.borrow_mut().push(call.hook().name());
            Box::pin(async { Verdict::CONT })
        });
        let jump = answers(
            "xclient",
            HookName::UnrecognizedCommand,
            Verdict::new(Code::NextHook, named),
        );
        with("", vec![watcher, jump], async |rig| {
            let mut c = rig.introduced().await;
            ran.borrow_mut().clear();
            assert!(c.say("XCLIENT ADDR=1.2.3.4").await.starts_with(BANNER));
            assert_eq!(ran.take(), again);
            assert_eq!(c.say("NOOP").await, "250 OK");
        });
    }
}

#[test]
fn next_hook_with_any_other_name_closes() {
    let lost = answers(
        "p",
        HookName::UnrecognizedCommand,
        Verdict::new(Code::NextHook, "data_post"),
    );
    with("", vec![lost], async |rig| {
        assert_eq!(
            rig.greeted().await.last("FOO").await,
            "421 Internal Server Error\n"
        );
    });
}

// covers CON-50, HOK-05
#[test]
fn every_session_has_a_disconnect_hook_even_if_it_was_refused_or_said_nothing() {
    let ended = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&ended);
    let last = plugin("last", &[Wants::hook(HookName::Disconnect)], move |_, _| {
        count.set(count.get() + 1);
        Box::pin(async { Verdict::CONT })
    });
    let refuse = plugin("refuse", &[Wants::hook(HookName::Connect)], |_, cx| {
        let code = match cx
            .connection
            .as_ref()
            .unwrap()
            .remote_ip()
            .to_string()
            .as_str()
        {
            "192.0.2.9" => Code::DenyDisconnect,
            _ => Code::Cont,
        };
        Box::pin(async move { code.into() })
    });
    with("", vec![last, refuse], async |rig| {
        rig.connect_from("192.0.2.9", 25).rest().await;
        assert_eq!(ended.get(), 1);
        let mut silent = rig.connect();
        silent.stream.shutdown(std::net::Shutdown::Both).unwrap();
        silent.over().await;
        assert_eq!(ended.get(), 2);
        assert_eq!(rig.worker.sessions.count(), 0);
    });
}

// covers HOK-02
#[test]
fn worker_starts_only_if_init_child_says_ok_or_nothing() {
    for (verdict, error) in [
        (Verdict::OK, None),
        (Verdict::CONT, None),
        (Verdict::deny("no keys"), Some("DENY: no keys")),
        (Verdict::deny_soft(""), Some("DENYSOFT")),
    ] {
        let judge = answers("judge", HookName::InitChild, verdict);
        with("", vec![judge], async |rig| {
            let begun = crate::life::init_child(&rig.worker).await;
            match (begun, error) {
                (Ok(()), None) => {}
                (Err(e), Some(text)) => assert!(e.to_string().contains(text), "{e}"),
                (begun, _) => panic!("{begun:?}, not {error:?}"),
            }
        });
    }
}
