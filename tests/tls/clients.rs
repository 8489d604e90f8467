//! Programs that people send mail with, over TLS and logging in under it.

use std::net::SocketAddr;
use std::process::Output;

use crate::harness::programs::run;
use crate::harness::{DEADLINE, Sink, SmtpClient, skip, wait_for};
use crate::postfix::Postfix;
use crate::rig::Rig;

/// Who logs in may relay, to this sink.
fn rig(next_hop: &Sink) -> Rig {
    let hop = format!("[domains]\nany={{\"nexthop\":\"{}\"}}\n", next_hop.addr());
    let rig = Rig::with(|install, _, _| {
        install
            .plugins(&["tls", "auth/flat_file", "relay"])
            .config("relay.ini", "[relay]\nacl=false\nforce_routing=true\n")
            .config("relay_dest_domains.ini", &hop)
            .config(
                "auth_flat_file.ini",
                "[core]\nmethods=PLAIN,LOGIN,CRAM-MD5\n[users]\nu@here.test=pass word\n",
            )
    });
    let ca = rig.authority.pem();
    rig.server.install().write("ca.pem", ca.as_bytes());
    rig
}

type Send = fn(&Rig, bool, &str) -> Option<Output>;

/// Sends a message with STARTTLS and one on the TLS port, and is refused with a wrong password.
fn sends_under_tls(name: &str, send: Send) {
    let sink = Sink::start();
    let rig = rig(&sink);
    for (n, starttls) in [true, false].into_iter().enumerate() {
        let Some(output) = send(&rig, starttls, "pass word") else {
            return skip(&format!("{name} is not installed"));
        };
        assert!(output.status.success(), "{output:?}");
        let message = sink.wait_accepted(n + 1)[n].text();
        assert!(message.contains(" with ESMTPSA id "), "{message}");
        assert!(
            message.contains("\ttls TLS_AES_256_GCM_SHA384"),
            "{message}"
        );
        let output = send(&rig, starttls, "guess").unwrap();
        assert!(!output.status.success(), "{output:?}");
        // Two sessions so far by each way.
        wait_for("the sessions to end", || {
            let log = rig.server.log_text();
            let ends: Vec<_> = log
                .lines()
                .filter(|l| l.contains("] disconnect "))
                .collect();
            assert!(ends.iter().all(|end| end.contains(" tls=Y ")), "{ends:?}");
            ends.len() == 2 * (n + 1)
        });
    }
    let log = rig.server.log_text();
    assert!(!log.contains("pass word") && !log.contains("cGFzcyB3b3Jk"));
}

fn swaks(rig: &Rig, starttls: bool, password: &str) -> Option<Output> {
    let (server, how) = match starttls {
        true => (rig.clear.to_string(), "--tls"),
        false => (rig.tls.to_string(), "--tls-on-connect"),
    };
    let args = [
        "--server",
        &server,
        how,
        "--auth",
        "PLAIN",
        "--auth-user",
        "u@here.test",
        "--auth-password",
        password,
        "--from",
        "a@client.test",
        "--to",
        "b@far.test",
    ];
    run("swaks", &args, "")
}

const SMTPLIB: &str = "
import smtplib, ssl, sys
how, port, password, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
# The server is called by its address.
context.check_hostname = False
if how == 'starttls':
    c = smtplib.SMTP('127.0.0.1', int(port))
    c.starttls(context=context)
else:
    c = smtplib.SMTP_SSL('127.0.0.1', int(port), context=context)
c.login('u@here.test', password)
c.sendmail('a@client.test', ['b@far.test'], sys.stdin.read())
c.quit()
";

fn smtplib(rig: &Rig, starttls: bool, password: &str) -> Option<Output> {
    let (how, port) = match starttls {
        true => ("starttls", rig.clear.port()),
        false => ("implicit", rig.tls.port()),
    };
    let (port, ca) = (port.to_string(), rig.server.install().path().join("ca.pem"));
    let args = ["-c", SMTPLIB, how, &port, password, ca.to_str().unwrap()];
    run("python3", &args, "Subject: x\r\n\r\ny\r\n")
}

fn msmtp(rig: &Rig, starttls: bool, password: &str) -> Option<Output> {
    let port = if starttls { rig.clear } else { rig.tls }.port();
    let port = format!("--port={port}");
    let how = if starttls { "on" } else { "off" };
    let how = format!("--tls-starttls={how}");
    let password = format!("--passwordeval=echo '{password}'");
    let args = [
        "--host=127.0.0.1",
        &port,
        "--tls=on",
        &how,
        // It has no way to look for another name than the one it calls.
        "--tls-certcheck=off",
        "--auth=plain",
        "--user=u@here.test",
        &password,
        "--from=a@client.test",
        "b@far.test",
    ];
    run("msmtp", &args, "Subject: x\r\n\r\ny\r\n")
}

// covers TLS-20, TLS-22, AUT-05
#[test]
fn swaks_logs_in_and_sends_under_tls() {
    sends_under_tls("swaks", swaks);
}

// covers TLS-20, TLS-22, AUT-05
#[test]
fn python_logs_in_and_sends_under_tls() {
    sends_under_tls("python3", smtplib);
}

// covers TLS-20, TLS-22, AUT-05
#[test]
fn msmtp_logs_in_and_sends_under_tls() {
    sends_under_tls("msmtp", msmtp);
}

// covers TLS-20, TLS-22
#[test]
fn client_of_postfix_trusts_what_is_shown_to_it() {
    let sink = Sink::start();
    let rig = rig(&sink);
    let ca = rig.server.install().path().join("ca.pem");
    let ca = ca.to_str().unwrap();
    let (clear, tls) = (rig.clear.port(), rig.tls.port());
    for (port, more) in [(clear, &[][..]), (tls, &["-w"][..])] {
        let host = format!("[127.0.0.1]:{port}");
        // It asks nobody for the address of a host in brackets, and looks for the name that comes last.
        let common = ["-c", "-l", "verify", "-L", "summary", "-F", ca];
        let args = [&common[..], more, &[&host, crate::rig::NAME]].concat();
        let Some(output) = run("/usr/sbin/posttls-finger", &args, "") else {
            return skip("posttls-finger of Postfix is not installed");
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            said.contains("Verified TLS connection established"),
            "{said}"
        );
        assert!(
            said.contains(": TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"),
            "{said}"
        );
    }
    rig.server.wait_for_log(" tls=Y ", DEADLINE);
}

// covers TLS-20
#[test]
fn postfix_delivers_over_tls_to_the_name_it_wants() {
    let rig = Rig::start();
    let ca = rig.server.install().path().join("ca.pem");
    std::fs::write(&ca, rig.authority.pem()).unwrap();
    let settings = format!(
        "relay_transport = smtp:[127.0.0.1]:{}\n\
         relay_domains = here.test\n\
         smtp_tls_security_level = secure\n\
         smtp_tls_secure_cert_match = mx.test\n\
         smtp_tls_CAfile = {}\n\
         smtp_tls_loglevel = 1\n",
        rig.clear.port(),
        ca.display()
    );
    let own = rig.authority.issue("localhost");
    let Some(postfix) = Postfix::start_with(&own, &settings) else {
        return;
    };
    let to = SocketAddr::from(([127, 0, 0, 1], postfix.port()));
    let mut client = SmtpClient::connect(to);
    client.ehlo("client.test");
    let message = "Subject: x\r\n\r\ny\r\n";
    client
        .send_mail("a@client.test", &["u@here.test"], message)
        .expect(250);
    client.quit();
    wait_for("the message", || !rig.server.install().stored().is_empty());
    let stored = rig.server.install().stored();
    let stored = String::from_utf8_lossy(&stored[0]);
    assert!(stored.contains(" with ESMTPS id "), "{stored}");
    wait_for("Postfix to be content", || {
        postfix.log().contains("status=sent")
    });
    let log = postfix.log();
    assert!(
        log.contains("Verified TLS connection established to 127.0.0.1"),
        "{log}"
    );
}
