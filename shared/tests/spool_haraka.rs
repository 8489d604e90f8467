//! Side by side with the real Haraka: it reads what we write, we read what it writes, and the
//! listings are the same text. `PEER_HARAKA` is the path of its `bin/haraka`, run by `node`.
// The crate-wide bans keep input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod spool_rig;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use haraka_shared::address::Address;
use haraka_shared::spool::{
    Form, Listing, QueueName, QueueStat, Spool, SpoolOptions, State, StoredName,
};
use spool_rig::*;

fn peer() -> Option<String> {
    let peer = std::env::var("PEER_HARAKA").ok();
    if peer.is_none() {
        let reason = "PEER_HARAKA does not name the real Haraka";
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "skipped under CI: {reason}"
        );
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    }
    peer
}

fn run(peer: &str, args: &[&str], dir: &Path) -> Vec<String> {
    let out = Command::new("node")
        .arg(peer)
        .args(args)
        .arg("-c")
        .arg(dir)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Runs a script inside of Haraka's package, with the queue of `dir`.
fn script(peer: &str, source: &str, dir: &Path) -> String {
    let package = Path::new(peer).parent().unwrap().parent().unwrap();
    let out = Command::new("node")
        .args(["-e", source])
        .current_dir(package)
        .env("HARAKA", dir)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// An install directory and the queue in it.
fn install() -> (QueueDir, PathBuf) {
    let dir = QueueDir::new();
    std::fs::create_dir(dir.path().join("queue")).unwrap();
    std::fs::create_dir(dir.path().join("config")).unwrap();
    let queue = dir.path().join("queue");
    (dir, queue)
}

// covers CLI-06, CLI-07, OUT-07
#[test]
fn haraka_lists_and_counts_our_queue_as_we_do() {
    let Some(peer) = peer() else { return };
    let (dir, queue) = install();
    let options = SpoolOptions {
        host: "a_b:c".into(),
        ..SpoolOptions::default()
    };
    let spool = Spool::open(&queue, options).unwrap();
    let mut null = message("N", &["a@one.example"], text(100));
    null.mail_from = Address::null();
    let answers = spool.commit(vec![
        message("U", &["a@one.example", "B@one.example"], text(100)),
        message("V", &["x@BÜCHER.example"], text(0)),
        null,
    ]);
    assert!(answers.iter().all(Result::is_ok));

    let mut theirs: Vec<_> = run(&peer, &["--qlist"], dir.path());
    theirs.retain(|l| l.starts_with("Q: "));
    theirs.sort();
    let mut ours: Vec<_> = Listing::open(&queue)
        .unwrap()
        .map(|l| l.unwrap().to_string())
        .collect();
    ours.sort();
    assert_eq!(ours.len(), 3);
    assert_eq!(theirs, ours);

    let stat = run(&peer, &["--qstat"], dir.path()).join("\n");
    let ours = QueueStat::of(&queue).unwrap().to_string();
    assert!(stat.ends_with(&ours), "{stat}\n{ours}");
    // and with a path that does not fit on one line, with a quote in it
    let deep = dir.path().join(format!("it's-{}", "x".repeat(60)));
    std::fs::create_dir_all(deep.join("queue")).unwrap();
    let stat = run(&peer, &["--qstat"], &deep).join("\n");
    let ours = QueueStat::of(&deep.join("queue")).unwrap().to_string();
    assert!(stat.ends_with(&ours), "{stat}\n{ours}");
}

// the boundary between one line and three
#[test]
fn statistics_break_lines_where_node_does() {
    let Some(peer) = peer() else { return };
    for len in 35..45 {
        let path = format!("/{}", "x".repeat(len));
        let stat = QueueStat {
            queue_dir: path.clone().into(),
            queue_count: 12,
        };
        let source = format!("console.log({{queue_dir: '{path}', queue_count: 12}})");
        assert_eq!(
            script(&peer, &source, Path::new("/")).trim_end(),
            stat.to_string(),
            "{len}"
        );
    }
}

// covers OUT-06, OUT-10: it delivers our plain items as they are and skips the others
#[test]
fn haraka_reads_our_plain_items_and_leaves_split_ones() {
    let Some(peer) = peer() else { return };
    let (dir, queue) = install();
    let spool = Spool::open(&queue, SpoolOptions::default()).unwrap();
    let answers = spool.commit(vec![message(
        "U",
        &["a@1.example", "b@2.example"],
        text(5000),
    )]);
    let names = answers.into_iter().next().unwrap().unwrap().items;
    let source = format!(
        "const H = require('./outbound/hmail'); const q = require('./outbound/qfile');
         const logger = require('./logger'); logger.log = () => {{}};
         console.log(q.parts('{split}'), q.parts('{body}'));
         const h = new H('{plain}', '{path}');
         h.once('ready', () => {{
             let n = 0; const all = [];
             h.data_stream().on('data', d => all.push(d)).on('end', () => {{
                 const t = h.todo;
                 console.log([t.uuid, t.domain, t.rcpt_to[0].format(), t.mail_from.format(), t.notes.note].join(' '));
                 console.log(require('crypto').createHash('sha1').update(Buffer.concat(all)).digest('hex'), Buffer.concat(all).length);
                 process.exit() }}) }})",
        split = names[1],
        body = names[1].body_file(),
        plain = names[0],
        path = queue.join(names[0].as_str()).display()
    );
    let out = script(&peer, &source, dir.path());
    let lines: Vec<_> = out
        .lines()
        .filter(|l| !l.contains("iconv") && !l.contains("TLD"))
        .collect();
    assert_eq!(lines[0], "null null");
    assert_eq!(
        lines[1],
        "U.1 1.example <a@1.example> <sender@from.example> U"
    );
    assert!(lines[2].ends_with(" 5000"), "{out}");
}

// ADR 0025: what an operator has put away must not be delivered after a return to Haraka
#[test]
fn haraka_skips_what_is_held_in_the_trash_or_staged() {
    let Some(peer) = peer() else { return };
    let (dir, queue) = install();
    let spool = Spool::open(&queue, SpoolOptions::default()).unwrap();
    let mut items = Vec::new();
    for uuid in ["A", "B", "C", "D"] {
        let new = message(uuid, &["a@1.example", "b@2.example"], text(100));
        items.extend(spool.commit(vec![new]).remove(0).unwrap().items);
    }
    let trash = State::Trashed {
        at: NOW,
        held: false,
    };
    for (name, state) in items.iter().zip([
        State::Held,
        State::Held,
        trash,
        trash,
        State::Held.trashed(NOW),
        State::Held.trashed(NOW),
        State::Queued,
    ]) {
        let item = StoredName::parse(name.as_str()).unwrap();
        spool.shelve(&item, state).unwrap();
    }
    let old = "1507509981169_1_7_8.old.example";
    for file in [
        State::Held.file(old),
        trash.file(old),
        State::Held.trashed(NOW).file(old),
        "import_1_2_3_4".to_owned(),
        ".suspended".to_owned(),
    ] {
        std::fs::copy(queue.join(items[6].as_str()), queue.join(file)).unwrap();
    }
    let listed = run(&peer, &["--qlist"], dir.path());
    let listed: Vec<_> = listed.iter().filter(|l| l.starts_with("Q: ")).collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(listed[0].contains(items[6].as_str()));
}

// covers PA-40, OUT-08, OUT-09
#[test]
fn we_read_what_haraka_queues() {
    let Some(peer) = peer() else { return };
    let (dir, queue) = install();
    let source = "require('./logger').log = () => {};
         const ob = require('./outbound'); ob.delivery_queue.push = () => {};
         const plugins = require('./plugins'); plugins.run_hooks = (h, c) => c.pre_send_trans_email_respond();
         ob.send_email('<s@from.example>', ['<a@one.example>', '<ü@bücher.example>', '<b@one.example>'],
             'Subject: x\\n\\n.dot\\nlast\\n', (code, msg) => { console.log(msg); process.exit() },
             { notes: { mine: [1, 'zwei'] } })";
    let out = script(&peer, source, dir.path());
    assert!(out.contains("Message Queued"), "{out}");

    let spool = Spool::open(&queue, SpoolOptions::default()).unwrap();
    let mut items = Vec::new();
    spool
        .recover(&heir(&spool), |n| items.push(n.to_owned()))
        .unwrap();
    let mut rcpts: Vec<_> = items
        .iter()
        .map(|name: &QueueName| {
            assert_eq!(name.form, Form::Plain);
            let item = spool.open_item(name).unwrap();
            let mut body = vec![0; item.body.len() as usize];
            item.body.read_at(0, &mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            assert!(body.ends_with("\r\n\r\n..dot\r\nlast\r\n"), "{body:?}");
            assert_eq!(item.todo.notes["mine"][1], "zwei");
            assert_eq!(item.todo.mail_from.address(), "s@from.example");
            let rcpts: Vec<_> = item
                .todo
                .rcpt_to
                .iter()
                .map(|r| r.address.address())
                .collect();
            rcpts.join(",")
        })
        .collect();
    rcpts.sort();
    assert_eq!(rcpts, ["a@one.example,b@one.example", "ü@bücher.example"]);
}
