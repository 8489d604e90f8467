//! queue/discard and queue/test.

use std::os::unix::fs::PermissionsExt;

use haraka_shared::hook::{Call, Code, Verdict};

use crate::site::{Site, sent};

const WIRE: &[u8] = b"Subject: hi\r\n\r\n..dot\r\n";

// covers PI2-14
#[test]
fn only_marked_messages_are_discarded() {
    let site = Site::new(&[]);
    let plugin = site.load("queue/discard");
    assert_eq!(plugin.hooks(), ["queue discard", "queue_outbound discard"]);
    let both = |c: &_| {
        let verdict = plugin.ask(c, Call::Queue(()));
        assert_eq!(plugin.ask(c, Call::QueueOutbound(())), verdict);
        verdict
    };
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    assert_eq!(both(&c), Verdict::CONT);
    c.notes.set("discard", true);
    assert_eq!(both(&c), Verdict::OK);
    let notes = &c.transaction().unwrap().notes;
    notes.set("queue.wants", "outbound");
    assert_eq!(both(&c), Verdict::CONT);
    notes.set("queue.wants", "discard");
    assert_eq!(both(&c), Verdict::OK);
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    c.transaction().unwrap().notes.set("discard", 1);
    assert_eq!(both(&c), Verdict::OK);
}

// covers PI2-16, TXN-27
#[test]
fn test_queue_writes_the_plain_message_for_its_owner_only_and_never_over_a_file() {
    let site = Site::new(&[]);
    let plugin = site.load("queue/test");
    assert_eq!(plugin.hooks(), ["queue hook_queue"]);
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    let uuid = c.transaction().unwrap().uuid.clone();
    let file = std::env::temp_dir().join(format!("mail_{uuid}.eml"));
    assert_eq!(plugin.ask(&c, Call::Queue(())), Verdict::OK);
    let text = std::fs::read_to_string(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    let again = plugin.ask(&c, Call::Queue(()));
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(text, "Subject: hi\r\n\r\n.dot\r\n");
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!((again.code, kept), (Code::DenySoft, text));
}
