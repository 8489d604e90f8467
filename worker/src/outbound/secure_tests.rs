//! TLS, and beside this file AUTH and XCLIENT, with hosts that follow a script on a real socket.

mod login;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::address::Address;
use haraka_shared::route::{Host, Route};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::attempt::{Attempt, RcptResult};
use super::client::ClientSettings;
use super::message::Envelope;
use super::offer::Courier;
use super::pool::Pool;
use super::route::Targets;
use super::testing::*;
use super::wish::TlsOutcome;
use crate::tls::testing::{Authority, Made, Site, named, self_signed, until};

const NAME: &str = "mx.example.com";

fn server(made: &Made) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der.clone()], key)
        .unwrap();
    Arc::new(config)
}

/// What a host may show, and what Node calls the trouble with it.
fn certificates(authority: &Authority) -> Vec<(&'static str, Made, Option<&'static str>)> {
    let other = Authority::new("Somebody else");
    let good = || named(NAME, &[NAME]);
    vec![
        ("good", authority.issue_as_it_is(good()), None),
        (
            "expired",
            authority.issue_as_it_is(until(good(), -2)),
            Some("CERT_HAS_EXPIRED"),
        ),
        (
            "wrong name",
            authority.issue_as_it_is(named("other.test", &["other.test"])),
            Some("ERR_TLS_CERT_ALTNAME_INVALID"),
        ),
        (
            "self-signed",
            self_signed(&good()),
            Some("DEPTH_ZERO_SELF_SIGNED_CERT"),
        ),
        (
            "wrong authority",
            other.issue_as_it_is(good()),
            Some("UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
        ),
    ]
}

/// A site that trusts this authority, with more in its tls.ini.
fn site(authority: &Authority, ini: &str) -> Site {
    let site = Site::new();
    site.write("ca.pem", &authority.pem);
    site.write("tls.ini", format!("ca=ca.pem\n{ini}"));
    site
}

const OPEN: &str = "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250-PIPELINING|250 STARTTLS\n";
const START: &str = "C: STARTTLS\nS: 220 go\nT\n";
const AGAIN: &str = "C: EHLO me.example.org\nS: 250-mx|250 PIPELINING\n";
const MAIL: &str = "C: MAIL FROM:<a@b.c>\nC: RCPT TO:<x@y.z>\nC: DATA\nS: 250 ok|250 ok|354 go\n\
                    D: A: b\\r\\nhi\\r\\n\nS: 250 taken\n";
const QUIT: &str = "C: QUIT\nS: 221 bye";

/// Offers one message to a host that is called mx.example.com.
struct Offer<'a> {
    sink: &'a Sink,
    settings: Rc<ClientSettings>,
    route: Route,
    force_tls: bool,
    must_log_in: bool,
    times: usize,
}

impl<'a> Offer<'a> {
    fn to(sink: &'a Sink, site: &Site) -> Offer<'a> {
        Offer {
            sink,
            settings: settings_with(site, |_| {}),
            route: Route::to(Host::Name(NAME.into())),
            force_tls: false,
            must_log_in: false,
            times: 1,
        }
    }

    fn make(self) -> Vec<Attempt> {
        let dns = GivenDns::default().host(NAME, &["127.0.0.1"]);
        let routing = routing();
        let pool = Pool::keeping(Duration::from_secs(5));
        let courier = Courier::with_pool(self.settings, pool);
        let (from, to): (Address, _) = (address("<a@b.c>"), addresses(&["<x@y.z>"]));
        let envelope = Envelope {
            force_tls: self.force_tls,
            must_log_in: self.must_log_in,
            ..envelope(&from, &to)
        };
        let route = Route {
            port: Some(self.sink.address.port()),
            ..self.route
        };
        run(async {
            let mut attempts = Vec::new();
            for _ in 0..self.times {
                let mut targets = Targets::of_routes(&dns, vec![route.clone()], &routing);
                let text = message("hi\r\n");
                let offering = Box::pin(courier.offer(&mut targets, &envelope, &text));
                attempts.push(offering.await);
            }
            courier.pool().clear();
            self.sink.over().await;
            attempts
        })
    }

    fn make_one(self) -> Attempt {
        self.make().remove(0)
    }
}

#[track_caller]
fn outcome(attempt: &Attempt) -> TlsOutcome {
    assert_eq!(attempt.tally(), (1, 0, 0), "{attempt:?}");
    attempt.peer.clone().unwrap().tls
}

#[track_caller]
fn deferral(attempt: &Attempt) -> String {
    match &attempt.results[..] {
        [RcptResult::Deferred(cause)] => format!("{} {}", cause.status, cause.text),
        other => panic!("{other:?}"),
    }
}

// covers OUT-41, OUT-43
#[test]
fn any_certificate_serves_opportunistic_tls_and_what_is_wrong_with_it_is_known() {
    let authority = Authority::new("Authority");
    for (what, made, wrong) in certificates(&authority) {
        let script = format!("{OPEN}{START}{AGAIN}{MAIL}{QUIT}");
        let sink = Sink::under(Some(server(&made)), &[&script]);
        let site = site(&authority, "");
        let attempt = Offer::to(&sink, &site).make_one();
        let TlsOutcome::Secured(tls) = outcome(&attempt) else {
            panic!("{what}");
        };
        assert_eq!(tls.verify_error.as_deref(), wrong, "{what}");
        assert_eq!(tls.verified, wrong.is_none(), "{what}");
        assert_eq!(tls.version, "TLSv1.3");
        assert!(tls.peer.as_ref().is_some_and(|p| !p.fingerprint.is_empty()));
        assert!(attempt.peer.unwrap().secured);
        sink.done();
    }
}

// covers OUT-42, TLS-14, PB-08, PB-09
#[test]
fn certificate_must_be_good_where_that_is_asked_for() {
    let authority = Authority::new("Authority");
    for (ini, force_tls) in [
        ("[outbound]\nrejectUnauthorized=true\n", false),
        ("rejectUnauthorized=true\n", false),
        ("[outbound]\nforce_tls_hosts[]=y.z\n", false),
        ("force_tls_hosts[]=mx.example.com\n", false),
        ("", true),
        // A bad certificate is no reason to go on in the clear.
        (
            "[outbound]\nrejectUnauthorized=true\n[redis]\ndisable_for_failed_hosts=true\n",
            false,
        ),
    ] {
        for (what, made, wrong) in certificates(&authority) {
            let script = format!("{OPEN}{START}{AGAIN}{MAIL}{QUIT}");
            let sink = Sink::under(Some(server(&made)), &[&script]);
            let site = site(&authority, ini);
            let mut offer = Offer::to(&sink, &site);
            offer.force_tls = force_tls;
            let attempt = offer.make_one();
            match wrong {
                None => assert!(outcome(&attempt).is_secured(), "{ini}"),
                Some(_) => {
                    let why = deferral(&attempt);
                    assert!(why.starts_with("4.7.5 Tried all MXs (mx.example.com: TLS handshake failed: invalid peer certificate"), "{what}, {ini}: {why}");
                }
            }
            sink.done();
        }
    }
}

// covers OUT-42, PB-09, PB-10
#[test]
fn forced_tls_that_cannot_be_had_defers_and_says_why() {
    let plain = "S: 220 mx\nC: EHLO me.example.org\nS: 250 mx\nC: QUIT\nS: 221 bye";
    let old = "S: 220 mx\nC: EHLO me.example.org\nS: 500 what\nC: HELO me.example.org\nS: 250 mx\n\
               C: QUIT\nS: 221 bye";
    let unwilling = format!("{OPEN}C: STARTTLS\nS: 454 4.7.0 not now\nC: QUIT\nS: 221 bye");
    let refusing = format!("{OPEN}C: STARTTLS\nS: 502 5.5.1 no\nC: QUIT\nS: 221 bye");
    for (script, said) in [
        (plain, "STARTTLS is not offered"),
        (old, "STARTTLS is not offered"),
        (&unwilling, "STARTTLS was answered with 454 4.7.0 not now"),
        (&refusing, "STARTTLS was answered with 502 5.5.1 no"),
    ] {
        let sink = Sink::start(&[script]);
        let site = Site::new();
        let mut offer = Offer::to(&sink, &site);
        offer.force_tls = true;
        assert_eq!(
            deferral(&offer.make_one()),
            format!(
                "4.7.5 Tried all MXs (mx.example.com: No TLS available but required (force_tls of \
                 the message): {said})"
            )
        );
        sink.done();
    }
}

// covers OUT-41, PB-29
#[test]
fn refused_starttls_goes_on_in_the_clear_over_the_same_connection() {
    for reply in ["454 4.7.0 not now", "502 5.5.1 no"] {
        let script = format!("{OPEN}C: STARTTLS\nS: {reply}\n{MAIL}{QUIT}");
        let sink = Sink::start(&[&script]);
        let attempt = Offer::to(&sink, &Site::new()).make_one();
        let TlsOutcome::Refused(said) = outcome(&attempt) else {
            panic!("{attempt:?}");
        };
        assert_eq!(said.to_string(), reply);
        assert!(!attempt.peer.unwrap().secured);
        sink.done();
    }
}

// covers OUT-41
#[test]
fn tls_is_left_alone_where_it_is_off_or_excepted_and_told_where_it_is_not_offered() {
    let plain = "S: 220 mx\nC: EHLO me.example.org\nS: 250-mx|250 PIPELINING\n";
    let script = format!("{plain}{MAIL}{QUIT}");
    let sink = Sink::start(&[&script]);
    let attempt = Offer::to(&sink, &Site::new()).make_one();
    assert_eq!(outcome(&attempt), TlsOutcome::NotOffered);
    sink.done();
    for (ini, starttls) in [
        ("[outbound]\nno_tls_hosts[]=mx.example.com\n", None),
        ("[outbound]\nno_tls_hosts[]=127.0.0.0/8\n", None),
        ("[outbound]\nno_tls_hosts[]=y.z\n", None),
        ("", Some(false)),
    ] {
        let sink = Sink::start(&[&format!("{OPEN}{MAIL}{QUIT}")]);
        let site = Site::new();
        site.write("tls.ini", ini);
        let mut offer = Offer::to(&sink, &site);
        offer.route.starttls = starttls;
        assert_eq!(outcome(&offer.make_one()), TlsOutcome::NotWanted, "{ini}");
        sink.done();
    }
}

// covers PA-46, TLS-16, OUT-36
#[test]
fn failed_handshake_is_remembered_and_the_host_served_in_the_clear_if_that_is_switched_on() {
    for ending in ["G: no TLS here", "X"] {
        let failing = format!("{OPEN}C: STARTTLS\nS: 220 go\n{ending}\nX");
        let clear = format!("{OPEN}{MAIL}{MAIL}{QUIT}");
        let sink = Sink::start(&[&failing, &clear]);
        let site = Site::new();
        site.write("tls.ini", "[redis]\ndisable_for_failed_hosts=true\n");
        let mut offer = Offer::to(&sink, &site);
        offer.times = 2;
        for attempt in offer.make() {
            assert_eq!(outcome(&attempt), TlsOutcome::NotWanted);
        }
        sink.done();

        // Without it, as in Haraka: never in the clear.
        let sink = Sink::start(&[&failing, &failing]);
        let mut offer = Offer::to(&sink, &Site::new());
        offer.times = 2;
        for attempt in offer.make() {
            let why = deferral(&attempt);
            assert!(why.contains("TLS handshake failed"), "{why}");
        }
        sink.done();
    }
}

// covers OUT-41, TLS-14
#[test]
fn host_that_speaks_older_versions_only_is_of_no_use_and_the_reason_is_told() {
    // RFC 8446 §6.2: protocol_version
    let script = format!("{OPEN}C: STARTTLS\nS: 220 go\nG: \u{15}\u{3}\u{2}\0\u{2}\u{2}F\nX");
    let sink = Sink::start(&[&script]);
    let why = deferral(&Offer::to(&sink, &Site::new()).make_one());
    assert!(
        why.contains("received fatal alert: ProtocolVersion"),
        "{why}"
    );
    sink.done();
}

#[test]
fn silent_host_in_the_handshake_costs_no_more_than_its_time() {
    let script = format!("{OPEN}C: STARTTLS\nS: 220 go");
    let sink = Sink::start(&[&format!("{script}\nW")]);
    let site = Site::new();
    let mut offer = Offer::to(&sink, &site);
    offer.settings = settings_with(&site, |s| s.timeouts.other = Duration::from_millis(50));
    let why = deferral(&offer.make_one());
    assert!(
        why.contains("TLS handshake failed: it took too long"),
        "{why}"
    );
    sink.done();
}

// covers OUT-41
#[test]
fn what_comes_in_the_clear_behind_the_reply_to_starttls_is_an_attack() {
    for force_tls in [false, true] {
        let sink = Sink::start(&[&format!(
            "{OPEN}C: STARTTLS\nS: 220 go|250-evil|250 AUTH PLAIN\nX"
        )]);
        let site = Site::new();
        site.write("tls.ini", "[redis]\ndisable_for_failed_hosts=true\n");
        let mut offer = Offer::to(&sink, &site);
        offer.force_tls = force_tls;
        let why = deferral(&offer.make_one());
        assert!(
            why.contains("octets in the clear behind the reply to STARTTLS"),
            "{why}"
        );
        sink.done();
    }
}

// covers OUT-41
#[test]
fn offers_made_in_the_clear_count_for_nothing_under_tls() {
    let authority = Authority::new("Authority");
    let made = self_signed(&named(NAME, &[NAME]));
    let open = "S: 220 mx\nC: EHLO me.example.org\n\
                S: 250-mx|250-PIPELINING|250-SIZE 1000|250-DSN|250 STARTTLS\n";
    let again = "C: EHLO me.example.org\nS: 250 mx\n";
    let mail = "C: MAIL FROM:<a@b.c>\nS: 250 ok\nC: RCPT TO:<x@y.z>\nS: 250 ok\nC: DATA\nS: 354 go\n\
                D: A: b\\r\\nhi\\r\\n\nS: 250 taken\n";
    let sink = Sink::under(
        Some(server(&made)),
        &[&format!("{open}{START}{again}{mail}{QUIT}")],
    );
    let attempt = Offer::to(&sink, &site(&authority, "")).make_one();
    assert!(outcome(&attempt).is_secured());
    assert!(!attempt.peer.unwrap().dsn);
    sink.done();
}

// covers TLS-10, TLS-13, TLS-14
#[test]
fn our_certificate_is_shown_to_whom_tls_ini_says() {
    let clients = Authority::new("Authority of clients");
    let ours = |name: &str| clients.issue(named(name, &[name]));
    let made = self_signed(&named(NAME, &[NAME]));
    let mut roots = RootCertStore::empty();
    roots.add(clients.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![made.der.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    for (ini, shown) in [
        ("", false),
        ("mutual_tls=true\n", true),
        ("[mutual_auth_hosts]\nmx.example.com\n", true),
        ("[mutual_auth_hosts]\nmx.example.com=second.test\n", true),
        ("[mutual_auth_hosts]\n127.0.0.1=second.test\n", true),
        (
            "mutual_tls=true\n[mutual_auth_hosts_exclude]\nmx.example.com\n",
            false,
        ),
        ("[outbound]\nkey=own.key\ncert=own.pem\n", true),
        (
            "[outbound]\nkey=own.key\ncert=own.pem\n[mutual_auth_hosts_exclude]\n127.0.0.1\n",
            false,
        ),
    ] {
        let script = format!("{OPEN}{START}{AGAIN}{MAIL}{QUIT}");
        let sink = Sink::under(Some(config.clone()), &[&script]);
        let site = Site::new();
        for (name, key, cert) in [
            ("first.test", "tls_key.pem", "tls_cert.pem"),
            ("second.test", "tls/second.key", "tls/second.pem"),
            ("third.test", "own.key", "own.pem"),
        ] {
            let made = ours(name);
            site.write(key, &made.key);
            site.write(cert, &made.cert);
        }
        site.write("tls.ini", ini);
        let attempt = Offer::to(&sink, &site).make_one();
        match shown {
            true => assert!(outcome(&attempt).is_secured(), "{ini}"),
            false => assert!(deferral(&attempt).contains("TLS handshake failed"), "{ini}"),
        }
        sink.done();
    }
}

// covers TLS-14
#[test]
fn lowest_version_and_ciphers_of_outbound_count() {
    use rustls::version::TLS12;
    let made = self_signed(&named(NAME, &[NAME]));
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_protocol_versions(&[&TLS12])
        .with_no_client_auth()
        .with_single_cert(vec![made.der.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let script = format!("{OPEN}{START}{AGAIN}{MAIL}{QUIT}");
    for (ini, cipher) in [
        ("", Some("ECDHE-ECDSA-AES256-GCM-SHA384")),
        (
            "[outbound]\nciphers=ECDHE-ECDSA-AES128-GCM-SHA256\n",
            Some("ECDHE-ECDSA-AES128-GCM-SHA256"),
        ),
        ("[outbound]\nminVersion=TLSv1.3\n", None),
        ("minVersion=TLSv1.3\n", None),
    ] {
        let sink = Sink::under(Some(config.clone()), &[&script]);
        let site = Site::new();
        site.write("tls.ini", ini);
        let attempt = Offer::to(&sink, &site).make_one();
        match cipher {
            Some(cipher) => match outcome(&attempt) {
                TlsOutcome::Secured(tls) => {
                    assert_eq!((tls.version, tls.cipher), ("TLSv1.2", cipher))
                }
                other => panic!("{other:?}"),
            },
            None => assert!(deferral(&attempt).contains("TLS handshake failed"), "{ini}"),
        }
        sink.done();
    }
}
