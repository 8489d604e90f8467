//! What plugins must not do to Haraka's objects and do all the same: objects kept after their end, values
//! of any kind put where others belong, callbacks that throw or never come back. It costs the plugin's own
//! call; the worker and other sessions go on.

#![allow(missing_docs)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use harness::scripts::{MESSAGE, install_with, stored};
use harness::{DEADLINE, Server, greeted};

/// A server whose first plugin is this script, which has little time.
fn server_with(script: &str) -> Server {
    Server::start(install_with(script).config("javascript.ini", "[limits]\ntime=1\n"))
}

const ATTACHED: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
    --x\r\nContent-Type: text/plain\r\n\r\ntext\r\n\
    --x\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--x--\r\n";

// covers PLG-16, CON-54, TXN-01
#[test]
fn objects_that_are_kept_after_their_end_do_no_harm() {
    let server = server_with(
        r#"
        let kept, txn
        exports.hook_data_post = (next, connection) => {
            kept = connection
            txn = connection.transaction
            next()
        }
        exports.hook_disconnect = function (next, connection) {
            next()
            setTimeout(async () => {
                kept.respond(250, 'is anybody there?')
                kept.disconnect()
                kept.relaying = true
                kept.results.add(this, { pass: 'late' })
                kept.notes.set('a.b', 1)
                await new Promise((resolve) => kept.reset_transaction(resolve))
                txn.add_header('X-Late', 'yes')
                txn.rcpt_to.push(txn.mail_from)
                txn.mail_from = '<x@y.test>'
                txn.notes.late = true
                txn.set_banner('late')
                txn.attachment_hooks(() => {})
                txn.add_data('late\r\n')
                const data = await txn.message_stream.get_data()
                this.loginfo(`after ${kept.transaction} ${kept.remote.closed} ${data.toString().includes('X-Late: yes')} ${txn.header.get('subject').trim()} ${txn.mail_from}`)
            }, 20)
        }"#,
    );
    let worker = server.wait_for_workers(1);
    let mut client = greeted(&server);
    client
        .send_mail("a@b.test", &["c@here.test"], MESSAGE)
        .expect(250);
    client.quit();
    server.wait_for_log("[mine] after null", DEADLINE);
    server.wait_for_log("true hi <x@y.test>", DEADLINE);
    greeted(&server).cmd("NOOP").expect(250);
    assert_eq!(server.worker_pids(), worker, "the worker was replaced");
}

// covers PLG-16, TXN-01
#[test]
fn values_of_any_kind_in_the_wrong_place_cost_no_answer() {
    let server = server_with(
        r#"
        const outbound = require('./outbound')
        const NONSENSE = [null, undefined, 7, 'x', {}, [], [null], () => 1, Symbol('s'), NaN, new Proxy({}, {})]
        exports.hook_mail = function (next, connection) {
            const { transaction } = connection
            let refused = 0
            const attempt = (step) => { try { step() } catch (err) { refused += 1 } }
            for (const value of NONSENSE) {
                attempt(() => (transaction.mail_from = value))
                attempt(() => (connection.remote.ip = value))
                attempt(() => (connection.errors = value))
                attempt(() => (connection.capabilities = value))
                attempt(() => transaction.add_header(value, value))
                attempt(() => transaction.add_body_filter(value, value))
                attempt(() => transaction.attachment_hooks(value))
                attempt(() => transaction.add_data(value))
                attempt(() => connection.respond(value, value))
                attempt(() => connection.results.add(value, value))
                attempt(() => outbound.send_email(value, value, value, value, value))
                attempt(() => outbound.send_trans_email(value))
            }
            this.loginfo(`refused ${refused > 0}`)
            next()
        }
        exports.hook_rcpt = (next, connection) => {
            connection.transaction.rcpt_to = [null, 'nobody', 7]
            const cycle = {}
            cycle.cycle = cycle
            next(DENYSOFT, cycle)
        }"#,
    );
    let worker = server.wait_for_workers(1);
    let mut client = greeted(&server);
    client.send_raw(b"MAIL FROM:<a@b.test>\r\n");
    server.wait_for_log("[mine] refused true", DEADLINE);
    let mut client = greeted(&server);
    client.send_raw(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@here.test>\r\nQUIT\r\n");
    server.wait_for_log("failed on hook rcpt", DEADLINE);
    assert_eq!(server.worker_pids(), worker, "the worker was replaced");
}

// covers TXN-13, TXN-16, PLG-16
#[test]
fn callbacks_that_throw_or_loop_leave_the_message_as_it_came() {
    let server = server_with(
        r#"
        exports.hook_data = (next, connection) => {
            const txn = connection.transaction
            txn.attachment_hooks(() => { throw new Error('no attachments please') })
            txn.attachment_hooks((ct, name, body, stream) => {
                stream.on('data', () => { throw new Error('no data please') })
            })
            txn.add_body_filter(/^text/, () => { for (;;) {} })
            next()
        }"#,
    );
    let worker = server.wait_for_workers(1);
    let stored = stored(&server, ATTACHED);
    assert!(stored.contains("\r\n\r\ntext\r\n--x"), "{stored}");
    server.wait_for_log("no attachments please", DEADLINE);
    server.wait_for_log("no data please", DEADLINE);
    server.wait_for_log("stopped, as it ran for more than 1s", DEADLINE);
    assert_eq!(server.worker_pids(), worker, "the worker was replaced");
}

// covers TXN-26, TXN-27, TXN-29
#[test]
fn message_is_read_by_pipe_by_events_by_iteration_and_at_once() {
    let server = server_with(
        r#"
        const { Writable } = require('stream')
        const into = (done) => {
            const pieces = []
            return new Writable({
                write(piece, encoding, next) { pieces.push(piece); setTimeout(next, 1) },
                final(end) { done(Buffer.concat(pieces).toString()); end() },
            })
        }
        exports.hook_data_post = async function (next, connection) {
            const { message_stream } = connection.transaction
            const piped = (options) => new Promise((resolve) => message_stream.pipe(into(resolve), options))
            this.loginfo(JSON.stringify([
                (await piped({ line_endings: '\n', skip_headers: true })),
                (await piped({ ending_dot: true, skip_headers: true })),
                (await piped({ dot_stuffed: false, skip_headers: true })),
                (await new Promise((resolve) => message_stream.get_data({ skip_headers: true }, resolve))).toString(),
            ]))
            let seen = ''
            for await (const piece of message_stream) seen += piece
            this.loginfo(`iterated ${seen.endsWith('\r\n.dot\r\n')}`)
            next()
        }"#,
    );
    greeted(&server)
        .send_mail(
            "a@b.test",
            &["c@here.test"],
            "Subject: x\r\n\r\none\r\n.dot\r\n",
        )
        .expect(250);
    server.wait_for_log(
        r#"["one\n.dot\n","one\r\n..dot\r\n.\r\n","one\r\n..dot\r\n","one\r\n.dot\r\n"]"#,
        DEADLINE,
    );
    server.wait_for_log("iterated true", DEADLINE);
}
