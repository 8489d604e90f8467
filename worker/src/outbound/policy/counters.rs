//! What TLS reports will tell (RFC 8460 §4): how many connections went as a destination's policy
//! demands, and how many failed in which way.
//!
//! Gathered in memory for half a minute, then appended to one file a day that all workers share,
//! `tls-rpt/YYYY-MM-DD` (UTC): a JSON object on a line for each kind of result and its count. One write
//! per batch, in append mode, so that workers do not mix their lines; a crash loses seconds, and at
//! worst cuts the last line, which readers skip. Must never hold up a delivery, or fail one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::date::{epoch_ms, iso8601};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::services::Dns;
use serde_json::{Value, json};

use super::report::Failure;
use super::sts_store::create_dir;
use crate::rt;

/// A kind of result; equal ones are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// The destination.
    pub domain: Rc<str>,
    /// `sts`, `tlsa` or `no-policy-found` (RFC 8460 §4.2).
    pub policy_type: &'static str,
    /// The policy as published, line by line or record by record.
    pub policy: Rc<[String]>,
    /// The mail host; none if it did not come to one.
    pub host: Option<Rc<str>>,
    /// Its address, for failures.
    pub ip: Option<String>,
    /// What went wrong; none for a success.
    pub failure: Option<Failure>,
}

impl Session {
    fn to_line(&self, count: u64) -> String {
        let mut line = json!({
            "domain": &*self.domain,
            "policy-type": self.policy_type,
            "policy-string": &*self.policy,
            "count": count,
        });
        let mut put = |key: &str, value: Option<Value>| {
            if let (Some(fields), Some(value)) = (line.as_object_mut(), value) {
                fields.insert(key.to_owned(), value);
            }
        };
        put("mx-host", self.host.as_deref().map(Value::from));
        put("ip", self.ip.as_deref().map(Value::from));
        let result = self.failure.as_ref().map_or("success", |f| f.kind.name());
        put("result", Some(result.into()));
        put(
            "reason",
            self.failure.as_ref().map(|f| f.why.as_str().into()),
        );
        format!("{line}\n")
    }
}

/// The counters of one worker. Cheap to clone.
#[derive(Clone)]
pub struct Counters(Rc<Inner>);

struct Inner {
    dns: Rc<dyn Dns>,
    dir: PathBuf,
    on: Cell<bool>,
    pending: RefCell<HashMap<Session, u64>>,
    /// Who wants reports; asked anew each day.
    wanted: RefCell<(u64, HashMap<Rc<str>, bool>)>,
    /// A task waits to write what is pending.
    waiting: Cell<bool>,
    dropped: Cell<u64>,
}

impl Counters {
    /// Counts into files of this directory, which need not exist yet.
    pub fn new(dns: Rc<dyn Dns>, dir: PathBuf, on: bool) -> Counters {
        Counters(Rc::new(Inner {
            dns,
            dir,
            on: Cell::new(on),
            pending: RefCell::default(),
            wanted: RefCell::default(),
            waiting: Cell::default(),
            dropped: Cell::default(),
        }))
    }

    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.0.on.get()
    }

    /// Begins or ends counting.
    pub fn switch(&self, on: bool) {
        self.0.on.set(on);
    }

    /// Counts a connection, or the failure to get to one.
    pub fn note(&self, session: Session) {
        if !self.is_on() {
            return;
        }
        let mut pending = self.0.pending.borrow_mut();
        if pending.len() >= MOST_KINDS && !pending.contains_key(&session) {
            self.0.dropped.set(self.0.dropped.get() + 1);
            return;
        }
        *pending.entry(session).or_default() += 1;
        drop(pending);
        if !self.0.waiting.replace(true) {
            let this = self.clone();
            rt::spawn(async move {
                rt::sleep(GATHER).await;
                this.0.waiting.set(false);
                this.write().await;
            })
            .detach();
        }
    }

    /// Writes down what is pending, for destinations that publish where they want reports.
    pub async fn write(&self) {
        let pending = std::mem::take(&mut *self.0.pending.borrow_mut());
        if pending.is_empty() {
            return;
        }
        let day = epoch_ms() / DAY_MS;
        // An empty line ends what a crash may have cut.
        let mut text = String::from("\n");
        for (session, count) in pending {
            if self.wants(day, &session.domain).await {
                text.push_str(&session.to_line(count));
            }
        }
        let dropped = self.0.dropped.take();
        if dropped > 0 {
            log_server!(
                Level::Warn,
                "TLS reports: {dropped} results of more than {MOST_KINDS} kinds were not counted"
            );
        }
        if text.len() == 1 {
            return;
        }
        let dir = self.0.dir.clone();
        let done = rt::offload(move || append(&dir, day, text.as_bytes())).await;
        let why = match done {
            Ok(Ok(())) => return,
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        log_server!(Level::Warn, "TLS reports: results not written: {why}");
    }

    async fn wants(&self, day: u64, domain: &Rc<str>) -> bool {
        {
            let mut wanted = self.0.wanted.borrow_mut();
            if wanted.0 != day || wanted.1.len() >= MOST_KINDS {
                *wanted = (day, HashMap::new());
            }
            if let Some(known) = wanted.1.get(domain) {
                return *known;
            }
        }
        let records = self.0.dns.txt(&format!("_smtp._tls.{domain}")).await;
        let wants = asks_for_reports(&records.unwrap_or_default());
        self.0.wanted.borrow_mut().1.insert(domain.clone(), wants);
        wants
    }
}

/// Whether the TXT records of `_smtp._tls.DOMAIN` ask for reports: exactly one of the right version,
/// with an address (RFC 8460 §3).
fn asks_for_reports(records: &[String]) -> bool {
    let mut ours = records.iter().filter_map(|r| {
        let rest = r.strip_prefix("v=TLSRPTv1")?;
        rest.trim_start_matches([' ', '\t']).strip_prefix(';')
    });
    let (Some(fields), None) = (ours.next(), ours.next()) else {
        return false;
    };
    fields.split(';').any(|field| {
        let rua = field.trim().strip_prefix("rua=");
        rua.is_some_and(|r| r.starts_with("mailto:") || r.starts_with("https:"))
    })
}

fn append(dir: &Path, day: u64, text: &[u8]) -> io::Result<()> {
    create_dir(dir)?;
    let path = dir.join(file_name(day));
    if !path.exists() {
        forget_before(dir, day.saturating_sub(DAYS))?;
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)?;
    if file.metadata()?.len() > MOST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} is full", path.display()),
        ));
    }
    file.write_all(text)
}

/// Removes the files of days before this one.
fn forget_before(dir: &Path, day: u64) -> io::Result<()> {
    let first = file_name(day);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Only what this module names so; dates sort as text.
        if name.len() == first.len() && name.starts_with("20") && *name < *first {
            match fs::remove_file(entry.path()) {
                // Another worker had the same thought.
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

/// `YYYY-MM-DD`
fn file_name(day: u64) -> String {
    let at = i64::try_from(day.saturating_mul(DAY_MS)).unwrap_or(i64::MAX);
    iso8601(at).to_string().chars().take(10).collect()
}

const DAY_MS: u64 = 24 * 3600 * 1000;
/// How long results are gathered before they are written.
const GATHER: Duration = Duration::from_secs(30);
/// Different results in memory.
const MOST_KINDS: usize = 10_000;
/// Size of a day's file.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// Days that are kept: reports are sent on the next one, with time for a mended mail system.
const DAYS: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::policy::report::FailureType;
    use crate::outbound::policy::testing::{Zone, scratch_dir};
    use crate::rt::tests::run;

    fn session(domain: &str, failure: Option<Failure>) -> Session {
        Session {
            domain: domain.into(),
            policy_type: "sts",
            policy: ["version: STSv1".to_owned()].into(),
            host: Some("mx.a.test".into()),
            ip: failure.is_some().then(|| "192.0.2.1".to_owned()),
            failure,
        }
    }

    #[test]
    fn results_of_those_who_ask_are_counted_in_the_file_of_the_day() {
        let dir = scratch_dir();
        let zone = Zone::default();
        zone.txt("_smtp._tls.a.test", "v=TLSRPTv1; rua=mailto:tls@a.test");
        zone.txt("_smtp._tls.c.test", "v=TLSRPTv1; rua=ftp:c.test");
        let failure = Failure::new(FailureType::CertificateExpired, "since yesterday");
        run(async {
            let counters = Counters::new(Rc::new(zone), dir.join("tls-rpt"), true);
            for domain in ["a.test", "b.test", "c.test", "a.test"] {
                counters.note(session(domain, None));
            }
            counters.note(session("a.test", Some(failure.clone())));
            counters.write().await;
            counters.note(session("a.test", None));
            counters.write().await;
            counters.switch(false);
            counters.note(session("a.test", None));
            counters.write().await;
        });
        let path = dir.join("tls-rpt").join(file_name(epoch_ms() / DAY_MS));
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert!(lines.iter().all(|l| l["domain"] == "a.test"), "{text}");
        let count = |result: &str| -> u64 {
            let of = lines.iter().filter(|l| l["result"] == result);
            of.map(|l| l["count"].as_u64().unwrap()).sum()
        };
        assert_eq!((count("success"), count("certificate-expired")), (3, 1));
        let failed = lines.iter().find(|l| l["result"] != "success").unwrap();
        assert_eq!(failed["reason"], "since yesterday");
        assert_eq!(failed["ip"], "192.0.2.1");
        assert_eq!(failed["policy-string"], json!(["version: STSv1"]));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn files_are_named_by_day_and_old_ones_go() {
        assert_eq!(file_name(0), "1970-01-01");
        assert_eq!(file_name(20_000), "2024-10-04");
        let dir = scratch_dir();
        for name in ["2024-09-26", "2024-09-27", "2024-10-03", "notes"] {
            fs::write(dir.join(name), "x").unwrap();
        }
        append(&dir, 20_000, b"line\n").unwrap();
        let mut left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["2024-09-27", "2024-10-03", "2024-10-04", "notes"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn kinds_in_memory_are_bounded() {
        run(async {
            let counters = Counters::new(Rc::new(Zone::default()), PathBuf::new(), true);
            for n in 0..MOST_KINDS + 5 {
                counters.note(session(&format!("d{n}.test"), None));
            }
            assert_eq!(counters.0.pending.borrow().len(), MOST_KINDS);
            assert_eq!(counters.0.dropped.get(), 5);
        });
    }
}
