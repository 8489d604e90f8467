//! What plugins ask of a message's body, over a whole session.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::message_stream::ReadOptions;
use haraka_shared::mime::BodyFilter;
use haraka_shared::plugin::Wants;
use haraka_shared::transaction::{Attachment, Transaction};

use super::rig::{Client, Rig, taking, with};
use crate::hooks::tests::script::{Loaded, plugin};

/// A plugin that does this to the transaction at a hook.
fn at(hook: HookName, act: impl Fn(&Transaction) + 'static) -> Loaded {
    plugin("bodies", &[Wants::at(hook, -10)], move |_, cx| {
        if let Some(txn) = cx.transaction() {
            act(&txn);
        }
        Box::pin(async { Verdict::CONT })
    })
}

/// Keeps what the message is at `queue`.
fn keeping(kept: &Rc<RefCell<String>>) -> Loaded {
    let kept = Rc::clone(kept);
    plugin("keep", &[Wants::at(HookName::Queue, -10)], move |_, cx| {
        let kept = Rc::clone(&kept);
        Box::pin(async move {
            let options = ReadOptions {
                skip_headers: true,
                ..ReadOptions::default()
            };
            let mut reader = cx.transaction().unwrap().reader(options);
            let data = reader.get_data(&*cx.services, 1 << 20).await.unwrap();
            *kept.borrow_mut() = String::from_utf8(data).unwrap();
            Verdict::CONT
        })
    })
}

async fn send(rig: &Rig, message: &str) -> (Client, String) {
    let mut c = rig.introduced().await;
    c.say("MAIL FROM:<a@b.c>").await;
    c.say("RCPT TO:<x@y.z>").await;
    assert_eq!(c.say("DATA").await, "354 go ahead, make my day");
    let reply = c.say(&format!("{message}.")).await;
    (c, reply)
}

const DISKS: [&str; 2] = ["", "[main]\nspool_after=0\n"];

// covers CON-35
#[test]
fn too_many_parts_are_refused_and_the_client_is_sent_away() {
    let message = |parts: usize| {
        let part = "--b\r\n\r\nx\r\n".repeat(parts);
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{part}")
    };
    for disk in DISKS {
        let ini = format!("{disk}[max]\nmime_parts=5\n");
        let mut plugins = taking();
        plugins.push(at(HookName::Data, |txn| txn.wishes.parse_body.set(true)));
        with(&ini, plugins, async |rig| {
            let (mut c, reply) = send(&rig, &message(4)).await;
            assert!(reply.starts_with("250 "), "{reply}");
            drop(c.say("RSET").await);
            let (mut c, reply) = send(&rig, &message(5)).await;
            assert_eq!(reply, "554 Transaction failed due to too many MIME parts");
            c.over().await;
        });
        with(&ini, taking(), async |rig| {
            let (_, reply) = send(&rig, &message(50)).await;
            assert!(reply.starts_with("250 "), "nobody takes it apart: {reply}");
        });
    }
}

// covers TXN-10, TXN-11, TXN-15, TXN-16
#[test]
fn banner_and_filters_are_in_what_is_queued() {
    for disk in DISKS {
        let kept = Rc::default();
        let seen = Rc::new(RefCell::new(String::new()));
        let mut plugins = taking();
        plugins.push(at(HookName::Data, |txn| txn.set_banner(".banner", None)));
        let log = Rc::clone(&seen);
        plugins.push(at(HookName::DataPost, move |txn| {
            let tree = txn.mime().unwrap();
            *log.borrow_mut() = tree.text(0, 1000).unwrap().text.clone();
            txn.add_body_filter(BodyFilter::of_type("text/plain", |_, charset, text| {
                let text = String::from_utf8_lossy(text).to_uppercase();
                Some(format!("{charset} {text}").into_bytes())
            }));
        }));
        plugins.push(keeping(&kept));
        with(disk, plugins, async |rig| {
            let (_, reply) = send(&rig, "A: b\r\n\r\nhello\r\n..\r\n").await;
            assert!(reply.starts_with("250 "), "{reply}");
        });
        assert_eq!(*seen.borrow(), "hello\n.\n\n.banner\n");
        assert_eq!(*kept.borrow(), "UTF-8 HELLO\r\n.\r\n\r\n.BANNER\r\n");
    }
}

// covers TXN-12, TXN-13, TXN-14
#[test]
fn attachments_of_a_discarded_message_are_read_in_data_post() {
    let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n\
        Content-Type: application/x; name=y\r\n\
        Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n";
    for disk in DISKS {
        let kept = Rc::new(RefCell::new("untouched".to_owned()));
        let found: Rc<RefCell<Vec<Attachment>>> = Rc::default();
        let read = Rc::new(RefCell::new(Vec::new()));
        let mut plugins = taking();
        let list = Rc::clone(&found);
        plugins.push(at(HookName::Data, move |txn| {
            let list = Rc::clone(&list);
            txn.wishes.discard_data.set(true);
            txn.on_attachment(move |attachment| list.borrow_mut().push(attachment));
        }));
        let data = Rc::clone(&read);
        let scan = Wants::at(HookName::DataPost, 0);
        plugins.push(plugin("scan", &[scan], move |_, cx| {
            let attachment = found.borrow_mut().pop();
            let data = Rc::clone(&data);
            Box::pin(async move {
                let mut attachment = attachment.unwrap();
                assert_eq!(attachment.filename, "y");
                let stream = &mut attachment.stream;
                let all = stream.collect(&*cx.services, 100).await.unwrap();
                data.borrow_mut().extend(all);
                Verdict::CONT
            })
        }));
        plugins.push(keeping(&kept));
        with(disk, plugins, async |rig| {
            let (_, reply) = send(&rig, message).await;
            assert!(reply.starts_with("250 "), "{reply}");
        });
        assert_eq!(*read.borrow(), b"hello");
        assert_eq!(*kept.borrow(), "", "nothing is left of the body");
    }
}

// covers TXN-12
#[test]
fn body_that_nobody_wants_is_not_kept() {
    let kept = Rc::new(RefCell::new("untouched".to_owned()));
    let mut plugins = taking();
    plugins.push(at(HookName::Data, |txn| txn.wishes.discard_data.set(true)));
    plugins.push(at(HookName::DataPost, |txn| {
        assert!(txn.body.borrow().is_empty());
        assert_eq!(txn.header.borrow().get("a"), Some(&b"b"[..]));
    }));
    plugins.push(keeping(&kept));
    with("", plugins, async |rig| {
        let (_, reply) = send(&rig, "A: b\r\n\r\nhello\r\n").await;
        assert!(reply.starts_with("250 "), "{reply}");
    });
    assert_eq!(*kept.borrow(), "");
}
