//! A running server, ours or any other that takes `-c DIR`, owned by a test. It is in a process group of
//! its own and all its processes carry a mark, so none can outlive the test unseen.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use nix::sys::signal::Signal;

use super::client::SmtpClient;
use super::install::Install;
use super::unread::inode;
use super::{DEADLINE, poll_until, processes};

/// A started server. Dropping it stops it and fails the test if one of its processes does not go.
pub struct Server {
    install: Option<Install>,
    command: Vec<String>,
    mark: String,
    child: Child,
    log: PathBuf,
    /// Where the log of the current run begins: a restart appends to the same file.
    log_start: u64,
    addresses: Vec<SocketAddr>,
}

/// A server that ended, or never said that it listens.
#[derive(Debug)]
pub struct StartFailure {
    /// How it ended; `None` when it was still running at the deadline (and was killed).
    pub status: Option<ExitStatus>,
    /// What it had logged.
    pub log: String,
}

impl Server {
    /// Starts the program under test on `install` and waits until it listens: until it has logged a ready
    /// line per address or, where all ports are fixed, accepts connections on them.
    #[track_caller]
    pub fn start(install: Install) -> Self {
        Self::start_command(install, &[env!("CARGO_BIN_EXE_haraka")])
    }

    /// Starts the real Haraka on `install`; `None` when the environment does not name one.
    #[track_caller]
    pub fn start_peer(install: Install) -> Option<Self> {
        Some(Self::start_command(install, &peer_command()?))
    }

    /// Starts any command; `-c DIR` is appended to it.
    #[track_caller]
    pub fn start_command<S: AsRef<str>>(install: Install, command: &[S]) -> Self {
        match Self::try_start(install, command) {
            Ok(server) => server,
            Err(failure) => panic!(
                "server did not start, status {:?}, log:\n{}",
                failure.status, failure.log
            ),
        }
    }

    /// As [`Server::start_command`], for tests that expect the start to fail.
    ///
    /// # Errors
    /// The server ended, or did not log a ready line per address within the deadline.
    pub fn try_start<S: AsRef<str>>(install: Install, command: &[S]) -> Result<Self, StartFailure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{unique}", std::process::id());
        let command: Vec<String> = command.iter().map(|s| s.as_ref().to_owned()).collect();
        let log = install.path().join("server.log");
        let child = spawn(&command, install.path(), &log, &mark);
        let mut server = Self {
            install: Some(install),
            command,
            mark,
            child,
            log,
            log_start: 0,
            addresses: Vec::new(),
        };
        server.await_ready().map(|()| server)
    }

    /// The first address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses that the server listens on, in the order of its ready lines.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The install directory.
    pub fn install(&self) -> &Install {
        self.install.as_ref().expect("only `into_install` takes it")
    }

    /// A new connection to the first address, nothing read yet.
    #[track_caller]
    pub fn client(&self) -> SmtpClient {
        SmtpClient::connect(self.addr())
    }

    /// Process id of the program that was started: the master.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Process ids of the living children of the master.
    pub fn worker_pids(&self) -> Vec<i32> {
        processes::children(self.pid())
    }

    /// The worker that serves this client; it has said something, so that somebody does.
    #[track_caller]
    pub fn worker_of(&self, client: &SmtpClient) -> i32 {
        let (server, us) = (client.peer_addr(), client.local_addr());
        let inode = inode(server, us).expect("a connection that is open");
        let mut workers = self.worker_pids().into_iter();
        let found = workers.find(|pid| processes::holds_socket(*pid, inode));
        found.expect("a worker that holds the other end")
    }

    /// Process ids of every living process of this server, the master's and also orphans'.
    pub fn all_pids(&self) -> Vec<i32> {
        processes::family(&self.mark)
    }

    /// Waits until the master has exactly `count` children and returns them.
    #[track_caller]
    pub fn wait_for_workers(&self, count: usize) -> Vec<i32> {
        let found = poll_until(DEADLINE, || {
            let pids = self.worker_pids();
            (pids.len() == count).then_some(pids)
        });
        found.unwrap_or_else(|| {
            panic!(
                "{count} workers awaited, there are {:?}; log:\n{}",
                self.worker_pids(),
                self.log_text()
            )
        })
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        processes::send(self.pid(), signal);
    }

    /// Everything logged since the (last) start.
    pub fn log_text(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        let from = (self.log_start as usize).min(all.len());
        String::from_utf8_lossy(&all[from..]).into_owned()
    }

    /// The same as lines.
    pub fn log_lines(&self) -> Vec<String> {
        self.log_text().lines().map(str::to_owned).collect()
    }

    /// Waits for a log line that contains `part` and returns the first such line.
    #[track_caller]
    pub fn wait_for_log(&self, part: &str, deadline: Duration) -> String {
        let line = poll_until(deadline, || {
            self.log_lines()
                .into_iter()
                .find(|line| line.contains(part))
        });
        line.unwrap_or_else(|| {
            panic!(
                "no log line with {part:?} within {deadline:?}; log:\n{}",
                self.log_text()
            )
        })
    }

    /// Asks the server to end (SIGTERM), waits for it, and fails the test if any process stays.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit()
    }

    /// Waits until the master has ended and no process of its family is left.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        match self.end_of_family() {
            Ok(status) => status,
            Err(complaint) => panic!("{complaint}; log:\n{}", self.log_text()),
        }
    }

    /// Kills every process of the server at once, as a power cut would.
    pub fn kill9_all(&mut self) {
        // Stop first: else a master that sees a worker die has time to start another one.
        for pid in self.all_pids() {
            processes::send(pid, Signal::SIGSTOP);
        }
        for pid in self.all_pids() {
            processes::send(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
        assert!(
            poll_until(DEADLINE, || self.all_pids().is_empty().then_some(())).is_some(),
            "processes survived SIGKILL: {:?}",
            self.all_pids()
        );
    }

    /// Starts the same command again on the same directory, after the previous run has ended (a run that
    /// has not is stopped). A free port is chosen anew unless the configuration names one.
    #[track_caller]
    pub fn restart(&mut self) {
        if !self.all_pids().is_empty() {
            self.stop();
        }
        self.log_start = fs::metadata(&self.log).map_or(0, |meta| meta.len());
        self.child = spawn(&self.command, self.install().path(), &self.log, &self.mark);
        if let Err(failure) = self.await_ready() {
            panic!(
                "restart failed, status {:?}, log:\n{}",
                failure.status, failure.log
            );
        }
    }

    /// Stops the server and gives the directory back, to look at it or to start another program on it.
    #[track_caller]
    pub fn into_install(mut self) -> Install {
        if !self.all_pids().is_empty() {
            self.stop();
        }
        self.install
            .take()
            .expect("taken once, as self is consumed")
    }

    fn await_ready(&mut self) -> Result<(), StartFailure> {
        let listen = self.install().listen();
        let mut status = None;
        let ready = poll_until(DEADLINE, || {
            self.addresses = ready_addresses(&self.log_text());
            if self.addresses.len() < listen.len() {
                self.addresses = reachable(&listen).unwrap_or_default();
            }
            status = self.child.try_wait().unwrap();
            // A command that daemonizes ends well; then it is the daemon that has to be there.
            let failed = match status {
                Some(status) if status.success() => self.all_pids().is_empty(),
                Some(_) => true,
                None => false,
            };
            let ready = self.addresses.len() >= listen.len();
            (failed || ready).then_some(ready && !failed)
        });
        if ready == Some(true) {
            return Ok(());
        }
        let failure = StartFailure {
            status,
            log: self.log_text(),
        };
        self.kill9_all();
        Err(failure)
    }

    fn end_of_family(&mut self) -> Result<ExitStatus, String> {
        let status = poll_until(DEADLINE, || self.child.try_wait().unwrap());
        let gone = status.is_some()
            && poll_until(ORPHANS, || self.all_pids().is_empty().then_some(())).is_some();
        if let (Some(status), true) = (status, gone) {
            return Ok(status);
        }
        let left = self.all_pids();
        self.kill9_all();
        Err(match status {
            None => format!("the server did not end within {DEADLINE:?}, processes {left:?}"),
            Some(status) => format!("the master ended ({status}) but processes {left:?} stay"),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("server log:\n{}", self.log_text());
            self.kill9_all();
            return;
        }
        if self
            .child
            .try_wait()
            .unwrap()
            .is_some_and(|s| s.signal().is_some())
            && self.all_pids().is_empty()
        {
            return; // the test killed it
        }
        self.signal(Signal::SIGTERM);
        for pid in self.all_pids() {
            // A daemon is not our child, so the signal above did not reach it.
            if self.child.try_wait().unwrap().is_some() {
                processes::send(pid, Signal::SIGTERM);
            }
        }
        if let Err(complaint) = self.end_of_family() {
            panic!("{complaint}; log:\n{}", self.log_text());
        }
    }
}

/// The command that starts the real Haraka: `PEER_HARAKA` is the path of its `bin/haraka`, run by `node`.
pub fn peer_command() -> Option<[String; 2]> {
    let path = std::env::var("PEER_HARAKA").ok()?;
    Some(["node".to_owned(), path])
}

fn spawn(command: &[String], dir: &Path, log: &Path, mark: &str) -> Child {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    Command::new(&command[0])
        .args(&command[1..])
        .arg("-c")
        .arg(dir)
        .current_dir(dir)
        .env("TMPDIR", dir.join("tmp"))
        .env("YES_REALLY_DO_DISCARD", "1") // queue/discard discards only with it
        .env(processes::MARK, mark)
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Addresses of the lines that say `Listening on ADDRESS:PORT`, each once; with several workers the real
/// Haraka says so once per worker.
fn ready_addresses(log: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in log.lines() {
        let after = line.split("Listening on ").nth(1);
        // In the other forms of the log a quotation mark ends the address.
        let word = after.and_then(|rest| rest.split([' ', '"']).next());
        if let Some(Ok(addr)) = word.map(str::parse)
            && !found.contains(&addr)
        {
            found.push(addr);
        }
    }
    found
}

/// The configured addresses, if all of them are fixed and accept connections: the way to see a server start
/// whose log level hides the ready line.
fn reachable(listen: &[String]) -> Option<Vec<SocketAddr>> {
    let addresses = listen.iter().map(|text| text.parse::<SocketAddr>().ok());
    let addresses = addresses.collect::<Option<Vec<_>>>()?;
    let up = |addr: &SocketAddr| addr.port() != 0 && TcpStream::connect(addr).is_ok();
    addresses.iter().all(up).then_some(addresses)
}

/// How long processes may outlive their master.
const ORPHANS: Duration = Duration::from_secs(5);
