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
