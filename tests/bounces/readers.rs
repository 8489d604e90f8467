//! What others make of reports: a strict Postfix, a reader who knows Haraka's, and Python's parser.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::pki::Authority;
use crate::harness::{Message, Server, greeted, skip, wait_for};
use crate::postfix::Postfix;
use crate::relaying::*;
use crate::{NO_SUCH, kept, refusing, reports};

// covers PB-39
#[test]
fn pb39_strict_postfix_takes_reports_on_mail_that_is_not_as_it_should_be() {
    let identity = Authority::new().issue("localhost");
    let strict = "strict_7bit_headers = yes\nstrict_8bitmime_body = yes\n\
                  strict_mime_encoding_domain = yes\n";
    let Some(postfix) = Postfix::start_with(&identity, strict) else {
        return;
    };
    let sink = refusing(&[("@far.test", "550 5.1.1 \u{fc}nbekannt")]);
    let hops = [
        ("far.test", sink.addr().to_string()),
        ("any", format!("127.0.0.1:{}", postfix.port())),
    ];
    let hops: Vec<(&str, &str)> = hops.iter().map(|(d, h)| (*d, h.as_str())).collect();
    let server = Server::start(routed(&hops).set("outbound.ini", "main", "enable_tls", "false"));
    let messages: [&[u8]; 4] = [
        b"Subject: \xfc\r\nX-Raw: \xff\xfe\r\n\r\n\xfc\r\n",
        "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{fc}\r\n".as_bytes(),
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n",
        b"no header at all\r\n",
    ];
    for message in messages {
        for ret in ["FULL", "HDRS"] {
            let mut client = greeted(&server);
            client
                .cmd(&format!(
                    "MAIL FROM:<sender@back.test> RET={ret} ENVID=a+2Bb"
                ))
                .expect(250);
            for rcpt in [
                "<a@far.test> ORCPT=rfc822;old@far.test",
                "<\u{fc}@far.test>",
            ] {
                client.cmd(&format!("RCPT TO:{rcpt}")).expect(250);
            }
            client.cmd("DATA").expect(354);
            client.send_raw(&[message, b".\r\n"].concat());
            client.reply().expect(250);
            client.quit();
        }
    }
    wait_empty(server.install());
    let sent = || postfix.log().matches("status=sent").count();
    wait_for("the reports in Postfix", || sent() >= 8);
    let log = postfix.log();
    assert!(
        !log.contains("mime-error") && !log.contains("reject:"),
        "{log}"
    );
    assert!(kept(server.install()).is_empty());
}

/// The types of a report's parts, in their order, without boundaries.
fn types(report: &Message) -> Vec<String> {
    let text = report.text().to_ascii_lowercase();
    let lines = text
        .lines()
        .filter_map(|l| l.strip_prefix("content-type: "));
    lines
        .map(|l| {
            l.split("; boundary")
                .next()
                .unwrap()
                .trim_end_matches(';')
                .to_owned()
        })
        .collect()
}

// covers BNC-05 to BNC-09, BNC-11, KEY-54, KEY-55
#[test]
fn report_has_the_parts_of_haraka_s() {
    let words =
        "Subject: Sorry: {subject}\nFrom: post@{me}\nTo: {to}\n\nNot for {recipients} {nothing}\n";
    let html = "<html>\n<p>{recipients}</p>\n</html>\n";
    let image = "Content-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAAA\n";
    for with_html in [false, true] {
        let sink = refusing(&[("to@far.test", NO_SUCH)]);
        let install = || {
            let install = to_next_hop(sink.addr()).config("outbound.bounce_message", words);
            if !with_html {
                return install;
            }
            let install = install.config("outbound.bounce_message_html", html);
            install.config("outbound.bounce_message_image", image)
        };
        let Some(peer) = Server::start_peer(install()) else {
            return skip("PEER_HARAKA is not set: nothing to compare with");
        };
        let message = format!("Message-Id: <a@client.test>\r\n{}", numbered("1"));
        submit(&peer, "sender@back.test", &["to@far.test"], &message);
        let theirs = report(&sink);
        let server = Server::start(install());
        submit(&server, "sender@back.test", &["to@far.test"], &message);
        wait_for("our report", || reports(&sink).len() == 2);
        let ours = reports(&sink).pop().unwrap();
        assert_eq!(types(&ours), types(&theirs));
        for name in ["Subject", "From", "To", "References"] {
            assert_eq!(ours.header(name), theirs.header(name), "{name}");
        }
        for line in [
            "Not for <to@far.test> ?",
            "Original-Envelope-Id: <a@client.test>",
            "Reporting-MTA: dns;mx.test",
            "Final-Recipient: rfc822;to@far.test",
            "Content-Description: Undelivered Message Headers",
            "X-Serial: 1",
        ] {
            let line = format!("\r\n{line}\r\n");
            assert!(ours.text().contains(&line), "{line} {}", ours.text());
            assert!(theirs.text().contains(&line), "{line} {}", theirs.text());
        }
    }
}

/// What Python's parser of mail makes of a report: defects, types, and some fields.
const READER: &str = "
import email, email.policy, sys
for path in sys.argv[1:]:
    m = email.message_from_binary_file(open(path, 'rb'), policy=email.policy.default)
    parts = list(m.walk())
    bad = [d for p in parts for d in p.defects]
    assert not bad, (path, bad)
    assert m['MIME-Version'] == '1.0' and m.get_content_type() == 'multipart/report', path
    assert m.get_param('report-type') == 'delivery-status', path
    kinds = [p.get_content_type() for p in m.iter_parts()]
    assert len(kinds) == 3, (path, kinds)
    status = next(p for p in parts if p.get_content_type().endswith('delivery-status'))
    if status.get_content_type() == 'message/delivery-status':
        groups = status.get_payload()
        assert groups[0]['Reporting-MTA'] and groups[0]['Arrival-Date'], path
        for g in groups[1:]:
            if len(g.keys()):
                assert g['Final-Recipient'] and g['Action'] and g['Status'], (path, g.keys())
    text = m.get_body(('plain',)).get_content()
    assert text.strip(), path
    print(path.rsplit('/', 1)[-1], *[p.get_content_type() for p in parts])
";

// covers PB-39
#[test]
fn pb39_reports_are_read_without_a_defect_by_a_parser_of_others() {
    let golden =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/tests/golden/bounce");
    let mut files: Vec<PathBuf> = std::fs::read_dir(golden)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    let child = Command::new("python3")
        .args(["-c", READER])
        .args(&files)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(child) = child else {
        return skip("needs python3");
    };
    let done = child.wait_with_output().unwrap();
    std::io::stderr().write_all(&done.stderr).unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");
    let html = said
        .lines()
        .find(|l| l.starts_with("html_image.eml"))
        .unwrap();
    // As the real Haraka builds it.
    assert_eq!(
        html,
        "html_image.eml multipart/report multipart/related multipart/alternative text/plain \
         text/html image/png message/delivery-status text/plain text/plain text/rfc822-headers"
    );
}
