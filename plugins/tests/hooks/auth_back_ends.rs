//! auth/auth_proxy, auth/auth_bridge, auth/auth_vpopmaild and auth/dovecot: what is said to the
//! server behind them, and what the client hears of it.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haraka_shared::asks::Ask;
use haraka_shared::connection::Connection;
use haraka_shared::hook::{Call, UnknownCommand, Verdict};
use haraka_shared::tls::Tls;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;

use crate::script::Script;
use crate::site::{Plugin, Site, client, sending};

pub const RIGHT: &str = "235 2.7.0 Authentication successful";
pub const WRONG: &str = "535 5.7.8 Authentication failed";
pub const LATER: &str = "454 4.7.0 Temporary authentication failure";

pub fn under_tls(ip: &str) -> Connection {
    let connection = client(ip);
    *connection.tls.borrow_mut() = Some(Tls::default().into());
    connection
}

/// A plugin and what its servers do, one call after the other.
pub fn behind(name: &str, files: &[(&str, &str)], scripts: &[Option<&str>]) -> (Site, Plugin) {
    let files = [files, &[("me", "mx.test")]].concat();
    let site = Site::new(&files);
    let scripts = scripts.iter().map(|s| s.map(Script::new));
    *site.services.back_ends.borrow_mut() = scripts.collect::<VecDeque<_>>();
    let plugin = site.load(name);
    (site, plugin)
}

fn say(plugin: &Plugin, connection: &Connection, line: &str) -> String {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let command = UnknownCommand::new(verb, rest);
    let verdict = plugin.ask(connection, Call::UnrecognizedCommand(command));
    assert_eq!(verdict, Verdict::OK, "{line}");
    match connection.asks.take() {
        Some(Ask::Say(reply)) => reply.to_string(),
        other => panic!("asked for {other:?}"),
    }
}

/// Logs in by PLAIN; the reply.
pub fn log_in(plugin: &Plugin, user: &str, password: &str) -> String {
    let connection = under_tls("192.0.2.7");
    plugin.ask(&connection, Call::Capabilities(()));
    let response = STANDARD.encode(format!("\0{user}\0{password}"));
    let reply = say(plugin, &connection, &format!("AUTH PLAIN {response}"));
    assert_eq!(connection.relaying(), reply == RIGHT);
    reply
}

/// Logs in by LOGIN, which can carry any octet.
fn log_in_slowly(plugin: &Plugin, user: &str, password: &str) -> String {
    let connection = under_tls("192.0.2.7");
    plugin.ask(&connection, Call::Capabilities(()));
    say(plugin, &connection, "AUTH LOGIN");
    say(plugin, &connection, &STANDARD.encode(user));
    say(plugin, &connection, &STANDARD.encode(password))
}

fn plain(user: &str, password: &str) -> String {
    let response = STANDARD.encode(format!("\0{user}\0{password}"));
    format!("C: AUTH PLAIN {response}")
}

const PROXY: &str = "auth/auth_proxy";

fn proxy(hosts: &str, scripts: &[Option<&str>]) -> (Site, Plugin) {
    let ini = format!("[domains]\nExample.org = {hosts}\n");
    behind(PROXY, &[("auth_proxy.ini", &ini)], scripts)
}

const HELLO: &str = "S: 220 back ESMTP\nC: EHLO mx.test\n";

// covers PI1-03, PI1-04, PI1-05, AUT-01
#[test]
fn auth_is_offered_under_tls_only() {
    let files = &[
        ("auth_proxy.ini", "[domains]\nx=localhost\n"),
        ("smtp_bridge.ini", "host=localhost\n"),
        ("auth_vpopmaild.ini", "sysadmin=root:pw\n"),
    ];
    for (name, offer) in [
        (PROXY, "AUTH PLAIN LOGIN"),
        ("auth/auth_bridge", "AUTH PLAIN LOGIN"),
        ("auth/auth_vpopmaild", "AUTH PLAIN LOGIN CRAM-MD5"),
        ("auth/dovecot", "AUTH PLAIN LOGIN"),
        ("auth-ldap", "AUTH PLAIN LOGIN"),
    ] {
        let (_site, plugin) = behind(name, files, &[]);
        for (connection, offers) in [
            (client("127.0.0.1"), vec![]),
            (under_tls("192.0.2.7"), vec![offer]),
        ] {
            plugin.ask(&connection, Call::Capabilities(()));
            assert_eq!(*connection.capabilities.borrow(), offers, "{name}");
        }
    }
}

// covers PI1-03
#[test]
fn proxy_logs_in_under_tls_with_the_whole_name() {
    let script = format!(
        "{HELLO}S: 250-back\nS: 250-AUTH LOGIN PLAIN\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n\
         TLS back.test System\nC: EHLO mx.test\nS: 250-back\nS: 250 AUTH LOGIN PLAIN\n{}\n\
         S: 235 fine\nC: QUIT",
        plain("jane@example.org", "secret")
    );
    let (site, plugin) = proxy("back.test:587", &[Some(&script)]);
    assert_eq!(log_in(&plugin, "jane@example.org", "secret"), RIGHT);
    assert_eq!(*site.services.called.borrow(), ["back.test:587"]);
}

// covers PI1-03
#[test]
fn certificates_count_unless_told_or_on_this_machine() {
    let script = |name: &str, trust: &str| {
        format!(
            "{HELLO}S: 250-back\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nTLS {name} {trust}\n\
             C: EHLO mx.test\nS: 250 back\nC: QUIT"
        )
    };
    for (host, reject, tls) in [
        ("back.test", "true", ("back.test", "System")),
        ("back.test", "false", ("back.test", "Anyone")),
        ("192.0.2.25", "true", ("192.0.2.25", "System")),
        ("localhost", "true", ("localhost", "Anyone")),
        ("127.0.0.1", "true", ("127.0.0.1", "Anyone")),
    ] {
        let ini = format!("[domains]\nx.test = {host}\n[tls]\nrejectUnauthorized={reject}\n");
        let script = script(tls.0, tls.1);
        let (_site, plugin) = behind(PROXY, &[("auth_proxy.ini", &ini)], &[Some(&script)]);
        // It offers no AUTH then, which says nothing of the password.
        assert_eq!(log_in(&plugin, "u@x.test", "p"), LATER, "{host}");
    }
}

// covers PI1-03
#[test]
fn refused_name_is_tried_without_its_domain_and_then_is_refused() {
    for (second, reply) in [("235 ok", RIGHT), ("535 no", WRONG), ("550 no", WRONG)] {
        let script = format!(
            "{HELLO}S: 250-back\nS: 250 AUTH PLAIN\n{}\nS: 535 no\n{}\nS: {second}\nC: QUIT",
            plain("jane@example.org", "pw"),
            plain("jane", "pw"),
        );
        let (site, plugin) = proxy("one two", &[Some(&script)]);
        assert_eq!(log_in(&plugin, "jane@example.org", "pw"), reply);
        assert_eq!(
            site.services.called.borrow().len(),
            1,
            "next host only on errors"
        );
    }
}

// covers PI1-03
#[test]
fn login_is_spoken_where_plain_is_not() {
    let user = STANDARD.encode("u@example.org");
    let script = format!(
        "{HELLO}S: 250-back\nS: 250 AUTH CRAM-MD5 LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\n\
         C: {user}\nS: 334 UGFzc3dvcmQ6\nC: {}\nS: 235 ok\nC: QUIT",
        STANDARD.encode("pw")
    );
    let (_site, plugin) = proxy("one", &[Some(&script)]);
    assert_eq!(log_in(&plugin, "u@example.org", "pw"), RIGHT);
}

// covers PI1-03
#[test]
fn trouble_of_one_server_leads_to_the_next_and_never_to_a_refusal() {
    let offer = format!("{HELLO}S: 250-back\nS: 250 AUTH PLAIN\n");
    let login = plain("u@example.org", "pw");
    let broken = [
        "X".to_owned(),
        "LATE".to_owned(),
        "S: what?".to_owned(),
        "S: 554 go away\nC: QUIT".to_owned(),
        format!("{HELLO}S: 502 no\nC: QUIT"),
        format!("{HELLO}S: 250 back\nC: QUIT"),
        format!("{HELLO}S: 250-back\nS: 250 AUTH GSSAPI\nC: QUIT"),
        format!("{HELLO}S: 250-back\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 no\nC: QUIT"),
        format!("{offer}{login}\nS: 454 later\nC: QUIT"),
        format!("{offer}{login}\nS: 334 \nC: QUIT"),
        format!("{offer}{login}\nX"),
        format!("{offer}{login}\nLATE"),
    ];
    let good = format!("{offer}{login}\nS: 235 ok\nC: QUIT");
    for script in &broken {
        let (site, plugin) = proxy("one;two:26", &[Some(script), Some(&good)]);
        assert_eq!(log_in(&plugin, "u@example.org", "pw"), RIGHT, "{script}");
        assert_eq!(*site.services.called.borrow(), ["one:25", "two:26"]);
        let (_site, plugin) = proxy("one, two", &[None, Some(script)]);
        assert_eq!(log_in(&plugin, "u@example.org", "pw"), LATER, "{script}");
    }
}

// covers PI1-03
#[test]
fn names_without_a_known_domain_are_refused_without_asking() {
    let (_site, plugin) = proxy("one", &[]);
    for user in ["u", "u@", "u@other.org", "@"] {
        assert_eq!(log_in(&plugin, user, "pw"), WRONG, "{user}");
    }
    // A NUL would make another name of it.
    assert_eq!(log_in_slowly(&plugin, "v\0u@example.org", "pw"), WRONG);
    assert_eq!(log_in_slowly(&plugin, "u@example.org", "p\0w"), WRONG);
}

#[test]
fn wrong_server_ends_the_start_with_file_line_and_domain() {
    for (hosts, why) in [("a:b", "\"b\" is not a port"), ("", "names no server")] {
        let ini = format!("[domains]\nx.test = {hosts}\n");
        let site = Site::new(&[("auth_proxy.ini", &ini)]);
        let error = site.try_load(PROXY).err().unwrap();
        assert_eq!(error, format!("auth_proxy.ini:2: [domains] x.test: {why}"));
    }
    let error = Site::new(&[]).try_load("auth/auth_bridge").err().unwrap();
    assert_eq!(error, "smtp_bridge.ini: host: names no server");
}

// covers PI1-04
#[test]
fn bridge_asks_its_one_server_about_any_name() {
    let script = format!(
        "{HELLO}S: 250-back\nS: 250 AUTH PLAIN\n{}\nS: 535 no\nC: QUIT",
        plain("jane", "pw")
    );
    let ini = ("smtp_bridge.ini", "host=localhost\nport=2525\n");
    let (site, plugin) = behind("auth/auth_bridge", &[ini], &[Some(&script), None]);
    assert_eq!(log_in(&plugin, "jane", "pw"), WRONG);
    assert_eq!(log_in(&plugin, "jane", "pw"), LATER);
    let called = site.services.called.borrow();
    assert_eq!(*called, ["localhost:2525", "localhost:2525"]);
}

const VPOPMAILD: &str = "auth/auth_vpopmaild";
const VPOPMAILD_INI: (&str, &str) = (
    "auth_vpopmaild.ini",
    "port=8900\nsysadmin=root:top secret\n[Example.org]\nhost=192.0.2.9\n",
);

fn vpopmaild(scripts: &[Option<&str>]) -> (Site, Plugin) {
    behind(VPOPMAILD, &[VPOPMAILD_INI], scripts)
}

// covers PI1-05
#[test]
fn vpopmaild_is_asked_for_the_domain_and_its_trouble_is_no_refusal() {
    let slogin = "S: +OK vpopmaild\nC: slogin u@example.org p w\n";
    for (script, reply) in [
        (format!("{slogin}S: +OK\nC: quit"), RIGHT),
        (format!("{slogin}S: -ERR 3301 no\nC: quit"), WRONG),
        (format!("{slogin}S: what\n"), LATER),
        (format!("{slogin}LATE"), LATER),
        ("S: -ERR busy".to_owned(), LATER),
        ("X".to_owned(), LATER),
    ] {
        let (site, plugin) = vpopmaild(&[Some(&script)]);
        assert_eq!(log_in(&plugin, "u@example.org", "p w"), reply, "{script}");
        // A section inherits nothing from the main one, as in Haraka.
        assert_eq!(*site.services.called.borrow(), ["192.0.2.9:89"]);
    }
    let (site, plugin) = vpopmaild(&[None]);
    assert_eq!(log_in(&plugin, "u@other.org", "pw"), LATER);
    assert_eq!(*site.services.called.borrow(), ["127.0.0.1:8900"]);
}

// covers PI1-05
#[test]
fn words_that_would_be_other_commands_never_reach_vpopmaild() {
    let (_site, plugin) = vpopmaild(&[]);
    for (user, password) in [
        ("u x", "p"),
        ("u\nuser_info root", "p"),
        ("u", "p\r\nuser_info root"),
        ("u", "p\0"),
    ] {
        assert_eq!(log_in_slowly(&plugin, user, password), WRONG, "{user:?}");
    }
}

fn cram(plugin: &Plugin, user: &str, password: &str) -> String {
    let connection = under_tls("192.0.2.7");
    plugin.ask(&connection, Call::Capabilities(()));
    let asked = say(plugin, &connection, "AUTH CRAM-MD5");
    let ticket = STANDARD
        .decode(asked.strip_prefix("334 ").unwrap())
        .unwrap();
    let mut mac = Hmac::<Md5>::new_from_slice(password.as_bytes()).unwrap();
    mac.update(&ticket);
    let digest = mac.finalize().into_bytes();
    let digest: String = digest.iter().map(|o| format!("{o:02x}")).collect();
    say(
        plugin,
        &connection,
        &STANDARD.encode(format!("{user} {digest}")),
    )
}

// covers PI1-05
#[test]
fn cram_md5_compares_with_the_clear_password_that_an_administrator_sees() {
    let info = "S: +OK\nC: slogin root top secret\nS: +OK\nC: user_info u@other.org\n";
    for (script, reply) in [
        (
            format!("{info}S: +OK\nS: name u\nS: clear_text_password pw\nC: quit"),
            RIGHT,
        ),
        (
            format!("{info}S: +OK\nS: clear_text_password other\nC: quit"),
            WRONG,
        ),
        (format!("{info}S: +OK\nS: name u\nS: .\nC: quit"), WRONG),
        (format!("{info}S: -ERR no such user\nC: quit"), WRONG),
        (
            "S: +OK\nC: slogin root top secret\nS: -ERR no".to_owned(),
            LATER,
        ),
        (format!("{info}X"), LATER),
    ] {
        let (_site, plugin) = vpopmaild(&[Some(&script)]);
        assert_eq!(cram(&plugin, "u@other.org", "pw"), reply, "{script}");
    }
    // That domain has no administrator.
    let (_site, plugin) = vpopmaild(&[]);
    assert_eq!(cram(&plugin, "u@example.org", "pw"), WRONG);
}

// covers PI1-05, AUT-11
#[test]
fn vpopmailds_users_send_for_their_domain_and_their_password_is_not_noted() {
    let script = "S: +OK\nC: slogin u@other.org pw\nS: +OK\nC: quit";
    let (_site, plugin) = vpopmaild(&[Some(script)]);
    assert!(plugin.hooks().contains(&"mail constrain_sender".to_owned()));
    let connection = sending("<x@else.test>");
    *connection.tls.borrow_mut() = Some(Tls::default().into());
    let open = connection.transaction();
    connection.set_transaction(None);
    plugin.ask(&connection, Call::Capabilities(()));
    let response = STANDARD.encode("\0u@other.org\0pw");
    assert_eq!(
        say(&plugin, &connection, &format!("AUTH PLAIN {response}")),
        RIGHT
    );
    assert_eq!(connection.notes.get("auth_passwd"), None);
    connection.set_transaction(open);
    assert!(plugin.mail(&connection).code.denies());
}

const DOVECOT: &str = "auth/dovecot";
const DOVECOT_INI: (&str, &str) = ("auth_dovecot.ini", "socket=/run/auth\n");

fn handshake(mechanisms: &str) -> String {
    let mechanisms: String = mechanisms
        .split_whitespace()
        .map(|m| format!("S: MECH\t{m}\tplaintext\n"))
        .collect();
    format!(
        "C: VERSION\t1\t1\nC: CPID\t{}\nS: VERSION\t1\t2\n{mechanisms}S: SPID\t77\nS: CUID\t1\n\
         S: COOKIE\tabc\nS: DONE\n",
        std::process::id()
    )
}

fn auth(mechanism: &str) -> String {
    format!(
        "C: AUTH\t1\t{mechanism}\tservice=smtp\tsecured\tlip=127.0.0.1\trip=192.0.2.7\tlport=25\
         \trport=4321"
    )
}

#[test]
fn dovecot_says_who_may_log_in_and_when_it_cannot_tell() {
    let response = STANDARD.encode("\0jane\0secret");
    let asked = format!(
        "{}{}\tresp={response}\n",
        handshake("PLAIN LOGIN"),
        auth("PLAIN")
    );
    for (answer, reply) in [
        ("S: OK\t1\tuser=jane", RIGHT),
        ("S: FAIL\t1\tuser=jane", WRONG),
        (
            "S: FAIL\t1\tuser=jane\treason=account disabled\tuser_disabled",
            WRONG,
        ),
        ("S: FAIL\t1\tuser=jane\ttemp", LATER),
        ("S: FAIL\t1\tuser=jane\tcode=temp_fail", LATER),
        ("S: OK\t2\tuser=other", LATER),
        ("S: CONT\t1\t", LATER),
        ("LATE", LATER),
        ("X", LATER),
    ] {
        let script = format!("{asked}{answer}");
        let (_site, plugin) = behind(DOVECOT, &[DOVECOT_INI], &[Some(&script)]);
        assert_eq!(log_in(&plugin, "jane", "secret"), reply, "{answer}");
    }
    for script in [
        format!(
            "C: VERSION\t1\t1\nC: CPID\t{}\nS: VERSION\t2\t0",
            std::process::id()
        ),
        handshake("GSSAPI"),
    ] {
        let (_site, plugin) = behind(DOVECOT, &[DOVECOT_INI], &[Some(&script)]);
        assert_eq!(log_in(&plugin, "jane", "secret"), LATER, "{script}");
    }
    let (_site, plugin) = behind(DOVECOT, &[DOVECOT_INI], &[]);
    assert_eq!(log_in_slowly(&plugin, "jane\0x", "secret"), WRONG);
}

#[test]
fn dovecot_without_plain_gets_login() {
    let script = format!(
        "{}{}\nS: CONT\t1\tVXNlcm5hbWU6\nC: CONT\t1\t{}\nS: CONT\t1\tUGFzc3dvcmQ6\nC: CONT\t1\t{}\n\
         S: OK\t1\tuser=jane",
        handshake("LOGIN"),
        auth("LOGIN"),
        STANDARD.encode("jane"),
        STANDARD.encode("secret"),
    );
    let (site, plugin) = behind(DOVECOT, &[DOVECOT_INI], &[Some(&script)]);
    assert_eq!(log_in(&plugin, "jane", "secret"), RIGHT);
    assert_eq!(*site.services.called.borrow(), ["/run/auth"]);
}
