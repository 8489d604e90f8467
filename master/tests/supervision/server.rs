//! A server with scripted workers in an install directory of its own. Nothing of it outlives the
//! value: the process groups of the server and of its daemon are killed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

/// Longest wait for anything; far above what is needed on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// An install directory, removed at the end.
pub struct Install {
    pub dir: PathBuf,
}

/// A running server.
pub struct Server {
    pub install: Install,
    child: Child,
}

/// Waits until the condition gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Install {
    pub fn new(smtp_ini: &str) -> Install {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("haraka-master-{}-{number}", std::process::id()));
        std::fs::create_dir_all(dir.join("config")).unwrap();
        let install = Install { dir };
        install.write("config/smtp.ini", smtp_ini);
        install.write("config/log.ini", "level=debug\ntimestamps=false\n");
        install.write("config/plugins", "");
        install
    }

    pub fn write(&self, name: &str, text: &str) {
        // As a whole or not at all, for readers that poll.
        let temp = self.dir.join("half-written");
        std::fs::write(&temp, text).unwrap();
        std::fs::rename(temp, self.dir.join(name)).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The group of a daemon is not its own number: daemonizing forks twice.
    fn kill_daemon(&self) {
        let Ok(pid) = self.read("pid").trim().parse::<i32>() else {
            return;
        };
        let dir = self.dir.display().to_string();
        let args = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if let Ok(group) = getpgid(Some(Pid::from_raw(pid)))
            && args.contains(&dir)
        {
            killpg(group, Signal::SIGKILL).unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("serve").args(args).arg("-c").arg(&self.dir);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs the program to its end with these arguments and `-c DIR`.
    pub fn tool(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same for a start that must fail; gives what it wrote to standard error.
    pub fn refused(&self) -> String {
        let output = self.tool(&[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "started: {said}");
        said
    }

    /// Starts the server and waits until all workers are ready.
    pub fn start(self) -> Server {
        let server = self.launch();
        server.log_has("Listening on");
        wait_for("OwnQueue", || {
            let frames = server.frames();
            (!frames.is_empty() && frames.len() >= frames[0].nodes).then_some(())
        });
        server
    }

    /// Starts the server and waits for nothing.
    pub fn launch(self) -> Server {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = self.command(&[]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Server {
            install: self,
            child,
        }
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        self.kill_daemon();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// An `OwnQueue` as a worker got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub pid: i32,
    pub slot: u32,
    pub incarnation: String,
    pub nodes: usize,
    pub text: String,
}

impl Server {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub fn log(&self) -> String {
        self.install.read("log")
    }

    /// Waits for text in the log.
    pub fn log_has(&self, text: &str) {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(text, || self.log().contains(text).then_some(()));
        }));
        if found.is_err() {
            panic!("no {text:?} in the log:\n{}", self.log());
        }
    }

    /// Every `OwnQueue` so far.
    pub fn frames(&self) -> Vec<Owned> {
        let text = self.install.read("frames");
        let lines = text.lines().filter(|l| l.contains(" OwnQueue "));
        lines
            .map(|line| {
                let mut words = line.splitn(4, ' ');
                let mut word = || words.next().unwrap().to_owned();
                let (pid, slot, incarnation, text) = (word(), word(), word(), word());
                let nodes = text.split("nodes: ").nth(1).unwrap();
                Owned {
                    pid: pid.parse().unwrap(),
                    slot: slot.parse().unwrap(),
                    incarnation,
                    nodes: nodes.split(',').next().unwrap().parse().unwrap(),
                    text,
                }
            })
            .collect()
    }

    /// Waits until these processes, and no others, got this frame.
    pub fn frame_reaches(&self, frame: &str, pids: &BTreeSet<i32>) {
        let got = || -> BTreeSet<i32> {
            let text = self.install.read("frames");
            let lines = text.lines().filter(|l| {
                l.splitn(4, ' ')
                    .nth(3)
                    .is_some_and(|f| f.starts_with(frame))
            });
            lines
                .map(|l| l.split(' ').next().unwrap().parse().unwrap())
                .collect()
        };
        wait_for(frame, || got().is_superset(pids).then_some(()));
        assert_eq!(got(), *pids, "{frame}");
    }

    /// The address in the nth `Listening on` line.
    pub fn addr(&self, index: usize) -> SocketAddr {
        wait_for("address", || {
            let log = self.log();
            let mut lines = log
                .lines()
                .filter_map(|l| l.split_once("[server] Listening on "));
            lines.nth(index).map(|(_, addr)| addr.parse().unwrap())
        })
    }

    /// Child processes of the master.
    pub fn children(&self) -> BTreeSet<i32> {
        children(self.pid())
    }

    /// Asks until the answering processes are these.
    pub fn answered_by(&self, addr: SocketAddr, pids: &BTreeSet<i32>) {
        let mut seen = BTreeSet::new();
        wait_for("answer of every worker", || {
            seen.insert(greeting(addr)?);
            (seen == *pids).then_some(())
        });
    }

    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("end of the server", || child.try_wait().unwrap())
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// The process that answers there.
pub fn greeting(addr: SocketAddr) -> Option<i32> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

pub fn children(pid: i32) -> BTreeSet<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|p| p.parse().unwrap())
        .collect()
}

/// The sockets that a process has open.
pub fn sockets(pid: i32) -> BTreeSet<String> {
    let fds = Path::new("/proc").join(pid.to_string()).join("fd");
    let links = fds.read_dir().unwrap().flatten();
    links
        .filter_map(|e| std::fs::read_link(e.path()).ok())
        .map(|l| l.display().to_string())
        .filter(|l| l.starts_with("socket:"))
        .collect()
}

/// A field of `/proc/PID/status`.
pub fn status_field(pid: i32, name: &str) -> String {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/status"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim_start_matches(':')
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
