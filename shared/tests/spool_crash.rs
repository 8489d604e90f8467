//! Every state that a crash can leave (the rows of docs/spool.md), and real crashes: a child process
//! is killed before each of its system calls on the queue directory.
//!
//! A power cut is modelled on top of the kill: every file whose data was not yet synced is emptied.
// The crate-wide bans keep input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod spool_rig;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use haraka_shared::spool::{
    Claim, FaultPoint, Incarnation, Ownership, QueueName, Spool, SpoolOptions, State, Step,
    StoredName, SyncWay,
};
use spool_rig::*;

/// A plain item and the parts of it that a state is made from.
struct Scene {
    dir: QueueDir,
    plain: QueueName,
    content: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let dir = QueueDir::new();
        let spool = dir.open();
        let new = message("U", &["a@one.example", "b@one.example"], text(100));
        let plain = spool.commit(vec![new]).remove(0).unwrap().items.remove(0);
        let content = std::fs::read(dir.path().join(plain.as_str())).unwrap();
        Self {
            dir,
            plain,
            content,
        }
    }

    fn remaining(&self) -> BTreeMap<String, BTreeSet<String>> {
        let (spool, items) = recovered(&self.dir);
        ledger(&spool, &items)
    }

    /// The state after an update to one recipient, with the old header still there.
    fn updated(&self) -> QueueName {
        let spool = self.dir.open();
        let mut item = spool.open_item(&self.plain).unwrap();
        let mut todo = item.todo.clone();
        todo.rcpt_to.truncate(1);
        let split = spool.update(&mut item, &todo, NOW + 9, 1).unwrap();
        let from = self.dir.path().join(split.body_file());
        std::fs::hard_link(from, self.dir.path().join(self.plain.as_str())).unwrap();
        split
    }
}

// row 1
#[test]
fn a_half_written_first_item_is_removed() {
    let scene = Scene::new();
    let other = scene.plain.rescheduled(NOW + 1, 0);
    for len in [0, 3, 50, scene.content.len()] {
        scene.dir.put(&other.temp_file(), &scene.content[..len]);
        assert_eq!(scene.remaining()["U"].len(), 2);
    }
}

/// Three items of one message, with `committed` of their names in place.
fn three_domains(committed: usize) -> (QueueDir, Vec<QueueName>) {
    let dir = QueueDir::new();
    let spool = dir.open();
    let rcpts = ["a@1.example", "b@2.example", "c@3.example"];
    let names = spool
        .commit(vec![message("U", &rcpts, text(50))])
        .remove(0)
        .unwrap()
        .items;
    for name in &names[committed..] {
        let path = |name: &str| dir.path().join(name);
        std::fs::rename(path(name.as_str()), path(&name.temp_file())).unwrap();
    }
    (dir, names)
}

// row 2
#[test]
fn a_message_whose_first_item_has_no_name_yet_is_removed_whole() {
    let (dir, names) = three_domains(0);
    let (_, items) = recovered(&dir);
    assert!(
        items.is_empty() && dir.names().is_empty(),
        "{:?}",
        dir.names()
    );
    // in any order of removal, as a crash while an error is cleaned up leaves it
    for gone in 0..3 {
        let (dir, _) = three_domains(0);
        let name = dir
            .names()
            .into_iter()
            .filter(|n| n.starts_with("__tmp__."))
            .nth(gone);
        std::fs::remove_file(dir.path().join(name.unwrap())).unwrap();
        recovered(&dir);
        assert!(dir.names().is_empty(), "{:?}", dir.names());
    }
    assert_eq!(names.len(), 3);
}

// row 3
#[test]
fn a_message_whose_first_item_has_its_name_is_completed() {
    for committed in 1..=3 {
        let (dir, names) = three_domains(committed);
        let (spool, mut items) = recovered(&dir);
        items.sort_by_key(|n| n.counter);
        assert_eq!(items, names);
        assert_eq!(ledger(&spool, &items)["U"].len(), 3);
    }
}

// row 4
#[test]
fn a_half_rewritten_header_is_removed_and_the_item_stays() {
    let scene = Scene::new();
    let scratch = format!("__tmp__.{}.7", Incarnation::random());
    scene.dir.put(&scratch, "\0\0");
    assert_eq!(scene.remaining()["U"].len(), 2);
    // with the body's second name made, too
    scene.dir.put(&scratch, &scene.content[..40]);
    let path = |name: &str| scene.dir.path().join(name);
    std::fs::hard_link(path(scene.plain.as_str()), path(&scene.plain.body_file())).unwrap();
    assert_eq!(scene.remaining()["U"].len(), 2);
    assert_eq!(scene.dir.names().len(), 1);
}

// row 5
#[test]
fn an_update_that_has_not_removed_the_old_header_is_finished() {
    let scene = Scene::new();
    let split = scene.updated();
    assert_eq!(scene.dir.names().len(), 3);
    let left = scene.remaining();
    assert_eq!(left["U"].iter().collect::<Vec<_>>(), ["a@one.example"]);
    assert!(!scene.dir.names().contains(scene.plain.as_str()));
    assert!(scene.dir.names().contains(split.as_str()));
}

// row 6
#[test]
fn a_body_without_an_item_is_removed() {
    let (dir, names) = three_domains(3);
    std::fs::remove_file(dir.path().join(names[1].as_str())).unwrap();
    let (spool, items) = recovered(&dir);
    assert_eq!(ledger(&spool, &items)["U"].len(), 2);
    assert_eq!(dir.starting("body."), 1);
}

// row 7
#[test]
fn an_item_without_its_body_is_set_aside() {
    let (dir, names) = three_domains(3);
    std::fs::remove_file(dir.path().join(names[1].body_file())).unwrap();
    let (spool, items) = recovered(&dir);
    assert_eq!(ledger(&spool, &items)["U"].len(), 2);
    assert!(dir.names().contains(&format!("error.{}", names[1])));
}

// row 8; covers OUT-10
#[test]
fn other_files_are_left_alone() {
    let scene = Scene::new();
    let others = [
        "error.1_2_3",
        "notes.txt",
        "zero-length",
        ".hidden",
        "__tmp__.strange",
        "a_b",
    ];
    for name in others {
        scene.dir.put(name, "");
    }
    let spool = scene.dir.open();
    let report = spool.recover(&heir(&spool), |_| ()).unwrap();
    assert_eq!((report.items, report.aside, report.unrecognised), (1, 1, 5));
    assert!(others.iter().all(|n| scene.dir.names().contains(*n)));
}

// row 9; covers PB-25, PB-26, H1
#[test]
fn nothing_of_a_live_worker_is_touched_and_all_of_a_dead_one_is_taken_over() {
    let dir = QueueDir::new();
    let (one, two) = (dir.open(), dir.open());
    let rcpts = ["a@1.example", "b@2.example"];
    for (spool, uuid) in [(&one, "ONE"), (&two, "TWO")] {
        let names = spool
            .commit(vec![message(uuid, &rcpts, text(9))])
            .remove(0)
            .unwrap()
            .items;
        // another message stopped before its commit point
        let (counter, other) = (names[0].counter, names[0].counter + 100);
        let twin = names[0]
            .as_str()
            .replace(&format!("_{counter}_mx"), &format!("_{other}_mx"));
        let twin = QueueName::parse(&twin).unwrap();
        let path = |n: &str| dir.path().join(n);
        std::fs::copy(path(names[0].as_str()), path(&twin.temp_file())).unwrap();
        dir.put(&format!("__tmp__.{}.1", spool.incarnation()), "x");
    }
    let before = dir.names();
    let new = dir.open();
    let mut view = Ownership::new(2, 0, new.incarnation());
    view.claim(one.incarnation(), Claim::Live);
    view.claim(two.incarnation(), Claim::Live);
    let report = new
        .recover(&view, |_| panic!("took a live worker's item"))
        .unwrap();
    assert_eq!(
        (report.removed, report.foreign, dir.names()),
        (0, 4, before)
    );

    view.claim(one.incarnation(), Claim::Dead { slot: 0 });
    view.claim(two.incarnation(), Claim::Dead { slot: 1 });
    let mut items = Vec::new();
    let report = new.recover(&view, |n| items.push(n.to_owned())).unwrap();
    assert_eq!(
        ledger(&new, &items).into_keys().collect::<Vec<_>>(),
        ["ONE"]
    );
    assert_eq!((report.removed, report.items, items.len()), (2, 2, 2));
    let left = |i: Incarnation| {
        dir.names()
            .iter()
            .filter(|n| n.contains(i.as_str()))
            .count()
    };
    assert_eq!((left(one.incarnation()), left(two.incarnation())), (3, 5));
}

// rows 10 and 11
#[test]
fn held_and_trashed_items_stay_whole_and_come_back_whole() {
    for state in [State::Held, TRASHED, State::Held.trashed(NOW)] {
        let (dir, names) = three_domains(3);
        for name in &names {
            let path = |n: &str| dir.path().join(n);
            std::fs::rename(path(name.as_str()), path(&state.file(name.as_str()))).unwrap();
        }
        let spool = dir.open();
        let report = spool
            .recover(&heir(&spool), |n| panic!("{n} is not in the queue"))
            .unwrap();
        let found = [report.held, report.trashed, report.orphans, report.removed];
        let held = u64::from(state == State::Held) * 3;
        assert_eq!(found, [held, 3 - held, 0, 0], "{state:?}");
        assert_eq!(report.oldest_trash, (held == 0).then_some(NOW));
        for item in shelved(&dir) {
            spool.shelve(&item, State::Queued).unwrap();
        }
        let (spool, mut items) = recovered(&dir);
        items.sort_by_key(|n| n.counter);
        assert_eq!(items, names);
        assert_eq!(ledger(&spool, &items)["U"].len(), 3);
    }
}

// row 3 with row 10: the lead was held where no server ran
#[test]
fn a_message_whose_first_item_is_held_is_completed() {
    let (dir, names) = three_domains(1);
    let path = |n: &str| dir.path().join(n);
    let held = State::Held.file(names[0].as_str());
    std::fs::rename(path(names[0].as_str()), path(&held)).unwrap();
    let (_, mut items) = recovered(&dir);
    items.sort_by_key(|n| n.counter);
    assert_eq!(items, names[1..]);
}

// row 5 with rows 10 and 11: what was put away while an update was cut off comes back once
#[test]
fn an_update_that_has_not_removed_the_old_header_is_finished_wherever_it_stands() {
    for (old, new) in [
        (State::Queued, State::Held),
        (State::Queued, TRASHED),
        (State::Held, State::Queued),
        (TRASHED, State::Queued),
        (State::Held, TRASHED),
        (State::Held, State::Held),
    ] {
        let scene = Scene::new();
        let split = scene.updated();
        let path = |n: &str| scene.dir.path().join(n);
        for (name, state) in [(scene.plain.as_str(), old), (split.as_str(), new)] {
            std::fs::rename(path(name), path(&state.file(name))).unwrap();
        }
        let spool = scene.dir.open();
        let report = spool.recover(&heir(&spool), |_| ()).unwrap();
        assert_eq!(report.updated, 1, "{old:?} {new:?}");
        for item in shelved(&scene.dir) {
            spool.shelve(&item, State::Queued).unwrap();
        }
        let left = scene.remaining();
        assert_eq!(left["U"].iter().collect::<Vec<_>>(), ["a@one.example"]);
    }
}

// row 12
#[test]
fn files_of_an_import_are_left_to_it() {
    let scene = Scene::new();
    for name in ["import_1_2_3_4", ".import", ".import.done", ".suspended"] {
        scene.dir.put(name, "x");
    }
    let spool = scene.dir.open();
    let report = spool.recover(&heir(&spool), |_| ()).unwrap();
    assert_eq!((report.staged, report.unrecognised), (1, 0));
    assert_eq!(scene.dir.names().len(), 5);
}

#[test]
fn trash_is_cleared_by_its_owner_when_its_time_is_over_with_its_bodies() {
    let (dir, names) = three_domains(3);
    let spool = dir.open();
    for (n, name) in (0..).zip(&names) {
        let item = StoredName::parse(name.as_str()).unwrap();
        let at = NOW + n * 100;
        spool.shelve(&item, item.state.trashed(at)).unwrap();
    }
    let stranger = Ownership::new(1, 0, spool.incarnation()).waiting();
    let none = spool.clear_trash(&stranger, NOW + 1000).unwrap();
    assert_eq!((none.removed, none.oldest), (0, None));
    let report = spool.clear_trash(&heir(&spool), NOW + 150).unwrap();
    assert_eq!((report.removed, report.oldest), (2, Some(NOW + 200)));
    assert_eq!((dir.starting("trash_"), dir.starting("body.")), (1, 1));
    spool.clear_trash(&heir(&spool), NOW + 201).unwrap();
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

#[test]
fn nothing_is_moved_onto_another_item() {
    let (dir, names) = three_domains(3);
    let spool = dir.open();
    let item = StoredName::parse(names[0].as_str()).unwrap();
    dir.put(&item.at(State::Held).file(), "mine");
    assert!(spool.shelve(&item, State::Held).is_err());
    assert!(dir.names().contains(names[0].as_str()));
    let gone = spool.shelve(&item.at(TRASHED), State::Queued).unwrap_err();
    assert!(!gone.is_gone(), "the queued one is in the way: {gone}");
    let gone = item.at(TRASHED);
    let gone = spool.shelve(&gone, TRASHED.restored().trashed(NOW + 1));
    assert!(gone.unwrap_err().is_gone());
}

// ---- real crashes ----

const AT: &str = "SPOOL_CRASH_AT";
const DIR: &str = "SPOOL_CRASH_DIR";
const WAY: &str = "SPOOL_CRASH_WAY";

/// Says on standard output what has become durable, and kills the process at its step.
struct KillAt {
    dir: PathBuf,
    at: usize,
    seen: AtomicUsize,
    last: Mutex<Option<(Step, String)>>,
    /// How often each file was written over.
    lives: Mutex<BTreeMap<u64, u32>>,
}

impl KillAt {
    fn tell_durable(&self, step: Step, name: &str) {
        let mut lives = self.lives.lock().unwrap();
        if step == Step::Reuse {
            let inode = self.dir.join(name).symlink_metadata().unwrap().ino();
            *lives.entry(inode).or_default() += 1;
            say(&format!("reused {inode} {}", lives[&inode]));
        }
        let durable = match step {
            Step::SyncData => vec![self.dir.join(name)],
            Step::SyncAll => self
                .dir
                .read_dir()
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect(),
            _ => vec![],
        };
        for path in durable {
            let inode = path.symlink_metadata().unwrap().ino();
            let life = lives.get(&inode).copied().unwrap_or_default();
            say(&format!("durable {inode} {life}"));
        }
    }
}

impl FaultPoint for KillAt {
    fn before(&self, step: Step, name: &str) -> io::Result<()> {
        let mut last = self.last.lock().unwrap();
        if let Some((step, name)) = last.replace((step, name.to_owned())) {
            self.tell_durable(step, &name);
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) == self.at {
            say(&format!("killed before {step} {name}"));
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        Ok(())
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    out.write_all(format!("@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The life of some messages, telling what is promised: `begin X` before, `done X` after.
#[test]
fn crash_child() {
    let (Ok(at), Ok(dir)) = (std::env::var(AT), std::env::var(DIR)) else {
        return; // only means something as the child of the tests below
    };
    let faults = KillAt {
        dir: dir.clone().into(),
        at: at.parse().unwrap(),
        seen: AtomicUsize::new(0),
        last: Mutex::new(None),
        lives: Mutex::default(),
    };
    let way = match std::env::var(WAY).as_deref() {
        Ok("auto") => SyncWay::Auto,
        _ => SyncWay::PerFile,
    };
    let mut options = with_faults(faults, way);
    options.host = "mx.example.com".into();
    let spool = Spool::open(dir.as_ref(), options).unwrap();
    life(&spool, &say);
}

/// Kills a child at its step `at`; false when the child came to its end before.
fn crash(at: usize, way: &str, power: bool) -> bool {
    let dir = QueueDir::new();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash_child", "--nocapture"])
        .env(AT, at.to_string())
        .env(DIR, dir.path())
        .env(WAY, way)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let said: BTreeSet<String> = String::from_utf8_lossy(&child.stdout)
        .lines()
        .filter_map(|l| l.split_once('@').map(|(_, said)| said.to_owned()))
        .collect();
    if power {
        for entry in dir.path().read_dir().unwrap().map(Result::unwrap) {
            let inode = entry.metadata().unwrap().ino();
            let reused = said
                .iter()
                .filter(|l| l.starts_with(&format!("reused {inode} ")));
            let life = reused.count();
            if !said.contains(&format!("durable {inode} {life}")) {
                std::fs::write(entry.path(), "").unwrap();
            }
        }
    }
    let place = said.iter().find(|l| l.starts_with("killed")).cloned();
    assert!(
        place.is_some() || child.status.success(),
        "child failed: {said:?}"
    );
    let names = dir.names();
    // What is put away is found where it stands, and whole when it comes back.
    let early = dir.open();
    early.recover(&heir(&early), |_| ()).unwrap();
    for item in shelved(&dir) {
        early.shelve(&item, State::Queued).unwrap();
    }
    let (spool, items) = recovered(&dir);
    let ledger = ledger(&spool, &items);
    if place.is_none() {
        let reused = said.iter().filter(|l| l.starts_with("reused ")).count();
        assert_eq!(reused, 2, "files that were written over");
    }
    assert_eq!(dir.starting("error."), 0, "{place:?} {names:?}");
    for (uuid, rcpt, accepted, finished) in PROMISES {
        let found = ledger.get(*uuid).is_some_and(|r| r.contains(*rcpt));
        match after(&said, accepted, finished) {
            Must::There => assert!(found, "{uuid} {rcpt} lost: {place:?} {names:?}"),
            Must::Gone => assert!(!found, "{uuid} {rcpt} again: {place:?} {names:?}"),
            Must::Either => {}
        }
    }
    if said.contains("begin A B C") && !said.contains("done A B C") {
        for (uuid, all) in [("A", 3), ("B", 3), ("C", 1)] {
            let found = ledger.get(uuid).map_or(0, BTreeSet::len);
            assert!(
                found == 0 || found == all,
                "{uuid} in part: {place:?} {names:?}"
            );
        }
    }
    place.is_some()
}

fn crash_everywhere(way: &str, power: bool) {
    let steps = (0..).take_while(|at| crash(*at, way, power)).count();
    assert!(steps > 40, "the child has {steps} steps only");
}

#[test]
fn kill_at_every_step_loses_nothing_with_one_sync_for_all() {
    crash_everywhere("auto", false);
}

#[test]
fn kill_at_every_step_loses_nothing_with_a_sync_per_file() {
    crash_everywhere("each", false);
}

#[test]
fn power_cut_at_every_step_loses_nothing_with_one_sync_for_all() {
    crash_everywhere("auto", true);
}

#[test]
fn power_cut_at_every_step_loses_nothing_with_a_sync_per_file() {
    crash_everywhere("each", true);
}

// the fault point itself must be able to kill, or the tests above prove nothing
#[test]
fn the_child_dies_where_it_is_told_to() {
    assert!(crash(0, "auto", false));
    assert!(!crash(10_000, "auto", false));
}

#[test]
fn options_without_faults_have_none() {
    assert!(SpoolOptions::default().faults.is_none());
}
