//! Permits, rooms and connections together, with a table of two seats: this worker's and another's.

use std::time::{Duration, Instant};

use haraka_shared::ledger::Ledger;
use haraka_shared::shaping::{Pool as Sources, Provider, Rule, WarmUp};
use haraka_shared::traffic::{Rate, Seat, Traffic};

use super::*;
use crate::outbound::testing::run;
use crate::rt;

struct Bench {
    shaper: Shaper,
    traffic: Arc<Traffic>,
    dir: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn bench(name: &str, rules: Shaping) -> Bench {
    let dir = std::env::temp_dir().join(format!("haraka-shaping-{}-{name}", std::process::id()));
    let traffic = Arc::new(Traffic::new(2).unwrap());
    let counted = Counted {
        traffic: Arc::clone(&traffic),
        ledger: Arc::new(Ledger::new(1).unwrap()),
        seat: Seat(0),
    };
    let shaper = Shaper::new(
        counted,
        Arc::new(rules),
        dir.clone(),
        Notify::new(),
        Pool::default(),
    );
    Bench {
        shaper,
        traffic,
        dir,
    }
}

fn rules(connections: u32, rate: Option<Rate>) -> Shaping {
    Shaping {
        providers: vec![Provider {
            name: "far".into(),
            mx: vec!["*.far.test".parse().unwrap()],
            rule: Rule {
                connections: Some(connections),
                rate,
                ..Rule::default()
            },
        }],
        ..Shaping::default()
    }
}

fn destination(domain: &str) -> Rc<Destination> {
    Destination::new(domain, Some("mx.far.test".to_owned()), false)
}

fn name(n: u64) -> QueueName {
    QueueName::parse(&format!("1700000000000_{n}_0_77_AbCdEf_1_mx.example")).unwrap()
}

impl Bench {
    fn park(&self, to: &Rc<Destination>, n: u64, denied: Denied) {
        let id = RoomId {
            provider: to.provider(&self.shaper.0.rules.borrow()).unwrap(),
            domain: None,
            pool: None,
        };
        let who = (name(n), Rc::clone(to.domain()));
        assert!(self.shaper.park(id, to, who, denied));
    }
}

// covers PB-51
#[test]
fn item_that_waited_starts_when_a_connection_of_this_worker_ends() {
    run(async {
        let bench = bench("ends", rules(1, None));
        let to = destination("a.test");
        let first = bench.shaper.admit(&to, None).ok().unwrap();
        let denied = bench
            .shaper
            .admit(&destination("b.test"), None)
            .err()
            .unwrap();
        assert_eq!((denied.why, &*denied.what), (Why::Connections, "far"));
        bench.park(&to, 1, denied.clone());
        bench.park(&to, 2, denied);
        assert!(bench.shaper.next(|_| true).is_none());
        assert_eq!(bench.shaper.waiting(), 2);
        drop(first);
        assert!(
            bench.shaper.next(|_| false).is_none(),
            "no room in its lane"
        );
        assert_eq!(bench.shaper.waiting(), 2);
        while bench.shaper.next_look().unwrap() > 0 {
            rt::sleep(Duration::from_millis(10)).await;
        }
        let (second, permit) = bench.shaper.next(|_| true).unwrap();
        assert_eq!(second, name(1), "first come, first served");
        assert!(bench.shaper.next(|_| true).is_none());
        drop(permit);
        assert_eq!(bench.shaper.next(|_| true).unwrap().0, name(2));
        assert_eq!(bench.shaper.next_look(), None);
    });
}

// covers PB-51
#[test]
fn connections_of_others_end_without_a_word_and_are_found_ended() {
    run(async {
        let bench = bench("others", rules(1, None));
        let to = destination("a.test");
        let limits = to.limits(&bench.shaper.0.rules.borrow(), None);
        let key = limits.counters[0].key;
        let other = bench.traffic.connect(Seat(1), key, 1, None, now()).unwrap();
        let denied = bench.shaper.admit(&to, None).err().unwrap();
        bench.park(&to, 1, denied);
        assert!(bench.shaper.next(|_| true).is_none());
        drop(other);
        let begun = Instant::now();
        while bench.shaper.next(|_| true).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(5));
            let look = bench.shaper.next_look().unwrap();
            assert!(look <= 2 * POLL, "{look}");
            rt::sleep(Duration::from_millis(5)).await;
        }
    });
}

// covers PB-51
#[test]
fn permit_that_comes_late_takes_another_turn() {
    run(async {
        let rate = Rate {
            count: 5,
            period_ms: 1000,
        };
        let bench = bench("late", rules(10, Some(rate)));
        let to = destination("a.test");
        let permit = bench.shaper.admit(&to, None).ok().unwrap();
        let denied = bench.shaper.admit(&to, None).err().unwrap();
        assert_eq!(denied.why, Why::Rate);
        assert!(permit.is_due().await, "just taken");
        let begun = Instant::now();
        assert!(permit.is_due().await, "a second host is offered it");
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(150), "{waited:?}");
    });
}

#[test]
fn permit_does_not_wait_for_a_turn_that_is_far_away() {
    run(async {
        let rate = Rate {
            count: 1,
            period_ms: 3_600_000,
        };
        let bench = bench("far", rules(10, Some(rate)));
        let permit = bench
            .shaper
            .admit(&destination("a.test"), None)
            .ok()
            .unwrap();
        assert!(permit.is_due().await);
        assert!(!permit.is_due().await);
    });
}

// covers PB-51
#[test]
fn sources_are_passed_over_that_have_sent_enough_or_are_suspended() {
    run(async {
        let source = |name: &str, messages| {
            Arc::new(Source {
                name: name.into(),
                address: "192.0.2.1".parse().unwrap(),
                helo: None,
                weight: 1,
                connections: None,
                rate: None,
                warm_up: Some(WarmUp {
                    begins: 0,
                    messages,
                    growth: 1.0,
                }),
            })
        };
        let mut rules = rules(100, None);
        rules.pools = vec![Sources {
            name: "p".to_owned(),
            sources: vec![source("a", 2), source("b/x", 1000), source("c", 1000)],
        }];
        let bench = bench("sources", rules);
        let to = destination("a.test");
        let limits = to.limits(&bench.shaper.0.rules.borrow(), Some(&source("c", 1000)));
        let counter = limits.counters.last().unwrap();
        bench
            .traffic
            .suspend(Seat(1), counter.key, now() + 60_000_000, now());
        let mut counts = std::collections::HashMap::<String, u32>::new();
        for _ in 0..40 {
            let permit = bench.shaper.admit(&to, Some("p")).ok().unwrap();
            assert!(permit.is_due().await);
            let name = permit.source().unwrap().name.to_string();
            *counts.entry(name).or_default() += 1;
        }
        assert_eq!(counts["a"], 2);
        assert_eq!(counts["b/x"], 38);
        // What was sent is known to one who has only the files.
        let again = super::WarmUps::new(bench.dir.clone());
        let counted = Counted {
            traffic: Arc::new(Traffic::new(1).unwrap()),
            ledger: Arc::new(Ledger::new(1).unwrap()),
            seat: Seat(0),
        };
        assert!(again.allows(&counted, &source("a", 2), now()).is_err());
        assert!(again.allows(&counted, &source("a", 3), now()).is_ok());
        assert!(again.allows(&counted, &source("b/x", 38), now()).is_err());
    });
}
