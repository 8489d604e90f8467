//! An import that is cut off at any of its steps, and repeated: every item comes once.
// The crate-wide bans keep input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod spool_rig;

use std::collections::BTreeMap;

use haraka_shared::spool::{QueueReader, Source, Spool, SpoolError, State, StoredName, SyncWay};
use spool_rig::*;

/// Queue files as they are elsewhere: name and content.
type Files = Vec<(StoredName, Vec<u8>)>;

fn elsewhere(count: usize) -> Files {
    let dir = QueueDir::new();
    let spool = dir.open();
    let batch = (0..count)
        .map(|n| message(&format!("U{n}"), &["a@one.example"], text(100 * n)))
        .collect();
    let names = spool.commit(batch).into_iter().map(|c| c.unwrap().items);
    names
        .map(|mut items| {
            let name = items.remove(0).rescheduled(NOW + 5, 3);
            let content = std::fs::read(dir.path().join(name.rescheduled(NOW, 0).as_str()));
            let stored = StoredName::parse(name.as_str()).unwrap();
            (stored, content.unwrap())
        })
        .collect()
}

fn source<'a>(item: &'a StoredName, content: &[u8]) -> Source<'a> {
    Source {
        name: item.name.as_str(),
        arrival: item.name.arrival,
        next_attempt: item.name.next_attempt,
        attempts: item.name.attempts,
        len: content.len() as u64,
    }
}

fn take_in(dir: &QueueDir, spool: &Spool) -> Result<(), SpoolError> {
    let reader = QueueReader::open(dir.path())?;
    // by twos, so that there is something to cut in between
    while let staged = reader.staged(2)?
        && !staged.is_empty()
    {
        for file in &staged {
            spool.adopt(file, &spool.item_of(file, false))?;
        }
        spool.sync_names()?;
    }
    Ok(())
}

/// What the command line does.
fn import(dir: &QueueDir, spool: &Spool, files: &Files) -> Result<usize, SpoolError> {
    let mut import = spool.import()?;
    if import.is_unfinished() {
        take_in(dir, spool)?;
        import.finished()?;
    }
    let mut new = 0;
    for (item, content) in files {
        let staged = import.stage(source(item, content), &mut &content[..])?;
        new += usize::from(staged);
    }
    import.commit()?;
    take_in(dir, spool)?;
    import.end()?;
    Ok(new)
}

/// How often each item is in the queue; each is taken out, as if it were delivered.
fn deliver(dir: &QueueDir, count: &mut BTreeMap<String, usize>) {
    let spool = dir.open();
    let mut names = Vec::new();
    let reader = QueueReader::open(dir.path()).unwrap();
    reader
        .items(|state, name| {
            assert_eq!(state, State::Queued);
            names.push(StoredName::parse(name).unwrap());
        })
        .unwrap();
    for item in names {
        let opened = spool.open_item(&item.name).unwrap();
        assert_eq!((item.name.attempts, item.name.next_attempt), (3, NOW + 5));
        *count.entry(opened.todo.uuid).or_default() += 1;
        spool.remove(&item.name).unwrap();
    }
}

#[test]
fn import_cut_off_at_any_step_and_repeated_brings_everything_once() {
    let files = elsewhere(5);
    let mut cut = 0;
    for at in 0.. {
        let dir = QueueDir::new();
        let faults = FailAt::new(at, 1_000_000, nix::libc::EIO);
        let first = dir.open_with(with_faults(faults, SyncWay::PerFile));
        let done = import(&dir, &first, &files);
        drop(first);
        let mut count = BTreeMap::new();
        // what came already is delivered before it is repeated
        deliver(&dir, &mut count);
        if done.is_ok() {
            assert_eq!(count.len(), files.len());
            break;
        }
        cut += 1;
        import(&dir, &dir.open(), &files).unwrap();
        deliver(&dir, &mut count);
        let each: Vec<usize> = count.into_values().collect();
        assert_eq!(each, [1; 5], "cut before call {at}");
        let left: Vec<_> = dir.names().into_iter().collect();
        assert_eq!(left, [".import.lock"], "cut before call {at}");
    }
    assert!(cut > 30, "an import has {cut} steps only");
}

#[test]
fn another_source_after_an_interrupted_import_is_imported_whole() {
    let (files, others) = (elsewhere(3), elsewhere(2));
    let dir = QueueDir::new();
    let spool = dir.open();
    let mut begun = spool.import().unwrap();
    for (item, content) in &files {
        let new = begun.stage(source(item, content), &mut &content[..]);
        assert!(new.unwrap());
        let twice = begun.stage(source(item, content), &mut &content[..]);
        assert!(!twice.unwrap());
    }
    begun.commit().unwrap();
    assert!(matches!(spool.import(), Err(SpoolError::InUse { .. })));
    drop(begun);
    assert_eq!(import(&dir, &dir.open(), &others).unwrap(), 2);
    let (_, items) = recovered(&dir);
    assert_eq!(items.len(), 5);
}

#[test]
fn damaged_files_are_refused_one_by_one_and_leave_nothing() {
    let files = elsewhere(2);
    let dir = QueueDir::new();
    let spool = dir.open();
    let mut import = spool.import().unwrap();
    let (item, content) = &files[1];
    for (end, change) in [
        (0, 0),
        (3, 0),
        (50, 0),
        (content.len() - 1, 0),
        (content.len(), 9),
    ] {
        let mut bad = content[..end].to_vec();
        if let Some(byte) = bad.get_mut(change).filter(|_| change > 0) {
            *byte = 0;
        }
        let refused = import.stage(source(item, &bad), &mut &bad[..]);
        assert!(refused.unwrap_err().is_broken(), "{end} {change}");
    }
    // longer than it says it is, or shorter: trouble of the source
    let mut long = source(item, content);
    long.len += 10;
    assert!(import.stage(long, &mut &content[..]).is_err());
    assert_eq!(dir.starting("import_"), 0);
    import.abandon().unwrap();
}
