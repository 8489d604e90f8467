//! TLS and AUTH towards other servers, with the real program: deliveries from the queue, and messages
//! that a plugin forwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;
mod tls_out {
    pub mod postfix;
}

use harness::programs::{Daemon, dovecot};
use harness::sink_rules::Action;
use harness::{
    Authority, DEADLINE, Install, Rule, Server, Sink, Stage, greeted, poll_until, skip, wait_for,
};
use relaying::{attempts, numbered, routed, submit, to_next_hop, wait_empty};
use tls_out::postfix::Postfix;

/// A host with a certificate for another name than the one it is reached by.
fn sink() -> (Sink, Authority) {
    let authority = Authority::new();
    let sink = Sink::start();
    sink.secure(authority.issue("sink.test").server_config());
    (sink, authority)
}

fn send(server: &Server) {
    submit(
        server,
        "from@client.test",
        &["to@far.test"],
        &numbered("one"),
    );
}

/// Sends a message, waits until it has been delivered, and gives that line of the log.
#[track_caller]
fn delivered(server: &Server, sink: &Sink) -> String {
    send(server);
    sink.wait_accepted(1);
    wait_empty(server.install());
    server.wait_for_log("delivered file=", DEADLINE)
}

/// Sends a message, waits until it has been put off, and gives that line of the log.
#[track_caller]
fn deferred(server: &Server, sink: &Sink) -> String {
    send(server);
    wait_for("the message to be deferred", || {
        attempts(server.install()) == [1]
    });
    assert_eq!(sink.messages().len(), 0);
    let lines = sink.lines();
    let mail = lines.iter().find(|(_, line)| line.starts_with("MAIL"));
    assert_eq!(mail, None, "nothing of the message went out");
    server.wait_for_log("deferred file=", DEADLINE)
}

// covers OUT-41, OUT-43, LOG-15
#[test]
fn offered_tls_is_used_whatever_the_certificate_and_both_are_told() {
    let (sink, _) = sink();
    let server = Server::start(to_next_hop(sink.addr()));
    let line = delivered(&server, &sink);
    assert!(line.contains(" tls=Y auth=N "), "{line}");
    assert_eq!(sink.secured(), 1);
    let secured = server.wait_for_log("] secured ", DEADLINE);
    for part in [
        "[outbound] secured verified=false cipher=TLS_",
        " version=TLSv1.3 error=",
        " fingerprint=",
    ] {
        assert!(secured.contains(part), "{secured}");
    }
}

// covers OUT-43
#[test]
fn real_haraka_says_the_same_about_a_session() {
    let shown = Authority::new().issue("sink.test").server_config();
    let said = |start: fn(Install) -> Option<Server>| {
        let sink = Sink::start();
        sink.secure(shown.clone());
        let server = start(to_next_hop(sink.addr()))?;
        send(&server);
        sink.wait_accepted(1);
        let line = server.wait_for_log("] secured ", DEADLINE);
        line.split("] secured ").nth(1).map(str::to_owned)
    };
    let ours = said(|install| Some(Server::start(install))).unwrap();
    let Some(theirs) = said(Server::start_peer) else {
        return skip("PEER_HARAKA does not name a Haraka");
    };
    assert_eq!(ours, theirs);
}

// covers OUT-41, OUT-43
#[test]
fn next_connection_to_a_host_takes_its_session_up_again() {
    let (sink, _) = sink();
    // So that none is kept for the next message.
    sink.rule(Rule::reply_then_drop(Stage::Dot, "250 2.0.0 taken"));
    let server = Server::start(to_next_hop(sink.addr()));
    for count in 1..=2 {
        send(&server);
        sink.wait_accepted(count);
        wait_empty(server.install());
    }
    assert_eq!((sink.secured(), sink.resumed()), (2, 1));
    let lines = server.log_lines();
    let told = lines
        .iter()
        .filter_map(|line| line.split_once("] secured "));
    let told: Vec<_> = told.map(|(_, what)| what).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], told[1], "what is known of the host stays known");
}

// covers KEY-44, OUT-41
#[test]
fn switched_off_tls_is_not_begun() {
    let (sink, _) = sink();
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "enable_tls", "false");
    let server = Server::start(install);
    let line = delivered(&server, &sink);
    assert!(line.contains(" tls=N "), "{line}");
    assert_eq!(sink.secured(), 0);
    assert!(!server.log_text().contains("secured"));
}

// covers OUT-42, TLS-14, PB-08, PB-10
#[test]
fn forced_tls_defers_with_its_reason_where_the_certificate_is_not_good_or_there_is_none() {
    type Arrange = fn(&Sink);
    let cases: [(&str, Arrange, &str); 4] = [
        ("certificate", |_| {}, "invalid peer certificate"),
        (
            "refused",
            |sink| {
                sink.rule(Rule::reply(Stage::StartTls, "502 5.5.1 no"));
            },
            "No TLS available but required (force_tls_hosts): STARTTLS was answered with 502 5.5.1 no",
        ),
        (
            "ehlo",
            |sink| {
                sink.rule(Rule::reply(Stage::Helo, "250 hello"));
                sink.rule(Rule::reply(Stage::Ehlo, "500 5.5.1 what"));
            },
            "No TLS available but required (force_tls_hosts): STARTTLS is not offered",
        ),
        (
            "injected",
            |sink| {
                let raw = b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n".to_vec();
                sink.rule(Rule::act(Stage::StartTls, Action::Raw(raw)));
            },
            "octets in the clear behind the reply to STARTTLS",
        ),
    ];
    for (what, arrange, why) in cases {
        let (sink, authority) = sink();
        arrange(&sink);
        let install = to_next_hop(sink.addr())
            .file("config/ca.pem", &authority.pem())
            .config(
                "tls.ini",
                "ca=ca.pem\n[outbound]\nforce_tls_hosts[]=far.test\n",
            );
        let server = Server::start(install);
        let line = deferred(&server, &sink);
        assert!(line.contains(why), "{what}: {line}");
    }
}

// covers OUT-42, TLS-14
#[test]
fn forced_tls_delivers_to_a_host_whose_certificate_is_good() {
    let authority = Authority::new();
    let sink = Sink::start();
    sink.secure(authority.issue("localhost").server_config());
    let port = sink.addr().port();
    let install = routed(&[("any", &format!("localhost:{port}"))])
        .file("config/ca.pem", &authority.pem())
        .config(
            "tls.ini",
            "ca=ca.pem\n[outbound]\nforce_tls_hosts[]=localhost\n",
        );
    let server = Server::start(install);
    let line = delivered(&server, &sink);
    assert!(line.contains(" tls=Y "), "{line}");
    let secured = server.wait_for_log("] secured ", DEADLINE);
    assert!(secured.contains("verified=true"), "{secured}");
}

// covers PB-09, OUT-07
#[test]
fn force_tls_in_the_queue_file_counts() {
    let sink = Sink::start();
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "disabled", "true");
    let mut server = Server::start(install);
    send(&server);
    server.stop();
    let install = server.into_install();
    let name = &install.queue_files()[0];
    let path = install.path().join("queue").join(name);
    let stored = std::fs::read(&path).unwrap();
    // As long as before: the file begins with the length of its envelope.
    let [off, on] = [
        "\"force_tls\": false".as_bytes(),
        "\"force_tls\": true ".as_bytes(),
    ];
    let at = stored.windows(off.len()).position(|part| part == off);
    let at = at.expect("the envelope says whether TLS is forced");
    let mut forced = stored;
    forced[at..at + on.len()].copy_from_slice(on);
    std::fs::write(&path, forced).unwrap();
    let server = Server::start(install.set("outbound.ini", "main", "disabled", "false"));
    let line = server.wait_for_log("deferred file=", DEADLINE);
    assert!(
        line.contains("required (force_tls of the message)"),
        "{line}"
    );
    assert!(sink.messages().is_empty());
}

// covers PA-46, TLS-16
#[test]
fn host_with_broken_tls_is_served_in_the_clear_only_if_that_is_switched_on() {
    for on in [true, false] {
        let (sink, _) = sink();
        sink.rule(Rule::reply_then_drop(Stage::StartTls, "220 go"));
        let install = to_next_hop(sink.addr()).config(
            "tls.ini",
            &format!("[redis]\ndisable_for_failed_hosts={on}\n"),
        );
        let server = Server::start(install);
        if on {
            let line = delivered(&server, &sink);
            assert!(line.contains(" tls=N "), "{line}");
            server.wait_for_log("Marking 127.0.0.1 as non-TLS for 604800 seconds", DEADLINE);
            send(&server);
            sink.wait_accepted(2);
        } else {
            let line = deferred(&server, &sink);
            assert!(line.contains("TLS handshake failed"), "{line}");
        }
    }
}

// covers OUT-44, OUT-28, LOG-16
#[test]
fn credentials_of_a_route_are_used_and_never_logged() {
    let sink = Sink::start();
    sink.capabilities(&["PIPELINING", "AUTH CRAM-MD5 PLAIN LOGIN"]);
    sink.rule(Rule::reply(Stage::Auth, "334 PDEuMkBzaW5rPg==").times(1));
    sink.rule(Rule::reply(Stage::Other, "235 2.7.0 welcome").times(1));
    let install = routed(&[("any", &format!("smtp://tim:geheim@{}", sink.addr()))])
        .config("loglevel", "protocol\n")
        .config("log.ini", "[main]\nlevel=protocol\n");
    let server = Server::start(install);
    let line = delivered(&server, &sink);
    assert!(line.contains(" tls=N auth=Y "), "{line}");
    let said: Vec<String> = sink.lines().into_iter().map(|(_, line)| line).collect();
    let at = said.iter().position(|l| l == "AUTH CRAM-MD5").unwrap();
    let answer = &said[at + 1];
    let log = server.log_text();
    assert!(log.contains("C: AUTH CRAM-MD5"));
    assert!(log.contains("C: [redacted]"));
    for secret in [answer.as_str(), "geheim"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

// covers OUT-44
#[test]
fn refused_login_defers_and_says_so_without_the_password() {
    let sink = Sink::start();
    sink.capabilities(&["AUTH PLAIN"]);
    sink.rule(Rule::reply(Stage::Auth, "535 5.7.8 no such luck"));
    let server = Server::start(routed(&[(
        "any",
        &format!("smtp://tim:geheim@{}", sink.addr()),
    )]));
    let line = deferred(&server, &sink);
    assert!(
        line.contains("AUTH failed: 535 5.7.8 no such luck"),
        "{line}"
    );
    server.wait_for_log("AUTH PLAIN as \"tim\" at 127.0.0.1 failed", DEADLINE);
    assert!(!server.log_text().contains("geheim"));
}

/// A server that hands messages for here.test to `sink` while the client waits.
fn forwarding(sink: &Sink, more: &str) -> Install {
    Install::new()
        .plugins(&["rcpt_to.in_host_list", "queue/smtp_forward"])
        .config(
            "smtp_forward.ini",
            &format!("host=127.0.0.1\nport={}\n{more}", sink.addr().port()),
        )
}

fn forward(server: &Server) -> harness::Reply {
    let mut client = greeted(server);
    client.send_mail("from@client.test", &["to@here.test"], &numbered("one"))
}

// covers SMC-06, SMC-07, SMC-08, TLS-24, PI2-02
#[test]
fn forwarded_messages_go_under_tls_logged_in_and_in_the_clients_name() {
    let (sink, _) = sink();
    sink.capabilities(&["PIPELINING", "XCLIENT NAME ADDR", "AUTH LOGIN PLAIN"]);
    sink.rule(Rule::reply(Stage::Other, "220 sink.test").containing("XCLIENT"));
    sink.rule(Rule::reply(Stage::Auth, "334 VXNlcm5hbWU6").times(1));
    sink.rule(Rule::reply(Stage::Other, "334 UGFzc3dvcmQ6").times(1));
    sink.rule(Rule::reply(Stage::Other, "235 welcome").times(1));
    let server = Server::start(forwarding(
        &sink,
        "enable_tls=true\nauth_type=login\nauth_user=tim\nauth_pass=geheim\n",
    ));
    forward(&server).expect(250);
    assert_eq!(sink.secured(), 1);
    let said: Vec<String> = sink.lines().into_iter().map(|(_, line)| line).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(
        said[..8],
        [
            "EHLO mx.test",
            "STARTTLS",
            "EHLO mx.test",
            "XCLIENT ADDR=127.0.0.1",
            "EHLO client.test",
            "AUTH LOGIN",
            "dGlt",
            "Z2VoZWlt"
        ]
    );
    assert!(!server.log_text().contains("geheim"));
}

// covers SMC-07, TLS-24
#[test]
fn section_tls_of_smtp_forward_decides_about_certificates_and_exceptions() {
    for (more, tls) in [
        ("", Some(false)),
        ("enable_tls=true\n", Some(true)),
        (
            "enable_tls=true\n[tls]\nno_tls_hosts[]=127.0.0.1\n",
            Some(false),
        ),
        ("enable_tls=true\n[tls]\nrejectUnauthorized=true\n", None),
        ("[tls]\nforce_tls_hosts[]=127.0.0.1\n", None),
    ] {
        let (sink, _) = sink();
        let server = Server::start(forwarding(&sink, more));
        let reply = forward(&server);
        match tls {
            Some(tls) => {
                reply.expect(250);
                assert_eq!(sink.secured() == 1, tls, "{more}");
            }
            None => {
                reply.expect(450);
                assert!(sink.messages().is_empty(), "{more}");
                server.wait_for_log("backend failure", DEADLINE);
            }
        }
    }
}

// covers OUT-41, OUT-43
#[test]
fn postfix_takes_mail_over_tls() {
    let authority = Authority::new();
    let Some(postfix) = Postfix::start(&authority.issue("localhost")) else {
        return;
    };
    let install = routed(&[("any", &format!("localhost:{}", postfix.port()))])
        .file("config/ca.pem", &authority.pem())
        .config(
            "tls.ini",
            "ca=ca.pem\n[outbound]\nforce_tls_hosts[]=localhost\n",
        );
    let server = Server::start(install);
    for _ in 0..2 {
        send(&server);
    }
    wait_empty(server.install());
    let line = server.wait_for_log("delivered file=", DEADLINE);
    assert!(
        line.contains(" tls=Y ") && line.contains(" response=\"250 2.0.0 Ok: queued as"),
        "{line}"
    );
    let found = poll_until(DEADLINE, || {
        let log = postfix.log();
        (log.matches("status=sent").count() == 2).then_some(log)
    });
    let log = found.unwrap_or_else(|| panic!("{}", postfix.log()));
    assert!(
        log.contains("Anonymous TLS connection established from"),
        "{log}"
    );
    let secured = server.wait_for_log("] secured ", DEADLINE);
    assert!(secured.contains("verified=true"), "{secured}");
}

/// A Postfix that takes mail for here.test from those who log in under TLS, as this Dovecot says.
fn postfix_for_users(authority: &Authority, dovecot: &Daemon) -> Option<Postfix> {
    let more = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         smtpd_tls_auth_only = yes\nrelay_domains = here.test\n\
         smtpd_relay_restrictions = permit_sasl_authenticated, reject\n",
        dovecot.socket().display()
    );
    Postfix::start_with(&authority.issue("localhost"), &more)
}

// covers SMC-05, SMC-06, SMC-08, OUT-44
#[test]
fn postfix_lets_us_log_in_and_speak_for_a_client() {
    let authority = Authority::new();
    let Some(dovecot) = dovecot("u@here.test", "pass word") else {
        return;
    };
    let Some(postfix) = postfix_for_users(&authority, &dovecot) else {
        return;
    };
    for mechanism in ["CRAM-MD5", "PLAIN", "LOGIN"] {
        let (kind, port) = (mechanism.to_lowercase(), postfix.port());
        let ini = format!(
            "host=localhost\nport={port}\nenable_tls=true\nauth_type={kind}\n\
             auth_user=u@here.test\nauth_pass=pass word\n"
        );
        let install = Install::new()
            .plugins(&["rcpt_to.in_host_list", "queue/smtp_forward"])
            .set("connection.ini", "haproxy", "hosts[]", "127.0.0.1")
            .config("smtp_forward.ini", &ini);
        let server = Server::start(install);
        let mut client = server.client();
        client.send_raw(b"PROXY TCP4 192.0.2.7 127.0.0.1 4321 25\r\n");
        client.ehlo("client.test");
        let reply = client.send_mail("from@client.test", &["to@here.test"], &numbered("one"));
        assert_eq!(reply.code, 250, "{mechanism}: {reply}\n{}", postfix.log());
        let wanted = format!("[192.0.2.7], sasl_method={mechanism}, sasl_username=u@here.test");
        wait_for(&wanted, || postfix.log().contains(&wanted));
    }
    // Without logging in it takes nothing.
    let refused = Install::new()
        .plugins(&["rcpt_to.in_host_list", "queue/smtp_forward"])
        .config(
            "smtp_forward.ini",
            &format!("host=localhost\nport={}\n", postfix.port()),
        );
    forward(&Server::start(refused)).expect(550);
}
