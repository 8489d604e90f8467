//! What of Haraka's own scripts can require and inherit from, beyond what its documentation shows: native
//! parents, clients with TLS, what is absent and says so, and what a plugin cannot change for the others.

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

use harness::scripts::{MESSAGE, install_with};
use harness::{Authority, DEADLINE, Install, Rule, Server, Sink, Stage, greeted};

// covers PLG-12
#[test]
fn queue_plugin_that_is_native_works_as_parent_of_a_script() {
    let sink = Sink::start();
    let script = r#"
        exports.register = function () {
            this.inherits('queue/smtp_forward')
            this.register_hook('data_post', 'count')
        }
        exports.count = function (next, connection) {
            server.notes.count = (server.notes.count ?? 0) + 1
            connection.transaction.add_header('X-Count', String(server.notes.count))
            next()
        }
        exports.hook_queue_ok = function (next, connection, text) {
            this.loginfo(`taken with ${text}`)
            next()
        }"#;
    let port = sink.addr().port();
    let install = install_with(script)
        .plugins(&["mine", "rcpt_to.in_host_list"])
        .config(
            "smtp_forward.ini",
            &format!("host=127.0.0.1\nport={port}\n"),
        );
    let server = Server::start(install);
    let sent = greeted(&server).send_mail("a@b.test", &["c@here.test"], MESSAGE);
    sent.expect(250);
    assert_eq!(
        sink.wait_accepted(1)[0].header("X-Count").as_deref(),
        Some("1")
    );
    server.wait_for_log("[mine] taken with", DEADLINE);
    sink.rule(Rule::reply(Stage::Dot, "554 not today"));
    let refused = greeted(&server).send_mail("a@b.test", &["c@here.test"], MESSAGE);
    assert!(refused.expect(550).text().starts_with("not today"));
}

// covers PLG-12, HOK-32
#[test]
fn parent_that_is_asked_out_of_turn_throws_and_costs_nothing() {
    let script = r#"
        exports.register = function () {
            this.inherits('rcpt_to.in_host_list')
            this.inherits('queue/test')
        }
        exports.hook_noop = function (next, connection) {
            const parent = this.base['rcpt_to.in_host_list']
            const base = this.base['queue/test']
            for (const subject of [connection, {}]) {
                try {
                    parent.hook_rcpt.call(this, () => this.loginfo('never said'), subject, [])
                } catch (err) {
                    this.loginfo(`refused: ${err.message}`)
                }
            }
            for (let i = 0; i < 100; i++) {
                try {
                    base.hook_queue.call(this, () => {}, connection)
                } catch (err) {
                    server.notes.refused = (server.notes.refused ?? 0) + 1
                }
            }
            this.loginfo(`${server.notes.refused} refused`)
            setTimeout(() => next(OK, 'done'), 20)
        }"#;
    let server = Server::start(install_with(script).plugins(&["mine"]));
    let worker = server.wait_for_workers(1);
    let mut client = greeted(&server);
    client.cmd("NOOP").expect(250);
    server.wait_for_log("[mine] refused: rcpt_to.in_host_list", DEADLINE);
    // One call has a bounded number of them waiting.
    server.wait_for_log("[mine] 84 refused", DEADLINE);
    let sent = client.send_mail("a@b.test", &["c@here.test"], MESSAGE);
    sent.expect(250);
    assert!(!server.log_text().contains("never said"));
    assert_eq!(server.worker_pids(), worker);
}

// covers PLG-12
#[test]
fn parent_that_does_not_exist_or_is_configured_wrong_ends_the_start() {
    for (parent, config, expected) in [
        ("none/such", "", "Loading plugin none/such failed"),
        ("queue/smtp_forward", "port=many\n", "smtp_forward.ini"),
    ] {
        let script = format!("exports.register = function () {{ this.inherits('{parent}') }}");
        let install = install_with(&script)
            .plugins(&["mine"])
            .config("smtp_forward.ini", config);
        let failure = Server::try_start(install, &[env!("CARGO_BIN_EXE_haraka")]);
        let log = failure.map(|_| ()).unwrap_err().log;
        assert!(log.contains(expected), "{parent}: {log}");
    }
}

// covers SMC-01, SMC-07, CFS-04
#[test]
fn smtp_client_of_a_script_goes_over_to_tls_and_tells_of_a_dead_host() {
    let sink = Sink::start();
    let authority = Authority::new();
    sink.secure(authority.issue("sink.test").server_config());
    sink.capabilities(&["STARTTLS"]);
    let script = r#"
        const { get_client_plugin } = require('./smtp_client')
        exports.register = function () {
            this.tls_options = { rejectUnauthorized: false }
        }
        exports.hook_queue = function (next, connection) {
            const { transaction } = connection
            const to = transaction.rcpt_to[0].user
            const cfg = { host: '127.0.0.1', port: to === 'dead' ? 1 : this.config.getInt('sink_port'), enable_tls: true }
            get_client_plugin(this, connection, cfg, (err, client) => {
                client.next = next
                client.on('mail', () => client.send_command('RCPT', `TO:${transaction.rcpt_to[0].format()}`))
                client.on('rcpt', () => client.send_command('DATA'))
                client.on('data', () => client.start_data(transaction.message_stream))
                client.on('dot', () => {
                    client.call_next(OK, `secure ${client.socket.isEncrypted()}`)
                    client.release()
                })
            })
        }"#;
    let install = install_with(script)
        .plugins(&["mine", "rcpt_to.in_host_list"])
        .config("sink_port", &format!("{}\n", sink.addr().port()));
    let server = Server::start(install);
    let sent = greeted(&server).send_mail("a@b.test", &["c@here.test"], MESSAGE);
    assert!(sent.expect(250).text().contains("secure true"));
    assert_eq!(sink.wait_accepted(1)[0].text().matches("body").count(), 1);
    assert!(sink.secured() > 0);
    // No plugin took it: refused for now, and at once.
    greeted(&server)
        .send_mail("a@b.test", &["dead@here.test"], MESSAGE)
        .expect(451);
    server.wait_for_log("backend failure: 127.0.0.1:1", DEADLINE);
}

// covers PLG-06
#[test]
fn modules_that_are_absent_say_why() {
    let script = r#"
        exports.hook_noop = function (next) {
            for (const name of ['dkim', 'haraka', 'outbound/qfile', 'outbound/tls', 'outbound/client_pool']) {
                for (const get of [(n) => this.haraka_require(n), (n) => require(`./${n}`)]) {
                    try {
                        get(name)
                    } catch (err) {
                        this.loginfo(`${err.code} ${err.message}`)
                    }
                }
            }
            const calls = [() => require('./tls_socket').createServer(), () => require('tls').createServer(), () => require('https').createServer(),
                () => require('cluster').fork(), () => server.sendToMaster('x')]
            for (const call of calls) {
                try {
                    call()
                } catch (err) {
                    this.loginfo(`no: ${err.message}`)
                }
            }
            this.loginfo(`todo ${require('./outbound/todo').name} ${require('./outbound/hmail').name}`)
            next(OK)
        }"#;
    let server = Server::start(install_with(script).plugins(&["mine"]));
    greeted(&server).cmd("NOOP").expect(250);
    server.wait_for_log("[mine] todo TODOItem HMailItem", DEADLINE);
    let log = server.log_text();
    for name in [
        "dkim",
        "haraka",
        "outbound/qfile",
        "outbound/tls",
        "outbound/client_pool",
    ] {
        let said = format!("MODULE_NOT_FOUND Haraka's module {name} is not available: ");
        assert_eq!(log.matches(&said).count(), 2, "{name}: {log}");
    }
    for said in [
        "no: tls_socket.createServer",
        "no: tls.createServer",
        "no: https.createServer",
        "no: cluster.fork",
        "no: sendToMaster",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

// covers PB-12, PLG-08
#[test]
fn plugin_cannot_change_for_others_what_constants_and_server_mean_nor_end_the_process() {
    let bad = r#"
        exports.register = function () {
            for (const name of ['OK', 'DENY', 'CONT', 'server']) {
                globalThis[name] = 1
                delete_it(name)
            }
            const attempts = [() => process.exit(1), () => process.abort(), () => process.kill(process.pid), () => process.chdir('/'),
                () => Object.defineProperty(globalThis, 'DENY', { value: 906 })]
            for (const attempt of attempts) {
                try {
                    attempt()
                    this.loginfo('was allowed')
                } catch (err) {
                    this.loginfo('was refused')
                }
            }
        }
        function delete_it(name) {
            try {
                delete globalThis[name]
            } catch {
                return
            }
        }"#;
    let good = r#"
        exports.hook_rcpt = function (next, connection, [rcpt]) {
            if (rcpt.user === 'x') return next(DENY, `constants ${OK} ${DENY} ${CONT} ${typeof server.notes}`)
            next(OK)
        }"#;
    let install = install_with(bad)
        .plugins(&["mine", "good", "queue/test"])
        .file("plugins/good.js", good);
    let server = Server::start(install);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    let refused = client.cmd("RCPT TO:<x@here.test>").expect(550);
    assert!(
        refused.text().contains("constants 906 902 900 object"),
        "{refused}"
    );
    client.cmd("RCPT TO:<y@here.test>").expect(250);
    assert!(
        !server.log_text().contains("was allowed"),
        "{}",
        server.log_text()
    );
}

// covers PB-75, PA-14
#[test]
fn package_of_either_generation_of_addresses_runs_unmodified() {
    let package = r#"
        const DSN = require('haraka-dsn')
        exports.register = function () { this.register_hook('rcpt', 'look') }
        exports.look = function (next, connection, params) {
            const rcpt = params[0]
            const old = [rcpt.address(), rcpt.user(), rcpt.host()]
            const now = [rcpt.address, rcpt.user, rcpt.host]
            if (String(old) !== String(now)) return next(DENY, `${old} is not ${now}`)
            if (rcpt.user === 'gone') return next(DENY, DSN.no_such_user())
            next()
        }"#;
    let manifest = r#"{"name":"haraka-plugin-old","version":"0.1.0","main":"index.js"}"#;
    let install = Install::new()
        .file("node_modules/haraka-plugin-old/package.json", manifest)
        .file("node_modules/haraka-plugin-old/index.js", package)
        .plugins(&["old", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    client.cmd("RCPT TO:<c@here.test>").expect(250);
    let gone = client.cmd("RCPT TO:<gone@here.test>").expect(550);
    assert!(gone.text().starts_with("5.1.1 "), "{gone}");
}
