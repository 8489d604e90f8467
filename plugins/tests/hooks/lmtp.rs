//! queue/lmtp.

use haraka_shared::hook::{Call, Code, Message, Verdict};
use haraka_shared::services::QueueError;
use serde_json::json;

use crate::site::{Site, sent};

const NAME: &str = "queue/lmtp";
const WIRE: &[u8] = b"Subject: hi\r\n\r\nbody\r\n";

// covers PI2-11
#[test]
fn marked_mail_of_a_domain_goes_to_its_lmtp_server_and_other_mail_is_left_alone() {
    let site = Site::new(&[(
        "lmtp.ini",
        "host=mail.back\nport=2424\n[One.org]\nhost=[::1]\n[two.org]\npath=/run/lmtp\n[bare.org]\n",
    )]);
    let plugin = site.load(NAME);
    assert_eq!(plugin.hooks(), ["queue hook_queue", "get_mx hook_get_mx"]);
    let route = |domain| {
        let verdict = plugin.get_mx(domain, "<a@b.org>", json!({"using_lmtp": true}));
        let Message::Routes(routes) = verdict.message else {
            panic!("no route for {domain}");
        };
        assert!(routes[0].lmtp);
        format!("{}:{}", routes[0].host, routes[0].port())
    };
    assert_eq!(route("else.org"), "mail.back:2424");
    assert_eq!(route("one.org"), "::1:24");
    assert_eq!(route("two.org"), "/run/lmtp:24");
    assert_eq!(route("bare.org"), "127.0.0.1:24");
    for notes in [json!({}), json!({"using_lmtp": false})] {
        assert_eq!(plugin.get_mx("one.org", "<a@b.org>", notes), Verdict::CONT);
    }
}

// covers PI2-11
#[test]
fn message_is_marked_and_queued_unless_another_queue_is_wanted() {
    let plugin = Site::new(&[]).load(NAME);
    let queue = |wants: Option<&str>| {
        let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
        let notes = &c.transaction().unwrap().notes;
        if let Some(wants) = wants {
            notes.set("queue.wants", wants);
        }
        let verdict = plugin.ask(&c, Call::Queue(()));
        (verdict, notes.truthy("using_lmtp"))
    };
    assert_eq!(queue(Some("smtp_forward")), (Verdict::CONT, false));
    assert_eq!(queue(None), (Verdict::OK, true));
    assert_eq!(queue(Some("lmtp")), (Verdict::OK, true));
    assert_eq!(plugin.services.queued.get(), 2);
    for (error, expected) in [
        (QueueError::Full("disk".into()), 452),
        (QueueError::Local("disk".into()), 451),
    ] {
        plugin.services.queue_error.replace(Some(error));
        let (verdict, _) = queue(None);
        assert_eq!(verdict.code, Code::DenySoft);
        let Message::Reply(reply) = verdict.message else {
            panic!("no reply");
        };
        assert_eq!(reply.code(), expected);
    }
}

#[test]
fn port_that_is_none_ends_the_start_with_file_and_key() {
    let site = Site::new(&[("lmtp.ini", "port=70000\n")]);
    let error = site.try_load(NAME).err().unwrap();
    assert!(
        error.contains("lmtp.ini") && error.contains("port"),
        "{error}"
    );
}
