//! Queue hooks that take too long, and clients that do not wait: what the client is told is what is true of
//! the queue (H4, ADR 0035).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::process::Command;
use std::time::Duration;

use harness::slow_calls::SlowCalls;
use harness::{DEADLINE, Install, Rule, Server, Sink, Stage, greeted, wait_for};
use relaying::{numbered, to_next_hop, wait_empty};
use serde_json::Value;

/// Relays to the sink, with this plugin before the built-in queue; one worker.
fn with_script(sink: &Sink, script: &str) -> Install {
    to_next_hop(sink.addr())
        .file("plugins/mine.js", script)
        .plugins(&["relay", "mine"])
        .config("mine.timeout", "1\n")
        .set("smtp.ini", "main", "nodes", "1")
}

/// Items for `lmtp.test` wait in the queue for an LMTP server; the plugin has a second for that.
fn by_lmtp(sink: &Sink) -> Install {
    let server = format!("host=127.0.0.1\nport={}\n", sink.addr().port());
    Install::new()
        .plugins(&["rcpt_to.in_host_list", "queue/lmtp"])
        .config("host_list", "lmtp.test\n")
        .config("lmtp.ini", &server)
        .config("outbound.ini", "local_mx_ok=true\n")
        .config("plugin_timeout", "1\n")
        .set("smtp.ini", "main", "nodes", "1")
}

/// Every sync of message data takes this long until it is dropped.
fn slow_disk(server: &Server, seconds: u64) -> Option<SlowCalls> {
    let worker = server.wait_for_workers(1)[0];
    SlowCalls::of(worker, "fdatasync,syncfs", Duration::from_secs(seconds))
}

fn closes(server: &Server) -> bool {
    let output = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["queue", "stat", "--json", "-c"])
        .arg(server.install().path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let stat: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let ledger = &stat["ledger"];
    assert!(ledger.is_object(), "{text}");
    ledger["closes"] == true && ledger["queued"] == 0
}

/// Everything is out of the queue, and the ledger says so.
#[track_caller]
fn all_accounted_for(server: &Server) {
    wait_empty(server.install());
    wait_for("the ledger to close", || closes(server));
    let log = server.log_text();
    assert!(!log.contains("ledger: "), "{log}");
}

// covers H4
#[test]
fn plugin_that_hangs_after_it_has_queued_does_not_send_the_client_away() {
    let sink = Sink::start();
    let script = "
        const outbound = require('./outbound')
        exports.hook_queue_outbound = function (next, connection) {
            outbound.send_trans_email(connection.transaction, () => {})
        }";
    let server = Server::start(with_script(&sink, script));
    let said = greeted(&server)
        .send_mail(
            "from@client.test",
            &["a@one.test", "b@two.test"],
            &numbered("hung"),
        )
        .expect(250);
    assert!(said.text().contains("Message Queued"), "{said}");
    sink.wait_accepted(2);
    server.wait_for_log("had queued the message before its time was up", DEADLINE);
    all_accounted_for(&server);
}

// covers H4
#[test]
fn native_plugin_whose_time_is_up_during_the_commit_is_waited_for() {
    let sink = Sink::lmtp_on("127.0.0.1:0");
    let server = Server::start(by_lmtp(&sink));
    let Some(slow) = slow_disk(&server, 3) else {
        return;
    };
    greeted(&server)
        .send_mail("from@client.test", &["a@lmtp.test"], &numbered("slow"))
        .expect(250);
    drop(slow);
    sink.wait_accepted(1);
    sink.assert_each_once(&["slow"]);
    all_accounted_for(&server);
}

// covers H4
#[test]
fn message_whose_client_went_away_during_the_commit_is_delivered_once() {
    let sink = Sink::lmtp_on("127.0.0.1:0");
    let server = Server::start(by_lmtp(&sink));
    let Some(slow) = slow_disk(&server, 2) else {
        return;
    };
    for serial in ["closed", "reset"] {
        let mut client = greeted(&server);
        client.cmd("MAIL FROM:<from@client.test>").expect(250);
        client.cmd("RCPT TO:<a@lmtp.test>").expect(250);
        client.cmd("DATA").expect(354);
        client.send_raw(format!("{}.\r\n", numbered(serial)).as_bytes());
        assert!(client.wait_read_by_server());
        if serial == "reset" {
            client.reset();
        }
    }
    wait_for("both to be committed", || {
        server.install().queue_files().len() == 2 || sink.accepted().len() == 2
    });
    drop(slow);
    sink.wait_accepted(2);
    all_accounted_for(&server);
    sink.assert_each_once(&["closed", "reset"]);
}

// covers H4
#[test]
fn forwarding_plugin_whose_time_is_up_between_dot_and_reply_is_waited_for() {
    let sink = Sink::start();
    sink.rule(Rule::delay(Stage::Dot, Duration::from_secs(3)));
    let forward = format!("host=127.0.0.1\nport={}\n", sink.addr().port());
    let install = Install::new()
        .plugins(&["rcpt_to.in_host_list", "queue/smtp_forward"])
        .config("host_list", "here.test\n")
        .config("smtp_forward.ini", &forward)
        .config("plugin_timeout", "1\n")
        .set("smtp.ini", "main", "nodes", "1");
    let server = Server::start(install);
    greeted(&server)
        .send_mail("from@client.test", &["a@here.test"], &numbered("forwarded"))
        .expect(250);
    sink.assert_each_once(&["forwarded"]);
}

// covers H4
#[test]
fn message_that_a_script_queues_after_its_time_is_left_to_the_client() {
    let sink = Sink::start();
    let script = "
        const outbound = require('./outbound')
        let calls = 0
        exports.hook_queue_outbound = function (next, connection) {
            const wait = ++calls === 1 ? 2500 : 0
            setTimeout(() => outbound.send_trans_email(connection.transaction, (code, text) => {
                this.lognotice(`call came to ${code} ${text}`)
                next(code, text)
            }), wait)
        }";
    // Kept by the script beyond its time, or it could not be sent.
    let script = script
        .replace(
            "const wait",
            "const { transaction } = connection; const wait",
        )
        .replace("connection.transaction, (code", "transaction, (code");
    let server = Server::start(with_script(&sink, &script));
    let mut client = greeted(&server);
    let message = numbered("twice");
    let to = ["a@one.test"];
    client
        .send_mail("from@client.test", &to, &message)
        .expect(450);
    server.wait_for_log("call came to 903", DEADLINE);
    client
        .send_mail("from@client.test", &to, &message)
        .expect(250);
    sink.wait_accepted(1);
    all_accounted_for(&server);
    sink.assert_each_once(&["twice"]);
}

// covers H4
#[test]
fn script_that_says_ok_after_its_time_is_named_with_its_message() {
    let sink = Sink::start();
    let script = "
        exports.hook_queue_outbound = (next) => { setTimeout(() => next(OK), 2500) }";
    let server = Server::start(with_script(&sink, script));
    let said = greeted(&server)
        .send_mail("from@client.test", &["a@one.test"], &numbered("elsewhere"))
        .expect(450)
        .text();
    let uuid = said.split(['(', ')']).nth(1).unwrap();
    let line = server.wait_for_log("after its time was up", DEADLINE);
    assert!(
        line.contains(uuid) && line.contains("Plugin mine") && line.contains("may send it again"),
        "{line}"
    );
}
