//! xclient: who may use it, and what becomes of the connection.

use haraka_shared::connection::{Connection, HelloVerb};
use haraka_shared::hook::{Call, Code, Message, UnknownCommand, Verdict};
use haraka_shared::transaction::Transaction;
use serde_json::json;

use crate::site::{Plugin, Site, client, path};

const NAME: &str = "xclient";
const OFFER: &str = "XCLIENT NAME ADDR PROTO HELO LOGIN PORT DESTADDR DESTPORT";

fn say(plugin: &Plugin, connection: &Connection, arguments: &str) -> Verdict {
    let command = UnknownCommand::new("XCLIENT", arguments);
    plugin.ask(connection, Call::UnrecognizedCommand(command))
}

fn refusal(verdict: Verdict) -> String {
    match verdict.message {
        Message::Reply(reply) if verdict.code == Code::Deny => reply.to_string(),
        other => panic!("{:?} {other:?}", verdict.code),
    }
}

// covers EXT-07, PI3-07
#[test]
fn only_this_machine_and_listed_proxies_may_and_are_offered_it() {
    let site = Site::new(&[(
        "xclient.hosts",
        "192.0.2.7\n198.51.100.0/24\nnonsense\n2001:db8::7\n",
    )]);
    let plugin = site.load(NAME);
    let offered = |ip: &str| {
        let connection = client(ip);
        plugin.ask(&connection, Call::Capabilities(()));
        connection.capabilities.take()
    };
    let arguments = "ADDR=203.0.113.1 NAME=c.test";
    for proxy in [
        "127.0.0.1",
        "::1",
        "192.0.2.7",
        "198.51.100.9",
        "2001:db8::7",
    ] {
        assert_eq!(offered(proxy), [OFFER], "{proxy}");
        let verdict = say(&plugin, &client(proxy), arguments);
        assert_eq!(verdict, Verdict::new(Code::NextHook, "connect"));
    }
    for other in ["127.0.0.2", "192.0.2.8", "10.0.0.1", "2001:db8::8"] {
        assert!(offered(other).is_empty(), "{other}");
        let connection = client(other);
        let refused = refusal(say(&plugin, &connection, arguments));
        assert_eq!(refused, "550 5.5.0 Not authorized");
        assert_eq!(connection.remote_ip().to_string(), other);
    }
    site.change(&[("xclient.hosts", "192.0.2.8\n")]);
    assert_eq!(offered("192.0.2.8"), [OFFER]);
    assert!(offered("192.0.2.7").is_empty());
}

// covers PI3-07
#[test]
fn it_is_refused_in_a_transaction_and_without_an_address() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let connection = client("127.0.0.1");
    for arguments in [
        "",
        "NAME=a.test",
        "ADDR=[UNAVAILABLE]",
        "ADDR=1.2.3",
        "DESTADDR=192.0.2.1",
    ] {
        let refused = refusal(say(&plugin, &connection, arguments));
        assert_eq!(refused, "501 5.5.4 No valid IP address found");
    }
    assert_eq!(connection.remote_ip().to_string(), "127.0.0.1");
    let transaction = Transaction::new("T.1".into(), path("<a@b.test>"));
    connection.set_transaction(Some(transaction));
    let refused = refusal(say(&plugin, &connection, "ADDR=192.0.2.1"));
    assert_eq!(refused, "503 5.5.0 Mail transaction in progress");
}

// covers PI3-07, PA-29
#[test]
fn connection_becomes_that_of_the_client_and_keeps_no_rights_of_the_proxy() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let connection = client("127.0.0.1");
    connection.set_relaying(true);
    connection.set_remote_host("localhost");
    connection.notes.set("auth_user", "proxy");
    *connection.authheader.borrow_mut() = Some("(authenticated bits=0)\n".into());
    let verdict = say(
        &plugin,
        &connection,
        "ADDR=IPV6:2001:db8::9 PORT=99 PROTO=ESMTP HELO=Me.test LOGIN=Anna DESTADDR=192.0.2.5 DESTPORT=587",
    );
    assert_eq!(verdict, Verdict::new(Code::NextHook, "lookup_rdns"));
    assert!(!connection.relaying());
    assert!(!connection.notes.truthy("auth_user"));
    assert!(connection.authheader.borrow().is_none());
    {
        let remote = connection.remote.borrow();
        assert_eq!(remote.ip.to_string(), "2001:db8::9");
        assert_eq!((remote.port, remote.is_local), (99, false));
        assert_eq!((remote.host.as_ref(), remote.info.as_ref()), (None, None));
    }
    let hello = connection.hello.borrow().clone();
    assert_eq!(hello, Some((HelloVerb::Ehlo, "Me.test".into())));
    assert!(connection.esmtp.get() && connection.needs_auth());
    let result = connection.results.get(NAME).unwrap();
    assert_eq!(result["login"], json!("Anna"));
    // It is no proxy any more.
    let refused = refusal(say(&plugin, &connection, "ADDR=127.0.0.1"));
    assert_eq!(refused, "550 5.5.0 Not authorized");
}

#[test]
fn responses_in_an_exchange_of_auth_are_left_to_it() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let connection = client("127.0.0.1");
    connection.notes.set("authenticating", true);
    assert_eq!(say(&plugin, &connection, "ADDR=192.0.2.1"), Verdict::CONT);
}
