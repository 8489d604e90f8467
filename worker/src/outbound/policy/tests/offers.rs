//! Messages that are offered under policies.

use haraka_shared::date::epoch_ms;
use serde_json::Value;

use crate::dns::TlsaRecord;
use crate::outbound::attempt::Attempt;
use crate::outbound::offer::Courier;
use crate::outbound::policy::Scope;
use crate::outbound::policy::sts_store::{Kept, Store};
use crate::outbound::policy::sts_text::StsPolicy;
use crate::outbound::policy::testing::{Zone, policies, scratch_dir};
use crate::outbound::pool::Pool;
use crate::outbound::route::Targets;
use crate::outbound::testing::*;

/// A domain with two hosts, whose policy names the second only.
fn zone() -> Zone {
    let zone = Zone::default();
    zone.mx("a.test", "mx1.a.test").mx("a.test", "mx2.a.test");
    zone.address("mx1.a.test", "192.0.2.1")
        .address("mx1.a.test", "192.0.2.2");
    zone.address("mx2.a.test", "192.0.2.3");
    zone
}

fn cause(attempt: &Attempt) -> String {
    assert_eq!(attempt.tally(), (0, 1, 0));
    let cause = attempt.results[0].cause().unwrap();
    assert_eq!(cause.status.to_string(), "4.7.5");
    cause.text.clone()
}

#[test]
fn refused_hosts_are_passed_over_once_each_and_told_in_reports() {
    let dir = scratch_dir();
    let zone = zone();
    zone.txt("_smtp._tls.a.test", "v=TLSRPTv1; rua=mailto:tls@a.test");
    let policy = "version: STSv1\nmode: enforce\nmx: other.test\nmax_age: 86400\n";
    let kept = Kept {
        id: "1".into(),
        fetched: epoch_ms() / 1000,
        policy: StsPolicy::parse(policy.as_bytes()).unwrap(),
    };
    let store = Store::at(dir.join("mta-sts"));
    store.write("a.test", &kept, kept.fetched).unwrap();
    run(async {
        let policies = policies(&zone, &dir, None, 1);
        let destination = policies.of_domain("a.test").await;
        let (routing, courier) = (routing(), Courier::with_pool(settings(), Pool::default()));
        let scope = Scope::new(&policies, destination);
        let targets = Targets::of_domain(&zone, "a.test", &routing).await.unwrap();
        let (from, to) = (address("<a@b.c>"), addresses(&["<x@a.test>"]));
        let offered = courier
            .offer(
                &mut targets.under(scope),
                &envelope(&from, &to),
                &message("hi\r\n"),
            )
            .await;
        let text = cause(&offered);
        assert!(text.starts_with("Tried all MXs (mx"), "{text}");
        assert!(text.contains("TLS policy sts-enforce: mx"), "{text}");
        policies.write_counters().await;
    });
    let file = std::fs::read_dir(dir.join("tls-rpt"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in lines {
        assert_eq!(
            (&line["policy-type"], &line["count"]),
            (&"sts".into(), &1.into())
        );
        assert_eq!(line["result"], "validation-failure");
        assert_eq!(line["policy-string"][1], "mode: enforce");
    }
}

#[test]
fn records_of_one_host_say_nothing_about_another() {
    let zone = zone();
    zone.secure(&["a.test", "mx1.a.test", "mx2.a.test", "_25._tcp.mx1.a.test"]);
    let record = TlsaRecord {
        usage: 3,
        selector: 1,
        matching: 1,
        data: [1; 32].into(),
    };
    zone.tlsa("_25._tcp.mx1.a.test", record);
    run(async {
        let policies = policies(&zone, &scratch_dir(), None, 1);
        let destination = policies.of_domain("a.test").await;
        let mut scope = Scope::new(&policies, destination);
        let first = scope.judge(&"mx1.a.test".into()).await;
        let second = scope.judge(&"mx2.a.test".into()).await;
        assert_eq!((first.label(), second.label()), (Some("dane"), None));
        assert_eq!(*first.records(), [format!("3 1 1 {}", "01".repeat(32))]);
        let asked = zone.asked().len();
        assert_eq!(scope.judge(&"mx1.a.test".into()).await, first);
        assert_eq!(zone.asked().len(), asked);
    });
}
