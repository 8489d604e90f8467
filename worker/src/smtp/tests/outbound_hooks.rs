//! What outbound hooks are told, in which order they run, and what their answers do.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::address::Address;
use haraka_shared::delivery::{Decision, Delivered};
use haraka_shared::hook::{Call, Code, HookName, Verdict};
use haraka_shared::plugin::Wants;
use haraka_shared::route::{Host, Route};

use super::rig::{Rig, with, with_real_time};
use crate::hooks::tests::script::{Loaded, plugin};
use crate::rt;

type Calls = Rc<RefCell<Vec<String>>>;

const HOOKS: [HookName; 7] = [
    HookName::Rcpt,
    HookName::PreSendTransEmail,
    HookName::SendEmail,
    HookName::GetMx,
    HookName::Deferred,
    HookName::Bounce,
    HookName::DeliveredOk,
];

/// Keeps what outbound hooks are told and gives this answer; lets everybody send anywhere.
fn scripted(calls: &Calls, answer: impl Fn(Call<'_>) -> Verdict + 'static) -> Vec<Loaded> {
    let calls = Rc::clone(calls);
    let wants = HOOKS.map(Wants::hook);
    vec![plugin("script", &wants, move |call, cx| {
        let told = match call {
            Call::Deferred(d) => format!(" {} {} {}", d.delay, d.error, d.recipients.len()),
            Call::Bounce(b) => format!(" {} {}", b.error, b.recipients[0].address),
            Call::DeliveredOk(d) => {
                format!(" {} {} {} {}", d.ip, d.mode, d.response, d.recipients[0])
            }
            Call::SendEmail(item) | Call::GetMx(item) => {
                format!(" {}", item.domain.borrow())
            }
            _ => String::new(),
        };
        let verdict = match call.hook() {
            HookName::Rcpt => {
                cx.connection.as_ref().unwrap().set_relaying(true);
                Verdict::OK
            }
            HookName::PreSendTransEmail => {
                let txn = cx.transaction().unwrap();
                txn.header.borrow_mut().add_end("X-Pre", "yes");
                answer(call)
            }
            _ => answer(call),
        };
        if call.hook() != HookName::Rcpt {
            calls
                .borrow_mut()
                .push(format!("{}{told}", call.hook().name()));
        }
        Box::pin(async move { verdict })
    })]
}

/// A message from `<a@b.c>` to `<x@y.z>`, accepted into the queue.
async fn submit(rig: &Rig) {
    rig.worker.outbound.start(&rig.worker);
    let mut c = rig.introduced().await;
    for line in ["MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>"] {
        assert!(c.say(line).await.starts_with("250 "));
    }
    assert!(c.say("DATA").await.starts_with("354 "));
    let reply = c.say("Subject: x\r\n\r\nhi\r\n.").await;
    assert!(reply.starts_with("250 "), "{reply}");
}

/// Waits until so many hooks have run and nothing is being delivered.
async fn settled(rig: &Rig, calls: &Calls, many: usize) -> Vec<String> {
    for _ in 0..2000 {
        if calls.borrow().len() >= many && rig.worker.outbound.stats().in_progress == 0 {
            break;
        }
        rt::sleep(Duration::from_millis(5)).await;
    }
    calls.take()
}

// covers HOK-25, HOK-26, HOK-27, HOK-28
#[test]
fn deferral_by_get_mx_runs_all_hooks_before_it_and_takes_the_delay_of_the_last() {
    let calls = Calls::default();
    let plugins = scripted(&calls, |call| match call.hook() {
        HookName::GetMx => Verdict::deny_soft("not today"),
        HookName::Deferred => Verdict {
            message: haraka_shared::hook::Message::Seconds(7000.0),
            ..Verdict::deny_soft("")
        },
        _ => Verdict::CONT,
    });
    with("", plugins, async |rig| {
        submit(&rig).await;
        let ran = settled(&rig, &calls, 4).await;
        assert_eq!(
            ran,
            [
                "pre_send_trans_email",
                "send_email y.z",
                "get_mx y.z",
                "deferred 64 Temporary MX lookup error for y.z 1",
            ]
        );
        let files = rig.queue();
        assert_eq!(files.len(), 1);
        let (name, content) = &files[0];
        let times: Vec<u64> = name
            .split('_')
            .take(3)
            .map(|n| n.parse().unwrap())
            .collect();
        assert_eq!(times[2], 1, "{name}");
        let delay = times[1] - times[0];
        assert!((7_000_000..7_060_000).contains(&delay), "{name}");
        assert!(content.contains("\r\nX-Pre: yes\r\n"), "{content}");
    });
}

// covers HOK-27, HOK-29
#[test]
fn denial_by_get_mx_bounces_unless_a_plugin_stops_that() {
    for (stop, left) in [(false, 1), (true, 0)] {
        let calls = Calls::default();
        let plugins = scripted(&calls, move |call| match call {
            Call::GetMx(item) if *item.domain.borrow() == "y.z" => Verdict::deny("never"),
            // the bounce itself stays where it is
            Call::GetMx(_) => Verdict::deny_soft("later"),
            Call::Bounce(_) if stop => Verdict::OK,
            _ => Verdict::CONT,
        });
        with("", plugins, async |rig| {
            submit(&rig).await;
            let many = if stop { 4 } else { 7 };
            let ran = settled(&rig, &calls, many).await;
            assert_eq!(ran[3], "bounce No MX for y.z <x@y.z>", "{ran:?}");
            let files = rig.queue();
            assert_eq!(files.len(), left, "{files:?}");
            if let Some((_, content)) = files.first() {
                assert!(content.contains("To: <a@b.c>\r\n"), "{content}");
            }
        });
    }
}

// covers HOK-26
#[test]
fn delay_by_send_email_puts_off_the_delivery_and_counts_as_no_failure() {
    let calls = Calls::default();
    let asked = RefCell::new(0);
    let plugins = scripted(&calls, move |call| match call.hook() {
        HookName::SendEmail => {
            *asked.borrow_mut() += 1;
            match *asked.borrow() {
                1 => Verdict {
                    code: Code::Delay,
                    message: haraka_shared::hook::Message::Seconds(0.05),
                },
                _ => Verdict::CONT,
            }
        }
        HookName::GetMx => Verdict::deny_soft("not today"),
        _ => Verdict::CONT,
    });
    // The time in queue files is the system's own.
    with_real_time("", plugins, async |rig| {
        submit(&rig).await;
        let ran = settled(&rig, &calls, 5).await;
        assert_eq!(
            ran,
            [
                "pre_send_trans_email",
                "send_email y.z",
                "send_email y.z",
                "get_mx y.z",
                "deferred 64 Temporary MX lookup error for y.z 1",
            ]
        );
        let (name, _) = &rig.queue()[0];
        assert_eq!(name.split('_').nth(2), Some("1"), "{name}");
    });
}

/// A host that takes one message.
fn host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let input = BufReader::new(stream.try_clone().unwrap());
        stream.write_all(b"220 mx\r\n").unwrap();
        let mut data = false;
        for line in input.lines() {
            let line = line.unwrap();
            let reply = match (data, line.as_str()) {
                (true, ".") => "250 stored",
                (true, _) => continue,
                (false, "DATA") => "354 go",
                (false, _) => "250 ok",
            };
            data = reply == "354 go";
            stream.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
        }
    });
    address
}

// covers HOK-30, HOK-27
#[test]
fn delivery_by_the_route_of_a_plugin_is_told_with_host_and_reply() {
    let calls = Calls::default();
    let host = host();
    let plugins = scripted(&calls, move |call| match call.hook() {
        HookName::GetMx => Verdict::routes(vec![Route {
            port: Some(host.port()),
            ..Route::to(Host::Ip(host.ip()))
        }]),
        _ => Verdict::CONT,
    });
    with_real_time("", plugins, async |rig| {
        submit(&rig).await;
        let ran = settled(&rig, &calls, 4).await;
        assert_eq!(ran[3], "delivered 127.0.0.1 SMTP stored <x@y.z>", "{ran:?}");
        assert_eq!(rig.queue(), []);
    });
}

// covers HOK-26, HOK-28, OUT-07, PA-11
#[test]
fn what_native_plugins_leave_at_an_item_goes_into_its_file() {
    let calls = Calls::default();
    let plugins = scripted(&calls, |call| match call {
        Call::SendEmail(item) => {
            item.notes.set("seen.first", true);
            *item.mail_from.borrow_mut() = Address::from_parts("srs", "b.c").unwrap();
            item.force_tls.set(true);
            Verdict::CONT
        }
        Call::GetMx(item) => {
            assert_eq!(item.mail_from.borrow().to_string(), "<srs@b.c>");
            item.notes.set("seen.second", 2);
            Verdict::deny_soft("not today")
        }
        _ => Verdict::CONT,
    });
    with("", plugins, async |rig| {
        submit(&rig).await;
        let ran = settled(&rig, &calls, 4).await;
        assert_eq!(ran.len(), 4, "{ran:?}");
        let all = rig.queue();
        let item = all.iter().find(|(name, _)| !name.starts_with("body."));
        let (name, content) = item.unwrap();
        assert_eq!(name.split('_').nth(2), Some("1"), "{name}");
        for part in [
            "\"first\": true",
            "\"second\": 2",
            "\"user\": \"srs\"",
            "\"force_tls\": true",
        ] {
            assert!(content.contains(part), "{part} in {content}");
        }
    });
}

// covers HOK-26, HOK-28, HOK-29
#[test]
fn native_decision_takes_the_place_of_an_attempt() {
    let told = Delivered {
        host: "there.test".to_owned(),
        ip: "192.0.2.1".to_owned(),
        response: "mine".to_owned(),
        delay: 0.0,
        port: 25,
        mode: "SMTP",
        recipients: Vec::new(),
        secured: false,
        authenticated: false,
    };
    let cases = [
        (Decision::Discard, vec![], 0),
        (
            Decision::TempFail("held".to_owned()),
            vec!["deferred 64 held 1"],
            1,
        ),
        (
            Decision::Bounce("never".to_owned()),
            vec!["bounce never <x@y.z>"],
            0,
        ),
        (
            Decision::Delivered(Box::new(told)),
            vec!["delivered 192.0.2.1 SMTP mine <x@y.z>"],
            0,
        ),
    ];
    for (decision, after, left) in cases {
        let calls = Calls::default();
        let plugins = scripted(&calls, move |call| match call {
            Call::SendEmail(item) => {
                assert!(item.decide(decision.clone()));
                Verdict::from(Code::Stop)
            }
            // the report is not what this is about
            Call::Bounce(_) => Verdict::OK,
            _ => Verdict::CONT,
        });
        with("", plugins, async |rig| {
            submit(&rig).await;
            let ran = settled(&rig, &calls, 2 + after.len()).await;
            assert_eq!(ran[..2], ["pre_send_trans_email", "send_email y.z"]);
            assert_eq!(ran[2..], after);
            assert_eq!(rig.queue().len(), left);
        });
    }
}

// covers HOK-28, HOK-29
#[test]
fn native_decision_at_the_end_of_an_attempt_turns_it_round() {
    let calls = Calls::default();
    let returning = scripted(&calls, |call| match call {
        Call::GetMx(_) => Verdict::deny_soft("not today"),
        Call::Bounce(_) => Verdict::OK,
        _ => Verdict::CONT,
    });
    let decide = |hook, decision: Decision| {
        plugin("decider", &[Wants::hook(hook)], move |_, cx| {
            cx.delivery.as_ref().unwrap().decide(decision.clone());
            Box::pin(async { Verdict::CONT })
        })
    };
    let bounce = Decision::Bounce("waited enough".to_owned());
    let mut plugins = returning;
    plugins.push(decide(HookName::Deferred, bounce));
    with("", plugins, async |rig| {
        submit(&rig).await;
        let ran = settled(&rig, &calls, 5).await;
        assert_eq!(ran[4], "bounce waited enough <x@y.z>", "{ran:?}");
        assert_eq!(rig.queue(), []);
    });
    let refusing = scripted(&calls, |call| match call {
        Call::GetMx(_) => Verdict::deny("no"),
        _ => Verdict::CONT,
    });
    let again = Decision::TempFail("once more".to_owned());
    let mut plugins = refusing;
    plugins.push(decide(HookName::Bounce, again));
    with("", plugins, async |rig| {
        submit(&rig).await;
        let ran = settled(&rig, &calls, 5).await;
        assert_eq!(ran[3], "bounce No MX for y.z <x@y.z>", "{ran:?}");
        assert_eq!(ran[4], "deferred 64 once more 1", "{ran:?}");
        let items = rig.queue();
        assert!(
            items.iter().any(|(name, _)| name.contains("_1_")),
            "{items:?}"
        );
    });
}

// covers HOK-18, OUT-01
#[test]
fn answers_of_native_queue_outbound_take_refuse_or_leave_the_message() {
    for (verdict, reply, left) in [
        (Verdict::ok("mine"), "250 mine (", 0),
        (Verdict::deny("not that"), "550 not that (", 0),
        (Verdict::deny_soft("not now"), "450 not now (", 0),
        (Verdict::CONT, "250 Message Queued (", 1),
    ] {
        let plugins = vec![plugin(
            "taker",
            &[
                Wants::hook(HookName::Rcpt),
                Wants::hook(HookName::QueueOutbound),
            ],
            move |call, cx| {
                let verdict = match call {
                    Call::QueueOutbound(()) => verdict.clone(),
                    _ => {
                        cx.connection.as_ref().unwrap().set_relaying(true);
                        Verdict::OK
                    }
                };
                Box::pin(async move { verdict })
            },
        )];
        with("", plugins, async |rig| {
            let mut c = rig.introduced().await;
            for line in ["MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>"] {
                assert!(c.say(line).await.starts_with("250 "));
            }
            assert!(c.say("DATA").await.starts_with("354 "));
            let said = c.say("Subject: x\r\n\r\nhi\r\n.").await;
            assert!(said.starts_with(reply), "{said}");
            assert_eq!(rig.queue().len(), left, "{reply}");
        });
    }
}
