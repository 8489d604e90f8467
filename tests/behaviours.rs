//! Small behaviours of the whole program that no other end-to-end test shows: ids, log formats, levels,
//! plugins that are not there, what a restart reads.

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

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{DEADLINE, Install, Server, SmtpClient, greeted, processes, wait_for};

const HARAKA: &str = env!("CARGO_BIN_EXE_haraka");

fn with_log(level: &str, format: &str) -> Install {
    Install::new()
        .config("loglevel", &format!("{level}\n"))
        .set("log.ini", "main", "level", level)
        .set("log.ini", "main", "format", format)
        .set("log.ini", "main", "timestamps", "false")
}

/// On a port that is known, for logs that do not show the ready line as the harness knows it.
fn on_free_port(install: Install) -> Install {
    let free = harness::port::reserve().to_string();
    install.set("smtp.ini", "main", "listen", &free)
}

// covers CON-02, PA-26
#[test]
fn messages_are_numbered_within_the_id_that_banner_log_and_store_share() {
    let server = Server::start(Install::new());
    let mut client = server.client();
    let banner = client.reply().expect(220).text();
    let short = banner.split(['(', ')']).nth(1).unwrap().to_owned();
    client.cmd("EHLO client.test").expect(250);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let queued = client.send_mail("a@b.test", &["u@here.test"], "X: y\r\n\r\nz\r\n");
        let text = queued.expect(250).text();
        ids.push(text.split(['(', ')']).nth(1).unwrap().to_owned());
    }
    client.quit();
    let (id, number) = ids[0].rsplit_once('.').unwrap();
    assert!(
        id.len() == 36 && id.to_uppercase() == id && id.starts_with(&short),
        "{banner} {ids:?}"
    );
    assert_eq!((number, &ids[1]), ("1", &format!("{id}.2")));
    server.wait_for_log(&format!("[NOTICE] [{id}] [core] connect "), DEADLINE);
    server.wait_for_log(&format!("[NOTICE] [{id}.2] [core] disconnect "), DEADLINE);
    for id in ids {
        assert!(
            server
                .install()
                .path()
                .join(format!("tmp/mail_{id}.eml"))
                .exists(),
            "{id}"
        );
    }
}

// covers LOG-01, LOG-16
#[test]
fn dialogue_is_in_the_log_from_level_protocol_on_and_not_below() {
    for (level, shown) in [("protocol", true), ("debug", false)] {
        let server = Server::start(with_log(level, "default"));
        let client = greeted(&server);
        client.quit();
        server.wait_for_log("] disconnect ", DEADLINE);
        let log = server.log_text();
        for line in ["C: EHLO client.test", "S: 250-SIZE 26214400", "C: QUIT"] {
            assert_eq!(log.contains(line), shown, "{level}: {line}\n{log}");
        }
        assert!(log.contains("[NOTICE]"), "{log}");
    }
}

// covers LOG-01
#[test]
fn level_warn_leaves_out_what_an_ordinary_session_says() {
    let install = on_free_port(with_log("warn", "default"));
    let server = Server::start(install);
    let client = greeted(&server);
    client.quit();
    assert!(
        !server.log_text().contains("NOTICE"),
        "{}",
        server.log_text()
    );
}

// covers LOG-03
#[test]
fn logfmt_lines_have_the_four_keys_before_those_of_the_event() {
    let server = Server::start(on_free_port(with_log("info", "logfmt")));
    let client = greeted(&server);
    let port = client.local_addr().port();
    client.quit();
    let line = server.wait_for_log(
        &format!("message=connect ip=127.0.0.1 port={port} "),
        DEADLINE,
    );
    let id = line
        .split("uuid=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(id.len(), 36, "{line}");
    let local = server.addr().port();
    assert_eq!(
        line,
        format!(
            "level=NOTICE uuid={id} origin=core message=connect ip=127.0.0.1 port={port} \
             local_ip=127.0.0.1 local_port={local}"
        )
    );
}

// covers PLG-04, KEY-08
#[test]
fn plugin_that_is_not_there_ends_the_start_unless_bad_plugins_are_ignored() {
    let with_bad =
        || Install::new().plugins(&["rcpt_to.in_host_list", "no_such_plugin", "queue/test"]);
    let failure = Server::try_start(with_bad(), &[HARAKA]).err().unwrap();
    assert!(
        failure.status.is_some_and(|status| !status.success()),
        "{failure:?}"
    );
    assert!(failure.log.contains("no_such_plugin"), "{}", failure.log);
    let server = Server::start(with_bad().set("smtp.ini", "main", "ignore_bad_plugins", "true"));
    let line = server.wait_for_log("Loading plugin no_such_plugin failed", DEADLINE);
    assert!(line.contains("CRIT"), "{line}");
    let mut client = greeted(&server);
    client
        .send_mail("a@b.test", &["u@here.test"], "X: y\r\n\r\nz\r\n")
        .expect(250);
}

// covers KEY-34
#[test]
fn texts_of_connection_ini_change_with_the_next_graceful_restart() {
    let server = Server::start(Install::new());
    let hello = |server: &Server| {
        let mut client = server.client();
        let text = client.ehlo("client.test").text();
        client.quit();
        text
    };
    assert!(hello(&server).contains("Haraka is at your service."));
    let path = server.install().path().join("config/connection.ini");
    let ini = fs::read_to_string(&path).unwrap();
    fs::write(
        path,
        ini.replace("helo=Haraka is at your service.", "helo=Changed."),
    )
    .unwrap();
    assert!(hello(&server).contains("Haraka is at your service."));
    let dir = server.install().path().to_str().unwrap();
    let done = Command::new(HARAKA)
        .args(["--graceful", "-c", dir])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    server.wait_for_log("Reload complete", DEADLINE);
    assert!(hello(&server).contains("Changed."));
}

// covers CON-06
#[test]
fn hooks_of_the_start_run_between_the_connect_line_and_the_banner() {
    let install = with_log("protocol", "default")
        .plugins(&["relay", "rcpt_to.in_host_list", "queue/test"])
        .config("relay_acl_allow", "127.0.0.0/8\n");
    let server = Server::start(install);
    let client = greeted(&server);
    client.quit();
    server.wait_for_log("] disconnect ", DEADLINE);
    let log = server.log_text();
    let at = |part: &str| {
        log.find(part)
            .unwrap_or_else(|| panic!("{part:?} is not in\n{log}"))
    };
    let order = [
        "] connect ip=",
        "running connect_init hook in relay",
        "running connect hook in relay",
        "S: 220 ",
        "C: EHLO",
    ];
    assert!(order.map(at).is_sorted(), "{log}");
}

// covers PB-67, OUT-07
#[test]
fn queued_mail_has_the_list_of_plugins_to_skip_in_its_notes() {
    let install = Install::new()
        .plugins(&["relay"])
        .config("relay.ini", "[relay]\nall=true\n")
        .config("outbound.ini", "disabled=true\n");
    let server = Server::start(install);
    let mut client = greeted(&server);
    client
        .send_mail("a@b.test", &["u@far.test"], "X: y\r\n\r\nz\r\n")
        .expect(250);
    client.quit();
    let names = server.install().queue_files();
    let [name] = names.as_slice() else {
        panic!("{names:?}")
    };
    let bytes = fs::read(server.install().path().join("queue").join(name)).unwrap();
    let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let envelope: serde_json::Value = serde_json::from_slice(&bytes[4..4 + length]).unwrap();
    assert_eq!(
        envelope["notes"]["skip_plugins"],
        serde_json::json!([]),
        "{envelope}"
    );
    assert_eq!(envelope["domain"], "far.test");
}

// covers AUX-01, AUX-02
#[test]
fn scripts_for_init_systems_are_sound_and_start_the_program() {
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    for name in ["haraka.init", "haraka.rcd", "run.sh"] {
        let read = Command::new("sh")
            .arg("-n")
            .arg(contrib.join(name))
            .output()
            .unwrap();
        assert!(read.status.success(), "{name}: {read:?}");
        assert!(
            fs::read_to_string(contrib.join(name))
                .unwrap()
                .contains("haraka"),
            "{name}"
        );
    }
    let unit = fs::read_to_string(contrib.join("haraka.service")).unwrap();
    for section in ["[Unit]", "[Service]", "[Install]"] {
        assert!(unit.lines().any(|line| line == section), "{section}");
    }
    assert!(
        unit.lines()
            .any(|line| line.starts_with("ExecStart=") && line.contains("haraka -c")),
        "{unit}"
    );
}

/// A client in the middle of a message.
fn sending(server: &Server) -> SmtpClient {
    let mut client = greeted(server);
    client.cmd("MAIL FROM:<a@b.test>").expect(250);
    client.cmd("RCPT TO:<c@here.test>").expect(250);
    client.cmd("DATA").expect(354);
    let line = "0123456789".repeat(6) + "\r\n";
    client.send_raw(format!("Subject: rush\r\n\r\n{}", line.repeat(130)).as_bytes());
    client
}

// covers PB-13
#[test]
fn memory_of_a_rush_of_clients_is_given_back_when_they_have_gone() {
    const CLIENTS: usize = 900;
    let server = Server::start(Install::new());
    let worker = server.wait_for_workers(1)[0];
    // What one client leaves behind for the next is no matter of a rush.
    drop(sending(&server));
    let before = processes::anonymous(worker);
    let rush: Vec<_> = (0..CLIENTS).map(|_| sending(&server)).collect();
    wait_for("what they have sent to arrive", || {
        processes::anonymous(worker) > before + (CLIENTS * 8 * 1024) as f64
    });
    let taken = processes::anonymous(worker) - before;
    drop(rush);
    wait_for("the memory to be given back", || {
        processes::anonymous(worker) < before + taken / 2.0
    });
}
