//! Plays the dialogues of `tests/dialogues/*.txt` and compares what comes back with what the real Haraka
//! answers: with its recorded answers (`*.peer`) always, with Haraka itself where `PEER_HARAKA` names it.
//! Every difference has to be a row of `tests/dialogues/differences.tsv`. `tests/dialogues/README.md` has the
//! format.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

#[path = "side_by_side/differences.rs"]
mod differences;
#[path = "side_by_side/format.rs"]
mod format;
#[path = "side_by_side/play.rs"]
mod play;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use differences::{Differences, hunks};
use format::DialogueFile;
use harness::server::peer_command;
use play::Records;

#[test]
fn every_dialogue_goes_as_with_haraka_or_differs_as_listed() {
    let ours = [env!("CARGO_BIN_EXE_haraka").to_owned()];
    let list = Differences::read(&folder().join("differences.tsv"));
    let mut unlisted = Vec::new();
    let mut count = 0;
    for (name, records) in play_all(&ours) {
        let golden = recorded(&name);
        count += records.len();
        assert_eq!(
            golden.keys().collect::<Vec<_>>(),
            records.keys().collect::<Vec<_>>(),
            "{name}.peer has other dialogues than {name}.txt: record it again, see the README"
        );
        for (dialogue, record) in &records {
            for hunk in hunks(&golden[dialogue], record) {
                if !list.explains(&name, dialogue, &hunk) {
                    unlisted.push(format!("{name}: {dialogue}\n{hunk}"));
                }
            }
        }
    }
    assert!(count >= 300, "only {count} dialogues");
    assert!(
        unlisted.is_empty(),
        "{} differences are not in differences.tsv\n\n{}",
        unlisted.len(),
        unlisted.join("\n")
    );
    if only().is_empty() {
        let stale = list.unused();
        assert!(
            stale.is_empty(),
            "rows of differences.tsv that explain nothing: {stale:#?}"
        );
    }
}

/// With `UPDATE=1` as well, the record of the real Haraka is written anew.
#[test]
fn recorded_answers_are_those_of_the_real_haraka() {
    let Some(command) = peer_command() else {
        harness::skip("PEER_HARAKA is not set; compared with its recorded answers only");
        return;
    };
    for (name, records) in play_all(&command) {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(folder().join(format!("{name}.peer")), play::write(&records)).unwrap();
            continue;
        }
        assert_eq!(recorded(&name), records, "{name}.peer is not up to date");
    }
}

/// Plays all files, two at a time. `DIALOGUES` chooses by name.
fn play_all(command: &[String]) -> BTreeMap<String, Records> {
    let mut paths = files();
    paths.retain(|path| path.to_string_lossy().contains(&only()));
    let paths = Mutex::new(paths);
    let all = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) = next(&paths) {
                    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    let text = std::fs::read_to_string(&path).unwrap();
                    let file = DialogueFile::parse(&text)
                        .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
                    let records = play::run(&file, command);
                    all.lock().unwrap().insert(name, records);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn next(paths: &Mutex<Vec<PathBuf>>) -> Option<PathBuf> {
    paths.lock().unwrap().pop()
}

fn only() -> String {
    std::env::var("DIALOGUES").unwrap_or_default()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some("txt".as_ref()))
        .collect();
    paths.sort();
    paths
}

fn recorded(name: &str) -> Records {
    let text = std::fs::read_to_string(folder().join(format!("{name}.peer"))).unwrap_or_default();
    play::read(&text)
}
