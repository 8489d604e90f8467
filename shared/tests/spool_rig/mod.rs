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
    Body, BodyPiece, Claim, FaultPoint, Incarnation, NewItem, NewMessage, Ownership, QueueName,
    Reuse, Spool, SpoolOptions, State, Step, StoredName, SyncWay,
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
        reuse: Reuse::Always,
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

/// The life of some messages, telling what is promised: `begin X` before, `done X` after.
pub fn life(spool: &Spool, say: &dyn Fn(&str)) {
    say("begin A B C");
    let source = tempfile(&text(3000));
    let pieces = vec![
        BodyPiece::Owned(text(34)),
        BodyPiece::File {
            file: source.into(),
            offset: 34,
            len: 2966,
        },
    ];
    let answers = spool.commit(vec![
        message(
            "A",
            &["a@one.example", "b@one.example", "c@one.example"],
            text(5000),
        ),
        message(
            "B",
            &["a@1.example", "b@2.example", "c@2.example"],
            Body { pieces },
        ),
        message("C", &["a@one.example"], text(10)),
    ]);
    let mut items: Vec<Vec<_>> = answers.into_iter().map(|a| a.unwrap().items).collect();
    say("done A B C");

    say("begin update A");
    let mut a = spool.open_item(&items[0][0]).unwrap();
    let mut todo = a.todo.clone();
    todo.rcpt_to.remove(0);
    spool.update(&mut a, &todo, NOW + 64_000, 1).unwrap();
    say("done update A");
    say("begin again A");
    todo.rcpt_to.remove(0);
    spool.update(&mut a, &todo, NOW + 128_000, 2).unwrap();
    say("done again A");

    say("begin update B");
    let mut b = spool.open_item(&items[1][1]).unwrap();
    let mut todo = b.todo.clone();
    todo.rcpt_to.remove(0);
    spool.update(&mut b, &todo, NOW + 64_000, 1).unwrap();
    say("done update B");
    let lead = spool.defer(&items[1][0], NOW + 1, 1).unwrap();
    say("begin remove B");
    spool.remove(&lead).unwrap();
    say("done remove B");

    items[2][0] = spool.defer(&items[2][0], NOW + 64_000, 1).unwrap();
    say("begin remove C");
    spool.remove(&items[2][0]).unwrap();
    say("done remove C");
    say("begin D");
    spool
        .commit(vec![message("D", &["a@one.example"], text(10))])
        .remove(0)
        .unwrap();
    say("done D");
    spool.remove(&a.name).unwrap();
    writing_over(spool, say);
    shelving(spool, say);
}

/// Single messages, some of them into files of those before.
fn writing_over(spool: &Spool, say: &dyn Fn(&str)) {
    let mut there: Vec<(&str, QueueName)> = Vec::new();
    let store = |uuids: &[(&'static str, usize)], there: &mut Vec<(&str, QueueName)>| {
        uuids.iter().for_each(|(u, _)| say(&format!("begin {u}")));
        let new =
            |&(uuid, len): &(&'static str, usize)| message(uuid, &["a@one.example"], text(len));
        let stored = spool.commit(uuids.iter().map(new).collect());
        for ((uuid, _), stored) in uuids.iter().zip(stored) {
            there.push((uuid, stored.unwrap().items.remove(0)));
            say(&format!("done {uuid}"));
        }
    };
    let remove = |there: &mut Vec<(&str, QueueName)>| {
        let (uuid, name) = there.remove(0);
        say(&format!("begin remove {uuid}"));
        spool.remove(&name).unwrap();
        say(&format!("done remove {uuid}"));
    };
    store(&[("F", 700)], &mut there);
    remove(&mut there);
    // F's file may not be written over yet, G's sync allows it
    store(&[("G", 300)], &mut there);
    remove(&mut there);
    store(&[("H", 900), ("I", 100)], &mut there);
    remove(&mut there);
    store(&[("J", 400), ("K", 1500)], &mut there);
}

/// What operators do, with a message of a plain and a split item.
fn shelving(spool: &Spool, say: &dyn Fn(&str)) {
    say("begin E");
    let new = message("E", &["a@1.example", "b@2.example"], text(500));
    let items = spool.commit(vec![new]).remove(0).unwrap().items;
    say("done E");
    let mut items: Vec<_> = items
        .iter()
        .map(|name| StoredName::parse(name.as_str()).unwrap())
        .collect();
    for state in [
        State::Held,
        State::Held.trashed(NOW),
        State::Held,
        State::Queued,
        TRASHED,
    ] {
        for item in &mut items {
            *item = spool.shelve(item, state).unwrap();
        }
        spool.sync_names().unwrap();
    }
    say("begin clear E");
    spool
        .clear_trash(&Ownership::new(1, 0, spool.incarnation()), NOW + 1)
        .unwrap();
    say("done clear E");
}

fn tempfile(content: &[u8]) -> std::fs::File {
    let dir = QueueDir::new();
    dir.put("source", content);
    std::fs::File::open(dir.path().join("source")).unwrap()
}

/// What a recipient's presence in the queue must be after the lines in `said`.
#[derive(Debug, PartialEq)]
pub enum Must {
    There,
    Gone,
    Either,
}

pub fn after(said: &BTreeSet<String>, accepted: &str, finished: &str) -> Must {
    let has = |prefix: &str, what: &str| said.contains(&format!("{prefix} {what}"));
    if has("done", finished) || !has("begin", accepted) {
        Must::Gone
    } else if has("begin", finished) || !has("done", accepted) {
        Must::Either
    } else {
        Must::There
    }
}

/// What [`life`] promises: of whom, to whom, from when on, until when.
pub const PROMISES: &[(&str, &str, &str, &str)] = &[
    ("A", "a@one.example", "A B C", "update A"),
    ("A", "b@one.example", "A B C", "again A"),
    ("B", "a@1.example", "A B C", "remove B"),
    ("B", "b@2.example", "A B C", "update B"),
    ("B", "c@2.example", "A B C", "never"),
    ("C", "a@one.example", "A B C", "remove C"),
    ("D", "a@one.example", "D", "never"),
    ("F", "a@one.example", "F", "remove F"),
    ("G", "a@one.example", "G", "remove G"),
    ("H", "a@one.example", "H", "remove H"),
    ("I", "a@one.example", "I", "never"),
    ("J", "a@one.example", "J", "never"),
    ("K", "a@one.example", "K", "never"),
    ("E", "a@1.example", "E", "clear E"),
    ("E", "b@2.example", "E", "clear E"),
];

pub const TRASHED: State = State::Trashed {
    at: NOW,
    held: false,
};

/// Where the items of a directory stand, held and thrown away, as the names of their files.
pub fn shelved(dir: &QueueDir) -> Vec<StoredName> {
    let stored = |name: &String| StoredName::parse(name);
    let mut found: Vec<_> = dir.names().iter().filter_map(stored).collect();
    found.retain(|item| item.state != State::Queued);
    found
}
