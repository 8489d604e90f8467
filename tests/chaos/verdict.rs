//! What became of every recipient: what its host answered, what its sender was told, and which queue
//! files the log names as being in doubt.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::hosts::{Fate, Hosts, NO_SMTPUTF8, Script};
use super::load::{Letter, Recipient};
use crate::harness::{Answer, Message, Sink, Stage};

/// What the log says about queue files, by their identity: who they are of, and which are in doubt.
pub struct Told {
    /// By the number of a message, the transactions of its tries.
    serials: HashMap<usize, String>,
    transactions: HashMap<String, HashSet<String>>,
    pub doubtful: HashSet<String>,
}

fn identity(file: &str) -> String {
    let fields: Vec<&str> = file.split('_').collect();
    [&fields[..1], &fields[3..7]].concat().join("_")
}

fn serial(address: &str) -> Option<usize> {
    let local = address.split('@').next()?;
    let digits = local.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().ok()
}

impl Told {
    pub fn of(log: &str) -> Told {
        let mut told = Told {
            serials: HashMap::new(),
            transactions: HashMap::new(),
            doubtful: HashSet::new(),
        };
        for line in log.lines() {
            let uuid = line.split('[').nth(2).and_then(|p| p.split(']').next());
            if let Some(from) = line.split("[core] sender <from").nth(1)
                && let (Some(serial), Some(uuid)) = (serial(from), uuid)
            {
                told.serials.insert(serial, uuid.to_owned());
            }
            let Some((before, after)) = line.split_once("file=") else {
                continue;
            };
            let file = after.split([' ', ';']).next().unwrap();
            let file = file.trim_end_matches(':');
            let file = file.strip_prefix("hold_").unwrap_or(file);
            if file.split('_').count() < 7 || file.starts_with("trash_") {
                continue;
            }
            let identity = identity(file);
            if before.contains("in doubt") {
                told.doubtful.insert(identity.clone());
            }
            if let Some((transaction, _)) = uuid.and_then(|uuid| uuid.rsplit_once('.')) {
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

    fn doubts_message(&self, serial: usize) -> bool {
        self.serials.get(&serial).is_some_and(|t| self.doubts(t))
    }
}

/// What a host decided about a recipient for good.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Taken,
    Refused(String),
}

/// An entry of a report.
struct Entry {
    action: String,
    /// Status and Diagnostic-Code.
    said: String,
    /// The transaction of the report itself.
    report: String,
}

/// All that hosts and senders have seen.
pub struct Seen {
    ends: BTreeMap<String, Vec<End>>,
    reported: BTreeMap<String, Vec<Entry>>,
}

/// Numbers for whoever watches.
#[derive(Debug, Default)]
pub struct Tally {
    pub delivered: usize,
    pub refused: usize,
    pub reports: usize,
    pub delivered_again: usize,
    pub reported_again: usize,
    pub international: usize,
    pub unconfirmed: usize,
}

fn plain(argument: &str) -> String {
    let inner = argument.split(['<', '>']).nth(1).unwrap_or(argument);
    inner.to_owned()
}

/// What a host decided, from all its answers.
fn ends_at(sink: &Sink, domain: usize, ends: &mut BTreeMap<String, Vec<End>>) {
    let mut open: HashMap<usize, (String, Vec<String>)> = HashMap::new();
    for Answer {
        connection,
        stage,
        about,
        reply,
    } in sink.answers()
    {
        let (from, to) = open.entry(connection).or_default();
        let mut end =
            |address: &str, end: End| ends.entry(address.to_owned()).or_default().push(end);
        let refused = reply.starts_with('5').then(|| End::Refused(reply.clone()));
        match stage {
            Stage::Mail => {
                *from = plain(&about);
                to.clear();
                if let (Some(refused), Some(serial)) = (refused, serial(from)) {
                    let letter = Letter::new(serial);
                    let here = letter.to.iter().filter(|r| r.domain == domain);
                    here.for_each(|r| end(&r.address, refused.clone()));
                }
            }
            Stage::Rcpt if reply.starts_with('2') => to.push(plain(&about)),
            Stage::Rcpt => {
                let _ = refused.map(|refused| end(&plain(&about), refused));
            }
            Stage::Data => {
                if let Some(refused) = refused {
                    to.iter().for_each(|a| end(a, refused.clone()));
                }
            }
            Stage::Dot => {
                let taken = reply.starts_with('2').then_some(End::Taken);
                if let Some(decided) = taken.or(refused) {
                    let about = about.split(' ').filter(|word| word.starts_with('<'));
                    about.for_each(|a| end(&plain(a), decided.clone()));
                }
            }
            _ => {}
        }
    }
}

/// `\x{F6}` in the addresses of reports stands for a character (RFC 6533 §3).
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\x{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_once('}').expect("an end of the number");
        let number = u32::from_str_radix(hex, 16).expect("a number");
        out.push(char::from_u32(number).expect("a character"));
        out.push_str(rest);
    }
    out
}

fn entries(message: &Message, reported: &mut BTreeMap<String, Vec<Entry>>) {
    assert!(
        message.from.starts_with("<>"),
        "not a report: {}",
        message.text()
    );
    let id = message.header("Message-Id").expect("an id of the report");
    let id = id.trim_matches(['<', '>']).split('@').next().unwrap();
    let report = format!("{}.1", id.trim_start_matches("Haraka-"));
    let text = message.text().replace("\r\n    ", " ");
    let of = serial(plain(&message.to[0]).trim_start_matches("from"));
    let mut found = 0;
    for block in text.split("\r\n\r\n") {
        let field = |name: &str| {
            let mut values = block.lines().filter_map(|line| line.strip_prefix(name));
            values.next().map(|value| value.trim().to_owned())
        };
        let Some(recipient) = field("Final-Recipient:") else {
            continue;
        };
        found += 1;
        let recipient = recipient.split_once(';').expect("a kind of address").1;
        let recipient = unescaped(recipient.trim());
        assert_eq!(serial(&recipient), of, "told to somebody else: {text}");
        reported.entry(recipient).or_default().push(Entry {
            action: field("Action:").expect("an action"),
            said: ["Status:", "Diagnostic-Code:"]
                .map(|name| field(name).unwrap_or_default())
                .join(" "),
            report: report.clone(),
        });
    }
    assert!(found > 0, "about nobody: {text}");
}

impl Seen {
    pub fn at(hosts: &Hosts) -> Seen {
        let (mut ends, mut reported) = (BTreeMap::new(), BTreeMap::new());
        for (domain, sink) in hosts.sinks.iter().enumerate() {
            ends_at(sink, domain, &mut ends);
        }
        for message in hosts.home.accepted() {
            entries(&message, &mut reported);
        }
        Seen { ends, reported }
    }

    /// Whether anybody has heard of a message.
    fn knows(&self, to: &Recipient) -> bool {
        self.ends.contains_key(&to.address) || self.reported.contains_key(&to.address)
    }

    /// Every message of these tries has come to what it should; `accepted`: for which a client has read 250.
    pub fn judge(&self, tries: usize, accepted: &HashSet<usize>, told: &Told) -> Tally {
        let mut tally = Tally::default();
        for serial in 0..tries {
            let letter = Letter::new(serial);
            let known = letter.to.iter().filter(|to| self.knows(to)).count();
            if !accepted.contains(&serial) {
                assert!(
                    known == 0 || !letter.is_broken_off(),
                    "n-{serial} was delivered, and its client never sent its end"
                );
                if known == 0 {
                    continue;
                }
                // Its 250 got lost. Then it was accepted for all of its recipients.
                tally.unconfirmed += 1;
            }
            for to in &letter.to {
                self.judge_one(&letter, to, told, &mut tally);
            }
        }
        let all = |address: &String| serial(address).is_some_and(|serial| serial < tries);
        assert!(self.ends.keys().all(all) && self.reported.keys().all(all));
        tally
    }

    fn judge_one(&self, letter: &Letter, to: &Recipient, told: &Told, tally: &mut Tally) {
        let who = format!(
            "{} of n-{} ({:?})",
            to.address,
            letter.serial,
            Script::of(to.domain)
        );
        let nothing = (Vec::new(), Vec::new());
        let ends = self.ends.get(&to.address).unwrap_or(&nothing.0);
        let reports = self.reported.get(&to.address).unwrap_or(&nothing.1);
        let script = Script::of(to.domain);
        tally.international += usize::from(!to.address.is_ascii());
        let (action, awaited, text) = match to.fate {
            Fate::Delivered => {
                assert!(!ends.is_empty(), "nothing became of {who}");
                assert!(ends.iter().all(|e| *e == End::Taken), "{who}: {ends:?}");
                tally.delivered += 1;
                if ends.len() > 1 {
                    tally.delivered_again += 1;
                    assert!(
                        told.doubts_message(letter.serial),
                        "{who} came {} times, and is not in doubt",
                        ends.len()
                    );
                }
                let action = if script.is_lmtp() {
                    "delivered"
                } else {
                    "relayed"
                };
                let awaited = letter.wants_success() && !script.offers_dsn();
                (action, awaited, "250 ")
            }
            Fate::Refused(why) => {
                let by_host = |end: &End| matches!(end, End::Refused(reply) if reply == why);
                assert!(ends.iter().all(by_host), "{who}: {ends:?}");
                // Where we refuse for the host it was not asked.
                let asked = why != NO_SMTPUTF8;
                assert_eq!(ends.is_empty(), !asked, "{who}: {ends:?}");
                tally.refused += 1;
                ("failed", letter.wants_failure(), why)
            }
        };
        assert_eq!(
            reports.is_empty(),
            !awaited,
            "{who}: {} reports; {ends:?}",
            reports.len()
        );
        tally.reports += reports.len();
        for entry in reports {
            assert_eq!(entry.action, action, "{who}");
            assert!(entry.said.contains(text), "{who}: {:?}", entry.said);
        }
        if reports.len() > 1 {
            tally.reported_again += 1;
            let doubts = reports.iter().any(|entry| told.doubts(&entry.report));
            assert!(
                doubts || told.doubts_message(letter.serial),
                "{who} was reported {} times, and is not in doubt: {:?}",
                reports.len(),
                reports.iter().map(|e| &e.report).collect::<Vec<_>>()
            );
        }
    }
}

/// What arrived is what was sent, to its last line, and under TLS where that is a must.
pub fn assert_whole(hosts: &Hosts) {
    for (domain, sink) in hosts.sinks.iter().enumerate() {
        let script = Script::of(domain);
        for message in sink.messages() {
            let serial = serial(plain(&message.from).trim_start_matches("from"));
            let letter = Letter::new(serial.expect("a number"));
            let text = String::from_utf8(message.content()).expect("UTF-8");
            let whole = letter.text();
            let (_, body) = whole.split_once("\r\n\r\n").unwrap();
            let (_, came) = text.split_once("\r\n\r\n").expect("a header");
            assert!(came == body, "n-{} was changed: {came:?}", letter.serial);
            assert!(text.contains(&format!("X-Serial: n-{}\r\n", letter.serial)));
            if script == Script::TlsForced {
                assert!(message.secured, "n-{} came in the clear", letter.serial);
            }
            let asked = !letter.notify.is_empty() && script.offers_dsn();
            for to in &message.to {
                assert_eq!(
                    to.contains(letter.notify),
                    asked || letter.notify.is_empty(),
                    "{to}"
                );
            }
        }
    }
}
