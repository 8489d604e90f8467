//! Wrong input, missing rights, many items, and two tools at once.

use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::harness::{Install, Server, port, skip};
use crate::relaying::to_next_hop;
use crate::rig::*;

// covers CLI-17, PB-62
#[test]
fn wrong_input_is_refused_with_a_reason() {
    let (mut server, _) = with_deferred_on(2, "1");
    let install = server.install();
    for (args, status, reason) in [
        (&["nonsense"][..], 2, "nonsense"),
        (&["rm"], 2, "which items?"),
        (&["rm", "a", "--all"], 2, "not both"),
        (&["list", "--older", "5"], 2, "no span of time"),
        (&["list", "--state", "gone"], 2, "gone"),
        (&["suspend", "--for", "2h"], 2, "what?"),
        (&["suspend", "--domain", "a b"], 2, "cannot be one"),
        (&["resume"], 2, "what?"),
        (&["rm", "nothing"], 1, "nothing: no such item"),
        (&["rm", "m_m"], 1, "m_m: no such item"),
        (&["rm", "--state", "trash"], 1, "--state"),
        (&["undo", "1795229142655"], 1, "no such item"),
        (&["release", "--state", "deferred"], 1, "--state"),
        (&["import", "/nonexistent"], 1, "/nonexistent: No such file"),
    ] {
        let output = tool(install, args);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(reason),
            "{args:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    // a part that several have, and states that do not fit
    let id = list(install, &[])[0]["id"].as_str().unwrap().to_owned();
    let worker = id.split('_').next().unwrap();
    let output = tool(install, &["rm", worker]);
    assert!(
        stderr(&output).contains("not unique"),
        "{}",
        stderr(&output)
    );
    for (verb, why) in [("release", "is not held"), ("undo", "is not in the trash")] {
        let output = tool(install, &[verb, &id]);
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    done(install, &["hold", &id]);
    for (verb, why) in [("hold", "is held already"), ("retry", "is held")] {
        let output = tool(install, &[verb, &id]);
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    assert_eq!(list(install, &[]).len(), 2);
    // nobody is there to write the report
    server.stop();
    let output = tool(server.install(), &["bounce", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no server runs"),
        "{}",
        stderr(&output)
    );
    assert_eq!(list(server.install(), &[]).len(), 2);
}

#[test]
fn names_come_from_standard_input() {
    let (server, _) = with_deferred_on(5, "2");
    let items = list(server.install(), &[]);
    let names: String = items[1..]
        .iter()
        .map(|i| format!("{}\n", i["file"].as_str().unwrap()))
        .collect();
    let mut rm = command(server.install(), &["rm", "-"]);
    let mut rm = rm
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut rm.stdin.take().unwrap(), names.as_bytes()).unwrap();
    let output = rm.wait_with_output().unwrap();
    assert!(
        stdout(&output).starts_with("4 items removed"),
        "{}",
        stdout(&output)
    );
    let left = list(server.install(), &[]);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["id"], items[0]["id"]);
}

#[test]
fn without_rights_nothing_is_done_and_it_is_said_what_is_missing() {
    if !geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    let (mut server, _) = with_deferred_on(2, "1");
    for running in [true, false] {
        if !running {
            server.stop();
        }
        for verb in ["list", "rm"] {
            use std::os::unix::process::CommandExt as _;
            let output = command(server.install(), &[verb, "--all"])
                .uid(65_534)
                .gid(65_534)
                .output();
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
            let said = stderr(&output);
            assert!(
                said.to_lowercase().contains("permission denied") || said.contains("EACCES"),
                "{said}"
            );
        }
        assert_eq!(list(server.install(), &[]).len(), 2);
    }
}

// What root writes, workers who are somebody else must be able to read.
#[test]
fn what_root_imports_belongs_to_the_queues_owner() {
    if !geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    use std::os::unix::fs::{MetadataExt as _, chown};
    let (mut here, _) = with_deferred_on(2, "1");
    here.stop();
    let install = to_next_hop(port::reserve());
    let queue = install.path().join("queue");
    chown(&queue, Some(65_534), Some(65_534)).unwrap();
    let from = here.install().path().join("queue");
    done(&install, &["import", from.to_str().unwrap()]);
    done(&install, &["suspend", "--domain", "x.test"]);
    let files = install.queue_files();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        let meta = std::fs::metadata(queue.join(&file)).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (65_534, 0o600), "{file}");
    }
}

#[test]
fn two_tools_at_once_do_each_item_once_beside_a_server() {
    two_tools(true);
}

#[test]
fn two_tools_at_once_do_each_item_once_where_no_server_runs() {
    two_tools(false);
}

fn two_tools(running: bool) {
    let mut server =
        Server::start(to_next_hop(port::reserve()).set("smtp.ini", "main", "nodes", "2"));
    server.stop();
    many(server.install(), 1000);
    if running {
        server.restart();
    }
    let start = || {
        command(server.install(), &["rm", "--all", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let tools = [start(), start()];
    let outputs = tools.map(|tool| tool.wait_with_output().unwrap());
    let lines = outputs.iter().map(stdout).collect::<String>();
    let mut done: Vec<&str> = lines
        .lines()
        .filter(|l| l.contains("\"done\":true"))
        .map(|l| l.split("_AbCdEf_").nth(1).unwrap())
        .collect();
    done.sort_unstable();
    let all = done.len();
    done.dedup();
    assert_eq!((done.len(), all), (1000, 1000));
    assert_eq!(starting(server.install(), "trash_"), 1000);
}

/// Items in the queue of a stopped server, due in an hour.
fn many(install: &Install, count: usize) {
    let queue = install.path().join("queue");
    let json = r#"{"queue_time":1,"domain":"far.test","rcpt_to":[{"original":"<to@far.test>","host":"far.test","user":"to"}],"mail_from":{"original":"<a@b.test>","host":"b.test","user":"a"},"notes":{},"uuid":"00000000-0000-4000-8000-000000000000.1.1"}"#;
    let mut file = (json.len() as u32).to_be_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.extend_from_slice(b"Subject: x\r\n\r\nx\r\n");
    let now = now_ms();
    for n in 0..count {
        let name = format!("{}_{}_1_7_AbCdEf_{n}_mx", now - n as u64, now + 3_600_000);
        std::fs::write(queue.join(name), &file).unwrap();
    }
}

/// Runs a tool with so little memory, in kB, that it could not hold the queue.
fn frugal(install: &Install, args: &[&str]) -> String {
    let mut sh = Command::new("sh");
    let line = format!("ulimit -v {MEMORY}; exec \"$0\" queue \"$@\"");
    sh.args(["-c", &line, env!("CARGO_BIN_EXE_haraka")]);
    let output = sh
        .args(args)
        .arg("-c")
        .arg(install.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// Address space for a tool, program and libraries included.
const MEMORY: u64 = 150_000;

fn high_water_kb(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// covers PB-52: memory does not grow with the queue
#[test]
fn twenty_thousand_items_are_listed_and_removed_in_little_memory() {
    let mut server =
        Server::start(to_next_hop(port::reserve()).set("smtp.ini", "main", "nodes", "2"));
    server.stop();
    many(server.install(), 20_000);
    server.restart();
    server.wait_for_workers(2);
    let master = high_water_kb(server.pid());
    let listed = frugal(server.install(), &["list"]);
    assert!(
        listed.ends_with("20000 items, 340k bytes\n"),
        "{}",
        &listed[listed.len() - 60..]
    );
    // oldest first
    let ids: Vec<&str> = listed
        .lines()
        .skip(1)
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!((ids[0], ids[1]), ("AbCdEf_19999", "AbCdEf_19998"));
    let said = frugal(server.install(), &["rm", "--domain", "far.test"]);
    assert!(said.starts_with("20000 items removed"), "{said}");
    assert_eq!(starting(server.install(), "trash_"), 20_000);
    // The system's figure is near, not exact: it may even be less.
    let grown = high_water_kb(server.pid()).saturating_sub(master);
    assert!(grown < 4096, "the master took {grown} kB more");
    let said = frugal(server.install(), &["undo", "--all"]);
    assert_eq!(said, "20000 items restored\n");
}
