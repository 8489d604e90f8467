//! queue/smtp_forward.

use haraka_shared::connection::Connection;
use haraka_shared::hook::{Call, Code, Message, Verdict};
use haraka_shared::reply::Reply;
use haraka_shared::services::{ForwardError, Forwarded};
use serde_json::json;

use crate::site::{Plugin, Site, results, sending, sent};

const NAME: &str = "queue/smtp_forward";
const WIRE: &[u8] = b"Subject: hi\r\n\r\nbody\r\n";

fn site(text: &str) -> Site {
    Site::new(&[("smtp_forward.ini", text)])
}

fn accepted() -> Result<Forwarded, ForwardError> {
    Ok(Forwarded {
        reply: Reply::new(250, "2.0.0 stored as 17"),
    })
}

fn queue(plugin: &Plugin, c: &Connection, answer: Result<Forwarded, ForwardError>) -> Verdict {
    plugin.services.forwards.borrow_mut().push(answer);
    plugin.ask(c, Call::Queue(()))
}

fn asked(plugin: &Plugin) -> Vec<String> {
    let routes = plugin.services.routes.borrow();
    routes
        .iter()
        .map(|(r, _)| format!("{}:{}", r.host, r.port()))
        .collect()
}

// covers PI2-01
#[test]
fn hooks_follow_the_settings() {
    assert_eq!(
        site("host=a\n").load(NAME).hooks(),
        ["queue queue_forward", "get_mx get_mx"]
    );
    assert_eq!(
        site("enable_outbound=true\ncheck_sender=true\ncheck_recipient=true\n")
            .load(NAME)
            .hooks(),
        [
            "mail check_sender",
            "rcpt check_recipient",
            "queue queue_forward",
            "queue_outbound queue_forward",
            "get_mx get_mx"
        ]
    );
}

// covers PI2-03
#[test]
fn the_other_servers_answer_is_ours() {
    let site = site("host=mx.back\nport=26\n");
    let plugin = site.load(NAME);
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    assert_eq!(
        queue(&plugin, &c, accepted()),
        Verdict::ok("2.0.0 stored as 17")
    );
    assert_eq!(results(&c, NAME, "pass"), json!(["2.0.0 stored as 17"]));
    let refused = |code, text| Err(ForwardError::Refused(Reply::new(code, text)));
    assert_eq!(
        queue(&plugin, &c, refused(550, "no such user")),
        Verdict::deny("no such user")
    );
    assert_eq!(
        queue(&plugin, &c, refused(452, "too many")),
        Verdict::deny_soft("too many")
    );
    assert_eq!(asked(&plugin), ["mx.back:26"; 3]);
}

// covers PB-23, SMC-11
#[test]
fn lost_connection_is_a_temporary_failure_and_not_another_plugins_message() {
    let site = site("host=mx.back\n");
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    let lost = Err(ForwardError::Connection("connection reset".into()));
    assert_eq!(queue(&site.load(NAME), &c, lost).code, Code::DenySoft);
    assert_eq!(results(&c, NAME, "err"), json!(["connection reset"]));
}

// covers SMC-04
#[test]
fn pool_member_that_failed_is_passed_over() {
    let site = site("forwarding_host_pool=one:26 two:26\n");
    let plugin = site.load(NAME);
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    let lost = Err(ForwardError::Connection("refused".into()));
    assert_eq!(queue(&plugin, &c, lost).code, Code::DenySoft);
    for _ in 0..3 {
        assert_eq!(queue(&plugin, &c, accepted()).code, Code::Ok);
    }
    let asked = asked(&plugin);
    assert_ne!(asked[0], asked[1]);
    assert!(asked[1..].iter().all(|host| *host == asked[1]), "{asked:?}");
}

// covers PI2-04, PI2-05, PB-36
#[test]
fn first_recipients_section_chooses_the_server() {
    let site = site(concat!(
        "host=main\nport=25\none_message_per_rcpt=true\n",
        "[one.org]\nhost=one\nport=26\n[bare.org]\n",
    ));
    let plugin = site.load(NAME);
    for to in [
        ["<x@One.org>", "<x@bare.org>"],
        ["<x@bare.org>", "<x@one.org>"],
        ["<x@else.org>", "<x@one.org>"],
    ] {
        let c = sent("<a@one.org>", &to, WIRE);
        assert_eq!(queue(&plugin, &c, accepted()).code, Code::Ok);
    }
    assert_eq!(asked(&plugin), ["one:26", "main:25", "main:25"]);
    let each: Vec<bool> = plugin
        .services
        .routes
        .borrow()
        .iter()
        .map(|r| r.1)
        .collect();
    assert_eq!(each, [false, true, true], "it goes with the server");
}

// covers PI2-05
#[test]
fn senders_address_then_domain_choose_when_selected_so() {
    let site = site(concat!(
        "host=main\ndomain_selector=mail_from\n",
        "[vip@one.org]\nhost=vip\n[one.org]\nhost=one\n",
    ));
    let plugin = site.load(NAME);
    for from in ["<VIP@one.org>", "<b@one.org>", "<b@two.org>", "<>"] {
        let c = sent(from, &["<x@one.org>"], WIRE);
        assert_eq!(queue(&plugin, &c, accepted()).code, Code::Ok);
    }
    assert_eq!(asked(&plugin), ["vip:25", "one:25", "main:25", "main:25"]);
}

// covers PI2-05
#[test]
fn unwanted_and_relayed_messages_are_left_alone() {
    let site = site("host=main\n[on.org]\nenable_outbound=true\n");
    let plugin = site.load(NAME);
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    c.transaction()
        .unwrap()
        .notes
        .set("queue.wants", "outbound");
    assert_eq!(plugin.ask(&c, Call::Queue(())), Verdict::CONT);
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    c.set_relaying(true);
    assert_eq!(plugin.ask(&c, Call::Queue(())), Verdict::CONT);
    assert!(asked(&plugin).is_empty());
    let c = sent("<a@b.org>", &["<x@on.org>"], WIRE);
    c.set_relaying(true);
    c.transaction()
        .unwrap()
        .notes
        .set("queue.wants", "smtp_forward");
    assert_eq!(queue(&plugin, &c, accepted()).code, Code::Ok);
}

const CHECKS: &str = concat!(
    "host=main\nport=2525\ncheck_sender=true\ncheck_recipient=true\n",
    "[one.org]\nhost=one\n[same.org]\nhost=one\n[two.org]\nhost=two\n[q.org]\nqueue=lmtp\n",
);

// covers PI2-06
#[test]
fn listed_sender_domain_needs_relaying() {
    let site = site(CHECKS);
    let plugin = site.load(NAME);
    let c = sending("<a@One.org>");
    assert_eq!(plugin.mail(&c), Verdict::deny("Spoofed MAIL FROM"));
    assert_eq!(results(&c, NAME, "fail"), json!(["mail_from!spoof"]));
    c.set_relaying(true);
    assert_eq!(plugin.mail(&c), Verdict::CONT);
    assert!(c.transaction().unwrap().notes.truthy("local_sender"));
    assert_eq!(plugin.mail(&sending("<a@else.org>")), Verdict::CONT);
    let null = sending("<>");
    assert_eq!(plugin.mail(&null), Verdict::CONT);
    assert_eq!(results(&null, NAME, "skip"), json!(["mail_from.null"]));
}

// covers PI2-07
#[test]
fn recipients_with_one_destination_share_a_transaction_and_others_are_put_off() {
    let site = site(CHECKS);
    let plugin = site.load(NAME);
    let c = sending("<a@else.org>");
    assert_eq!(plugin.rcpt(&c, "<x@one.org>"), Verdict::OK);
    let notes = &c.transaction().unwrap().notes;
    assert_eq!(notes.text("queue.wants").as_deref(), Some("smtp_forward"));
    assert_eq!(
        notes.text("queue.next_hop").as_deref(),
        Some("smtp://one:2525")
    );
    assert_eq!(plugin.rcpt(&c, "<x@SAME.org>"), Verdict::OK);
    let split = Verdict::deny_soft("Split transaction, retry soon");
    assert_eq!(plugin.rcpt(&c, "<x@two.org>"), split);
    assert_eq!(plugin.rcpt(&c, "<x@q.org>"), split);
    assert_eq!(plugin.rcpt(&c, "<x@else.org>"), Verdict::CONT);
    assert_eq!(plugin.rcpt(&c, "<postmaster>"), Verdict::CONT);
    assert_eq!(
        results(&c, NAME, "pass"),
        json!(["rcpt_to", "rcpt_to", "rcpt_to.split", "rcpt_to.split"])
    );
    assert_eq!(results(&c, NAME, "msg"), json!(["rcpt!local"]));
    assert_eq!(results(&c, NAME, "skip"), json!(["rcpt!domain"]));
    let c = sending("<a@else.org>");
    assert_eq!(plugin.rcpt(&c, "<x@q.org>"), Verdict::OK);
    assert_eq!(
        c.transaction()
            .unwrap()
            .notes
            .text("queue.wants")
            .as_deref(),
        Some("lmtp")
    );
}

// covers PI2-07
#[test]
fn relaying_local_sender_goes_to_the_outbound_queue() {
    let site = site(CHECKS);
    let plugin = site.load(NAME);
    let c = sending("<a@one.org>");
    c.set_relaying(true);
    assert_eq!(plugin.mail(&c), Verdict::CONT);
    assert_eq!(plugin.rcpt(&c, "<x@far.org>"), Verdict::OK);
    assert_eq!(
        c.transaction()
            .unwrap()
            .notes
            .text("queue.wants")
            .as_deref(),
        Some("outbound")
    );
    assert_eq!(
        results(&c, NAME, "pass"),
        json!(["mail_from", "relaying local_sender"])
    );
}

// covers PI2-08
#[test]
fn outbound_mail_gets_the_noted_hop_or_the_sections_host() {
    let site = site(
        "host=main\nport=2525\n[one.org]\nhost=one\nauth_user=u\nauth_pass=p\nbind=192.0.2.1\n",
    );
    let plugin = site.load(NAME);
    let first = |verdict: Verdict| match verdict.message {
        Message::Routes(mut routes) => routes.remove(0),
        other => panic!("{other:?}"),
    };
    let own = first(plugin.get_mx(
        "One.org",
        "<a@b.org>",
        json!({"queue":{"wants":"outbound"}}),
    ));
    assert_eq!((own.host.to_string(), own.port()), ("one".into(), 2525));
    assert_eq!(own.auth_user.as_deref(), Some("u"));
    assert_eq!(own.bind, Some("192.0.2.1".parse().unwrap()));
    let hop = json!({"queue":{"wants":"smtp_forward","next_hop":"lmtp://u%40x:p@hop:2424"}});
    let hop = first(plugin.get_mx("one.org", "<a@b.org>", hop));
    assert!(hop.lmtp && hop.port() == 2424 && hop.host.to_string() == "hop");
    assert_eq!(
        (hop.auth_user.as_deref(), hop.auth_type.as_deref()),
        (Some("u@x"), Some("plain"))
    );
    let none = |domain, notes| assert_eq!(plugin.get_mx(domain, "<a@b.org>", notes), Verdict::CONT);
    none("else.org", json!({}));
    none("one.org", json!({"queue":{"wants":"lmtp"}}));
    none("tls", json!({}));
    let bad = json!({"queue":{"wants":"smtp_forward","next_hop":"http://x"}});
    assert_eq!(plugin.get_mx("one.org", "<>", bad).code, Code::DenySoft);
}

#[test]
fn wrong_port_ends_the_start_with_file_line_and_key() {
    let error = site("host=a\nport=99999\n").try_load(NAME).err().unwrap();
    assert_eq!(
        error,
        "smtp_forward.ini:2: port: \"99999\" is no port from 1 to 65535"
    );
}

// covers CFS-31, CFS-32
#[test]
fn changed_server_counts_for_the_next_message_and_a_bad_one_does_not() {
    let site = site("host=one\nport=25\n");
    let plugin = site.load(NAME);
    let c = sent("<a@x.example>", &["<b@y.example>"], WIRE);
    queue(&plugin, &c, accepted());
    site.change(&[("smtp_forward.ini", "host=two\nport=26\n")]);
    queue(&plugin, &c, accepted());
    site.change(&[("smtp_forward.ini", "host=three\nport=many\n")]);
    queue(&plugin, &c, accepted());
    assert_eq!(asked(&plugin), ["one:25", "two:26", "two:26"]);
}
