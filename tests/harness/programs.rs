//! Other programs that a test runs: clients that send mail, and servers that go with the test. Each says
//! whether it is installed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};

use super::{skip, wait_for};

/// Runs a program with this input to its end; `None` if it is not installed.
pub fn run(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // One that ends early says why itself.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    Some(child.wait_with_output().unwrap())
}

/// A program with a directory of its own; both go when it is dropped.
pub struct Daemon {
    dir: PathBuf,
    process: Child,
}

impl Daemon {
    /// `None` if the program is not installed. It has to listen at `socket` below its directory.
    pub fn start(dir: PathBuf, program: &str, arguments: &[&str]) -> Option<Self> {
        let log = std::fs::File::create(dir.join("output")).unwrap();
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let Ok(process) = started else {
            std::fs::remove_dir_all(dir).unwrap();
            return None;
        };
        let daemon = Self { dir, process };
        wait_for(program, || UnixStream::connect(daemon.socket()).is_ok());
        Some(daemon)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // TERM, so that it ends the processes that it started.
        let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A directory that other users can go through.
pub fn directory(name: &str) -> PathBuf {
    let name = format!("haraka-{name}-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A Dovecot that knows one user, and says at its socket who may log in by PLAIN, LOGIN and CRAM-MD5.
/// `None`, with a word about it, where there is none or where we are not root, which its master has to be.
pub fn dovecot(user: &str, password: &str) -> Option<Daemon> {
    const PROGRAM: &str = "/usr/sbin/dovecot";
    if !nix::unistd::geteuid().is_root() || !Path::new(PROGRAM).exists() {
        skip("needs Dovecot, and root to start it");
        return None;
    }
    let dir = directory("dovecot");
    let d = dir.display();
    // Without delays and penalties for wrong passwords.
    let config = format!(
        "base_dir={d}/run\nlog_path={d}/log\nprotocols=\nssl=no\n\
         auth_mechanisms=plain login cram-md5\nauth_failure_delay=0\n\
         default_internal_user=nobody\ndefault_internal_group=nogroup\ndefault_login_user=nobody\n\
         service auth {{\n user=root\n unix_listener {d}/socket {{\n  mode=0666\n }}\n}}\n\
         service anvil {{\n unix_listener anvil-auth-penalty {{\n  mode=0\n }}\n}}\n\
         passdb {{\n driver=passwd-file\n args=scheme=plain username_format=%u {d}/users\n}}\n\
         userdb {{\n driver=static\n args=uid=nobody gid=nogroup home=/\n}}\n"
    );
    let file = dir.join("dovecot.conf");
    std::fs::write(&file, config).unwrap();
    std::fs::write(dir.join("users"), format!("{user}:{{PLAIN}}{password}\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Daemon::start(dir, PROGRAM, &["-F", "-c", &file])
}
