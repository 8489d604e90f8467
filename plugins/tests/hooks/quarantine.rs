//! queue/quarantine.

use std::fs;
use std::path::{Path, PathBuf};

use haraka_shared::connection::Connection;
use haraka_shared::date;
use haraka_shared::hook::{Call, Code, Verdict};
use serde_json::{Value, json};

use crate::site::{Site, results, sent};

const NAME: &str = "queue/quarantine";
const WIRE: &[u8] = b"Subject: hi\r\n\r\n..body\r\n";

fn site() -> Site {
    Site::new(&[("quarantine.ini", "quarantine_path=kept\n")])
}

fn message(notes: &[(&str, Value)]) -> Connection {
    let c = sent("<a@b.org>", &["<x@y.org>"], WIRE);
    for (name, value) in notes {
        c.transaction().unwrap().notes.set(name, value.clone());
    }
    c
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

// covers PI2-13
#[test]
fn message_is_stored_by_day_below_the_noted_directory_and_then_left_to_others() {
    for (note, value, below) in [
        ("quarantine", json!(true), ""),
        ("quarantine", json!(1), ""),
        ("quarantine", json!("spam/high"), "spam/high"),
        ("queue.wants", json!("quarantine"), ""),
    ] {
        let site = site();
        let plugin = site.load(NAME);
        let c = message(&[(note, value)]);
        let days = [date::local_day(), {
            assert_eq!(plugin.ask(&c, Call::Queue(())), Verdict::CONT);
            date::local_day()
        }];
        let kept = site.dir.join("kept");
        let uuid = c.transaction().unwrap().uuid.clone();
        let stored = files(&kept);
        let expected = days.map(|day| kept.join(below).join(day).join(&uuid));
        assert!(
            stored.len() == 1 && expected.contains(&stored[0]),
            "{stored:?}"
        );
        assert_eq!(fs::read(&stored[0]).unwrap(), b"Subject: hi\n\n.body\n");
        let path = stored[0].display().to_string();
        assert_eq!(results(&c, NAME, "pass"), json!([path]));
        let notes = &c.transaction().unwrap().notes;
        assert_eq!(notes.text("quarantined"), Some(path));
    }
}

// covers PI2-13
#[test]
fn action_that_was_noted_is_the_answer() {
    for (action, verdict) in [
        (json!(906), Verdict::OK),
        (json!([902, "spam"]), Verdict::deny("spam")),
        (json!([906, "thanks"]), Verdict::ok("thanks")),
    ] {
        let site = site();
        let c = message(&[("quarantine", json!(true)), ("quarantine_action", action)]);
        assert_eq!(site.load(NAME).ask(&c, Call::QueueOutbound(())), verdict);
    }
}

// covers PI2-13, PB-36
#[test]
fn message_that_nobody_marked_is_left_alone_and_one_that_cannot_be_stored_is_put_off() {
    let site = site();
    let plugin = site.load(NAME);
    assert_eq!(plugin.ask(&message(&[]), Call::Queue(())), Verdict::CONT);
    assert!(files(&site.dir.join("kept")).is_empty());
    let out = message(&[("quarantine", json!("../out"))]);
    assert_eq!(plugin.ask(&out, Call::Queue(())).code, Code::DenySoft);
    assert!(files(&site.dir.join("out")).is_empty());
    // A file where the directory has to be.
    fs::write(site.dir.join("kept"), "").unwrap();
    let marked = message(&[
        ("quarantine", json!(true)),
        ("quarantine_action", json!(906)),
    ]);
    assert_eq!(plugin.ask(&marked, Call::Queue(())).code, Code::DenySoft);
}
