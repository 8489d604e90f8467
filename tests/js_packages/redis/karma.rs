//! karma: what other plugins find is scored by way of redis, and what came of it is remembered there.

use super::*;

pub(super) const KARMA: &str = "
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

/// Finds the network of a client by its address, as the package asn would.
const NETWORKS: &str = "
exports.hook_lookup_rdns = function (next, connection) {
    const asn = { '20.0.1': 64501, '20.0.2': 64502, '20.0.3': 'none' }[connection.remote.ip.replace(/\\.\\d+$/, '')]
    if (asn) connection.results.add(this, { asn, asn_org: 'Net' })
    next()
}
";

// covers PLG-03, PLG-12, RES-05
#[test]
fn karma_remembers_clients_and_networks_over_two_workers_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let awards = "017 = karma | fail | equals | asn:history | -3\n018 = karma | pass | equals | asn:all_good | 1\n";
    let karma = KARMA.replace("[result_awards]\n", &format!("[result_awards]\n{awards}"));
    let karma = format!("{karma}[tarpit]\ndelay=0.01\nmax=0.01\n");
    let setup = Setup {
        plugins: &["redis", "asn", "karma", "judge"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("smtp.ini", "listen=127.0.0.1:0\nnodes=2\n"),
            ("../plugins/asn.js", NETWORKS),
            ("../plugins/judge.js", JUDGE),
            ("karma.ini", &karma),
        ],
        volatile: &[],
    };
    let must = [
        "\"asn_score\":-7",
        "asn:all_bad",
        "asn:all_good",
        "kept 3 as64501: ",
        "\"history\":-1",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 6);
        redis.command(
            3,
            &[
                "HSET",
                "as64502",
                "bad",
                "7",
                "good",
                "0",
                "connections",
                "9",
            ],
        );
        // More connections than workers, so that either has some.
        for (client, from) in [
            ("20.0.1.1", "good"),
            ("20.0.1.2", "good"),
            ("20.0.1.1", "awful"),
            ("20.0.1.3", "plain"),
            ("20.0.1.1", "awful"),
            ("20.0.1.1", "good"),
            ("20.0.2.1", "good"),
            ("20.0.2.1", "plain"),
            ("20.0.3.1", "good"),
        ] {
            side.from(client, |c| {
                scored(c, "x.test", &format!("{from}@sender.com"), &["c@here.test"]);
                c.says(&["NOOP", "QUIT"]);
            });
        }
        // What is told last comes after the session: nothing less than the end of all is waited for.
        let remembered = [
            "3 as64501: bad=2 connections=6 good=3",
            "3 as64502: bad=8 connections=11 good=0",
            "3 karma|20.0.1.1: bad=2 connections=4 good=2",
            "3 karma|20.0.1.2: bad=0 connections=1 good=1",
            "3 karma|20.0.1.3: bad=0 connections=1 good=0",
            "3 karma|20.0.2.1: bad=1 connections=2 good=0",
            "3 karma|20.0.3.1: bad=0 connections=1 good=1",
        ];
        kept(side, &redis, &remembered);
        redis.command(
            3,
            &[
                "HSET",
                "as64501",
                "bad",
                "0",
                "good",
                "9",
                "connections",
                "9",
            ],
        );
        side.from("20.0.1.9", |c| {
            scored(c, "x.test", "plain@sender.com", &["c@here.test"]);
            c.says(&["NOOP", "QUIT"]);
        });
        let remembered = [
            "3 as64501: bad=0 connections=10 good=9",
            "3 karma|20.0.1.9: bad=0 connections=1 good=0",
        ];
        kept(side, &redis, &remembered);
    });
}
