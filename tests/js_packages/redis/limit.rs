//! limit: connections, rates, errors, recipients and outbound mail, counted in redis.

use super::*;

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

// covers PLG-03, PLG-12, KEY-60
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
fn limits_of_outbound_mail_hold_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let sink = Sink::start();
    let gate = Gate::default();
    sink.rule(Rule::behind(Stage::Dot, &gate).containing("slow.test"))
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
            gate.shut();
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
            let put_off = || {
                let kept = redis.kept();
                kept.iter().any(|k| k.contains("again:two@slow.test"))
            };
            wait_for("the second to be put off", put_off);
            gate.open();
            side.from("20.0.7.1", |c| {
                c.mail("x.test", "ann@sender.com", &["refused@quick.test"], MESSAGE);
                c.quit();
            });
            // With the report of what was refused.
            sink.wait_accepted(before + 5);
            let keys = poll_until(DEADLINE, || {
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
            kept.for_each(|line| side.note("kept", line));
            redis.clear();
        },
    );
}
