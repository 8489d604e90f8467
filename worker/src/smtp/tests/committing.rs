//! A message whose files are on disk already, while its worker does not know yet that they are: what others do with
//! them in that moment counts.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::plugin::Wants;

use super::rig::{Client, Rig, with_real_time};
use crate::hooks::tests::script::plugin;
use crate::rt;

/// Sends a message, and gives the name of its queue file as soon as that is there; none if the worker
/// was faster.
async fn committing(rig: &Rig, c: &mut Client, tried: &Cell<usize>) -> Option<String> {
    for line in ["MAIL FROM:<a@b.c>", "RCPT TO:<x@y.z>", "DATA"] {
        assert!(c.say(line).await.starts_with(['2', '3']));
    }
    let before = tried.get();
    c.send("Subject: x\r\n\r\nhi\r\n.\r\n").await;
    while tried.get() == before {
        // The worker stands still meanwhile, and the thread that commits does not.
        std::thread::sleep(Duration::from_millis(2));
        let names = rig.queue().into_iter().map(|(name, _)| name);
        let mut items = names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit()));
        if let Some(name) = items.next() {
            return Some(name);
        }
        rt::sleep(Duration::ZERO).await;
    }
    None
}

// An operator may hold, remove or retry an item as soon as its file can be listed.
#[test]
fn item_that_was_held_while_it_was_committed_is_not_delivered_from_memory() {
    let tried = Rc::new(Cell::new(0));
    let count = Rc::clone(&tried);
    let wants = [HookName::Rcpt, HookName::SendEmail].map(Wants::hook);
    let plugins = vec![plugin("script", &wants, move |call, cx| {
        let verdict = if call.hook() == HookName::Rcpt {
            cx.connection.as_ref().unwrap().set_relaying(true);
            Verdict::OK
        } else {
            count.set(count.get() + 1);
            Verdict::deny_soft("later")
        };
        Box::pin(async move { verdict })
    })];
    with_real_time("", plugins, async |rig| {
        rig.worker.outbound.start(&rig.worker);
        let mut held = 0;
        for _ in 0..20 {
            let mut c = rig.introduced().await;
            let Some(name) = committing(&rig, &mut c, &tried).await else {
                continue;
            };
            let before = tried.get();
            let queue = rig.queue_dir();
            std::fs::rename(queue.join(&name), queue.join(format!("hold_{name}"))).unwrap();
            rig.worker.outbound.trust_disk();
            assert!(c.reply().await.starts_with("250 "));
            // Whatever follows from that has followed when a second message has had its turn.
            for line in [
                "MAIL FROM:<a@b.c>",
                "RCPT TO:<x@y.z>",
                "DATA",
                "A: b\r\n\r\n.",
            ] {
                assert!(c.say(line).await.starts_with(['2', '3']));
            }
            while tried.get() == before {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(tried.get(), before + 1, "the held one was to be delivered");
            held += 1;
            break;
        }
        assert_eq!(held, 1);
    });
}
