//! What goes on while mail flows: workers and masters are killed, deferred mail is flushed, settings change
//! with new generations of workers, and operators use the queue tools.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::hosts::{DOMAINS, Hosts};
use super::load::Load;
use crate::harness::{Install, Server, poll_until, processes, wait_for};
use crate::relaying::routed;

/// Numbers as good as random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }
}

/// An install directory with routes to these hosts.
pub fn install(hosts: &Hosts) -> Install {
    let routes = hosts.routes();
    let routes: Vec<(&str, &str)> = routes.iter().map(|(d, h)| (&**d, &**h)).collect();
    let forced: String = Hosts::forced()
        .map(|n| format!("force_tls_hosts[]=d{n}.test\n"))
        .collect();
    routed(&routes)
        .config("smtp.ini", &smtp_ini(2))
        .config("outbound.ini", &outbound_ini(false, 300))
        .file("config/ca.pem", &hosts.authority())
        .config("tls.ini", &format!("ca=ca.pem\n[outbound]\n{forced}"))
        .config("loglevel", "notice\n")
        .config("log.ini", "[main]\nlevel=notice\n")
}

fn smtp_ini(nodes: usize) -> String {
    format!("listen=127.0.0.1:0\nnodes={nodes}\n")
}

fn outbound_ini(split: bool, concurrency: usize) -> String {
    format!(
        "local_mx_ok=true\ntemp_fail_intervals=5s*500\nenable_tls=true\nalways_split={split}\n\
         concurrency_max={concurrency}\n[timeouts]\nrcpt=3\n"
    )
}

/// Whoever makes the trouble.
pub struct Trouble<'a> {
    server: &'a mut Server,
    load: &'a Load,
    dice: Dice,
    /// What was done how often.
    pub done: BTreeMap<String, usize>,
    /// Numbers of removals that were not undone yet.
    removals: Vec<String>,
    suspended: Vec<usize>,
    /// Whose turn it is among the tools.
    turn: usize,
    /// Workers that were killed lately.
    victims: Vec<i32>,
    told: Instant,
    begun: Instant,
}

impl<'a> Trouble<'a> {
    pub fn new(server: &'a mut Server, load: &'a Load, seed: u64) -> Trouble<'a> {
        Trouble {
            server,
            load,
            dice: Dice(seed | 1),
            done: BTreeMap::new(),
            removals: Vec::new(),
            suspended: Vec::new(),
            turn: 0,
            victims: Vec::new(),
            told: Instant::now(),
            begun: Instant::now(),
        }
    }

    /// Until all is accepted, and for a while after that; the master dies `deaths` times.
    pub fn go_on(&mut self, messages: usize, deaths: usize) {
        let mut after = 0;
        let mut died = 0;
        while after < 8 {
            assert!(
                self.begun.elapsed() < Duration::from_secs(1800),
                "{} accepted, {:?}",
                self.load.done(),
                self.done
            );
            // The pace of the trouble, not a wait.
            let pause = 150 + self.dice.below(if messages > 2000 { 1200 } else { 400 });
            std::thread::sleep(Duration::from_millis(pause as u64));
            after += usize::from(self.load.is_done());
            self.round();
            if self.load.done() * (deaths + 1) > messages * (died + 1) && died < deaths {
                died += 1;
                self.kill_master();
            }
            self.tell();
        }
    }

    fn round(&mut self) {
        if self.dice.percent(30) {
            self.server.signal(Signal::SIGHUP);
            self.count("flushes");
        }
        if self.dice.percent(8)
            || !self.done.contains_key("graceful: done") && self.dice.percent(30)
        {
            self.reload();
        }
        if self.dice.percent(60) {
            self.tool();
        }
        if self.dice.percent(65) {
            self.kill_worker();
        }
    }

    fn kill_worker(&mut self) {
        let workers = self.server.worker_pids();
        if workers.len() >= 2 {
            let victim = workers[self.dice.below(workers.len())];
            processes::send(victim, Signal::SIGKILL);
            self.victims.push(victim);
            self.count("workers killed");
        }
    }

    /// A new generation of workers, with other settings.
    fn reload(&mut self) {
        let (split, nodes) = (self.dice.percent(50), 2 + self.dice.below(2));
        let outbound = outbound_ini(split, 20 + self.dice.below(400));
        let install = self.server.install();
        install.write("config/outbound.ini", outbound.as_bytes());
        install.write("config/smtp.ini", smtp_ini(nodes).as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_haraka"));
        command.arg("--graceful").arg("-c").arg(install.path());
        let output = command.output().unwrap();
        self.count_output("graceful", &output);
        if self.dice.percent(60) {
            // In the middle of it.
            let moment = self.dice.below(120);
            std::thread::sleep(Duration::from_millis(moment as u64));
            self.kill_worker();
        }
    }

    /// Workers whose master has gone finish what they have and go; what the dead had in hand was named
    /// before.
    fn kill_master(&mut self) {
        self.await_closed(Duration::from_secs(60));
        let orphans = self.server.worker_pids();
        processes::send(self.server.pid(), Signal::SIGKILL);
        wait_for("the master to be gone", || {
            !processes::alive(self.server.pid())
        });
        let gone = poll_until(Duration::from_secs(60), || {
            orphans
                .iter()
                .all(|pid| !processes::alive(*pid))
                .then_some(())
        });
        assert!(gone.is_some(), "workers outlive their master: {orphans:?}");
        self.server.restart();
        self.load.moved(self.server.addr());
        self.count("masters killed");
    }

    /// Waits until the ledger closes and nothing is in doubt whose name was not told; gives it.
    pub fn await_closed(&mut self, limit: Duration) -> Value {
        // A worker whose death the master has not seen yet stands in the ledger as one that lives.
        let victims = std::mem::take(&mut self.victims);
        wait_for("the master to see all deaths", || {
            let gone = |pid: &i32| !Path::new(&format!("/proc/{pid}")).exists();
            victims.iter().all(gone)
        });
        let closed = poll_until(limit, || {
            let output = self.queue(&["stat", "--json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut all: Value = serde_json::from_str(text.lines().next()?).ok()?;
            let ledger = all["ledger"].take();
            (ledger["closes"] == true && ledger["doubts"] == 0).then_some(ledger)
        });
        closed.unwrap_or_else(|| {
            let output = self.queue(&["stat", "--json"]);
            panic!(
                "the ledger does not close: {output:?}\n{}",
                self.server.log_text()
            )
        })
    }

    fn tool(&mut self) {
        let domain = format!("d{}.test", self.dice.below(DOMAINS));
        // What was held just before is there to be removed.
        let removed = self.done.get("rm: items").is_some_and(|items| *items > 0);
        let items = match self.dice.below(4) {
            0 if removed => ["--state", "deferred"],
            1 if removed => ["--domain", &domain],
            _ => ["--sender", "client.test"],
        };
        self.turn += 1;
        match self.turn % 8 {
            1 => self.act("hold", &items),
            2 => self.act("rm", &items),
            3 | 6 => self.act("retry", &items),
            4 => self.act("release", &["--all"]),
            5 => {
                let n = self.dice.below(DOMAINS);
                self.act("suspend", &["--domain", &format!("d{n}.test")]);
                self.suspended.push(n);
            }
            7 => {
                if let Some(n) = self.suspended.pop() {
                    self.act("resume", &["--domain", &format!("d{n}.test")]);
                }
            }
            _ => {
                if let Some(removal) = self.removals.pop() {
                    self.act("undo", &[&removal]);
                }
            }
        }
    }

    fn act(&mut self, tool: &str, items: &[&str]) {
        let words: Vec<&str> = [tool].iter().chain(items).copied().collect();
        let output = self.queue(&words);
        let said = String::from_utf8_lossy(&output.stdout);
        if let Some((_, rest)) = said.split_once("haraka queue undo ") {
            let number = rest.split_whitespace().next().unwrap();
            self.removals.push(number.to_owned());
        }
        // "3 items held"
        let items = said
            .split_once(" item")
            .map(|(number, _)| number.parse::<usize>());
        if let Some(Ok(items)) = items {
            *self.done.entry(format!("{tool}: items")).or_default() += items;
        }
        self.count_output(tool, &output);
    }

    fn queue(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haraka"));
        command.arg("queue").args(words);
        command.arg("-c").arg(self.server.install().path());
        command.output().unwrap()
    }

    fn count_output(&mut self, what: &str, output: &Output) {
        let word = if output.status.success() {
            "done"
        } else {
            "not wholly done"
        };
        self.count(&format!("{what}: {word}"));
    }

    fn count(&mut self, what: &str) {
        *self.done.entry(what.to_owned()).or_default() += 1;
    }

    /// Everything may go on; gives what is left in the queue when nothing moves any more.
    pub fn calm(&mut self, limit: Duration) -> Vec<String> {
        let mut next = Instant::now();
        let mut left = Vec::new();
        poll_until(limit, || {
            if Instant::now() > next {
                for (tool, items) in [("undo", "--all"), ("release", "--all"), ("resume", "--all")]
                {
                    self.queue(&[tool, items]);
                }
                self.server.signal(Signal::SIGHUP);
                next = Instant::now() + Duration::from_secs(2);
            }
            self.tell();
            left = items(self.server.install());
            left.is_empty().then_some(())
        });
        left
    }

    /// Every few seconds, for whoever watches.
    fn tell(&mut self) {
        if self.told.elapsed() > Duration::from_secs(5) {
            self.told = Instant::now();
            println!(
                "{:4} s: {} accepted in {} tries, {} files in the queue, {:?}",
                self.begun.elapsed().as_secs(),
                self.load.done(),
                self.load.tries(),
                items(self.server.install()).len(),
                self.done
            );
        }
    }
}

/// Files of the queue, without what the tools keep in the directory.
fn items(install: &Install) -> Vec<String> {
    let mut files = install.queue_files();
    files.retain(|name| !name.starts_with('.'));
    files
}
