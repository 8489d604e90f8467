//! AUTH and XCLIENT with hosts that follow a script.

use haraka_shared::route::XClient;

use super::*;

fn with_login(offer: &mut Offer<'_>, auth_type: Option<&str>) {
    offer.route.auth_user = Some("tim".into());
    offer.route.auth_pass = Some("tanstaaftanstaaf".into());
    offer.route.auth_type = auth_type.map(str::to_owned);
}

fn offering(auth: &str) -> String {
    format!("S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250-PIPELINING|250 AUTH {auth}\n")
}

const PLAIN: &str = "C: AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\n";

// covers OUT-44, SMC-08
#[test]
fn every_mechanism_logs_in_and_the_delivery_is_told_so() {
    let cram = "C: AUTH CRAM-MD5\n\
                S: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\n\
                C: dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\nS: 235 ok\n";
    let login = "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dGlt\nS: 334 UGFzc3dvcmQ6\n\
                 C: dGFuc3RhYWZ0YW5zdGFhZg==\nS: 235 2.7.0 ok\n";
    let plain = format!("{PLAIN}S: 235 ok\n");
    for (offered, wanted, dialogue) in [
        ("PLAIN LOGIN CRAM-MD5", None, cram),
        ("PLAIN LOGIN", None, &*plain),
        ("PLAIN LOGIN CRAM-MD5", Some("plain"), &plain),
        ("PLAIN LOGIN CRAM-MD5", Some("login"), login),
        ("LOGIN", None, login),
    ] {
        let script = format!("{}{dialogue}{MAIL}{QUIT}", offering(offered));
        let sink = Sink::start(&[&script]);
        let mut offer = Offer::to(&sink, &Site::new());
        with_login(&mut offer, wanted);
        let attempt = offer.make_one();
        assert_eq!(attempt.tally(), (1, 0, 0), "{offered}: {attempt:?}");
        assert!(attempt.peer.unwrap().authenticated);
        sink.done();
    }
}

// covers OUT-44
#[test]
fn without_a_mechanism_in_common_the_message_goes_unauthenticated_unless_it_must_not() {
    for (auth, must) in [("GSSAPI", false), ("GSSAPI", true), ("", false), ("", true)] {
        let open = match auth {
            "" => "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 PIPELINING\n".to_owned(),
            auth => offering(auth),
        };
        let script = match must {
            false => format!("{open}{MAIL}{QUIT}"),
            true => format!("{open}X"),
        };
        let sink = Sink::start(&[&script]);
        let mut offer = Offer::to(&sink, &Site::new());
        with_login(&mut offer, None);
        offer.must_log_in = must;
        let attempt = offer.make_one();
        match must {
            false => {
                assert_eq!(attempt.tally(), (1, 0, 0));
                assert!(!attempt.peer.unwrap().authenticated);
            }
            true => assert!(
                deferral(&attempt).contains("AUTH configured"),
                "{attempt:?}"
            ),
        }
        sink.done();
    }
}

// covers OUT-44, PB-29
#[test]
fn refused_login_is_no_word_about_the_message() {
    for (reply, status) in [
        ("535 5.7.8 wrong", "4.7.8"),
        ("454 4.7.0 later", "4.7.0"),
        ("535 no", "4.0.0"),
    ] {
        let script = format!("{}{PLAIN}S: {reply}\n{QUIT}", offering("PLAIN"));
        let sink = Sink::start(&[&script]);
        let mut offer = Offer::to(&sink, &Site::new());
        with_login(&mut offer, None);
        let why = deferral(&offer.make_one());
        let expected = format!("{status} Tried all MXs (mx.example.com: AUTH failed: {reply})");
        assert_eq!(why, expected);
        sink.done();
    }
}

#[test]
fn challenge_that_makes_no_sense_is_taken_back() {
    let dialogue = "C: AUTH CRAM-MD5\nS: 334 ???\nC: *\nS: 501 5.7.0 cancelled\n";
    let script = format!("{}{dialogue}{QUIT}", offering("CRAM-MD5"));
    let sink = Sink::start(&[&script]);
    let mut offer = Offer::to(&sink, &Site::new());
    with_login(&mut offer, None);
    let why = deferral(&offer.make_one());
    assert!(why.contains("AUTH failed: 501 5.7.0 cancelled"), "{why}");
    sink.done();
}

// covers OUT-44
#[test]
fn long_password_waits_for_the_hosts_word() {
    let password = "p".repeat(400);
    let said = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("\0tim\0{password}"))
    };
    let dialogue = format!("C: AUTH PLAIN\nS: 334 \nC: {said}\nS: 235 ok\n");
    let script = format!("{}{dialogue}{MAIL}{QUIT}", offering("PLAIN"));
    let sink = Sink::start(&[&script]);
    let mut offer = Offer::to(&sink, &Site::new());
    with_login(&mut offer, None);
    offer.route.auth_pass = Some(password);
    assert!(offer.make_one().peer.unwrap().authenticated);
    sink.done();
}

// covers OUT-44, OUT-41
#[test]
fn login_is_made_under_tls_with_what_is_offered_there() {
    let made = self_signed(&named(NAME, &[NAME]));
    let again = "C: EHLO me.example.org\nS: 250-mx|250-PIPELINING|250 AUTH PLAIN\n";
    let script = format!("{OPEN}{START}{again}{PLAIN}S: 235 ok\n{MAIL}{QUIT}");
    let sink = Sink::under(Some(server(&made)), &[&script]);
    let mut offer = Offer::to(&sink, &Site::new());
    with_login(&mut offer, None);
    let attempt = offer.make_one();
    assert!(outcome(&attempt).is_secured() && attempt.peer.unwrap().authenticated);
    sink.done();
}

// covers SMC-05, SMC-06
#[test]
fn xclient_is_told_where_it_is_offered_and_the_connection_serves_that_client_only() {
    let open =
        "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250-PIPELINING|250 XCLIENT ADDR NAME\n";
    let taken = "C: XCLIENT ADDR=192.0.2.7\nS: 220 mx\nC: EHLO client.test\n\
                 S: 250-mx|250-PIPELINING|250 XCLIENT ADDR NAME\n";
    let refused = "C: XCLIENT ADDR=192.0.2.7\nS: 550 5.7.0 not you\n";
    let client = || {
        Some(XClient {
            addr: "192.0.2.7".parse().unwrap(),
            helo: Some("client.test".into()),
        })
    };
    for dialogue in [taken, refused] {
        let sink = Sink::start(&[&format!("{open}{dialogue}{MAIL}{MAIL}{QUIT}")]);
        let mut offer = Offer::to(&sink, &Site::new());
        offer.route.xclient = client();
        offer.times = 2;
        for attempt in offer.make() {
            assert_eq!(attempt.tally(), (1, 0, 0), "{attempt:?}");
        }
        sink.done();
    }
    let sink = Sink::start(&[&format!("{open}{MAIL}{QUIT}")]);
    let attempt = Offer::to(&sink, &Site::new()).make_one();
    assert_eq!(
        attempt.tally(),
        (1, 0, 0),
        "nobody to speak for: {attempt:?}"
    );
    sink.done();
}
