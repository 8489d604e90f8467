//! auth/auth_proxy and auth/auth_bridge: what they say to servers, and what they make of the answers.

use std::rc::Rc;

use haraka_shared::connection::Connection;
use haraka_shared::hook::Call;
use haraka_shared::tls::Tls;
use serde_json::json;

use crate::auth::{encoded, log_in};
use crate::scripted::{Scripted, nobody};
use crate::site::{Plugin, Site, client};

const PROXY: &str = "auth/auth_proxy";
const BRIDGE: &str = "auth/auth_bridge";
pub const WELCOME: &str = "235 2.7.0 Authentication successful";
pub const FAILED: &str = "535 5.7.8 Authentication failed";
pub const LATER: &str = "454 4.7.0 Temporary authentication failure";

/// A client under TLS that is offered AUTH.
pub fn secured(plugin: &Plugin) -> Connection {
    let connection = client("8.8.8.8");
    *connection.tls.borrow_mut() = Some(Rc::new(Tls::default()));
    plugin.ask(&connection, Call::Capabilities(()));
    connection
}

/// A server that knows these pairs, offers these lines after EHLO and answers wrong ones with this.
fn server(offers: &'static str, users: &[(&str, &str)], no: &'static str) -> Scripted {
    let known: Vec<String> = users
        .iter()
        .map(|(user, password)| encoded(&format!("\0{user}\0{password}")))
        .collect();
    let pairs: Vec<(String, String)> = users
        .iter()
        .map(|(user, password)| (encoded(user), encoded(password)))
        .collect();
    let asked = std::sync::Mutex::new(Vec::<String>::new());
    Scripted::start("220 mx.back.test ESMTP\r\n", move |line| {
        let mut asked = asked.lock().unwrap();
        Some(match line {
            "EHLO mx.test" => format!("250-mx.back.test\r\n{offers}250 SIZE 100\r\n"),
            "STARTTLS" => "220 go\r\n".to_owned(),
            "AUTH LOGIN" => {
                asked.push(String::new());
                "334 VXNlcm5hbWU6\r\n".to_owned()
            }
            "QUIT" => "221 bye\r\n".to_owned(),
            _ if asked.len() == 1 => {
                asked.push(line.to_owned());
                "334 UGFzc3dvcmQ6\r\n".to_owned()
            }
            _ if asked.len() == 2 => {
                let pair = (asked.pop().unwrap(), line.to_owned());
                asked.clear();
                let right = pairs.contains(&pair);
                if right { "235 ok\r\n" } else { no }.to_owned()
            }
            _ => match line.strip_prefix("AUTH PLAIN ") {
                Some(response) if known.iter().any(|k| k == response) => "235 ok\r\n".to_owned(),
                Some(_) => no.to_owned(),
                None => return None,
            },
        })
    })
}

const BOTH: &str = "250-AUTH LOGIN PLAIN\r\n";
const LOGIN: &str = "250-AUTH LOGIN CRAM-MD5\r\n";
const NO: &str = "535 5.7.8 no\r\n";

fn proxy(servers: &str) -> Site {
    let ini = format!("[domains]\nhere.test={servers}\n");
    Site::new(&[("auth_proxy.ini", &ini), ("me", "mx.test")])
}

fn try_proxy(servers: &str, user: &str, password: &str) -> Vec<String> {
    let site = proxy(servers);
    let plugin = site.load(PROXY);
    log_in(&plugin, &secured(&plugin), user, password)
}

// covers PI1-03
#[test]
fn proxy_offers_auth_under_tls_only() {
    let site = proxy("127.0.0.1");
    let plugin = site.load(PROXY);
    let connection = secured(&plugin);
    assert_eq!(*connection.capabilities.borrow(), ["AUTH PLAIN LOGIN"]);
    let clear = client("127.0.0.1");
    plugin.ask(&clear, Call::Capabilities(()));
    assert!(clear.capabilities.borrow().is_empty());
}

// covers PI1-03
#[test]
fn proxy_logs_in_at_the_server_of_the_domain_and_says_what_it_said() {
    for offers in [BOTH, LOGIN] {
        let back = server(offers, &[("u@here.test", "pass word")], NO);
        let servers = back.addr.to_string();
        assert_eq!(try_proxy(&servers, "u@here.test", "pass word"), [WELCOME]);
        assert_eq!(try_proxy(&servers, "u@HERE.test", "guess"), [FAILED]);
    }
}

// covers PI1-03
#[test]
fn proxy_tries_the_name_without_its_domain_after_a_refusal() {
    for offers in [BOTH, LOGIN] {
        let back = server(offers, &[("u", "p")], NO);
        let servers = back.addr.to_string();
        assert_eq!(try_proxy(&servers, "u@here.test", "p"), [WELCOME]);
    }
    let back = server(BOTH, &[("u", "p")], NO);
    try_proxy(&back.addr.to_string(), "u@here.test", "guess");
    let first = format!("AUTH PLAIN {}", encoded("\0u@here.test\0guess"));
    let second = format!("AUTH PLAIN {}", encoded("\0u\0guess"));
    let talk = back.heard();
    assert_eq!(talk[..3], ["EHLO mx.test".to_owned(), first, second]);
}

// covers PI1-03
#[test]
fn proxy_refuses_names_without_a_domain_that_it_knows_and_asks_nobody() {
    let back = server(BOTH, &[("u", "p"), ("u@other.test", "p")], NO);
    for user in ["u", "u@other.test", "u@"] {
        let said = try_proxy(&back.addr.to_string(), user, "p");
        assert_eq!(said, [FAILED], "{user}");
    }
    assert!(back.heard().is_empty());
}

// covers PI1-03
#[test]
fn proxy_asks_the_next_server_after_trouble_but_not_after_a_refusal() {
    let good = server(BOTH, &[("u@here.test", "p")], NO);
    let strict = server(BOTH, &[], NO);
    let troubled = server(BOTH, &[], "454 4.7.0 later\r\n");
    let mute = server("", &[], NO);
    let rude = Scripted::table("554 go away\r\n", &[("QUIT", "221 bye\r\n")]);
    let odd = Scripted::table("hello, who is there?\r\n", &[]);
    for first in [nobody(), troubled.addr, mute.addr, rude.addr, odd.addr] {
        let servers = format!("{first}, {}", good.addr);
        assert_eq!(try_proxy(&servers, "u@here.test", "p"), [WELCOME]);
        let servers = format!("{first} {}", strict.addr);
        assert_eq!(try_proxy(&servers, "u@here.test", "p"), [FAILED]);
        assert_eq!(
            try_proxy(&first.to_string(), "u@here.test", "p"),
            [LATER],
            "nobody but {first} can tell"
        );
    }
    good.forget();
    let servers = format!("{};{}", strict.addr, good.addr);
    assert_eq!(try_proxy(&servers, "u@here.test", "p"), [FAILED]);
    assert!(good.heard().is_empty());
}

#[test]
fn proxy_counts_no_failure_where_nobody_can_tell() {
    let site = proxy(&nobody().to_string());
    let plugin = site.load(PROXY);
    let connection = secured(&plugin);
    assert_eq!(log_in(&plugin, &connection, "u@here.test", "p"), [LATER]);
    assert_eq!(connection.notes.get("auth_fails"), None);
    assert!(site.services.slept.borrow().is_empty());
}

// covers PI1-03
#[test]
fn proxy_begins_tls_where_it_is_offered_and_asks_for_the_offers_anew() {
    let back = server(
        "250-STARTTLS\r\n250-AUTH PLAIN\r\n",
        &[("u@here.test", "p")],
        NO,
    );
    let said = try_proxy(&back.addr.to_string(), "u@here.test", "p");
    assert_eq!(said, [WELCOME]);
    let talk = back.heard();
    assert_eq!(talk[..3], ["EHLO mx.test", "STARTTLS", "EHLO mx.test"]);
}

// covers PI1-04
#[test]
fn bridge_asks_its_one_server_about_any_name() {
    let back = server(BOTH, &[("u", "p"), ("v@any.test", "p")], NO);
    for ini in [
        format!("host={}\n", back.addr),
        format!("host=127.0.0.1\nport={}\n", back.addr.port()),
    ] {
        let site = Site::new(&[("smtp_bridge.ini", &ini), ("me", "mx.test")]);
        let plugin = site.load(BRIDGE);
        for (user, password, said) in [
            ("u", "p", WELCOME),
            ("v@any.test", "p", WELCOME),
            ("u@any.test", "p", WELCOME),
            ("v@any.test", "q", FAILED),
            ("w", "p", FAILED),
        ] {
            let connection = secured(&plugin);
            assert_eq!(log_in(&plugin, &connection, user, password), [said]);
        }
        let connection = secured(&plugin);
        log_in(&plugin, &connection, "u", "p");
        assert_eq!(connection.notes.get("auth_user"), Some(json!("u")));
        assert!(connection.relaying());
    }
    assert!(back.heard().contains(&"QUIT".to_owned()));
}

#[test]
fn configuration_that_leads_nowhere_ends_the_start_with_file_and_line() {
    for (plugin, file, ini, complaint) in [
        (PROXY, "auth_proxy.ini", "[domains]\na.test=x:y\n", "a.test"),
        (
            PROXY,
            "auth_proxy.ini",
            "[domains]\na.test=,\n",
            "no server",
        ),
        (BRIDGE, "smtp_bridge.ini", "port=25\n", "no server"),
        (BRIDGE, "smtp_bridge.ini", "host=a\nport=x\n", "not a port"),
    ] {
        let error = Site::new(&[(file, ini)]).try_load(plugin).err().unwrap();
        assert!(error.contains(file) && error.contains(complaint), "{error}");
    }
}
