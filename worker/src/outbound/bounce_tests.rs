//! Bounces against golden files; `UPDATE=1` rewrites them.

use std::path::Path;

use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::reply::{Enhanced, Reply};

use super::attempt::Cause;
use super::bounce::{About, Action, Report, compose};
use super::bounces::stored;
use super::template::Templates;
use super::testing::{address, addresses};

const HEADER: &str = "Received: from client (client [192.0.2.1])\r\n\tby me.example.org\r\n\
    Message-Id: <original@client.example>\r\nSubject: A question\r\n..odd: stuffed\r\n\r\n";

fn header(text: &str) -> Header {
    Header::split(text.as_bytes(), HeaderLimits::default()).0
}

fn bounce(header: &Header, to: &[&str], causes: &[Cause], templates: &Templates) -> String {
    let (sender, to) = (address("<sender@client.example>"), addresses(to));
    let about = |(address, cause)| About {
        address,
        cause,
        original: None,
    };
    let recipients: Vec<_> = to.iter().zip(causes).map(about).collect();
    let report = Report {
        me: "me.example.org",
        pid: 4711,
        date: "Sat, 21 Nov 2026 00:06:21 +0000",
        arrival: "Fri, 20 Nov 2026 23:06:21 +0000",
        id: "1C1B9CF6-0000",
        sender: &sender,
        action: Action::Failed,
        recipients: &recipients,
        envelope_id: None,
        reason: &causes[0].text,
        header,
        message: None,
    };
    let message = compose(&report, templates);
    String::from_utf8(message).unwrap()
}

fn check(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/bounce")
        .join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, expected, "{name}: run with UPDATE=1 if this is meant");
    assert!(
        !got.replace("\r\n", "").contains(['\r', '\n']),
        "{name}: bare line end"
    );
    assert!(
        got.split("\r\n").all(|l| l.len() <= 998),
        "{name}: long line"
    );
}

fn refused() -> Cause {
    let reply = Reply::fixed(550, "No such user here\nsee https://mx.example.com/")
        .with_enhanced(Enhanced::new(5, 1, 1).unwrap());
    Cause::from_reply(reply, &"mx.example.com".into())
}

// covers BNC-04 to BNC-07, BNC-09 to BNC-11, PB-37, PB-38
#[test]
fn refused_recipient_in_the_built_in_words() {
    let got = bounce(
        &header(HEADER),
        &["<x@y.z>"],
        &[refused()],
        &Templates::default(),
    );
    check("refused.eml", &got);
}

// covers BNC-10, OUT-20, OUT-22
#[test]
fn several_recipients_have_their_own_status() {
    let mut given_up =
        Cause::from_reply(Reply::fixed(451, "later"), &"192.0.2.7".into()).given_up();
    given_up.text = format!("Too many failures ({})", given_up.text);
    let causes = [
        refused(),
        given_up,
        Cause::permanent(1, 2, "No Such Domain: (none)"),
    ];
    let to = ["<x@y.z>", "<y@y.z>", "<\"q w\"@none>"];
    check(
        "several.eml",
        &bounce(&header(HEADER), &to, &causes, &Templates::default()),
    );
}

// covers PB-39
#[test]
fn international_subject_and_address_are_declared() {
    let header = header("Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nX-Raw: ü\r\n\r\n");
    let text = "From: MAILER-DAEMON@{me}\nSubject: zurück: {subject}\nContent-Type: text/plain\n\n\"{subject}\" {recipients}\n";
    let templates = Templates::new(Some(text.into()), None, None);
    let cause = Cause::permanent(6, 7, "mx.example.com does not offer SMTPUTF8");
    check(
        "international.eml",
        &bounce(&header, &["<ü+x@y.z>"], &[cause], &templates),
    );
}

// covers BNC-08, KEY-55
#[test]
fn html_comes_as_alternative_with_its_image() {
    let html = "<html>\n<p title=\"{subject}\">{recipients}: {reason}</p>\n</html>\n";
    let image =
        "Content-Type: image/png; name=\"icon.png\"\nContent-Transfer-Encoding: base64\n\nAAAA\n";
    let header = header("Subject: <b>\"bold\"</b>\r\n\r\n");
    let with =
        |image: Option<&str>| Templates::new(None, Some(html.into()), image.map(str::to_owned));
    let got = bounce(&header, &["<x@y.z>"], &[refused()], &with(Some(image)));
    check("html_image.eml", &got);
    check(
        "html.eml",
        &bounce(&header, &["<x@y.z>"], &[refused()], &with(None)),
    );
}

#[test]
fn huge_lists_and_headers_stay_within_lines_and_limits() {
    let to: Vec<String> = (0..1000)
        .map(|i| format!("<recipient{i}@example.com>"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let block = format!(
        "{}\r\n",
        "X-Filler: 0123456789012345678901234567890123456789\r\n".repeat(10_000)
    );
    let got = bounce(
        &header(&block),
        &to,
        &vec![refused(); 1000],
        &Templates::default(),
    );
    assert!(got.split("\r\n").all(|l| l.len() <= 998));
    let returned = got.split("text/rfc822-headers\r\n\r\n").nth(1).unwrap();
    assert!(
        returned.len() < 70_000 && returned.ends_with("6789\r\n\r\n--boundary_1C1B9CF6-0000--\r\n")
    );
    for part in [
        "<recipient999@example.com>",
        "rfc822;recipient999@example.com",
    ] {
        assert!(got.contains(part));
    }
}

#[test]
fn nothing_from_outside_adds_header_fields() {
    let header = header(
        "Subject: =?utf-8?Q?a=0D=0ABcc:_evil?=\r\nMessage-Id: =?utf-8?Q?=0D=0ABcc:?=\r\n\r\n",
    );
    let text = "Subject: {subject} {reason}\n\n{reason}\n";
    let templates = Templates::new(Some(text.into()), None, None);
    let cause = Cause::permanent(0, 0, "one\r\nBcc: evil\nContent-Type: x");
    let got = bounce(&header, &["<x@y.z>"], &[cause], &templates);
    let (head, _) = got.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Subject: aBcc: evil one Bcc: evil Content-Type: x\r\n"),
        "{head}"
    );
    assert!(!head.contains("\r\nBcc"), "{head}");
}

/// A report of this action about a recipient that the sender wrote to in other words.
fn asked_for(action: Action, cause: &Cause, message: Option<&[u8]>, words: &Templates) -> String {
    let header = header(HEADER);
    let (sender, to) = (address("<sender@client.example>"), address("<x@y.z>"));
    let about = About {
        address: &to,
        cause,
        original: Some("utf-8;jörg+old@y.z".to_owned()),
    };
    let report = Report {
        me: "me.example.org",
        pid: 4711,
        date: "Sat, 21 Nov 2026 00:06:21 +0000",
        arrival: "Fri, 20 Nov 2026 23:06:21 +0000",
        id: "1C1B9CF6-0000",
        sender: &sender,
        action,
        recipients: &[about],
        envelope_id: Some("QQ 314159"),
        reason: &cause.text,
        header: &header,
        message,
    };
    String::from_utf8(compose(&report, words)).unwrap()
}

// covers PB-76
#[test]
fn reports_that_senders_ask_for() {
    let host = "mx.example.com".into();
    let later = Cause::from_reply(Reply::fixed(451, "busy"), &host);
    let delayed = asked_for(Action::Delayed, &later, None, &Templates::delayed());
    check("delayed.eml", &delayed);

    let taken = Cause::success(Some(Reply::fixed(250, "queued as 7")), &host);
    let relayed = asked_for(Action::Relayed, &taken, None, &Templates::done());
    check("relayed.eml", &relayed);
    let delivered = asked_for(Action::Delivered, &taken, None, &Templates::done());
    assert_eq!(delivered, relayed.replace("relayed", "delivered"));

    let message = b"Subject: A question\r\n\r\n.text\r\n";
    let full = asked_for(
        Action::Failed,
        &refused(),
        Some(message),
        &Templates::default(),
    );
    check("full.eml", &full);
}

// covers PB-01
#[test]
fn nothing_bare_leaves_whatever_queue_files_templates_and_hosts_hold() {
    let hostile = "a\rb\nc\r\nd\r\r\ne\n\rf";
    let original = header(&format!("Subject: {hostile}\r\nX-A: b\rc\n d\r\n\r\n"));
    let (sender, to) = (address("<sender@client.example>"), address("<x@y.z>"));
    let cause = Cause::permanent(0, 0, hostile);
    let about = || About {
        address: &to,
        cause: &cause,
        original: Some(format!("utf-8;{hostile}")),
    };
    let words = format!("From: {hostile}\nSubject: {{reason}} {hostile}\n\n{hostile}{{reason}}\n");
    let image = Some(format!("Content-Type: image/x\n\n{hostile}"));
    let templates = Templates::new(Some(words.clone()), Some(words), image);
    for message in [None, Some(hostile.as_bytes())] {
        for action in [Action::Failed, Action::Delayed] {
            let report = Report {
                me: "me.example.org",
                pid: 4711,
                date: "Sat, 21 Nov 2026 00:06:21 +0000",
                arrival: "Fri, 20 Nov 2026 23:06:21 +0000",
                id: "1C1B9CF6-0000",
                sender: &sender,
                action,
                recipients: &[about()],
                envelope_id: Some(hostile),
                reason: hostile,
                header: &original,
                message,
            };
            let sent = stored(&compose(&report, &templates)).header;
            let got = String::from_utf8(sent.to_vec()).unwrap();
            let bare = got.replace("\r\n", "");
            assert!(!bare.contains(['\r', '\n']), "{}", got.escape_debug());
        }
    }
}
