//! What the program `openssl s_client` makes of our TLS: an implementation that is not ours.

use std::net::SocketAddr;
use std::path::Path;

use crate::harness::programs::run;
use crate::harness::{DEADLINE, skip, wait_for};
use crate::refused::self_signed;
use crate::rig::{NAME, Rig};

/// What s_client prints after it has sent these lines. With STARTTLS unless `tls` is the port.
fn s_client(rig: &Rig, port: SocketAddr, args: &[&str], input: &str) -> Option<String> {
    let connect = port.to_string();
    let ca = rig.server.install().path().join("ca.pem");
    std::fs::write(&ca, rig.authority.pem()).unwrap();
    let mut all = vec!["s_client", "-connect", &connect, "-crlf", "-ign_eof"];
    all.extend(["-nocommands", "-CAfile", ca.to_str().unwrap()]);
    if port == rig.clear {
        all.extend(["-starttls", "smtp"]);
    }
    all.extend(args);
    let output = run("openssl", &all, input);
    if output.is_none() {
        skip("openssl is not installed");
    }
    let output = output?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).into_owned())
}

const DIALOGUE: &str = "EHLO client.test\nMAIL FROM:<a@b.test>\nRCPT TO:<u@here.test>\nQUIT\n";

// covers TLS-04, TLS-20, TLS-21, TLS-22
#[test]
fn every_version_and_cipher_is_spoken_with_openssl_on_both_ports() {
    let rig = Rig::start();
    let suites = [
        ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"),
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"),
        ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ];
    for (version, option, cipher) in suites {
        for port in [rig.clear, rig.tls] {
            let args = [version, option, cipher, "-verify_return_error"];
            let Some(text) = s_client(&rig, port, &args, DIALOGUE) else {
                return;
            };
            assert!(text.contains(&format!("Cipher is {cipher}")), "{text}");
            assert!(text.contains("250 recipient <u@here.test> OK"), "{text}");
            assert!(text.contains("\n221 "), "{text}");
        }
        let line = format!("secured: cipher={cipher} version=TLSv1.");
        let log = rig.server.log_text();
        assert_eq!(log.matches(&line).count(), 2, "{log}");
    }
}

// covers TLS-18, PB-58
#[test]
fn name_that_the_client_asks_for_chooses_the_certificate() {
    let rig = Rig::with(|install, authority, _| {
        let file = |name: &str| authority.issue(name).pem();
        install
            .config("tls/exact.pem", &file("mx.example.com"))
            .config("tls/wild.pem", &file("*.example.com"))
            .config("tls/deep/org.pem", &file("mx.example.org"))
    });
    for (asked, shown) in [
        ("mx.example.com", "mx.example.com"),
        ("MX.example.com", "mx.example.com"),
        ("other.example.com", "*.example.com"),
        ("mx.example.org", "mx.example.org"),
        ("a.b.example.com", NAME),
        ("example.com", NAME),
        ("elsewhere.test", NAME),
    ] {
        for port in [rig.clear, rig.tls] {
            let Some(text) = s_client(&rig, port, &["-servername", asked], "QUIT\n") else {
                return;
            };
            let names = names_of(&text);
            assert!(names.contains(&format!("DNS:{shown}")), "{asked}: {names}");
        }
    }
    let text = s_client(&rig, rig.tls, &["-noservername"], "QUIT\n").unwrap();
    assert!(names_of(&text).contains("DNS:mx.test"));
}

/// The names in the first certificate that s_client printed.
fn names_of(text: &str) -> String {
    let start = text.find("-----BEGIN CERTIFICATE-----").expect(text);
    let args = ["x509", "-noout", "-ext", "subjectAltName"];
    let output = run("openssl", &args, &text[start..]).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

// covers TLS-22
#[test]
fn sessions_are_taken_up_again_whichever_worker_gets_the_connection() {
    let rig = Rig::with(|install, _, _| install.set("smtp.ini", "main", "nodes", "2"));
    let kept = rig.server.install().path().join("session.pem");
    let kept = kept.to_str().unwrap();
    for version in ["-tls1_3", "-tls1_2"] {
        let first = s_client(&rig, rig.clear, &[version, "-sess_out", kept], DIALOGUE);
        let Some(first) = first else {
            return;
        };
        assert!(first.contains("\nNew, TLSv1."), "{first}");
        assert!(Path::new(kept).exists(), "{first}");
        // Connections go to either worker by chance.
        for port in [rig.clear, rig.tls].into_iter().cycle().take(8) {
            let again = s_client(&rig, port, &[version, "-sess_in", kept], DIALOGUE).unwrap();
            assert!(again.contains("\nReused, TLSv1."), "{again}");
            assert!(again.contains("250 recipient <u@here.test> OK"), "{again}");
        }
        std::fs::remove_file(kept).unwrap();
    }
}

// covers TLS-22
#[test]
fn ticket_of_one_worker_is_read_by_the_other() {
    let rig = Rig::with(|install, _, _| install.set("smtp.ini", "main", "nodes", "2"));
    let mut seen = std::collections::BTreeSet::new();
    let mut first = true;
    // One after the other, so that each has the ticket of the one before.
    wait_for("either worker to be taken", || {
        let mut client = rig.starttls(&rig.client);
        client.cmd("EHLO client.test").expect(250);
        assert_eq!(client.is_resumed(), !first);
        first = false;
        seen.insert(rig.server.worker_of(&client));
        client.quit();
        seen.len() == 2
    });
}

// covers TLS-06, TLS-21
#[test]
fn certificate_of_a_client_is_verified_and_told() {
    let rig = Rig::with(|install, authority, _| {
        install
            .config("ca.pem", &authority.pem())
            .config("tls.ini", "ca=ca.pem\n")
    });
    let told = |pem: String, verdict: &str| {
        let file = rig.server.install().path().join("client.pem");
        std::fs::write(&file, pem).unwrap();
        let args = ["-cert", file.to_str().unwrap()];
        s_client(&rig, rig.clear, &args, DIALOGUE)?;
        rig.server.wait_for_log(verdict, DEADLINE);
        Some(())
    };
    let own = rig.authority.issue("a.test").pem();
    if told(own, " verified=true cn=").is_some() {
        let wrong = " verified=false error=\"DEPTH_ZERO_SELF_SIGNED_CERT\" ";
        told(self_signed(), wrong);
    }
}
