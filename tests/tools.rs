//! The command line's tools and the scripts in `contrib/`, run as an operator runs them.

// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::{DEADLINE, Install, Server};

fn haraka(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_haraka");
    Command::new(program).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("contrib")
        .join(name)
}

// covers CLI-18, PA-26
#[test]
fn grep_shows_the_whole_of_each_connection_that_names_the_address() {
    let mut server = Server::start(Install::new());
    for (from, host) in [
        ("alice@example.com", "one.test"),
        ("carol@example.com", "two.test"),
    ] {
        let mut client = server.client();
        client.ehlo(host);
        client
            .send_mail(from, &["bob@here.test"], "Subject: x\r\n\r\ny\r\n")
            .expect(250);
        client.quit();
        server.wait_for_log(&format!("helo={host}"), DEADLINE);
    }
    server.stop();
    let log = server.install().path().join("server.log");
    let grep = |log: &Path, address: &str| {
        let mut command = Command::new(contrib("haraka_grep"));
        command.arg(address).arg(log).output().unwrap()
    };
    let found = grep(&log, "ALICE@example.com");
    assert!(found.status.success());
    let said = out(&found);
    for part in [
        "connect ip=",
        "sender <alice@example.com>",
        "queue code=OK",
        "helo=one.test",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    assert!(
        !said.contains("carol") && !said.contains("two.test"),
        "{said}"
    );
    // Both connections, each under its uuid.
    let both = out(&grep(&log, "bob@here.test"));
    assert!(both.contains("one.test") && both.contains("two.test"));
    assert_eq!(both.lines().filter(|l| l.len() == 36).count(), 2, "{both}");

    assert_eq!(grep(&log, "nobody@example.com").status.code(), Some(1));
    assert_eq!(grep(Path::new("/nonexistent"), "x").status.code(), Some(2));
    // What was rotated away is found where the new log says nothing.
    let packed = Command::new("gzip").arg("-k").arg(&log).status().unwrap();
    assert!(packed.success());
    let dir = server.install().path();
    std::fs::rename(dir.join("server.log.gz"), dir.join("new.log.1.gz")).unwrap();
    std::fs::write(dir.join("new.log"), "nothing yet\n").unwrap();
    let old = grep(&dir.join("new.log"), "alice@example.com");
    assert_eq!(out(&old), said);
}

// covers CLI-19
#[test]
fn the_wrapper_runs_the_server_of_a_directory_with_errors_on_its_output() {
    let program = Path::new(env!("CARGO_BIN_EXE_haraka"));
    let output = Command::new(contrib("haraka.sh"))
        .env("PATH", program.parent().unwrap())
        .env("HARAKA", "/nonexistent")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(out(&output).contains("No such directory: /nonexistent"));
    assert!(err(&output).is_empty());
}

// covers CLI-12, CLI-13, CLI-17
#[test]
fn a_trial_shows_log_and_verdicts_and_ends_with_what_came_of_it() {
    let install = Install::new().file("mail.txt", "Subject: hello\n\n.dots\n");
    let dir = install.path().to_str().unwrap();
    let message = install.path().join("mail.txt");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haraka"));
        let command = command.args(args).args(["-c", dir]);
        command
            .env("TMPDIR", install.path().join("tmp"))
            .output()
            .unwrap()
    };
    let tried = run(&[
        "-t",
        "all",
        "--envrcpt",
        "me@here.test",
        "--message",
        message.to_str().unwrap(),
        "--dump-stream",
    ]);
    assert!(tried.status.success(), "{}", err(&tried));
    let said = out(&tried);
    for part in [
        "[DEBUG] ",
        "hook=rcpt plugin=rcpt_to.in_host_list",
        "\nrcpt: OK\n",
        "\nSTREAM:\nSubject: hello\r\n\r\n.dots\r\n",
        "\nqueue: OK",
    ] {
        assert!(said.contains(part), "{part:?} in:\n{said}");
    }
    assert_eq!(install.stored().len(), 1);
    for (args, part) in [
        (&["-t", "none_such"][..], "No plugin with this name found"),
        (
            &["-t", "all", "--message", "/nonexistent"],
            "/nonexistent: ",
        ),
    ] {
        let tried = run(args);
        assert_eq!(tried.status.code(), Some(1));
        assert!(err(&tried).contains(part), "{}", err(&tried));
    }
}

// covers CLI-02, CLI-05, PLG-03, PLG-16
#[test]
fn a_new_plugin_is_listed_has_its_page_and_is_not_passed_over_in_silence() {
    let install = Install::new().plugins(&["relay", "queue/test"]);
    let dir = install.path().to_str().unwrap();
    let made = haraka(&["-p", "relay", "-c", dir]);
    assert!(made.status.success() && out(&made).starts_with("Plugin relay created\n"));
    let listed = out(&haraka(&["-l", "-c", dir]));
    let (global, local) = listed.split_once("\n*local\n").unwrap();
    assert!(
        global.contains("\n\trelay\n") && local.contains("\n\trelay\n"),
        "{listed}"
    );
    let page = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["-h", "relay", "-c", dir])
        .env("PAGER", "cat")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out(&page).starts_with("# relay\n"), "{page:?}");
    let again = haraka(&["-p", "relay", "-c", dir]);
    assert!(!again.status.success() && err(&again).contains("relay.js"));

    let server = Server::start(install);
    let line = server.wait_for_log("plugins/relay.js runs, not the native plugin", DEADLINE);
    assert!(line.contains("[NOTICE]"), "{line}");
}

// covers CLI-04
#[test]
fn a_document_that_is_not_there_is_a_warning_and_no_error() {
    let output = haraka(&["-h", "none_such"]);
    assert!(output.status.success());
    assert_eq!(
        err(&output),
        "warning: No documentation found for: none_such\n"
    );
}

// covers CLI-10, CLI-16
#[test]
fn queue_tools_refuse_to_empty_and_show_the_log_only_when_asked() {
    let install = Install::new();
    let dir = install.path().to_str().unwrap();
    let refused = haraka(&["--qempty", "-c", dir]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("haraka queue rm --all"));
    assert!(!out(&haraka(&["--qstat", "-c", dir])).contains("[logger]"));
    let verbose = out(&haraka(&["--qstat", "-c", dir, "--verbose"]));
    assert!(verbose.contains("[logger] loglevel: INFO"), "{verbose}");
}
