//! The client against hosts that follow a script on a real socket.

use haraka_shared::dsn::{MessageRequest, Notify, RecipientRequest, Requests, Return};

use super::attempt::{Attempt, Lost, Stage, Unusable};
use super::client::Client;
use super::message::Envelope;
use super::testing::*;
use super::wish::Approach;

async fn offer(sink: &Sink, lmtp: bool, to: &[&str], text: &str) -> Result<Attempt, Unusable> {
    let (from, to) = (address("<a@b.c>"), addresses(to));
    let mut client = Client::connect(
        &sink.target(lmtp),
        &Approach::CLEAR,
        &settings(),
        "TEST".into(),
    )
    .await?;
    let attempt = Box::pin(client.send(&envelope(&from, &to), &message(text))).await;
    client.quit().await;
    attempt
}

/// One conversation by script; what became of the recipients.
fn check(lmtp: bool, to: &[&str], script: &str, expected: &[&str]) -> Attempt {
    let sink = Sink::start(&[script]);
    let attempt = run(offer(&sink, lmtp, to, "\r\nhi\r\n")).unwrap();
    assert_eq!(shown(&attempt), expected);
    sink.done();
    attempt
}

/// One conversation by script that decides nothing.
fn check_unusable(script: &str) -> Unusable {
    let sink = Sink::start(&[script]);
    let error = run(offer(&sink, false, &["<x@y.z>"], "\r\nhi\r\n")).unwrap_err();
    sink.done();
    error
}

// covers OUT-33, PB-16
#[test]
fn without_pipelining_commands_go_one_by_one_and_any_2xx_accepts() {
    let attempt = check(
        false,
        &["<x@y.z>", "<y@Y.z>", "<w@y.z>"],
        r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx|250 HELP
        C: MAIL FROM:<a@b.c>
        S: 250 ok
        C: RCPT TO:<x@y.z>
        S: 251 will forward
        C: RCPT TO:<y@y.z>
        S: 252 will try
        C: RCPT TO:<w@y.z>
        S: 550 5.1.1 nobody
        C: DATA
        S: 354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 2.0.0 queued
        C: QUIT
        S: 221 bye",
        &[
            "+250 2.0.0 queued",
            "+250 2.0.0 queued",
            "-550 5.1.1 nobody",
        ],
    );
    assert_eq!(attempt.tally(), (2, 0, 1));
    assert_eq!(attempt.response().unwrap().text(), "queued");
    let peer = attempt.peer.unwrap();
    assert_eq!((peer.mode(), &*peer.host), ("SMTP", "mx.example.com"));
    assert!(!attempt.in_doubt);
}

// covers PB-63
#[test]
fn with_pipelining_one_group_carries_the_envelope_and_data() {
    check(
        false,
        &["<x@y.z>", "<y@y.z>"],
        r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx|250-PIPELINING|250 SIZE 1000000
        C: MAIL FROM:<a@b.c> SIZE=12
        C: RCPT TO:<x@y.z>
        C: RCPT TO:<y@y.z>
        C: DATA
        S: 250 ok|450 4.2.1 busy|250 ok|354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 done
        C: QUIT
        S: 221 bye",
        &["~450 4.2.1 busy", "+250 done"],
    );
}

// covers PB-76
#[test]
fn requests_for_reports_go_to_a_host_that_offers_dsn_only() {
    for (offer, of_mail, of_rcpt) in [
        (
            "|250 DSN",
            " RET=FULL ENVID=q",
            " NOTIFY=DELAY ORCPT=rfc822;o@y.z",
        ),
        ("|250 HELP", "", ""),
    ] {
        let script = format!(
            r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx{offer}
        C: MAIL FROM:<a@b.c>{of_mail}
        S: 250 ok
        C: RCPT TO:<x@y.z>
        S: 250 ok
        C: RCPT TO:<w@y.z>{of_rcpt}
        S: 250 ok
        C: DATA
        S: 354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 done
        C: QUIT
        S: 221 bye"
        );
        let sink = Sink::start(&[&script]);
        let message_request = MessageRequest {
            ret: Some(Return::Full),
            envid: Some("q".into()),
        };
        let asked = RecipientRequest {
            notify: Notify::parse("DELAY"),
            orcpt: Some("rfc822;o@y.z".into()),
        };
        run(async {
            let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>", "<w@y.z>"]));
            let mut client = Client::connect(
                &sink.target(false),
                &Approach::CLEAR,
                &settings(),
                "T".into(),
            )
            .await
            .unwrap();
            let envelope = Envelope {
                requests: Some(Requests {
                    message: &message_request,
                    recipients: &[RecipientRequest::default(), asked],
                }),
                ..envelope(&from, &to)
            };
            let text = message("\r\nhi\r\n");
            let attempt = Box::pin(client.send(&envelope, &text)).await.unwrap();
            assert_eq!(attempt.peer.unwrap().dsn, !of_mail.is_empty());
            client.quit().await;
        });
        sink.done();
    }
}

// covers PB-63
#[test]
fn data_go_ahead_for_nobody_gets_a_lone_dot() {
    let greeting = r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx|250 PIPELINING
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<x@y.z>
        C: DATA";
    check(
        false,
        &["<x@y.z>"],
        &format!("{greeting}\nS: 250 ok|550 no|354 go\nD: \nS: 554 nobody\nC: QUIT\nS: 221 bye"),
        &["-550 no"],
    );
    check(
        false,
        &["<x@y.z>"],
        &format!(
            "{greeting}\nS: 451 4.3.0 later|503 mail first|354 go\nD: \nS: 250 ok\nC: QUIT\nS: 221 bye"
        ),
        &["~451 4.3.0 later"],
    );
    check(
        false,
        &["<x@y.z>"],
        &format!("{greeting}\nS: 250 ok|550 no|503 no valid recipients\nC: QUIT\nS: 221 bye"),
        &["-550 no"],
    );
}

// covers OUT-35
#[test]
fn refusal_of_sender_or_data_counts_for_all_recipients() {
    let start = "S: 220 mx\nC: EHLO me.example.org\nS: 250 mx\nC: MAIL FROM:<a@b.c>";
    let quit = "C: QUIT\nS: 221 bye";
    for (reply, expected) in [
        ("552 5.3.4 too big", "-552 5.3.4 too big"),
        ("450 slow down", "~450 slow down"),
    ] {
        let both = [expected, expected];
        check(
            false,
            &["<x@y.z>", "<y@y.z>"],
            &format!("{start}\nS: {reply}\n{quit}"),
            &both,
        );
        let rcpts =
            "S: 250 ok\nC: RCPT TO:<x@y.z>\nS: 250 ok\nC: RCPT TO:<y@y.z>\nS: 250 ok\nC: DATA";
        check(
            false,
            &["<x@y.z>", "<y@y.z>"],
            &format!("{start}\n{rcpts}\nS: {reply}\n{quit}"),
            &both,
        );
        let data = r"S: 354 go
        D: A: b\r\n\r\nhi\r\n";
        check(
            false,
            &["<x@y.z>", "<y@y.z>"],
            &format!("{start}\n{rcpts}\n{data}\nS: {reply}\n{quit}"),
            &both,
        );
    }
}

// covers PB-17, OUT-40
#[test]
fn lmtp_replies_belong_to_the_accepted_recipients_in_order() {
    let attempt = check(
        true,
        &["<r1@y.z>", "<r2@y.z>", "<r3@y.z>", "<r4@y.z>"],
        r"S: 220 lmtp
        C: LHLO me.example.org
        S: 250-lmtp|250 PIPELINING
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<r1@y.z>
        C: RCPT TO:<r2@y.z>
        C: RCPT TO:<r3@y.z>
        C: RCPT TO:<r4@y.z>
        C: DATA
        S: 250 ok|250 ok|550 5.1.1 no r2|250 ok|250 ok|354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 r1 ok|452 4.2.2 r3 full|250 r4 ok
        C: QUIT
        S: 221 bye",
        &[
            "+250 r1 ok",
            "-550 5.1.1 no r2",
            "~452 4.2.2 r3 full",
            "+250 r4 ok",
        ],
    );
    assert_eq!(attempt.peer.unwrap().mode(), "LMTP");
}

// covers PB-17
#[test]
fn lmtp_connection_lost_between_replies_leaves_only_the_rest_in_doubt() {
    let attempt = check(
        true,
        &["<r1@y.z>", "<r2@y.z>", "<r3@y.z>"],
        r"S: 220 lmtp
        C: LHLO me.example.org
        S: 250-lmtp|250 PIPELINING
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<r1@y.z>
        C: RCPT TO:<r2@y.z>
        C: RCPT TO:<r3@y.z>
        C: DATA
        S: 250 ok|250 ok|250 ok|250 ok|354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 r1 ok
        X",
        &[
            "+250 r1 ok",
            "~connection closed by the remote host during the final dot",
            "~connection closed by the remote host during the final dot",
        ],
    );
    assert!(attempt.in_doubt);
}

// covers PB-17
#[test]
fn lmtp_go_ahead_for_nobody_ends_the_connection_instead_of_waiting_for_no_reply() {
    check(
        true,
        &["<x@y.z>"],
        r"S: 220 lmtp
        C: LHLO me.example.org
        S: 250-lmtp|250 PIPELINING
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<x@y.z>
        C: DATA
        S: 250 ok|550 5.1.1 no|354 go",
        &["-550 5.1.1 no"],
    );
}

// covers OUT-33, SMC-05, SMC-10
#[test]
fn refused_ehlo_falls_back_to_helo() {
    check(
        false,
        &["<x@y.z>"],
        r"S: 220 old
        C: EHLO me.example.org
        S: 502 what
        C: HELO me.example.org
        S: 250 old
        C: MAIL FROM:<a@b.c>
        S: 250
        C: RCPT TO:<x@y.z>
        S: 250
        C: DATA
        S: 354
        D: A: b\r\n\r\nhi\r\n
        S: 250
        C: QUIT
        S: 221 bye",
        &["+250"],
    );
}

// covers PB-29
#[test]
fn trouble_before_the_sender_leaves_it_to_the_next_host() {
    let error = check_unusable(
        "S: 554 not you\nC: QUIT\nX"
            .replace("C: QUIT\nX", "X")
            .as_str(),
    );
    assert!(
        matches!(&error, Unusable::Greeting(r) if r.code() == 554),
        "{error}"
    );
    let error = check_unusable("S: 421 too busy\nX");
    assert!(
        matches!(&error, Unusable::Greeting(r) if r.code() == 421),
        "{error}"
    );
    let ehlo = "S: 220 mx\nC: EHLO me.example.org";
    let error = check_unusable(&format!("{ehlo}\nS: 450 wait\nX"));
    assert!(
        matches!(&error, Unusable::Hello(r) if r.code() == 450),
        "{error}"
    );
    let error = check_unusable(&format!(
        "{ehlo}\nS: 250 mx\nC: MAIL FROM:<a@b.c>\nS: 421 closing\nX"
    ));
    assert!(
        matches!(&error, Unusable::Unavailable(r) if r.code() == 421),
        "{error}"
    );
    let error = check_unusable("S: hello there\nX");
    assert!(
        matches!(&error, Unusable::Lost(Lost::Junk(Stage::Greeting, _))),
        "{error}"
    );
    let error = check_unusable("X");
    assert!(
        matches!(&error, Unusable::Lost(Lost::Closed(_) | Lost::Broken(..))),
        "{error}"
    );
}

// covers OUT-36
#[test]
fn connection_lost_before_the_final_dot_leaves_it_to_the_next_host() {
    let start = "S: 220 mx\nC: EHLO me.example.org\nS: 250 mx\nC: MAIL FROM:<a@b.c>";
    let error = check_unusable(&format!("{start}\nX"));
    assert!(
        matches!(&error, Unusable::Lost(Lost::Closed(Stage::Mail))),
        "{error}"
    );
    let error = check_unusable(&format!(
        "{start}\nS: 250 ok\nC: RCPT TO:<x@y.z>\nS: 250 ok\nC: DATA\nX"
    ));
    assert!(
        matches!(&error, Unusable::Lost(Lost::Closed(Stage::Data))),
        "{error}"
    );
}

// covers PB-18
#[test]
fn silence_after_the_final_dot_is_in_doubt_and_not_for_the_next_host() {
    let attempt = check(
        false,
        &["<x@y.z>"],
        r"S: 220 mx
        C: EHLO me.example.org
        S: 250 mx
        C: MAIL FROM:<a@b.c>
        S: 250 ok
        C: RCPT TO:<x@y.z>
        S: 250 ok
        C: DATA
        S: 354 go
        D: A: b\r\n\r\nhi\r\n",
        &["~timeout waiting on the final dot"],
    );
    assert!(attempt.in_doubt);
}

// covers SMC-02
#[test]
fn silent_host_is_left_after_the_time_for_the_greeting() {
    let error = check_unusable("");
    assert!(
        matches!(&error, Unusable::Lost(Lost::Timeout(Stage::Greeting))),
        "{error}"
    );
}

#[test]
fn closing_421_at_rcpt_defers_whoever_has_no_result() {
    check(
        false,
        &["<x@y.z>", "<y@y.z>", "<w@y.z>"],
        r"S: 220 mx
        C: EHLO me.example.org
        S: 250 mx
        C: MAIL FROM:<a@b.c>
        S: 250 ok
        C: RCPT TO:<x@y.z>
        S: 550 no
        C: RCPT TO:<y@y.z>
        S: 421 4.3.2 shutting down
        X",
        &[
            "-550 no",
            "~421 4.3.2 shutting down",
            "~421 4.3.2 shutting down",
        ],
    );
}

#[test]
fn recipients_over_the_limit_of_the_host_go_in_another_transaction() {
    check(
        false,
        &["<x@y.z>", "<y@y.z>", "<w@y.z>"],
        r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx|250 PIPELINING
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<x@y.z>
        C: RCPT TO:<y@y.z>
        C: RCPT TO:<w@y.z>
        C: DATA
        S: 250 ok|250 ok|452 4.5.3 too many|452 4.5.3 too many|354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 first
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<y@y.z>
        C: RCPT TO:<w@y.z>
        C: DATA
        S: 250 ok|250 ok|552 5.2.2 mailbox full|354 go
        D: A: b\r\n\r\nhi\r\n
        S: 250 second
        C: QUIT
        S: 221 bye",
        &["+250 first", "+250 second", "-552 5.2.2 mailbox full"],
    );
}

// covers PB-63
#[test]
fn connection_carries_the_next_message_with_rset_only_after_an_unfinished_one() {
    let sink = Sink::start(&[r"S: 220 mx
        C: EHLO me.example.org
        S: 250-mx|250 PIPELINING
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<x@y.z>
        C: DATA
        S: 250 ok|250 ok|354 go
        D: A: b\r\n1\r\n
        S: 250 one
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<x@y.z>
        C: DATA
        S: 250 ok|550 no|554 no
        C: RSET
        C: MAIL FROM:<a@b.c>
        C: RCPT TO:<x@y.z>
        C: DATA
        S: 250 ok|250 ok|250 ok|354 go
        D: A: b\r\n3\r\n
        S: 250 three
        C: QUIT
        S: 221 bye"]);
    run(async {
        let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>"]));
        let mut client = Client::connect(
            &sink.target(false),
            &Approach::CLEAR,
            &settings(),
            "T".into(),
        )
        .await
        .unwrap();
        for (text, expected) in [
            ("1\r\n", "+250 one"),
            ("2\r\n", "-550 no"),
            ("3\r\n", "+250 three"),
        ] {
            assert!(client.is_usable());
            let attempt = Box::pin(client.send(&envelope(&from, &to), &message(text)))
                .await
                .unwrap();
            assert_eq!(shown(&attempt), [expected]);
        }
        assert_eq!(client.used(), 3);
        client.quit().await;
    });
    sink.done();
}

// covers OUT-33, SMC-09
#[test]
fn smtputf8_is_used_where_offered_and_needed() {
    let script = |mail: &str, rcpt: &str, offer: &str| {
        format!(
            r"S: 220 mx
            C: EHLO me.example.org
            S: 250-mx|250-8BITMIME|250 {offer}
            C: MAIL FROM:{mail}
            S: 250 ok
            C: RCPT TO:{rcpt}
            S: 250 ok
            C: DATA
            S: 354 go
            D: A: b\r\n\r\nhi\r\n
            S: 250 done
            C: QUIT
            S: 221 bye"
        )
    };
    check(
        false,
        &["<ü@exämple.com>"],
        &script("<a@b.c> SMTPUTF8", "<ü@exämple.com>", "SMTPUTF8"),
        &["+250 done"],
    );
    check(
        false,
        &["<x@y.z>"],
        &script("<a@b.c>", "<x@y.z>", "SMTPUTF8"),
        &["+250 done"],
    );
    check(
        false,
        &["<x@exämple.com>", "<ü@y.z>"],
        &script("<a@b.c>", "<x@xn--exmple-cua.com>", "HELP"),
        &[
            "+250 done",
            "-mx.example.com does not offer SMTPUTF8, which <ü@y.z> needs",
        ],
    );
}

#[test]
fn message_over_the_announced_size_is_not_offered() {
    let attempt = check(
        false,
        &["<x@y.z>"],
        "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 SIZE 11\nC: QUIT\nS: 221 bye",
        &["-message of 12 octets is over the limit of 11 of mx.example.com"],
    );
    assert_eq!(
        attempt.results[0].cause().unwrap().status.to_string(),
        "5.3.4"
    );
}

#[test]
fn thousand_recipients_do_not_block_each_other() {
    let to: Vec<String> = (0..1000)
        .map(|i| format!("<recipient-with-a-long-name-{i}@example.com>"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let long = "y".repeat(400);
    let mut script = String::from(
        "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 PIPELINING\nC: MAIL FROM:<a@b.c>\nS: 250 ok\n",
    );
    for to in &to {
        // answered one by one, with more octets than commands have
        script.push_str(&format!("C: RCPT TO:{to}\nS: 250 {long}\n"));
    }
    script.push_str(
        "C: DATA\nS: 354 go\nD: A: b\\r\\n\\r\\nhi\\r\\n\nS: 250 done\nC: QUIT\nS: 221 bye",
    );
    let expected = vec!["+250 done"; 1000];
    check(false, &to, &script, &expected);
}
