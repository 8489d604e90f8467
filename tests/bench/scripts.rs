//! Plugins in JavaScript: what they add to the cost of a message, here and in the real Haraka. Both run in
//! the same rounds on the same configuration, packages, DNS and redis, so that only their ratio counts.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use haraka_shared::date;

use crate::harness::server::peer_command;
use crate::harness::{FakeDns, Install, Server, processes};
use crate::source::{self, Reuse, Work};
use crate::table::family_cpu;

/// A list of plugins under test.
struct Chain {
    name: &'static str,
    plugins: &'static [&'static str],
    /// From npm: needs the folder that the real Haraka is in.
    packages: bool,
}

const CHAINS: [Chain; 3] = [
    Chain {
        name: "none",
        plugins: &[],
        packages: false,
    },
    Chain {
        name: "no-op",
        plugins: &["noop"],
        packages: false,
    },
    Chain {
        name: "typical",
        plugins: &["redis", "karma", "access", "helo.checks", "headers"],
        packages: true,
    },
];

/// Has nothing to say at the hooks that each message of a new connection comes through.
const NOOP: &str = "\
for (const hook of ['connect', 'helo', 'ehlo', 'mail', 'rcpt', 'data_post', 'queue']) {
    exports[`hook_${hook}`] = (next) => next()
}
";

/// From where the messages come, as PROXY has it: plugins pass over private addresses.
const CLIENT: &str = "20.0.0.1";
const CLIENT_NAME: &str = "mail.example.com";

const ROUNDS: usize = 5;

/// One server that is measured.
struct Side {
    server: Server,
    /// Of each kind of client: CPU microseconds per message and messages per second, of each round.
    rounds: Vec<Vec<(f64, f64)>>,
}

/// What both sides find around them.
struct Surroundings {
    dns: FakeDns,
    redis: Option<Redis>,
    packages: Option<PathBuf>,
}

/// Prints a row for each chain and kind of client whose name begins with `row`; `work.messages` messages each, in
/// several rounds.
///
/// # Errors
/// The load could not be sent, or a message was refused.
pub fn print(work: &Work, row: &str) -> anyhow::Result<()> {
    let around = Surroundings::start();
    println!(
        "\nplugins in JavaScript, {} messages of {} octets, {} sessions, medians of {ROUNDS} rounds{}",
        work.messages,
        work.size,
        work.sessions,
        if around.redis.is_some() {
            ""
        } else {
            "; without redis-server"
        }
    );
    println!(
        "{:<26}{:>12}{:>9}{:>12}{:>9}{:>11}{:>11}{:>13}",
        "plugins, client",
        "CPU us/msg",
        "msg/s",
        "peer CPU",
        "msg/s",
        "CPU ratio",
        "rate ratio",
        "worker MB"
    );
    for chain in &CHAINS {
        let mut clients = clients(work);
        clients.retain(|(name, _)| format!("{}, {name}", chain.name).starts_with(row));
        if clients.is_empty() {
            continue;
        }
        if chain.packages && around.packages.is_none() {
            println!("{:<26} needs PEER_HARAKA", chain.name);
            continue;
        }
        let ours = [env!("CARGO_BIN_EXE_haraka").to_owned()];
        let mut own = Side::start(chain, &around, &ours)?;
        let mut peer = match peer_command() {
            Some(command) => Some(Side::start(chain, &around, &around.with_dns(command)?)?),
            None => None,
        };
        for side in [Some(&mut own), peer.as_mut()].into_iter().flatten() {
            side.warm_up(&clients)?;
        }
        let before = own.resident();
        for _ in 0..ROUNDS {
            for side in [Some(&mut own), peer.as_mut()].into_iter().flatten() {
                side.round(&clients)?;
            }
        }
        let memory = format!("{:.1}-{:.1}", before / 1e6, own.resident() / 1e6);
        for (at, (name, _)) in clients.iter().enumerate() {
            let label = format!("{}, {name}", chain.name);
            own.show(&label, at, peer.as_ref(), &memory);
        }
    }
    Ok(())
}

/// How the resident memory of a worker grows with the messages, for each chain.
///
/// # Errors
/// The load could not be sent.
pub fn memory(work: &Work, row: &str) -> anyhow::Result<()> {
    let around = Surroundings::start();
    println!(
        "\nresident memory of a worker in MB\n{:<12}{:>9}{:>9}{:>14}{:>14}",
        "plugins", "threads", "begun", "after 1/4", "after all"
    );
    for chain in &CHAINS {
        if !chain.name.starts_with(row) || chain.packages && around.packages.is_none() {
            continue;
        }
        let own = [env!("CARGO_BIN_EXE_haraka").to_owned()];
        let side = Side::start(chain, &around, &own)?;
        let clients = clients(work);
        // A worker that has answered has loaded its plugins.
        side.send(&Work {
            messages: 20,
            ..clients[0].1.clone()
        })?;
        let (rest, threads) = (side.resident(), side.threads());
        let mut seen = Vec::new();
        for share in [1, 3] {
            for (_, client) in &clients {
                let work = Work {
                    messages: work.messages * share / 8,
                    ..client.clone()
                };
                side.send(&work)?;
            }
            seen.push(side.resident());
        }
        println!(
            "{:<12}{threads:>9}{:>9.1}{:>14.1}{:>14.1}",
            chain.name,
            rest / 1e6,
            seen[0] / 1e6,
            seen[1] / 1e6
        );
    }
    Ok(())
}

/// One message per connection, and all over the same connections.
fn clients(work: &Work) -> Vec<(&'static str, Work)> {
    let date = date::rfc2822_now();
    let received = format!(
        "Received: from a.example.net by b.example.net; {date}\r\n",
        date = &*date
    );
    let common = Work {
        from: format!("sender@{CLIENT_NAME}"),
        helo: CLIENT_NAME.to_owned(),
        hail: format!("PROXY TCP4 {CLIENT} 127.0.0.1 4321 25\r\n"),
        header: format!(
            "Date: {}\r\n{received}{received}User-Agent: load\r\n",
            &*date
        ),
        pipelining: false,
        ..work.clone()
    };
    let kinds = [("1/conn", Reuse::Times(1)), ("kept", Reuse::Always)];
    let each = kinds.map(|(name, reuse)| {
        let work = Work {
            reuse,
            ..common.clone()
        };
        (name, work)
    });
    each.into()
}

impl Surroundings {
    fn start() -> Self {
        let dns = FakeDns::start();
        dns.ptr(CLIENT, CLIENT_NAME).address(CLIENT_NAME, CLIENT);
        let peer = peer_command().and_then(|[_, script]| fs::canonicalize(script).ok());
        Self {
            dns,
            redis: Redis::start(),
            packages: peer.and_then(|script| script.ancestors().nth(3).map(Path::to_owned)),
        }
    }

    /// Node asks the DNS server that the system has; this turns it to ours.
    fn with_dns(&self, [node, script]: [String; 2]) -> anyhow::Result<Vec<String>> {
        let file = std::env::temp_dir().join(format!("haraka-bench-{}.js", std::process::id()));
        fs::write(&file, self.dns.preload()).context("preload script")?;
        let option = format!("NODE_OPTIONS=--require={}", file.display());
        Ok(vec!["env".to_owned(), option, node, script])
    }

    fn install(&self, chain: &Chain) -> anyhow::Result<Install> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut plugins: Vec<&str> = chain.plugins.to_vec();
        if self.redis.is_none() {
            plugins.retain(|name| *name != "redis");
        }
        plugins.extend(["rcpt_to.in_host_list", "queue/discard"]);
        let port = self.redis.as_ref().map_or(0, |redis| redis.addr.port());
        let install = Install::new()
            .config("smtp.ini", &format!("listen={addr}\nnodes=2\n"))
            .config("loglevel", "warn\n")
            .config("log.ini", "[main]\nlevel=warn\n")
            .config("host_list", "example.com\n")
            .config("net-utils.ini", &self.dns.config())
            .config(
                "redis.ini",
                &format!("[server]\nport={port}\n[pubsub]\nport={port}\n"),
            )
            .config("karma.ini", KARMA)
            .set("connection.ini", "haproxy", "hosts[]", "127.0.0.1")
            .file("plugins/noop.js", NOOP)
            .plugins(&plugins);
        if let Some(packages) = self.packages.as_ref().filter(|_| chain.packages) {
            std::os::unix::fs::symlink(packages, install.path().join("node_modules"))?;
        }
        Ok(install)
    }
}

/// Nobody is made to wait, and nobody scores so low that the connection ends.
const KARMA: &str = "\
[tarpit]
delay=0
max=0.000001
[thresholds]
negative=-1000
";

impl Side {
    fn start(chain: &Chain, around: &Surroundings, command: &[String]) -> anyhow::Result<Self> {
        let install = around.install(chain)?;
        let server = Server::try_start(install, command)
            .map_err(|failure| anyhow::anyhow!("{} did not start: {}", chain.name, failure.log))?;
        Ok(Self {
            server,
            rounds: Vec::new(),
        })
    }

    /// Node compiles what runs often; connections to redis come to stand.
    fn warm_up(&mut self, clients: &[(&str, Work)]) -> anyhow::Result<()> {
        self.rounds = vec![Vec::new(); clients.len()];
        for (_, work) in clients {
            self.send(work)?;
        }
        Ok(())
    }

    fn send(&self, work: &Work) -> anyhow::Result<source::Outcome> {
        let outcome = source::send(self.server.addr(), work)?;
        ensure!(
            outcome.failures.is_empty(),
            "messages failed: {:?}; log:\n{}",
            outcome.failures,
            self.server.log_text()
        );
        Ok(outcome)
    }

    fn round(&mut self, clients: &[(&str, Work)]) -> anyhow::Result<()> {
        for (at, (_, work)) in clients.iter().enumerate() {
            let before = family_cpu(&self.server);
            let outcome = self.send(work)?;
            let used = family_cpu(&self.server) - before;
            let each = used * 1e6 / outcome.delivered.max(1) as f64;
            self.rounds[at].push((each, outcome.rate()));
        }
        Ok(())
    }

    fn show(&self, label: &str, at: usize, peer: Option<&Self>, memory: &str) {
        let (cpu, rate) = self.median(at);
        print!("{label:<26}{cpu:>12.0}{rate:>9.0}");
        match peer.map(|peer| peer.median(at)) {
            Some((theirs, their_rate)) => println!(
                "{theirs:>12.0}{their_rate:>9.0}{:>11.2}{:>11.2}{memory:>13}",
                cpu / theirs,
                rate / their_rate
            ),
            None => println!("{:>12}{:>9}{:>11}{:>11}{memory:>13}", "-", "-", "-", "-"),
        }
    }

    fn median(&self, at: usize) -> (f64, f64) {
        let of = |pick: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = self.rounds[at].iter().map(pick).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        (of(|round| round.0), of(|round| round.1))
    }

    /// Octets of memory that the biggest worker holds.
    fn resident(&self) -> f64 {
        let workers = self.server.worker_pids();
        let of = workers.into_iter().map(processes::resident);
        of.fold(0.0, f64::max)
    }

    fn threads(&self) -> usize {
        let workers = self.server.worker_pids();
        workers
            .into_iter()
            .map(|pid| processes::threads(pid).len())
            .max()
            .unwrap_or_default()
    }
}

/// A redis-server of our own that stores nothing on disk; it ends when dropped.
struct Redis {
    addr: SocketAddr,
    child: Child,
}

impl Redis {
    /// `None` where it is not installed or does not come up.
    fn start() -> Option<Self> {
        let addr = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &addr.port().to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { addr, child };
        let end = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that has ended by itself is gone all the same.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
