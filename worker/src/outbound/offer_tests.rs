//! Host after host, kept connections, and handing on, with hosts that follow a script.

use std::time::Duration;

use haraka_shared::route::{Host, Route};
use haraka_shared::services::ForwardError;

use super::attempt::RcptResult;
use super::offer::Courier;
use super::pool::Pool;
use super::route::Targets;
use super::testing::*;

fn courier() -> Courier {
    Courier::with_pool(settings(), Pool::keeping(Duration::from_millis(100)))
}

fn route(sink: &Sink) -> Route {
    Route {
        port: Some(sink.address.port()),
        ..Route::to(Host::Ip(sink.address.ip()))
    }
}

const HELLO: &str = "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 PIPELINING\n";
const QUIT: &str = "C: QUIT\nS: 221 bye";

fn accepted(reply: &str) -> String {
    format!(
        "C: MAIL FROM:<a@b.c>\nC: RCPT TO:<x@y.z>\nC: DATA\nS: 250 ok|250 ok|354 go\n\
         D: A: b\\r\\nhi\\r\\n\nS: {reply}\n"
    )
}

// covers OUT-31, PB-29
#[test]
fn next_host_is_asked_until_one_decides() {
    let refusing = Sink::start(&["S: 554 no service\nX"]);
    let closing = Sink::start(&["S: 220 mx\nC: EHLO me.example.org\nX"]);
    let deciding = Sink::start(&[&format!("{HELLO}{}{QUIT}", accepted("550 5.7.1 no"))]);
    let unasked = Sink::start(&[]);
    run(async {
        let (dns, routing, courier) = (GivenDns::default(), routing(), courier());
        let routes = [&refusing, &closing, &deciding, &unasked]
            .map(route)
            .to_vec();
        let mut targets = Targets::of_routes(&dns, routes, &routing);
        let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>"]));
        let attempt = courier
            .offer(&mut targets, &envelope(&from, &to), &message("hi\r\n"))
            .await;
        assert!(
            matches!(&attempt.results[..], [RcptResult::Failed(c)] if c.text == "550 5.7.1 no")
        );
        assert_eq!(attempt.peer.unwrap().port, deciding.address.port());
        deciding.over().await;
        assert!(courier.pool().is_empty());
    });
    [refusing, closing, deciding, unasked]
        .into_iter()
        .for_each(Sink::done);
}

// covers OUT-32
#[test]
fn when_no_host_is_left_all_recipients_are_deferred_with_the_last_cause() {
    let refusing = Sink::start(&["S: 554 no service\nX"]);
    run(async {
        let (dns, routing) = (GivenDns::default(), routing());
        let mut targets = Targets::of_routes(&dns, vec![route(&refusing)], &routing);
        let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>", "<y@y.z>"]));
        let attempt = courier()
            .offer(&mut targets, &envelope(&from, &to), &message("hi\r\n"))
            .await;
        assert_eq!(attempt.tally(), (0, 2, 0));
        assert!(attempt.peer.is_none());
        let cause = attempt.results[1].cause().unwrap();
        assert_eq!(cause.text, "Tried all MXs (127.0.0.1: 554 no service)");
        assert_eq!(cause.status.to_string(), "4.0.0");

        let mut nowhere = Targets::of_routes(&dns, vec![], &routing);
        let attempt = courier()
            .offer(&mut nowhere, &envelope(&from, &to), &message("hi\r\n"))
            .await;
        assert_eq!(attempt.results[0].cause().unwrap().text, "Tried all MXs");
    });
    refusing.done();
}

// covers PB-63
#[test]
fn kept_connection_serves_the_next_message_and_is_left_after_its_time() {
    let sink = Sink::start(&[&format!(
        "{HELLO}{}{}{QUIT}",
        accepted("250 one"),
        accepted("250 two")
    )]);
    run(async {
        let (dns, routing, courier) = (GivenDns::default(), routing(), courier());
        let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>"]));
        for expected in ["one", "two"] {
            let mut targets = Targets::of_routes(&dns, vec![route(&sink)], &routing);
            let attempt = courier
                .offer(&mut targets, &envelope(&from, &to), &message("hi\r\n"))
                .await;
            assert_eq!(attempt.response().unwrap().text(), expected);
            assert_eq!(courier.pool().len(), 1);
        }
        sink.over().await;
        assert!(courier.pool().is_empty());
    });
    sink.done();
}

#[test]
fn kept_connection_that_the_host_closed_is_replaced_by_a_new_one() {
    for parting in ["X", "S: 421 idle\nX"] {
        let first = format!("{HELLO}{}{parting}", accepted("250 one"));
        let second = format!("{HELLO}{}{QUIT}", accepted("250 two"));
        let sink = Sink::start(&[&first, &second]);
        run(async {
            let (dns, routing, courier) = (GivenDns::default(), routing(), courier());
            let (from, to) = (address("<a@b.c>"), addresses(&["<x@y.z>"]));
            for expected in ["one", "two"] {
                let mut targets = Targets::of_routes(&dns, vec![route(&sink)], &routing);
                let attempt = courier
                    .offer(&mut targets, &envelope(&from, &to), &message("hi\r\n"))
                    .await;
                assert_eq!(attempt.response().unwrap().text(), expected);
            }
            courier.pool().clear();
            sink.over().await;
        });
        sink.done();
    }
}

async fn hand_on(
    sink: &Sink,
    to: &[&str],
    one_per_recipient: bool,
) -> Result<String, ForwardError> {
    let (dns, routing, courier) = (GivenDns::default(), routing(), courier());
    let (from, to) = (address("<a@b.c>"), addresses(to));
    let (envelope, message) = (envelope(&from, &to), message("hi\r\n"));
    let done = courier
        .forward(
            &dns,
            &routing,
            route(sink),
            &envelope,
            &message,
            one_per_recipient,
        )
        .await;
    courier.pool().clear();
    sink.over().await;
    done.map(|f| f.reply.to_string())
}

#[test]
fn forwarding_sends_no_data_when_one_recipient_is_refused() {
    let sink = Sink::start(&[&format!(
        "{HELLO}C: MAIL FROM:<a@b.c>\nC: RCPT TO:<x@y.z>\nC: RCPT TO:<y@y.z>\nC: RCPT TO:<w@y.z>\n\
         S: 250 ok|250 ok|550 5.1.1 not y|250 ok\n{QUIT}"
    )]);
    let refused = run(hand_on(&sink, &["<x@y.z>", "<y@y.z>", "<w@y.z>"], false)).unwrap_err();
    assert!(matches!(refused, ForwardError::Refused(r) if r.to_string() == "550 5.1.1 not y"));
    sink.done();
}

// covers SMC-01
#[test]
fn forwarding_gives_the_reply_to_the_final_dot_and_asks_for_data_last() {
    let sink = Sink::start(&[&format!(
        "{HELLO}C: MAIL FROM:<a@b.c>\nC: RCPT TO:<x@y.z>\nC: RCPT TO:<y@y.z>\nS: 250 ok|250 ok|250 ok\n\
         C: DATA\nS: 354 go\nD: A: b\\r\\nhi\\r\\n\nS: 250 2.0.0 queued as 7\n{QUIT}"
    )]);
    let done = run(hand_on(&sink, &["<x@y.z>", "<y@y.z>"], false)).unwrap();
    assert_eq!(done, "250 2.0.0 queued as 7");
    sink.done();
}

#[test]
fn forwarding_one_by_one_uses_one_connection() {
    let one = |to: &str, n: u8| {
        format!(
            "C: MAIL FROM:<a@b.c>\nC: RCPT TO:<{to}>\nS: 250 ok|250 ok\nC: DATA\nS: 354 go\n\
             D: A: b\\r\\nhi\\r\\n\nS: 250 {n}\n"
        )
    };
    let sink = Sink::start(&[&format!(
        "{HELLO}{}{}{QUIT}",
        one("x@y.z", 1),
        one("y@y.z", 2)
    )]);
    let done = run(hand_on(&sink, &["<x@y.z>", "<y@y.z>"], true)).unwrap();
    assert_eq!(done, "250 2");
    sink.done();
}

#[test]
fn forwarding_to_a_dead_host_is_trouble_with_the_connection() {
    let sink = Sink::start(&["S: 554 no\nX"]);
    let error = run(hand_on(&sink, &["<x@y.z>"], false)).unwrap_err();
    assert!(matches!(error, ForwardError::Connection(_)), "{error}");
    sink.done();
}
