//! Bounces against golden files; `UPDATE=1` rewrites them.

use std::path::Path;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::mime::{MimeLimits, MimeTree};
use haraka_shared::reply::{Enhanced, Reply};

use super::super::attempt::Cause;
use super::super::bounces::stored;
use super::super::template::Templates;
use super::super::testing::{address, addresses};
use super::{About, Action, Report, compose};

const HEADER: &str = "Received: from client (client [192.0.2.1])\r\n\tby me.example.org\r\n\
    Message-Id: <original@client.example>\r\nSubject: A question\r\n..odd: stuffed\r\n\r\n";

fn header(text: &str) -> Header {
    Header::split(text.as_bytes(), HeaderLimits::default()).0
}

/// A report of failure with nothing but what it must have.
fn about<'a>(reader: &'a Address, header: &'a Header, recipients: &'a [About<'a>]) -> Report<'a> {
    Report {
        me: "me.example.org",
        pid: 4711,
        date: "Sat, 21 Nov 2026 00:06:21 +0000",
        arrival: "Fri, 20 Nov 2026 23:06:21 +0000",
        id: "1C1B9CF6-0000",
        reader,
        action: Action::Failed,
        recipients,
        envelope_id: None,
        received_from: None,
        retry_until: None,
        reason: recipients.first().map_or("", |r| &r.cause.text),
        header,
        message: None,
    }
}

fn to_reader(
    reader: &str,
    header: &Header,
    to: &[&str],
    causes: &[Cause],
    templates: &Templates,
) -> String {
    let (reader, to) = (address(reader), addresses(to));
    let one = |(address, cause)| About {
        address,
        cause,
        original: None,
    };
    let recipients: Vec<_> = to.iter().zip(causes).map(one).collect();
    let message = compose(&about(&reader, header, &recipients), templates);
    String::from_utf8(message).unwrap()
}

fn bounce(header: &Header, to: &[&str], causes: &[Cause], templates: &Templates) -> String {
    to_reader("<sender@client.example>", header, to, causes, templates)
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
    let recipients = [About {
        address: &to,
        cause,
        original: Some("utf-8;jörg+old@y.z".to_owned()),
    }];
    let report = Report {
        action,
        envelope_id: Some("QQ 314159"),
        received_from: Some("client.example ([192.0.2.1])"),
        retry_until: (action == Action::Delayed).then_some("Thu, 26 Nov 2026 00:06:21 +0000"),
        message,
        ..about(&sender, &header, &recipients)
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
    let recipients = [About {
        address: &to,
        cause: &cause,
        original: Some(format!("utf-8;{hostile}")),
    }];
    let words = format!("From: {hostile}\nSubject: {{reason}} {hostile}\n\n{hostile}{{reason}}\n");
    let image = Some(format!("Content-Type: image/x\n\n{hostile}"));
    let templates = Templates::new(Some(words.clone()), Some(words), image);
    for message in [None, Some(hostile.as_bytes())] {
        for action in [Action::Failed, Action::Delayed] {
            let report = Report {
                action,
                envelope_id: Some(hostile),
                received_from: Some(hostile),
                reason: hostile,
                message,
                ..about(&sender, &original, &recipients)
            };
            let sent = stored(&compose(&report, &templates)).header;
            let got = String::from_utf8(sent.to_vec()).unwrap();
            let bare = got.replace("\r\n", "");
            assert!(!bare.contains(['\r', '\n']), "{}", got.escape_debug());
        }
    }
}

/// What a reader of mail sees of a report: the types of its parts, and the contents of those at the
/// end, decoded.
struct Seen {
    types: Vec<String>,
    status: Vec<u8>,
    original: Vec<u8>,
}

fn seen(message: &[u8]) -> Seen {
    let (header, start) = Header::split(message, HeaderLimits::default());
    let body = Body::from_bytes(message[start..].to_vec());
    let tree = MimeTree::parse(&header, &body, MimeLimits::default()).unwrap();
    let types = tree.parts().iter().map(|p| p.content_type().to_owned());
    let kind = |text: &str| text.split(';').next().unwrap().trim().to_owned();
    let types: Vec<String> = types.map(|t| kind(&t)).collect();
    let content = |find: &dyn Fn(&str) -> bool| {
        let index = types
            .iter()
            .position(|t| find(t))
            .unwrap_or_else(|| panic!("{types:?}"));
        let mut out = Vec::new();
        let mut reader = tree.reader(index).unwrap();
        while reader.read(&mut out).unwrap() {}
        out
    };
    Seen {
        status: content(&|t| t.ends_with("delivery-status")),
        original: content(&|t| {
            t.contains("headers") || t == "message/rfc822" || t == "message/global"
        }),
        types,
    }
}

/// Whether the report can be sent to any host: lines, line ends, NUL, and 8 bits only where declared.
#[track_caller]
fn is_clean(message: &[u8], seven_bit: bool) {
    let text = String::from_utf8_lossy(message);
    assert!(text.split("\r\n").all(|l| l.len() <= 998), "long line");
    assert!(!message.contains(&0), "NUL");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "bare");
    if seven_bit {
        assert!(message.is_ascii());
        assert!(!text.contains("8bit"));
    }
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        message.is_ascii() || head.contains("Transfer-Encoding: 8bit"),
        "{head}"
    );
}

// covers PB-39
#[test]
fn pb39_report_to_an_ascii_address_is_seven_bit_whatever_the_message_holds() {
    let raw = b"Subject: \xfcnd\r\nX-Nul: a\0b\r\nX-Bare: a\rb\r\nX-Utf8: \xc3\xbc\r\n\r\n";
    let header = Header::split(raw, HeaderLimits::default()).0;
    let long = format!("X-Long: {}\r\n\r\n", "x".repeat(2000));
    let long = Header::split(long.as_bytes(), HeaderLimits::default()).0;
    let reply = Reply::fixed(550, "Empf\u{e4}nger \u{fffd} unbekannt \u{1b}[2J");
    let cause = Cause::from_reply(reply, &"mx.test".into());
    for header in [&header, &long] {
        let got = bounce(
            header,
            &["<j\u{f6}rg@y.z>"],
            std::slice::from_ref(&cause),
            &Templates::default(),
        );
        is_clean(got.as_bytes(), true);
        let seen = seen(got.as_bytes());
        let expected = [
            "multipart/report",
            "text/plain",
            "message/delivery-status",
            "text/rfc822-headers",
        ];
        assert_eq!(seen.types, expected);
        let status = String::from_utf8(seen.status).unwrap();
        assert!(
            status.contains("Final-Recipient: utf-8;j\\x{F6}rg@y.z\r\n"),
            "{status}"
        );
        assert!(
            status.contains("smtp;550 Empf\\x{E4}nger ? unbekannt [2J\r\n"),
            "{status}"
        );
        // What is returned is decoded to what came.
        let came = header.as_bytes();
        let found = String::from_utf8_lossy(&seen.original).into_owned();
        assert!(seen.original.starts_with(came), "{found}");
    }
}

#[test]
fn reader_with_an_international_address_gets_utf8_as_it_is() {
    let header = header("Subject: Gr\u{fc}\u{df}e\r\nFrom: <d\u{f6}@client.example>\r\n\r\n");
    let cause = Cause::permanent(6, 7, "mx.example.com does not offer SMTPUTF8");
    let got = to_reader(
        "<d\u{f6}@client.example>",
        &header,
        &["<\u{fc}+x@y.z>"],
        &[cause],
        &Templates::default(),
    );
    check("global.eml", &got);
    is_clean(got.as_bytes(), false);
    let seen = seen(got.as_bytes());
    let expected = [
        "multipart/report",
        "text/plain",
        "message/global-delivery-status",
        "message/global-headers",
    ];
    assert_eq!(seen.types, expected);
}

#[test]
fn nothing_international_stays_in_the_older_types_even_for_such_a_reader() {
    let got = to_reader(
        "<d\u{f6}@b.c>",
        &header(HEADER),
        &["<x@y.z>"],
        &[refused()],
        &Templates::default(),
    );
    let seen = seen(got.as_bytes());
    assert_eq!(
        seen.types[2..],
        ["message/delivery-status", "text/rfc822-headers"]
    );
}

// covers PB-39
#[test]
fn pb39_message_is_returned_as_it_is_or_not_at_all() {
    let (reader, to, header, cause) = (
        address("<a@b.c>"),
        address("<x@y.z>"),
        header(HEADER),
        refused(),
    );
    let recipients = [About {
        address: &to,
        cause: &cause,
        original: None,
    }];
    for (message, kind) in [
        (&b"Subject: x\r\n\r\ntext\r\n"[..], "message/rfc822"),
        (
            b"MIME-Version: 1.0\r\n\r\nt\xc3\xbcxt\r\n",
            "message/rfc822",
        ),
        (b"MIME-Version: 1.0\r\n\r\nt\xfcxt\r\n", "message/rfc822"),
        (b"Subject: x\r\n\r\nt\xfcxt\r\n", "text/rfc822-headers"),
        (
            b"MIME-Version: 1.0\r\nSubject: \xc3\xbc\r\n\r\ntext\r\n",
            "text/rfc822-headers",
        ),
        (b"Subject: x\r\n\r\nt\0xt\r\n", "text/rfc822-headers"),
        (b"Subject: x\r\n\r\nt\rxt\r\n", "text/rfc822-headers"),
        (b"Subject: x\r\n\r\nt\nxt\r\n", "text/rfc822-headers"),
    ] {
        let header = Header::split(message, HeaderLimits::default()).0;
        let report = Report {
            message: Some(message),
            ..about(&reader, &header, &recipients)
        };
        let got = compose(&report, &Templates::default());
        is_clean(&got, false);
        let seen = seen(&got);
        assert_eq!(seen.types[3], kind);
        if kind == "message/rfc822" {
            assert!(
                seen.original.starts_with(message),
                "{}",
                String::from_utf8_lossy(&got)
            );
        }
    }
    let long = format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(999));
    let report = Report {
        message: Some(long.as_bytes()),
        ..about(&reader, &header, &recipients)
    };
    is_clean(&compose(&report, &Templates::default()), true);
}

// covers BNC-04
#[test]
fn names_in_template_headers_are_encoded_and_long_values_folded() {
    let text = "From: \"Post (x), Stra\u{df}e Nord\" <post@{me}>\nOrganization: B\u{fc}ro\nSubject: {reason}\n\n{reason}\n";
    let templates = Templates::new(Some(text.into()), None, None);
    let cause = Cause::permanent(0, 0, "word ".repeat(10_000));
    let got = bounce(&header(HEADER), &["<x@y.z>"], &[cause], &templates);
    is_clean(got.as_bytes(), true);
    let from = "From: \"Post (x),\" =?UTF-8?Q?Stra=C3=9Fe?= Nord <post@me.example.org>\r\n";
    assert!(got.starts_with(from), "{got}");
    assert!(got.contains("Organization: =?UTF-8?Q?B=C3=BCro?=\r\n"));
    assert!(got.len() < 10_000, "{}", got.len());
}

#[test]
fn what_remote_hosts_say_is_bounded_for_each_recipient() {
    let reply = Reply::new(550, "\u{1f4ec}".repeat(8000));
    let cause = Cause::from_reply(reply, &"mx.test".into());
    let to: Vec<String> = (0..500).map(|i| format!("<r{i}@example.com>")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let got = bounce(
        &header(HEADER),
        &to,
        &vec![cause; 500],
        &Templates::default(),
    );
    is_clean(got.as_bytes(), true);
    assert!(got.len() < 2_000_000, "{}", got.len());
    assert!(got.contains("rfc822;r499@example.com") && got.contains(" more"));
}

#[test]
fn any_octets_from_outside_make_a_report_that_can_be_sent_and_read() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: [&[u8]; 14] = [
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xff\xfe",
        "\u{fc}".as_bytes(),
        b"=?utf-8?Q?=0D=0A?=",
        b"--boundary_",
        b"Subject:",
        b"Message-Id: <",
        b". ",
        b"\r\n\r\n",
        b"(;)<>\"\\",
        b"x",
    ];
    let (ascii, international) = (address("<a@b.c>"), address("<\u{e4}@b.c>"));
    let to = addresses(&["<x@y.z>", "<\u{f6}@y.z>"]);
    for round in 0..600 {
        let mut junk = || -> Vec<u8> {
            let count = next() % 40;
            (0..count)
                .flat_map(|_| {
                    pieces[next() as usize % pieces.len()]
                        .repeat(1 + (next() % 300 == 0) as usize * 2000)
                })
                .collect()
        };
        let (head, message, words) = (junk(), junk(), junk());
        let words = String::from_utf8_lossy(&words).into_owned();
        let original = Header::split(&head, HeaderLimits::default()).0;
        let causes = [
            Cause::permanent(0, 0, words.clone()),
            Cause::from_reply(Reply::new(550, words.clone()), &"mx.test".into()),
        ];
        let recipients: Vec<_> = to
            .iter()
            .zip(&causes)
            .map(|(address, cause)| About {
                address,
                cause,
                original: Some(format!("utf-8;{words}")),
            })
            .collect();
        let report = Report {
            envelope_id: Some(&words),
            received_from: Some(&words),
            message: (round % 2 == 0).then_some(&message[..]),
            ..about(
                if round % 4 < 2 {
                    &ascii
                } else {
                    &international
                },
                &original,
                &recipients,
            )
        };
        let got = compose(&report, &Templates::default());
        is_clean(&got, round % 4 == 1);
        let seen = seen(&got);
        assert!(seen.types.len() >= 4, "{:?}", seen.types);
        let status = String::from_utf8(seen.status).unwrap();
        assert_eq!(
            status.matches("\r\nFinal-Recipient: ").count(),
            2,
            "{status}"
        );
        assert_eq!(
            status.matches("\r\nAction: failed\r\n").count(),
            2,
            "{status}"
        );
    }
}
