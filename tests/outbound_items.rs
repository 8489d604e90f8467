//! What plugins in JavaScript do to queue items: notes and envelopes that last, decisions in place of answers,
//! TLS that is demanded, and what other plugins see of changed addresses.

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

use harness::scripts::install_with;
use harness::server::Signal;
use harness::sink_rules::{Rule, Stage};
use harness::{DEADLINE, Install, Server, Sink, greeted, wait_for};

/// A server that sends a mail to `x@DOMAIN` for each domain at NOOP, to the sink unless the script routes.
fn sending(sink: &Sink, domains: &[&str], script: &str) -> Install {
    let sending = format!(
        "\nexports.hook_noop = function (next) {{
            const outbound = require('./outbound')
            for (const domain of {domains:?}) {{
                outbound.send_email('<a@b.test>', `<x@${{domain}}>`, 'Subject: sent\\n\\ntext\\n.dot\\n')
            }}
            next()
        }}
        exports.hook_get_mx ??= (next) => next(OK, '{}')\n",
        sink.addr()
    );
    install_with(&format!("{script}{sending}")).config("outbound.ini", "local_mx_ok=true\n")
}

/// The names of items; an item that was rewritten has its message in a file beside it.
fn items(server: &Server) -> Vec<String> {
    let files = server.install().queue_files().into_iter();
    let item = |name: &String| name.starts_with(|c: char| c.is_ascii_digit());
    files.filter(item).collect()
}

fn queued_once(server: &Server, part: &str) -> bool {
    let items = items(server);
    items.len() == 1 && items[0].contains(part)
}

/// The file of the only item.
fn queued(server: &Server) -> String {
    let items = items(server);
    assert_eq!(items.len(), 1, "{items:?}");
    let path = server.install().path().join("queue").join(&items[0]);
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

// covers HOK-26, HOK-28, OUT-07, PA-11, RES-08
#[test]
fn what_hooks_leave_at_an_item_is_there_after_a_restart() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Mail, "450 4.7.0 later").times(2));
    let script = r#"
        exports.hook_send_email = function (next, hmail) {
            const { notes } = hmail.todo
            this.loginfo(`attempt ${hmail.num_failures} notes ${JSON.stringify(notes)} from ${hmail.todo.mail_from} mine ${hmail.notes.mine}`)
            notes.set('a.b', (notes.get('a.b') ?? 0) + 1)
            hmail.notes.mine = 'here'
            if (hmail.num_failures === 1) hmail.todo.mail_from = new hmail.todo.mail_from.constructor('<srs@b.test>')
            next()
        }
        exports.hook_deferred = (next, hmail) => {
            hmail.todo.notes.put_off = hmail.num_failures
            next(DENYSOFT, 3600)
        }"#;
    let mut server = Server::start(sending(&sink, &["far.test"], script));
    greeted(&server).cmd("NOOP").expect(250);
    server.wait_for_log("attempt 0 notes {\"skip_plugins\":[]}", DEADLINE);
    wait_for("the item to be put off", || queued_once(&server, "_1_"));
    let file = queued(&server);
    assert!(file.contains("\"put_off\": 1"), "{file}");
    server.restart();
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_log("attempt 1 ", DEADLINE);
    assert!(
        line.contains(r#""a":{"b":1}"#) && line.contains(r#""put_off":1"#),
        "{line}"
    );
    assert!(line.contains("from <a@b.test> mine undefined"), "{line}");
    wait_for("the item to be put off again", || {
        queued_once(&server, "_2_")
    });
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_log("attempt 2 ", DEADLINE);
    assert!(
        line.contains(r#""a":{"b":2}"#) && line.contains(r#""put_off":2"#),
        "{line}"
    );
    assert!(line.contains("from <srs@b.test> mine here"), "{line}");
    let message = &sink.wait_accepted(1)[0];
    assert!(message.from.starts_with("<srs@b.test>"), "{}", message.from);
    assert!(
        message.text().ends_with("\r\n\r\ntext\r\n.dot\r\n"),
        "{}",
        message.text()
    );
}

// covers HOK-26, OUT-07
#[test]
fn what_a_postponing_plugin_notes_is_written_down() {
    let sink = Sink::start();
    let script = r#"
        exports.hook_send_email = (next, hmail) => {
            hmail.todo.notes.waits = true
            next(DELAY, 3600)
        }"#;
    let server = Server::start(sending(&sink, &["far.test"], script));
    greeted(&server).cmd("NOOP").expect(250);
    wait_for("the note to be on disk", || {
        queued_once(&server, "_0_") && queued(&server).contains("\"waits\": true")
    });
    assert_eq!(sink.connections(), 0);
}

// covers OUT-42, PB-09
#[test]
fn item_that_demands_tls_is_not_sent_in_the_clear() {
    let sink = Sink::start();
    let script = r#"
        exports.hook_send_email = (next, hmail) => {
            hmail.todo.force_tls = hmail.todo.domain === 'safe.test'
            next()
        }
        exports.hook_deferred = function (next, hmail, { err }) {
            this.loginfo(`deferred ${hmail.todo.domain} ${hmail.todo.force_tls} ${err}`)
            next()
        }"#;
    let server = Server::start(sending(&sink, &["safe.test", "other.test"], script));
    greeted(&server).cmd("NOOP").expect(250);
    let line = server.wait_for_log("deferred safe.test true ", DEADLINE);
    assert!(line.contains("TLS"), "{line}");
    let messages = sink.wait_accepted(1);
    assert_eq!(messages[0].to, ["<x@other.test>"]);
    wait_for("the demand to be on disk", || {
        queued_once(&server, "_1_") && queued(&server).contains("\"force_tls\": true")
    });
    assert_eq!(sink.messages().len(), 1);
}

// covers OUT-07, OUT-38
#[test]
fn recipients_and_domain_that_a_plugin_gives_an_item_are_used() {
    let sink = Sink::start();
    let script = r#"
        const { Address } = require('@haraka/email-address')
        exports.hook_send_email = (next, hmail) => {
            const { todo } = hmail
            if (todo.domain === 'list.test') todo.rcpt_to.push(new Address('<y@list.test>'))
            if (todo.domain === 'moved.test') todo.domain = 'new.test'
            if (todo.domain === 'alias.test') todo.rcpt_to[0].user = 'real'
            if (todo.domain === 'none.test') todo.rcpt_to = []
            next()
        }
        exports.hook_delivered = function (next, hmail, [, , , , , , ok]) {
            this.loginfo(`delivered ${hmail.todo.domain} ${ok.join(',')} ${ok[0] === hmail.todo.rcpt_to[0]}`)
            next()
        }"#;
    let domains = ["list.test", "moved.test", "alias.test", "none.test"];
    let server = Server::start(sending(&sink, &domains, script));
    greeted(&server).cmd("NOOP").expect(250);
    for told in [
        "delivered list.test <x@list.test>,<y@list.test> true",
        "delivered new.test <x@moved.test> true",
        "delivered alias.test <real@alias.test> true",
        // To leave nobody is no way to remove a mail.
        "delivered none.test <x@none.test> true",
    ] {
        server.wait_for_log(told, DEADLINE);
    }
    server.wait_for_log("a plugin left no recipient", DEADLINE);
}

// covers HOK-28, HOK-29
#[test]
fn decisions_in_deferred_and_bounce_count_instead_of_answers() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Mail, "450 4.7.0 later").containing("a@b.test"));
    let script = r#"
        exports.hook_get_mx = function (next, hmail, domain) {
            if (/^refused|^retried/.test(domain) && hmail.num_failures === 0) return next(DENY)
            // Reports are not what this is about.
            if (hmail.todo.mail_from.isNull()) return hmail.discard()
            next(OK, SINK)
        }
        exports.hook_deferred = function (next, hmail, { err }) {
            this.loginfo(`deferred ${hmail.todo.domain} ${hmail.num_failures} ${err}`)
            if (hmail.todo.domain === 'returned.test') return hmail.bounce(new Error('waited enough'))
            if (hmail.todo.domain === 'dropped.test') return hmail.discard()
            next(DENYSOFT, 3600)
        }
        exports.hook_bounce = function (next, hmail, err) {
            this.loginfo(`bounce ${hmail.todo.domain} ${err.message}`)
            if (hmail.todo.domain === 'retried.test') return hmail.temp_fail('once more')
            if (hmail.todo.domain === 'refused.test') return hmail.double_bounce('nobody cares')
            next()
        }"#
    .replace("SINK", &format!("'{}'", sink.addr()));
    let domains = [
        "returned.test",
        "dropped.test",
        "retried.test",
        "refused.test",
    ];
    let server = Server::start(sending(&sink, &domains, &script));
    greeted(&server).cmd("NOOP").expect(250);
    for told in [
        "deferred returned.test 1 Upstream error: 450 4.7.0 later",
        "bounce returned.test waited enough",
        "deferred dropped.test 1 Upstream error: 450 4.7.0 later",
        "bounce retried.test No MX for retried.test",
        "deferred retried.test 1 once more",
        "bounce refused.test No MX for refused.test",
        "Double bounce: nobody cares",
    ] {
        server.wait_for_log(told, DEADLINE);
    }
    wait_for("the queue to hold what is tried again alone", || {
        queued_once(&server, "_1_")
    });
    assert!(queued(&server).contains("retried.test"));
    let log = server.log_text();
    let answered = log.matches("bounce queued as").count();
    assert_eq!(answered, 1, "one mail was returned: {log}");
}

// covers HOK-28, HOK-30
#[test]
fn decision_in_delivered_is_not_about_the_recipients_that_are_put_off() {
    let sink = Sink::start();
    sink.rule(
        Rule::reply(Stage::Rcpt, "451 4.3.0 later")
            .containing("late")
            .times(1),
    );
    let script = r#"
        exports.hook_send_email = function (next, hmail) {
            const { rcpt_to } = hmail.todo
            if (hmail.num_failures === 0) rcpt_to.push(new rcpt_to[0].constructor('<late@far.test>'))
            next()
        }
        exports.hook_delivered = function (next, hmail) {
            this.loginfo(`delivered at ${hmail.num_failures}`)
            hmail.bounce(new Error('too late for that'))
        }
        exports.hook_deferred = (next) => next(DENYSOFT, 3600)"#;
    let server = Server::start(sending(&sink, &["far.test"], script));
    greeted(&server).cmd("NOOP").expect(250);
    server.wait_for_log("delivered at 0", DEADLINE);
    wait_for("the other recipient to be put off", || {
        queued_once(&server, "_1_")
    });
    assert!(queued(&server).contains("late"));
    server.signal(Signal::SIGHUP);
    let sent = sink.wait_accepted(2);
    assert!(sent[1].from.starts_with("<a@b.test>"), "{}", sent[1].from);
    assert_eq!(sent[1].to, ["<late@far.test>"]);
}

// covers HOK-26
#[test]
fn decision_between_attempts_is_carried_out_at_the_next() {
    let sink = Sink::start();
    let script = r#"
        exports.hook_send_email = function (next, hmail) {
            this.loginfo(`attempt of ${hmail.todo.domain}`)
            hmail.later ??= setTimeout(() => {
                hmail.discard()
                this.loginfo('discarded')
            }, 20)
            next(DELAY, 1)
        }"#;
    let server = Server::start(sending(&sink, &["far.test"], script));
    greeted(&server).cmd("NOOP").expect(250);
    server.wait_for_log("discarded", DEADLINE);
    wait_for("the item to be gone", || {
        server.install().queue_files().is_empty()
    });
    assert_eq!(server.log_text().matches("attempt of far.test").count(), 1);
    assert_eq!(sink.connections(), 0);
}

// covers OUT-39, TXN-26
#[test]
fn message_of_an_item_can_be_read_before_and_after_it_was_rewritten() {
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Mail, "450 4.7.0 later").times(1));
    let script = r#"
        exports.hook_send_email = function (next, hmail) {
            hmail.todo.notes.tries = hmail.num_failures
            hmail.todo.notes.changed = 'yes'
            let text = ''
            const stream = hmail.data_stream()
            stream.on('data', (piece) => (text += piece))
            stream.on('error', (err) => this.logerror(`stream ${err}`))
            stream.on('end', () => {
                const [, body] = text.split('\r\n\r\n')
                this.loginfo(`read ${hmail.num_failures} ${hmail.file_size > 0} ${JSON.stringify(body)}`)
                next()
            })
        }
        exports.hook_deferred = (next) => next(DENYSOFT, 1)"#;
    let server = Server::start(sending(&sink, &["far.test"], script));
    greeted(&server).cmd("NOOP").expect(250);
    server.wait_for_log(r#"read 0 true "text\r\n..dot\r\n""#, DEADLINE);
    server.wait_for_log(r#"read 1 true "text\r\n..dot\r\n""#, DEADLINE);
    sink.wait_accepted(1);
}

// covers HOK-11, TXN-01, PI2-06
#[test]
fn native_plugins_see_the_sender_that_a_script_has_put_in_place() {
    let script = r#"
        exports.hook_mail = (next, connection) => {
            const { transaction } = connection
            transaction.mail_from = new transaction.mail_from.constructor('<boss@own.test>')
            next()
        }
        exports.hook_rcpt = (next, connection, [rcpt]) => {
            if (rcpt.user === 'alias') rcpt.user = 'real'
            next()
        }
        exports.hook_queue = function (next, { transaction }) {
            this.loginfo(`queue ${transaction.mail_from} ${transaction.rcpt_to.join(',')}`)
            next()
        }"#;
    let install = Install::new()
        .file("plugins/mine.js", script)
        .config(
            "smtp_forward.ini",
            "check_sender=true\n[own.test]\nhost=127.0.0.1\nport=1\n",
        )
        .plugins(&[
            "mine",
            "queue/smtp_forward",
            "rcpt_to.in_host_list",
            "queue/test",
        ]);
    let server = Server::start(install);
    let mut client = greeted(&server);
    let reply = client.cmd("MAIL FROM:<harmless@far.test>").expect(550);
    assert!(
        reply.text().starts_with("Spoofed MAIL FROM"),
        "{}",
        reply.text()
    );
}

// covers HOK-24
#[test]
fn plugin_that_listens_to_the_log_gets_what_a_line_is_made_from() {
    let script = r#"
        const fs = require('fs')
        exports.hook_log = (next, logger, { level, data, obj }) => {
            if (obj.origin === 'mine') fs.appendFileSync(`${process.env.TMPDIR}/lines`, `${JSON.stringify([level, obj, data.endsWith(obj.message)])}\n`)
            next()
        }
        exports.hook_noop = function (next, connection) {
            connection.lognotice(this, 'said so', { key: 'value' })
            next()
        }"#;
    let install = Install::new().file("plugins/mine.js", script);
    let server = Server::start(install.plugins(&["mine", "rcpt_to.in_host_list", "queue/test"]));
    greeted(&server).cmd("NOOP").expect(250);
    let file = server.install().path().join("tmp/lines");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_for("the line to be seen", || read().contains("said so"));
    let line = read()
        .lines()
        .find(|l| l.contains("said so"))
        .unwrap()
        .to_owned();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told[0], "NOTICE");
    assert_eq!(told[1]["level"], "NOTICE");
    assert_eq!(told[1]["message"], "said so key=value");
    assert_eq!(told[1]["uuid"].as_str().map(str::len), Some(36), "{line}");
    assert_eq!(told[2], true);
}
