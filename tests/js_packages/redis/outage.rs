//! Redis that is not there, lets nobody in, or dies while it is used.

use super::karma::KARMA;
use super::senders::GREYLIST;
use super::*;

/// All that ask redis at some step, with little time for each hook.
const ALL: [&str; 5] = ["redis", "karma", "limit", "greylist", "known-senders"];

fn all_limits() -> String {
    "tarpit_delay=0\n[redis]\ndatabase=4\n[concurrency]\nenabled=true\nmax=5\n[rate_conn]\nenabled=true\ndefault=50/5m\n[rate_rcpt_host]\nenabled=true\ndefault=50/5m\n[rate_rcpt]\nenabled=true\ndefault=50/5m\n"
        .to_owned()
}

fn one_mail(side: &mut Side, ip: &str) {
    side.from(ip, |c| {
        c.mail("x.test", "ann@sender.com", &["c@here.test"], MESSAGE);
        c.quit();
    });
}

// covers PLG-13, PA-16
#[test]
fn neither_server_starts_without_redis() {
    if !installed() {
        return skip("there is no redis-server");
    }
    let redis = Redis::absent();
    let setup = Setup {
        plugins: &["redis", "limit"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("limit.ini", &all_limits()),
            ("plugin_timeout", "1\n"),
        ],
        volatile: &[],
    };
    let must = [
        "connect ECONNREFUSED 127.0.0.1",
        "Plugin redis timed out on hook init_master",
        "init_master returned error",
    ];
    neither_starts(&setup, &must);
}

// covers PLG-13
#[test]
fn mail_flows_without_a_redis_that_lets_nobody_in_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    redis.command(0, &["CONFIG", "SET", "requirepass", "secret"]);
    let setup = Setup {
        plugins: &["redis", "known-senders", "recipient-routes"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("known-senders.ini", "[ignored_ods]\n"),
            (
                "rcpt_to.routes.ini",
                "[routes]\nwhole.test=lmtp://10.0.0.2:24\n",
            ),
        ],
        volatile: &[],
    };
    let must = ["250 Message Queued", "250 recipient <x@whole.test> OK"];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("Redis connect failed: NOAUTH", 6);
        side.from("20.0.0.1", |c| {
            c.mail(
                "x.test",
                "ann@sender.com",
                &["c@here.test", "x@whole.test"],
                MESSAGE,
            );
            c.quit();
        });
    });
}

// covers PLG-13, PA-16
#[test]
fn sessions_go_on_when_redis_dies_and_comes_back_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let setup = Setup {
        plugins: &ALL,
        config: &[
            ("redis.ini", &ini(&redis)),
            ("karma.ini", &format!("{KARMA}[tarpit]\ndelay=0.01\n")),
            ("limit.ini", &all_limits()),
            ("greylist.ini", GREYLIST),
            ("known-senders.ini", "[redis]\ndb=6\n[ignored_ods]\n"),
            ("plugin_timeout", "2\n"),
        ],
        volatile: &["created", "updated"],
    };
    let redis = std::cell::RefCell::new(redis);
    same_as_haraka(&setup, None, &["250 Message Queued"], |side| {
        side.logged("connected to redis", 10);
        one_mail(side, "20.0.0.1");
        let workers = side.server().worker_pids();
        let followers = |number: usize| {
            wait_for("karma's connections of sessions", || {
                redis.borrow().followers() == number
            });
        };
        followers(0);
        let clients = redis.borrow().clients();
        let log = side.server().install().path().join("server.log");
        // Else it is chance whether a command was on its way.
        let lost = |times: usize| {
            wait_for("all connections to redis to be lost", || {
                let log = std::fs::read_to_string(&log).unwrap();
                let told = ["] Socket closed unexpectedly", "] read ECONNRESET"];
                told.map(|how| log.matches(how).count())
                    .iter()
                    .sum::<usize>()
                    >= times
            });
        };
        side.from("20.0.5.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "MAIL FROM:<ann@sender.com>"]);
            followers(1);
            let with_follower = redis.borrow().clients();
            redis.borrow_mut().kill();
            lost(with_follower);
            c.says(&["RCPT TO:<c@here.test>", "NOOP"]);
            c.data(MESSAGE);
            c.quit();
        });
        one_mail(side, "20.0.5.2");
        redis.borrow_mut().run();
        wait_for("all connections to redis", || {
            redis.borrow().clients() >= clients
        });
        one_mail(side, "20.0.5.3");
        kept(
            side,
            &redis.borrow(),
            &["4 rate_conn:20.0.5.3: T=1 ttl", "3 karma|20.0.5.3: "],
        );
        assert_eq!(side.server().worker_pids(), workers, "a worker died");
    });
}
