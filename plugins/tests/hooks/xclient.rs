//! xclient: who may say who the client is, and what becomes of the connection.

use haraka_shared::connection::{Connection, HelloVerb};
use haraka_shared::hook::{Call, Code, Message, UnknownCommand, Verdict};

use crate::site::{Plugin, Site, client, sending};

fn say(plugin: &Plugin, connection: &Connection, rest: &str) -> Verdict {
    let command = UnknownCommand::new("XCLIENT", rest);
    plugin.ask(connection, Call::UnrecognizedCommand(command))
}

fn refusal(verdict: &Verdict) -> String {
    match (&verdict.code, &verdict.message) {
        (Code::Deny, Message::Reply(reply)) => reply.to_string(),
        other => panic!("{other:?}"),
    }
}

fn offers(plugin: &Plugin, ip: &str) -> Vec<String> {
    let connection = client(ip);
    plugin.ask(&connection, Call::Capabilities(()));
    connection.capabilities.take()
}

// covers EXT-07, PI3-07
#[test]
fn command_is_offered_to_listed_hosts_and_this_machine_only() {
    let site = Site::new(&[(
        "xclient.hosts",
        "192.0.2.1\nno host\n198.51.100.0/24 # proxies\n",
    )]);
    let plugin = site.load("xclient");
    for (ip, trusted) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("192.0.2.1", true),
        ("198.51.100.77", true),
        ("192.0.2.2", false),
        ("127.0.0.2", false),
        ("10.0.0.1", false),
    ] {
        assert_eq!(!offers(&plugin, ip).is_empty(), trusted, "{ip}");
        let verdict = say(&plugin, &client(ip), "ADDR=203.0.113.5");
        match trusted {
            true => assert_eq!(verdict.code, Code::NextHook, "{ip}"),
            false => assert_eq!(refusal(&verdict), "550 5.5.0 Not authorized", "{ip}"),
        }
    }
    let line = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
    assert_eq!(offers(&plugin, "::1"), [line]);
    site.change(&[("xclient.hosts", "192.0.2.2\n")]);
    assert!(offers(&plugin, "192.0.2.1").is_empty() && !offers(&plugin, "192.0.2.2").is_empty());
}

// covers PI3-07
#[test]
fn command_without_an_address_or_inside_a_transaction_changes_nothing() {
    let plugin = Site::new(&[]).load("xclient");
    for (rest, reply) in [
        ("", "501 5.5.4 No valid IP address found"),
        ("NAME=x", "501 5.5.4 No valid IP address found"),
        ("ADDR=[UNAVAILABLE]", "501 5.5.4 No valid IP address found"),
        ("ADDR=2001:db8::1", "501 5.5.4 No valid IP address found"),
        (
            "ADDR=192.0.2.9 NAME=a+0Ab",
            "501 5.5.4 Invalid XCLIENT attribute",
        ),
    ] {
        let connection = client("127.0.0.1");
        connection.set_relaying(true);
        assert_eq!(refusal(&say(&plugin, &connection, rest)), reply, "{rest}");
        assert_eq!(connection.remote_ip().to_string(), "127.0.0.1");
        assert!(connection.relaying());
    }
    let busy = sending("<a@b.org>");
    let refused = say(&plugin, &busy, "ADDR=192.0.2.9");
    assert_eq!(refusal(&refused), "503 5.5.0 Mail transaction in progress");
    let response = UnknownCommand {
        secret: true,
        ..UnknownCommand::new("XCLIENT", "ADDR=192.0.2.9")
    };
    let verdict = plugin.ask(&client("::1"), Call::UnrecognizedCommand(response));
    assert_eq!(verdict, Verdict::CONT, "a response of AUTH");
    let other = UnknownCommand::new("XFORWARD", "ADDR=192.0.2.9");
    let verdict = plugin.ask(&client("::1"), Call::UnrecognizedCommand(other));
    assert_eq!(verdict, Verdict::CONT);
}

// covers PI3-07, EXT-07, PA-29, PB-06
#[test]
fn connection_is_that_of_the_announced_client_from_then_on() {
    let plugin = Site::new(&[]).load("xclient");
    let connection = client("127.0.0.1");
    connection.set_relaying(true);
    connection.notes.set("auth_user", "proxy");
    connection.set_remote_host("localhost");
    let verdict = say(
        &plugin,
        &connection,
        "ADDR=8.8.4.4 NAME=Mail.Example.org PORT=1234 PROTO=ESMTP HELO=Mail.Example.org \
         LOGIN=Jane+40Example.org DESTADDR=192.0.2.25 DESTPORT=587",
    );
    assert_eq!(verdict, Verdict::new(Code::NextHook, "connect"));
    assert!(!connection.relaying() && !connection.notes.truthy("auth_user"));
    assert!(connection.needs_auth() && connection.esmtp.get());
    let remote = connection.remote.borrow();
    assert_eq!(remote.ip.to_string(), "8.8.4.4");
    assert!(remote.port == 1234 && !remote.is_local && !remote.is_private);
    for name in [&remote.host, &remote.info] {
        assert_eq!(name.as_deref(), Some("Mail.Example.org"));
    }
    assert_eq!(remote.login.as_deref(), Some("Jane@Example.org"));
    assert_eq!(connection.local.get().ip.to_string(), "192.0.2.25");
    let hello = connection.hello.borrow();
    let (verb, host) = hello.as_ref().unwrap();
    assert!(*verb == HelloVerb::Ehlo && &**host == "Mail.Example.org");
}

// covers PI3-07
#[test]
fn what_is_not_announced_is_looked_up_or_stays() {
    let plugin = Site::new(&[]).load("xclient");
    let connection = client("127.0.0.1");
    connection.set_remote_host("localhost");
    *connection.hello.borrow_mut() = Some((HelloVerb::Ehlo, "proxy".into()));
    let verdict = say(
        &plugin,
        &connection,
        "ADDR=IPV6:2001:db8::5 NAME=[UNAVAILABLE]",
    );
    assert_eq!(verdict, Verdict::new(Code::NextHook, "lookup_rdns"));
    assert!(connection.hello.borrow().is_none() && !connection.esmtp.get());
    assert!(connection.remote.borrow().host.is_none());
    assert_eq!(connection.local.get().port, 25);
}
