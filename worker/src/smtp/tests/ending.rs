//! Sessions when the worker ends, when a plugin or the session itself fails, and what one costs.

use std::time::Duration;

use haraka_shared::connection::ConnectionState;
use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::plugin::Wants;

use super::rig::{BANNER, connection, pausing, taking, with};
use crate::hooks::tests::script::plugin;
use crate::rt::{self, Stream, UnixStream};
use crate::smtp::session::converse;
use crate::smtp::sessions::Phase;
use crate::smtp::wire::Wire;

const GONE: &str = "421 mx.example.org Service shutting down\n";

// covers PB-27
#[test]
fn drain_ends_idle_sessions_and_lets_a_message_finish() {
    with("", taking(), async |rig| {
        let mut idle = rig.introduced().await;
        let mut after = rig.introduced().await;
        after.say("MAIL FROM:<a@b.c>").await;
        after.say("RSET").await;
        let mut busy = rig.introduced().await;
        busy.say("MAIL FROM:<a@b.c>").await;
        rig.worker.sessions.enter(Phase::Draining);
        assert_eq!(idle.rest().await, GONE);
        assert_eq!(after.rest().await, GONE);
        rt::sleep(Duration::from_secs(10)).await;
        busy.dialogue(&[
            ("RCPT TO:<x@y.z>", "250 recipient <x@y.z> OK"),
            ("DATA", "354 go ahead, make my day"),
        ])
        .await;
        busy.send("A: b\r\n\r\n.\r\n").await;
        assert_eq!(
            busy.rest().await,
            format!("250 Message Queued ({}.1)\n{GONE}", busy.uuid())
        );
        rt::timeout(Duration::from_secs(1), rig.worker.sessions.empty())
            .await
            .unwrap();
    });
}

// Each way out of a transaction gives the drain its session back.
#[test]
fn no_way_out_of_a_transaction_leaves_the_session_busy() {
    let ways: [&[&str]; 6] = [
        &["RSET"],
        &["EHLO x"],
        &["RCPT TO:<x@y.z>", "DATA", "A: b\r\n\r\n."],
        &["MAIL FROM:<bad@b.c>"],
        &[
            "RCPT TO:<x@y.z>",
            "DATA",
            "Received: 1\r\nReceived: 2\r\n\r\n.",
        ],
        &[
            "RCPT TO:<x@y.z>",
            "DATA",
            "0123456789012345678901234567890123456789012345678901234567890\r\n.",
        ],
    ];
    for way in ways {
        let mut plugins = taking();
        plugins.push(super::rig::answering(HookName::Mail, |call| match call {
            haraka_shared::hook::Call::Mail(from) if from.address.user() == "bad" => {
                Verdict::deny("no")
            }
            _ => Verdict::CONT,
        }));
        with(
            "[headers]\nmax_received=2\n[max]\nbytes=60\n",
            plugins,
            async |rig| {
                let mut c = rig.introduced().await;
                c.say("MAIL FROM:<a@b.c>").await;
                for line in way {
                    c.say(line).await;
                }
                rig.worker.sessions.enter(Phase::Draining);
                assert_eq!(c.rest().await, GONE, "{way:?}");
            },
        );
    }
}

// covers PB-27
#[test]
fn stop_ends_every_session_at_its_next_wait() {
    let mut plugins = taking();
    plugins.push(pausing(HookName::Rcpt, 5));
    with("", plugins, async |rig| {
        let mut idle = rig.introduced().await;
        let mut within = rig.introduced().await;
        within.say("MAIL FROM:<a@b.c>").await;
        within.send("RCPT TO:<x@y.z>\r\nDATA\r\n").await;
        rt::sleep(Duration::from_secs(1)).await;
        rig.worker.sessions.enter(Phase::Stopping);
        assert_eq!(idle.rest().await, GONE);
        let expected = format!("250 recipient <x@y.z> OK\n354 go ahead, make my day\n{GONE}");
        assert_eq!(within.rest().await, expected);
    });
}

#[test]
fn client_that_comes_while_the_worker_drains_is_sent_away_with_421() {
    with("", taking(), async |rig| {
        rig.worker.sessions.enter(Phase::Draining);
        let mut late = rig.connect();
        let said = late.rest().await;
        assert!(said.starts_with(BANNER) && said.ends_with(GONE), "{said}");
    });
}

// covers HOK-33, PRC-13
#[test]
fn panic_in_a_plugin_does_not_end_the_session() {
    let broken = plugin("broken", &[Wants::hook(HookName::Mail)], |_, _| {
        panic!("broken")
    });
    with("", vec![broken], async |rig| {
        let mut c = rig.introduced().await;
        c.dialogue(&[
            ("MAIL FROM:<a@b.c>", "250 sender <a@b.c> OK"),
            ("QUIT", super::rig::BYE),
        ])
        .await;
    });
}

// covers HOK-20, HOK-35, HOK-37
#[test]
fn transaction_and_connection_hooks_of_the_end_run_for_a_client_that_has_gone() {
    let ran = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = std::rc::Rc::clone(&ran);
    let hooks = [HookName::ResetTransaction, HookName::Disconnect].map(Wants::hook);
    let spy = plugin("spy", &hooks, move |call, cx| {
        let open = cx.transaction().is_some();
        seen.borrow_mut().push((call.hook().name(), open));
        Box::pin(async { Verdict::CONT })
    });
    with("", vec![spy], async |rig| {
        let mut c = rig.introduced().await;
        c.say("MAIL FROM:<a@b.c>").await;
        c.stream.shutdown(std::net::Shutdown::Both).unwrap();
        c.over().await;
        assert_eq!(
            ran.take(),
            [("reset_transaction", true), ("disconnect", false)]
        );
    });
}

// covers the budget of memory for an idle connection: 4 kB in all, of which the kernel's and the
// reactor's share is none of this
#[test]
fn idle_session_is_small() {
    with("", vec![], async |rig| {
        let conn = connection("192.0.2.1", 25);
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let ticket = rig.worker.sessions.admit(conn.remote_ip()).unwrap();
        let wire = Wire::new(Stream::from(theirs), Duration::from_secs(300), None, ticket);
        let wire_size = size_of_val(&wire);
        let future = converse(std::rc::Rc::clone(&rig.worker), conn, wire);
        let (session, state) = (size_of_val(&future), size_of::<ConnectionState>());
        println!("wire {wire_size}, whole conversation {session}, ConnectionState {state} bytes");
        assert!(session <= 896, "{session}");
        assert!(state <= 456, "{state}");
    });
}
