//! Clients that come under TLS, with the real program: by STARTTLS, and on a port where TLS comes first.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/openssl.rs"]
mod openssl;
#[path = "tls_out/postfix.rs"]
mod postfix;
#[path = "tls/refused.rs"]
mod refused;
#[path = "tls/rig.rs"]
mod rig;

use harness::{DEADLINE, SmtpClient, wait_for};
use rig::{NAME, Rig};

const MESSAGE: &str = "Subject: x\r\n\r\ny\r\n";

// covers EXT-05, TLS-19, TLS-20, TLS-21, KEY-41, PI3-01
#[test]
fn session_begins_anew_under_tls_and_its_messages_and_log_say_so() {
    let rig = Rig::start();
    let mut c = SmtpClient::connect(rig.clear);
    assert!(c.ehlo("before.test").offers("STARTTLS"));
    c.cmd("MAIL FROM:<a@b.test>").expect(250);
    c.cmd("STARTTLS").expect(220);
    c.start_tls(&rig.client, NAME);
    c.cmd("MAIL FROM:<a@b.test>").expect(503);
    let hello = c.cmd("EHLO after.test").expect(250);
    assert!(!hello.offers("STARTTLS"), "{hello}");
    c.cmd("RCPT TO:<u@here.test>").expect(503);
    c.send_mail("a@b.test", &["u@here.test"], MESSAGE)
        .expect(250);
    c.quit();
    let stored = rig.server.install().stored();
    let message = String::from_utf8_lossy(&stored[0]);
    assert!(message.contains("from after.test "), "{message}");
    assert!(message.contains(" with ESMTPS id "), "{message}");
    assert!(
        message.contains("\ttls TLS_AES_256_GCM_SHA384;\r\n"),
        "{message}"
    );
    let end = rig.server.wait_for_log("] disconnect ", DEADLINE);
    assert!(end.contains(" tls=Y "), "{end}");
}

// covers TLS-20
#[test]
fn commands_in_the_clear_behind_starttls_are_never_run() {
    let rig = Rig::start();
    let mut c = SmtpClient::connect(rig.clear);
    c.ehlo("client.test");
    c.send_raw(b"STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<evil@injected.test>\r\n");
    c.reply().expect(220);
    c.start_tls(&rig.client, NAME);
    // The first words under TLS answer the first command under TLS.
    c.cmd("RCPT TO:<u@here.test>").expect(503);
    c.cmd("EHLO client.test").expect(250);
    c.cmd("RCPT TO:<u@here.test>").expect(503);
    c.quit();
    rig.server.wait_for_log("] disconnect ", DEADLINE);
    assert!(!rig.server.log_text().contains("injected.test"));
}

/// Tells what scripts find in `connection.tls`.
const SCRIPT: &str = r#"
exports.hook_mail = function (next, connection) {
    const { enabled, advertised, verified, verifyError, cipher, peerCertificate } = connection.tls
    connection.loginfo(this, 'seen: ' + JSON.stringify([enabled, advertised, verified, verifyError,
        cipher.standardName, cipher.version, peerCertificate && peerCertificate.subjectaltname,
        connection.notes.tls ? connection.notes.tls.authorized : null]))
    next()
}
"#;

// covers TLS-21
#[test]
fn scripts_see_cipher_and_certificate() {
    let rig = Rig::with(|install, _, _| {
        install.file("plugins/seen.js", SCRIPT).plugins(&[
            "tls",
            "seen",
            "rcpt_to.in_host_list",
            "queue/test",
        ])
    });
    let mut c = SmtpClient::connect(rig.clear);
    c.ehlo("client.test");
    c.cmd("MAIL FROM:<a@b.test>").expect(250);
    let seen = "seen: [false,true,false,null,null,null,null,null]";
    rig.server.wait_for_log(seen, DEADLINE);
    let showing = harness::secured::showing(&rig.authority, &refused::self_signed());
    let mut on_tls_port = rig.on_tls_port(&showing);
    on_tls_port.reply().expect(220);
    for mut c in [rig.starttls(&showing), on_tls_port] {
        c.cmd("EHLO client.test").expect(250);
        c.cmd("MAIL FROM:<a@b.test>").expect(250);
    }
    for advertised in [true, false] {
        let seen = format!(
            "seen: [true,{advertised},false,\"DEPTH_ZERO_SELF_SIGNED_CERT\",\
             \"TLS_AES_256_GCM_SHA384\",\"TLSv1.3\",\"DNS:client.test\",false]"
        );
        rig.server.wait_for_log(&seen, DEADLINE);
    }
}

// covers TLS-01, TLS-17, PB-58
#[test]
fn renewed_certificate_is_shown_and_no_connection_is_dropped() {
    let rig = Rig::start();
    let mut earlier = [rig.starttls(&rig.client), rig.on_tls_port(&rig.client)];
    let before = earlier[0].server_certificate().unwrap();
    let mut in_the_clear = SmtpClient::connect(rig.clear);
    in_the_clear.ehlo("client.test");
    let renewed = rig.authority.issue(NAME);
    for file in ["config/tls_key.pem", "config/tls_cert.pem"] {
        rig.server.install().write(file, renewed.pem().as_bytes());
    }
    // Who takes an earlier session up again is not shown a certificate.
    let fresh = || harness::secured::trusting(&rig.authority);
    wait_for("the renewed certificate", || {
        let shown = rig.starttls(&fresh()).server_certificate();
        assert!(
            shown
                .as_ref()
                .is_some_and(|shown| *shown == before || *shown == renewed.cert)
        );
        shown.as_ref() == Some(&renewed.cert)
    });
    assert_eq!(
        rig.on_tls_port(&fresh()).server_certificate(),
        Some(renewed.cert.clone())
    );
    in_the_clear.cmd("STARTTLS").expect(220);
    in_the_clear.start_tls(&fresh(), NAME);
    assert_eq!(in_the_clear.server_certificate(), Some(renewed.cert));
    earlier[1].reply().expect(220);
    for c in &mut earlier {
        c.cmd("EHLO client.test").expect(250);
        c.send_mail("a@b.test", &["u@here.test"], MESSAGE)
            .expect(250);
    }
    assert_eq!(rig.server.install().stored().len(), 2);
}

// covers TLS-23, HAP-07, KEY-03
#[test]
fn header_of_a_proxy_comes_before_the_handshake_on_the_tls_port() {
    let rig =
        Rig::with(|install, _, _| install.set("connection.ini", "haproxy", "hosts[]", "127.0.0.1"));
    let port = rig.tls.port();
    let one = format!("PROXY TCP4 192.0.2.7 127.0.0.1 4711 {port}\r\n");
    let mut two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\x7f\0\0\x01\x12\x67".to_vec();
    two.extend(port.to_be_bytes());
    for (header, ip) in [(one.as_bytes(), "192.0.2.7"), (&two[..], "192.0.2.8")] {
        let mut c = SmtpClient::connect(rig.tls);
        c.send_raw(header);
        c.start_tls(&rig.client, NAME);
        let hello = c.ehlo("client.test");
        assert!(hello.text().contains(&format!("[{ip}]")), "{hello}");
        c.quit();
    }
    // A proxy that checks its way, with TLS of its own.
    let mut c = rig.on_tls_port(&rig.client);
    assert!(c.ehlo("client.test").text().contains("[127.0.0.1]"));
    c.quit();
    // A header under TLS is a command like any other that does not exist.
    let mut c = rig.on_tls_port(&rig.client);
    c.reply().expect(220);
    assert!(c.cmd(one.trim_end()).code >= 400);
    let mut c = SmtpClient::connect(rig.tls);
    c.send_raw(b"PROXY TCP4 nobody\r\n");
    c.reply().expect(421);
    c.expect_close();
}

// covers TLS-23
#[test]
fn header_on_the_port_for_starttls_is_followed_by_the_banner_in_the_clear() {
    let rig =
        Rig::with(|install, _, _| install.set("connection.ini", "haproxy", "hosts[]", "127.0.0.1"));
    let mut c = SmtpClient::connect(rig.clear);
    c.send_raw(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n");
    c.ehlo("client.test");
    c.cmd("STARTTLS").expect(220);
    c.start_tls(&rig.client, NAME);
    c.cmd("EHLO client.test").expect(250);
    c.quit();
    let log = rig.server.wait_for_log("] disconnect ", DEADLINE);
    assert!(
        log.contains("ip=192.0.2.7 ") && log.contains(" tls=Y "),
        "{log}"
    );
}

// covers TLS-22, CON-45
#[test]
fn server_that_stops_says_so_to_sessions_under_tls() {
    let mut rig = Rig::start();
    let mut c = rig.on_tls_port(&rig.client);
    c.ehlo("client.test");
    assert!(rig.server.stop().success());
    // 421, or the end that TLS has for this; never a reset that might cut off what was sent.
    match c.try_reply() {
        Ok(Some(reply)) => assert_eq!(reply.code, 421),
        Ok(None) => {}
        Err(error) => panic!("{error}"),
    }
}
