//! Routing with a DNS whose answers are given.

use haraka_shared::config::InetPrefer;
use haraka_shared::route::Route;
use haraka_shared::services::DnsError;

use super::hooks_before::Own;
use super::route::{NoRoute, Place, RouteSettings, Target, Targets};
use super::testing::{GivenDns, routing, run};

fn shown(target: &Target) -> String {
    match &target.place {
        Place::Socket(address) => format!("{} {address}", target.host),
        Place::Path(path) => path.display().to_string(),
    }
}

async fn all(mut targets: Targets<'_>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(target) = targets.next().await {
        found.push(shown(&target));
    }
    found
}

fn check_with(
    dns: &GivenDns,
    domain: &str,
    settings: &RouteSettings,
    expected: Result<&[&str], NoRoute>,
) {
    let got = run(async {
        match Targets::of_domain(dns, domain, settings).await {
            Ok(targets) => Ok(all(targets).await),
            Err(e) => Err(e),
        }
    });
    assert_eq!(
        got,
        expected.map(|t| t.iter().map(|&s| s.to_owned()).collect()),
        "{domain}"
    );
}

fn check(dns: &GivenDns, domain: &str, expected: Result<&[&str], NoRoute>) {
    check_with(dns, domain, &routing(), expected);
}

// covers OUT-21, OUT-25
#[test]
fn hosts_come_by_preference_with_ipv6_first_and_dead_names_left_out() {
    let dns = GivenDns::default()
        .mx(
            "example.com",
            &[
                (20, "b.example.com"),
                (10, "A.Example.com."),
                (15, "gone.example.com"),
            ],
        )
        .host("a.example.com", &["192.0.2.1", "2001:db8::1"])
        .host("b.example.com", &["192.0.2.2"]);
    check(
        &dns,
        "example.com",
        Ok(&[
            "a.example.com [2001:db8::1]:25",
            "a.example.com 192.0.2.1:25",
            "b.example.com 192.0.2.2:25",
        ]),
    );
    let v4 = RouteSettings {
        prefer: InetPrefer::V4,
        ..routing()
    };
    check_with(
        &dns,
        "example.com",
        &v4,
        Ok(&[
            "a.example.com 192.0.2.1:25",
            "a.example.com [2001:db8::1]:25",
            "b.example.com 192.0.2.2:25",
        ]),
    );
}

#[test]
fn later_hosts_are_not_looked_up_before_they_are_needed() {
    let dns = GivenDns::default()
        .mx("example.com", &[(1, "a.example.com"), (2, "b.example.com")])
        .host("a.example.com", &["192.0.2.1"])
        .host("b.example.com", &["192.0.2.2"]);
    let settings = routing();
    run(async {
        let mut targets = Targets::of_domain(&dns, "example.com", &settings)
            .await
            .unwrap();
        targets.next().await.unwrap();
        assert_eq!(
            *dns.asked.borrow(),
            ["MX example.com", "AAAA a.example.com", "A a.example.com"]
        );
    });
}

// covers OUT-21, OUT-22
#[test]
fn domain_without_mx_is_its_own_host_and_one_without_anything_has_no_route() {
    let mut dns = GivenDns::default()
        .host("host.example", &["192.0.2.5"])
        .host("empty.example", &[]);
    dns.mx.insert("host.example".into(), Err(DnsError::NoData));
    dns.mx.insert("empty.example".into(), Ok(vec![]));
    check(&dns, "host.example", Ok(&["host.example 192.0.2.5:25"]));
    check(
        &dns,
        "empty.example",
        Err(NoRoute::Nowhere("empty.example".into())),
    );
    check(
        &dns,
        "gone.example",
        Err(NoRoute::NoSuchDomain("gone.example".into())),
    );
    // as in a hosts file
    let dns = GivenDns::default().host("lan.example", &["192.0.2.6"]);
    check(&dns, "lan.example", Ok(&["lan.example 192.0.2.6:25"]));
}

// covers OUT-22
#[test]
fn dns_in_trouble_is_never_final() {
    let trouble = || DnsError::Temporary("SERVFAIL".into());
    let mut dns = GivenDns::default();
    dns.mx.insert("a.example".into(), Err(trouble()));
    dns.mx.insert("b.example".into(), Err(DnsError::NoSuchName));
    dns.a.insert("b.example".into(), Err(trouble()));
    for domain in ["a.example", "b.example"] {
        check(
            &dns,
            domain,
            Err(NoRoute::Temporary(format!("{domain}: SERVFAIL"))),
        );
    }
    let cause = NoRoute::Temporary("x".into()).cause();
    assert_eq!(
        (cause.status.class(), &*cause.text),
        (4, "DNS lookup failure: x")
    );
}

// covers OUT-23
#[test]
fn null_mx_is_final_with_its_own_status() {
    let dns = GivenDns::default()
        .mx("null.example", &[(0, "")])
        .mx("odd.example", &[(0, "."), (5, "")]);
    check(
        &dns,
        "null.example",
        Err(NoRoute::NullMx("null.example".into())),
    );
    let none = NoRoute::NullMx("null.example".into());
    assert_eq!(none.cause().status.to_string(), "5.1.10");
    check(
        &dns,
        "odd.example",
        Err(NoRoute::Nowhere("odd.example".into())),
    );
}

#[test]
fn literals_and_international_names_are_understood() {
    let dns = GivenDns::default()
        .mx("xn--exmple-cua.com", &[(1, "mx.example.com")])
        .host("mx.example.com", &["192.0.2.1"]);
    check(&dns, "exämple.com", Ok(&["mx.example.com 192.0.2.1:25"]));
    check(&dns, "[192.0.2.77]", Ok(&["192.0.2.77 192.0.2.77:25"]));
    check(
        &dns,
        "[IPv6:2001:db8::7]",
        Ok(&["2001:db8::7 [2001:db8::7]:25"]),
    );
    check(&dns, "[192.0.2.99]", Ok(&[]));
}

// covers OUT-27, PB-66
#[test]
fn this_server_and_what_comes_after_it_are_skipped_in_dns_results_only() {
    let dns = GivenDns::default()
        .mx(
            "example.com",
            &[
                (1, "a.example.com"),
                (2, "alias.example.com"),
                (3, "b.example.com"),
            ],
        )
        .mx(
            "own.example",
            &[(1, "Me.Example.ORG"), (2, "b.example.com")],
        )
        .host("a.example.com", &["192.0.2.1"])
        .host("alias.example.com", &["192.0.2.99"])
        .host("me.example.org", &["192.0.2.99"])
        .host("b.example.com", &["192.0.2.2"]);
    check(&dns, "example.com", Ok(&["a.example.com 192.0.2.1:25"]));
    check(&dns, "own.example", Ok(&[]));
    let ok = RouteSettings {
        local_mx_ok: true,
        ..routing()
    };
    check_with(
        &dns,
        "example.com",
        &ok,
        Ok(&[
            "a.example.com 192.0.2.1:25",
            "alias.example.com 192.0.2.99:25",
            "b.example.com 192.0.2.2:25",
        ]),
    );
    let settings = routing();
    let given = ["me.example.org:26", "127.0.0.1:2525"].map(|r| Route::parse(r).unwrap());
    let found = run(all(Targets::of_routes(&dns, given.to_vec(), &settings)));
    assert_eq!(
        found,
        ["me.example.org 192.0.2.99:26", "127.0.0.1 127.0.0.1:2525"]
    );
}

// covers OUT-24, OUT-29, PA-45
#[test]
fn routes_of_a_plugin_keep_their_order_and_ports() {
    let dns = GivenDns::default()
        .host("z.example", &["192.0.2.1"])
        .host("a.example", &["192.0.2.2"]);
    let mut routes: Vec<_> = ["z.example", "lmtp://a.example", "/run/lmtp.sock"]
        .iter()
        .map(|r| Route::parse(r).unwrap())
        .collect();
    routes[0].preference = 99;
    let settings = routing();
    let found = run(all(Targets::of_routes(&dns, routes, &settings)));
    assert_eq!(
        found,
        [
            "z.example 192.0.2.1:25",
            "a.example 192.0.2.2:24",
            "/run/lmtp.sock"
        ]
    );
}

#[test]
fn number_of_addresses_is_bounded_and_none_comes_twice() {
    let many: Vec<String> = (0..50).map(|i| format!("192.0.2.{}", i % 40)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let dns = GivenDns::default()
        .mx("example.com", &[(1, "a.example.com")])
        .host("a.example.com", &many);
    let settings = routing();
    let mut found = run(async {
        all(Targets::of_domain(&dns, "example.com", &settings)
            .await
            .unwrap())
        .await
    });
    assert_eq!(found.len(), 20);
    found.dedup();
    assert_eq!(found.len(), 20);
}

// covers OUT-30, RES-08
#[test]
fn address_and_name_of_the_notes_are_used_whoever_gave_the_route() {
    let own = Own {
        bind: Some("192.0.2.9".parse().unwrap()),
        helo: Some("noted.test".to_owned()),
    };
    let dns = GivenDns::default()
        .mx("example.com", &[(10, "a.example.com")])
        .host("a.example.com", &["192.0.2.1"])
        .host("bare.example.com", &["192.0.2.2"]);
    let routing = routing();
    run(async {
        for domain in ["example.com", "bare.example.com"] {
            let targets = Targets::of_domain(&dns, domain, &routing).await.unwrap();
            let target = targets.showing(&own).next().await.unwrap();
            assert_eq!(target.route.bind, own.bind, "{domain}");
            assert_eq!(target.route.bind_helo, own.helo, "{domain}");
        }
        let given = Route {
            bind: Some("192.0.2.8".parse().unwrap()),
            bind_helo: Some("given.test".to_owned()),
            ..Route::parse("192.0.2.3").unwrap()
        };
        let targets = Targets::of_routes(&dns, vec![given], &routing);
        let target = targets.showing(&own).next().await.unwrap();
        // The route's address is the newer way to say it; the note's name wins, as in Haraka.
        assert_eq!(target.route.bind, Some("192.0.2.8".parse().unwrap()));
        assert_eq!(target.route.bind_helo, own.helo);
    });
}
