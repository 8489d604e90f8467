//! queue/maildir.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use haraka_shared::body::Body;
use haraka_shared::hook::{Call, Code, Verdict};
use serde_json::json;

use crate::site::{Site, results, sent};

const NAME: &str = "queue/maildir";
const WIRE: &[u8] = b"Subject: hi\r\nX: y\r\n\r\nline\r\n..dot\r\n";

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries.map(|e| e.unwrap().path()).collect()
}

/// Every file anywhere below.
fn all_files(dir: &Path) -> Vec<PathBuf> {
    files(dir)
        .into_iter()
        .flat_map(|p| if p.is_dir() { all_files(&p) } else { vec![p] })
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn each_recipient_gets_the_message_with_its_own_envelope() {
    let site = Site::new(&[("me", "mx.example\n")]);
    let plugin = site.load(NAME);
    assert_eq!(plugin.hooks(), ["queue hook_queue"]);
    let c = sent(
        "<a@b.org>",
        &["<Bob@Example.com>", "<eve@other.org>", "<bob@example.com>"],
        WIRE,
    );
    assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::Ok);
    let root = site.dir.join("maildir");
    assert_eq!(all_files(&root).len(), 2, "one mailbox gets one copy");
    for (mailbox, to) in [
        ("example.com/bob", "Bob@Example.com"),
        ("other.org/eve", "eve@other.org"),
    ] {
        let dir = root.join(mailbox);
        assert_eq!(
            [
                mode(&dir),
                mode(&dir.join("new")),
                mode(&dir.join("tmp")),
                mode(&dir.join("cur"))
            ],
            [0o700; 4]
        );
        let new = files(&dir.join("new"));
        assert_eq!(mode(&new[0]), 0o600);
        assert_eq!(
            fs::read_to_string(&new[0]).unwrap(),
            format!(
                "Return-Path: <a@b.org>\nDelivered-To: {to}\nSubject: hi\nX: y\n\nline\n.dot\n"
            )
        );
        let name = new[0].file_name().unwrap().to_str().unwrap();
        assert!(
            name.ends_with(".mx.example") && name.contains('M') && name.contains('P'),
            "{name}"
        );
    }
    assert_eq!(results(&c, NAME, "pass"), json!(["maildir"]));
}

#[test]
fn many_messages_at_once_get_different_names() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    for _ in 0..20 {
        let c = sent("<>", &["<bob@example.com>"], WIRE);
        assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::Ok);
    }
    let new = files(&site.dir.join("maildir/example.com/bob/new"));
    assert_eq!(new.len(), 20);
    assert!(
        fs::read_to_string(&new[0])
            .unwrap()
            .starts_with("Return-Path: <>\n")
    );
}

#[test]
fn root_and_layout_are_settings() {
    let site = Site::new(&[("maildir.ini", "path=mail/boxes\nlayout=flat\n")]);
    let c = sent("<a@b.org>", &["<bob@example.com>"], WIRE);
    assert_eq!(site.load(NAME).ask(&c, Call::Queue(())).code, Code::Ok);
    assert_eq!(
        files(&site.dir.join("mail/boxes/bob@example.com/new")).len(),
        1
    );
    let wrong = Site::new(&[("maildir.ini", "\nlayout=tree\n")]);
    assert_eq!(
        wrong.try_load(NAME).err().unwrap(),
        "maildir.ini:2: layout: \"tree\" is neither domain nor flat"
    );
}

#[test]
fn addresses_never_lead_out_of_the_root() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let c = sent(
        "<a@b.org>",
        &["<\"../../../evil\"@example.com>", "<\"..\"@example.com>"],
        WIRE,
    );
    assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::Ok);
    let written = all_files(&site.dir.join("maildir/example.com"));
    assert_eq!(written.len(), 2, "{written:?}");
    assert_eq!(
        files(&site.dir).len(),
        2,
        "config and maildir, nothing else"
    );
}

#[test]
fn message_for_another_queue_is_left_alone() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let c = sent("<a@b.org>", &["<bob@example.com>"], WIRE);
    c.transaction()
        .unwrap()
        .notes
        .set("queue.wants", "smtp_forward");
    assert_eq!(plugin.ask(&c, Call::Queue(())), Verdict::CONT);
    assert!(!site.dir.join("maildir").exists());
    c.transaction().unwrap().notes.set("queue.wants", "maildir");
    assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::Ok);
}

#[test]
fn when_one_mailbox_cannot_be_written_none_gets_the_message() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let blocked = site.dir.join("maildir/other.org");
    fs::create_dir_all(&blocked).unwrap();
    fs::write(blocked.join("eve"), "a file where a directory has to be").unwrap();
    let c = sent("<a@b.org>", &["<bob@example.com>", "<eve@other.org>"], WIRE);
    assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::DenySoft);
    assert!(all_files(&site.dir.join("maildir/example.com")).is_empty());
    assert!(
        results(&c, NAME, "err")[0]
            .as_str()
            .unwrap()
            .contains("other.org/eve")
    );
}

#[test]
fn when_a_rename_fails_what_was_delivered_is_taken_back() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let eve = site.dir.join("maildir/other.org/eve");
    fs::create_dir_all(eve.join("tmp")).unwrap();
    // Looks like a directory when it is checked and is none to rename into: it is on another
    // file system.
    std::os::unix::fs::symlink("/proc/self", eve.join("new")).unwrap();
    let c = sent("<a@b.org>", &["<bob@example.com>", "<eve@other.org>"], WIRE);
    assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::DenySoft);
    assert!(all_files(&site.dir.join("maildir/example.com")).is_empty());
    assert!(files(&eve.join("tmp")).is_empty());
}

#[test]
fn delivery_that_nobody_waits_for_any_more_leaves_nothing() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    *site.services.busy.borrow_mut() = Some(Vec::new());
    let c = sent("<a@b.org>", &["<bob@example.com>"], WIRE);
    plugin.ask_and_give_up(&c, Call::Queue(()));
    let work = site.services.busy.borrow_mut().take().unwrap();
    assert_eq!(work.len(), 1);
    for job in work {
        job();
    }
    assert!(all_files(&site.dir.join("maildir")).is_empty());
}

#[test]
fn name_that_no_file_system_takes_is_refused_for_good() {
    let site = Site::new(&[]);
    let to = format!("<{}@example.com>", "a".repeat(300));
    let c = sent("<a@b.org>", &[&to], WIRE);
    assert_eq!(site.load(NAME).ask(&c, Call::Queue(())).code, Code::Deny);
    assert!(!site.dir.join("maildir").exists());
}

#[test]
fn body_on_disk_is_delivered_whole() {
    let site = Site::new(&[]);
    let plugin = site.load(NAME);
    let c = sent("<a@b.org>", &["<bob@example.com>"], WIRE);
    let path = site.dir.join("spooled");
    let wire = b"0123456789abcdef\r\n".repeat(60_000);
    fs::write(&path, &wire).unwrap();
    let file = fs::File::open(&path).unwrap();
    // What stands before the part that is the body.
    let mut byte = [0];
    file.read_exact_at(&mut byte, 17).unwrap();
    let len = wire.len() as u64 - 18;
    *c.transaction().unwrap().body.borrow_mut() =
        Body::from_file(std::sync::Arc::new(file), 18, len);
    assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::Ok);
    let new = files(&site.dir.join("maildir/example.com/bob/new"));
    let text = fs::read_to_string(&new[0]).unwrap();
    let (_, body) = text.split_once("\n\n").unwrap();
    assert!(body == "0123456789abcdef\n".repeat(59_999));
}

// covers CFS-30, CFS-31
#[test]
fn changed_settings_count_for_the_next_message_and_a_bad_one_does_not() {
    let site = Site::new(&[("me", "mx.example\n")]);
    let plugin = site.load(NAME);
    let deliver = |domain: &str| {
        let c = sent("<a@b.org>", &[&format!("<bob@{domain}>")], WIRE);
        assert_eq!(plugin.ask(&c, Call::Queue(())).code, Code::Ok);
    };
    let ini = |text: &str| site.change(&[("maildir.ini", text)]);
    deliver("one.org");
    ini("[main]\nlayout=flat\npath=other\n");
    deliver("two.org");
    ini("[main]\nlayout=round\npath=bad\n");
    deliver("three.org");
    let found = |path: &str| files(&site.dir.join(path).join("new")).len();
    assert_eq!(found("maildir/one.org/bob"), 1);
    assert_eq!(found("other/bob%40two.org") + found("other/bob@two.org"), 1);
    assert_eq!(
        found("other/bob%40three.org") + found("other/bob@three.org"),
        1
    );
    assert!(!site.dir.join("bad").exists());
}
