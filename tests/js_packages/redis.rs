//! Packages that keep what they know in redis: limit, karma, greylist, known-senders, recipient-routes, and
//! redis itself, which the others inherit from. Both servers find the same, empty redis-server, and have
//! to leave the same keys behind.

#[path = "redis/karma.rs"]
mod karma;
#[path = "redis/limit.rs"]
mod limit;
#[path = "redis/outage.rs"]
mod outage;
#[path = "redis/published.rs"]
mod published;
#[path = "redis/senders.rs"]
mod senders;

use std::time::Duration;

use crate::harness::redis::{Follower, Redis, ini, installed, unix_ini};
use crate::harness::sink_rules::Gate;
use crate::harness::{DEADLINE, FakeDns, Rule, Sink, Stage, poll_until, skip, wait_for};
use crate::side::{Recorded, Setup, Side, neither_starts, same_as_haraka};

const MESSAGE: &str = "From: Ann <ann@sender.com>\nTo: c@here.test\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: hi\nMessage-ID: <1@sender.com>\n\nbody";

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
    match poll_until(DEADLINE, all) {
        Some(lines) => lines.iter().for_each(|line| side.note("kept", line)),
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

// covers PLG-03, HOK-27
#[test]
fn mail_takes_the_route_of_its_recipient_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let sink = Sink::start();
    let port = sink.addr().port();
    let file = format!("[routes]\nfiled.test=127.0.0.1:{port}\n");
    let setup = Setup {
        plugins: &["redis", "recipient-routes", "outward"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("rcpt_to.routes.ini", &file),
            // Where no route is found, nobody listens.
            ("../plugins/outward.js", &OUTWARD.replace("PORT", "1")),
        ],
        volatile: &[],
    };
    let must = ["delivered <mary@kept.test>", "delivered <x@filed.test>"];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 2);
        let address = format!("127.0.0.1:{port}");
        redis.command(0, &["SET", "mary@kept.test", &address]);
        redis.command(0, &["SET", "held.test", &format!("smtp://{address}")]);
        let before = sink.accepted().len();
        let all = ["mary@kept.test", "x@held.test", "x@filed.test"];
        for to in all {
            side.from("20.0.7.1", |c| {
                c.mail("x.test", "ann@sender.com", &[to], MESSAGE);
                c.quit();
            });
        }
        let delivered = sink.wait_accepted(before + all.len());
        let mut to: Vec<_> = delivered[before..].iter().flat_map(|m| &m.to).collect();
        to.sort();
        to.iter().for_each(|to| side.note("delivered", to));
        redis.clear();
    });
}
