//! Plays one scenario against our server and against the real Haraka and compares the records: replies,
//! results of the plugins under test, stored messages. Owns the probe plugin that writes the results down.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::server::peer_command;
use crate::harness::transcript::masked;
use crate::harness::{DEADLINE, FakeDns, Install, Server, SmtpClient, poll_until, skip};

/// What a scenario needs, the same for both servers.
pub struct Setup<'a> {
    /// Names of the plugins, in order; those of npm without their prefix.
    pub plugins: &'static [&'static str],
    /// Files below `config/`.
    pub config: &'a [(&'a str, &'a str)],
    /// Fields of results that hold times, ports or the like.
    pub volatile: &'static [&'static str],
}

/// Writes down what plugins have found when a transaction and when a connection is over. A connection
/// waits until the lists of domains are read, without which packages judge otherwise, and until the plugin
/// that the scenario awaits has its hooks.
const PROBE: &str = r#"
const fs = require('fs')
const path = require('path')
const file = path.join(process.env.TMPDIR, 'probe')
const wanted = WANTED, volatile = VOLATILE

function sorted(value) {
    if (value instanceof Error) return `Error ${value.message}`
    if (Array.isArray(value)) return value.map(sorted)
    if (value === null || typeof value !== 'object') return value
    const keys = Object.keys(value).filter((key) => !volatile.includes(key) && typeof value[key] !== 'function')
    return Object.fromEntries(keys.sort().map((key) => [key, sorted(value[key])]))
}

function tell(what, owner) {
    const all = owner.results.get_all()
    for (const name of Object.keys(all).sort()) {
        if (wanted.includes(name)) fs.appendFileSync(file, `${what} ${name} ${JSON.stringify(sorted(all[name]))}\n`)
    }
}

exports.register = function () {
    this.register_hook('connect_init', 'wait', -100)
}

exports.wait = async function (next) {
    await require('haraka-tld').ready
    const awaited = path.join(process.env.TMPDIR, 'awaited')
    if (fs.existsSync(awaited)) {
        const name = fs.readFileSync(awaited, 'utf8')
        const plugin = this.haraka_require('plugins').registered_plugins[name]
        while (Object.keys(plugin.hooks).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    next()
}

exports.hook_reset_transaction = (next, connection) => {
    tell('transaction', connection.transaction)
    next()
}

exports.hook_disconnect = (next, connection) => {
    tell('connection', connection)
    fs.appendFileSync(file, `over relaying=${connection.relaying}\n`)
    next()
}
"#;

/// One server and what it has said.
pub struct Side {
    server: Server,
    record: Vec<String>,
    connections: usize,
}

/// A connection whose dialogue is recorded.
pub struct Recorded<'a> {
    client: SmtpClient,
    open: bool,
    record: &'a mut Vec<String>,
}

/// Plays `scenario` on both sides and compares; with `RECORDS=DIR` both records are kept there, and a record
/// of the real Haraka that is there already is taken as it is; `must` are texts that the record has to contain, so that
/// two servers that do nothing are not equal.
#[track_caller]
pub fn same_as_haraka(
    setup: &Setup<'_>,
    dns: Option<&FakeDns>,
    must: &[&str],
    scenario: impl Fn(&mut Side),
) {
    let Some([node, peer]) = peer_command() else {
        return skip("PEER_HARAKA is not set: no packages");
    };
    let packages = packages(Path::new(&peer));
    let ours = vec![env!("CARGO_BIN_EXE_haraka").to_owned()];
    let own = play(install(setup, &packages, dns), &ours, &scenario);
    let kept = std::env::var_os("RECORDS").map(PathBuf::from);
    let kept = kept.map(|dir| dir.join(setup.plugins.join("+").replace('.', "_")));
    let known = kept
        .as_ref()
        .and_then(|file| fs::read_to_string(file.with_extension("peer")).ok());
    let theirs = known.unwrap_or_else(|| {
        let install = install(setup, &packages, dns);
        let command = peer_with_dns(node, peer, &install, dns);
        play(install, &command, &scenario)
    });
    if let Some(file) = kept {
        fs::write(file.with_extension("peer"), &theirs).unwrap();
        fs::write(file.with_extension("ours"), &own).unwrap();
    }
    for text in must {
        assert!(
            theirs.contains(text),
            "the record of the real Haraka lacks {text:?}:\n{theirs}"
        );
    }
    if own != theirs {
        panic!("{}", difference(&theirs, &own));
    }
}

/// Tries to start both servers, which have to give up and to say all of `must` before.
#[track_caller]
pub fn neither_starts(setup: &Setup<'_>, must: &[&str]) {
    let Some([node, peer]) = peer_command() else {
        return skip("PEER_HARAKA is not set: no packages");
    };
    let packages = packages(Path::new(&peer));
    let ours = vec![env!("CARGO_BIN_EXE_haraka").to_owned()];
    for command in [ours, vec![node, peer]] {
        match Server::try_start(install(setup, &packages, None), &command) {
            Ok(_) => panic!("{command:?} started"),
            Err(failure) => {
                assert!(failure.status.is_some_and(|status| !status.success()));
                for text in must {
                    let log = &failure.log;
                    assert!(
                        log.contains(text),
                        "{command:?} does not say {text:?}: {log}"
                    );
                }
            }
        }
    }
}

/// The command of the real Haraka whose questions go to the DNS server of the test.
fn peer_with_dns(
    node: String,
    peer: String,
    install: &Install,
    dns: Option<&FakeDns>,
) -> Vec<String> {
    let Some(dns) = dns else {
        return vec![node, peer];
    };
    install.write("preload.js", dns.preload().as_bytes());
    let script = install.path().join("preload.js");
    let option = format!("NODE_OPTIONS=--require={}", script.display());
    vec!["env".to_owned(), option, node, peer]
}

fn difference(theirs: &str, own: &str) -> String {
    let (theirs, own): (Vec<_>, Vec<_>) = (theirs.lines().collect(), own.lines().collect());
    let same = theirs.iter().zip(&own).take_while(|(a, b)| a == b).count();
    let rest = |lines: &[&str]| lines[same.min(lines.len())..].join("\n");
    let before = theirs[same.saturating_sub(4)..same].join("\n");
    format!(
        "after\n{before}\n--- the real Haraka\n{}\n--- ours\n{}",
        rest(&theirs),
        rest(&own)
    )
}

/// Where npm put the packages: the folder that the package Haraka is in.
pub fn packages(peer: &Path) -> PathBuf {
    let found = peer
        .ancestors()
        .nth(3)
        .expect("node_modules/Haraka/bin/haraka");
    fs::canonicalize(found).unwrap()
}

fn install(setup: &Setup<'_>, packages: &Path, dns: Option<&FakeDns>) -> Install {
    let wanted = format!("{:?}", setup.plugins);
    let probe = PROBE
        .replace("WANTED", &wanted)
        .replace("VOLATILE", &format!("{:?}", setup.volatile));
    let mut list: Vec<&str> = setup.plugins.to_vec();
    list.extend(["rcpt_to.in_host_list", "queue/test", "probe"]);
    let mut install = Install::new()
        .set("connection.ini", "haproxy", "hosts[]", "127.0.0.1")
        .file("plugins/probe.js", &probe)
        .plugins(&list);
    if let Some(dns) = dns {
        install = install.config("net-utils.ini", &dns.config());
    }
    for (name, text) in setup.config {
        install = install.config(name, text);
    }
    let link = |from: PathBuf, to: &str| {
        std::os::unix::fs::symlink(from, install.path().join(to)).unwrap();
    };
    link(packages.to_owned(), "node_modules");
    // As an operator's own plugin it comes before the native one.
    if setup.plugins.contains(&"relay") {
        link(packages.join("haraka-plugin-relay"), "plugins/relay");
    }
    install
}

fn play(install: Install, command: &[String], scenario: &impl Fn(&mut Side)) -> String {
    let mut side = Side {
        server: Server::start_command(install, command),
        record: Vec::new(),
        connections: 0,
    };
    scenario(&mut side);
    if std::env::var_os("SHOW_LOG").is_some() {
        eprintln!("{}", side.server.log_text());
    }
    let dir = side.server.install().path().display().to_string();
    let record = side.record.join("\n");
    // The version is in the greeting.
    let version = concat!("Haraka/", env!("CARGO_PKG_VERSION"));
    record
        .replace(&dir, "DIR")
        .replace(version, "Haraka/VERSION")
        .replace("Haraka/3.3.1", "Haraka/VERSION")
}

impl Side {
    /// Records what else there is to compare.
    pub fn note(&mut self, what: &str, text: &str) {
        let text = text.replace("\r\n", "\n");
        let lines = text.lines().map(|line| format!("{what} {line}"));
        self.record.extend(lines);
    }

    /// From now on connections wait until the plugin has a hook: it registers them some time after the
    /// start.
    pub fn await_hooks(&self, plugin: &str) {
        let install = self.server.install();
        install.write("tmp/awaited", plugin.as_bytes());
    }

    /// Connects as if from `ip`, plays the lines that `dialogue` says, hangs up, and records what the
    /// plugins found.
    pub fn from(&mut self, ip: &str, dialogue: impl FnOnce(&mut Recorded<'_>)) {
        let mut client = self.server.client();
        // Look-ups that time out stand behind some replies.
        client.set_timeout(DEADLINE);
        let family = if ip.contains(':') { "TCP6" } else { "TCP4" };
        let local = if ip.contains(':') { "::1" } else { "127.0.0.1" };
        client.send_raw(format!("PROXY {family} {ip} {local} 4321 25\r\n").as_bytes());
        self.record.push(format!("from {ip}"));
        let mut recorded = Recorded {
            client,
            open: true,
            record: &mut self.record,
        };
        dialogue(&mut recorded);
        drop(recorded);
        self.connections += 1;
        let found = self.found();
        self.record.extend(found);
        self.record.extend(stored(self.server.install()));
    }

    /// Connects as if from `ip` and reads the greeting; what is said there is not recorded. Its end is
    /// to be told with [`Side::ended`].
    pub fn hold(&self, ip: &str) -> SmtpClient {
        let mut client = self.server.client();
        // Look-ups that time out stand behind some replies.
        client.set_timeout(DEADLINE);
        client.send_raw(format!("PROXY TCP4 {ip} 127.0.0.1 4321 25\r\n").as_bytes());
        client.reply().expect(220);
        client
    }

    /// Ends a connection that was held, and records what the plugins found.
    pub fn ended(&mut self, client: SmtpClient) {
        drop(client);
        self.connections += 1;
        let found = self.found();
        self.record.extend(found);
    }

    /// Waits until there have been so many log lines with `part`: what workers start before they are done
    /// with it, they tell.
    #[track_caller]
    pub fn logged(&self, part: &str, times: usize) {
        let lines = || self.server.log_text().matches(part).count();
        if poll_until(DEADLINE, || (lines() >= times).then_some(())).is_none() {
            panic!("not {times} times {part:?}: {}", self.server.log_text());
        }
    }

    /// The server that runs.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The new lines of the probe's file once the connection is over.
    fn found(&self) -> Vec<String> {
        let file = self.server.install().path().join("tmp/probe");
        let wanted = self.connections;
        let lines = poll_until(DEADLINE, || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(masked).collect();
            let over = lines.iter().filter(|line| line.starts_with("over")).count();
            (over >= wanted).then_some(lines)
        });
        let Some(lines) = lines else {
            panic!("no end of connection: {}", self.server.log_text());
        };
        let ends = lines.iter().enumerate();
        let ends = ends.filter(|(_, line)| line.starts_with("over"));
        let from = match wanted {
            1 => 0,
            _ => ends.map(|(at, _)| at + 1).nth(wanted - 2).unwrap_or(0),
        };
        lines[from..].to_vec()
    }
}

/// The messages that `queue/test` wrote, which go; without trace header fields.
fn stored(install: &Install) -> Vec<String> {
    let mut lines = Vec::new();
    for message in install.stored() {
        let text = String::from_utf8_lossy(&message).replace("\r\n", "\n");
        let text = without_trace(&text);
        lines.extend(text.lines().map(|line| format!("stored {line}")));
    }
    for entry in fs::read_dir(install.path().join("tmp")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() == Some("eml".as_ref()) {
            fs::remove_file(path).unwrap();
        }
    }
    lines
}

/// A message without its trace header fields, which tell of time and host.
pub fn without_trace(message: &str) -> String {
    let mut trace = false;
    let kept = message.split_inclusive('\n').filter(|line| {
        trace = line.starts_with("Received: ") || (trace && line.starts_with([' ', '\t']));
        !trace
    });
    kept.collect()
}

impl Recorded<'_> {
    /// The greeting; false when the connection is over.
    pub fn greeting(&mut self) -> bool {
        self.reply()
    }

    /// Sends each line and records the reply, until the server hangs up.
    pub fn says(&mut self, lines: &[&str]) {
        for line in lines {
            if !self.open {
                return;
            }
            self.record.push(format!("> {line}"));
            if self
                .client
                .try_send(format!("{line}\r\n").as_bytes())
                .is_err()
                || !self.reply()
            {
                return;
            }
        }
    }

    /// As [`Recorded::says`]; both servers have to wait at least this long before they answer.
    #[track_caller]
    pub fn says_slowly(&mut self, line: &str, at_least: Duration) {
        let begin = std::time::Instant::now();
        self.says(&[line]);
        let took = begin.elapsed();
        assert!(took >= at_least, "{line} was answered after {took:?}");
    }

    /// Greeting, EHLO, envelope and message.
    pub fn mail(&mut self, helo: &str, from: &str, to: &[&str], message: &str) {
        if !self.greeting() {
            return;
        }
        self.says(&[&format!("EHLO {helo}")]);
        self.message(from, to, message);
    }

    /// Envelope and message.
    pub fn message(&mut self, from: &str, to: &[&str], message: &str) {
        self.says(&[&format!("MAIL FROM:<{from}>")]);
        for one in to {
            self.says(&[&format!("RCPT TO:<{one}>")]);
        }
        self.data(message);
    }

    /// The message, where DATA is answered as it should.
    pub fn data(&mut self, message: &str) {
        self.says(&["DATA"]);
        if self
            .record
            .last()
            .is_some_and(|line| line.starts_with("354"))
        {
            let text = message.replace('\n', "\r\n");
            self.says(&[&format!("{text}\r\n.")]);
        }
    }

    /// Says goodbye.
    pub fn quit(&mut self) {
        self.says(&["QUIT"]);
    }

    fn reply(&mut self) -> bool {
        self.open = self.receive();
        self.open
    }

    fn receive(&mut self) -> bool {
        match self.client.try_reply() {
            Ok(Some(reply)) => {
                // Of the extensions that it alone has, our server tells at EHLO.
                let own = |line: &&String| !["CHUNKING", "DSN"].contains(&line.as_str());
                for line in reply.lines.iter().filter(own) {
                    self.record.push(masked(&format!("{} {line}", reply.code)));
                }
                true
            }
            Ok(None) => {
                self.record.push("close".to_owned());
                false
            }
            Err(error) => {
                self.record.push(format!("broken: {}", error.kind()));
                false
            }
        }
    }
}
