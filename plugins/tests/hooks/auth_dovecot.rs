//! auth/dovecot: the protocol with a scripted service, and logins at a real Dovecot.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::auth::log_in;
use crate::auth_proxy::{FAILED, LATER, WELCOME, secured};
use crate::scripted::{Scripted, nobody};
use crate::site::Site;

const NAME: &str = "auth/dovecot";
const HELLO: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t7\nCUID\t1\nCOOKIE\tab\nDONE\n";

fn at(server: &str, rest: &str) -> Site {
    let ini = format!("server={server}\n{rest}");
    Site::new(&[("auth_dovecot.ini", &ini), ("me", "mx.test")])
}

/// A service that greets so, and answers each request so.
fn service(greeting: &'static str, answer: &'static str) -> Scripted {
    Scripted::start(greeting, move |line| {
        Some(match line.split('\t').next() {
            Some("AUTH") => answer.to_owned(),
            _ => String::new(),
        })
    })
}

fn try_at(server: &str) -> Vec<String> {
    let site = at(server, "timeout=2\n");
    let plugin = site.load(NAME);
    log_in(&plugin, &secured(&plugin), "u@here.test", "pass word")
}

#[test]
fn answers_of_the_service_are_those_to_the_client() {
    for (answer, said) in [
        ("OK\t1\tuser=u@here.test\n", WELCOME),
        ("FAIL\t1\tuser=u@here.test\n", FAILED),
        ("FAIL\t1\tuser_disabled\n", FAILED),
        ("FAIL\t1\ttemp\n", LATER),
        ("FAIL\t1\tcode=temp_fail\treason=no database\n", LATER),
        ("OK\t2\tuser=other\nFAIL\t1\tuser=u@here.test\n", FAILED),
        ("CONT\t1\tYWJj\n", LATER),
    ] {
        let back = service(HELLO, answer);
        assert_eq!(try_at(&back.addr.to_string()), [said], "{answer:?}");
        let heard = back.heard();
        assert_eq!(heard[0], "VERSION\t1\t2");
        let request = "AUTH\t1\tPLAIN\tservice=smtp\tsecured=tls\tlip=127.0.0.1\trip=8.8.8.8\t";
        assert!(heard[2].starts_with(request), "{heard:?}");
    }
}

#[test]
fn service_that_cannot_be_used_means_later() {
    for greeting in [
        "VERSION\t2\t0\nMECH\tPLAIN\nDONE\n",
        "VERSION\t1\t2\nMECH\tGSSAPI\nDONE\n",
        "",
    ] {
        let back = service(greeting, "OK\t1\tuser=u\n");
        assert_eq!(try_at(&back.addr.to_string()), [LATER], "{greeting:?}");
    }
    assert_eq!(try_at(&nobody().to_string()), [LATER]);
    assert_eq!(try_at("/nowhere/at.all"), [LATER]);
}

#[test]
fn configuration_that_leads_nowhere_ends_the_start_with_file_and_key() {
    for (server, rest, key) in [("a:x", "", "server"), ("a", "timeout=0\n", "timeout")] {
        let error = at(server, rest).try_load(NAME).err().unwrap();
        assert!(
            error.contains("auth_dovecot.ini") && error.contains(key),
            "{error}"
        );
    }
}

/// A running Dovecot of this test.
struct Real {
    dir: PathBuf,
    process: Child,
}

impl Drop for Real {
    fn drop(&mut self) {
        // TERM, so that it ends its own processes.
        let pid = self.process.id().to_string();
        drop(Command::new("kill").arg(pid).status());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

const USERS: &str = "u@here.test:{PLAIN}pass word\nv:{SHA512-CRYPT}$6$abcdefgh$nope\n";

fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "base_dir={dir}/run\nlog_path={dir}/log\nprotocols=\nssl=no\n\
         auth_mechanisms=plain login cram-md5\nauth_failure_delay=0\n\
         default_internal_user=nobody\ndefault_internal_group=nogroup\ndefault_login_user=nobody\n\
         service auth {{\n user=root\n unix_listener {dir}/client {{\n  mode=0666\n }}\n}}\n\
         passdb {{\n driver=passwd-file\n args=scheme=plain username_format=%u {dir}/users\n}}\n\
         service anvil {{\n unix_listener anvil-auth-penalty {{\n  mode=0\n }}\n}}\n\
         userdb {{\n driver=static\n args=uid=nobody gid=nogroup home=/\n}}\n"
    )
}

fn real() -> Option<Real> {
    let dir = std::env::temp_dir().join(format!("haraka-dovecot-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("dovecot.conf"), config(&dir)).unwrap();
    std::fs::write(dir.join("users"), USERS).unwrap();
    let started = Command::new("dovecot")
        .args(["-F", "-c"])
        .arg(dir.join("dovecot.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(process) = started else {
        std::fs::remove_dir_all(&dir).unwrap();
        return None;
    };
    let real = Real { dir, process };
    let end = Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(real.dir.join("client")).is_err() {
        assert!(Instant::now() < end, "Dovecot does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(real)
}

#[test]
fn users_of_a_real_dovecot_log_in() {
    // Its master has to be root.
    if !nix_is_root() {
        return crate::skip("Dovecot needs root to start");
    }
    let Some(real) = real() else {
        return crate::skip("dovecot is not installed");
    };
    let socket = real.dir.join("client");
    let site = at(socket.to_str().unwrap(), "");
    let plugin = site.load(NAME);
    for (user, password, said) in [
        ("u@here.test", "pass word", WELCOME),
        ("u@here.test", "guess", FAILED),
        ("nobody@here.test", "pass word", FAILED),
        ("u@here.test\tx", "pass word", FAILED),
    ] {
        let connection = secured(&plugin);
        let answer = log_in(&plugin, &connection, user, password);
        assert_eq!(answer, [said], "{user:?}");
        let known = connection.notes.get("auth_user");
        assert_eq!(known, (said == WELCOME).then(|| json!(user)));
    }
}

fn nix_is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|o| o.stdout == b"0\n")
}
