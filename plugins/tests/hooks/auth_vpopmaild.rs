//! auth/auth_vpopmaild: the daemon's protocol, and what comes of each login.

use haraka_shared::connection::Connection;
use haraka_shared::hook::Verdict;
use haraka_shared::transaction::Transaction;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;

use crate::auth::{encoded, line, log_in};
use crate::auth_proxy::{FAILED, LATER, WELCOME, secured};
use crate::scripted::{Scripted, nobody};
use crate::site::{Plugin, Site, path};

const NAME: &str = "auth/auth_vpopmaild";

/// A daemon with an administrator and one user.
fn daemon() -> Scripted {
    Scripted::table(
        "+OK vpopmaild ready\r\n",
        &[
            ("slogin u@here.test pass word", "+OK+\r\n"),
            ("slogin admin@here.test rights", "+OK+\r\n"),
            ("slogin u@here.test wrong", "-ERR login failed\r\n"),
            (
                "user_info u@here.test",
                "+OK+\r\nname u\r\ndomain here.test\r\nclear_text_password sesame\r\nuid 0\r\n.\r\n",
            ),
            (
                "user_info hashed@here.test",
                "+OK+\r\nname hashed\r\nuid 0\r\n.\r\n",
            ),
            ("user_info nobody@here.test", "-ERR no such user\r\n"),
            ("quit", "+OK\r\n"),
            ("", ""),
        ],
    )
}

fn site(ini: &str) -> Site {
    Site::new(&[("auth_vpopmaild.ini", ini), ("me", "mx.test")])
}

fn at(back: &Scripted, rest: &str) -> Site {
    site(&format!(
        "host=127.0.0.1\nport={}\n{rest}",
        back.addr.port()
    ))
}

const SYSADMIN: &str = "sysadmin=admin@here.test:rights\n";

fn cram(plugin: &Plugin, connection: &Connection, user: &str, password: &str) -> Vec<String> {
    use base64::Engine as _;
    let asked = line(plugin, connection, "AUTH CRAM-MD5");
    let coded = asked[0].strip_prefix("334 ").unwrap();
    let challenge = base64::engine::general_purpose::STANDARD
        .decode(coded)
        .unwrap();
    let mut digest = Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).unwrap();
    digest.update(&challenge);
    let hex: String = digest
        .finalize()
        .into_bytes()
        .iter()
        .map(|o| format!("{o:02x}"))
        .collect();
    line(plugin, connection, &encoded(&format!("{user} {hex}")))
}

// covers PI1-05
#[test]
fn daemon_is_asked_about_the_password_and_parted_from() {
    let back = daemon();
    let site = at(&back, "");
    let plugin = site.load(NAME);
    let connection = secured(&plugin);
    assert_eq!(*connection.capabilities.borrow(), ["AUTH PLAIN LOGIN"]);
    assert_eq!(
        log_in(&plugin, &connection, "u@here.test", "pass word"),
        [WELCOME]
    );
    assert_eq!(
        connection.notes.get("auth_user"),
        Some(json!("u@here.test"))
    );
    assert_eq!(connection.notes.get("auth_passwd"), None);
    let connection = secured(&plugin);
    assert_eq!(
        log_in(&plugin, &connection, "u@here.test", "wrong"),
        [FAILED]
    );
    assert_eq!(back.heard()[0], "slogin u@here.test pass word");
}

// covers PI1-05
#[test]
fn cram_md5_takes_the_rights_of_an_administrator() {
    let back = daemon();
    let site = at(&back, SYSADMIN);
    let plugin = site.load(NAME);
    let connection = secured(&plugin);
    let offered = connection.capabilities.borrow().clone();
    assert_eq!(offered, ["AUTH PLAIN LOGIN CRAM-MD5"]);
    for (user, password, said) in [
        ("u@here.test", "sesame", WELCOME),
        ("u@here.test", "guess", FAILED),
        ("hashed@here.test", "", FAILED),
        ("nobody@here.test", "x", FAILED),
    ] {
        assert_eq!(cram(&plugin, &secured(&plugin), user, password), [said]);
    }
    let heard = back.heard();
    assert_eq!(heard[0], "slogin admin@here.test rights");
    assert_eq!(heard[1], "user_info u@here.test");
}

#[test]
fn nothing_that_breaks_out_of_its_word_reaches_the_daemon() {
    let back = daemon();
    let site = at(&back, SYSADMIN);
    let plugin = site.load(NAME);
    for (user, password) in [
        ("u@here.test pass word\n\rquit", "x"),
        ("u@here.test pass", "word"),
        ("u@here.test", "x\nuser_info u@here.test"),
    ] {
        let said = log_in(&plugin, &secured(&plugin), user, password);
        assert_eq!(said, [FAILED], "{user:?}");
    }
    assert!(back.heard().is_empty());
}

#[test]
fn trouble_with_the_daemon_is_no_failure_of_the_client() {
    let deaf = Scripted::table("-ERR too busy\r\n", &[]);
    let lost = Scripted::table("+OK\r\n", &[]);
    let odd = Scripted::start("+OK\r\n", |_| Some("what?\r\n".to_owned()));
    for addr in [deaf.addr, lost.addr, odd.addr, nobody()] {
        let site = site(&format!("host={addr}\n"));
        let plugin = site.load(NAME);
        let said = log_in(&plugin, &secured(&plugin), "u@here.test", "p");
        assert_eq!(said, [LATER], "{addr}");
    }
    // An administrator that is not believed is trouble as well.
    let back = daemon();
    let site = at(&back, "sysadmin=u@here.test:wrong\n");
    let plugin = site.load(NAME);
    let said = cram(&plugin, &secured(&plugin), "u@here.test", "sesame");
    assert_eq!(said, [LATER]);
}

// covers PI1-05
#[test]
fn a_domain_has_a_daemon_of_its_own() {
    let (main, own) = (daemon(), daemon());
    let ini = format!(
        "host={}\n[Here.test]\nhost={}\nport={}\n",
        main.addr,
        own.addr.ip(),
        own.addr.port()
    );
    let site = site(&ini);
    let plugin = site.load(NAME);
    let said = log_in(&plugin, &secured(&plugin), "u@HERE.test", "x");
    assert_eq!(said, [LATER]);
    log_in(&plugin, &secured(&plugin), "u@other.test", "x");
    assert_eq!(own.heard(), ["slogin u@HERE.test x"]);
    assert_eq!(main.heard(), ["slogin u@other.test x"]);
}

// covers PI1-05, AUT-11
#[test]
fn sender_has_to_be_of_the_user_unless_that_is_switched_off() {
    let back = daemon();
    for (rest, refused) in [("", true), ("constrain_sender=false\n", false)] {
        let site = at(&back, rest);
        let plugin = site.load(NAME);
        let hooks = plugin.hooks();
        let held = hooks.contains(&"mail constrain_sender".to_owned());
        assert_eq!(held, refused, "{rest} {hooks:?}");
        let connection = secured(&plugin);
        let said = log_in(&plugin, &connection, "u@here.test", "pass word");
        assert_eq!(said, [WELCOME]);
        let from = path("<a@far.com>");
        let transaction = Transaction::new("T.1".into(), from);
        connection.set_transaction(Some(transaction));
        assert_eq!(plugin.mail(&connection) != Verdict::CONT, refused);
    }
}

#[test]
fn configuration_that_leads_nowhere_ends_the_start_with_file_and_key() {
    for (ini, complaint) in [
        ("port=x\n", "not a port"),
        ("[a.test]\nhost=x:y\n", "host"),
        ("sysadmin=name\n", "user:password"),
    ] {
        let error = site(ini).try_load(NAME).err().unwrap();
        assert!(error.contains("auth_vpopmaild.ini"), "{error}");
        assert!(error.contains(complaint), "{error}");
    }
}
