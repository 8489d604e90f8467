//! Packages that keep what they know in redis: limit, karma, greylist, known-senders, recipient-routes, and
//! redis itself, which the others inherit from. Both servers find the same, empty redis-server, and have
//! to leave the same keys behind.

use std::time::Duration;

use crate::harness::redis::{Follower, Redis, ini, installed, unix_ini};
use crate::harness::{FakeDns, Rule, Sink, Stage, poll_until, skip, wait_for};
use crate::side::{Recorded, Setup, Side, neither_starts, same_as_haraka};

const MESSAGE: &str = "From: Ann <ann@sender.com>\nTo: c@here.test\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: hi\nMessage-ID: <1@sender.com>\n\nbody";

/// How long what was sent to redis may take to be there.
const KEPT: Duration = Duration::from_secs(5);

/// The least that a delay of a second takes.
const TARPIT: Duration = Duration::from_millis(950);

/// Records what redis keeps, once it has all of `wanted`, and forgets it. Times are masked.
#[track_caller]
fn kept(side: &mut Side, redis: &Redis, wanted: &[&str]) {
    let all = || {
        let lines: Vec<_> = redis.kept().iter().map(|line| timeless(line)).collect();
        let there = |text: &&str| lines.iter().any(|line| line.contains(*text));
        wanted.iter().all(there).then_some(lines)
    };
    match poll_until(KEPT, all) {
        Some(lines) => lines
            .iter()
            .for_each(|line| side.note(&format!("kept {line}"))),
        None => panic!("redis lacks one of {wanted:?}: {:#?}", redis.kept()),
    }
    redis.clear();
}

/// With T for what is a time in seconds or milliseconds.
fn timeless(line: &str) -> String {
    let digits = |c: char| c.is_ascii_digit();
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(digits) {
        let (before, from) = rest.split_at(at);
        let length = from.find(|c| !digits(c)).unwrap_or(from.len());
        let (number, after) = from.split_at(length);
        out.push_str(before);
        out.push_str(if [10, 13].contains(&length) {
            "T"
        } else {
            number
        });
        rest = after;
    }
    out + rest
}

// covers PLG-03, PLG-10
#[test]
fn limits_of_errors_commands_and_recipients_hold_as_with_haraka() {
    let setup = Setup {
        plugins: &["limit"],
        config: &[(
            "limit.ini",
            "tarpit_delay=0\n[recipients]\nenabled=true\nmax=2\n[unrecognized_commands]\nenabled=true\nmax=2\n",
        )],
        volatile: &[],
    };
    let must = [
        "Too many unrecognized commands",
        "Too many recipient attempts",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&[
                "EHLO x.test",
                "MAIL FROM:<a@b.test>",
                "RCPT TO:<a@here.test>",
                "RCPT TO:<b@here.test>",
                "RCPT TO:<c@here.test>",
                "RCPT TO:<d@here.test>",
                "QUIT",
            ]);
        });
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["WHAT", "IS", "THIS", "FOR", "QUIT"]);
        });
    });
    let setup = Setup {
        plugins: &["limit"],
        config: &[(
            "limit.ini",
            "tarpit_delay=1\n[errors]\nenabled=true\nmax=2\n",
        )],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["Too many errors"], |side| {
        for last in [
            "EHLO x.test",
            "MAIL FROM:<a@b.test>",
            "RCPT TO:<a@here.test>",
            "DATA",
        ] {
            side.from("20.0.0.1", |c| {
                c.greeting();
                if last != "EHLO x.test" {
                    c.says(&["HELO x.test"]);
                }
                if last.starts_with("RCPT") || last == "DATA" {
                    c.says(&["MAIL FROM:<a@b.test>", "RCPT TO:<c@here.test>"]);
                }
                c.says(&["WHAT", "IS", "THIS"]);
                c.says_slowly(last, TARPIT);
                c.says(&["QUIT"]);
            });
        }
    });
}

// covers PLG-03, RES-05
#[test]
fn two_workers_count_connections_together_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let setup = Setup {
        plugins: &["redis", "history", "limit"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("smtp.ini", "listen=127.0.0.1:0\nnodes=2\n"),
            ("../plugins/history.js", HISTORY),
            (
                "limit.ini",
                "tarpit_delay=1\n[redis]\ndatabase=4\n[concurrency]\nenabled=true\nmax=2\n[concurrency_history]\nenabled=true\nplugin=history\ngood=3\nbad=1\nnone=2\n",
            ),
        ],
        volatile: &["history"],
    };
    let must = ["Too many concurrent connections", "concurrent\":\"3/2"];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 6);
        let one = side.hold("20.0.0.1");
        let two = side.hold("20.0.0.1");
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "QUIT"]);
        });
        // Someone else may.
        side.from("20.0.0.2", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "QUIT"]);
        });
        side.ended(two);
        side.ended(one);
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["QUIT"]);
        });
        // Who was good may have more, who was bad less.
        let good = side.hold("20.0.1.1");
        let again = side.hold("20.0.1.1");
        side.from("20.0.1.1", |c| {
            c.greeting();
            c.says(&["QUIT"]);
        });
        side.ended(good);
        side.ended(again);
        let bad = side.hold("20.0.2.1");
        side.from("20.0.2.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "QUIT"]);
        });
        side.ended(bad);
        kept(
            side,
            &redis,
            &["4 concurrency|20.0.0.1: 0 ttl", "4 concurrency|20.0.2.1: 0"],
        );
    });
}

/// Says of each network whether it was good.
const HISTORY: &str = "
exports.hook_connect_init = function (next, connection) {
    const history = { '20.0.1': 5, '20.0.2': -5 }[connection.remote.ip.replace(/\\.\\d+$/, '')] ?? 0
    connection.results.add(this, { history })
    next()
}
";

// covers PLG-03
#[test]
fn rates_of_connections_and_recipients_hold_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let setup = Setup {
        plugins: &["limit"],
        config: &[
            ("redis.ini", &ini(&redis)),
            (
                "limit.ini",
                "tarpit_delay=0\n[redis]\ndatabase=4\n[rate_conn]\nenabled=true\ndefault=2/5m\n20.0.9=0\n20.0.8.1=odd\n[rate_rcpt_host]\nenabled=true\ndefault=3/5m\n[rate_rcpt_sender]\nenabled=true\ndefault=2/5m\nfree@b.test=0\n[rate_rcpt]\nenabled=true\ndefault=4/5m\n[rate_rcpt_null]\nenabled=true\ndefault=1\n",
            ),
        ],
        volatile: &[],
    };
    let must = [
        "connection rate limit exceeded",
        "recipient rate limit exceeded",
        "rcpt rate limit exceeded",
        "null recip rate limit",
        "450 rate limit exceeded",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 2);
        for ip in [
            "20.0.0.1",
            "20.0.0.1",
            "20.0.0.1",
            "2001:db8::7",
            "20.0.8.1",
        ] {
            side.from(ip, |c| {
                c.greeting();
                c.says(&["EHLO x.test", "QUIT"]);
            });
        }
        kept(side, &redis, &["rate_conn:20.0.0.1: T=1 T=1 T=1 ttl"]);
        // A sender's recipients, and then the host is over its own rate at its next connection.
        for _ in 0..2 {
            side.from("20.0.9.1", |c| {
                c.greeting();
                c.says(&[
                    "EHLO x.test",
                    "MAIL FROM:<a@b.test>",
                    "RCPT TO:<a@here.test>",
                    "RCPT TO:<b@here.test>",
                    "RCPT TO:<c@here.test>",
                    "RSET",
                    "MAIL FROM:<>",
                    "RCPT TO:<a@here.test>",
                    "RCPT TO:<a@here.test>",
                    "QUIT",
                ]);
            });
        }
        side.from("20.0.9.2", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "MAIL FROM:<free@b.test>"]);
            for _ in 0..5 {
                c.says(&["RCPT TO:<a@here.test>"]);
            }
            c.quit();
        });
        kept(side, &redis, &["4 rate_rcpt:a@here.test: "]);
    });
}

// covers PLG-03
#[test]
fn routes_from_the_file_and_from_redis_are_followed_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let file = "[redis]\nenabled=ENABLED\n[routes]\nmatt@other.test=10.0.0.1:25\nwhole.test=lmtp://10.0.0.2:24\n";
    for enabled in ["false", "true"] {
        let file = file.replace("ENABLED", enabled);
        let setup = Setup {
            plugins: &["recipient-routes"],
            config: &[("redis.ini", &ini(&redis)), ("rcpt_to.routes.ini", &file)],
            volatile: &[],
        };
        let must: &[&str] = match enabled {
            "true" => &["redis.email", "redis.domain", "file.domain"],
            _ => &["file.email", "file.domain"],
        };
        same_as_haraka(&setup, None, must, |side| {
            if enabled == "true" {
                side.logged("connected to redis", 2);
            }
            redis.command(0, &["SET", "mary@kept.test", "10.0.0.3:25"]);
            redis.command(0, &["SET", "held.test", "smtp://10.0.0.4:26"]);
            side.from("20.0.0.1", |c| {
                c.greeting();
                c.says(&[
                    "EHLO x.test",
                    "MAIL FROM:<a@b.test>",
                    "RCPT TO:<matt@other.test>",
                    "RCPT TO:<Matt@Other.test>",
                    "RCPT TO:<x@whole.test>",
                    "RCPT TO:<x@none.test>",
                    "RCPT TO:<x@here.test>",
                    "RCPT TO:<Mary@kept.test>",
                    "RCPT TO:<mark@kept.test>",
                    "RCPT TO:<x@held.test>",
                    "QUIT",
                ]);
            });
        });
    }
}

/// Tells results of each step, by what the client says.
const JUDGE: &str = "
exports.hook_mail = function (next, connection, params) {
    const words = params[0].user.split('-')
    if (words.includes('awful')) connection.transaction.results.add(this, { fail: 'awful' })
    if (words.includes('good')) connection.transaction.results.add(this, { pass: ['fine', 'very good'] })
    if (words.includes('scored')) connection.transaction.results.add(this, { score: 7.5, list: ['a', 'b', 'c'], low: -3 })
    if (words.includes('flag')) connection.results.add(this, { flag: true, group: { one: 'x' } })
    if (words.includes('pushed')) connection.transaction.results.push(this, { heap: 'top' })
    if (words.includes('counted')) connection.transaction.results.incr(this, { count: 3 })
    next()
}
exports.hook_ehlo = (next) => next()
// NOOP is answered when karma has heard all that was published before.
exports.hook_noop = async function (next, connection) {
    const follower = connection.notes.redis
    if (!follower) return next()
    const channel = `heard-${connection.uuid}`
    await new Promise((resolve) => {
        follower.pSubscribe(channel, resolve).then(() => server.notes.redis.publish(channel, 'all'))
    })
    await follower.pUnsubscribe(channel)
    next()
}
exports.hook_rcpt = function (next, connection, params) {
    if (params[0].user === 'refused') return next(DENY, 'judged')
    if (params[0].user === 'later') return next(DENYSOFT, 'not now')
    next()
}
";

const KARMA: &str = "
[redis]
expire_days=1
database=3
[thresholds]
negative=-8
positive=2
[deny]
hooks=unrecognized_command,data,data_post,queue
message=very bad karma score: {score}
[tls]
unset=0
[awards]
relaying=6
[spammy_tlds]
top=-5
[asn_awards]
[asn]
enable=true
[result_awards]
001 = judge | fail   | equals | awful | -9
002 = judge | score  | gt     | 5     | -1
003 = judge | score  | lt     | 9     | 0.5
004 = judge | pass   | match  | GOOD  | 4
005 = judge | list   | length | gt 2  | -0.5
006 = judge | flag   | equals | true  | 1
007 = judge | heap   | equals | top   | 1
008 = judge | count  | equals | 3     | 1
009 = judge | low    | lt     | 0     | -0.25
010 = karma | history | lt    | 0     | -1
011 = karma | fail   | equals | env_user_match | -2
012 = karma | fail   | equals | rfc5321.MailFrom | -1
013 = judge | low    | match  | (     | 3
014 = karma | pass   | equals | all_good | 2
015 = rcpt_to.in_host_list | msg | match | ^rcpt!local | -1
016 = helo | host | match | odd | -1
";

/// A message, step by step: each waits until karma has heard of the one before.
fn scored(c: &mut Recorded<'_>, helo: &str, from: &str, to: &[&str]) {
    c.greeting();
    c.says(&[
        "NOOP",
        &format!("EHLO {helo}"),
        "NOOP",
        &format!("MAIL FROM:<{from}>"),
        "NOOP",
    ]);
    for one in to {
        c.says(&[&format!("RCPT TO:<{one}>"), "NOOP"]);
    }
    c.data(MESSAGE);
}

// covers PLG-03, RES-05, CON-01
#[test]
fn karma_awards_what_is_published_and_remembers_it_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let karma = format!("{KARMA}[tarpit]\ndelay=0.01\nmax=0.01\n");
    let setup = Setup {
        plugins: &["redis", "karma", "judge"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("../plugins/judge.js", JUDGE),
            ("karma.ini", &karma),
        ],
        volatile: &[],
    };
    let must = [
        "\"awards\":[\"002\"",
        "very bad karma score: -9",
        "stored X-Haraka-Karma: ",
        "\"history\":-1",
        "spammy.TLD",
        "env_user_match",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 4);
        for from in ["good", "scored-flag", "pushed-counted", "plain"] {
            side.from("20.0.0.1", |c| {
                scored(c, "x.test", &format!("{from}@sender.com"), &["c@here.test"]);
                c.says(&["NOOP", "QUIT"]);
            });
        }
        kept(
            side,
            &redis,
            &["3 karma|20.0.0.1: bad=1 connections=4 good=1"],
        );
        // Bad ones are refused at DATA, and it is remembered.
        for _ in 0..2 {
            side.from("20.0.0.2", |c| {
                scored(c, "x.test", "awful@sender.com", &["c@here.test"]);
                c.says(&["WHAT"]);
                c.says(&["NOOP", "QUIT"]);
            });
        }
        side.from("20.0.0.2", |c| {
            scored(
                c,
                "odd.test",
                "plain@shop.top",
                &["plain@here.test", "x@there.test"],
            );
            c.says(&["NOOP", "QUIT"]);
        });
        side.from("20.0.0.2", |c| {
            c.greeting();
            c.says(&[
                "EHLO x.test",
                "NOOP",
                "MAIL FROM: <plain@sender.com>",
                "RCPT TO: <c@here.test>",
                "NOOP",
                "RSET",
                "VRFY x",
                "NOOP",
                "QUIT",
            ]);
        });
        kept(
            side,
            &redis,
            &["3 karma|20.0.0.2: bad=4 connections=4 good=0"],
        );
        // What other plugins deny is counted and let pass, but for the hooks that are left out.
        side.from("20.0.0.3", |c| {
            scored(
                c,
                "x.test",
                "plain@sender.com",
                &["refused@here.test", "later@here.test", "c@here.test"],
            );
            c.says(&["NOOP", "QUIT"]);
        });
        side.from("10.0.0.3", |c| {
            scored(c, "x.test", "awful@sender.com", &["c@here.test"]);
            c.says(&["NOOP", "QUIT"]);
        });
        kept(side, &redis, &["3 karma|20.0.0.3: "]);
    });
}

/// What was published until the connection was over, a line for each finding. Addresses of the connection
/// come once here, and with those of the proxy in Haraka; so do times of resets that end nothing.
fn published(follower: &mut Follower) -> Vec<String> {
    let mut lines = Vec::new();
    for (channel, text) in follower.heard_until("\"plugin\":\"disconnect\"") {
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let plugin = told["plugin"].as_str().unwrap();
        // A transaction's channel ends with its number.
        let of = if channel.contains('.') {
            "transaction"
        } else {
            "connection"
        };
        if ["local", "remote", "reset"].contains(&plugin) {
            continue;
        }
        for (key, value) in told["result"].as_object().unwrap() {
            let value = if key == "duration" {
                "T".to_owned()
            } else {
                value.to_string()
            };
            lines.push(format!("published {of} {plugin} {key} {value}"));
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

// covers RES-05, RES-06
#[test]
fn findings_of_all_plugins_are_published_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let setup = Setup {
        plugins: &["redis", "judge"],
        config: &[
            ("redis.ini", &unix_ini(&redis.socket())),
            ("../plugins/judge.js", JUDGE),
        ],
        volatile: &[],
    };
    let must = [
        "published connection helo host \"x.test\"",
        "published transaction rcpt_to.in_host_list pass \"rcpt_to\"",
        "published transaction judge score 7.5",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 2);
        let mut follower = redis.follow("result-*");
        side.from("20.0.0.1", |c| {
            c.mail(
                "x.test",
                "good-scored-flag-counted@sender.com",
                &["c@here.test", "x@there.test"],
                MESSAGE,
            );
            c.quit();
        });
        for line in published(&mut follower) {
            side.note(&line);
        }
    });
}

// covers PLG-03
#[test]
fn karma_keeps_who_is_bad_waiting_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let karma = format!("{KARMA}[tarpit]\nmax=1\n");
    let setup = Setup {
        plugins: &["redis", "karma", "judge"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("../plugins/judge.js", JUDGE),
            ("karma.ini", &karma),
        ],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["cmd:(WHAT,)"], |side| {
        side.logged("connected to redis", 4);
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test"]);
            c.says_slowly("WHAT", TARPIT);
            c.says_slowly("MAIL FROM:<a@b.test>", TARPIT);
            c.says_slowly("RCPT TO:<c@here.test>", TARPIT);
            c.says_slowly("NOOP", TARPIT);
            c.says(&["QUIT"]);
        });
        kept(
            side,
            &redis,
            &["3 karma|20.0.0.1: bad=1 connections=1 good=0"],
        );
    });
}

const GREYLIST: &str = "
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

/// Clients in 20.0.7 may send anywhere; what they send goes to a sink, or nowhere for `queued.com`.
const OUTWARD: &str = "
exports.hook_connect = (next, connection) => {
    if (connection.remote.ip.startsWith('20.0.7.')) connection.relaying = true
    next()
}
exports.hook_send_email = async (next, hmail) => {
    const to = hmail.todo.rcpt_to[0].address
    const known = await server.notes.redis.incr(`tried:${to}`)
    if (known > 1) await server.notes.redis.set(`again:${to}`, 1)
    next()
}
exports.hook_get_mx = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: PORT })
exports.hook_queue_outbound = (next, connection) => {
    const { rcpt_to } = connection.transaction
    next(rcpt_to[0].host.endsWith('queued.com') ? OK : CONT)
}
";

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

// covers PLG-03
#[test]
fn limits_of_outbound_mail_hold_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let sink = Sink::start();
    sink.rule(Rule::delay(Stage::Dot, Duration::from_millis(1500)).containing("slow.test"))
        .rule(Rule::reply(Stage::Rcpt, "550 nobody").containing("refused"));
    let port = sink.addr().port().to_string();
    let setup = Setup {
        plugins: &["redis", "outward", "limit"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("../plugins/outward.js", &OUTWARD.replace("PORT", &port)),
            (
                "limit.ini",
                "[redis]\ndatabase=4\n[outbound]\nenabled=true\ndelay=1\nslow.test=1\n[rate_outbound]\nenabled=true\nrated.test=1/2\n",
            ),
        ],
        volatile: &[],
    };
    same_as_haraka(
        &setup,
        None,
        &["0 again:two@slow.test: 1", "0 again:two@rated.test: 1"],
        |side| {
            side.logged("connected to redis", 4);
            let before = sink.accepted().len();
            for domain in ["slow.test", "rated.test"] {
                for user in ["one", "two"] {
                    side.from("20.0.7.1", |c| {
                        c.mail(
                            "x.test",
                            "ann@sender.com",
                            &[&format!("{user}@{domain}")],
                            MESSAGE,
                        );
                        c.quit();
                    });
                }
            }
            side.from("20.0.7.1", |c| {
                c.mail("x.test", "ann@sender.com", &["refused@quick.test"], MESSAGE);
                c.quit();
            });
            // With the report of what was refused.
            sink.wait_accepted(before + 5);
            let keys = poll_until(KEPT, || {
                let kept = redis.kept();
                let over = ["slow.test", "quick.test", "sender.com"];
                let over = over.map(|domain| format!("4 outbound-rate:{domain}: TOTAL=0"));
                over.iter()
                    .all(|line| kept.iter().any(|k| k.starts_with(line)))
                    .then_some(kept)
            });
            let keys = keys.unwrap_or_else(|| panic!("{:#?}", redis.kept()));
            // How often it was tried is chance, and limit counts each of them; a rate may be over by now.
            let chance = ["tried:", "rate_outbound:", "outbound-rate:rated.test"];
            let kept = keys
                .iter()
                .filter(|line| !chance.iter().any(|text| line.contains(text)));
            kept.for_each(|line| side.note(&format!("kept {line}")));
            redis.clear();
        },
    );
}

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
            ("plugin_timeout", "1\n"),
        ],
        volatile: &["created", "updated"],
    };
    let redis = std::cell::RefCell::new(redis);
    same_as_haraka(&setup, None, &["250 Message Queued"], |side| {
        side.logged("connected to redis", 10);
        one_mail(side, "20.0.0.1");
        let workers = side.server().worker_pids();
        let clients = redis.borrow().clients();
        let log = side.server().install().path().join("server.log");
        // Else it is chance whether a command was on its way.
        let lost = |times: usize| {
            wait_for("all connections to redis to be lost", || {
                let log = std::fs::read_to_string(&log).unwrap();
                log.matches("Socket closed unexpectedly").count() >= times
            });
        };
        side.from("20.0.5.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "MAIL FROM:<ann@sender.com>"]);
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
