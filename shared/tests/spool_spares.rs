//! Files of delivered messages that are written again: which ones are, and that nobody sees two messages
//! in one file. Crashes and power cuts on the way are in `spool_crash.rs` and `spool_power.rs`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod spool_rig;

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use haraka_shared::spool::{QueueName, Reuse, Spool, SpoolOptions};
use spool_rig::*;

fn spool(dir: &QueueDir, reuse: Reuse) -> Spool {
    dir.open_with(SpoolOptions {
        reuse,
        ..SpoolOptions::default()
    })
}

fn store(spool: &Spool, uuid: &str, len: usize) -> QueueName {
    let new = message(uuid, &["a@one.example"], text(len));
    let stored = spool.commit(vec![new]).remove(0);
    stored.unwrap().items.remove(0)
}

fn inode(dir: &QueueDir, name: &QueueName) -> u64 {
    let path = dir.path().join(name.as_str());
    path.symlink_metadata().unwrap().ino()
}

/// Stores a message, removes it and has a sync after that; gives what `between` makes of the file before
/// it is removed, and whether a further message is written into the same file.
fn used_again<T>(
    dir: &QueueDir,
    spool: &Spool,
    between: impl FnOnce(&QueueName) -> T,
) -> (T, bool) {
    let first = store(spool, "first", 5000);
    let (file, kept) = (inode(dir, &first), between(&first));
    spool.remove(&first).unwrap();
    assert!(!dir.names().contains(first.as_str()));
    // Keeps the number of the first file from being given to the next.
    let _between = store(spool, "between", 10);
    let third = store(spool, "third", 40);
    let item = spool.open_item(&third).unwrap();
    assert_eq!((item.todo.uuid.as_str(), item.body.len()), ("third.1", 40));
    (kept, inode(dir, &third) == file)
}

#[test]
fn a_file_is_written_again_without_anything_of_the_old_message() {
    let dir = QueueDir::new();
    let spool = spool(&dir, Reuse::Always);
    let ((), again) = used_again(&dir, &spool, |_| ());
    assert!(again);
    assert_eq!(dir.starting("__tmp__."), 0);
}

#[test]
fn a_file_that_somebody_reads_keeps_its_message() {
    let dir = QueueDir::new();
    let spool = spool(&dir, Reuse::Always);
    let open = |name: &QueueName| std::fs::File::open(dir.path().join(name.as_str())).unwrap();
    let (mut reader, again) = used_again(&dir, &spool, open);
    assert!(!again);
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    assert!(content.ends_with(&text(5000)));
    assert_eq!(dir.starting("__tmp__."), 0, "{:?}", dir.names());
}

#[test]
fn a_file_with_another_name_is_left_to_that() {
    let dir = QueueDir::new();
    let spool = spool(&dir, Reuse::Always);
    let copy = QueueDir::new();
    let copied = copy.path().join("copy");
    let link = |name: &QueueName| std::fs::hard_link(dir.path().join(name.as_str()), &copied);
    let (linked, again) = used_again(&dir, &spool, link);
    linked.unwrap();
    assert!(!again);
    assert!(std::fs::read(&copied).unwrap().ends_with(&text(5000)));
}

#[test]
fn parts_of_a_message_to_several_domains_and_items_tried_before_are_removed() {
    let dir = QueueDir::new();
    let spool = spool(&dir, Reuse::Always);
    let new = message("two", &["a@one.example", "b@two.example"], text(50));
    let items = spool.commit(vec![new]).remove(0).unwrap().items;
    let tried = store(&spool, "tried", 50);
    let tried = spool.defer(&tried, NOW + 1, 1).unwrap();
    for name in items.iter().chain([&tried]) {
        spool.remove(name).unwrap();
    }
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

#[test]
fn none_is_kept_while_little_is_written_and_those_of_a_burst_go() {
    let dir = QueueDir::new();
    let spool = spool(&dir, Reuse::UnderLoad);
    let few = store(&spool, "few", 50);
    spool.remove(&few).unwrap();
    assert!(dir.names().is_empty());
    let burst = (0..100).map(|_| message("many", &["a@one.example"], text(50)));
    for stored in spool.commit(burst.collect()) {
        spool.remove(&stored.unwrap().items[0]).unwrap();
    }
    assert_eq!(dir.starting("__tmp__.spare."), 100);
    assert!(spool.has_spares());
    // they may be wanted at once
    spool.remove_spares(false);
    assert_eq!(dir.names().len(), 100);
    spool.remove_spares(true);
    assert!(dir.names().is_empty() && !spool.has_spares());
}

#[test]
fn a_worker_that_died_leaves_none() {
    let dir = QueueDir::new();
    let spool = spool(&dir, Reuse::Always);
    let gone = store(&spool, "gone", 50);
    spool.remove(&gone).unwrap();
    drop(spool);
    assert_eq!(dir.starting("__tmp__.spare."), 1);
    let (_, items) = recovered(&dir);
    assert!(items.is_empty() && dir.names().is_empty());
}
