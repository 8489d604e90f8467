//! Which hosts are known by TLSA records, as far as the DNS vouches for them.

use crate::dns::TlsaRecord;
use crate::outbound::policy::dane::{Dane, Exchanges, of_host};
use crate::outbound::policy::testing::Zone;
use crate::rt::tests::run;

fn tlsa(usage: u8) -> TlsaRecord {
    TlsaRecord {
        usage,
        selector: 1,
        matching: 1,
        data: [7; 32].into(),
    }
}

fn zone() -> Zone {
    let zone = Zone::default();
    zone.mx("a.test", "mx.a.test");
    zone.address("mx.a.test", "192.0.2.1");
    zone.tlsa("_25._tcp.mx.a.test", tlsa(3));
    zone
}

const ALL: [&str; 3] = ["a.test", "mx.a.test", "_25._tcp.mx.a.test"];

fn judge(zone: &Zone, domain: &str, host: &str) -> Dane {
    run(async {
        let exchanges = Exchanges::of(zone, domain).await;
        of_host(zone, domain, &exchanges, host, 25).await
    })
}

/// The name that records were found under.
fn base(dane: &Dane) -> Option<&str> {
    match dane {
        Dane::Records { base, .. } => Some(base),
        _ => None,
    }
}

#[test]
fn records_count_when_every_step_to_them_is_signed() {
    let signed = zone();
    signed.secure(&ALL);
    assert_eq!(
        base(&judge(&signed, "a.test", "MX.a.test.")),
        Some("mx.a.test")
    );
    for missing in ALL {
        let partly = zone();
        let rest: Vec<_> = ALL.into_iter().filter(|n| *n != missing).collect();
        partly.secure(&rest);
        assert_eq!(
            judge(&partly, "a.test", "mx.a.test"),
            Dane::Absent,
            "{missing}"
        );
    }
}

#[test]
fn host_in_an_unsigned_zone_is_not_asked_for_tlsa_records() {
    let partly = zone();
    partly.secure(&["a.test", "_25._tcp.mx.a.test"]);
    judge(&partly, "a.test", "mx.a.test");
    assert_eq!(partly.asked(), ["a.test", "mx.a.test"]);
}

#[test]
fn answers_that_cannot_be_had_make_the_host_unusable() {
    for broken in ALL {
        let signed = zone();
        signed.secure(&ALL).broken(broken);
        match judge(&signed, "a.test", "mx.a.test") {
            Dane::Failed(why) => assert!(why.contains("SERVFAIL"), "{why}"),
            other => panic!("{broken}: {other:?}"),
        }
    }
    // Trouble with records that count for nothing is none.
    let unsigned = zone();
    unsigned.broken("_25._tcp.mx.a.test");
    assert_eq!(judge(&unsigned, "a.test", "mx.a.test"), Dane::Absent);
    let other = zone();
    other.secure(&ALL);
    assert!(matches!(
        judge(&other, "a.test", "evil.test"),
        Dane::Failed(_)
    ));
}

#[test]
fn records_that_mail_cannot_use_still_promise_tls() {
    let zone = Zone::default();
    zone.mx("a.test", "mx.a.test")
        .address("mx.a.test", "2001:db8::1")
        .secure(&ALL);
    assert_eq!(judge(&zone, "a.test", "mx.a.test"), Dane::Absent);
    zone.tlsa("_25._tcp.mx.a.test", tlsa(0))
        .tlsa("_25._tcp.mx.a.test", tlsa(1));
    assert_eq!(judge(&zone, "a.test", "mx.a.test"), Dane::Encrypt);
    zone.tlsa("_25._tcp.mx.a.test", tlsa(2));
    assert_eq!(
        base(&judge(&zone, "a.test", "mx.a.test")),
        Some("mx.a.test")
    );
}

#[test]
fn domain_without_mx_is_its_own_host() {
    let zone = Zone::default();
    zone.address("a.test", "192.0.2.1")
        .tlsa("_25._tcp.a.test", tlsa(3));
    assert_eq!(judge(&zone, "a.test", "a.test"), Dane::Absent);
    zone.secure(&["a.test", "_25._tcp.a.test"]);
    assert_eq!(base(&judge(&zone, "a.test", "a.test")), Some("a.test"));
}

// RFC 7672 §2.2.2
#[test]
fn aliases_of_hosts_are_followed_as_far_as_they_are_signed() {
    let make = || {
        let zone = Zone::default();
        zone.mx("a.test", "mx.a.test")
            .alias("mx.a.test", "host.b.test");
        zone.address("host.b.test", "192.0.2.1");
        zone.tlsa("_25._tcp.mx.a.test", tlsa(3))
            .tlsa("_25._tcp.host.b.test", tlsa(2));
        zone.secure(&["a.test", "_25._tcp.mx.a.test", "_25._tcp.host.b.test"]);
        zone
    };
    let all = make();
    all.secure(&["mx.a.test", "host.b.test"]);
    assert_eq!(
        base(&judge(&all, "a.test", "mx.a.test")),
        Some("host.b.test")
    );
    let alias_only = make();
    alias_only.secure(&["mx.a.test"]);
    assert_eq!(
        base(&judge(&alias_only, "a.test", "mx.a.test")),
        Some("mx.a.test")
    );
    let target_only = make();
    target_only.secure(&["host.b.test"]);
    assert_eq!(judge(&target_only, "a.test", "mx.a.test"), Dane::Absent);
}
