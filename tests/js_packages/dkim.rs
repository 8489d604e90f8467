//! The package dkim: messages that openssl signed are verified here as in the real Haraka, and both sign
//! the same octets, which the package's own tool verifies on Node. Keys are below `dkim/`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::server::peer_command;
use crate::harness::{FakeDns, Sink, skip};
use crate::side::{Setup, Side, packages, same_as_haraka, without_trace};

const LARGE: &str = include_str!("dkim/rsa2048.pem");
const SMALL: &str = include_str!("dkim/rsa1024.pem");
const EDWARDS: &str = include_str!("dkim/ed25519.pem");

/// Header fields as they are sent.
const HEAD: &str = "From: Ann  <ann@sender.test>\r\nTo: c@here.test\r\n\
    Subject: a folded\r\n\t subject \r\nDate: Sat, 1 Jan 2000 00:00:00 +0000\r\n\
    Message-ID: <1@sender.test>\r\n";
/// The same in the form `relaxed` (RFC 6376, section 3.4.2).
const HEAD_RELAXED: &str = "from:Ann <ann@sender.test>\r\nto:c@here.test\r\n\
    subject:a folded subject\r\ndate:Sat, 1 Jan 2000 00:00:00 +0000\r\n\
    message-id:<1@sender.test>\r\n";
/// In the order in which the fields stand.
const NAMES: &str = "from:to:subject:date:message-id";

const BODY: &str = "Two  words\there \r\n\r\n line\r\n\r\n\r\n";
const BODY_SIMPLE: &str = "Two  words\there \r\n\r\n line\r\n";
const BODY_RELAXED: &str = "Two words here\r\n\r\n line\r\n";

/// What `openssl` says to this input.
fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args:?}");
    output.stdout
}

/// Whether the tests can run: both servers and openssl are there.
fn ready() -> bool {
    let openssl = Command::new("openssl").arg("version").output().is_ok();
    if peer_command().is_none() || !openssl {
        skip("PEER_HARAKA is not set, or openssl is not installed");
        return false;
    }
    true
}

fn base64(octets: &[u8]) -> String {
    let text = openssl(&["enc", "-base64", "-A"], octets);
    String::from_utf8(text).unwrap().trim().to_owned()
}

fn sha256(text: &str) -> Vec<u8> {
    openssl(&["dgst", "-sha256", "-binary"], text.as_bytes())
}

/// Where the test keeps a key for openssl; it goes with the value.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(pem: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("haraka-dkim-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, pem).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The public half, as a record in DNS has it.
fn public(pem: &str) -> String {
    let key = KeyFile::new(pem);
    let args = ["pkey", "-in", key.path(), "-pubout", "-outform", "DER"];
    base64(&openssl(&args, b""))
}

fn sign(pem: &str, data: &str) -> String {
    let key = KeyFile::new(pem);
    if pem != EDWARDS {
        let args = ["dgst", "-sha256", "-sign", key.path()];
        return base64(&openssl(&args, data.as_bytes()));
    }
    // Of these openssl wants the whole in a file.
    let file = KeyFile::new(data);
    let mut args = vec!["pkeyutl", "-sign", "-rawin", "-inkey", key.path()];
    args.extend(["-in", file.path()]);
    base64(&openssl(&args, b""))
}

/// One signature to be made.
#[derive(Clone, Copy)]
struct Signing<'a> {
    pem: &'a str,
    algorithm: &'a str,
    /// Header fields and body, `relaxed` or `simple`.
    forms: (&'a str, &'a str),
    selector: &'a str,
    /// Names of the fields, and the fields in the form `relaxed`.
    signed: (&'a str, &'a str),
    /// Further tags, with a semicolon behind.
    tags: &'a str,
}

const RELAXED: Signing<'static> = Signing {
    pem: LARGE,
    algorithm: "rsa-sha256",
    forms: ("relaxed", "relaxed"),
    selector: "large",
    signed: (NAMES, HEAD_RELAXED),
    tags: "",
};

impl Signing<'_> {
    /// The header field, whose signature is folded.
    fn field(&self) -> String {
        let (head, body) = self.forms;
        let body_octets = match body {
            "relaxed" => BODY_RELAXED,
            _ => BODY_SIMPLE,
        };
        let value = format!(
            "v=1; a={}; c={head}/{body}; d=sender.test; s={};{} h={}; bh={}; b=",
            self.algorithm,
            self.selector,
            self.tags,
            self.signed.0,
            base64(&sha256(body_octets))
        );
        let data = match head {
            "relaxed" => format!("{}dkim-signature:{value}", self.signed.1),
            _ => format!("{HEAD}DKIM-Signature: {value}"),
        };
        let signature = sign(self.pem, &data);
        let middle = signature.len() / 2;
        // Blanks within the signature are not part of it (RFC 6376, section 3.5).
        let (one, two) = signature.split_at(middle);
        format!("DKIM-Signature: {value}{one}\r\n\t{two}\r\n")
    }

    /// Signature, header fields and body.
    fn message(&self) -> String {
        format!("{}{HEAD}\r\n{BODY}", self.field())
    }
}

fn keys_in_dns() -> FakeDns {
    let dns = FakeDns::start();
    let [large, small, edwards] = [LARGE, SMALL, EDWARDS].map(public);
    // RFC 8463, section 4: the key alone, behind the twelve octets that tell what it is.
    let raw = openssl(&["enc", "-d", "-base64", "-A"], edwards.as_bytes());
    let raw = base64(&raw[12..]);
    let large_key = |tags: &str| format!("v=DKIM1; {tags}p={large}");
    for (selector, record) in [
        ("large", large_key("k=rsa; ")),
        ("late", large_key("")),
        ("small", format!("v=DKIM1; k=rsa; p={small}")),
        ("edwards", format!("v=DKIM1; k=ed25519; p={edwards}")),
        ("raw", format!("v=DKIM1; k=ed25519; p={raw}")),
        ("other", format!("v=DKIM1; p={small}")),
        ("revoked", "v=DKIM1; p=".to_owned()),
        ("garbage", "v=DKIM1; p=AAAA".to_owned()),
        ("empty", "v=DKIM1".to_owned()),
        ("version", large_key("").replace("DKIM1", "DKIM2")),
        ("sha1", large_key("h=sha1; ")),
        ("sha256", large_key("h=sha1:sha256; ")),
        ("kind", large_key("k=ed25519; ")),
        ("strict", large_key("t=s; ")),
        ("testing", large_key("t=y; ")),
        ("granular", large_key("g=ann; ")),
        ("twice", large_key("")),
        ("twice", large_key("n=again; ")),
    ] {
        dns.txt(&format!("{selector}._domainkey.sender.test"), &record);
    }
    // The answer comes behind others, as results are in the order of answers.
    dns.late("late._domainkey.sender.test", LATE);
    dns.servfail("fails._domainkey.sender.test");
    dns
}

/// Far longer than the answers of one message are apart on a busy machine.
const LATE: Duration = Duration::from_millis(700);

const VERIFY: &str = "[sign]\nenabled=false\n[verify]\nenabled=true\ntimeout=10\n";

/// Each message verified by both; all have to be told apart by what `must` names.
fn verified_alike(messages: &[String], must: &[&str]) {
    let setup = Setup {
        plugins: &["dkim"],
        config: &[("dkim.ini", VERIFY)],
        volatile: &[],
    };
    same_as_haraka(&setup, Some(&keys_in_dns()), must, |side| {
        for message in messages {
            let text = message.replace("\r\n", "\n");
            side.from("20.0.0.1", |c| {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                c.mail("x.test", "ann@sender.test", &["c@here.test"], text);
                c.quit();
            });
        }
    });
}

// covers PLG-03, TXN-04
#[test]
fn good_and_broken_signatures_are_told_apart_as_with_haraka() {
    if !ready() {
        return;
    }
    let forms = ["relaxed", "simple"];
    let mut messages = vec![format!("{HEAD}\r\n{BODY}")];
    for head in forms {
        for body in forms {
            let signing = Signing {
                forms: (head, body),
                ..RELAXED
            };
            messages.push(signing.message());
        }
    }
    let small = Signing {
        pem: SMALL,
        selector: "small",
        ..RELAXED
    };
    let edwards = |selector| Signing {
        pem: EDWARDS,
        algorithm: "ed25519-sha256",
        selector,
        ..RELAXED
    };
    let good = RELAXED.message();
    messages.extend([
        small.message(),
        edwards("edwards").message(),
        edwards("raw").message(),
        edwards("edwards").message().replace("To: c@", "To: d@"),
        small.message().replace("To: c@", "To: d@"),
        good.replace("Two", "Three"),
        good.replace("Ann", "Bob"),
        good.replace("c=relaxed/", "c=simple/"),
        good.replace("s=large", "s=other"),
        good.replace("v=1;", "v=1; b=AAAA;"),
        good.replace("To: c@here.test\r\n", ""),
        good.replace(
            "To: c@here.test\r\n",
            "X-More: added\r\nTo: c@here.test\r\n",
        ),
    ]);
    let must = [
        "dkim=pass header.i=@sender.test header.d=sender.test header.s=large",
        "header.s=small",
        "header.s=edwards",
        "body hash did not verify",
        "dkim=fail",
        "verification error",
    ];
    verified_alike(&messages, &must);
}

// covers PLG-03, TXN-04
#[test]
fn keys_and_tags_of_signatures_are_judged_as_with_haraka() {
    if !ready() {
        return;
    }
    let mut messages = Vec::new();
    let selectors = [
        "revoked", "garbage", "empty", "version", "sha1", "sha256", "kind", "strict", "testing",
        "granular", "twice", "fails", "gone",
    ];
    for selector in selectors {
        let signing = Signing {
            selector,
            ..RELAXED
        };
        messages.push(signing.message());
    }
    for tags in [
        " l=5;",
        " x=1000000000;",
        " t=1000000000; x=999999999;",
        " t=4000000000;",
        " i=ann@sender.test;",
        " i=ann@sub.sender.test;",
        " i=ann@other.test;",
        " q=dns/txt;",
        " q=carrier/pigeon;",
        " z=From:x|To:y;",
        " nonsense;",
    ] {
        messages.push(Signing { tags, ..RELAXED }.message());
    }
    let strict = Signing {
        tags: " i=ann@sub.sender.test;",
        selector: "strict",
        ..RELAXED
    };
    messages.push(strict.message());
    let good = RELAXED.message();
    for (from, to) in [
        ("v=1; ", ""),
        ("v=1; ", "v=2; "),
        ("a=rsa-sha256; ", ""),
        ("rsa-sha256", "rsa-sha1"),
        ("rsa-sha256", "rsa-sha512"),
        ("c=relaxed/relaxed", "c=other/other"),
        (" d=sender.test;", ""),
        ("h=from:", "h="),
        (" h=from:to:subject:date:message-id;", ""),
        (" bh=", " xh="),
        ("; b=", "; y="),
    ] {
        assert!(good.contains(from), "{from}");
        messages.push(good.replacen(from, to, 1));
    }
    let must = [
        "key revoked",
        "no key for signature",
        "key unavailable",
        "multiple DNS records found",
        "signature expired",
        "length tag is unsupported",
        "inappropriate hash algorithm",
        "rsa-sha1 is insecure",
    ];
    verified_alike(&messages, &must);
}

// covers PLG-03, TXN-04
#[test]
fn several_signatures_and_fields_that_occur_twice_are_verified_as_with_haraka() {
    if !ready() {
        return;
    }
    let late = Signing {
        selector: "late",
        ..RELAXED
    };
    let small = Signing {
        pem: SMALL,
        selector: "small",
        ..RELAXED
    };
    let (late, small) = (late.field(), small.field());
    let broken = small.replace("s=small", "s=large");
    let plain = format!("{HEAD}\r\n{BODY}");
    // From the last to the first (RFC 6376, section 5.4.2), and once more than there are.
    let twice = Signing {
        signed: (
            "from:comments:comments:comments:from",
            "from:Ann <ann@sender.test>\r\ncomments:two\r\ncomments:one\r\n",
        ),
        ..RELAXED
    };
    let comments = "Comments: one\r\nComments: two\r\n";
    let messages = [
        format!("{late}{small}{plain}"),
        format!("{small}{late}{plain}"),
        format!("{broken}{late}{plain}"),
        format!("{late}{broken}{plain}"),
        format!("{broken}{broken}{plain}"),
        format!("{}{comments}{plain}", twice.field()),
        format!("{}Comments: zero\r\n{comments}{plain}", twice.field()),
        format!("{}{comments}From: x@sender.test\r\n{plain}", twice.field()),
    ];
    verified_alike(&messages, &["header.s=small", "header.s=late", "dkim=fail"]);
}

/// Relays what comes, hands it to outbound itself where the recipient is `handed`, and sends a message
/// of its own where it is told to; all goes to the port of the sink.
const ROUTE: &str = r#"
exports.hook_connect = (next, connection) => {
    connection.relaying = true
    next()
}

exports.hook_get_mx = (next) => next(OK, { exchange: '127.0.0.1', port: PORT })

exports.hook_data_post = function (next, connection) {
    if (!connection.transaction.rcpt_to.some((to) => to.user === 'handed')) return next()
    connection.relaying = false
    next()
}

exports.hook_queue = function (next, connection) {
    this.haraka_require('outbound').send_trans_email(connection.transaction, next)
}

exports.hook_unrecognized_command = function (next, connection, [verb]) {
    if (verb !== 'SEND') return next()
    const text = 'From: ann@sender.test\nTo: u@far.test\nSubject: of its own\n' +
        'Date: Sat, 1 Jan 2000 00:00:00 +0000\nMessage-ID: <2@sender.test>\n\nmade here\n'
    this.haraka_require('outbound').send_email('ann@sender.test', 'u@far.test', text, (code) => {
        next(DENY, code === OK ? 'sent' : 'not sent')
    })
}
"#;

/// Messages of all kinds of origin, the way they are sent.
fn outgoing() -> Vec<(&'static str, String)> {
    let from = |field: &str| HEAD.replace("From: Ann  <ann@sender.test>", field);
    let long = "A line of sixty-four octets, so that many make a long message.\r\n".repeat(3000);
    vec![
        ("u@far.test", format!("{HEAD}\r\n{BODY}")),
        ("handed@here.test", format!("{HEAD}\r\n{BODY}")),
        (
            "u@far.test",
            format!("{}\r\n{BODY}", from("From: small <b@small.test>")),
        ),
        (
            "u@far.test",
            format!("{}\r\n{BODY}", from("From: b@deep.sub.sender.test")),
        ),
        (
            "u@far.test",
            format!("{}\r\n{BODY}", from("From: b@unknown.test")),
        ),
        (
            "u@far.test",
            format!(
                "{}\r\n{BODY}",
                from("From: a@one.test, b@two.test\r\nSender: s@small.test")
            ),
        ),
        (
            "u@far.test",
            format!(
                "{}\r\nÄrger\r\n",
                from("From: =?UTF-8?Q?=C3=84?= <ann@sender.test>\r\nCc: Ä <c@here.test>")
            ),
        ),
        (
            "u@far.test",
            format!("Cc: one@far.test\r\n{HEAD}Cc: two@far.test\r\n\r\nbody\r\n"),
        ),
        ("u@far.test", format!("{HEAD}\r\n")),
        ("u@far.test", format!("{HEAD}\r\n..dots\r\n..\r\n")),
        ("u@far.test", format!("{HEAD}\r\n{long}")),
    ]
}

/// Sends all, and records what arrives and what `verifier` makes of it.
fn send_all(side: &mut Side, sink: &Sink, verifier: &dyn Fn(&[u8]) -> String) {
    let mut arrived = sink.accepted().len();
    let mut arrives = |side: &mut Side| {
        arrived += 1;
        let message = sink.wait_accepted(arrived).pop().unwrap();
        side.note("sent", &without_trace(&message.text()));
        side.note("verified", &verifier(&message.content()));
    };
    for (to, message) in outgoing() {
        side.from("20.0.0.1", |c| {
            let text = message.replace("\r\n", "\n");
            let text = text.strip_suffix('\n').unwrap_or(&text);
            c.mail("x.test", "ann@sender.test", &[to], text);
            c.quit();
        });
        arrives(side);
    }
    side.from("20.0.0.1", |c| {
        c.greeting();
        c.says(&["EHLO x.test", "SEND", "QUIT"]);
    });
    arrives(side);
}

/// What the tool of the package says to a message, on Node.
fn dkimverify(node: &str, tool: &Path, preload: &KeyFile, message: &[u8]) -> String {
    let mut child = Command::new(node)
        .args(["--require", preload.path()])
        .arg(tool)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn signed_alike(form: &str) {
    let sink = Sink::start();
    let dns = FakeDns::start();
    for (name, pem) in [
        ("mail._domainkey.sender.test", LARGE),
        ("tiny._domainkey.small.test", SMALL),
        ("main._domainkey.default.test", LARGE),
    ] {
        dns.txt(name, &format!("v=DKIM1; p={}", public(pem)));
    }
    let ini = format!(
        "[sign]\nenabled=true\nselector=main\ndomain=default.test\n\
         headers=From, Sender, Reply-To, Subject, Date, Message-ID, To, Cc\n\
         [canon]\nbody={form}\n[verify]\nenabled=false\n"
    );
    let route = ROUTE.replace("PORT", &sink.addr().port().to_string());
    let setup = Setup {
        plugins: &["dkim", "route"],
        config: &[
            ("dkim.ini", &ini),
            ("dkim.private.key", LARGE),
            ("dkim/sender.test/private", LARGE),
            ("dkim/sender.test/selector", "mail\n"),
            ("dkim/small.test/private", SMALL),
            ("dkim/small.test/selector", "tiny\n"),
            ("outbound.ini", "local_mx_ok=true\n"),
            ("../plugins/route.js", &route),
        ],
        volatile: &[],
    };
    let must = [
        "d=sender.test",
        "d=small.test",
        "d=default.test",
        "500 sent",
        "verified identity=\"@small.test\" domain=\"small.test\" result=pass",
        "verified identity=\"@sender.test\" domain=\"sender.test\" result=pass",
        "verified identity=\"@default.test\" domain=\"default.test\" result=pass",
    ];
    let preload = KeyFile::new(&dns.preload());
    let verifier = |message: &[u8]| {
        let [node, peer] = peer_command().unwrap();
        let tool = packages(Path::new(&peer)).join("haraka-plugin-dkim/bin/dkimverify");
        dkimverify(&node, &tool, &preload, message)
    };
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        send_all(side, &sink, &verifier)
    });
}

// covers PLG-03
#[test]
fn messages_are_signed_with_the_octets_of_haraka_and_verify() {
    if !ready() {
        return;
    }
    signed_alike("simple");
}

// covers PLG-03
#[test]
fn messages_signed_with_a_relaxed_body_are_those_of_haraka_and_verify() {
    if !ready() {
        return;
    }
    signed_alike("relaxed");
}
