//! Objects of Haraka's own that an operator's plugin uses: the queue as one worker has it, and filters of
//! the body before the message is there.

use crate::harness::{DEADLINE, Rule, Sink, Stage, poll_until};
use crate::side::{Setup, same_as_haraka};

const TO_TELL: &str = "From: Ann <ann@sender.test>\nSubject: hi\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nMessage-ID: <1@sender.test>\n\nbody";

/// Answers words that are no command: what the queue is like, once it is as the client says.
const TELLER: &str = "
const outbound = require('./outbound')
const path = require('path')

exports.hook_connect = (next, connection) => {
    connection.relaying = true
    next()
}
exports.hook_get_mx = (next) => next(OK, { exchange: '127.0.0.1', port: PORT })

const until = async (is) => {
    while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 5))
}
const words = {
    STATS: (wanted) => until(() => outbound.get_stats() === wanted),
    async LIST() {
        const items = await outbound.list_queue()
        return items.map(({ file, full_path, pid, rcpt_to, mail_from, domain, uuid, queue_time, notes, ...rest }) => [
            /^\\d+_\\d+_\\d+_\\d+_\\w+_\\d+_/.test(file), full_path === path.join(__dirname, '../queue', file), pid === process.pid,
            rcpt_to.map((to) => [to.user, to.host, to.constructor.name]), mail_from.address, domain, /\\.1$/.test(uuid),
            Math.abs(Date.now() - queue_time) < 600000, notes.skip_plugins, rest,
        ])
    },
    async COUNT() {
        const { queue_dir, queue_count } = await outbound.stat_queue()
        return [queue_count, path.relative(path.dirname(__dirname), queue_dir)]
    },
    async WAITING() {
        const { queue } = outbound.temp_fail_queue
        const [{ file }] = await outbound.list_queue()
        return [queue.length, outbound.temp_fail_queue.length(), queue.map(({ id, fire_time, cb }) => [id === file, fire_time > Date.now(), typeof cb])]
    },
    NONE: () => until(async () => (await outbound.list_queue()).length === 0),
    DUE: () => [outbound.delivery_queue.length(), outbound.delivery_queue.tasks.length],
    FLUSH: (domain) => outbound.flush_queue(domain),
    DRAIN: () => outbound.temp_fail_queue.drain(),
    PUSH: () => outbound.temp_fail_queue.queue.splice(0, 1)[0].cb(),
    DISCARD() {
        try {
            outbound.temp_fail_queue.discard('none')
        } catch (err) {
            return err.message.startsWith('none ')
        }
    },
}
exports.hook_unrecognized_command = async (next, connection, [verb, rest]) => {
    if (!words[verb]) return next()
    const told = await words[verb](rest || undefined)
    connection.respond(211, JSON.stringify(told ?? null), () => next(OK))
}
";

/// A message that is put off, what the queue is like then, and `how` it is tried again.
fn moved(hows: &[&str]) {
    let sink = Sink::start();
    let teller = TELLER.replace("PORT", &sink.addr().port().to_string());
    let setup = Setup {
        plugins: &["teller"],
        config: &[
            ("../plugins/teller.js", &teller),
            (
                "outbound.ini",
                "local_mx_ok=true\ntemp_fail_intervals=1h*9\n",
            ),
        ],
        volatile: &[],
    };
    let must = [
        "211 [1,1,[[true,true,\"function\"]]]",
        "[\"u\",\"far.test\",\"Address\"]",
        "delivered true",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        for how in hows {
            let later = Rule::reply(Stage::Rcpt, "450 later").containing("u@");
            sink.rule(later.times(1));
            let before = sink.accepted().len();
            side.from("20.0.0.2", |c| {
                c.mail("x.test", "ann@sender.test", &["u@far.test"], TO_TELL);
                c.says(&["STATS 0/0/1", "LIST", "WAITING", "DUE", "DISCARD"]);
                if *how == "FLUSH" {
                    c.says(&["COUNT", "FLUSH other.test", "STATS 0/0/1"]);
                }
                c.says(&[how]);
                c.quit();
            });
            let done = poll_until(DEADLINE, || (sink.accepted().len() > before).then_some(()));
            side.note("delivered", &done.is_some().to_string());
            side.from("20.0.0.2", |c| {
                c.greeting();
                c.says(&["NONE", "QUIT"]);
            });
        }
    });
}

// covers OUT-14, OUT-15, OUT-22
#[test]
fn a_plugin_sees_the_queue_and_tries_what_waits_as_with_haraka() {
    moved(&["FLUSH", "DRAIN", "PUSH"]);
    // What was tried for its domain stays in Haraka's timer queue, to be tried twice (PB-32).
    moved(&["FLUSH Far.test"]);
}

const PARTS: &str = "From: Ann <ann@sender.test>\nSubject: hi\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nMessage-ID: <1@sender.test>\n\
    MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\npreamble\n--b\nContent-Type: text/plain; charset=us-ascii\n\
    Content-Disposition: inline; filename=\"a.txt\"\n\nplain text\n--b\nContent-Type: text/html\n\n<p>some text</p>\n--b--\n";

/// Filters of each kind, and a body that is asked for before there is one.
const FILTERS: &str = "
exports.hook_data = function (next, connection) {
    const { transaction } = connection
    transaction.parse_body = true
    const told = [transaction.body === null]
    transaction.ensure_body()
    const { body } = transaction
    told.push(body.constructor.name !== 'Object', body.bodytext, body.children.length, body.state, transaction.body === body)
    body.set_banner(['bye', '<b>bye</b>'])
    body.add_filter((ct, enc, buf, cd) => {
        if (!ct.startsWith('text/')) return undefined
        told.push([ct, enc, buf.toString(), cd])
        return Buffer.from(buf.toString().replace('text', 'words'))
    })
    transaction.add_body_filter('TEXT/html', (ct, enc, buf) => Buffer.from(buf.toString().toUpperCase()))
    connection.transaction.notes.early = body
    connection.transaction.notes.told = told
    next()
}
exports.hook_data_post = function (next, connection) {
    const { transaction } = connection
    const { body, notes } = transaction
    notes.told.push(body === notes.early, body.children.map((part) => [part.ct, part.bodytext]), body.state)
    body.add_filter(() => Buffer.from('too late'))
    transaction.results.add(this, { told: notes.told })
    next()
}
";

// covers TXN-15, TXN-16, TXN-18
#[test]
fn filters_of_a_body_that_has_not_come_are_run_as_with_haraka() {
    let setup = Setup {
        plugins: &["filters"],
        config: &[("../plugins/filters.js", FILTERS)],
        volatile: &[],
    };
    let must = ["stored plain words", "<B>BYE</B>", "inline; filename"];
    same_as_haraka(&setup, None, &must, |side| {
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "ann@sender.test", &["c@here.test"], PARTS);
            c.quit();
        });
    });
}

/// Registers hooks at its start, from hooks and from a timer; all tell in which order they run.
const TARDY: &str = "
const seen = []
const tell = (plugin, what) => function (next) {
    seen.push(what)
    next(what === 'noop denied' ? DENY : CONT, 'not at this hour')
}
exports.register = function () {
    for (const name of ['mail one', 'mail late', 'mail nested', 'mail timer', 'helo late', 'noop denied', 'reset late']) this[name] = tell(this, name)
    this.register_hook('mail', 'mail one', 100)
    this.register_hook('connect', 'begin')
    setTimeout(() => this.register_hook('mail', 'mail timer', -100), 1)
    const timer = setInterval(() => {
        if (!this.hooks.mail.includes('mail timer')) return
        clearInterval(timer)
        seen.ready?.()
    }, 1)
    this.timed = new Promise((resolve) => (seen.ready = resolve))
}
exports.begin = async function (next) {
    await this.timed
    if (!this.begun) {
        this.begun = true
        this.register_hook('mail', 'mail late', -100)
        this.register_hook('ehlo', 'helo late')
        this.register_hook('reset_transaction', 'reset late')
        this.register_hook('no_such_hook', 'helo late')
    }
    next()
}
exports.hook_mail = function (next) {
    seen.push('hook_mail')
    if (!this.hooks.mail.includes('mail nested')) this.register_hook('mail', 'mail nested', -100)
    next()
}
exports.hook_unrecognized_command = function (next, connection, [verb]) {
    if (verb === 'DENY') this.register_hook('noop', 'noop denied')
    const told = [...seen.splice(0), ...Object.keys(this.hooks).sort(), this.hooks.mail.join('+')]
    connection.respond(211, told.join(), () => next(OK))
}
";

// covers PLG-10, HOK-31
#[test]
fn hooks_that_are_registered_late_run_behind_all_others_as_with_haraka() {
    // A later plugin, whose priority puts it before or behind what was there at the start.
    let second = "exports.register = function () {
        this.register_hook('mail', 'judge', 100)
    }
    exports.judge = function (next, connection, [from]) {
        if (from.user === 'denied') return next(DENY, 'judged')
        next()
    }";
    let setup = Setup {
        plugins: &["tardy", "second"],
        config: &[
            ("../plugins/tardy.js", TARDY),
            ("../plugins/second.js", second),
        ],
        volatile: &[],
    };
    let must = [
        "hook_mail,mail one,mail timer,mail late,connect,",
        "mail late,mail nested,",
        "500 not at this hour",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        for _ in 0..2 {
            side.from("20.0.0.1", |c| {
                c.greeting();
                c.says(&[
                    "EHLO x.test",
                    "TELL",
                    "MAIL FROM:<a@b.test>",
                    "TELL",
                    "RSET",
                    "TELL",
                    "MAIL FROM:<denied@b.test>",
                    "TELL",
                    "MAIL FROM:<a@b.test>",
                    "TELL",
                    "DENY",
                    "NOOP",
                    "TELL",
                    "QUIT",
                ]);
            });
        }
    });
}

/// Texts, comments and expressions that look as if they called something.
const TEXTS: &str = r#"
// it's said: from.user() and text.replace(/a/g, 'b')
const help = 'ask address.user() or "x.host()"', half = 10 / 2 /* it's x.user() */ / 1
const names = /^[/'"]?x\.user()/, shown = `${`it's ${'a.user()'}`} / b.address() ${half}`
exports.hook_mail = function (next, connection, [from]) {
    const dashed = from.user.replace(/-/g, '+').replace(/\./g, ''), other = `x.replace(/a/g, 'b')`
    next(DENY, [help, half, names.source, shown, dashed, other, names.test("'x.user")].join(' | '))
}
"#;

// covers CON-30, PLG-06
#[test]
fn texts_that_look_like_calls_are_said_as_they_stand_as_with_haraka() {
    let setup = Setup {
        plugins: &["texts"],
        config: &[("../plugins/texts.js", TEXTS)],
        volatile: &[],
    };
    let must = ["550 ask address.user() or", "a+b", "x.replace(/a/g, 'b')"];
    same_as_haraka(&setup, None, &must, |side| {
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "MAIL FROM:<a-b.c@x.test>", "QUIT"]);
        });
    });
}
