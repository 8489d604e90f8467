//! Groups of commands and what is written when.

use std::time::Duration;

use haraka_shared::hook::HookName;

use super::rig::{pausing, taking, with};
use crate::rt;

const SENDER: &str = "250 sender <a@b.c> OK\n";
const RECIPIENT: &str = "250 recipient <x@y.z> OK\n";
const GO: &str = "354 go ahead, make my day\n";

// covers PA-18
#[test]
fn group_is_answered_in_order_and_in_one_write() {
    let mut plugins = taking();
    // Were each reply written by itself, the first would be read during this pause.
    plugins.push(pausing(HookName::Rcpt, 5));
    with("", plugins, async |rig| {
        let mut c = rig.introduced().await;
        c.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n")
            .await;
        assert_eq!(
            c.burst().await,
            format!("{SENDER}{RECIPIENT}{RECIPIENT}{GO}")
        );
        assert!(c.conn.pipelining.get());
        assert!(!c.conn.early_talker.get());
    });
}

#[test]
fn half_a_command_behind_a_group_does_not_hold_back_its_replies() {
    with("", taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDA").await;
        assert_eq!(c.burst().await, format!("{SENDER}{RECIPIENT}"));
        rt::sleep(Duration::from_secs(1)).await;
        c.send("TA\r\n").await;
        assert_eq!(c.burst().await, GO);
    });
}

#[test]
fn message_may_come_together_with_its_commands_and_the_next_ones() {
    with("", taking(), async |rig| {
        let mut c = rig.introduced().await;
        let one = "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nA: b\r\n\r\nQUIT\r\n.\r\n";
        c.send(&format!("{one}{one}QUIT\r\n")).await;
        let uuid = c.uuid();
        let queued = |n| format!("{SENDER}{RECIPIENT}{GO}250 Message Queued ({uuid}.{n})\n");
        let bye = "221 mx.example.org closing connection. Have a jolly good day.\n";
        assert_eq!(c.rest().await, format!("{}{}{bye}", queued(1), queued(2)));
    });
}

#[test]
fn group_longer_than_a_buffer_is_answered_whole() {
    with("[max]\nrecipients=0\n", taking(), async |rig| {
        let mut c = rig.introduced().await;
        let count = 2_000;
        let group = "RCPT TO:<x@y.z>\r\n".repeat(count);
        c.send(&format!("MAIL FROM:<a@b.c>\r\n{group}")).await;
        assert_eq!(c.reply().await, SENDER.trim_end());
        for _ in 0..count {
            assert_eq!(c.reply().await, RECIPIENT.trim_end());
        }
    });
}

#[test]
fn what_follows_quit_is_not_carried_out() {
    with("", taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.send("QUIT\r\nMAIL FROM:<a@b.c>\r\n").await;
        assert_eq!(
            c.rest().await,
            "221 mx.example.org closing connection. Have a jolly good day.\n"
        );
        assert_eq!(c.conn.tran_count.get(), 0);
    });
}

// A client that sends a group and never reads must not fill our memory.
#[test]
fn client_that_does_not_read_is_cut_off() {
    with("", vec![], async |rig| {
        let mut c = rig.introduced().await;
        let group = "NOOP\r\n".repeat(1000);
        let since = rt::now();
        while rt::timeout(Duration::from_secs(1), c.stream.write_all(group.as_bytes()))
            .await
            .is_ok()
        {
            assert!((rt::now() - since).as_secs() < 60);
            if rig.worker.sessions.count() == 0 {
                break;
            }
        }
        c.over().await;
        assert!((rt::now() - since).as_secs() <= 302);
        assert!(c.conn.remote.borrow().closed);
    });
}
