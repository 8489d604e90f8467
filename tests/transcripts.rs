//! Plays every `tests/transcripts/*.smtp` against the program under test: as written, and with every byte
//! arriving alone; and against the real Haraka where `PEER_HARAKA` (path of its bin/haraka) is set.

// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use harness::server::peer_command;
use harness::transcript::{Side, Transcript, Writes, glob_fits, masked, unescape};

#[test]
fn every_transcript_goes_as_written() {
    play_all(
        Side::Ours,
        Writes::Whole,
        &[env!("CARGO_BIN_EXE_haraka").to_owned()],
    );
}

#[test]
fn every_transcript_goes_the_same_when_each_byte_arrives_alone() {
    play_all(
        Side::Ours,
        Writes::Bytewise,
        &[env!("CARGO_BIN_EXE_haraka").to_owned()],
    );
}

#[test]
fn every_transcript_is_true_of_the_real_haraka() {
    match peer_command() {
        Some(command) => {
            play_all(Side::Peer, Writes::Whole, &command);
            play_all(Side::Peer, Writes::Bytewise, &command);
        }
        None => harness::skip("PEER_HARAKA is not set to the real bin/haraka"),
    }
}

/// Plays all files, two at a time, and fails with all that went wrong. `TRANSCRIPT` chooses by name.
fn play_all(side: Side, writes: Writes, command: &[String]) {
    let only = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut files = transcript_files();
    files.retain(|path| path.to_string_lossy().contains(&only));
    assert!(!files.is_empty(), "no transcript has {only:?} in its name");
    let files = Mutex::new(files);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) = next(&files) {
                    if let Err(why) = Transcript::run(&path, side, writes, command) {
                        failures.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} failed\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

fn next(files: &Mutex<Vec<PathBuf>>) -> Option<PathBuf> {
    files.lock().unwrap().pop()
}

fn transcript_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension() == Some("smtp".as_ref()))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    files
}

#[test]
fn every_transcript_can_be_read() {
    for path in transcript_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(why) = Transcript::parse(&text) {
            panic!("{}: {why}", path.display());
        }
    }
}

#[test]
fn transcript_with_an_unknown_line_is_refused_with_its_number() {
    for (text, why) in [
        ("> EHLO x\n= 250\n", "line 2: unknown mark"),
        ("! open\n", "line 1: unknown check"),
        ("colour: green\n", "line 1: bad header"),
        ("set: smtp.ini nodes=1\n", "line 1: bad header"),
        (">| \\q\n", "line 1: unknown escape"),
        ("! stored few\n", "line 1: not a number"),
        (">+ RSET\n", "lines after the last"),
    ] {
        let error = Transcript::parse(text).unwrap_err();
        assert!(error.starts_with(why), "{text:?}: {error}");
    }
}

#[test]
fn header_of_a_transcript_becomes_an_install_directory() {
    let text = "config: me = other.test\n\
                config: host_list <<EOF\none.test\ntwo.test\nEOF\n\
                set: connection.ini max bytes=5\n\
                set: smtp.ini main nodes=0\n\
                plugins: a b\n\
                < 220\n";
    let install = Transcript::parse(text).unwrap().install();
    let file =
        |name: &str| std::fs::read_to_string(install.path().join("config").join(name)).unwrap();
    assert_eq!(file("me"), "other.test\n");
    assert_eq!(file("host_list"), "one.test\ntwo.test\n");
    assert_eq!(file("plugins"), "a\nb\n");
    assert!(file("connection.ini").contains("[max]\nbytes=5\nmime_parts=1000\n"));
    assert_eq!(file("smtp.ini"), "nodes=0\nlisten=127.0.0.1:0\n");
}

#[test]
fn escapes_stand_for_octets() {
    assert_eq!(unescape("a\\r\\n\\x00\\\\.").unwrap(), b"a\r\n\0\\.");
    assert_eq!(
        unescape("\\{ab*3}!\\{\\r\\n*2}").unwrap(),
        b"ababab!\r\n\r\n"
    );
    assert!(unescape("\\x4").is_err());
    assert!(unescape("end\\").is_err());
}

#[test]
fn glob_fits_the_whole_line_only() {
    for (glob, line, fits) in [
        ("250 *", "250 OK", true),
        ("250 *", "250", false),
        ("250 O?", "250 OK", true),
        ("250 O", "250 OK", false),
        ("*a*b*", "xaybz", true),
        ("*a*b*", "xbya", false),
    ] {
        assert_eq!(
            glob_fits(glob.as_bytes(), line.as_bytes()),
            fits,
            "{glob} {line}"
        );
    }
}

#[test]
fn ids_are_masked_and_nothing_else() {
    for (line, expected) in [
        ("220 mx ready (A1B2C3)", "220 mx ready (UUID6)"),
        ("220 mx ready (A1B2G3)", "220 mx ready (A1B2G3)"),
        (
            "250 Queued (01234567-89AB-CDEF-0123-456789ABCDEF.1)",
            "250 Queued (UUID)",
        ),
        ("01234567-89AB-CDEF-0123-456789ABCDEF.1.2. é", "UUID. é"),
        (
            "01234567-89ab-CDEF-0123-456789ABCDEF",
            "01234567-89ab-CDEF-0123-456789ABCDEF",
        ),
    ] {
        assert_eq!(masked(line), expected);
    }
}
