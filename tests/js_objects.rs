//! Haraka's objects in scripts: connection, transaction, body, outbound, and what plugins inherit from.

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

use harness::scripts::{MESSAGE, install_with, server_with, stored};
use harness::{DEADLINE, Server, Sink, greeted};

const MULTIPART: &str = "From: =?utf-8?Q?J=C3=B6rg?= <j@b.test>, \"B, A\" <x@y.test>\r\n\
    Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n\
    preamble\r\n--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n\
    --inner\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\nCaf=E9\r\n.line\r\n\
    --inner\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--inner--\r\n\
    --outer\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
    Content-Disposition: attachment; filename=\"data.bin\"\r\n\r\nAAECAwQF\r\n--outer--\r\n";

// covers TXN-10, TXN-18, TXN-20, TXN-21, TXN-31
#[test]
fn parts_of_a_message_have_header_text_and_children() {
    let server = server_with(
        r#"
        exports.hook_data = (next, connection) => {
            connection.transaction.parse_body = true
            next()
        }
        exports.hook_data_post = function (next, connection) {
            const { body, header, mime_part_count } = connection.transaction
            const walk = (part) => [part.ct.split(';')[0], part.is_html, part.bodytext, part.body_encoding, part.children.map(walk)]
            this.loginfo(JSON.stringify(walk(body)))
            this.loginfo(JSON.stringify([body.children[1].header.get('content-disposition'), body === connection.transaction.body, mime_part_count > 0]))
            const [first, second] = header.get_addresses('from')
            this.loginfo([first.phrase, first.address, second.phrase, second.host].join('|'))
            next()
        }"#,
    );
    stored(&server, MULTIPART);
    server.wait_for_log(
        r#"["multipart/mixed",false,"","UTF-8",[["multipart/alternative",false,"","UTF-8",[["text/plain",false,"Café\n.line\n","iso-8859-1",[]],["text/html",true,"<p>hi</p>\n","UTF-8",[]]]],["application/octet-stream",false,"","UTF-8",[]]]]"#,
        DEADLINE,
    );
    server.wait_for_log(
        r#"["attachment; filename=\"data.bin\"\n",true,true]"#,
        DEADLINE,
    );
    server.wait_for_log("Jörg|j@b.test|B, A|y.test", DEADLINE);
}

// covers TXN-13, TXN-14
#[test]
fn attachments_are_streamed_before_data_post_goes_on() {
    let server = server_with(
        r#"
        const fs = require('fs')
        const path = require('path')
        exports.hook_data = function (next, connection) {
            connection.transaction.attachment_hooks((ct, name, body, stream) => {
                stream.connection = connection
                stream.pause()
                const file = path.join(__dirname, 'out.bin')
                const to = fs.createWriteStream(file)
                const { notes } = connection.transaction
                notes.told = [ct, name, body.ct, stream.filename]
                notes.size = 0
                stream.on('data', (piece) => (notes.size += piece.length))
                to.on('finish', () => this.loginfo(`written ${fs.readFileSync(file).toString('hex')}`))
                stream.pipe(to)
                stream.resume()
            })
            next()
        }
        exports.hook_data_post = function (next, connection) {
            const { notes } = connection.transaction
            this.loginfo(`${notes.size} ${notes.told}`)
            next()
        }"#,
    );
    stored(&server, MULTIPART);
    server.wait_for_log(
        "6 application/octet-stream,data.bin,application/octet-stream,data.bin",
        DEADLINE,
    );
    server.wait_for_log("written 000102030405", DEADLINE);
}

// covers TXN-09, TXN-15, TXN-16
#[test]
fn filters_banners_and_added_lines_change_the_message() {
    let server = server_with(
        r#"
        exports.hook_data = (next, connection) => {
            const txn = connection.transaction
            txn.add_body_filter(/^text\/html/i, (ct, encoding, buffer) => Buffer.from(buffer.toString().replace('hi', `${encoding} ho`)))
            txn.add_body_filter('text/plain', (ct, encoding, buffer) => { throw new Error('broken filter') })
            txn.set_banner('the end')
            next()
        }
        exports.hook_data_post = (next, connection) => {
            connection.transaction.add_data('..appended\r\n')
            next()
        }"#,
    );
    let text = stored(&server, MULTIPART);
    assert!(text.contains("<p>UTF-8 ho</p>"), "{text}");
    assert!(text.contains("Caf=E9"), "{text}");
    assert!(text.contains("the end"), "{text}");
    assert!(text.ends_with("--outer--\r\n.appended\r\n"), "{text}");
    server.wait_for_log("body filter: Error: broken filter", DEADLINE);
}

// covers TXN-01, CON-22
#[test]
fn sender_and_recipients_can_be_replaced() {
    let server = server_with(
        r#"
        const { Address } = require('./address')
        exports.hook_mail = function (next, connection, [sender]) {
            connection.transaction.mail_from = new Address('<new@sender.test>')
            next()
        }
        exports.hook_data = function (next, connection) {
            const txn = connection.transaction
            this.loginfo(`sender ${txn.mail_from} ${txn.mail_from.user}`)
            txn.mail_from.user = 'newer'
            txn.rcpt_to.push(new Address('<more@here.test>'))
            next()
        }
        exports.hook_data_post = function (next, connection) {
            const txn = connection.transaction
            this.loginfo(`now ${txn.mail_from} for ${txn.rcpt_to}`)
            next()
        }"#,
    );
    stored(&server, MESSAGE);
    server.wait_for_log("sender <new@sender.test> new", DEADLINE);
    server.wait_for_log(
        "now <newer@sender.test> for <c@here.test>,<more@here.test>",
        DEADLINE,
    );
}

// covers HOK-12, CON-24, CON-26
#[test]
fn recipient_that_a_script_changes_is_what_later_plugins_reply_and_log_see() {
    let install = install_with(
        r#"
        exports.hook_rcpt = (next, connection, [rcpt]) => {
            if (rcpt.user === 'moved') rcpt.host = 'here.test'
            next()
        }"#,
    )
    .file(
        "plugins/second.js",
        "exports.hook_rcpt = function (next, connection, [rcpt]) { this.loginfo(`asked ${rcpt}`); next() }",
    )
    .plugins(&["mine", "second", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    client.cmd("RCPT TO:<x@far.test>").expect(550);
    let moved = client.cmd("RCPT TO:<moved@far.test>").expect(250);
    assert_eq!(moved.text(), "recipient <moved@here.test> OK");
    client.cmd("RCPT TO:<y@far.test>").expect(550);
    client.data(MESSAGE).expect(250);
    for asked in ["x@far.test", "moved@here.test", "y@far.test"] {
        server.wait_for_log(&format!("[second] asked <{asked}>"), DEADLINE);
    }
}

// covers HOK-12, TXN-01
#[test]
fn recipient_comes_with_parameters_that_are_its_own_and_nobody_replaces_the_transaction() {
    let look = "exports.hook_rcpt = function (next, connection, [rcpt, params]) {
            const { transaction } = connection
            let refused
            try { connection.transaction = null } catch (err) { refused = err }
            const same = refused instanceof TypeError && connection.transaction === transaction && transaction.rcpt_to.at(-1) === rcpt
            this.loginfo(`${rcpt.user} ${JSON.stringify(params)} ${JSON.stringify(rcpt.params)} ${same}`)
            params.NOTIFY = 'mine'
            if (rcpt.user === 'd') rcpt.params.NOTIFY = 'DELAY'
            next()
        }";
    let install = install_with(look)
        .file("plugins/second.js", look)
        .plugins(&["mine", "second", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    client.cmd("RCPT TO:<c@here.test>").expect(250);
    client.cmd("RCPT TO:<d@here.test> NOTIFY=NEVER").expect(250);
    for (plugin, said) in [
        ("mine", "c {} {} true"),
        ("second", "c {} {} true"),
        ("mine", r#"d {"NOTIFY":"NEVER"} {"NOTIFY":"NEVER"} true"#),
        ("second", r#"d {"NOTIFY":"DELAY"} {"NOTIFY":"DELAY"} true"#),
    ] {
        server.wait_for_log(&format!("[{plugin}] {said}"), DEADLINE);
    }
}

// covers HOK-20, RES-05
#[test]
fn resetting_runs_its_hook_and_results_are_published_where_there_is_redis() {
    let server = server_with(
        r#"
        exports.hook_init_child = function (next) {
            server.notes.redis = { publish: async (channel, text) => this.loginfo(`${channel.replace(/-.*/, '')} ${text}`) }
            next()
        }
        exports.hook_unrecognized_command = function (next, connection) {
            connection.results.incr(this, { count: 2 })
            connection.reset_transaction(() => {
                connection.respond(250, `transaction ${connection.transaction}`, () => next(OK))
            })
        }
        exports.hook_reset_transaction = function (next, connection) {
            this.loginfo(`reset ${connection.transaction.uuid.split('.').pop()}`)
            setTimeout(next, 5)
        }"#,
    );
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    assert_eq!(client.cmd("XRESET").expect(250).text(), "transaction null");
    server.wait_for_log("[mine] reset 1", DEADLINE);
    server.wait_for_log(r#"result {"plugin":"mine","result":{"count":2}}"#, DEADLINE);
    client.cmd("RCPT TO:<c@here.test>").expect(503);
}

// covers CON-01, CON-54
#[test]
fn connection_has_its_documented_members_and_can_be_ended() {
    let server = server_with(
        r#"
        const { connection: { state } } = require('./constants')
        exports.hook_noop = function (next, connection) {
            connection.set('remote.host', 'set.test')
            connection.set('remote.ip', '10.1.2.3')
            connection.set('notes.a.b', 1)
            const { remote, local, hello, tls, proxy } = connection
            this.loginfo(JSON.stringify([remote.host, remote.is_private, remote.is_local, local.host, hello, tls, proxy]))
            this.loginfo(JSON.stringify([connection.get('remote.none.x') === undefined, connection.get('notes.a.b'),
                connection.esmtp, connection.pipelining, connection.errors, connection.tran_count, connection.relaying,
                connection.client.remoteAddress, connection.state === state.CMD, Date.now() - connection.start_time < 60000,
                connection.transaction === null, connection.msg_count, connection.server === server, connection.capabilities]))
            next(DENY, 'seen')
        }
        exports.hook_unrecognized_command = function (next, connection, [command, rest]) {
            if (command === 'BYE') {
                connection.respond(221, `bye ${rest}`)
                connection.disconnect()
                return next(OK)
            }
            if (command === 'TWO') {
                return connection.respond(252, ['first', 'second'], () => {
                    this.loginfo(`said ${JSON.stringify(connection.last_response)}`)
                    next(OK)
                })
            }
            if (command !== 'LATER') return next()
            setTimeout(() => {
                connection.respond(421, 'enough')
                connection.disconnect()
            }, 20)
            connection.respond(250, 'soon')
            return next(OK)
        }
        exports.hook_disconnect = function (next, connection) {
            this.loginfo(`gone ${connection.hello.host} ${connection.remote.closed} ${connection.state === state.DISCONNECTING}`)
            next()
        }"#,
    );
    let mut client = greeted(&server);
    client.cmd("NOOP").expect(500);
    server.wait_for_log(
        r#"["set.test",true,false,"mx.test",{"host":"client.test","verb":"EHLO"},{"enabled":false,"advertised":false,"verified":false,"cipher":{}},{"allowed":false,"ip":null,"type":null}]"#,
        DEADLINE,
    );
    server.wait_for_log(
        r#"[true,1,true,false,0,0,false,"10.1.2.3",true,true,true,{"accept":0,"tempfail":0,"reject":0},true,[]]"#,
        DEADLINE,
    );
    let two = client.cmd("TWO").expect(252);
    assert_eq!(two.lines, ["first", "second"]);
    server.wait_for_log(r#"said "252-first\r\n252 second\r\n""#, DEADLINE);
    assert_eq!(client.cmd("BYE now").expect(221).text(), "bye now");
    client.expect_close();
    server.wait_for_log("gone client.test true true", DEADLINE);
    // Out of a timer, while the client is silent.
    let mut client = greeted(&server);
    client.cmd("LATER").expect(250);
    assert_eq!(client.reply().expect(421).text(), "enough");
    client.expect_close();
    greeted(&server).quit();
}

// covers RES-09, RES-10, RES-11, RES-12, CON-52
#[test]
fn core_modules_of_haraka_are_found_without_packages() {
    let server = server_with(
        r#"
        const dsn = require('./dsn'), utils = require('haraka-utils'), net_utils = require('haraka-net-utils')
        const rfc1869 = require('./rfc1869'), tld = require('haraka-tld'), { Header } = require('haraka-email-message')
        exports.register = function () {
            const { HarakaMx } = this.haraka_require('net_utils')
            const header = new Header()
            header.parse(['Subject: =?UTF-8?Q?a_b?=\n', 'X: 1\n', 'x: 2\n'])
            header.add('First', 'one\ntwo')
            this.loginfo(JSON.stringify([utils.to_object('a b'), net_utils.ip_in_list(['10.0.0.0/8'], '10.9.9.9'),
                net_utils.is_private_ip('192.168.1.1'), net_utils.is_local_ipv4('127.0.0.1'), net_utils.ip_to_long('1.2.3.4'),
                net_utils.long_to_ip(16909060), net_utils.get_primary_host_name(), tld.get_organizational_domain('a.b.co.uk'),
                tld.split_hostname('mail.example.co.uk', 2), rfc1869.parse('mail', 'FROM:<a@b> SIZE=1'),
                new HarakaMx('lmtp://u:p@h.test:24').toUrl(), net_utils.ipv6_reverse('2001:db8::1').length]))
            this.loginfo(JSON.stringify([header.get('subject'), header.get_decoded('subject'), header.get_all('x'), header.lines()[0]]))
        }
        exports.hook_rcpt = (next) => next(DENY, dsn.no_such_user())"#,
    );
    server.wait_for_log(
        r#"[{"a":true,"b":true},true,true,true,16909060,"1.2.3.4","mx.test","b.co.uk",["mail","example.co.uk"],["<a@b>","SIZE=1"],"lmtp://u:****@h.test:24",63]"#,
        DEADLINE,
    );
    server.wait_for_log(
        r#"["=?UTF-8?Q?a_b?=\n","a b",["1\n","2\n"],"First: one\n two\n"]"#,
        DEADLINE,
    );
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    let refused = client.cmd("RCPT TO:<c@here.test>").expect(550);
    assert_eq!(refused.text(), "5.1.1 No such user");
}

// covers LOG-05, LOG-09, PLG-17
#[test]
fn log_functions_take_texts_objects_and_whom_a_line_is_about() {
    let server = server_with(
        r#"
        const logger = require('./logger')
        exports.hook_noop = function (next, connection) {
            this.logwarn('with connection', connection)
            connection.loginfo(this, 'of connection', { a: 1, b: 'two words' })
            this.loginfo(new Error('an error').message, ' and ', 5)
            logger.info('short')
            logger.warn({ name: 'origin' }, 'object with name')
            server.loginfo(`of the server ${server.cfg.main.nodes} ${server.plugins.plugin_list}`)
            connection.loginfo([1, 2])
            next()
        }"#,
    );
    greeted(&server).cmd("NOOP").expect(250);
    for line in [
        "] [mine] with connection",
        "] [mine] of connection a=1 b=\"two words\"",
        "[INFO] [-] [mine] an error and 5",
        "[INFO] [-] [core] short",
        "[WARN] [-] [origin] object with name",
        "[INFO] [-] [server] of the server 1 mine",
        "] [core] [ 1, 2 ]",
    ] {
        server.wait_for_log(line, DEADLINE);
    }
}

/// A server whose plugin routes all mail to the sink.
fn sending(sink: &Sink, script: &str) -> Server {
    let addr = sink.addr();
    let routing = format!(
        "\nexports.hook_get_mx = function (next, hmail, domain) {{
            if (this.routing) return this.routing(next, hmail, domain)
            next(OK, {{ exchange: '{}', port: {} }})
        }}
        const SINK = '{addr}'",
        addr.ip(),
        addr.port()
    );
    Server::start(install_with(&format!("{script}{routing}")).set(
        "outbound.ini",
        "main",
        "local_mx_ok",
        "true",
    ))
}

// covers OUT-02, OUT-22, OUT-23, HOK-25, PA-48
#[test]
fn plugins_send_mail_from_text_octets_and_streams() {
    let sink = Sink::start();
    let server = sending(
        &sink,
        r#"
        const outbound = require('./outbound')
        const { Readable } = require('stream')
        const { Address } = require('./address')
        exports.hook_noop = function (next, connection) {
            const head = ['From: a@b.test', 'Message-Id: <old@id>', 'Subject: made', ''].join('\n')
            const said = (what) => (code, message) => this.loginfo(`${what}: ${code === OK} ${message}`)
            outbound.send_email('<a@b.test>', '<one@far.test>', `${head}\ntext\n.dot\nlast`, said('text'), { notes: { from: 'text' }, remove_msgid: true })
            outbound.send_email(new Address('<a@b.test>'), [new Address('<two@far.test>')], `${head}\n..dot\n`, said('stuffed'), { dot_stuffed: true })
            outbound.send_email('<a@b.test>', '<three@far.test>', Readable.from([Buffer.from(head), Buffer.from('\nstream\n')]), said('stream'))
            outbound.send_email('<a@b.test>', [], 'x', said('nobody'))
            outbound.send_email('nonsense@', '<x@far.test>', 'x', said('bad'))
            outbound.send_email('<>', '<four@far.test>', `${head}\nquiet\n`)
            next()
        }
        exports.hook_pre_send_trans_email = (next, connection) => {
            const txn = connection.transaction
            txn.add_header('X-Notes', String(txn.notes.from))
            txn.results.add({ name: 'mine' }, { pass: 'seen', emit: true })
            next()
        }
        exports.hook_delivered = function (next, hmail, params) {
            const [host, ip, response, delay, port, mode, ok, secured, authenticated] = params
            this.loginfo(`delivered ${ok[0].address} from ${hmail.todo.notes.from} ${ip} ${mode} ${secured} ${authenticated} ${hmail.notes.seen}`)
            next()
        }
        exports.hook_send_email = (next, hmail) => {
            hmail.notes.seen = [hmail.num_failures, hmail.todo.domain, hmail.todo.queue_time > 0, hmail.path.endsWith(hmail.filename)].join('/')
            next()
        }
        "#,
    );
    greeted(&server).cmd("NOOP").expect(250);
    for to in ["one", "two", "three", "four"] {
        server.wait_for_log(&format!("delivered {to}@far.test"), DEADLINE);
    }
    let messages = sink.messages();
    let of = |to: &str| {
        let found = messages.iter().find(|m| m.to[0].contains(to));
        found.unwrap_or_else(|| panic!("nothing for {to}")).clone()
    };
    let text = of("one");
    assert!(text.text().ends_with("\r\n\r\ntext\r\n.dot\r\nlast\r\n"));
    assert_ne!(text.header("Message-Id").unwrap(), "<old@id>");
    assert_eq!(text.header("X-Notes").unwrap(), "text");
    assert!(text.header("Received").unwrap().contains("Haraka outbound"));
    assert!(text.header("Date").is_some());
    assert!(of("two").text().ends_with("\r\n\r\n.dot\r\n"));
    assert!(of("three").text().ends_with("\r\n\r\nstream\r\n"));
    assert_eq!(of("three").header("Message-Id").unwrap(), "<old@id>");
    assert_eq!(of("four").from.split(' ').next().unwrap(), "<>");
    server.wait_for_log("text: true Message Queued (", DEADLINE);
    server.wait_for_log("nobody: false No recipients for email", DEADLINE);
    server.wait_for_log("bad: false Malformed from: ", DEADLINE);
    server.wait_for_log(
        "from text 127.0.0.1 SMTP false false 0/far.test/true/true",
        DEADLINE,
    );
}

// covers HOK-26, HOK-27, HOK-28, HOK-29
#[test]
fn hooks_about_deliveries_get_what_happened_and_decide() {
    let sink = Sink::start();
    let server = sending(
        &sink,
        r#"
        const outbound = require('./outbound')
        const { HarakaMx } = require('./net_utils')
        exports.hook_noop = function (next) {
            for (const name of ['url', 'list', 'refused', 'later', 'object']) {
                outbound.send_email('<a@b.test>', `<x@${name}.test>`, `Subject: ${name}\n\nx\n`)
            }
            next()
        }
        exports.hook_vrfy = async function (next) {
            const stat = await outbound.stat_queue()
            const list = await outbound.list_queue()
            next(OK, `queue ${stat.queue_count} ${list.map((item) => item.domain)}`)
        }
        exports.routing = (next, hmail, domain) => {
            const [host, port] = SINK.split(':')
            if (domain === 'url.test') return next(OK, `smtp://${SINK}`)
            if (domain === 'list.test') return next(OK, [{ exchange: '127.0.0.9', port: 1, priority: 1 }, { exchange: host, port, priority: 5 }])
            if (domain === 'object.test') return next(OK, Object.assign(new HarakaMx({ exchange: host, port }), { bind_helo: 'helo.test', bind: '127.0.0.1' }))
            if (domain === 'later.test') return next(DENYSOFT, 'not now')
            return next(DENY, 'never')
        }
        exports.hook_deferred = function (next, hmail, { delay, err }) {
            this.loginfo(`deferred ${hmail.todo.domain} ${delay > 0} ${err}`)
            next(DENYSOFT, 3600)
        }
        exports.hook_bounce = function (next, hmail, err) {
            this.loginfo(`bounced ${hmail.todo.domain} ${err.message} ${hmail.todo.rcpt_to.map(String)} ${err instanceof Error}`)
            next(OK)
        }
        "#,
    );
    greeted(&server).cmd("NOOP").expect(250);
    server.wait_for_log("deferred later.test true", DEADLINE);
    server.wait_for_log("bounced refused.test", DEADLINE);
    harness::wait_for("the queue to hold what was deferred", || {
        greeted(&server).cmd("VRFY x").text() == "queue 1 later.test"
    });
    let messages = sink.wait_accepted(3);
    let object = messages
        .iter()
        .find(|m| m.to[0].contains("object"))
        .unwrap();
    assert_eq!(object.helo, "helo.test");
}

const AUTH: &str = r#"
    exports.register = function () { this.inherits('auth/auth_base') }
    exports.hook_capabilities = (next, connection) => {
        const methods = ['PLAIN', 'LOGIN', 'CRAM-MD5']
        connection.capabilities.push(`AUTH ${methods.join(' ')}`)
        connection.notes.allowed_auth_methods = methods
        next()
    }
    exports.get_plain_passwd = (user, connection, cb) => cb(user === 'u' ? 'secret' : null)
    exports.hook_data_post = function (next, connection) {
        this.loginfo(`header ${connection.transaction.header.get('authentication-results')}`)
        next(DENY, 'seen')
    }
    exports.hook_noop = function (next, connection) {
        this.loginfo(`user ${connection.notes.auth_user} relays ${connection.relaying} ${JSON.stringify(connection.results.get('auth')?.method)}`)
        next()
    }"#;

// covers AUT-01, AUT-02, AUT-03, AUT-05, AUT-06, AUT-07, AUT-08, AUT-10
#[test]
fn plugins_inherit_authentication() {
    let server = server_with(AUTH);
    let mut client = greeted(&server);
    let passed = client.cmd("AUTH PLAIN AHUAc2VjcmV0").expect(235);
    assert_eq!(passed.text(), "2.7.0 Authentication successful");
    client.cmd("NOOP").expect(250);
    server.wait_for_log(r#"user u relays true "PLAIN""#, DEADLINE);
    client
        .send_mail("a@b.test", &["c@here.test"], MESSAGE)
        .expect(550);
    server.wait_for_log("header mx.test;\\n\tauth=pass (plain)", DEADLINE);

    let mut client = greeted(&server);
    assert_eq!(client.cmd("AUTH LOGIN").expect(334).text(), "VXNlcm5hbWU6");
    assert_eq!(client.cmd("dQ==").expect(334).text(), "UGFzc3dvcmQ6");
    let refused = client.cmd("d3Jvbmc=").expect(535);
    assert_eq!(refused.text(), "5.7.8 Authentication failed");
    client.cmd("AUTH PLAIN AHUA").expect(504);
    client.cmd("AUTH PLAIN").expect(334);
    let misused = client.cmd("AUTH PLAIN AHUAc2VjcmV0").expect(521);
    assert_eq!(misused.text(), "bad protocol");
    client.expect_close();
}

// covers AUT-04
#[test]
fn challenge_is_answered_with_a_keyed_digest() {
    let server = server_with(&format!(
        "{AUTH}
        let first
        exports.hook_ehlo = (next, connection) => {{
            first ??= connection
            next()
        }}
        exports.hook_vrfy = (next, connection) => {{
            const utils = require('haraka-utils')
            next(OK, utils.cram_md5_response('u', 'secret', utils.base64(first.notes.auth_ticket)))
        }}"
    ));
    let mut client = greeted(&server);
    let challenge = client.cmd("AUTH CRAM-MD5").expect(334).text();
    assert!(challenge.len() > 20, "{challenge}");
    let answer = greeted(&server).cmd("VRFY x").text();
    client.cmd(&answer).expect(235);
}
