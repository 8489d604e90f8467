//! Scripts that take what they can get: time, memory, timers, sockets, the objects of the language. Each is
//! run while another session is under way in the same worker, which must go on.

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

use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::scripts::{MESSAGE, install_with, serves};
use harness::{DEADLINE, Install, Server, greeted, poll_until, processes};
use nix::sys::signal::Signal;

/// Little of everything, so that it is used up soon.
const LIMITS: &str = "[limits]\ntime=1\nmemory=64\n";

/// Time for a worker to use up the processor time that the watchdog grants, on a machine that is busy.
const WATCHED: Duration = Duration::from_secs(90);

fn limited(script: &str) -> Install {
    install_with(script).config("javascript.ini", LIMITS)
}

/// Each sender's name stands for what is done then, and for the replies that may come of it.
fn survives(cases: &[(&str, &[u16])], script: &str) -> Server {
    let server = Server::start(limited(script));
    let workers = server.wait_for_workers(1);
    for (name, codes) in cases {
        let mut bystander = greeted(&server);
        bystander.cmd("MAIL FROM:<nobody@b.test>").expect(250);
        let mut client = greeted(&server);
        client.send_raw(format!("MAIL FROM:<{name}@b.test>\r\n").as_bytes());
        bystander.cmd("RCPT TO:<c@here.test>").expect(250);
        bystander.data(MESSAGE).expect(250);
        let reply = client.reply();
        assert!(
            codes.contains(&reply.code),
            "{name}: {reply}\n{}",
            server.log_text()
        );
        client.cmd("NOOP").expect(250);
        serves(&server, &workers);
    }
    server
}

// covers HOK-33, PLG-16
#[test]
fn time_and_memory_have_an_end_and_other_sessions_go_on() {
    let server = survives(
        &[
            ("loop", &[450]),
            ("chain", &[450]),
            ("later", &[450]),
            ("regexp", &[450]),
            ("repeat", &[450]),
            ("json", &[450]),
            ("caught", &[450]),
            ("big", &[450]),
            ("huge", &[250]),
            ("bomb", &[250, 450]),
            ("array", &[250, 450]),
            ("deep", &[250]),
            ("getter", &[250]),
            ("listeners", &[250, 450]),
            ("exit", &[250]),
            ("tick", &[250, 450]),
        ],
        r#"
        exports.hook_mail = async function (next, connection, [from]) {
            switch (from.user) {
                case 'loop': for (;;) {}
                case 'chain': for (;;) await null
                case 'later': await null; for (;;) {}
                case 'regexp': return next(/^(a+)+$/.test('a'.repeat(40) + 'b') ? OK : CONT)
                case 'repeat': for (;;) 'x'.repeat(1e6)
                case 'json': { const text = '[' + '1,'.repeat(1e5) + '1]'; for (;;) JSON.parse(text) }
                case 'caught': for (;;) try { 'x'.repeat(1e6).split('') } catch {}
                case 'big': { const big = 2n ** 500000n; for (;;) big * big }
                case 'huge': return next(2n ** (2n ** 30n) ? OK : CONT)
                case 'bomb': { const held = []; for (;;) held.push(new Array(100000).fill(from.user)) }
                case 'array': return next(Array(1e9).fill(0).length ? OK : CONT)
                case 'deep': { const f = () => f() + 1; return next(f()) }
                case 'getter': { const o = { get x() { return this.x } }; return next(o.x) }
                case 'listeners': { const e = new (require('events'))(); for (;;) e.on('x', () => {}) }
                case 'exit': return process.exit(1)
                case 'tick': { const again = () => process.nextTick(again); again() }
            }
            next()
        }"#,
    );
    server.wait_for_log("[CRIT] [-] [mine] Plugin mine on hook mail", DEADLINE);
    server.wait_for_log("script stopped, as it ran for more than", DEADLINE);
}

// covers HOK-33, PLG-16
#[test]
fn timers_without_end_leave_time_for_others() {
    survives(
        &[
            ("immediate", &[250]),
            ("interval", &[250]),
            ("million", &[250, 450]),
        ],
        r#"
        exports.hook_mail = (next, connection, [from]) => {
            if (from.user === 'immediate') { const again = () => setImmediate(again); again() }
            if (from.user === 'interval') for (let i = 0; i < 100; i += 1) setInterval(() => {}, 0)
            if (from.user === 'million') for (let i = 0; i < 1e6; i += 1) setTimeout(() => {}, 1e6)
            next()
        }"#,
    );
}

// covers PLG-16
#[test]
fn members_added_to_the_language_reach_no_reply_and_no_header() {
    let server = survives(
        &[("proto", &[250]), ("after", &[250])],
        r#"
        exports.hook_mail = function (next, connection, [from]) {
            if (from.user === 'proto') {
                Object.prototype.evil = { code: 999 }
                Object.prototype.dsn = undefined
                Array.prototype.last = function () { return this[this.length - 1] }
                String.prototype.evil = () => { throw new Error('never') }
            }
            connection.transaction.add_header('X-From', from.user)
            connection.transaction.notes.seen = { by: [this.name] }
            connection.results.add(this, { pass: 'proto' })
            next()
        }
        exports.hook_data_post = function (next, connection) {
            this.loginfo(`seen ${JSON.stringify(connection.transaction.notes.seen)}`)
            next()
        }"#,
    );
    server.wait_for_log(r#"[mine] seen {"by":["mine"]}"#, DEADLINE);
    let stored = server.install().stored();
    assert!(
        stored
            .iter()
            .all(|m| !String::from_utf8_lossy(m).contains("evil"))
    );
}

/// Node's own modules break as well when a plugin does this.
#[test]
fn language_that_is_broken_on_purpose_costs_the_scripts_and_not_the_worker() {
    let server = Server::start(limited(
        r#"
        exports.hook_mail = function (next, connection, [from]) {
            const never = () => { throw new Error('broken') }
            Array.prototype.push = never
            Array.prototype[Symbol.iterator] = never
            Map.prototype.get = never
            Function.prototype.call = Function.prototype.apply = never
            Promise.prototype.then = never
            JSON.stringify = JSON.parse = never
            Object.defineProperty(Object.prototype, 'then', { get: never })
            globalThis.Promise = globalThis.Map = globalThis.Error = undefined
            next()
        }"#,
    ));
    let workers = server.wait_for_workers(1);
    let mut bystander = greeted(&server);
    for _ in 0..3 {
        let mut client = greeted(&server);
        let reply = client.cmd("MAIL FROM:<a@b.test>");
        assert!([250, 450].contains(&reply.code), "{reply}");
        client.cmd("NOOP").expect(250);
        bystander.cmd("NOOP").expect(250);
        client.quit();
    }
    assert_eq!(server.worker_pids(), workers, "the worker was replaced");
}

// covers HOK-33, RES-09
#[test]
fn answers_that_cannot_be_read_are_still_answers() {
    survives(
        &[
            ("throwing", &[550, 450, 250]),
            ("nested", &[550, 450, 250]),
            ("endless", &[550, 450, 250]),
            ("long", &[550]),
            ("longer", &[550]),
            ("looping", &[550, 450, 250]),
            ("lines", &[550]),
        ],
        r#"
        const never = () => { throw new Error('not for you') }
        const nested = () => ({ get dsn() { return nested() }, get a() { return nested() } })
        const MESSAGES = {
            throwing: () => new Proxy({}, { get: never, ownKeys: never, getPrototypeOf: never, has: never }),
            nested,
            endless: () => new Proxy([], { get: (_, key) => (key === 'length' ? 2 ** 53 - 1 : 'x') }),
            long: () => 'x'.repeat(1e6),
            longer: () => 'x'.repeat(3e7),
            looping: () => ({ toString() { for (;;) {} }, toJSON() { for (;;) {} } }),
            lines: () => 'one\r\n250 two\r\n\0three',
        }
        exports.hook_mail = (next, connection, [from]) => {
            const message = MESSAGES[from.user]
            message ? next(DENY, message()) : next()
        }"#,
    );
}

// covers PLG-16
#[test]
fn sockets_and_files_without_end_leave_descriptors_for_clients() {
    // A peer that takes connections and never reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let script = r#"
        const net = require('net')
        const fs = require('fs')
        const PORT = %PORT%
        exports.hook_mail = function (next, connection, [from]) {
            if (from.user === 'gigabyte') {
                const socket = net.connect(PORT, '127.0.0.1')
                socket.on('error', () => {})
                setTimeout(() => socket.destroy(), 100)
                for (let i = 0; i < 1024; i += 1) socket.write(Buffer.alloc(1 << 20))
            }
            if (from.user === 'same') {
                const socket = net.connect(PORT, '127.0.0.1')
                const piece = Buffer.alloc(1 << 20)
                for (let i = 0; i < 1024; i += 1) socket.write(piece)
                setTimeout(() => socket.destroy(), 100)
            }
            if (from.user === 'sockets') {
                for (let i = 0; i < 100000; i += 1) net.connect(PORT, '127.0.0.1').on('error', () => {})
            }
            if (from.user === 'files') {
                for (let i = 0; i < 100000; i += 1) fs.openSync('/dev/null')
            }
            if (from.user === 'listeners') {
                for (let i = 0; i < 100000; i += 1) net.createServer().listen(0, '127.0.0.1').on('error', () => {})
            }
            next()
        }"#;
    survives(
        &[
            ("gigabyte", &[250, 450]),
            ("same", &[250, 450]),
            ("files", &[250, 450]),
            ("sockets", &[250, 450]),
            ("listeners", &[250, 450]),
        ],
        &script.replace("%PORT%", &port.to_string()),
    );
}

/// A step of the engine that takes for ever and no memory: a search whose time is that of both lengths
/// multiplied.
const STUCK: &str = r#"
    exports.hook_mail = (next, connection, [from]) => {
        if (from.user === 'stuck') 'a'.repeat(2e7).indexOf('a'.repeat(1e7) + 'b')
        next()
    }"#;

// covers PRC-04, PLG-16
#[test]
fn worker_that_cannot_be_brought_back_is_replaced_and_the_others_go_on() {
    let install = limited(STUCK).set("smtp.ini", "main", "nodes", "2");
    let server = Server::start(install);
    let workers = server.wait_for_workers(2);
    let mut stuck = greeted(&server);
    let victim = server.worker_of(&stuck);
    let mut bystander = std::iter::repeat_with(|| greeted(&server))
        .take(200)
        .find(|client| server.worker_of(client) != victim)
        .expect("a session in the other worker");
    stuck.send_raw(b"MAIL FROM:<stuck@b.test>\r\n");
    server.wait_for_log(
        "[CRIT] [-] [plugins] Plugin mine on hook mail: script does not come back",
        WATCHED,
    );
    bystander
        .send_mail("a@b.test", &["c@here.test"], MESSAGE)
        .expect(250);
    let began = Instant::now();
    while server.worker_pids().contains(&victim) || server.worker_pids().len() < 2 {
        assert!(began.elapsed() < DEADLINE, "{}", server.log_text());
        std::thread::yield_now();
    }
    let now = server.worker_pids();
    assert_eq!(now.iter().filter(|pid| workers.contains(pid)).count(), 1);
    for _ in 0..4 {
        greeted(&server)
            .send_mail("a@b.test", &["c@here.test"], MESSAGE)
            .expect(250);
    }
}

// covers PRC-04, PLG-16
#[test]
fn worker_whose_heap_stays_full_gets_a_successor_and_finishes_its_sessions() {
    let server = Server::start(limited(
        r#"
        const kept = []
        exports.hook_mail = (next, connection, [from]) => {
            if (from.user === 'leak') for (let i = 0; i < 61; i += 1) kept.push('x'.repeat(1e6 + kept.length))
            next()
        }"#,
    ));
    let workers = server.wait_for_workers(1);
    let mut old = greeted(&server);
    old.cmd("MAIL FROM:<a@b.test>").expect(250);
    let mut client = greeted(&server);
    client.cmd("MAIL FROM:<leak@b.test>").expect(250);
    server.wait_for_log("[CRIT] [-] [plugins] scripts hold", DEADLINE);
    server.wait_for_log("worker 1 asks to be replaced", DEADLINE);
    // Said again once the successor serves.
    let listening = |log: String| log.matches("worker 1 listening").count();
    let began = Instant::now();
    while listening(server.log_text()) < 2 {
        assert!(began.elapsed() < DEADLINE, "{}", server.log_text());
        std::thread::yield_now();
    }
    let both = server.worker_pids();
    let successor = *both.iter().find(|pid| !workers.contains(pid)).unwrap();
    // What was begun before is finished where it was begun.
    assert_eq!(vec![server.worker_of(&old)], workers);
    old.cmd("RCPT TO:<c@here.test>").expect(250);
    old.data(MESSAGE).expect(250);
    drop((old, client));
    let began = Instant::now();
    while server.worker_pids() != [successor] {
        assert!(began.elapsed() < DEADLINE, "{}", server.log_text());
        std::thread::yield_now();
    }
    serves(&server, &[successor]);
}

// covers PRC-19, PLG-15
#[test]
fn what_a_plugin_left_open_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let script = r#"
        const net = require('net')
        const fs = require('fs')
        const { spawn } = require('child_process')
        exports.register = function () {
            setInterval(() => {}, 1)
            const socket = net.connect(%PORT%, '127.0.0.1')
            socket.write('hello')
            net.createServer(() => {}).listen(0, '127.0.0.1')
            const child = spawn('sleep', ['1000'])
            fs.watch(__dirname, () => {})
            process.on('SIGTERM', () => {})
            new Promise(() => {})
            this.loginfo(`child ${child.pid}`)
        }
        exports.shutdown = function () {
            this.loginfo('shut down')
            return new Promise(() => {})
        }"#;
    for graceful in ["false", "true"] {
        let install = limited(&script.replace("%PORT%", &port.to_string())).set(
            "smtp.ini",
            "main",
            "graceful_shutdown",
            graceful,
        );
        let mut server = Server::start(install);
        // The plugin was loaded before the worker was started, to see whether it can be, and for init_master.
        server.wait_for_log("worker 1 listening", DEADLINE);
        let log = server.log_text();
        let children: Vec<i32> = log
            .split("[mine] child ")
            .skip(1)
            .map(|rest| rest.lines().next().unwrap().parse().unwrap())
            .collect();
        let child = *children.last().unwrap();
        assert!(processes::alive(child), "{log}");
        let began = Instant::now();
        server.signal(Signal::SIGTERM);
        assert!(server.wait_exit().success(), "{}", server.log_text());
        let took = began.elapsed();
        assert!(took < DEADLINE, "{took:?}");
        assert!(server.log_text().contains("[mine] shut down"));
        let began = Instant::now();
        while children.iter().any(|child| processes::alive(*child)) {
            assert!(began.elapsed() < DEADLINE, "the child lives on");
            std::thread::yield_now();
        }
    }
}

/// Starts programs and says which, when a worker begins.
const PROGRAMS: &str = "
const { spawn } = require('child_process')
exports.hook_init_child = function (next) {
    // Without the mark by which the test knows what belongs to the server.
    const env = { PATH: process.env.PATH }
    const all = [spawn('sleep', ['1000'], { env }), spawn('sleep', ['1000'], { env, detached: true, stdio: 'ignore' }), spawn('cat', { env })]
    this.loginfo(`children ${all.map((child) => child.pid).join(' ')}.`)
    next()
}";

fn programs(server: &Server, of_worker: usize) -> Vec<i32> {
    let told = poll_until(DEADLINE, || {
        let log = server.log_text();
        let line = log.split("children ").nth(of_worker)?.split_once('.')?.0;
        Some(line.to_owned())
    });
    let told = told.expect("no programs were started");
    told.split(' ').map(|pid| pid.parse().unwrap()).collect()
}

fn is_over(pid: i32) {
    let over = poll_until(DEADLINE, || (!processes::alive(pid)).then_some(()));
    assert!(over.is_some(), "{pid} lives on");
}

// covers PRC-19
#[test]
fn programs_of_a_worker_that_is_killed_live_on_as_with_haraka_but_see_the_end_of_their_pipes() {
    let ours = Some(Server::start(install_with(PROGRAMS)));
    for (mut server, is_ours) in [
        (ours, true),
        (Server::start_peer(install_with(PROGRAMS)), false),
    ]
    .into_iter()
    .filter_map(|(server, is_ours)| Some((server?, is_ours)))
    {
        let [plain, detached, reads] = programs(&server, 1)[..] else {
            panic!("three programs");
        };
        processes::send(server.wait_for_workers(1)[0], Signal::SIGKILL);
        is_over(reads);
        assert!(processes::alive(plain) && processes::alive(detached));
        let next = programs(&server, 2);
        assert!(server.stop().success() || !is_ours);
        is_over(next[2]);
        // At an end in order we end what is not detached, which Node does not.
        if is_ours {
            is_over(next[0]);
        }
        assert!(processes::alive(next[1]));
        for left in [plain, detached, next[0], next[1]] {
            processes::send(left, Signal::SIGKILL);
        }
    }
}
