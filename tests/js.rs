//! Plugins written in JavaScript, in a running server: what their authors rely on, and what a bad one
//! must not be able to do.

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

use harness::Install;
use harness::scripts::{MESSAGE, install_with, send, server_with, serves};
use harness::{DEADLINE, Server, greeted};

// covers PLG-05, PLG-11, HOK-12, PA-14
#[test]
fn plugin_of_the_tutorial_refuses_and_rewrites_recipients() {
    let server = server_with(
        r#"
        exports.hook_rcpt = (next, connection, params) => {
            const rcpt = params[0]
            connection.loginfo(`got recipient: ${rcpt}`)
            const match = /^(.*)-(\d{4})(\d{2})(\d{2})$/.exec(rcpt.user)
            if (!match) return next()
            const expiry = new Date(match[2], match[3] - 1, match[4])
            if (expiry < new Date()) return next(DENY, 'Expired email address')
            rcpt.user = match[1]
            connection.loginfo(`now ${rcpt} ${rcpt.address} ${rcpt.address()}`)
            next()
        }
        exports.hook_data_post = function (next, connection) {
            connection.loginfo(this, `for ${connection.transaction.rcpt_to}`)
            next()
        }"#,
    );
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    let refused = client.cmd("RCPT TO:<x-20200101@here.test>").expect(550);
    assert_eq!(refused.text(), "Expired email address");
    client.cmd("RCPT TO:<x-20991231@here.test>").expect(250);
    client.data(MESSAGE).expect(250);
    server.wait_for_log("now <x@here.test> x@here.test x@here.test", DEADLINE);
    server.wait_for_log("[mine] for <x@here.test>", DEADLINE);
}

// covers PLG-10, PLG-13, HOK-07, RES-02, RES-07, TXN-01, CFS-23, CFS-31
#[test]
fn async_methods_notes_results_headers_and_followed_configuration_work() {
    let install = install_with(
        r#"
        const { promisify } = require('node:util')
        const fs = require('fs')
        exports.register = function () {
            this.load()
            this.register_hook('connect', 'greet', -5)
            this.register_hook('data_post', 'look')
        }
        exports.load = function () {
            this.cfg = this.config.get('mine.ini', { booleans: ['+main.on'] }, () => this.load())
            this.loginfo(`word is ${this.cfg.main.word} on ${this.cfg.main.on}`)
        }
        exports.greet = async function (next, connection) {
            connection.notes.deep = { is: [1] }
            await new Promise((resolve) => setTimeout(resolve, 5))
            await fs.promises.access(__filename)
            const text = await promisify(fs.readFile)(__filename, 'utf8')
            connection.results.add(this, { pass: 'read', size: text.length > 100, emit: true })
            next(OK, ['two', 'lines'])
        }
        exports.look = function (next, connection) {
            const txn = connection.transaction
            connection.notes.set('deep.more', connection.results.get('mine').pass[0])
            txn.add_header('X-Mine', `${connection.notes.get('deep.more')} ${txn.header.get('subject').trim()}`)
            txn.message_stream.get_data((bytes) => {
                txn.add_leading_header('X-Ends', JSON.stringify(bytes.slice(-6).toString()))
                next()
            })
        }"#,
    )
    .config("mine.ini", "word=first\non=false\n");
    let server = Server::start(install);
    server.wait_for_log("[mine] word is first on false", DEADLINE);
    let mut client = server.client();
    assert_eq!(client.reply().expect(220).lines, ["two", "lines"]);
    client.cmd("EHLO client.test").expect(250);
    client
        .send_mail("a@b.test", &["c@here.test"], MESSAGE)
        .expect(250);
    server.wait_for_log("[mine] size: true, pass:read", DEADLINE);
    let stored = server.install().stored().remove(0);
    let stored = String::from_utf8(stored).unwrap();
    assert!(stored.contains("X-Mine: read hi\r\n"), "{stored}");
    assert!(stored.contains("X-Ends: \"body\\r\\n\"\r\n"), "{stored}");
    server.install().write("config/mine.ini", b"word=second\n");
    server.wait_for_log("[mine] word is second on true", DEADLINE);
}

// covers PLG-14, RES-07, RES-08
#[test]
fn native_plugins_see_what_scripts_leave_in_notes() {
    let server = server_with(
        r#"
        exports.hook_mail = function (next, connection) {
            const { notes } = connection.transaction
            notes.itself = notes
            notes.run = () => 1
            notes.skip_plugins.push('rcpt_to.in_host_list')
            next()
        }"#,
    );
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    client.cmd("RCPT TO:<c@here.test>").expect(550);
}

// covers RES-01, RES-02, RES-03, RES-04, PA-10
#[test]
fn results_are_counted_listed_found_and_summed_up() {
    let server = server_with(
        r#"
        exports.hook_data = function (next, connection) {
            const { results } = connection.transaction
            results.add(this, { pass: 'one', fail: ['two', 'three'], err: new Error('odd'), score: 1, hidden: { a: 1 } })
            results.incr(this, { score: 2.5, fresh: '4' })
            results.push(this, { seen: 'x' })
            results.push({ name: 'mine' }, { seen: ['y'] })
            const got = results.get('mine')
            this.loginfo(JSON.stringify([got.score, got.fresh, got.seen, got.err, results.has(this, 'fail', /^thr/),
                results.has('mine', 'pass', 'two'), results.has('mine', 'score', 3.5), results.get('none') === undefined,
                Object.keys(results.get_all()).includes('mine')]))
            this.loginfo(results.collate(this))
            const helo = connection.results.get('helo')
            this.loginfo(`core ${helo.host} ${helo.pass.length} ${Object.keys(connection.results.get_all())}`)
            next()
        }"#,
    );
    send(&server, MESSAGE);
    server.wait_for_log(
        r#"[3.5,4,["x","y"],["odd"],true,false,true,true,true]"#,
        DEADLINE,
    );
    server.wait_for_log(
        "score: 3.5, fresh: 4, seen: x,y, pass:one, fail:two, three, err:odd",
        DEADLINE,
    );
    server.wait_for_log("[ERROR] [", DEADLINE);
    server.wait_for_log("core client.test 0 local,remote,helo", DEADLINE);
}

// covers PLG-03, PLG-05, PLG-06, PLG-07, PLG-08, PLG-12, CFS-06
#[test]
fn packages_modules_core_modules_and_parents_are_found() {
    let package = r#"{"name":"haraka-plugin-pack","main":"lib/main.js"}"#;
    let main = r#"
        const dep = require('dep/inner'), data = require('../data.json')
        exports.register = function () {
            this.loginfo(`${dep.name} ${data.n} ${OK} ${this.config.get('pack.ini').main.a} ${require.resolve('dep/inner').split('/').pop()}`)
            const { Address } = require('@haraka/email-address')
            import('esm').then((m) => this.loginfo(`esm ${m.default} ${m.base('/x/y.z')} ${m.old(new Address('<x@y.test>'))} ${m.listed}`))
            this.loginfo(`required esm ${require('esm').default}`)
        }"#;
    let install = install_with(
        r#"
        const own = require('./config'), constants = require('./constants')
        const helper = require('./beside')
        exports.register = function () {
            this.inherits('rcpt_to.host_list_base')
            this.load_host_list()
            this.loginfo([own === this.config, constants.deny === DENY, helper.text, typeof server.notes,
                this.haraka_require('constants') === constants, this.in_host_list('HERE.test'), this.base['rcpt_to.host_list_base'].name].join())
        }"#,
    )
    .file("plugins/beside.js", "module.exports = { text: 'beside' }")
    .file("node_modules/haraka-plugin-pack/package.json", package)
    .file("node_modules/haraka-plugin-pack/lib/main.js", main)
    .file("node_modules/haraka-plugin-pack/data.json", "{\"n\":7}")
    .file("node_modules/haraka-plugin-pack/config/pack.ini", "a=shipped\n")
    .file(
        "node_modules/dep/package.json",
        r#"{"exports":{"./inner":{"import":"./wrong.mjs","require":"./in.cjs"}}}"#,
    )
    .file("node_modules/dep/in.cjs", "exports.name = 'dep'")
    .file("node_modules/esm/package.json", r#"{"type":"module","main":"./m.js"}"#)
    .file(
        "node_modules/esm/m.js",
        "import path, { basename } from 'node:path'\nimport inner from './in.cjs'\nexport default inner.v + path.sep\nexport const base = basename\n\
            export const old = (a) => `${a.user()} a.user()`\nimport utils from 'haraka-utils'\nexport const listed = utils.in_array(1, [1])\n",
    )
    .file("node_modules/esm/in.cjs", "exports.v = 'inner'")
    .plugins(&["mine", "haraka-plugin-pack", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    server.wait_for_log(
        "[mine] true,true,beside,object,true,true,rcpt_to.host_list_base",
        DEADLINE,
    );
    server.wait_for_log("[pack] dep 7 906 shipped in.cjs", DEADLINE);
    server.wait_for_log("[pack] required esm inner/", DEADLINE);
    server.wait_for_log("[pack] esm inner/ y.z x a.user() true", DEADLINE);
}

// covers PLG-03, PLG-12
#[test]
fn parents_are_found_inside_and_beside_the_package_that_inherits() {
    let heir = |of: &str| {
        format!(
            "exports.register = function () {{
                this.inherits('{of}')
                this.loginfo([this.name, this.from, this.base['{of}'].name, this.base['{of}'].hasPackageJson].join())
            }}"
        )
    };
    let parent = |from: &str| {
        format!(
            "exports.from = '{from}'
             exports.register = function () {{ this.lognotice(`registers with ${{this.name}}`) }}"
        )
    };
    let install = Install::new()
        .file("node_modules/haraka-plugin-nest/package.json", "{}")
        .file(
            "node_modules/haraka-plugin-nest/index.js",
            &heir("haraka-plugin-inner"),
        )
        .file(
            "node_modules/haraka-plugin-nest/node_modules/haraka-plugin-inner/package.json",
            "{}",
        )
        .file(
            "node_modules/haraka-plugin-nest/node_modules/haraka-plugin-inner/index.js",
            &parent("inside"),
        )
        .file("apart/node_modules/haraka-plugin-led/package.json", "{}")
        .file(
            "apart/node_modules/haraka-plugin-led/index.js",
            &heir("elder"),
        )
        .file("apart/node_modules/haraka-plugin-elder/package.json", "{}")
        .file(
            "apart/node_modules/haraka-plugin-elder/index.js",
            &parent("beside"),
        )
        .file("node_modules/haraka-plugin-own/package.json", "{}")
        .file("node_modules/haraka-plugin-own/index.js", &heir("inner"))
        .file("plugins/inner.js", &parent("plugins"))
        .plugins(&["own", "nest", "led", "rcpt_to.in_host_list", "queue/test"]);
    let at = |path: &str| install.path().join(path);
    let link = at("node_modules/haraka-plugin-led");
    std::os::unix::fs::symlink(at("apart/node_modules/haraka-plugin-led"), link).unwrap();
    let server = Server::start(install);
    // What an operator put into `plugins/` comes first, whoever asks.
    server.wait_for_log("[own] own,plugins,inner,false", DEADLINE);
    server.wait_for_log("[nest] nest,plugins,inner,false", DEADLINE);
    server.wait_for_log("[led] led,beside,elder,true", DEADLINE);
    server.wait_for_log("registers with led", DEADLINE);
    let mut install = server.into_install();
    std::fs::remove_file(install.path().join("plugins/inner.js")).unwrap();
    install = install.plugins(&["nest", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    server.wait_for_log("[nest] nest,inside,inner,true", DEADLINE);
}

// covers HOK-33, HOK-34, PA-07
#[test]
fn plugin_that_throws_rejects_or_answers_twice_costs_its_own_call() {
    let server = server_with(
        r#"
        const hooks = ['connect_init', 'lookup_rdns', 'connect', 'capabilities', 'ehlo', 'mail', 'rcpt', 'rcpt_ok', 'data',
            'data_post', 'queue', 'queue_ok', 'reset_transaction', 'noop', 'quit', 'disconnect', 'unrecognized_command']
        exports.register = function () {
            for (const hook of hooks) {
                this.register_hook(hook, 'throws')
                this.register_hook(hook, 'rejects')
                this.register_hook(hook, 'twice')
                this.register_hook(hook, 'late')
            }
        }
        exports.throws = (next, connection) => { throw new Error(`thrown in ${connection.hook}`) }
        exports.rejects = async (next, connection) => { await null; throw new Error(`rejected in ${connection.hook}`) }
        exports.twice = (next) => { next(); next(DENY, 'again') }
        exports.late = (next, connection) => { next(); return Promise.reject(new Error(`late in ${connection.hook}`)) }
        setTimeout(() => { throw new Error('thrown by a timer') }, 1)
        Promise.reject(new Error('nobody cares'))"#,
    );
    let worker = server.wait_for_workers(1);
    let mut client = greeted(&server);
    client.cmd("NOOP").expect(250);
    client.cmd("BOGUS").expect(500);
    client
        .send_mail("a@b.test", &["c@here.test"], MESSAGE)
        .expect(250);
    client.quit();
    for part in [
        "thrown in rcpt",
        "rejected in data_post",
        "thrown in queue",
        "late in connect",
        "plugin ran callback multiple times",
        "rejected in disconnect",
        "thrown by a timer",
        "nobody cares",
    ] {
        server.wait_for_log(part, DEADLINE);
    }
    serves(&server, &worker);
}

/// What must not stop a worker, each asked for by the sender's name.
const HOSTILE: &str = r#"
    exports.hook_mail = async function (next, connection, [from]) {
        switch (from.user) {
            case 'loop': for (;;) {}
            case 'chain': for (;;) await null
            case 'later': await null; for (;;) {}
            case 'regexp': return next(/^(a+)+$/.test('a'.repeat(40) + 'b') ? OK : CONT)
            case 'bomb': { const held = []; for (;;) held.push(new Array(100000).fill(from.user)) }
            case 'text': { let text = 'x'; for (;;) text += text }
            case 'deep': { const f = () => f() + 1; return next(f()) }
            case 'exit': return process.exit(1)
        }
        next()
    }"#;

// covers HOK-33: a script that never ends, and one that takes all it can get
#[test]
fn runaway_scripts_are_stopped_and_the_worker_goes_on() {
    let server = server_with(HOSTILE);
    let worker = server.wait_for_workers(1);
    for (name, code) in [
        ("loop", 450),
        ("later", 450),
        ("chain", 450),
        ("regexp", 450),
        ("bomb", 250),
        ("text", 250),
        ("deep", 250),
        ("exit", 250),
    ] {
        let mut client = greeted(&server);
        let reply = client.cmd(&format!("MAIL FROM:<{name}@b.test>"));
        assert_eq!(reply.code, code, "{name}: {reply}\n{}", server.log_text());
        serves(&server, &worker);
    }
    server.wait_for_log("[CRIT] [-] [mine] Plugin mine", DEADLINE);
    server.wait_for_log("script stopped, as it ran for more than", DEADLINE);
}

// covers HOK-32
#[test]
fn method_that_never_answers_is_a_soft_denial_after_its_time() {
    let install = install_with("exports.hook_mail = (next) => setTimeout(next, 3000)")
        .config("mine.timeout", "1\n");
    let server = Server::start(install);
    let worker = server.wait_for_workers(1);
    let reply = greeted(&server).cmd("MAIL FROM:<a@b.test>").expect(450);
    assert_eq!(reply.text(), "plugin timeout");
    server.wait_for_log("Plugin mine timed out on hook mail", DEADLINE);
    assert_eq!(server.worker_pids(), worker);
}

// covers PLG-04, PLG-16, CLI-11
#[test]
fn script_that_cannot_be_loaded_ends_the_start_with_file_and_line() {
    let install = install_with("'use strict'\nexports.register = function () {\n  nothing()\n}\n");
    let failure = Server::try_start(install, &[env!("CARGO_BIN_EXE_haraka")])
        .map(|_| ())
        .unwrap_err();
    assert!(
        failure
            .log
            .contains("plugins:1: Loading plugin mine failed: ")
            && failure.log.contains("plugins/mine.js:3:")
            && failure.log.contains("nothing"),
        "{}",
        failure.log
    );
}

// covers CLI-11, HOK-31
#[test]
fn run_order_shows_methods_of_scripts() {
    let install = install_with(
        "exports.register = function () { this.register_hook('rcpt', 'mine_first', -500) }\nexports.hook_rcpt = (next) => next()\n",
    );
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["-o", "-c"])
        .arg(install.path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let line = |part: &str| text.lines().position(|l| l.contains(part));
    let (first, second) = (line("mine_first").unwrap(), line("hook_rcpt").unwrap());
    assert!(first < second && text.contains("-100"), "{text}");
}

// covers CON-01: what a plugin sets on the objects stays for the connection and goes with it
#[test]
fn objects_are_the_same_in_every_hook_of_a_connection_and_new_in_the_next() {
    let server = server_with(
        r#"
        const seen = new Set()
        exports.hook_connect = (next, connection) => { connection.mine = 1; next() }
        exports.hook_mail = function (next, connection) {
            connection.transaction.own = (connection.transaction.own ?? 0) + connection.mine
            seen.add(new WeakRef(connection))
            next()
        }
        exports.hook_rcpt_ok = function (next, connection, rcpt) {
            this.loginfo(`own ${connection.transaction.own} ${rcpt === connection.transaction.rcpt_to[0]} ${connection.hook}`)
            next()
        }
        exports.hook_noop = function (next) {
            this.loginfo(`alive ${[...seen].filter((ref) => ref.deref()).length}`)
            next()
        }"#,
    );
    for _ in 0..3 {
        let mut client = greeted(&server);
        for _ in 0..2 {
            client
                .send_mail("a@b.test", &["c@here.test"], MESSAGE)
                .expect(250);
        }
        client.quit();
    }
    assert!(!server.log_text().contains("own 2"));
    server.wait_for_log("own 1 true rcpt_ok", DEADLINE);
    harness::wait_for("ended connections to be freed", || {
        greeted(&server).cmd("NOOP").expect(250);
        server.log_text().contains("alive 0")
    });
}

// covers PLG-09, PLG-15, HOK-01, HOK-02
#[test]
fn init_hooks_run_and_plugins_hear_of_the_end() {
    let mut server = server_with(
        r#"
        exports.hook_init_master = function (next) { this.loginfo('for the master'); next() }
        exports.hook_init_child = function (next) { this.loginfo('for a worker'); next() }
        exports.shutdown = function () { this.loginfo('told to end') }"#,
    );
    server.wait_for_log("[mine] for the master", DEADLINE);
    server.wait_for_log("[mine] for a worker", DEADLINE);
    server.stop();
    assert!(server.log_text().contains("[mine] told to end"));
}

// covers PLG-10, HOK-31, TXN-02
#[test]
fn hooks_registered_after_loading_run_and_early_header_fields_stay() {
    let server = server_with(
        r#"
        exports.register = async function () {
            await new Promise((resolve) => setTimeout(resolve, 5))
            this.register_hook('mail', 'early')
            this.register_hook('mail', 'refuse')
            this.loginfo('registered at last')
        }
        exports.early = (next, connection) => {
            connection.transaction.add_leading_header('X-Early', 'kept')
            next()
        }
        exports.refuse = (next, connection, params) => {
            if (params[0].user === 'bad') return next(DENY, 'not you')
            next()
        }"#,
    );
    server.wait_for_log("registered at last", DEADLINE);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<bad@b.test>").expect(550);
    client
        .send_mail("a@b.test", &["c@here.test"], MESSAGE)
        .expect(250);
    let stored = String::from_utf8(server.install().stored().remove(0)).unwrap();
    assert!(stored.contains("X-Early: kept\r\n"), "{stored}");
}
