//! What plugins in JavaScript cost a worker in memory and threads: nothing where there are none, and no
//! more with every message where there are some.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::io::Read;
use std::net::TcpListener;

use harness::scripts::{MESSAGE, install_with, send};
use harness::{DEADLINE, Install, Server, greeted, processes, wait_for};

/// Looks at what most plugins look at, and leaves something everywhere.
const BUSY: &str = r#"
exports.hook_mail = function (next, connection, [sender]) {
    connection.results.add(this, { pass: `mail ${sender}` })
    connection.transaction.notes.sender = sender
    next()
}
exports.hook_rcpt = function (next, connection, [rcpt]) {
    connection.transaction.results.add(this, { msg: String(rcpt), emit: true })
    next()
}
exports.hook_data_post = async function (next, connection) {
    const { transaction } = connection
    transaction.notes.self = transaction
    transaction.add_header('X-Seen', `${transaction.header.get('Subject').trim()} ${transaction.rcpt_to.length}`)
    await new Promise((resolve) => setImmediate(resolve))
    transaction.results.incr(this, { seen: 1 })
    next()
}
"#;

/// The memory of its own and the threads of the one worker after it has taken a message; how many threads read and
/// write files depends on what else the machine does.
fn worker_of(install: Install) -> (f64, Vec<String>) {
    let server = Server::start(install);
    send(&server, MESSAGE);
    let pid = server.wait_for_workers(1)[0];
    let mut threads = processes::threads(pid);
    threads.retain(|name| !name.starts_with("offload-"));
    (processes::anonymous(pid), threads)
}

// covers PLG-16
#[test]
fn worker_without_scripts_has_neither_an_engine_nor_its_thread() {
    let native = Install::new();
    // The same, but for what an engine would need, and a script that nobody has listed.
    let unlisted = install_with(BUSY)
        .config("javascript.ini", "[limits]\nmemory=64\n")
        .plugins(&["rcpt_to.in_host_list", "queue/test"]);
    let (memory, threads) = worker_of(native);
    let (unlisted_memory, unlisted_threads) = worker_of(unlisted);
    assert_eq!(threads, unlisted_threads);
    assert!(!threads.iter().any(|name| name == "watchdog"));
    let apart = (memory - unlisted_memory).abs();
    assert!(apart < 1e6, "{memory} and {unlisted_memory} octets");

    let (scripted_memory, scripted_threads) = worker_of(install_with(BUSY));
    let mut wanted = threads;
    wanted.push("watchdog".to_owned());
    wanted.sort_unstable();
    assert_eq!(scripted_threads, wanted);
    let engine = scripted_memory - memory;
    assert!(engine > 1e6, "an engine of {engine} octets cannot be seen");
}

// covers PLG-16, RES-01
#[test]
fn memory_of_scripts_does_not_grow_with_the_messages_they_saw() {
    let server = Server::start(install_with(BUSY).config("loglevel", "info\n").plugins(&[
        "mine",
        "rcpt_to.in_host_list",
        "queue/discard",
    ]));
    let pid = server.wait_for_workers(1)[0];
    let send = |connections: usize| {
        for _ in 0..connections {
            let mut client = greeted(&server);
            for _ in 0..10 {
                client
                    .send_mail("a@b.test", &["c@here.test"], MESSAGE)
                    .expect(250);
            }
        }
        processes::anonymous(pid)
    };
    let before = send(40);
    let after = send(160);
    // One kilobyte per message would be seen.
    let grown = after - before;
    assert!(grown < 1.5e6, "grew by {grown} octets, from {before}");
}

// covers RES-05
#[test]
fn results_go_to_redis_without_the_client_as_long_as_redis_is_there() {
    let redis = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = r#"
        exports.register = function () {
            server.notes.redis = {
                isReady: true,
                options: { username: 'u', password: 'p', socket: { host: '127.0.0.1', port: PORT } },
                publish: async (channel, text) => this.loginfo(`by the client ${text}`),
            }
        }
        exports.hook_mail = function (next, connection) {
            connection.transaction.results.add(this, { pass: 'żółw' })
            connection.transaction.results.incr(this, { score: 2 })
            next()
        }"#;
    let port = redis.local_addr().unwrap().port().to_string();
    let server = Server::start(install_with(&script.replace("PORT", &port)));
    send(&server, MESSAGE);
    let (mut follower, _) = redis.accept().unwrap();
    follower.set_read_timeout(Some(DEADLINE)).unwrap();
    let last = r#"{"plugin":"mine","result":{"score":2}}"#;
    let mut heard = String::new();
    while !heard.contains(last) {
        let mut piece = [0; 4096];
        let length = follower.read(&mut piece).unwrap();
        assert!(length > 0, "{heard}");
        heard.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    let opening = "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n\
         *3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$14\r\nharaka-results\r\n\
         *3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n";
    assert!(heard.starts_with(opening), "{heard}");
    let first = r#"{"plugin":"mine","result":{"pass":"żółw"}}"#;
    let framed = format!(
        "\r\n${}\r\n{first}\r\n*3\r\n$7\r\nPUBLISH\r\n$",
        first.len()
    );
    assert!(heard.contains(&framed), "{heard}");
    assert!(!server.log_text().contains("by the client"));

    drop(follower);
    drop(redis);
    wait_for("the client to publish", || {
        send(&server, MESSAGE);
        server
            .log_text()
            .contains("by the client {\"plugin\":\"mine\"")
    });
}
