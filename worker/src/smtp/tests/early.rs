//! Clients that speak before their turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::plugin::Wants;

use super::rig::{pausing, with};
use crate::hooks::tests::script::{Loaded, plugin};
use crate::rt;

/// Pauses as the early_talker plugin does, then notes the flag while its hook still runs.
fn waiting(hook: HookName, seen: &Rc<Cell<Option<bool>>>) -> Loaded {
    let seen = Rc::clone(seen);
    plugin("early_talker", &[Wants::hook(hook)], move |_, cx| {
        let seen = Rc::clone(&seen);
        Box::pin(async move {
            rt::sleep(Duration::from_secs(5)).await;
            seen.set(Some(cx.connection.as_ref().unwrap().early_talker.get()));
            Verdict::CONT
        })
    })
}

// covers CON-47, PB-42
#[test]
fn client_that_speaks_before_the_banner_is_an_early_talker() {
    with("", vec![], async |rig| {
        let mut c = rig.connect();
        c.send("EHLO x\r\n").await;
        c.reply().await;
        assert!(c.conn.early_talker.get());
        assert!(
            c.reply().await.starts_with("250-"),
            "what it said is answered all the same"
        );
    });
    with("", vec![], async |rig| {
        let mut c = rig.introduced().await;
        c.say("NOOP").await;
        assert!(!c.conn.early_talker.get());
    });
}

// covers CON-47
#[test]
fn plugin_that_pauses_sees_the_flag_while_its_hook_runs() {
    for hook in [
        HookName::ConnectInit,
        HookName::LookupRdns,
        HookName::Connect,
    ] {
        for (after, early) in [
            (Some(0), true),
            (Some(4), true),
            (Some(6), false),
            (None, false),
        ] {
            let seen = Rc::new(Cell::new(None));
            with("", vec![waiting(hook, &seen)], async |rig| {
                let mut c = rig.connect();
                if let Some(after) = after {
                    rt::sleep(Duration::from_secs(after)).await;
                    c.send("EHLO x\r\n").await;
                }
                c.reply().await;
                assert_eq!(seen.get(), Some(early), "{hook:?} {after:?}");
                assert_eq!(c.conn.early_talker.get(), early);
            });
        }
    }
}

// covers CON-47
#[test]
fn client_that_only_closes_is_no_early_talker() {
    let seen = Rc::new(Cell::new(None));
    with("", vec![waiting(HookName::Connect, &seen)], async |rig| {
        let c = rig.connect();
        rt::sleep(Duration::from_secs(1)).await;
        c.stream.shutdown(std::net::Shutdown::Write).unwrap();
        rt::sleep(Duration::from_secs(5)).await;
        assert_eq!(seen.get(), Some(false));
    });
}

// covers CON-47
#[test]
fn client_that_does_not_wait_for_the_reply_to_its_hello_is_an_early_talker() {
    for together in [true, false] {
        with("", vec![pausing(HookName::Ehlo, 5)], async |rig| {
            let mut c = rig.greeted().await;
            if together {
                c.send("EHLO x\r\nMAIL FROM:<a@b.c>\r\n").await;
            } else {
                c.send("EHLO x\r\n").await;
                rt::sleep(Duration::from_secs(1)).await;
                c.send("MAIL FROM:<a@b.c>\r\n").await;
            }
            assert!(c.reply().await.starts_with("250-"));
            assert_eq!(c.reply().await, "250 sender <a@b.c> OK");
            assert!(c.conn.early_talker.get());
        });
    }
}

/// Whether each session was flagged: (early talker, pipelining).
fn flags(group: &str) -> (bool, bool) {
    let flags = RefCell::new(None);
    with("", vec![], async |rig| {
        let mut c = rig.introduced().await;
        c.send(group).await;
        // On its own, not a part of the group.
        rt::sleep(Duration::from_millis(1)).await;
        c.send("QUIT\r\n").await;
        c.rest().await;
        *flags.borrow_mut() = Some((c.conn.early_talker.get(), c.conn.pipelining.get()));
    });
    flags.take().unwrap()
}

// covers CON-46, PA-18
#[test]
fn valid_group_is_pipelining_and_an_invalid_one_early_talking() {
    for (group, early) in [
        (
            "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nRCPT TO:<z@y.z>\r\nDATA\r\n",
            false,
        ),
        ("RSET\r\nMAIL FROM:<a@b.c>\r\n", false),
        ("NOOP\r\nrset\r\n", false),
        ("MAIL FROM:<a@b.c>\r\nNOOP\r\nRSET\r\n", true),
        ("RSET\r\nNOOP\r\nNOOP\r\n", true),
        ("RSET\r\nVRFY x\r\nMAI", true),
    ] {
        let (was_early, pipelining) = flags(group);
        assert_eq!(was_early, early, "{group:?}");
        assert!(pipelining || early, "{group:?}");
    }
    assert_eq!(flags(""), (false, false));
}
