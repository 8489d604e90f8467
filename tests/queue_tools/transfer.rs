//! Moving queues: export, import, and the real Haraka's files.

use std::process::Stdio;

use crate::harness::{Server, Sink, port, wait_for};
use crate::relaying::{serials, submit, to_next_hop};
use crate::rig::*;

#[test]
fn exported_items_are_imported_by_a_running_server_and_delivered_once() {
    let dead = port::reserve();
    let here = Server::start(to_next_hop(dead));
    let rcpts = ["a@one.test", "b@two.test"];
    submit(
        &here,
        "from@client.test",
        &rcpts,
        &crate::relaying::numbered("both"),
    );
    submit(
        &here,
        "from@client.test",
        &["c@one.test"],
        &crate::relaying::numbered("one"),
    );
    wait_deferred(here.install(), 3);
    done(here.install(), &["hold", "--all"]);
    let tar = here.install().path().join("moved.tar");
    let tar = tar.to_str().unwrap();
    let said = done(here.install(), &["export", "--all", "-o", tar]);
    assert!(said.starts_with("3 items exported"), "{said}");
    // never over another file
    let again = tool(here.install(), &["export", "--all", "-o", tar]);
    assert!(stderr(&again).contains("File exists"), "{}", stderr(&again));
    // what is in it are plain files of Haraka's form
    let names = std::process::Command::new("tar")
        .args(["tf", tar])
        .output()
        .unwrap();
    let names = stdout(&names);
    assert!(names.lines().all(|n| n.split('_').count() == 7), "{names}");
    assert_eq!(names.lines().count(), 3);

    let sink = Sink::start();
    let there = Server::start(to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "2"));
    assert_eq!(
        done(there.install(), &["import", tar, "--hold"]),
        "3 items imported, held\n"
    );
    let items = list(there.install(), &[]);
    assert_eq!(items.len(), 3);
    assert!(
        items
            .iter()
            .all(|i| i["state"] == "held" && i["attempts"] == 1)
    );
    done(there.install(), &["release", "--all"]);
    done(there.install(), &["retry", "--all"]);
    let messages = sink.wait_accepted(3);
    let mut recipients: Vec<_> = messages.iter().flat_map(|m| m.to.clone()).collect();
    recipients.sort();
    assert_eq!(recipients, ["<a@one.test>", "<b@two.test>", "<c@one.test>"]);
    let both = messages.iter().filter(|m| m.serial() == "both");
    let bodies: Vec<_> = both.map(|m| m.content().len()).collect();
    assert_eq!(bodies.len(), 2);
    wait_empty_but_kept(there.install());
}

// through a pipe, into a stopped server, straight into delivery
#[test]
fn imported_items_are_delivered_by_the_next_server() {
    let (mut here, _) = with_deferred_on(10, "1");
    here.stop();
    let sink = Sink::start();
    let mut there = Server::start(to_next_hop(sink.addr()));
    there.stop();
    let mut export = command(here.install(), &["export", "--all"]);
    let mut export = export
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut import = command(there.install(), &["import", "-"]);
    let import = import
        .stdin(export.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(export.wait().unwrap().success());
    assert_eq!(
        stdout(&import),
        "10 items imported\n",
        "{}",
        stderr(&import)
    );
    there.restart();
    done(there.install(), &["retry", "--all"]);
    sink.wait_accepted(10);
    wait_empty_but_kept(there.install());
    sink.assert_each_once(&serials("m", 10));
}

#[test]
fn a_queue_directory_is_imported_without_what_is_no_item() {
    let (mut here, _) = with_deferred_on(4, "1");
    here.stop();
    let queue = here.install().path().join("queue");
    std::fs::write(queue.join("error.1_2_3"), "x").unwrap();
    std::fs::write(queue.join("1_1_0_7_AbCdEf_1_mx"), "not a queue file").unwrap();
    let sink = Sink::start();
    let there = Server::start(to_next_hop(sink.addr()));
    let output = tool(there.install(), &["import", queue.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "one is broken");
    assert!(
        stderr(&output).contains("1_1_0_7_AbCdEf_1_mx is broken"),
        "{}",
        stderr(&output)
    );
    let said = stdout(&output);
    assert!(
        said.starts_with("4 items imported\n1 files are no items"),
        "{said}"
    );
    done(there.install(), &["retry", "--all"]);
    sink.wait_accepted(4);
    sink.assert_each_once(&serials("m", 4));
    let itself = there.install().path().join("queue");
    let refused = tool(there.install(), &["import", itself.to_str().unwrap()]);
    assert!(
        stderr(&refused).contains("is the queue itself"),
        "{}",
        stderr(&refused)
    );
}

// killed in the middle and repeated
#[test]
fn an_import_that_is_killed_and_repeated_brings_everything_once() {
    let (mut here, _) = with_deferred_on(200, "1");
    here.stop();
    let queue = here.install().path().join("queue");
    let sink = Sink::start();
    let there = Server::start(to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "2"));
    let from = queue.to_str().unwrap();
    for files in [3, 150] {
        let mut import = command(there.install(), &["import", from])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("some files of the import", || {
            starting(there.install(), "import_") >= files || import.try_wait().unwrap().is_some()
        });
        import.kill().unwrap();
        import.wait().unwrap();
    }
    done(there.install(), &["import", from]);
    done(there.install(), &["retry", "--all"]);
    sink.wait_accepted(200);
    wait_empty_but_kept(there.install());
    sink.assert_each_once(&serials("m", 200));
}

#[test]
fn what_is_no_tar_is_refused_and_leaves_nothing() {
    let install =
        to_next_hop(port::reserve()).file("bad.tar", "this is no tar at all, whatever it says");
    for from in ["bad.tar", "nowhere.tar", "config/me"] {
        let path = install.path().join(from);
        let output = tool(&install, &["import", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{from}: {}", stdout(&output));
    }
    wait_empty_but_kept(&install);
}
