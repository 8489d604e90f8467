//! Power cuts: the spool's writes are recorded, and the disk is put together again as each prefix of the
//! record may have left it, with all that file systems may do to what was not synced (docs/spool.md).
//!
//! Names reach the disk in order, any number of those that were not synced; data that was not synced is
//! there, empty, cut off, or zeros, for each file by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod spool_rig;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use haraka_shared::spool::{FaultPoint, Spool, State, Step, SyncWay};
use spool_rig::*;

/// Names with the inodes that they stand for.
type Names = BTreeMap<String, u64>;

/// What was there after a step.
struct Moment {
    /// What had been said by then.
    said: BTreeSet<String>,
    /// Every state of the directory so far, oldest first; this many of `Record::names`.
    names: usize,
    /// As many of those are on disk for sure.
    names_synced: usize,
    contents: HashMap<u64, Vec<u8>>,
    /// Content that is on disk for sure.
    synced: HashMap<u64, Vec<u8>>,
}

/// What a spool did.
#[derive(Default)]
struct Record {
    dir: PathBuf,
    said: BTreeSet<String>,
    names: Vec<Names>,
    names_synced: usize,
    synced: HashMap<u64, Vec<u8>>,
    moments: Vec<Moment>,
    last: Option<(Step, String)>,
    /// Inodes are used again; a file keeps its number for ever here.
    inodes: HashMap<u64, u64>,
    files: u64,
}

impl Record {
    /// Notes what the step before has done.
    fn look(&mut self) {
        let mut names = Names::new();
        let mut contents = HashMap::new();
        let mut alive = HashMap::new();
        for entry in self.dir.read_dir().unwrap().map(Result::unwrap) {
            let inode = entry.metadata().unwrap().ino();
            let known = alive.get(&inode).or_else(|| self.inodes.get(&inode));
            let file = known.copied().unwrap_or_else(|| {
                self.files += 1;
                self.files
            });
            alive.insert(inode, file);
            names.insert(entry.file_name().into_string().unwrap(), file);
            contents.insert(file, std::fs::read(entry.path()).unwrap());
        }
        self.inodes = alive;
        if self.names.last() != Some(&names) {
            self.names.push(names.clone());
        }
        match self.last.take() {
            Some((Step::SyncData, name)) => {
                // What was synced may have another name by now, but not within its step.
                let file = names[&name];
                self.synced.insert(file, contents[&file].clone());
            }
            Some((Step::SyncAll, _)) => self.synced.extend(contents.clone()),
            Some((Step::SyncDir, _)) => self.names_synced = self.names.len(),
            _ => {}
        }
        self.moments.push(Moment {
            said: self.said.clone(),
            names: self.names.len(),
            names_synced: self.names_synced.max(1),
            contents,
            synced: self.synced.clone(),
        });
    }
}

#[derive(Clone)]
struct Recorder(Arc<Mutex<Record>>);

impl FaultPoint for Recorder {
    fn before(&self, step: Step, name: &str) -> io::Result<()> {
        let mut record = self.0.lock().unwrap();
        record.look();
        record.last = Some((step, name.to_owned()));
        Ok(())
    }
}

fn recorded(way: SyncWay) -> Record {
    let dir = QueueDir::new();
    let recorder = Recorder(Arc::new(Mutex::new(Record {
        dir: dir.path().to_owned(),
        ..Record::default()
    })));
    let mut options = with_faults(recorder.clone(), way);
    options.host = "mx.example.com".into();
    let spool = Spool::open(dir.path(), options).unwrap();
    life(&spool, &|line| {
        let mut record = recorder.0.lock().unwrap();
        // What is said counts from here on: the step before it has been made.
        record.look();
        record.said.insert(line.to_owned());
        record.look();
    });
    drop(spool);
    let mut record = std::mem::take(&mut *recorder.0.lock().unwrap());
    record.look();
    record
}

/// What becomes of data that was not synced.
#[derive(Clone, Copy, Debug)]
enum Loss {
    None,
    All,
    Half,
    Zeros,
    /// Each file by itself, by this number.
    Mixed(u64),
}

impl Loss {
    fn content(self, file: u64, now: &[u8], synced: Option<&Vec<u8>>) -> Vec<u8> {
        let before = synced.map_or(&[][..], Vec::as_slice);
        if synced.is_some_and(|s| s == now) {
            return now.to_vec();
        }
        let mut content = now.to_vec();
        // What was written over may be there in parts, with the rest as it was.
        let half = now.len() / 2;
        match self {
            Loss::None => {}
            Loss::All => content = before.to_vec(),
            Loss::Half => {
                content.truncate(half);
                content.extend(before.get(half..).unwrap_or_default());
            }
            Loss::Zeros => {
                if let Some(beyond) = content.get_mut(before.len()..) {
                    beyond.fill(0);
                }
            }
            Loss::Mixed(seed) => {
                let dice = (file ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
                let one = [Loss::None, Loss::All, Loss::Half, Loss::Zeros][dice as usize];
                return one.content(file, now, synced);
            }
        }
        content
    }
}

/// The last content that was seen of each file, for names that come back.
fn last_seen(record: &Record, upto: usize) -> HashMap<u64, Vec<u8>> {
    let mut seen = HashMap::new();
    for moment in &record.moments[..=upto] {
        seen.extend(moment.contents.iter().map(|(f, c)| (*f, c.clone())));
    }
    seen
}

fn rebuilt(names: &Names, content: impl Fn(u64) -> Vec<u8>) -> QueueDir {
    let dir = QueueDir::new();
    let mut first: HashMap<u64, &String> = HashMap::new();
    for (name, file) in names {
        match first.get(file) {
            Some(other) => {
                let path = |n: &str| dir.path().join(n);
                std::fs::hard_link(path(other), path(name)).unwrap();
            }
            None => {
                dir.put(name, content(*file));
                first.insert(*file, name);
            }
        }
    }
    dir
}

/// Checks what was promised at a moment against what is found after the cut.
fn check(moment: &Moment, dir: &QueueDir, sure: bool, what: &str) {
    let names = dir.names();
    let early = dir.open();
    early.recover(&heir(&early), |_| ()).unwrap();
    for item in shelved(dir) {
        early.shelve(&item, State::Queued).unwrap();
    }
    drop(early);
    let (spool, items) = recovered(dir);
    let ledger = ledger(&spool, &items);
    assert_eq!(dir.starting("error."), 0, "{what}: {names:?}");
    for (uuid, rcpt, accepted, finished) in PROMISES {
        let found = ledger.get(*uuid).is_some_and(|r| r.contains(*rcpt));
        match after(&moment.said, accepted, finished) {
            Must::There => assert!(found, "{what}: {uuid} {rcpt} lost: {names:?}"),
            // A removal that was not synced may be undone.
            Must::Gone if sure => assert!(!found, "{what}: {uuid} {rcpt} again: {names:?}"),
            _ => {}
        }
    }
    for (uuid, all, accepted, changed) in [
        ("A", 3, "A B C", "update A"),
        ("B", 3, "A B C", "update B"),
        ("C", 1, "A B C", "remove C"),
        ("E", 2, "E", "clear E"),
    ] {
        let has = |what: String| moment.said.contains(&what);
        if has(format!("begin {accepted}")) && !has(format!("begin {changed}")) {
            let found = ledger.get(uuid).map_or(0, BTreeSet::len);
            let whole = found == all || (found == 0 && !has(format!("done {accepted}")));
            assert!(whole, "{what}: {found} of {all} of {uuid}: {names:?}");
        }
    }
}

fn every_prefix(way: SyncWay) {
    let record = recorded(way);
    assert!(
        record.moments.len() > 80,
        "{} moments",
        record.moments.len()
    );
    let mut disks = BTreeSet::new();
    let mut cuts = 0;
    for (at, moment) in record.moments.iter().enumerate() {
        let seen = last_seen(&record, at);
        let losses = [Loss::None, Loss::All, Loss::Half, Loss::Zeros];
        let mixed = (0..3).map(|n| Loss::Mixed(n + 17 * at as u64));
        for loss in losses.into_iter().chain(mixed) {
            for upto in moment.names_synced..=moment.names {
                let content = |file| loss.content(file, &seen[&file], moment.synced.get(&file));
                let names = &record.names[upto - 1];
                let what = format!("step {at}, {loss:?}, {upto} of {} names", moment.names);
                cuts += 1;
                let sure = upto == moment.names;
                // The same disk with the same promises needs one look.
                let disk: Vec<_> = names.iter().map(|(n, f)| (n, content(*f))).collect();
                if !disks.insert(format!("{sure} {:?} {disk:?}", moment.said)) {
                    continue;
                }
                check(moment, &rebuilt(names, content), sure, &what);
            }
        }
    }
    println!(
        "{} moments, {cuts} cuts, {} different disks",
        record.moments.len(),
        disks.len()
    );
}

#[test]
fn every_prefix_of_the_record_is_recovered_with_one_sync_for_all() {
    every_prefix(SyncWay::Auto);
}

#[test]
fn every_prefix_of_the_record_is_recovered_with_a_sync_per_file() {
    every_prefix(SyncWay::PerFile);
}

/// The model must be able to lose mail, or the tests above prove nothing.
#[test]
#[should_panic(expected = "lost")]
fn names_that_are_synced_before_their_data_lose_mail_in_the_model() {
    let mut record = recorded(SyncWay::PerFile);
    for moment in &mut record.moments {
        moment.synced.clear();
    }
    let at = record
        .moments
        .iter()
        .position(|m| m.said.contains("done A B C"))
        .unwrap();
    let (moment, seen) = (&record.moments[at], last_seen(&record, at));
    let content = |file: u64| Loss::All.content(file, &seen[&file], None);
    let dir = rebuilt(&record.names[moment.names - 1], content);
    let (spool, mut items) = (dir.open(), Vec::new());
    spool
        .recover(&heir(&spool), |n| items.push(n.to_owned()))
        .unwrap();
    let readable = items.iter().any(|name| spool.open_item(name).is_ok());
    assert!(readable, "all of it is lost");
}
