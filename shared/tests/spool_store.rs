//! The spool in normal life and with a failing disk: storing, reading, deferring, updating.
// The crate-wide bans keep input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod spool_rig;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Arc;

use haraka_shared::spool::{
    Body, BodyPiece, FaultPoint, Form, ItemError, Listing, QueueName, QueueStat, RecipientState,
    Spool, SpoolError, SpoolOptions, Step, SyncWay, parse_item,
};
use nix::libc::{EACCES, EDQUOT, EIO, ENOSPC};
use spool_rig::*;

const WAYS: [SyncWay; 2] = [SyncWay::Auto, SyncWay::PerFile];

fn store(spool: &Spool, uuid: &str, rcpts: &[&str], len: usize) -> Vec<QueueName> {
    let mut answers = spool.commit(vec![message(uuid, rcpts, text(len))]);
    answers.remove(0).unwrap().items
}

// covers OUT-05, OUT-06, OUT-07, OUT-08
#[test]
fn a_message_to_one_domain_is_one_plain_haraka_file() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let names = store(&spool, "UUID.1", &["a@one.example", "b@one.example"], 4096);
    assert_eq!(dir.names(), BTreeSet::from([names[0].to_string()]));
    assert_eq!(names[0].form, Form::Plain);
    assert_eq!(
        (names[0].arrival, names[0].next_attempt, names[0].attempts),
        (NOW, NOW, 0)
    );
    assert_eq!(names[0].host(), "mx.example.com");

    let path = dir.path().join(names[0].as_str());
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let bytes = std::fs::read(path).unwrap();
    let parsed = parse_item(&bytes).unwrap();
    assert_eq!(parsed.todo.uuid, "UUID.1.1");
    assert_eq!(parsed.todo.domain, "one.example");
    assert_eq!(parsed.todo.size, Some(4096));
    assert_eq!(bytes[parsed.body_offset as usize..], text(4096));
}

#[test]
fn a_body_of_memory_and_file_pieces_is_written_in_order() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let whole = text(300_000);
    let source = dir.path().join("source");
    std::fs::write(&source, &whole).unwrap();
    let file = Arc::new(File::open(&source).unwrap());
    let mut pieces: Vec<_> = (0..100)
        .map(|n| BodyPiece::Shared(whole[n * 10..n * 10 + 10].into()))
        .collect();
    pieces.push(BodyPiece::File {
        file,
        offset: 1000,
        len: 250_000,
    });
    pieces.push(BodyPiece::Owned(whole[251_000..].to_vec()));
    std::fs::remove_file(&source).unwrap();
    let mut batch = vec![message("U", &["a@one.example"], Body { pieces })];
    let name = spool
        .commit(std::mem::take(&mut batch))
        .remove(0)
        .unwrap()
        .items
        .remove(0);

    let item = spool.open_item(&name).unwrap();
    assert_eq!(item.body.len(), 300_000);
    let (mut read, mut at) = (Vec::new(), 0);
    let mut chunk = vec![0; 70_000];
    while let n @ 1.. = item.body.read_at(at, &mut chunk).unwrap() {
        read.extend_from_slice(&chunk[..n]);
        at += n as u64;
    }
    assert_eq!(read, whole);
}

#[test]
fn a_source_file_that_is_too_short_fails_its_message_only() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let source = dir.path().join("source");
    std::fs::write(&source, "short").unwrap();
    let file = Arc::new(File::open(&source).unwrap());
    std::fs::remove_file(&source).unwrap();
    let bad = Body {
        pieces: vec![BodyPiece::File {
            file,
            offset: 0,
            len: 99,
        }],
    };
    let batch = vec![
        message("A", &["a@one.example"], text(10)),
        message("B", &["a@one.example", "b@two.example"], bad),
        message("C", &[], text(10)),
        message("D", &["a@one.example", "b@two.example"], text(10)),
    ];
    let answers: Vec<_> = spool.commit(batch).iter().map(Result::is_ok).collect();
    assert_eq!(answers, [true, false, false, true]);
    let (spool, items) = recovered(&dir);
    assert_eq!(
        ledger(&spool, &items).into_keys().collect::<Vec<_>>(),
        ["A", "D"]
    );
}

#[test]
fn a_message_to_many_domains_keeps_one_copy_of_its_body() {
    for way in WAYS {
        let dir = QueueDir::new();
        let spool = dir.open_with(sync(way));
        let names = store(
            &spool,
            "U",
            &["a@1.example", "b@2.example", "c@3.example"],
            500_000,
        );
        let blocks: u64 = dir
            .names()
            .iter()
            .map(|n| dir.path().join(n).metadata().unwrap())
            .map(|m| (std::os::unix::fs::MetadataExt::ino(&m), m.len()))
            .collect::<std::collections::BTreeMap<_, _>>()
            .values()
            .sum();
        assert!(blocks < 510_000, "{blocks}");
        assert_eq!(names.len(), 3);
        let owner = names[0].owner_key();
        assert!(names.iter().all(|n| n.owner_key() == owner));
        // whichever is delivered first, the others keep their body
        for order in [0, 2, 1] {
            let item = spool.open_item(&names[order]).unwrap();
            let mut last = [0; 16];
            assert_eq!(item.body.read_at(499_990, &mut last).unwrap(), 10);
            spool.remove(&names[order]).unwrap();
        }
        assert!(dir.names().is_empty(), "{:?}", dir.names());
    }
}

// covers PB-20, H3: disk full, quota, I/O error and permission at every single step
#[test]
fn a_failing_disk_at_any_step_leaves_nothing_behind_and_spares_the_others() {
    let batch = || {
        vec![
            message("A", &["a@one.example"], text(100)),
            message(
                "B",
                &["b@1.example", "b@2.example", "b@3.example"],
                text(100),
            ),
            message("C", &["c@one.example"], text(100)),
        ]
    };
    for way in WAYS {
        for errno in [ENOSPC, EDQUOT, EIO, EACCES] {
            let mut at = 0;
            loop {
                let dir = QueueDir::new();
                let spool = dir.open_with(with_faults(FailAt::new(at, 1, errno), way));
                let answers = spool.commit(batch());
                let stored: BTreeSet<_> = ["A", "B", "C"]
                    .into_iter()
                    .zip(&answers)
                    .filter(|(_, answer)| answer.is_ok())
                    .map(|(uuid, _)| uuid.to_owned())
                    .collect();
                for error in answers.iter().filter_map(|a| a.as_ref().err()) {
                    assert_eq!(error.is_full(), matches!(errno, ENOSPC | EDQUOT));
                    assert_eq!(error.io_error().unwrap().raw_os_error(), Some(errno));
                }
                let kept: Vec<_> = answers
                    .into_iter()
                    .flatten()
                    .flat_map(|c| c.items)
                    .collect();
                drop(spool);
                assert_eq!(dir.starting("__tmp__."), 0, "step {at}");
                let (spool, items) = recovered(&dir);
                assert_eq!(items.len(), kept.len());
                let ledger = ledger(&spool, &items);
                assert_eq!(
                    ledger.keys().cloned().collect::<BTreeSet<_>>(),
                    stored,
                    "step {at}"
                );
                if stored.contains("B") {
                    assert_eq!(ledger["B"].len(), 3);
                }
                if stored.len() == 3 && at > 40 {
                    break;
                }
                at += 1;
            }
        }
    }
}

// a disk that is gone for good: whatever is reported stored is, and no message is there in part
#[test]
fn a_disk_that_stays_broken_never_splits_a_message() {
    for way in WAYS {
        for at in 0..40 {
            let dir = QueueDir::new();
            let spool = dir.open_with(with_faults(FailAt::new(at, usize::MAX - at, EIO), way));
            let rcpts = ["b@1.example", "b@2.example", "b@3.example"];
            let answer = spool.commit(vec![message("B", &rcpts, text(10))]).remove(0);
            drop(spool);
            let (spool, items) = recovered(&dir);
            let found = ledger(&spool, &items).remove("B").map_or(0, |r| r.len());
            assert!(
                found == 3 || (found == 0 && answer.is_err()),
                "step {at}: {found}"
            );
        }
    }
}

// covers H2: nothing is promised before the names are on disk, and a batch pays for that once
#[test]
fn the_directory_is_synced_once_after_the_last_name_of_a_batch() {
    for way in WAYS {
        let dir = QueueDir::new();
        let steps = Steps::default();
        let spool = dir.open_with(with_faults(steps.clone(), way));
        let batch = (0..20).map(|n| message(&format!("{n}"), &["a@one.example"], text(50)));
        assert!(spool.commit(batch.collect()).iter().all(Result::is_ok));
        let taken = steps.take();
        let count = |step: Step| taken.iter().filter(|s| **s == step).count();
        assert_eq!(taken.last(), Some(&Step::SyncDir));
        assert_eq!((count(Step::SyncDir), count(Step::Rename)), (1, 20));
        assert_eq!(count(Step::SyncAll), usize::from(way == SyncWay::Auto));
        assert_eq!(
            count(Step::SyncData),
            if way == SyncWay::Auto { 0 } else { 20 }
        );
        let first_name = taken.iter().position(|s| *s == Step::Rename).unwrap();
        let synced = taken
            .iter()
            .rposition(|s| matches!(s, Step::SyncAll | Step::SyncData));
        assert!(synced.unwrap() < first_name);
        assert_eq!(
            taken.len(),
            if way == SyncWay::Auto { 62 } else { 81 },
            "calls per batch"
        );
    }
}

/// A file system that somebody else keeps busy.
struct Busy(Steps);

impl FaultPoint for Busy {
    fn before(&self, step: Step, name: &str) -> std::io::Result<()> {
        if step == Step::SyncAll {
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        self.0.before(step, name)
    }
}

#[test]
fn after_a_slow_sync_of_the_file_system_files_are_synced_one_by_one() {
    let dir = QueueDir::new();
    let steps = Steps::default();
    let spool = dir.open_with(with_faults(Busy(steps.clone()), SyncWay::Auto));
    for (round, expected) in [(0, Step::SyncAll), (1, Step::SyncData)] {
        let batch = (0..3).map(|n| message(&format!("{round}{n}"), &["a@one.example"], text(50)));
        assert!(spool.commit(batch.collect()).iter().all(Result::is_ok));
        let taken = steps.take();
        for way in [Step::SyncAll, Step::SyncData] {
            assert_eq!(taken.contains(&way), way == expected, "round {round}");
        }
    }
}

// covers OUT-19, PB-22, H6
#[test]
fn a_deferral_is_a_rename_and_a_failed_one_keeps_the_item() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let name = store(&spool, "U", &["a@one.example", "b@two.example"], 10).remove(1);
    let later = spool.defer(&name, NOW + 64_000, 1).unwrap();
    assert_eq!((later.next_attempt, later.attempts), (NOW + 64_000, 1));
    assert_eq!(later.owner_key(), name.owner_key());
    assert_eq!(spool.open_item(&later).unwrap().body.len(), 10);
    assert!(spool.open_item(&name).unwrap_err().is_gone());

    let broken = dir.open_with(with_faults(FailAt::new(0, 1, EIO), SyncWay::Auto));
    assert!(broken.defer(&later, NOW + 128_000, 2).is_err());
    assert_eq!(spool.open_item(&later).unwrap().todo.rcpt_to.len(), 1);
}

// covers PB-21, PB-38, PA-43
#[test]
fn partial_results_keep_the_rest_and_what_is_known_of_it() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let rcpts = ["a@one.example", "b@one.example", "c@one.example"];
    let name = store(&spool, "U", &rcpts, 1000).remove(0);
    let mut item = spool.open_item(&name).unwrap();
    for left in [2, 1] {
        let mut todo = item.todo.clone();
        todo.rcpt_to.truncate(left);
        todo.rcpt_to[0].state = Some(Box::new(RecipientState {
            dsn_status: Some("4.2.2".into()),
            dsn_smtp_code: Some(452),
            ..RecipientState::default()
        }));
        let attempts = item.name.attempts + 1;
        let next = NOW + 64_000 * u64::from(attempts);
        let now = spool.update(&mut item, &todo, next, attempts).unwrap();
        assert_eq!((now.next_attempt, now.attempts), (next, attempts));
        assert_eq!(dir.names().len(), 2, "{:?}", dir.names());
        item = spool.open_item(&now).unwrap();
        assert_eq!(item.todo, todo);
        assert_eq!(item.body.len(), 1000);
    }
    spool.remove(&item.name).unwrap();
    assert!(dir.names().is_empty());
}

#[test]
fn an_old_style_item_can_be_updated() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let name = store(&spool, "U", &["a@one.example", "b@one.example"], 10).remove(0);
    let old = "1484878079415_2_12345_8888.mta1.example.com";
    std::fs::rename(dir.path().join(name.as_str()), dir.path().join(old)).unwrap();
    let mut item = spool.open_item(&QueueName::parse(old).unwrap()).unwrap();
    let mut todo = item.todo.clone();
    todo.rcpt_to.truncate(1);
    let now = spool.update(&mut item, &todo, NOW, 3).unwrap();
    assert_eq!((now.arrival, now.attempts, now.form), (NOW, 3, Form::Split));
    assert_eq!(spool.open_item(&now).unwrap().todo.rcpt_to.len(), 1);
    assert_eq!(dir.names().len(), 2);
}

// covers PB-21: no error on the way loses, repeats or bounces anybody
#[test]
fn a_failing_disk_at_any_step_of_an_update_keeps_all_recipients() {
    for split_before in [false, true] {
        for at in 0..12 {
            let dir = QueueDir::new();
            let spool = dir.open();
            let rcpts: &[&str] = if split_before {
                &["a@one.example", "a@two.example", "b@two.example"]
            } else {
                &["a@two.example", "b@two.example"]
            };
            let name = store(&spool, "U", rcpts, 100).pop().unwrap();
            let mut item = spool.open_item(&name).unwrap();
            let mut todo = item.todo.clone();
            todo.rcpt_to.remove(0);
            let shaky = dir.open_with(with_faults(FailAt::new(at, 1, ENOSPC), SyncWay::Auto));
            let outcome = shaky.update(&mut item, &todo, NOW + 5, 1);
            let found = spool.open_item(&item.name).unwrap().todo.rcpt_to.len();
            assert_eq!(found, if outcome.is_ok() { 1 } else { 2 }, "step {at}");
            let expected = found + usize::from(split_before);
            // the body has a second name only while an item needs it
            let bodies = usize::from(split_before || outcome.is_ok());
            assert_eq!(dir.starting("body."), bodies, "step {at}");
            assert_eq!(dir.starting("__tmp__."), 0, "step {at}");
            drop((spool, shaky));
            let (spool, items) = recovered(&dir);
            assert_eq!(ledger(&spool, &items)["U"].len(), expected, "step {at}");
        }
    }
}

#[test]
fn an_old_header_that_could_not_be_removed_goes_before_its_item() {
    let dir = QueueDir::new();
    let name = store(&dir.open(), "U", &["a@one.example", "b@one.example"], 10).remove(0);
    let mut item = dir.open().open_item(&name).unwrap();
    let mut todo = item.todo.clone();
    todo.rcpt_to.truncate(1);
    let last = 5; // link, create, write, sync, rename, and then the removal of the old name
    let shaky = dir.open_with(with_faults(FailAt::new(last, 2, EIO), SyncWay::Auto));
    let now = shaky.update(&mut item, &todo, NOW + 1, 1).unwrap();
    assert_eq!(dir.names().len(), 3, "{:?}", dir.names());
    assert!(shaky.remove(&now).is_err());
    assert!(shaky.open_item(&now).is_ok());
    shaky.remove(&now).unwrap();
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

// covers OUT-16, PB-20, H8
#[test]
fn damaged_items_are_set_aside_and_never_read_again() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let good = store(&spool, "U", &["a@one.example"], 1000).remove(0);
    let whole = std::fs::read(dir.path().join(good.as_str())).unwrap();
    let header = whole.len() - 1000;
    let cases: [(&str, Vec<u8>); 7] = [
        ("empty", vec![]),
        ("length only", whole[..3].to_vec()),
        ("short header", whole[..header - 5].to_vec()),
        ("short body", whole[..whole.len() - 1].to_vec()),
        ("long body", [&whole[..], b"x"].concat()),
        ("no json", b"\0\0\0\x04abcd".to_vec()),
        ("absurd length", b"\xff\xff\xff\xf0{}".to_vec()),
    ];
    for (serial, (what, content)) in cases.into_iter().enumerate() {
        let text = format!("{NOW}_{NOW}_0_1_AbCdEf_{serial}_h");
        dir.put(&text, content);
        let error = spool
            .open_item(&QueueName::parse(&text).unwrap())
            .unwrap_err();
        assert!(
            matches!(
                error,
                SpoolError::Broken {
                    set_aside: true,
                    ..
                }
            ),
            "{what}: {error}"
        );
        assert!(!dir.path().join(&text).exists(), "{what}");
        assert!(dir.path().join(format!("error.{text}")).exists(), "{what}");
    }
    let mut items = 0;
    let report = spool.recover(&heir(&spool), |_| items += 1).unwrap();
    assert_eq!((items, report.aside), (0, 7));
    assert!(spool.open_item(&good).is_ok());
}

// covers OUT-16
#[test]
fn links_directories_and_pipes_are_no_items() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let name = |n: u32| format!("{NOW}_{NOW}_0_1_AbCdEf_{n}_h");
    symlink("/etc/passwd", dir.path().join(name(1))).unwrap();
    std::fs::create_dir(dir.path().join(name(2))).unwrap();
    nix::unistd::mkfifo(&dir.path().join(name(3)), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for n in 1..=3 {
        let error = spool
            .open_item(&QueueName::parse(&name(n)).unwrap())
            .unwrap_err();
        let SpoolError::Broken {
            cause, set_aside, ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((cause, set_aside), (ItemError::NotRegular, true));
    }
    assert_eq!(dir.starting("error."), 3);
}

#[test]
fn a_split_item_is_set_aside_together_with_its_body() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let name = store(&spool, "U", &["a@1.example", "b@2.example"], 10).remove(1);
    spool.set_aside(&name, "killed two workers").unwrap();
    assert_eq!(dir.starting("error.body."), 1);
    drop(spool);
    let (spool, items) = recovered(&dir);
    assert_eq!(ledger(&spool, &items)["U"].len(), 1);
    assert_eq!(dir.starting("error."), 2);
}

// covers OUT-11
#[test]
fn the_directory_must_be_there_and_usable() {
    let dir = QueueDir::new();
    let path = dir.path().join("queue");
    assert!(matches!(
        Spool::open(&path, SpoolOptions::default()),
        Err(SpoolError::Directory { .. })
    ));
    std::fs::create_dir(&path).unwrap();
    assert!(Spool::open(&path, SpoolOptions::default()).is_ok());
}

// covers CLI-06, CLI-07
#[test]
fn the_queue_is_listed_and_counted() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let names = store(
        &spool,
        "U",
        &["a@1.example", "b@1.example", "c@2.example"],
        10,
    );
    dir.put(&format!("{NOW}_{NOW}_0_1_AbCdEf_9_h"), "");
    dir.put("__tmp__.x", "");
    let (good, bad): (Vec<_>, Vec<_>) = Listing::open(dir.path()).unwrap().partition(Result::is_ok);
    let mut lines: Vec<_> = good.into_iter().map(|l| l.unwrap().to_string()).collect();
    lines.sort();
    let expected = [
        format!(
            "Q: {} rcpt:2 from:<sender@from.example> domain:1.example",
            names[0]
        ),
        format!(
            "Q: {} rcpt:1 from:<sender@from.example> domain:2.example",
            names[1]
        ),
    ];
    assert_eq!(lines, expected);
    assert_eq!(bad.len(), 1);
    assert_eq!(QueueStat::of(dir.path()).unwrap().queue_count, 3);
    assert_eq!(dir.starting("error."), 0, "listing touches nothing");
}

// covers OUT-15
#[test]
fn a_flush_finds_items_from_a_time_on_that_no_attempt_has_touched_since() {
    let dir = QueueDir::new();
    let spool = dir.open();
    let names = store(&spool, "UUID.1", &["a@one.example", "b@two.example"], 10);
    let later = spool.defer(&names[0], NOW + 100, 1).unwrap();
    let changed = |name: &QueueName| {
        let meta = dir.path().join(name.as_str()).metadata().unwrap();
        meta.ctime() as u64 * 1000 + meta.ctime_nsec() as u64 / 1_000_000
    };
    let found = |from, since| {
        let mut found = Vec::new();
        spool
            .scan_untouched(&heir(&spool), from, since, |n| found.push(n.to_owned()))
            .unwrap();
        found.sort_by_key(|n| n.next_attempt);
        found
    };
    let since = changed(&later).max(changed(&names[1])) + 1;
    assert_eq!(found(0, since), [names[1].clone(), later.clone()]);
    assert_eq!(found(NOW + 100, since), std::slice::from_ref(&later));
    assert_eq!(found(NOW + 101, since), []);
    assert_eq!(found(0, 1), []);

    // The file system's clock passes the flush; the next attempt is put off after it.
    let mut touched = later;
    for n in 0.. {
        touched = spool.defer(&touched, NOW + 200 + n, 2).unwrap();
        if changed(&touched) >= since {
            break;
        }
    }
    assert_eq!(found(0, since), [names[1].clone()]);
}
