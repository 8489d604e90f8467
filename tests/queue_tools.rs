//! `haraka queue` as operators use it: beside a running server with two workers, and on the files of
//! a stopped one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;
mod relaying;

#[path = "queue_tools/rig.rs"]
mod rig;
#[path = "queue_tools/suspended.rs"]
mod suspended;
#[path = "queue_tools/transfer.rs"]
mod transfer;
#[path = "queue_tools/trouble.rs"]
mod trouble;

use harness::server::Signal;
use harness::sink_rules::Gate;
use harness::{DEADLINE, Rule, Server, Sink, Stage, port, wait_for};
use relaying::{serials, submit, submit_all, to_next_hop, wait_empty};
use rig::*;

// covers CLI-06, needs 1.9
#[test]
fn items_are_held_removed_and_brought_back_beside_a_server() {
    hold_remove_undo(true, "2");
}

#[test]
fn items_are_held_removed_and_brought_back_in_a_single_process() {
    hold_remove_undo(true, "0");
}

#[test]
fn items_are_held_removed_and_brought_back_where_no_server_runs() {
    hold_remove_undo(false, "2");
}

fn hold_remove_undo(running: bool, nodes: &str) {
    let (mut server, dead) = with_deferred_on(6, nodes);
    if !running {
        server.stop();
    }
    let install = server.install();
    let listed = list(install, &["--all"]);
    assert_eq!(listed.len(), 6);
    assert!(listed.iter().all(|item| item["state"] == "deferred"));
    let error = listed[0]["rcpt_to"][0]["error"].as_str().unwrap();
    assert!(error.contains("Connection refused"), "{error}");

    // by the short name, by the uuid, by the file's name
    let short = listed[0]["id"].as_str().unwrap();
    let uuid = listed[1]["uuid"].as_str().unwrap();
    let file = listed[2]["file"].as_str().unwrap();
    let said = done(install, &["hold", short, uuid, file]);
    assert_eq!(said, "3 items held\n");
    let held = list(install, &["--state", "held"]);
    assert_eq!(held.len(), 3);
    assert_eq!(install.queue_files().len(), 6);
    assert_eq!(starting(install, "hold_"), 3);

    // what a command removes comes back together, and where it was
    let said = done(install, &["rm", "--domain", "far.test"]);
    assert!(said.starts_with("6 items removed, "), "{said}");
    assert!(list(install, &[]).is_empty());
    assert_eq!(list(install, &["--state", "trash"]).len(), 6);
    assert_eq!(list(install, &["--all"]).len(), 6);
    let removal = removal(&said);
    assert_eq!(done(install, &["undo", &removal]), "6 items restored\n");
    assert_eq!(list(install, &["--state", "held"]).len(), 3);
    assert_eq!(list(install, &["--state", "deferred"]).len(), 3);

    assert_eq!(done(install, &["release", "--all"]), "3 items released\n");
    let sink = Sink::on(&dead.to_string());
    done(install, &["retry", "--all"]);
    if !running {
        server.restart();
    }
    sink.wait_accepted(6);
    wait_empty(server.install());
    sink.assert_each_once(&serials("m", 6));
}

#[test]
fn an_item_that_is_being_delivered_is_left_alone_and_delivered_once() {
    let sink = Sink::start();
    let gate = Gate::default();
    sink.rule(Rule::behind(Stage::Dot, &gate));
    let server = Server::start(to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "2"));
    submit_all(&server, &serials("m", 1));
    wait_for("the message at its final dot", || {
        sink.lines().iter().any(|(_, line)| line == "DATA")
    });
    for verb in ["rm", "hold", "bounce"] {
        let output = tool(server.install(), &[verb, "--all"]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let said = stderr(&output);
        assert!(said.contains("is being delivered just now"), "{said}");
    }
    let why = done(server.install(), &["why", "--all"]);
    assert!(
        why.contains("It is being delivered to far.test just now, attempt 1."),
        "{why}"
    );
    gate.open();
    sink.wait_accepted(1);
    wait_empty_but_kept(server.install());
    sink.assert_each_once(&serials("m", 1));
}

// What waits in memory for its turn is in the trash as soon as rm says so.
#[test]
fn an_item_that_waits_in_memory_is_not_delivered_once_it_is_removed() {
    let sink = Sink::start();
    sink.rule(Rule::stall(Stage::Mail));
    let install = to_next_hop(sink.addr())
        .set("outbound.ini", "main", "concurrency_max", "1")
        .set("outbound.ini", "timeouts", "mail", "3");
    let server = Server::start(install);
    submit_all(&server, &serials("m", 4));
    wait_for("the first delivery", || sink.open_connections() == 1);
    let output = tool(server.install(), &["rm", "--all"]);
    let said = stdout(&output);
    assert!(said.starts_with("3 items removed"), "{said}");
    sink.clear_rules();
    server.wait_for_log("deferred file=", DEADLINE);
    done(server.install(), &["retry", "--all"]);
    sink.wait_accepted(1);
    assert_eq!(starting(server.install(), "trash_"), 3);
    done(server.install(), &["undo", "--all"]);
    sink.wait_accepted(4);
    sink.assert_each_once(&serials("m", 4));
}

// kill -9 of a worker between
#[test]
fn removed_and_restored_items_are_delivered_once_though_workers_die() {
    let (server, dead) = with_deferred_on(120, "2");
    let install = server.install();
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            for pid in server.worker_pids() {
                harness::processes::send(pid, Signal::SIGKILL);
            }
        });
        let output = tool(install, &["rm", "--all"]);
        killer.join().unwrap();
        // What a dying worker had may be unknown; the rest is done, also by its successor.
        let left = list(install, &[]).len();
        assert_eq!(
            left + starting(install, "trash_"),
            120,
            "{}",
            stderr(&output)
        );
    });
    server.wait_for_workers(2);
    let said = done(install, &["rm", "--all"]);
    assert_eq!(list(install, &[]).len(), 0, "{said}");
    for pid in server.worker_pids() {
        harness::processes::send(pid, Signal::SIGKILL);
    }
    let said = done(install, &["undo", "--all"]);
    assert_eq!(said, "120 items restored\n");
    let sink = Sink::on(&dead.to_string());
    done(install, &["retry", "--all"]);
    sink.wait_accepted(120);
    wait_empty(install);
    sink.assert_each_once(&serials("m", 120));
}

// covers OUT-05: several items of one message
#[test]
fn items_of_one_message_are_removed_and_restored_without_losing_its_text() {
    let dead = port::reserve();
    let server = Server::start(to_next_hop(dead).set("smtp.ini", "main", "nodes", "2"));
    let rcpts = ["a@one.test", "b@two.test", "c@three.test"];
    submit(
        &server,
        "from@client.test",
        &rcpts,
        &relaying::numbered("1"),
    );
    wait_deferred(server.install(), 3);
    let one = list(server.install(), &["--domain", "one.test"]);
    let transaction = one[0]["uuid"].as_str().unwrap().rsplit_once('.').unwrap().0;
    done(server.install(), &["rm", transaction]);
    assert_eq!(starting(server.install(), "trash_"), 3);
    // the next start must not take their text for left over
    let mut server = server;
    server.restart();
    server.wait_for_log("queue taken over", DEADLINE);
    assert_eq!(starting(server.install(), "body."), 2);
    done(server.install(), &["undo", "--all"]);
    let sink = Sink::on(&dead.to_string());
    done(server.install(), &["retry", "--all"]);
    let messages = sink.wait_accepted(3);
    assert!(messages.iter().all(|m| m.text().contains("This is 1.")));
    wait_empty(server.install());
}

#[test]
fn trash_is_emptied_by_the_server_when_its_time_is_over() {
    let (mut server, _) = with_deferred_on(3, "2");
    server.stop();
    let install = server.install();
    done(install, &["rm", "--all"]);
    let files = install.queue_files();
    let queue = install.path().join("queue");
    // one was thrown away the day before yesterday
    let (_, name) = files[0].split_once('.').unwrap();
    let old = now_ms() - 48 * 3_600_000;
    std::fs::rename(
        queue.join(&files[0]),
        queue.join(format!("trash_{old}.{name}")),
    )
    .unwrap();
    server.restart();
    server.wait_for_log("1 items removed from the trash for good", DEADLINE);
    assert_eq!(starting(server.install(), "trash_"), 2);
    assert_eq!(list(server.install(), &["--state", "trash"]).len(), 2);
}

// covers BNC: the report of a bounce by command
#[test]
fn bounced_items_are_reported_to_their_sender_once() {
    let (server, dead) = with_deferred_on(3, "2");
    let install = server.install();
    let ids = list(install, &[]);
    let ids: Vec<&str> = ids.iter().map(|i| i["id"].as_str().unwrap()).collect();
    done(install, &["hold", ids[0]]);
    let said = done(install, &["bounce", "--all", "--reason", "No such project"]);
    assert_eq!(said, "3 items bounced\n");
    let sink = Sink::on(&dead.to_string());
    done(install, &["retry", "--all"]);
    let reports = sink.wait_accepted(3);
    for report in &reports {
        assert!(report.from.starts_with("<>"), "{}", report.from);
        assert_eq!(report.to, ["<from@client.test>"]);
        let text = report.text();
        assert!(text.contains("No such project"), "{text}");
        assert!(text.contains("Action: failed"), "{text}");
    }
    wait_empty_but_kept(install);
}

#[test]
fn why_tells_what_an_item_waits_for() {
    let sink = Sink::start();
    sink.rule(Rule::stall(Stage::Mail));
    let install = to_next_hop(sink.addr()).set("outbound.ini", "main", "concurrency_max", "1");
    let mut server = Server::start(install);
    submit_all(&server, &serials("m", 2));
    wait_for("the first delivery", || sink.open_connections() == 1);
    let why = done(server.install(), &["why", "--all"]);
    let mut lines: Vec<&str> = why
        .lines()
        .filter_map(|l| l.split_once(": "))
        .map(|l| l.1)
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "It is being delivered to far.test just now, attempt 1.",
            "It is due and waits for a free place: all 1 deliveries that this worker may make at \
             a time (concurrency_max) are under way.",
        ]
    );
    server.stop();
    let why = done(server.install(), &["why", "--all"]);
    assert!(
        why.contains(": No server runs. It was not tried yet; "),
        "{why}"
    );
}

#[test]
fn show_gives_envelope_and_message() {
    let (server, _) = with_deferred_on(1, "1");
    let install = server.install();
    let text = done(install, &["show", "--all"]);
    for part in [
        "Sender       <from@client.test>",
        "Recipient    <to@far.test>",
        "  error      ",
        "Subject:     test",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let message = done(install, &["show", "--all", "--message"]);
    assert!(message.ends_with("\r\n\r\nThis is m-0.\r\n"), "{message}");
    let json = done(install, &["show", "--all", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["envelope"]["domain"], "far.test");
}

#[test]
fn stat_counts_by_state_and_domain() {
    let (server, _) = with_deferred_on(4, "2");
    let install = server.install();
    let id = list(install, &[])[0]["id"].as_str().unwrap().to_owned();
    done(install, &["hold", &id]);
    let text = done(install, &["stat"]);
    assert!(
        text.starts_with("4 items waiting (new 0, deferred 3, suspended 0, held 1, trash 0)"),
        "{text}"
    );
    assert!(text.contains("in 2 workers"), "{text}");
    let json = done(install, &["stat", "--json"]);
    let mut lines = json
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let total = lines.next().unwrap();
    assert_eq!(
        (total["held"].as_u64(), total["deferred"].as_u64()),
        (Some(1), Some(3))
    );
    let domain = lines.next().unwrap();
    assert_eq!(domain["domain"], "far.test");
}
