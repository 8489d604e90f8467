//! greylist and known-senders: who is known is kept in redis.

use super::*;

pub(super) const GREYLIST: &str = "
text=Come back later
[redis]
db=5
[period]
black=2
grey=60
white=600
[envelope_whitelist]
friend@sender.com
friends.com
[ip_whitelist]
20.0.5.0/24
[recipient_whitelist]
open@here.test
[special_dynamic_domains]
dyn.com
";

/// Longer than a host of `GREYLIST` is black; its times are whole seconds.
const BLACK: Duration = Duration::from_millis(3100);

// covers PLG-03, RES-04
#[test]
fn greylist_lets_in_who_comes_back_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let dns = FakeDns::start();
    dns.ptr("20.0.0.2", "out.mail.sender.com")
        .address("out.mail.sender.com", "20.0.0.2")
        .ptr("20.0.0.3", "a.dyn.com")
        .address("a.dyn.com", "20.0.0.3");
    let setup = Setup {
        plugins: &["redis", "fcrdns", "greylist"],
        config: &[("redis.ini", &ini(&redis)), ("greylist.ini", GREYLIST)],
        volatile: &["created", "updated", "first_connect"],
    };
    let must = [
        "451 4.7.1 Come back later",
        "\"hostid_type\":\"domain\"",
        "whitelisted",
        "config-whitelist(ip)",
        "config-whitelist(envelope)",
        "config-whitelist(recipient)",
    ];
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        side.logged("connected to redis", 4);
        let hosts = ["20.0.0.1", "20.0.0.2", "20.0.0.3"];
        // First, too early, late enough, known.
        for attempt in 0..4 {
            for ip in hosts {
                side.from(ip, |c| {
                    c.mail("x.test", "ann@sender.com", &["c@here.test"], MESSAGE);
                    c.quit();
                });
            }
            if attempt == 1 {
                // The time that a host is black is what is tested.
                std::thread::sleep(BLACK);
            }
        }
        // A host that is white sends anything.
        side.from("20.0.0.1", |c| {
            c.mail(
                "x.test",
                "other%one@sender.com",
                &["d@here.test", "e@here.test"],
                MESSAGE,
            );
            c.quit();
        });
        for (ip, from, to) in [
            ("20.0.5.1", "ann@sender.com", "c@here.test"),
            ("20.0.0.9", "friend@sender.com", "c@here.test"),
            ("20.0.0.9", "any@friends.com", "c@here.test"),
            ("20.0.0.9", "ann@sender.com", "open@here.test"),
            ("20.0.0.9", "", "c@here.test"),
            ("10.0.0.9", "ann@sender.com", "c@here.test"),
        ] {
            side.from(ip, |c| {
                c.mail("x.test", from, &[to], MESSAGE);
                c.quit();
            });
        }
        let white = "5 white:20.0.0.1: first_connect=T lifetime=600 tried=3 tried_when_greylisted=2 updated=T whitelisted=T ttl";
        kept(
            side,
            &redis,
            &[white, "5 white:mail.sender.com: ", "5 white:20.0.0.3: "],
        );
    });
}

// covers PLG-03
#[test]
fn known_senders_learns_from_outbound_mail_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let dns = FakeDns::start();
    dns.ptr("20.0.0.1", "mx.sender.com")
        .address("mx.sender.com", "20.0.0.1")
        .txt("policy.com", "v=spf1 ip4:20.0.0.2 -all")
        .address("policy.com", "20.0.0.2")
        .txt(
            "rsa._domainkey.sender.com",
            include_str!("known/key.txt").trim(),
        );
    let setup = Setup {
        plugins: &["redis", "outward", "fcrdns", "spf", "dkim", "known-senders"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("../plugins/outward.js", &OUTWARD.replace("PORT", "1")),
            (
                "known-senders.ini",
                "[redis]\ndb=6\n[ignored_ods]\nignored.com\n",
            ),
            ("host_list", "here.test\nexample.com\n"),
            (
                "dkim.ini",
                "[sign]\nenabled=false\n[verify]\nenabled=true\ntimeout=10\n",
            ),
        ],
        volatile: &["human", "human_html"],
    };
    let signed = include_str!("known/signed.eml").trim_end_matches('\n');
    let must = [
        "known-senders {\"auth\":\"fcrdns\",\"count\":\"2\"",
        "known-senders {\"auth\":\"spf\",\"count\":\"1\"",
        "known-senders {\"auth\":\"dkim\",\"count\":\"2\"",
    ];
    let outbound = |side: &mut Side| {
        for to in [
            &["x@sender.queued.com"] as &[_],
            &[
                "x@queued.com",
                "a@mx.sender.com",
                "b@sender.com",
                "b@policy.com",
            ],
            &["x@queued.com", "a@sender.com"],
        ] {
            for from in ["ann@mail.example.com", "ann@ignored.com", ""] {
                side.from("20.0.7.1", |c| {
                    c.mail("example.com", from, to, MESSAGE);
                    c.quit();
                });
            }
        }
    };
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        side.logged("connected to redis", 4);
        outbound(side);
        for (ip, from, to, message) in [
            ("20.0.0.1", "x@sender.com", "c@example.com", MESSAGE),
            ("20.0.0.2", "x@policy.com", "c@example.com", MESSAGE),
            ("20.0.0.3", "x@policy.com", "c@example.com", MESSAGE),
            ("20.0.0.4", "x@sender.com", "c@example.com", signed),
            ("20.0.0.4", "x@sender.com", "c@here.test", signed),
            ("20.0.0.4", "x@other.com", "c@example.com", signed),
            ("20.0.0.1", "", "c@example.com", MESSAGE),
        ] {
            side.from(ip, |c| {
                c.mail("mx.sender.com", from, &[to], message);
                c.quit();
            });
        }
        kept(
            side,
            &redis,
            &["6 example.com: policy.com=1 queued.com=3 sender.com=2"],
        );
    });
}
