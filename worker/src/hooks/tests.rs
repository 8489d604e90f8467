//! The rules of a chain, on scripted plugins and a clock that only timers move.

pub(crate) mod script;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haraka_shared::address::{Address, Limits};
use haraka_shared::connection::{Connection, Local};
use haraka_shared::hook::{Call, Code, Handler, HookFuture, HookName, Message, Path, Verdict};
use haraka_shared::plugin::{HookCx, Registration, Wants};
use haraka_shared::services::Services;
use haraka_shared::transaction::Transaction;

use self::script::{Loaded, NoServices, answers, plugin};
use super::{Registry, Subject};
use crate::rt::tests::{keep_logs, logged, run_virtual};
use crate::rt::{self};

/// Who ran, in order.
type Ran = Rc<RefCell<Vec<&'static str>>>;

/// A plugin that notes that it ran.
fn noting(ran: &Ran, name: &'static str, hook: HookName, priority: i8, verdict: Verdict) -> Loaded {
    let ran = Rc::clone(ran);
    plugin(name, &[Wants::at(hook, priority)], move |_, _| {
        ran.borrow_mut().push(name);
        let verdict = verdict.clone();
        Box::pin(async move { verdict })
    })
}

fn client() -> Connection {
    let local = Local {
        ip: "198.51.100.1".parse().unwrap(),
        port: 25,
    };
    Connection::new("192.0.2.1".parse().unwrap(), 4321, local, Instant::now())
}

/// Runs one hook of a registry made of these plugins.
fn ask(plugins: Vec<Loaded>, connection: &Connection, call: Call<'_>) -> Verdict {
    let registry = Registry::build(plugins);
    let services: Rc<dyn Services> = Rc::new(NoServices);
    let subject = Subject {
        connection: Some(connection),
        delivery: None,
        services: &services,
    };
    run_virtual(registry.run(call, &subject))
}

fn asked(plugins: Vec<Loaded>, call: Call<'_>) -> Verdict {
    ask(plugins, &client(), call)
}

// covers HOK-31, PA-04
#[test]
fn chain_runs_by_priority_and_equal_ones_as_registered() {
    let ran = Ran::default();
    let at = |name, priority| noting(&ran, name, HookName::Mail, priority, Verdict::CONT);
    let plugins = vec![
        at("c", 0),
        at("e", 100),
        at("d", 0),
        at("a", -100),
        at("b", -1),
    ];
    let verdict = asked(plugins, Call::Mail(&path("<a@b.c>")));
    assert_eq!(verdict, Verdict::CONT);
    assert_eq!(*ran.borrow(), ["a", "b", "c", "d", "e"]);
    assert_eq!(Wants::at(HookName::Mail, 127).priority, 100);
    assert_eq!(Wants::at(HookName::Mail, -128).priority, -100);
}

fn path(address: &str) -> Path {
    let address = Address::parse(address, Limits { postel: false }).unwrap();
    Path {
        address,
        params: Vec::new(),
    }
}

// covers PA-01
#[test]
fn first_answer_other_than_cont_ends_the_chain() {
    for code in [
        Code::Ok,
        Code::Stop,
        Code::Deny,
        Code::DenySoft,
        Code::Disconnect,
        Code::NextHook,
    ] {
        let ran = Ran::default();
        let verdict = asked(
            vec![
                noting(
                    &ran,
                    "first",
                    HookName::Data,
                    0,
                    Verdict::new(Code::Cont, "lost"),
                ),
                noting(
                    &ran,
                    "second",
                    HookName::Data,
                    0,
                    Verdict::new(code, "kept"),
                ),
                noting(&ran, "third", HookName::Data, 0, Verdict::OK),
            ],
            Call::Data(()),
        );
        assert_eq!(verdict, Verdict::new(code, "kept"));
        assert_eq!(*ran.borrow(), ["first", "second"], "{code:?}");
    }
}

// covers HOK-05, HOK-22, PA-01
#[test]
fn every_plugin_of_connect_init_and_disconnect_runs_and_none_is_heard() {
    for (hook, call) in [
        (HookName::ConnectInit, Call::ConnectInit(())),
        (HookName::Disconnect, Call::Disconnect(())),
    ] {
        let ran = Ran::default();
        let plugins = vec![
            noting(&ran, "first", hook, 0, Verdict::deny("no")),
            noting(&ran, "second", hook, 0, Verdict::OK),
            noting(
                &ran,
                "third",
                hook,
                0,
                Verdict::from(Code::DenySoftDisconnect),
            ),
        ];
        assert_eq!(asked(plugins, call), Verdict::CONT);
        assert_eq!(*ran.borrow(), ["first", "second", "third"]);
    }
}

// covers HOK-23, PA-02
#[test]
fn deny_hook_hears_all_of_the_denial_and_ok_lets_the_others_go_on() {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let ran = Ran::default();
    let judge = {
        let heard = Rc::clone(&heard);
        plugin("karma", &[Wants::hook(HookName::Deny)], move |call, _| {
            let Call::Deny(denial) = call else {
                panic!("only deny was asked for")
            };
            heard.borrow_mut().push(format!(
                "{} {} {} {} {}",
                denial.verdict.code.name(),
                denial.verdict.message.text().unwrap_or_default(),
                denial.plugin,
                denial.method,
                denial.hook().name()
            ));
            Box::pin(async { Verdict::OK })
        })
    };
    let verdict = asked(
        vec![
            noting(&ran, "strict", HookName::Rcpt, 0, Verdict::deny("go away")),
            noting(&ran, "soft", HookName::Rcpt, 0, Verdict::deny_soft("later")),
            noting(&ran, "kind", HookName::Rcpt, 0, Verdict::ok("welcome")),
            judge,
        ],
        Call::Rcpt(&path("<x@y.z>")),
    );
    assert_eq!(verdict, Verdict::ok("welcome"));
    assert_eq!(*ran.borrow(), ["strict", "soft", "kind"]);
    assert_eq!(
        *heard.borrow(),
        [
            "DENY go away strict hook_rcpt rcpt",
            "DENYSOFT later soft hook_rcpt rcpt"
        ]
    );
}

// covers PA-02
#[test]
fn overturning_the_last_plugin_gives_cont_with_the_judges_text() {
    let plugins = vec![
        answers("strict", HookName::Connect, Verdict::deny("no")),
        answers("karma", HookName::Deny, Verdict::ok("hello after all")),
    ];
    assert_eq!(
        asked(plugins, Call::Connect(())),
        Verdict::new(Code::Cont, "hello after all")
    );
}

// covers HOK-23
#[test]
fn any_other_answer_of_the_deny_hook_keeps_the_denial() {
    for code in [Code::Cont, Code::Deny, Code::DenySoft, Code::Stop] {
        for denied in [
            Code::Deny,
            Code::DenySoft,
            Code::DenyDisconnect,
            Code::DenySoftDisconnect,
        ] {
            let ran = Ran::default();
            let verdict = asked(
                vec![
                    answers("strict", HookName::Mail, Verdict::new(denied, "no")),
                    noting(&ran, "next", HookName::Mail, 0, Verdict::OK),
                    answers("karma", HookName::Deny, Verdict::new(code, "mine")),
                ],
                Call::Mail(&path("<>")),
            );
            assert_eq!(verdict, Verdict::new(denied, "no"), "{code:?} {denied:?}");
            assert!(ran.borrow().is_empty());
        }
    }
}

// covers PA-16
#[test]
fn disconnect_is_no_denial() {
    let plugins = vec![
        answers(
            "strict",
            HookName::Connect,
            Verdict::new(Code::Disconnect, "bye"),
        ),
        answers("karma", HookName::Deny, Verdict::OK),
    ];
    assert_eq!(
        asked(plugins, Call::Connect(())),
        Verdict::new(Code::Disconnect, "bye")
    );
}

// covers HOK-23, HOK-01, HOK-02
#[test]
fn deny_hook_is_not_asked_about_the_servers_start() {
    for (hook, call) in [
        (HookName::InitMaster, Call::InitMaster(())),
        (HookName::InitChild, Call::InitChild(())),
    ] {
        let ran = Ran::default();
        let plugins = vec![
            answers("broken", hook, Verdict::deny("no database")),
            noting(&ran, "karma", HookName::Deny, 0, Verdict::OK),
        ];
        assert_eq!(asked(plugins, call), Verdict::deny("no database"));
        assert!(ran.borrow().is_empty());
    }
}

fn sleepy(name: &'static str, seconds: u64, limit: Option<u64>) -> Loaded {
    let (registration, _) = plugin(name, &[Wants::hook(HookName::Mail)], move |_, _| {
        Box::pin(async move {
            rt::sleep(Duration::from_secs(seconds)).await;
            Verdict::OK
        })
    });
    (registration, limit.map(Duration::from_secs))
}

// covers HOK-32, PA-05
#[test]
fn plugin_over_its_time_is_a_soft_denial_and_a_crit_line() {
    keep_logs();
    let client = client();
    let verdict = ask(
        vec![sleepy("slow", 31, Some(30))],
        &client,
        Call::Mail(&path("<a@b.c>")),
    );
    assert_eq!(verdict, Verdict::deny_soft("plugin timeout"));
    let line = format!(
        "[CRIT] [{}] [core] Plugin slow timed out on hook mail - make sure it calls the callback",
        client.log_id()
    );
    assert_eq!(logged(&line).len(), 1);
    assert_eq!(
        asked(
            vec![sleepy("quick", 29, Some(30))],
            Call::Mail(&path("<a@b.c>"))
        ),
        Verdict::OK
    );
    let patient = asked(
        vec![sleepy("patient", 86400, None)],
        Call::Mail(&path("<a@b.c>")),
    );
    assert_eq!(patient, Verdict::OK);
}

// covers HOK-32, PA-02
#[test]
fn time_out_is_put_to_the_deny_hook_like_any_denial() {
    let plugins = vec![
        sleepy("slow", 31, Some(30)),
        answers("next", HookName::Mail, Verdict::ok("next")),
        answers("karma", HookName::Deny, Verdict::OK),
    ];
    assert_eq!(
        asked(plugins, Call::Mail(&path("<a@b.c>"))),
        Verdict::ok("next")
    );
}

// covers HOK-33, PA-06, PB-41
#[test]
fn panic_in_a_plugin_is_a_crit_line_and_the_next_plugin_runs() {
    keep_logs();
    let client = client();
    let ran = Ran::default();
    let verdict = ask(
        vec![
            // Before the future exists, at its first step, and after a wait.
            plugin("early", &[Wants::hook(HookName::Data)], |_, _| {
                panic!("too early")
            }),
            plugin("first", &[Wants::hook(HookName::Data)], |_, _| {
                Box::pin(async { panic!("at once") })
            }),
            plugin("later", &[Wants::hook(HookName::Data)], |_, _| {
                Box::pin(async {
                    rt::yield_now().await;
                    panic!("in the middle")
                })
            }),
            noting(&ran, "sound", HookName::Data, 0, Verdict::ok("fine")),
        ],
        &client,
        Call::Data(()),
    );
    assert_eq!(verdict, Verdict::ok("fine"));
    assert_eq!(*ran.borrow(), ["sound"]);
    let id = client.log_id().to_string();
    for (name, text) in [
        ("early", "too early"),
        ("first", "at once"),
        ("later", "in the middle"),
    ] {
        let start =
            format!("[CRIT] [{id}] [core] Plugin {name} failed on hook data: panicked: {text} at ");
        assert_eq!(logged(&start).len(), 1, "{start}");
    }
}

// covers PLG-14
#[test]
fn plugins_named_in_skip_plugins_are_left_out_of_the_transaction() {
    let ran = Ran::default();
    let chain = || {
        vec![
            noting(&ran, "spf", HookName::Data, 0, Verdict::deny("no")),
            noting(
                &ran,
                "dkim",
                HookName::Data,
                0,
                Verdict::new(Code::Cont, "last"),
            ),
        ]
    };
    let client = client();
    let txn = Transaction::new("U.1".into(), path("<>"));
    txn.notes.set("skip_plugins", vec!["spf"]);
    client.set_transaction(Some(txn.clone()));
    assert_eq!(
        ask(chain(), &client, Call::Data(())),
        Verdict::new(Code::Cont, "last")
    );
    assert_eq!(ran.take(), ["dkim"]);
    txn.notes.set("skip_plugins", vec!["spf", "dkim"]);
    assert_eq!(ask(chain(), &client, Call::Data(())), Verdict::CONT);
    assert!(ran.take().is_empty());
    client.set_transaction(None);
    assert_eq!(ask(chain(), &client, Call::Data(())), Verdict::deny("no"));
}

// covers HOK-35, PA-08
#[test]
fn client_that_leaves_ends_the_chain_but_not_those_of_the_end() {
    let leaving = |ran: &Ran, hook| {
        let leaver = plugin("leaver", &[Wants::hook(hook)], |_, cx| {
            cx.connection.as_ref().unwrap().remote.borrow_mut().closed = true;
            Box::pin(async { Verdict::CONT })
        });
        vec![leaver, noting(ran, "next", hook, 0, Verdict::deny("no"))]
    };
    let ran = Ran::default();
    assert_eq!(
        asked(leaving(&ran, HookName::Data), Call::Data(())),
        Verdict::CONT
    );
    assert!(ran.take().is_empty());
    asked(
        leaving(&ran, HookName::ResetTransaction),
        Call::ResetTransaction(()),
    );
    asked(leaving(&ran, HookName::Disconnect), Call::Disconnect(()));
    assert_eq!(ran.take(), ["next", "next"]);
}

// covers PA-01
#[test]
fn text_with_cont_counts_from_the_last_plugin_only() {
    let said = |code, text: &'static str| answers("p", HookName::Connect, Verdict::new(code, text));
    let verdict = asked(
        vec![said(Code::Cont, "one"), said(Code::Cont, "two")],
        Call::Connect(()),
    );
    assert_eq!(verdict, Verdict::new(Code::Cont, "two"));
    let silent = answers("q", HookName::Connect, Verdict::CONT);
    let verdict = asked(vec![said(Code::Cont, "one"), silent], Call::Connect(()));
    assert_eq!(verdict.message, Message::None);
}

#[test]
fn empty_chain_gives_cont_without_waiting_or_touching_the_services() {
    let registry = Registry::build(vec![answers("p", HookName::Mail, Verdict::OK)]);
    let services: Rc<dyn Services> = Rc::new(NoServices);
    let client = client();
    let subject = Subject {
        connection: Some(&client),
        delivery: None,
        services: &services,
    };
    assert!(!registry.wants(HookName::Noop) && registry.wants(HookName::Mail));
    let future = registry.run(Call::Noop(()), &subject);
    // What every hook call of a session adds to the session.
    assert!(size_of_val(&future) <= 128, "{}", size_of_val(&future));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::pin::pin!(future).as_mut().poll(&mut cx);
    assert_eq!(polled, std::task::Poll::Ready(Verdict::CONT));
    assert_eq!(Rc::strong_count(&services), 1);
}

// A plugin may use everything of the connection while its hook runs: nobody else borrows it.
#[test]
fn plugin_may_change_the_connection_inside_of_any_hook() {
    let meddler = plugin(
        "meddler",
        &[Wants::hook(HookName::Rcpt), Wants::hook(HookName::Deny)],
        |_, cx| {
            script::meddle(cx.connection.as_ref().unwrap());
            Box::pin(async { Verdict::CONT })
        },
    );
    let client = client();
    client.set_transaction(Some(Transaction::new("U.1".into(), path("<>"))));
    let strict = answers("strict", HookName::Rcpt, Verdict::deny("no"));
    let verdict = ask(vec![meddler, strict], &client, Call::Rcpt(&path("<x@y.z>")));
    assert_eq!(verdict, Verdict::deny("no"));
}

// covers HOK-38
#[test]
fn answers_other_than_cont_are_logged_with_haraka_s_keys() {
    keep_logs();
    haraka_shared::log::configure(
        haraka_shared::log::Level::Info,
        haraka_shared::log::Format::Default,
        false,
    );
    let client = client();
    let plugins = vec![
        answers("quiet", HookName::Rcpt, Verdict::CONT),
        answers("loud", HookName::Rcpt, Verdict::deny("not here")),
    ];
    ask(plugins, &client, Call::Rcpt(&path("<x@y.z>")));
    let id = client.log_id().to_string();
    assert_eq!(
        logged(&id),
        [format!(
            "[INFO] [{id}] [core]  hook=rcpt plugin=loud function=hook_rcpt params=<x@y.z> \
             retval=DENY msg=\"not here\""
        )]
    );
}

// covers CLI-11, PLG-01
#[test]
fn run_order_looks_as_haraka_prints_it() {
    let named = |name: &'static str, hook, priority, method| {
        let (mut registration, _) = answers(name, hook, Verdict::CONT);
        registration.wants = vec![(Wants::at(hook, priority), Rc::from(method))];
        (registration, Some(Duration::from_secs(30)))
    };
    let mut registry = vec![
        named("rcpt_to.in_host_list", HookName::Rcpt, 0, "hook_rcpt"),
        named("t1", HookName::Connect, -5, "pause"),
        named("t1", HookName::Disconnect, 0, "hook_disconnect"),
        named("queue/test", HookName::Rcpt, 100, "late"),
    ];
    registry[3].1 = None;
    let rule = "-".repeat(80);
    let title = |hook: &str| format!("Hook: {hook} {}", "-".repeat(80 - 7 - hook.len()));
    let head = "Plugin                              Method                              Prio T/O";
    let expected = [
        "",
        &title("connect"),
        head,
        &rule,
        "t1                                  pause                                 -5  30",
        "",
        &title("disconnect"),
        head,
        &rule,
        "t1                                  hook_disconnect                        0  30",
        "",
        &title("rcpt"),
        head,
        &rule,
        "rcpt_to.in_host_list                hook_rcpt                              0  30",
        "queue/test                          late                                 100   0",
        "",
        "",
    ];
    assert_eq!(Registry::build(registry).order(), expected.join("\n"));
}

// covers CLI-11
#[test]
fn run_order_leaves_no_hook_out() {
    let all = HookName::ALL
        .iter()
        .map(|&hook| answers("p", hook, Verdict::CONT))
        .collect();
    let order = Registry::build(all).order();
    for hook in HookName::ALL {
        let title = format!("Hook: {} -", hook.name());
        assert_eq!(order.matches(&title).count(), 1, "{title}");
    }
}

// covers PLG-15, PRC-19
#[test]
fn each_plugin_is_told_once_that_the_worker_ends_and_a_panic_costs_one_call() {
    struct Ending(&'static str, Ran);
    impl Handler for Ending {
        fn call<'a>(&'a self, _: Call<'a>, _: &'a HookCx) -> HookFuture<'a> {
            Box::pin(async { Verdict::CONT })
        }
        fn shutdown(&self) {
            self.1.borrow_mut().push(self.0);
            assert_ne!(self.0, "clumsy");
        }
    }
    let ran = Ran::default();
    let ending = |name| {
        let hooks = [HookName::Mail, HookName::Rcpt].map(|h| (Wants::hook(h), Rc::from("m")));
        let registration = Registration {
            name: Rc::from(name),
            wants: hooks.to_vec(),
            handler: Rc::new(Ending(name, Rc::clone(&ran))),
        };
        (registration, None)
    };
    let registry = Registry::build(vec![ending("clumsy"), ending("sound")]);
    run_virtual(registry.shutdown());
    assert_eq!(*ran.borrow(), ["clumsy", "sound"]);
}
