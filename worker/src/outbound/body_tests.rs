//! What the client does with bodies: from memory and disk, in whatever form, of whatever octets.

use std::io::Write as _;

use haraka_shared::body::Body;

use super::attempt::{Attempt, RcptResult};
use super::client::Client;
use super::message::{Envelope, Outgoing};
use super::testing::*;
use super::wish::Approach;

#[test]
fn stored_message_with_bare_line_ends_arrives_whole_and_stuffed() {
    let mut file = tempfile();
    file.write_all("0123A: b\n\n.\nMAIL FROM:<evil@x>\r\n..x\ngrün".as_bytes())
        .unwrap();
    let len = file.metadata().unwrap().len() - 4;
    let sink = Sink::start(&[r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx|250 8BITMIME
        C: MAIL FROM:<> BODY=8BITMIME
        S: 250 ok
        C: RCPT TO:<x@y.z>
        S: 250 ok
        C: DATA
        S: 354 go
        D: A: b\r\n\r\n..\r\nMAIL FROM:<evil@x>\r\n..x\r\ngrün\r\n
        S: 250 done
        C: QUIT
        S: 221 bye"]);
    let message = Outgoing::stored(Body::from_file(file.into(), 4, len));
    let attempt = run(sent(&sink, "<>", &message));
    assert_eq!(shown(&attempt), ["+250 done"]);
    sink.done();
}

#[test]
fn truncated_file_is_never_finished_with_a_dot() {
    let mut file = tempfile();
    file.write_all(format!("A: ü\r\n{}", "x".repeat(93)).as_bytes())
        .unwrap();
    let other = file.try_clone().unwrap();
    let message = Outgoing::received(Vec::new(), Body::from_file(file.into(), 0, 100));
    // After it was looked through for what MAIL says.
    assert_eq!(run(message.size()).unwrap(), 100);
    other.set_len(7).unwrap();
    let sink = Sink::start(&[r"S: 220 mx
        C: EHLO me.example.org
        S: 250 mx
        C: MAIL FROM:<a@b.c>
        S: 250 ok
        C: RCPT TO:<x@y.z>
        S: 250 ok
        C: DATA
        S: 354 go
        D: A: ü\r\n(closed)"]);
    let attempt = run(sent(&sink, "<a@b.c>", &message));
    assert!(
        matches!(&attempt.results[0], RcptResult::Deferred(c) if c.status.to_string() == "4.3.0")
    );
    assert!(!attempt.in_doubt);
    sink.done();
}

#[test]
fn file_that_is_too_short_from_the_start_is_not_offered() {
    let mut file = tempfile();
    file.write_all("A: ü\r\n".as_bytes()).unwrap();
    let sink = Sink::start(&["S: 220 mx\nC: EHLO me.example.org\nS: 250 mx\nC: QUIT\nS: 221 bye"]);
    let message = Outgoing::received(Vec::new(), Body::from_file(file.into(), 0, 100));
    let attempt = run(sent(&sink, "<a@b.c>", &message));
    assert!(
        matches!(&attempt.results[0], RcptResult::Deferred(c) if c.status.to_string() == "4.3.0")
    );
    sink.done();
}

#[test]
fn large_bodies_of_either_kind_arrive_whole() {
    let line = format!("{}\r\n", "x".repeat(98));
    let body = line.repeat(30_000);
    let script = format!(
        "S: 220 mx\nC: EHLO me.example.org\nS: 250 mx\nC: MAIL FROM:<a@b.c>\nS: 250 ok\nC: RCPT TO:<x@y.z>\n\
         S: 250 ok\nC: DATA\nS: 354 go\nD: {}\nS: 250 done\nC: QUIT\nS: 221 bye",
        body.replace('\r', "\\r").replace('\n', "\\n")
    );
    for disk in [false, true] {
        let content = if disk {
            let mut file = tempfile();
            file.write_all(body.as_bytes()).unwrap();
            Body::from_file(file.into(), 0, body.len() as u64)
        } else {
            let mut writer = haraka_shared::body::BodyWriter::default();
            writer.push(body.as_bytes());
            writer.finish()
        };
        for message in [
            Outgoing::stored(content.clone()),
            Outgoing::received(Vec::new(), content),
        ] {
            let sink = Sink::start(&[&script]);
            let attempt = run(sent(&sink, "<a@b.c>", &message));
            assert_eq!(shown(&attempt), ["+250 done"]);
            sink.done();
        }
    }
}

// covers PB-63
#[test]
fn eight_bit_messages_are_declared_where_that_is_offered() {
    let disk = |text: &str| {
        let mut file = tempfile();
        file.write_all(text.as_bytes()).unwrap();
        Body::from_file(file.into(), 0, text.len() as u64)
    };
    let memory = |text: &str| Body::from_bytes(text.as_bytes().to_vec());
    let long = format!("{}\r\nü\r\n", "x".repeat(200_000));
    let received = |head: &str, body| Outgoing::received(head.as_bytes().to_vec(), body);
    for (offer, declared, message) in [
        ("8BITMIME", " BODY=8BITMIME", received("", memory("ü\r\n"))),
        (
            "8BITMIME",
            " BODY=8BITMIME",
            received("S: ü\r\n\r\n", memory("u\r\n")),
        ),
        ("8BITMIME", " BODY=8BITMIME", Outgoing::stored(disk(&long))),
        ("8BITMIME", "", received("S: u\r\n\r\n", memory("u\r\n"))),
        ("8BITMIME", "", Outgoing::stored(disk("u\r\n"))),
        // Haraka sends it to such a host as well.
        ("HELP", "", received("", memory("ü\r\n"))),
    ] {
        let sink = Sink::start(&[&format!(
            "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 {offer}\nC: MAIL FROM:<a@b.c>{declared}\n\
             S: 250 ok\nC: RCPT TO:<x@y.z>\nS: 550 5.1.1 no\nC: QUIT\nS: 221 bye",
        )]);
        let attempt = run(sent(&sink, "<a@b.c>", &message));
        assert_eq!(shown(&attempt), ["-550 5.1.1 no"], "{offer}{declared}");
        sink.done();
    }
}

// covers OUT-33, PB-76
#[test]
fn header_of_an_internationalized_message_goes_only_to_hosts_that_offer_smtputf8() {
    let disk = |text: &str| {
        let mut file = tempfile();
        file.write_all(text.as_bytes()).unwrap();
        Outgoing::stored(Body::from_file(file.into(), 0, text.len() as u64))
    };
    let memory = |head: &str, body: &str| {
        let body = Body::from_bytes(body.as_bytes().to_vec());
        Outgoing::received(head.as_bytes().to_vec(), body)
    };
    let refused = ["-mx.example.com does not offer SMTPUTF8, which the header needs"];
    let taken = ["-550 5.1.1 no"];
    for (declared, offer, said, message, expected) in [
        (
            true,
            "SMTPUTF8",
            Some(" SMTPUTF8"),
            disk("S: ü\r\n\r\nu\r\n"),
            taken,
        ),
        (
            true,
            "SMTPUTF8",
            Some(" SMTPUTF8"),
            memory("S: ü\r\n\r\n", "u"),
            taken,
        ),
        (
            true,
            "SMTPUTF8",
            Some(" SMTPUTF8"),
            memory("", "S: ü\r\n\r\nu"),
            taken,
        ),
        (
            true,
            "SMTPUTF8",
            Some(""),
            memory("S: u\r\n\r\n", "ü"),
            taken,
        ),
        (true, "SMTPUTF8", Some(""), disk("S: u\r\n\r\nü\r\n"), taken),
        (true, "HELP", None, disk("S: ü\r\n\r\nu\r\n"), refused),
        (true, "HELP", Some(""), disk("S: u\r\n\r\nü\r\n"), taken),
        // Nobody said that this is UTF-8.
        (
            false,
            "SMTPUTF8",
            Some(""),
            memory("S: ü\r\n\r\n", "u"),
            taken,
        ),
        (false, "HELP", Some(""), memory("S: ü\r\n\r\n", "u"), taken),
    ] {
        let mail = said.map_or(String::new(), |said| {
            format!("C: MAIL FROM:<a@b.c>{said}\nS: 250 ok\nC: RCPT TO:<x@y.z>\nS: 550 5.1.1 no\n")
        });
        let sink = Sink::start(&[&format!(
            "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 {offer}\n{mail}C: QUIT\nS: 221 bye"
        )]);
        let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>"]));
        let envelope = Envelope {
            smtputf8: declared,
            ..envelope(&from, &to)
        };
        let attempt = run(offered(&sink, &envelope, &message));
        assert_eq!(shown(&attempt), expected, "{declared} {offer}");
        if said.is_none() {
            assert_eq!(
                attempt.results[0].cause().unwrap().status.to_string(),
                "5.6.9"
            );
        }
        sink.done();
    }
}

#[test]
fn file_that_cannot_be_read_to_its_end_is_not_offered() {
    let mut file = tempfile();
    file.write_all(b"A: b\r\n").unwrap();
    let sink = Sink::start(&["S: 220 mx\nC: EHLO me.example.org\nS: 250 mx\nC: QUIT\nS: 221 bye"]);
    let message = Outgoing::received(Vec::new(), Body::from_file(file.into(), 0, 100));
    let attempt = run(sent(&sink, "<a@b.c>", &message));
    assert!(
        matches!(&attempt.results[0], RcptResult::Deferred(c) if c.status.to_string() == "4.3.0")
    );
    sink.done();
}

/// One conversation about this message to `<x@y.z>`.
async fn sent(sink: &Sink, from: &str, message: &Outgoing) -> Attempt {
    let (from, to) = (address(from), addresses(&["<x@y.z>"]));
    Box::pin(offered(sink, &envelope(&from, &to), message)).await
}

async fn offered(sink: &Sink, envelope: &Envelope<'_>, message: &Outgoing) -> Attempt {
    let mut client = Client::connect(
        &sink.target(false),
        &Approach::CLEAR,
        &settings(),
        "T".into(),
    )
    .await
    .unwrap();
    let attempt = Box::pin(client.send(envelope, message)).await.unwrap();
    client.quit().await;
    attempt
}

fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!(
        "haraka-client-{}-{}",
        std::process::id(),
        fastrand::u64(..)
    ));
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}
