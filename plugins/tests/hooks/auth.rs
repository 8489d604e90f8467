//! auth/flat_file: what is offered to whom, and what comes of each login.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haraka_plugins::auth::backend::{Answer, Backend, Rules};
use haraka_plugins::auth::base::AuthPlugin;
use haraka_plugins::auth::secret::Secret;
use haraka_shared::asks::Ask;
use haraka_shared::connection::Connection;
use haraka_shared::hook::{Call, Code, UnknownCommand, Verdict};
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};
use haraka_shared::tls::Tls;
use serde_json::{Value, json};

use crate::site::{Plugin, Site, client, path, sending};

const NAME: &str = "auth/flat_file";
const PUBLIC: &str = "8.8.8.8";
const PRIVATE: &str = "10.1.2.3";
/// Of `secret`, as cheap as bcrypt allows.
const HASH: &str = "$2b$04$TlKvLfx4LLnpvlyN7D/Bf.KsPbq1SeZvKauUStaUE7o2XHoZYvcNS";

fn site(ini: &str) -> Site {
    Site::new(&[("auth_flat_file.ini", ini), ("me", "mx.test")])
}

fn all_methods(users: &str) -> Site {
    site(&format!(
        "[core]\nmethods=PLAIN,LOGIN,CRAM-MD5\n[users]\n{users}"
    ))
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// A client that is offered AUTH.
fn greeted(plugin: &Plugin, ip: &str) -> Connection {
    let connection = client(ip);
    plugin.ask(&connection, Call::Capabilities(()));
    connection
}

/// Sends a line that no built-in command handles; the replies, then the verdict if it says more.
fn line(plugin: &Plugin, connection: &Connection, line: &str) -> Vec<String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let command = UnknownCommand::new(verb, rest);
    let verdict = plugin.ask(connection, Call::UnrecognizedCommand(command));
    let mut said: Vec<String> = std::iter::from_fn(|| connection.asks.take())
        .map(text_of)
        .collect();
    if verdict != Verdict::OK {
        let text = verdict.message.text().unwrap_or_default();
        said.push(
            format!("{} {text}", verdict.code.name())
                .trim_end()
                .to_owned(),
        );
    }
    said
}

#[allow(unreachable_patterns, reason = "for whatever else can be asked")]
fn text_of(ask: Ask) -> String {
    match ask {
        Ask::Say(reply) => reply.to_string(),
        other => panic!("asked for {other:?}"),
    }
}

fn log_in(plugin: &Plugin, connection: &Connection, user: &str, password: &str) -> Vec<String> {
    let response = encoded(&format!("\0{user}\0{password}"));
    line(plugin, connection, &format!("AUTH PLAIN {response}"))
}

const WELCOME: &str = "235 2.7.0 Authentication successful";
const FAILED: &str = "535 5.7.8 Authentication failed";

// covers AUT-01, EXT-06, PI1-02
#[test]
fn auth_is_offered_under_tls_and_to_private_clients_only() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    let offered = |connection: &Connection| {
        plugin.ask(connection, Call::Capabilities(()));
        connection.capabilities.borrow().clone()
    };
    assert!(offered(&client(PUBLIC)).is_empty());
    for ip in [PRIVATE, "127.0.0.1", "::1"] {
        assert_eq!(offered(&client(ip)), ["AUTH PLAIN LOGIN CRAM-MD5"], "{ip}");
    }
    let under_tls = client(PUBLIC);
    *under_tls.tls.borrow_mut() = Some(Tls::default().into());
    assert_eq!(offered(&under_tls), ["AUTH PLAIN LOGIN CRAM-MD5"]);
    let allowed = under_tls.notes.get("allowed_auth_methods");
    assert_eq!(allowed, Some(json!(["PLAIN", "LOGIN", "CRAM-MD5"])));
}

// covers AUT-09
#[test]
fn what_was_not_offered_is_no_command() {
    let site = site("[core]\nmethods=LOGIN\n[users]\nu=p\n");
    let plugin = site.load(NAME);
    for (connection, case) in [
        (client(PRIVATE), "no EHLO"),
        (greeted(&plugin, PUBLIC), "in the clear"),
        (greeted(&plugin, PRIVATE), "another mechanism"),
    ] {
        assert_eq!(log_in(&plugin, &connection, "u", "p"), ["CONT"], "{case}");
        assert_eq!(line(&plugin, &connection, "AUTH"), ["CONT"]);
        assert_eq!(line(&plugin, &connection, "EXPN x"), ["CONT"]);
    }
    // Offered once, but not any more: the client's address changed meanwhile (XCLIENT).
    let moved = greeted(&plugin, PRIVATE);
    moved.set_remote_ip(PUBLIC.parse().unwrap());
    assert_eq!(line(&plugin, &moved, "AUTH LOGIN"), ["CONT"]);
}

// covers AUT-05, PI1-01
#[test]
fn success_lets_relay_and_tells_the_other_plugins() {
    let site = all_methods("u@here.test=p w\n");
    let plugin = site.load(NAME);
    let c = greeted(&plugin, PRIVATE);
    assert_eq!(log_in(&plugin, &c, "u@here.test", "p w"), [WELCOME]);
    assert!(c.relaying());
    assert_eq!(c.notes.text("auth_user").as_deref(), Some("u@here.test"));
    assert_eq!(c.notes.text("auth_passwd").as_deref(), Some("p w"));
    assert!(!c.notes.truthy("authenticating"));
    let auth = c.results.get("auth").unwrap();
    let found = [&auth["pass"], &auth["method"], &auth["user"]];
    assert_eq!(
        found,
        [&json!([NAME]), &json!("PLAIN"), &json!("u@here.test")]
    );
    assert!(c.results.has("relay", "pass", NAME));
    let header = c.authheader.borrow().clone();
    assert_eq!(header.as_deref(), Some("(authenticated bits=0)\n"));
    let findings = c.notes.get("authentication_results");
    assert_eq!(findings, Some(json!(["auth=pass (plain)"])));
}

// covers PB-04
#[test]
fn auth_is_for_once_and_outside_of_a_transaction() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    let c = sending("<a@b.test>");
    c.set_remote_ip(PRIVATE.parse().unwrap());
    plugin.ask(&c, Call::Capabilities(()));
    let refused = ["503 5.5.1 AUTH not permitted during a mail transaction"];
    assert_eq!(log_in(&plugin, &c, "u", "p"), refused);
    assert!(!c.relaying() && c.transaction().is_some());
    c.set_transaction(None);
    assert_eq!(log_in(&plugin, &c, "u", "p"), [WELCOME]);
    let refused = ["503 5.5.1 Already authenticated"];
    assert_eq!(log_in(&plugin, &c, "u", "wrong"), refused);
    assert!(c.relaying());
}

// covers AUT-03, AUT-04, AUT-08, PB-05
#[test]
fn exchanges_of_several_lines() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    let c = greeted(&plugin, PRIVATE);
    assert_eq!(line(&plugin, &c, "AUTH LOGIN"), ["334 VXNlcm5hbWU6"]);
    assert!(c.notes.truthy("authenticating"));
    assert_eq!(
        line(&plugin, &c, "*"),
        ["501 5.7.0 Authentication cancelled"]
    );
    assert!(!c.notes.truthy("authenticating"));
    assert_eq!(line(&plugin, &c, "dQ=="), ["CONT"], "the exchange is over");
    for _ in 0..2 {
        assert_eq!(line(&plugin, &c, "AUTH PLAIN")[0].trim_end(), "334");
        assert_eq!(line(&plugin, &c, "!"), ["501 5.5.2 Cannot decode base64"]);
    }
    line(&plugin, &c, "auth login");
    assert_eq!(line(&plugin, &c, &encoded("u")), ["334 UGFzc3dvcmQ6"]);
    assert_eq!(line(&plugin, &c, &encoded("p")), [WELCOME]);
    assert_eq!(c.results.get("auth").unwrap()["method"], "LOGIN");

    let c = greeted(&plugin, PRIVATE);
    line(&plugin, &c, "AUTH LOGIN");
    let bad_protocol = ["DENYDISCONNECT bad protocol"];
    assert_eq!(line(&plugin, &c, "AUTH PLAIN AHUAcA=="), bad_protocol);
    line(&plugin, &c, "AUTH LOGIN");
    assert_eq!(line(&plugin, &c, ""), bad_protocol);
}

// covers AUT-04, PB-04
#[test]
fn cram_md5_challenges_never_come_twice_and_only_their_own_answer_counts() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    let challenge = |c: &Connection| {
        let said = line(&plugin, c, "AUTH CRAM-MD5");
        let text = said[0].strip_prefix("334 ").unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    };
    let answer = |challenge: &str| {
        use hmac::{KeyInit as _, Mac as _};
        let mut mac = hmac::Hmac::<md5::Md5>::new_from_slice(b"p").unwrap();
        mac.update(challenge.as_bytes());
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        encoded(&format!("u {hex}"))
    };
    let c = greeted(&plugin, PRIVATE);
    let old = challenge(&c);
    assert!(old.starts_with('<') && old.ends_with("@mx.test>"), "{old}");
    assert_eq!(line(&plugin, &c, "*").len(), 1);
    let new = challenge(&c);
    assert_ne!(old, new);
    assert_eq!(line(&plugin, &c, &answer(&old)), [FAILED]);
    assert_eq!(line(&plugin, &c, &answer(&new)), ["CONT"], "no second try");
    let again = challenge(&c);
    assert_eq!(line(&plugin, &c, &answer(&again)), [WELCOME]);
    // As in Haraka: other plugins get what the client sent.
    assert_eq!(c.notes.text("auth_passwd").unwrap().len(), 32);
}

// covers AUT-06, PA-30, PB-04
#[test]
fn failures_wait_longer_each_time_and_then_close() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    let c = greeted(&plugin, PRIVATE);
    assert_eq!(log_in(&plugin, &c, "u", "x"), [FAILED]);
    assert_eq!(log_in(&plugin, &c, "nobody; x\r\n", "x"), [FAILED]);
    let closed = [FAILED, "DENYSOFTDISCONNECT 4.7.0 Too many failed logins"];
    assert_eq!(log_in(&plugin, &c, "u", "y"), closed);
    let slept: Vec<u64> = site
        .services
        .slept
        .borrow()
        .iter()
        .map(Duration::as_secs)
        .collect();
    assert_eq!(slept, [1, 2, 4]);
    assert!(!c.relaying() && !c.notes.truthy("auth_user"));
    let fail = format!("{NAME}/PLAIN");
    assert_eq!(
        c.results.get("auth").unwrap()["fail"],
        json!([fail, fail, fail])
    );
    let findings = c.notes.get("authentication_results").unwrap();
    assert_eq!(findings[0], "auth=fail (plain) smtp.auth=u");
    assert_eq!(findings[1], "auth=fail (plain) smtp.auth=\"nobody; x\"");
}

// covers AUT-06
#[test]
fn delays_end_before_the_plugin_s_time_and_the_limit_can_be_lifted() {
    let ini = "[core]\nmethods=PLAIN\nmax_failures=0\n";
    let site = Site::new(&[("auth_flat_file.ini", ini), ("plugin_timeout", "10")]);
    let plugin = site.load(NAME);
    let c = greeted(&plugin, PRIVATE);
    for _ in 0..40 {
        assert_eq!(log_in(&plugin, &c, "u", "x"), [FAILED]);
    }
    let slept: Vec<u64> = site
        .services
        .slept
        .borrow()
        .iter()
        .map(Duration::as_secs)
        .collect();
    assert_eq!(slept[..6], [1, 2, 4, 8, 9, 9]);
    assert_eq!(slept[39], 9);
    let findings = c.notes.get("authentication_results");
    assert!(findings.and_then(|f| f.as_array().map(Vec::len)).unwrap() <= 100);
}

// covers AUT-07
#[test]
fn empty_names_and_passwords_are_no_logins() {
    let site = all_methods("u=p\nv=\n=x\n");
    let plugin = site.load(NAME);
    for (user, password) in [("", "p"), ("u", ""), ("", ""), ("v", "")] {
        let c = greeted(&plugin, PRIVATE);
        let said = log_in(&plugin, &c, user, password);
        assert_eq!(said, ["504 Invalid AUTH string"], "{user:?} {password:?}");
        assert!(!c.relaying());
    }
    assert!(site.services.slept.borrow().is_empty());
}

// covers PB-04, PI1-02
#[test]
fn hashed_passwords_are_checked_and_never_served_to_cram_md5() {
    let site = all_methods(&format!("hashed={HASH}\nclear=p\n"));
    let plugin = site.load(NAME);
    let try_it =
        |user: &str, password: &str| log_in(&plugin, &greeted(&plugin, PRIVATE), user, password);
    for (user, password, said) in [
        ("hashed", "secret", WELCOME),
        ("hashed", "Secret", FAILED),
        ("hashed", HASH, FAILED),
        ("clear", "p", WELCOME),
        ("clear", "secret", FAILED),
        ("nobody", "secret", FAILED),
    ] {
        assert_eq!(try_it(user, password), [said], "{user} {password}");
    }
    let c = greeted(&plugin, PRIVATE);
    line(&plugin, &c, "AUTH CRAM-MD5");
    let guess = encoded(&format!("hashed {}", "0".repeat(32)));
    assert_eq!(line(&plugin, &c, &guess), [FAILED]);
}

// covers PB-04
#[test]
fn unknown_users_cost_a_hash_as_known_ones_do() {
    let site = all_methods(&format!("clear=p\nhashed={HASH}\n"));
    let plugin = site.load(NAME);
    for user in ["hashed", "clear", "nobody"] {
        let c = greeted(&plugin, PRIVATE);
        *site.services.busy.borrow_mut() = Some(Vec::new());
        let response = encoded(&format!("\0{user}\0p"));
        let rest = format!("PLAIN {response}");
        let command = UnknownCommand::new("AUTH", &rest);
        plugin.ask_and_give_up(&c, Call::UnrecognizedCommand(command));
        let work = site.services.busy.take().unwrap();
        assert_eq!(work.len(), 1, "{user}");
        assert!(!c.relaying());
    }
}

// covers PB-04
#[test]
fn cram_md5_is_offered_only_where_a_password_is_in_the_clear() {
    let offered = |ini: &str| {
        let site = site(ini);
        let plugin = site.load(NAME);
        let c = greeted(&plugin, PRIVATE);
        c.capabilities.borrow().join(";")
    };
    let hashed = format!("h={HASH}\n");
    for (methods, users, line) in [
        ("PLAIN,CRAM-MD5", "u=p\n", "AUTH PLAIN CRAM-MD5"),
        ("PLAIN,CRAM-MD5", &*hashed, "AUTH PLAIN"),
        ("CRAM-MD5", &*hashed, ""),
        ("CRAM-MD5", "", "AUTH CRAM-MD5"),
        (
            "cram-md5, login, login, XOAUTH2",
            "u=p\n",
            "AUTH CRAM-MD5 LOGIN",
        ),
        ("", "u=p\n", ""),
    ] {
        let ini = format!("[core]\nmethods={methods}\n[users]\n{users}");
        assert_eq!(offered(&ini), line, "{methods} {users}");
    }
    assert_eq!(offered(""), "");
}

#[test]
fn users_and_methods_follow_the_file() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    site.change(&[(
        "auth_flat_file.ini",
        "[core]\nmethods=PLAIN\n[users]\nv=q\n",
    )]);
    let c = greeted(&plugin, PRIVATE);
    assert_eq!(c.capabilities.borrow().as_slice(), ["AUTH PLAIN"]);
    assert_eq!(log_in(&plugin, &c, "u", "p"), [FAILED]);
    assert_eq!(log_in(&plugin, &c, "v", "q"), [WELCOME]);
}

#[test]
fn a_senseless_limit_ends_the_start_with_its_place() {
    let site = site("[core]\nmethods=PLAIN\nmax_failures=many\n");
    let Err(error) = site.try_load(NAME) else {
        panic!("it starts");
    };
    assert!(
        error.contains("auth_flat_file.ini:3: [core] max_failures"),
        "{error}"
    );
}

// covers AUT-11
#[test]
fn sender_must_be_of_the_user_s_organization() {
    let site = all_methods("u@mail.here.co.uk=p\nlocal=p\nx@one.invalid=p\n");
    let plugin = site.load(NAME);
    assert!(plugin.hooks().contains(&"mail constrain_sender".to_owned()));
    let mail = |user: Option<&str>, from: &str| {
        let c = greeted(&plugin, PRIVATE);
        if let Some(user) = user {
            assert_eq!(log_in(&plugin, &c, user, "p"), [WELCOME]);
        }
        let from = path(from);
        plugin.ask(&c, Call::Mail(&from))
    };
    let user = Some("u@mail.here.co.uk");
    let refused =
        Verdict::deny("Envelope domain 'there.co.uk' doesn't match AUTH domain 'here.co.uk'");
    assert_eq!(mail(user, "<a@x.there.co.uk>"), refused);
    assert_eq!(mail(user, "<a@Sub.HERE.co.uk>"), Verdict::CONT);
    assert_eq!(mail(user, "<>"), Verdict::CONT);
    assert_eq!(mail(None, "<a@there.co.uk>"), Verdict::CONT);
    assert_eq!(mail(Some("local"), "<a@there.co.uk>"), Verdict::CONT);
    let unknown = Verdict::deny("Envelope domain 'there.co.uk' doesn't match AUTH domain 'null'");
    assert_eq!(mail(Some("x@one.invalid"), "<a@there.co.uk>"), unknown);
    assert_eq!(
        mail(Some("x@one.invalid"), "<a@two.invalid>"),
        Verdict::CONT
    );
}

// covers AUT-11
#[test]
fn sender_is_free_where_it_is_not_constrained() {
    let off = site("[core]\nmethods=PLAIN\nconstrain_sender=false\n[users]\nu@here.test=p\n");
    let hooks = off.load(NAME).hooks();
    assert_eq!(hooks.len(), 3, "{hooks:?}");
    assert!(!hooks.iter().any(|h| h.starts_with("mail")));
    let on = "[core]\nmethods=PLAIN\n[users]\nu@here.com=p\n";
    let site = site(on);
    let plugin = site.load(NAME);
    site.change(&[(
        "auth_flat_file.ini",
        &on.replace("[users]", "constrain_sender=no\n[users]"),
    )]);
    let c = greeted(&plugin, PRIVATE);
    log_in(&plugin, &c, "u@here.com", "p");
    assert_eq!(
        plugin.ask(&c, Call::Mail(&path("<a@there.com>"))),
        Verdict::CONT
    );
}

#[test]
fn two_plugins_each_keep_to_their_own_exchanges() {
    let (one, two) = (all_methods("u=p\n"), all_methods("u=q\n"));
    let (first, second) = (one.load(NAME), two.load(NAME));
    let c = greeted(&first, PRIVATE);
    second.ask(&c, Call::Capabilities(()));
    let allowed = c.notes.get("allowed_auth_methods").unwrap();
    assert_eq!(allowed.as_array().map(Vec::len), Some(3));
    line(&second, &c, "AUTH LOGIN");
    assert_eq!(
        line(&first, &c, &encoded("u")),
        ["CONT"],
        "not its exchange"
    );
    assert_eq!(
        line(&first, &c, "AUTH LOGIN"),
        ["DENYDISCONNECT bad protocol"]
    );
    assert_eq!(line(&second, &c, &encoded("u")), ["334 UGFzc3dvcmQ6"]);
    assert_eq!(line(&second, &c, &encoded("q")), [WELCOME]);
}

#[test]
fn a_client_that_leaves_in_the_middle_is_forgotten() {
    let site = all_methods("u=p\n");
    let plugin = site.load(NAME);
    let c = greeted(&plugin, PRIVATE);
    line(&plugin, &c, "AUTH LOGIN");
    assert_eq!(plugin.ask(&c, Call::Disconnect(())).code, Code::Cont);
    assert_eq!(line(&plugin, &c, &encoded("u")), ["CONT"]);
}

#[test]
fn passwords_of_other_types_are_text() {
    let site = all_methods("n=007\nt=true\nspaced= a b ; c\n");
    let plugin = site.load(NAME);
    for (user, password) in [("n", "007"), ("t", "true"), ("spaced", "a b ; c")] {
        let c = greeted(&plugin, PRIVATE);
        assert_eq!(log_in(&plugin, &c, user, password), [WELCOME], "{user}");
        assert_eq!(c.notes.get("auth_passwd"), Some(Value::from(password)));
    }
}

// covers PB-04
#[test]
fn guessers_wait_for_each_other_and_never_take_the_whole_pool() {
    let site = all_methods(&format!("u={HASH}\n"));
    let plugin = site.load(NAME);
    *site.services.busy.borrow_mut() = Some(Vec::new());
    let rest = format!("PLAIN {}", encoded("\0u\0secret"));
    let log_in = || Call::UnrecognizedCommand(UnknownCommand::new("AUTH", &rest));
    let [one, two, three] = [(); 3].map(|()| greeted(&plugin, PRIVATE));
    plugin.while_asking(&one, log_in(), || {
        plugin.while_asking(&two, log_in(), || {
            // The patience of the third is over at once here.
            let said = line(&plugin, &three, &format!("AUTH {rest}"));
            assert_eq!(said, ["454 4.7.0 Temporary authentication failure"]);
            assert_eq!(site.services.slept.borrow().len(), 1);
        });
    });
    let begun = site.services.busy.take().unwrap();
    assert_eq!(begun.len(), 2, "the third does not reach the pool");
    let said = line(&plugin, &three, &format!("AUTH {rest}"));
    assert_eq!(said, [WELCOME], "the turns are free again");
}

/// A back end that asks somebody else, who answers in words of their own.
struct Oracle;

impl Backend for Oracle {
    const NAME: &'static str = "auth/oracle";

    fn new(_env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Oracle)
    }

    fn rules(&self) -> Rules {
        Rules {
            blankout_password: true,
            ..Rules::default()
        }
    }

    async fn check_plain(&self, _cx: &HookCx, user: &str, _password: &Secret) -> Answer {
        match user {
            "right" => Answer::accepted().saying("2.7.0 Be welcome"),
            "wrong" => Answer::refused().with_code(530).saying("5.7.0 Go away"),
            _ => Answer::unavailable(),
        }
    }
}

// covers AUT-01, AUT-10
#[test]
fn a_back_end_answers_in_its_own_words_and_trouble_is_no_failure() {
    let site = Site::new(&[]);
    let plugin = site.load_own::<AuthPlugin<Oracle>>();
    let c = client(PRIVATE);
    plugin.ask(&c, Call::Capabilities(()));
    assert!(c.capabilities.borrow().is_empty(), "not in the clear");
    *c.tls.borrow_mut() = Some(Tls::default().into());
    plugin.ask(&c, Call::Capabilities(()));
    assert_eq!(c.capabilities.borrow().as_slice(), ["AUTH PLAIN LOGIN"]);
    for _ in 0..4 {
        let trouble = ["454 4.7.0 Temporary authentication failure"];
        assert_eq!(log_in(&plugin, &c, "nobody knows", "x"), trouble);
    }
    assert!(!c.notes.truthy("auth_fails") && site.services.slept.borrow().is_empty());
    assert_eq!(log_in(&plugin, &c, "wrong", "x"), ["530 5.7.0 Go away"]);
    assert_eq!(log_in(&plugin, &c, "right", "x"), ["235 2.7.0 Be welcome"]);
    assert!(c.relaying() && !c.notes.truthy("auth_passwd"));
}
