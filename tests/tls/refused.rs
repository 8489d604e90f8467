//! Clients with which TLS does not come about: one line of the log says why, and nobody else suffers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::harness::pki::Identity;
use crate::harness::programs::run;
use crate::harness::secured::showing;
use crate::harness::{Authority, DEADLINE, SmtpClient, skip};
use crate::rig::{NAME, Rig};

/// The beginning of a ClientHello: a record of 512 octets of which 40 come.
const TORN: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\
    0123456789abcdef0123456789abcde";

/// Sends octets in place of a handshake and ends, on both ports; nothing but an alert may come back.
fn in_place_of_a_handshake(octets: &[u8], reason: &str) {
    for on_tls_port in [false, true] {
        let rig = Rig::start();
        let mut c = SmtpClient::connect(if on_tls_port { rig.tls } else { rig.clear });
        if !on_tls_port {
            c.ehlo("client.test");
            c.cmd("STARTTLS").expect(220);
        }
        c.send_raw(octets);
        c.half_close();
        assert_only_an_alert(c.into_stream());
        let line = rig.failure();
        assert!(line.contains("[NOTICE]"), "{line}");
        assert!(line.contains("ip=127.0.0.1"), "{line}");
        assert!(line.contains(reason), "{line}");
        let end = rig.server.wait_for_log("] disconnect ", DEADLINE);
        assert!(end.contains(" tls=N "), "{end}");
        rig.serves();
    }
}

fn assert_only_an_alert(mut stream: TcpStream) {
    let mut came = Vec::new();
    // A reset is an end, too.
    drop(stream.read_to_end(&mut came));
    let alert = came.len() == 7 && came[0] == 21;
    assert!(came.is_empty() || alert, "{}", came.escape_ascii());
}

// covers TLS-20, TLS-22
#[test]
fn garbage_in_place_of_a_handshake_ends_the_connection() {
    in_place_of_a_handshake(&[b'x'; 4096], "client does not speak TLS");
}

// covers TLS-20, TLS-22
#[test]
fn commands_in_place_of_a_handshake_are_not_answered() {
    in_place_of_a_handshake(b"EHLO client.test\r\nQUIT\r\n", "client does not speak TLS");
}

// covers TLS-20, TLS-22
#[test]
fn client_that_closes_in_the_middle_of_the_handshake_is_told_from_a_refusal() {
    in_place_of_a_handshake(TORN, "client closed the connection");
    in_place_of_a_handshake(b"", "client closed the connection");
}

// covers TLS-04, TLS-20
#[test]
fn client_that_knows_only_tls_1_1_is_refused_with_an_alert() {
    let rig = Rig::start();
    for (port, more) in [(rig.clear, &["-starttls", "smtp"][..]), (rig.tls, &[][..])] {
        let connect = port.to_string();
        let common = ["s_client", "-connect", &connect, "-tls1_1"];
        let args = [&common[..], &["-cipher", "ALL:@SECLEVEL=0"], more].concat();
        let Some(output) = run("openssl", &args, "QUIT\n") else {
            return skip("openssl is not installed");
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("SSL alert number "), "{said}");
        assert!(!output.status.success(), "{said}");
    }
    let reason = "TLS handshake failed: client speaks none of our versions of TLS";
    let log = rig.server.log_text();
    assert_eq!(log.matches(reason).count(), 2, "{log}");
    rig.serves();
}

// covers TLS-07, TLS-08
#[test]
fn port_that_wants_certificates_takes_only_those_of_its_authority() {
    let rig = Rig::with(|install, authority, port| {
        let settings = format!("ca=ca.pem\nrequireAuthorized[]={port}\n");
        install
            .config("ca.pem", &authority.pem())
            .config("tls.ini", &settings)
    });
    let stranger = self_signed();
    let others = Authority::new().issue("client.test").pem();
    let mut failures = 0;
    let mut refused = |config: &_, alert: &str, reason: &str| {
        let mut c = SmtpClient::connect(rig.tls);
        // The handshake of TLS 1.3 is over for the client before the server has seen its certificate.
        let end = c
            .try_start_tls(config, NAME)
            .and_then(|()| c.try_reply().map(drop));
        let end = end.unwrap_err().to_string();
        assert!(end.contains(alert), "{end}");
        failures += 1;
        rig.server.wait_for_log(reason, DEADLINE);
        let log = rig.server.log_text();
        assert_eq!(
            log.matches("TLS handshake failed: ").count(),
            failures,
            "{log}"
        );
        assert!(!log.contains("secured:"), "{log}");
    };
    refused(
        &rig.client,
        "CertificateRequired",
        "client shows no certificate",
    );
    refused(
        &showing(&rig.authority, &stranger),
        "",
        "client's certificate is not trusted (UnknownIssuer)",
    );
    refused(
        &showing(&rig.authority, &others),
        "",
        "client's certificate is not trusted (BadSignature)",
    );

    let own: Identity = rig.authority.issue("client.test");
    let mut c = rig.on_tls_port(&showing(&rig.authority, &own.pem()));
    c.ehlo("client.test");
    c.quit();
    rig.server.wait_for_log(" verified=true ", DEADLINE);
    // The other port takes anybody.
    let mut c = rig.starttls(&showing(&rig.authority, &stranger));
    c.cmd("EHLO client.test").expect(250);
    c.quit();
    let told = "verified=false error=\"DEPTH_ZERO_SELF_SIGNED_CERT\"";
    rig.server.wait_for_log(told, DEADLINE);
}

/// A certificate that says of itself that it is good, with its key.
pub fn self_signed() -> String {
    let made = rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
    made.signing_key.serialize_pem() + &made.cert.pem()
}

// covers TLS-16, PB-59, PA-46
#[test]
fn client_whose_handshake_failed_is_not_offered_tls_again_if_that_is_wanted() {
    for wanted in [true, false] {
        let rig = Rig::with(|install, _, _| {
            let value = wanted.to_string();
            install.set("tls.ini", "redis", "disable_for_failed_hosts", &value)
        });
        let mut c = SmtpClient::connect(rig.clear);
        c.ehlo("client.test");
        c.cmd("STARTTLS").expect(220);
        c.send_raw(b"no\r\n");
        c.half_close();
        assert_only_an_alert(c.into_stream());
        rig.server.wait_for_log("] disconnect ", DEADLINE);
        let mut c = SmtpClient::connect(rig.clear);
        assert_eq!(c.ehlo("client.test").offers("STARTTLS"), !wanted);
        // What was not offered is not there.
        let expected = if wanted { 500 } else { 220 };
        c.cmd("STARTTLS").expect(expected);
        let marked = "STARTTLS failed. Marking 127.0.0.1 as non-TLS host for 3600 seconds";
        assert_eq!(rig.server.log_text().contains(marked), wanted);
        // Who connects to the TLS port knows what it does.
        let mut c = rig.on_tls_port(&rig.client);
        c.ehlo("client.test");
    }
}

// covers TLS-22
#[test]
fn clients_that_never_begin_the_handshake_do_not_keep_others_from_theirs() {
    let rig = Rig::start();
    let silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(rig.tls).unwrap())
        .collect();
    let torn = silent.iter().skip(25);
    torn.for_each(|mut stream| stream.write_all(TORN).unwrap());
    rig.serves();
    silent.iter().for_each(|s| drop(s.shutdown(Shutdown::Both)));
}
