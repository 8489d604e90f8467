//! MTA-STS policies: fetched, shared, kept.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use haraka_shared::date::epoch_ms;

use crate::outbound::policy::report::{Failure, FailureType};
use crate::outbound::policy::sts::{Found, Sts};
use crate::outbound::policy::sts_store::{Kept, Store};
use crate::outbound::policy::sts_text::{Mode, StsPolicy};
use crate::outbound::policy::testing::{Authority, Web, Zone, page, scratch_dir};
use crate::outbound::policy::trust::Trust;
use crate::rt;
use crate::rt::tests::run;

const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 86400\n";
const TESTING: &str = "version: STSv1\nmode: testing\nmx: mx.a.test\nmax_age: 86400\n";
const NONE: &str = "version: STSv1\nmode: none\nmax_age: 86400\n";

struct Site {
    web: Web,
    zone: Zone,
    ca: PathBuf,
    dir: PathBuf,
}

impl Site {
    /// A web server with a certificate for this name, and a domain that announces policy 1.
    fn new(name: &str) -> Site {
        let authority = Authority::new();
        let (cert, key) = authority.issue(name, false);
        let site = Site {
            web: Web::start(cert, &key, &page(ENFORCE)),
            zone: Zone::default(),
            ca: authority.file(),
            dir: scratch_dir(),
        };
        site.zone.address("mta-sts.a.test", "127.0.0.1");
        site.announce("1");
        site
    }

    fn announce(&self, id: &str) {
        self.zone
            .txt("_mta-sts.a.test", &format!("v=STSv1; id={id};"));
    }

    /// What one worker knows.
    fn worker(&self) -> Sts {
        Sts::new(
            Rc::new(self.zone.clone()),
            self.store(),
            Rc::new(Trust::new(Some(self.ca.clone()))),
            self.web.address.port(),
        )
    }

    fn store(&self) -> Store {
        Store::at(self.dir.join("mta-sts"))
    }
}

fn mode(found: &Found) -> Option<Mode> {
    match found {
        Found::Policy(kept) => Some(kept.policy.mode),
        _ => None,
    }
}

fn failure(found: Found) -> Failure {
    match found {
        Found::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn announced_policy_is_fetched_once_and_shared_by_all_who_want_it() {
    let site = Site::new("mta-sts.a.test");
    run(async {
        let sts = site.worker();
        let both: Vec<_> = (0..5)
            .map(|_| {
                let sts = sts.clone();
                rt::spawn(async move { sts.policy_of("a.test").await })
            })
            .collect();
        for one in both {
            assert_eq!(mode(&one.await.unwrap()), Some(Mode::Enforce));
        }
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        // Another worker finds it on disk.
        assert_eq!(
            mode(&site.worker().policy_of("a.test").await),
            Some(Mode::Enforce)
        );
        assert_eq!(sts.policy_of("b.test").await, Found::Nothing);
    });
    let requests = site.web.requests();
    assert_eq!(requests.len(), 1);
    let expected = format!(
        "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.test:{}\r\n",
        site.web.address.port()
    );
    assert!(requests[0].starts_with(&expected), "{}", requests[0]);
}

#[test]
fn new_id_brings_the_new_policy() {
    let site = Site::new("mta-sts.a.test");
    run(async {
        let sts = site.worker();
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        site.web.answer(&page(TESTING));
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        site.announce("2");
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Testing));
        site.web.answer(&page(NONE));
        site.announce("3");
        assert_eq!(sts.policy_of("a.test").await, Found::Nothing);
    });
    assert_eq!(site.web.connections(), 3);
}

// RFC 8461 §5.1
#[test]
fn policy_stays_in_force_when_web_server_or_announcement_fail() {
    let site = Site::new("mta-sts.a.test");
    run(async {
        let sts = site.worker();
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        site.web.answer("HTTP/1.1 404 Gone\r\n\r\n");
        site.announce("2");
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        site.zone.txt("_mta-sts.a.test", "nothing of the kind");
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        site.zone.broken("_mta-sts.a.test");
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        assert_eq!(
            mode(&site.worker().policy_of("a.test").await),
            Some(Mode::Enforce)
        );
    });
}

#[test]
fn expired_policy_is_forgotten() {
    let site = Site::new("mta-sts.a.test");
    let old = Kept {
        id: "0".into(),
        fetched: epoch_ms() / 1000 - 86_401,
        policy: StsPolicy::parse(ENFORCE.as_bytes()).unwrap(),
    };
    site.store().write("a.test", &old, 0).unwrap();
    site.web.answer("HTTP/1.1 500 Oops\r\n\r\n");
    run(async {
        let found = site.worker().policy_of("a.test").await;
        let failure = failure(found);
        assert_eq!(failure.kind, FailureType::StsPolicyFetchError);
        assert_eq!(failure.why, "the answer has status 500");
    });
}

#[test]
fn policy_in_use_is_refreshed_without_anyone_waiting() {
    let site = Site::new("mta-sts.a.test");
    let stale = Kept {
        id: "1".into(),
        fetched: epoch_ms() / 1000 - 50_000,
        policy: StsPolicy::parse(ENFORCE.as_bytes()).unwrap(),
    };
    site.store().write("a.test", &stale, 0).unwrap();
    run(async {
        let sts = site.worker();
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
        let now = epoch_ms() / 1000;
        let newer = |kept: &Kept| kept.fetched > stale.fetched;
        while !site.store().read("a.test", now).is_some_and(|k| newer(&k)) {
            rt::sleep(std::time::Duration::from_millis(5)).await;
        }
        sts.policy_of("a.test").await;
    });
    assert_eq!(site.web.connections(), 1);
}

#[test]
fn failed_fetch_is_not_repeated_at_once_unless_the_id_changes() {
    let site = Site::new("mta-sts.a.test");
    site.web.answer(&page("version: STSv1\nmode: maybe\n"));
    run(async {
        let sts = site.worker();
        for _ in 0..3 {
            let failure = failure(sts.policy_of("a.test").await);
            assert_eq!(failure.kind, FailureType::StsPolicyInvalid);
            assert_eq!(failure.why, "policy has no valid mode");
        }
        assert_eq!(site.web.connections(), 1);
        site.web.answer(&page(ENFORCE));
        site.announce("2");
        assert_eq!(mode(&sts.policy_of("a.test").await), Some(Mode::Enforce));
    });
}

#[test]
fn web_server_has_to_prove_its_name_before_it_is_asked() {
    let wrong_name = Site::new("www.a.test");
    let unknown = Site {
        ca: Authority::new().file(),
        ..Site::new("mta-sts.a.test")
    };
    for site in [&wrong_name, &unknown] {
        run(async {
            let failure = failure(site.worker().policy_of("a.test").await);
            assert_eq!(failure.kind, FailureType::StsWebpkiInvalid);
            assert!(failure.why.contains("certificate"), "{}", failure.why);
        });
        assert!(site.web.requests().is_empty());
    }
    let missing = Site {
        ca: Path::new("/nonexistent/ca.pem").to_owned(),
        ..Site::new("mta-sts.a.test")
    };
    run(async {
        let failure = failure(missing.worker().policy_of("a.test").await);
        assert!(
            failure.why.starts_with("/nonexistent/ca.pem: "),
            "{}",
            failure.why
        );
    });
    assert_eq!(missing.web.connections(), 0);
}

#[test]
fn answers_that_are_no_policy_page_say_why() {
    let site = Site::new("mta-sts.a.test");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let answers = [
        (
            "HTTP/1.1 302 Found\r\nLocation: https://x/\r\n\r\n".to_owned(),
            "the answer has status 302",
        ),
        (
            page(ENFORCE).replace("text/plain", "text/html"),
            "the answer is \"text/html\", not text/plain",
        ),
        (
            page("<html>"),
            "line 1 of the policy is not \"name: value\"",
        ),
        (
            format!("{head}Content-Length: 70000\r\n\r\n"),
            "the answer is too long",
        ),
        (
            format!("{head}Content-Length: 700\r\n\r\n{ENFORCE}"),
            "the answer is cut short",
        ),
    ];
    for (n, (answer, why)) in answers.into_iter().enumerate() {
        site.web.answer(&answer);
        site.announce(&format!("n{n}"));
        run(async {
            let found = failure(site.worker().policy_of("a.test").await);
            assert_eq!(found.why, why, "{answer}");
        });
    }
}
