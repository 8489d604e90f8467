//! Suspensions: mail waits without attempts, and goes on.

use crate::harness::{DEADLINE, Server, Sink, poll_until, port, wait_for};
use crate::relaying::{serials, submit_all, to_next_hop};
use crate::rig::*;

fn waits_and_goes_on(by: [&str; 2]) {
    let sink = Sink::start();
    let server = Server::start(to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "2"));
    let install = server.install();
    let said = done(
        install,
        &[
            "suspend",
            by[0],
            by[1],
            "--reason",
            "they move",
            "--for",
            "2h",
        ],
    );
    assert!(
        said.contains("suspended since") && said.contains("they move"),
        "{said}"
    );
    wait_for("both workers to know", || {
        server.log_text().matches("suspended: ").count() >= 2
    });
    for part in serials("m", 8).chunks(2) {
        submit_all(&server, part);
    }
    // An attempt would be under way at once; `why` is asked until every item has come to its turn.
    let all_wait = poll_until(DEADLINE, || {
        let why = done(install, &["why", "--all"]);
        let waiting = why.lines().filter(|l| l.contains(" are suspended since "));
        (waiting.count() == 8).then_some(())
    });
    assert!(all_wait.is_some());
    assert_eq!(sink.connections(), 0);
    let items = list(install, &[]);
    assert!(items.iter().all(|item| item["attempts"] == 0));
    // A flush is no reason to try, and neither is a new worker.
    done(install, &["retry", "--all"]);
    for pid in server.worker_pids() {
        crate::harness::processes::send(pid, crate::harness::server::Signal::SIGKILL);
    }
    wait_for("new workers that know", || {
        server.log_text().matches("suspended: ").count() >= 4
    });
    assert_eq!(sink.connections(), 0);
    let said = done(install, &["resume", by[0], by[1]]);
    assert!(said.ends_with(" goes on\n"), "{said}");
    sink.wait_accepted(8);
    wait_for("an empty queue", || starting(install, "1") == 0);
    sink.assert_each_once(&serials("m", 8));
}

// covers needs 1.9: suspend by domain
#[test]
fn mail_to_a_suspended_domain_waits_and_goes_on_when_resumed() {
    waits_and_goes_on(["--domain", "far.test"]);
}

#[test]
fn mail_of_a_suspended_sender_waits_and_goes_on_when_resumed() {
    waits_and_goes_on(["--sender", "from@client.test"]);
}

// Without MX records the organisation of the domain is the provider.
#[test]
fn mail_to_a_suspended_provider_waits_and_goes_on_when_resumed() {
    waits_and_goes_on(["--provider", "far.test"]);
}

#[test]
fn mail_that_was_due_before_a_restart_goes_on_when_its_domain_is_resumed() {
    let sink = Sink::start();
    let install = to_next_hop(sink.addr()).set("smtp.ini", "main", "nodes", "1");
    let mut server = Server::start(install);
    done(server.install(), &["suspend", "--domain", "far.test"]);
    server.wait_for_log("suspended: ", DEADLINE);
    submit_all(&server, &serials("m", 1));
    // Now it is found by its name, with a time that has passed.
    server.restart();
    server.wait_for_log("suspended: ", DEADLINE);
    let install = server.install();
    wait_for("its turn", || {
        done(install, &["why", "--all"]).contains(" are suspended since ")
    });
    done(install, &["resume", "--domain", "far.test"]);
    sink.wait_accepted(1);
    wait_for("an empty queue", || starting(install, "1") == 0);
}

#[test]
fn a_suspension_ends_by_itself() {
    let sink = Sink::start();
    let mut server = Server::start(to_next_hop(sink.addr()));
    server.stop();
    let said = done(
        server.install(),
        &["suspend", "--domain", "far.test", "--for", "3s"],
    );
    assert!(
        said.contains("No server runs; the next one will go by it."),
        "{said}"
    );
    server.restart();
    server.wait_for_log("suspended: domain far.test", DEADLINE);
    submit_all(&server, &serials("m", 2));
    let list_of = done(server.install(), &["suspend"]);
    assert!(
        list_of.starts_with("domain far.test suspended"),
        "{list_of}"
    );
    sink.wait_accepted(2);
    sink.assert_each_once(&serials("m", 2));
    let none = done(server.install(), &["suspend"]);
    assert_eq!(none, "nothing is suspended\n");
}

#[test]
fn other_mail_is_not_touched_by_a_suspension() {
    let sink = Sink::start();
    let server = Server::start(to_next_hop(sink.addr()));
    done(server.install(), &["suspend", "--domain", "other.test"]);
    server.wait_for_log("suspended: ", DEADLINE);
    submit_all(&server, &serials("m", 3));
    sink.wait_accepted(3);
    let missing = tool(server.install(), &["resume", "--domain", "far.test"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("was not suspended"));
    assert_eq!(
        done(server.install(), &["resume", "--all"]),
        "domain other.test goes on\n"
    );
}

// Two at once change one file.
#[test]
fn suspensions_made_at_the_same_time_are_all_kept() {
    let install = to_next_hop(port::reserve());
    let children: Vec<_> = (0..8)
        .map(|n| {
            let domain = format!("d{n}.test");
            command(&install, &["suspend", "--domain", &domain])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(done(&install, &["suspend"]).lines().count(), 8);
    let file = install.path().join("queue/.suspended");
    std::fs::write(&file, "{\"what\":\n").unwrap();
    let broken = tool(&install, &["suspend"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        stderr(&broken).contains(".suspended:1: "),
        "{}",
        stderr(&broken)
    );
}
