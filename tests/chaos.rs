//! Mail to fifty domains, half of which make trouble by a script, while workers are killed and deferred mail
//! is flushed: every recipient gets exactly what its server gave, and the ledger closes.
//!
//! `CHAOS_N` messages, a few hundred by default; `make chaos` runs ten thousand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;
mod relaying;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::client::stuffed;
use harness::server::Signal;
use harness::{Authority, Install, Rule, Server, Sink, SmtpClient, Stage, poll_until, processes};
use relaying::{numbered, routed};
use serde_json::Value;

const DOMAINS: usize = 50;
const CLIENTS: usize = 8;

fn messages() -> usize {
    let asked = std::env::var("CHAOS_N").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(400)
}

/// Domain `n` makes trouble if it is odd. Recipients `bad…` are refused for good at some of them.
fn sink(n: usize, scale: usize) -> Sink {
    let lmtp = n % 24 == 1;
    let sink = match lmtp {
        true => Sink::lmtp_on("127.0.0.1:0"),
        false => Sink::start(),
    };
    if n.is_multiple_of(2) {
        return sink;
    }
    let many = 3 + scale;
    let later = |stage| Rule::reply(stage, "451 4.3.0 later").times(many);
    match n % 24 {
        1 => {
            sink.rule(Rule::reply(Stage::Dot, "550 5.1.1 nobody").containing("bad"));
            sink.rule(later(Stage::Dot).containing("late"));
        }
        3 => drop(sink.rule(later(Stage::Mail))),
        5 => drop(sink.rule(later(Stage::Rcpt))),
        7 => drop(sink.rule(later(Stage::Data))),
        9 => drop(sink.rule(later(Stage::Dot))),
        11 => {
            sink.rule(Rule::reply(Stage::Rcpt, "550 5.1.1 nobody").containing("bad"));
            sink.rule(later(Stage::Rcpt).containing("late"));
        }
        13 => drop(sink.rule(Rule::drop(Stage::Data).times(many))),
        15 => drop(sink.rule(Rule::drop(Stage::Dot).times(2))),
        17 => drop(sink.rule(Rule::delay(Stage::Dot, Duration::from_millis(100)))),
        19 => {
            sink.secure(Authority::new().issue("elsewhere.test").server_config());
            sink.rule(Rule::reply(Stage::StartTls, "454 4.7.0 not now").times(many));
            sink.rule(Rule::drop(Stage::StartTls).times(2));
        }
        21 => {
            sink.rule(Rule::reply_then_drop(Stage::Greeting, "421 4.3.2 busy").times(many));
            sink.rule(Rule::drop(Stage::Ehlo).times(2));
        }
        _ => drop(sink.rule(Rule::drop(Stage::Rcpt).times(many))),
    }
    sink
}

/// Whether a server gives every recipient its own answer.
fn is_mixed(n: usize) -> bool {
    matches!(n % 24, 1 | 11)
}

/// The domains of a message, and its recipients.
fn recipients(serial: usize) -> Vec<String> {
    let mut domains = vec![serial % DOMAINS];
    if serial.is_multiple_of(10) {
        domains.extend([(serial + 7) % DOMAINS, (serial + 22) % DOMAINS]);
    }
    let of = |n: usize| {
        let names: &[&str] = if is_mixed(n) {
            &["good", "bad", "late"]
        } else {
            &["good"]
        };
        let of = names
            .iter()
            .map(move |name| format!("{name}{serial}@d{n}.test"));
        of.collect::<Vec<_>>()
    };
    domains.into_iter().flat_map(of).collect()
}

struct Load {
    addr: SocketAddr,
    next: AtomicUsize,
    tries: AtomicUsize,
    /// Serials that a client has read 250 for.
    accepted: Mutex<Vec<usize>>,
}

impl Load {
    /// Sends until all are accepted; each try is a message of its own.
    fn run(&self) {
        while self.next.fetch_add(1, Ordering::SeqCst) < messages() {
            loop {
                let serial = self.tries.fetch_add(1, Ordering::SeqCst);
                if matches!(self.send(serial), Ok(true)) {
                    self.accepted.lock().unwrap().push(serial);
                    break;
                }
                // A worker is being started again.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn send(&self, serial: usize) -> std::io::Result<bool> {
        let stream = TcpStream::connect_timeout(&self.addr, Duration::from_secs(5))?;
        let mut client = SmtpClient::from_stream(stream);
        let mut step = |bytes: &[u8], code: u16| -> std::io::Result<bool> {
            client.try_send(bytes)?;
            Ok(client.try_reply()?.is_some_and(|r| r.code == code))
        };
        let start = step(b"", 220)?
            && step(b"EHLO client.test\r\n", 250)?
            && step(b"MAIL FROM:<from@client.test>\r\n", 250)?;
        if !start {
            return Ok(false);
        }
        for to in recipients(serial) {
            if !step(format!("RCPT TO:<{to}>\r\n").as_bytes(), 250)? {
                return Ok(false);
            }
        }
        let message = stuffed(numbered(&format!("n-{serial}")).as_bytes());
        Ok(step(b"DATA\r\n", 354)? && step(&message, 250)?)
    }

    fn done(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }
}

fn stat(server: &Server) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["queue", "stat", "--json", "-c"])
        .arg(server.install().path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default().to_owned();
    serde_json::from_str(&first).unwrap_or_else(|e| panic!("{e}: {text} {output:?}"))
}

fn install(sinks: &[Sink], home: &Sink) -> Install {
    let mut hops: Vec<(String, String)> = (0..)
        .zip(sinks)
        .map(|(n, sink)| {
            let lmtp = if n % 24 == 1 { "lmtp://" } else { "" };
            (format!("d{n}.test"), format!("{lmtp}{}", sink.addr()))
        })
        .collect();
    hops.push(("client.test".to_owned(), home.addr().to_string()));
    let hops: Vec<(&str, &str)> = hops.iter().map(|(d, h)| (d.as_str(), h.as_str())).collect();
    routed(&hops)
        .set("smtp.ini", "main", "nodes", "2")
        .set("outbound.ini", "main", "temp_fail_intervals", "5s*500")
        .set("outbound.ini", "main", "enable_tls", "true")
        .config("loglevel", "notice\n")
        .config("log.ini", "[main]\nlevel=notice\n")
}

/// What the log says about queue files, by their identity: who they are of, and which are in doubt.
struct Told {
    transactions: HashMap<String, HashSet<String>>,
    doubtful: HashSet<String>,
}

fn identity(file: &str) -> String {
    let fields: Vec<&str> = file.split('_').collect();
    [&fields[..1], &fields[3..7]].concat().join("_")
}

impl Told {
    fn of(log: &[String]) -> Told {
        let mut told = Told {
            transactions: HashMap::new(),
            doubtful: HashSet::new(),
        };
        for line in log {
            let Some((before, after)) = line.split_once("file=") else {
                continue;
            };
            let file = after
                .split([' ', ';'])
                .next()
                .unwrap()
                .trim_end_matches(':');
            if file.split('_').count() < 7 {
                continue;
            }
            let identity = identity(file);
            if before.contains("in doubt") {
                told.doubtful.insert(identity.clone());
            }
            if let Some(uuid) = before.split('[').nth(2).and_then(|p| p.split(']').next())
                && let Some((transaction, _)) = uuid.rsplit_once('.')
            {
                let of = told.transactions.entry(transaction.to_owned()).or_default();
                of.insert(identity);
            }
        }
        told
    }

    /// Whether one of the items of this transaction is named as being in doubt.
    fn doubts(&self, transaction: &str) -> bool {
        let items = self.transactions.get(transaction);
        items.is_some_and(|items| items.iter().any(|i| self.doubtful.contains(i)))
    }
}

/// By serial and recipient: how often, and in which transactions that was decided.
type Counts = BTreeMap<(usize, String), (usize, HashSet<String>)>;

/// `report`: the transaction of the report that the text is, if it is one.
fn count(
    counts: &mut Counts,
    text: &str,
    report: Option<String>,
    recipients: impl Iterator<Item = String>,
) {
    let serial = text.split("X-Serial: n-").nth(1).expect("a serial");
    let digits = serial.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let serial: usize = digits.parse().unwrap();
    let id = text.split(" with ESMTP id ").nth(1).expect("an id");
    let id = id.split_whitespace().next().unwrap().trim_end_matches(';');
    for recipient in recipients {
        let (times, transactions) = counts.entry((serial, recipient)).or_default();
        *times += 1;
        transactions.insert(id.to_owned());
        transactions.extend(report.clone());
    }
}

fn plain(address: &str) -> String {
    let inner = address.split(['<', '>']).nth(1).unwrap_or(address);
    inner.to_owned()
}

/// What each recipient's server took.
fn delivered(sinks: &[Sink]) -> Counts {
    let mut counts = Counts::new();
    for message in sinks.iter().flat_map(Sink::messages) {
        let one = message.replies.len() == 1 && message.to.len() > 1;
        let replies = message.replies.iter().cycle();
        let taken = message.to.iter().zip(replies);
        let taken = taken.take(if one {
            message.to.len()
        } else {
            message.replies.len().min(message.to.len())
        });
        let taken = taken.filter(|(_, reply)| reply.is_empty() || reply.starts_with('2'));
        count(
            &mut counts,
            &message.text(),
            None,
            taken.map(|(to, _)| plain(to)),
        );
    }
    counts
}

/// Whom the sender was told about.
fn returned(home: &Sink) -> Counts {
    let mut counts = Counts::new();
    for message in home.accepted() {
        let text = message.text();
        let finals = text.lines().filter_map(|line| {
            let address = line.strip_prefix("Final-Recipient: rfc822;")?;
            Some(plain(address.trim()))
        });
        let finals: Vec<String> = finals.collect();
        assert!(!finals.is_empty(), "{text}");
        let id = message.header("Message-Id").expect("an id of the report");
        let id = id.trim_matches(['<', '>']).split('@').next().unwrap();
        let report = format!("{}.1", id.trim_start_matches("Haraka-"));
        count(&mut counts, &text, Some(report), finals.into_iter());
    }
    counts
}

/// Kills workers and flushes until all is accepted, and for a while after that.
fn disturb(server: &Server, load: &Load, kills: &mut usize) {
    let begun = Instant::now();
    let mut rounds = 0_usize;
    let mut after = 0;
    while after < 6 {
        assert!(
            begun.elapsed() < Duration::from_secs(900),
            "{} accepted",
            load.done()
        );
        // The pace of the trouble, not a wait.
        let pause = if messages() > 2000 { 900 } else { 250 };
        std::thread::sleep(Duration::from_millis(pause + 37 * (rounds as u64 % 9)));
        rounds += 1;
        after += usize::from(load.done() >= messages());
        if rounds.is_multiple_of(3) {
            server.signal(Signal::SIGHUP);
        }
        let workers = server.worker_pids();
        if workers.len() == 2 {
            processes::send(workers[(rounds / 2) % 2], Signal::SIGKILL);
            *kills += 1;
        }
    }
}

/// No recipient twice but in items that the log names as being in doubt; gives how many those are.
fn assert_once(what: &str, counts: &Counts, told: &Told) -> usize {
    let mut twice = 0;
    for ((serial, recipient), (times, transactions)) in counts {
        if *times > 1 {
            twice += 1;
            let doubts = transactions.iter().any(|t| told.doubts(t));
            assert!(
                doubts,
                "{recipient} of n-{serial} ({transactions:?}) {what} {times} times, and is not in doubt"
            );
        }
    }
    twice
}

#[test]
fn every_recipient_gets_what_its_server_gave_and_the_ledger_closes_whatever_dies() {
    let sinks: Vec<Sink> = (0..DOMAINS).map(|n| sink(n, messages() / 400)).collect();
    let home = Sink::start();
    let server = Server::start(install(&sinks, &home));
    let load = Load {
        addr: server.addr(),
        next: AtomicUsize::new(0),
        tries: AtomicUsize::new(0),
        accepted: Mutex::default(),
    };
    let mut kills = 0;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load.run());
        }
        disturb(&server, &load, &mut kills);
    });
    let mut flush_at = Instant::now();
    let empty = poll_until(Duration::from_secs(300), || {
        if Instant::now() > flush_at {
            server.signal(Signal::SIGHUP);
            flush_at = Instant::now() + Duration::from_secs(2);
        }
        server.install().queue_files().is_empty().then_some(())
    });
    let files = server.install().queue_files();
    assert!(empty.is_some(), "{} files left: {files:?}", files.len());
    // Whoever died last has been inherited from, and the check of each second has been made.
    let closed = poll_until(Duration::from_secs(20), || {
        let ledger = stat(&server)["ledger"].take();
        (ledger["closes"] == true && ledger["queued"] == 0).then_some(ledger)
    });
    let ledger = closed.unwrap_or_else(|| panic!("{}\n{}", stat(&server), server.log_text()));
    std::thread::sleep(Duration::from_millis(2500)); // two more checks
    let log = server.log_lines();
    let alarms: Vec<_> = log.iter().filter(|l| l.contains("ledger: ")).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
    let sum = |side: &Value| -> u64 {
        side.as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .sum()
    };
    assert_eq!(sum(&ledger["in"]), sum(&ledger["out"]), "{ledger}");

    let (delivered, returned) = (delivered(&sinks), returned(&home));
    let told = Told::of(&log);
    for serial in load.accepted.lock().unwrap().iter() {
        for recipient in recipients(*serial) {
            let key = (*serial, recipient.clone());
            let expected = if recipient.starts_with("bad") {
                &returned
            } else {
                &delivered
            };
            assert!(
                expected.contains_key(&key),
                "nothing became of {recipient} of n-{serial}"
            );
        }
    }
    for (serial, recipient) in delivered.keys() {
        assert!(
            !recipient.starts_with("bad"),
            "{recipient} of n-{serial} was delivered"
        );
    }
    for (serial, recipient) in returned.keys() {
        assert!(
            recipient.starts_with("bad"),
            "{recipient} of n-{serial} was returned"
        );
    }
    let again = assert_once("was delivered", &delivered, &told);
    let told_again = assert_once("was returned", &returned, &told);
    println!(
        "{} accepted in {} tries, {} recipients delivered, {} returned, {again} and {told_again} of them \
         more than once and in doubt ({} items named), {kills} workers killed; in {} out {}",
        load.done(),
        load.tries.load(Ordering::SeqCst),
        delivered.len(),
        returned.len(),
        told.doubtful.len(),
        ledger["in"],
        ledger["out"],
    );
}
