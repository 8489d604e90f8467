//! Configuration seen from outside: files edited while the server runs, `--check`, `--dump`, the
//! environment.

// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use harness::{DEADLINE, Install, Server, greeted, wait_for};

/// Runs the program with arguments and variables, without those of this process's own that count.
fn haraka(args: &[&str], env: &[(&str, &str)]) -> Output {
    let program = env!("CARGO_BIN_EXE_haraka");
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().copied());
    command.output().unwrap()
}

fn check(install: &Install, env: &[(&str, &str)]) -> (i32, String) {
    let dir = install.path().to_str().unwrap();
    let output = haraka(&["--check", "-c", dir], env);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.replace(dir, "DIR"))
}

/// The code of the reply to a recipient, from a new connection.
fn rcpt(server: &Server, address: &str) -> u16 {
    let mut client = greeted(server);
    client.cmd("MAIL FROM:<a@example.com>").expect(250);
    let code = client.cmd(&format!("RCPT TO:<{address}>")).code;
    client.quit();
    code
}

/// What EHLO says about the size.
fn size(server: &Server) -> String {
    let mut client = server.client();
    let reply = client.ehlo("client.test");
    client.quit();
    let line = reply.lines.iter().find(|l| l.starts_with("SIZE "));
    line.unwrap().clone()
}

fn write(server: &Server, name: &str, text: &str) {
    let name = format!("config/{name}");
    server.install().write(&name, text.as_bytes());
}

// covers CFS-30, CFS-32
#[test]
fn changed_list_counts_in_every_worker_without_a_restart() {
    let server = Server::start(Install::new().set("smtp.ini", "main", "nodes", "2"));
    let workers = server.wait_for_workers(2);
    assert_eq!(rcpt(&server, "x@new.test"), 550);
    write(&server, "host_list", "here.test\nnew.test\n");
    server.wait_for_log("Reloaded file: ", DEADLINE);
    let mut row = 0;
    // Which worker answers is the kernel's choice: one that has not read it yet would show.
    wait_for("both workers to know the domain", || {
        row = if rcpt(&server, "x@new.test") == 250 {
            row + 1
        } else {
            0
        };
        row >= 20
    });
    assert_eq!(server.worker_pids(), workers);
    let count = server.log_text().matches("Reloaded file: ").count();
    assert_eq!(count, 1, "one worker speaks for all");
}

// covers CFS-30
#[test]
fn file_that_appears_is_renamed_or_removed_is_noticed() {
    let server = Server::start(Install::new());
    let config = server.install().path().join("config");
    write(&server, "host_list_regex", "r\\d+\\.test\n");
    wait_for("new file", || rcpt(&server, "x@r1.test") == 250);
    // As editors and installers do it.
    std::fs::write(config.join(".host_list_regex.new"), "s\\d+\\.test\n").unwrap();
    let regex = config.join("host_list_regex");
    std::fs::rename(config.join(".host_list_regex.new"), &regex).unwrap();
    wait_for("renamed file", || rcpt(&server, "x@s1.test") == 250);
    assert_eq!(rcpt(&server, "x@r1.test"), 550);
    std::fs::remove_file(&regex).unwrap();
    wait_for("removed file", || rcpt(&server, "x@s1.test") == 550);
}

// covers CFS-30
#[test]
fn links_that_are_turned_to_another_directory_are_noticed() {
    let install = Install::new();
    let config = install.path().join("config");
    for (name, text) in [("one", "here.test\n"), ("two", "there.test\n")] {
        install.write(&format!("config/..{name}/host_list"), text.as_bytes());
    }
    // As Kubernetes mounts a ConfigMap.
    symlink("..one", config.join("..data")).unwrap();
    std::fs::remove_file(config.join("host_list")).unwrap();
    symlink("..data/host_list", config.join("host_list")).unwrap();
    let server = Server::start(install);
    assert_eq!(rcpt(&server, "x@there.test"), 550);
    symlink("..two", config.join("..data_tmp")).unwrap();
    std::fs::rename(config.join("..data_tmp"), config.join("..data")).unwrap();
    wait_for("the other directory", || {
        rcpt(&server, "x@there.test") == 250
    });
}

// covers CFS-31
#[test]
fn bad_value_is_told_and_the_earlier_one_stays_until_a_good_one_comes() {
    let install = Install::new().config("connection.ini", "[max]\nbytes=1000\n");
    let server = Server::start(install);
    assert_eq!(size(&server), "SIZE 1000");
    write(&server, "connection.ini", "[max]\n\nbytes=2M\n");
    let told = server.wait_for_log("connection.ini:3: [max] bytes: ", DEADLINE);
    assert!(told.contains("the earlier settings stay"), "{told}");
    assert_eq!(size(&server), "SIZE 1000");
    write(&server, "connection.ini", "[max]\n\nbytes=2000\n");
    wait_for("the good value", || size(&server) == "SIZE 2000");
}

// covers PA-36, KEY-34
#[test]
fn open_session_goes_on_as_it_began() {
    let server = Server::start(Install::new().config("connection.ini", "[message]\nclose=one\n"));
    let mut old = greeted(&server);
    write(&server, "connection.ini", "[message]\nclose=two\n");
    wait_for("the new text", || {
        let mut client = greeted(&server);
        client.cmd("QUIT").text().ends_with("two")
    });
    assert!(old.cmd("QUIT").text().ends_with("one"));
}

// covers KEY-35, KEY-38
#[test]
fn log_level_follows_its_files() {
    let server = Server::start(Install::new());
    rcpt(&server, "x@here.test");
    assert!(!server.log_text().contains("[DEBUG]"));
    write(&server, "loglevel", "debug\n");
    wait_for("a line at the new level", || {
        rcpt(&server, "x@here.test");
        server.log_text().contains("[DEBUG]")
    });
}

// covers PA-36, KEY-12
#[test]
fn settings_for_the_start_are_said_to_wait_for_a_restart() {
    let server = Server::start(Install::new());
    write(
        &server,
        "smtp.ini",
        "listen=127.0.0.1:0\nnodes=3\ninactivity_timeout=77\n",
    );
    write(&server, "plugins", "rcpt_to.in_host_list\n");
    server.wait_for_log(
        "smtp.ini:2: nodes: the change counts after a restart",
        DEADLINE,
    );
    server.wait_for_log("plugins: the change counts after a restart", DEADLINE);
    let log = server.log_text();
    assert!(!log.contains("inactivity_timeout: the change"), "{log}");
    assert!(!log.contains("listen: the change"), "{log}");
}

// covers CFS-15, PA-35
#[test]
fn whole_files_in_smtp_json_count_and_follow_it() {
    let json = r#"{"!host_list": ["json.test"], "!connection.ini": {"max": {"bytes": 5000}}}"#;
    let server = Server::start(Install::new().config("smtp.json", json));
    let log = server.log_text();
    assert!(
        log.contains("Overriding file host_list with config from smtp.json"),
        "{log}"
    );
    assert_eq!(size(&server), "SIZE 5000");
    assert_eq!(rcpt(&server, "x@json.test"), 250);
    assert_eq!(rcpt(&server, "x@here.test"), 550);
    write(
        &server,
        "smtp.json",
        r#"{"!connection.ini": {"max": {"bytes": 6000}}"#,
    );
    server.wait_for_log("smtp.json:1: is not JSON: ", DEADLINE);
    assert_eq!(rcpt(&server, "x@json.test"), 250);
    write(
        &server,
        "smtp.json",
        r#"{"!connection.ini": {"max": {"bytes": 6000}}}"#,
    );
    wait_for("the file itself to count", || {
        rcpt(&server, "x@here.test") == 250
    });
    wait_for("the other override", || size(&server) == "SIZE 6000");
}

// covers PB-57
#[test]
fn settings_of_plugins_follow_their_files() {
    let install = Install::new()
        .plugins(&["relay", "rcpt_to.in_host_list", "queue/test"])
        .config("relay.ini", "[relay]\nacl=true\n");
    let server = Server::start(install);
    assert_eq!(rcpt(&server, "x@elsewhere.test"), 550);
    write(&server, "relay.ini", "[relay]\nacl=true\nall=true\n");
    write(&server, "relay_acl_allow", "127.0.0.0/8\n");
    wait_for("the client to be let in", || rcpt_relayed(&server));
}

fn rcpt_relayed(server: &Server) -> bool {
    let mut client = greeted(server);
    client.cmd("MAIL FROM:<a@here.test>").expect(250);
    let code = client.cmd("RCPT TO:<x@elsewhere.test>").code;
    client.quit();
    code == 250
}

// covers CFS-30
#[test]
fn watching_costs_nothing_while_nothing_happens() {
    let server = Server::start(Install::new());
    let worker = server.wait_for_workers(1)[0];
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = status
            .lines()
            .find(|l| l.starts_with("voluntary_ctxt"))
            .unwrap();
        line.split_whitespace()
            .last()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    // It has come to rest when it was not woken for a while.
    let mut last = (switches(), std::time::Instant::now());
    wait_for("three seconds without a wake", || {
        let now = switches();
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        last.1.elapsed().as_secs() >= 3
    });
}

#[test]
fn check_is_silent_about_a_sound_configuration() {
    let (code, text) = check(&Install::new(), &[]);
    assert_eq!((code, text.as_str()), (0, "0 errors, 0 warnings\n"));
}

#[test]
fn check_tells_everything_that_is_wrong_with_file_line_and_key() {
    let install = Install::new()
        .config(
            "smtp.ini",
            "listen=127.0.0.1:0\nnodes=many\nlisten_hots=x\nuser=no-such-user-here\n",
        )
        .config(
            "connection.ini",
            "spool_dir=/no/such/dir\n[max]\nbytes=1M\n",
        )
        .config("broken.json", "{\n\"a\": 1,\n}\n")
        .config("broken.yaml", "a: [1\nb: 2\n")
        .config("other.ini", "fine=1\nnot a setting\n")
        .config("smtp_forward.ini", "port=x\nhots=a\n")
        .config("host_list_regex", "ok\n(?!a)b\n")
        .plugins(&["rcpt_to.in_host_list", "nonsuch", "queue/smtp_forward"]);
    let env = [
        ("HARAKA_SMTP_NODS", "1"),
        ("HARAKA_OUTBOUND_DISABLED", "maybe"),
    ];
    let (code, text) = check(&install, &env);
    assert_eq!(code, 1);
    golden("check.txt", &text);
}

#[test]
fn check_asks_whether_users_and_directories_are_there() {
    let install = Install::new()
        .set("smtp.ini", "main", "user", "no-such-user-here")
        .set("smtp.ini", "main", "daemonize", "true")
        .set("smtp.ini", "main", "daemon_log_file", "/no/such/dir/log")
        .set("smtp.ini", "main", "daemon_pid_file", "/no/such/dir/pid")
        .config("connection.ini", "spool_dir=/no/such/dir\n")
        .config("queue_dir", "# here\n/no/such/dir/queue\n");
    let (code, text) = check(&install, &[]);
    assert_eq!(code, 1);
    golden("check_paths.txt", &text);
}

#[test]
fn check_with_warnings_alone_succeeds() {
    let install = Install::new()
        .config(
            "smtp.ini",
            "listen=127.0.0.1:0\nnods=1\nignore_bad_plugins=true\n",
        )
        .plugins(&["nonsuch"]);
    let (code, text) = check(&install, &[]);
    assert_eq!(code, 0, "{text}");
    golden("check_warnings.txt", &text);
}

#[test]
fn dump_shows_every_setting_with_its_origin_and_no_secret() {
    let install = Install::new()
        .config("smtp.json", r#"{"!log.ini": {"main": {"level": "warn"}}}"#)
        .config("internalcmd_key", "hush-key\n")
        .config("outbound.maxTempFailures", "5\n")
        .config(
            "smtp_forward.ini",
            "host=a\nauth_pass=hush-pass\n[d.test]\nurl=smtp://u:hush-url@h:25\n",
        );
    let dir = install.path().to_str().unwrap();
    let env = [
        ("HARAKA_SMTP_NODES", "2"),
        ("HARAKA_CONNECTION_HAPROXY_HOSTS", "10.0.0.1; 10.0.0.2"),
        ("HARAKA_ME", "env.test"),
    ];
    let output = haraka(&["--dump", "-c", dir], &env);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("hush"), "{text}");
    golden("dump.txt", &text.replace(dir, "DIR"));
}

#[test]
fn environment_goes_before_the_files() {
    let install = Install::new().config("smtp.ini", "listen=127.0.0.1:0\nnodes=junk\n");
    assert_eq!(check(&install, &[]).0, 1);
    assert_eq!(check(&install, &[("HARAKA_SMTP_NODES", "2")]).0, 0);
    let bad = [
        ("HARAKA_SMTP_NODES", "2"),
        ("HARAKA_CONNECTION_MAX_BYTES", "x"),
    ];
    let (code, text) = check(&install, &bad);
    assert_eq!(code, 1);
    let wanted = "error: environment HARAKA_CONNECTION_MAX_BYTES: [max] bytes: ";
    assert!(text.starts_with(wanted), "{text}");
}

// covers CLI-22
#[test]
fn variables_name_the_directory_the_pager_and_what_to_discard() {
    let said = |output: &Output| {
        let all = [output.stdout.as_slice(), &output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    };
    let nowhere = [("HARAKA", "/nonexistent/there")];
    let text = said(&haraka(&[], &nowhere));
    assert!(
        text.contains("No such directory: /nonexistent/there"),
        "{text}"
    );
    let text = said(&haraka(&["-c", "/nonexistent/here"], &nowhere));
    assert!(
        text.contains("No such directory: /nonexistent/here"),
        "{text}"
    );
    let text = said(&haraka(&[], &[("HARAKA", "")]));
    assert!(text.contains("nothing to do"), "{text}");
    // A tool wants to be told its directory, as Haraka's do.
    let text = said(&haraka(&["--qstat"], &nowhere));
    assert!(text.contains("qstat option requires config path"), "{text}");

    let install = Install::new()
        .config("plugins", "queue/discard\n")
        .config("loglevel", "INFO\n");
    install.write("docs/paged.md", b"a page\n");
    let dir = install.path().to_str().unwrap();
    let shown = haraka(&["-h", "paged", "-c", dir], &[("PAGER", "cat")]);
    assert!(said(&shown).contains("a page"), "{}", said(&shown));

    let trial = ["-t", "queue/discard", "-c", dir];
    for (value, discarded) in [("1", true), ("", false)] {
        let text = said(&haraka(&trial, &[("YES_REALLY_DO_DISCARD", value)]));
        assert_eq!(text.contains("discarding message"), discarded, "{text}");
    }
}

/// Compares with a file of `tests/golden/`; `UPDATE=1` rewrites it.
#[track_caller]
fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(want == got, "{} differs; it is now:\n{got}", path.display());
}
