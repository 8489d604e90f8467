//! What the spool's tests stand on: a directory that goes away, messages, and fault points.
#![allow(
    dead_code, // each test program uses its part
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use haraka_shared::address::Address;
use haraka_shared::spool::{
    Body, Claim, FaultPoint, Incarnation, NewItem, NewMessage, Ownership, QueueName, Spool,
    SpoolOptions, Step, SyncWay,
};

pub const NOW: u64 = 1_790_000_000_000;

/// An empty directory, removed with everything in it when dropped.
pub struct QueueDir(PathBuf);

impl QueueDir {
    pub fn new() -> Self {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("spool-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn open(&self) -> Spool {
        self.open_with(SpoolOptions::default())
    }

    pub fn open_with(&self, mut options: SpoolOptions) -> Spool {
        options.host = "mx.example.com".into();
        Spool::open(&self.0, options).unwrap()
    }

    pub fn names(&self) -> BTreeSet<String> {
        std::fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub fn starting(&self, prefix: &str) -> usize {
        self.names()
            .iter()
            .filter(|n| n.starts_with(prefix))
            .count()
    }

    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).unwrap();
    }
}

impl Drop for QueueDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn sync(way: SyncWay) -> SpoolOptions {
    SpoolOptions {
        sync: way,
        ..SpoolOptions::default()
    }
}

pub fn with_faults(faults: impl FaultPoint + 'static, way: SyncWay) -> SpoolOptions {
    SpoolOptions {
        sync: way,
        faults: Some(Box::new(faults)),
        ..SpoolOptions::default()
    }
}

/// `rcpt` like `a@one.example`; recipients of one domain share an item.
pub fn message(uuid: &str, rcpts: &[&str], body: impl Into<Body>) -> NewMessage {
    let mut domains: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for rcpt in rcpts {
        let (user, domain) = rcpt.split_once('@').unwrap();
        let address = Address::from_parts(user, domain).unwrap();
        domains.entry(domain).or_default().push(address.into());
    }
    NewMessage {
        uuid: uuid.into(),
        queue_time: NOW,
        next_attempt: NOW,
        mail_from: Address::from_parts("sender", "from.example").unwrap(),
        items: domains
            .into_iter()
            .map(|(domain, rcpt_to)| NewItem {
                domain: domain.into(),
                rcpt_to,
            })
            .collect(),
        notes: serde_json::json!({"note": uuid}),
        extra: serde_json::Map::new(),
        body: body.into(),
    }
}

pub fn text(len: usize) -> Vec<u8> {
    b"Subject: x\r\n\r\n..0123456789abcdef\r\n"
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}

/// The view of the only worker, started after all others died.
pub fn heir(spool: &Spool) -> Ownership {
    Ownership::new(1, 0, spool.incarnation())
}

pub fn dead(view: &mut Ownership, incarnation: Incarnation) {
    view.claim(incarnation, Claim::Dead { slot: 0 });
}

/// Recipients of every item in the queue, as uuid of the transaction → recipients; each item's body
/// is read whole. A recipient that is there twice fails the test.
pub fn ledger(spool: &Spool, items: &[QueueName]) -> BTreeMap<String, BTreeSet<String>> {
    let mut ledger: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in items {
        let item = spool.open_item(name).unwrap();
        let mut body = vec![0; item.body.len() as usize];
        assert_eq!(item.body.read_at(0, &mut body).unwrap(), body.len());
        assert_eq!(body, text(body.len()), "body of {name}");
        let (uuid, _) = item.todo.uuid.rsplit_once('.').unwrap();
        let rcpts = ledger.entry(uuid.to_owned()).or_default();
        for rcpt in &item.todo.rcpt_to {
            let new = rcpts.insert(rcpt.address.address());
            assert!(new, "{} twice", rcpt.address);
        }
    }
    ledger
}

/// Recovers the directory as the only worker and returns the items found, after checking that
/// nothing half-done is left and that a second recovery finds the same.
pub fn recovered(dir: &QueueDir) -> (Spool, Vec<QueueName>) {
    let spool = dir.open();
    let mut items = Vec::new();
    let report = spool
        .recover(&heir(&spool), |n| items.push(n.to_owned()))
        .unwrap();
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(dir.starting("__tmp__."), 0, "{:?}", dir.names());
    let splits = items.iter().filter(|n| n.as_str().ends_with("_b")).count();
    assert_eq!(dir.starting("body."), splits, "{:?}", dir.names());
    let before = dir.names();
    let mut again = Vec::new();
    spool
        .recover(&heir(&spool), |n| again.push(n.to_owned()))
        .unwrap();
    assert_eq!(
        dir.names(),
        before,
        "recovery is not complete after one run"
    );
    again.sort_by_key(|n| n.to_string());
    items.sort_by_key(|n| n.to_string());
    assert_eq!(again, items);
    (spool, items)
}

/// Notes the calls.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<Vec<Step>>>);

impl Steps {
    pub fn take(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl FaultPoint for Steps {
    fn before(&self, step: Step, _: &str) -> io::Result<()> {
        self.0.lock().unwrap().push(step);
        Ok(())
    }
}

/// Fails the call with this number, counted from 0, and those after it as long as `times` says.
pub struct FailAt {
    pub at: usize,
    pub times: usize,
    pub errno: i32,
    pub seen: AtomicUsize,
}

impl FailAt {
    pub fn new(at: usize, times: usize, errno: i32) -> Self {
        Self {
            at,
            times,
            errno,
            seen: AtomicUsize::new(0),
        }
    }
}

impl FaultPoint for FailAt {
    fn before(&self, _: Step, _: &str) -> io::Result<()> {
        let n = self.seen.fetch_add(1, Ordering::Relaxed);
        if n >= self.at && n < self.at + self.times {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        Ok(())
    }
}
