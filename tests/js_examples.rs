//! Examples of Haraka's documentation, `tests/js/examples/`, each played against this server and, where
//! `PEER_HARAKA` names it, against the real one: what they say, log, store and queue is the same for both.

#![allow(missing_docs)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::path::{Path, PathBuf};

use harness::server::peer_command;
use harness::transcript::masked;
use harness::{Install, Server, SmtpClient, poll_until, skip};

/// How long lines of the log and files of the queue may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

const PLUGINS: &str = "example, rcpt_to.in_host_list, queue/test";

/// A plugin and what happens with it.
struct Example {
    name: String,
    plugin: String,
    /// Kind and text of each line.
    steps: Vec<(String, String)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/examples")
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// All of them; `EXAMPLE` chooses by name.
fn examples() -> Vec<Example> {
    let only = std::env::var("EXAMPLE").unwrap_or_default();
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_name()?.to_str()?.to_owned()))
        .filter_map(|name| Some(name.strip_suffix(".js")?.to_owned()))
        .filter(|name| name.contains(&only))
        .collect();
    names.sort();
    names.into_iter().map(example).collect()
}

fn example(name: String) -> Example {
    let script = read(&folder().join(format!("{name}.js")));
    let dialogue = read(&folder().join(format!("{name}.txt")));
    let step = |line: &str| {
        let (kind, text) = line.split_once(':').unwrap_or((line, ""));
        (
            kind.to_owned(),
            text.strip_prefix(' ').unwrap_or(text).to_owned(),
        )
    };
    Example {
        plugin: script,
        steps: dialogue.lines().map(step).collect(),
        name,
    }
}

impl Example {
    fn texts<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        let of_kind = self.steps.iter().filter(move |(kind, _)| kind == wanted);
        of_kind.map(|(_, text)| text.as_str())
    }

    fn install(&self) -> Install {
        let plugins = self.texts("P").next().unwrap_or(PLUGINS);
        let plugins: Vec<&str> = plugins.split(", ").collect();
        let install = Install::new()
            .file("plugins/example.js", &self.plugin)
            .plugins(&plugins);
        self.texts("F").fold(install, |install, text| {
            let (file, text) = text.split_once('|').expect("path|text");
            install.file(file, &text.replace("\\n", "\n"))
        })
    }

    /// Plays it; gives what is not as it should be.
    fn play(&self, server: &Server) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut client: Option<SmtpClient> = None;
        for (kind, text) in &self.steps {
            match kind.as_str() {
                "C" => {
                    let client = client.get_or_insert_with(|| server.client());
                    client.send_raw(format!("{text}\r\n").as_bytes());
                }
                "S" => {
                    let client = client.get_or_insert_with(|| server.client());
                    let reply = match client.try_reply() {
                        Ok(Some(reply)) => format!("{} {}", reply.code, reply.lines.join(" ")),
                        other => format!("{other:?}"),
                    };
                    if !reply.starts_with(text) {
                        let log = server.log_text();
                        wrong.push(format!("awaited {text:?}, got {reply:?}; log:\n{log}"));
                        // What follows would be out of step.
                        return wrong;
                    }
                }
                "--" => client = None,
                "L" | "M" | "M!" | "N" | "Q" => wrong.extend(awaited(server, kind, text)),
                "P" | "F" => {}
                other => panic!("{}: what is {other}?", self.name),
            }
        }
        wrong
    }
}

/// What is to be found besides replies; an error if it is not.
fn awaited(server: &Server, kind: &str, text: &str) -> Option<String> {
    let there = || match kind {
        "L" => log_of(server).iter().any(|line| line.contains(text)),
        "N" => !log_of(server).iter().any(|line| line.contains(text)),
        "M" => {
            let stored = server.install().stored();
            stored
                .last()
                .is_some_and(|m| String::from_utf8_lossy(m).contains(text))
        }
        "M!" => server.install().stored().is_empty(),
        _ => queued(server).iter().any(|item| item.contains(text)),
    };
    let found = poll_until(PATIENCE, || there().then_some(()));
    found.is_none().then(|| {
        let log = log_of(server).join("\n");
        format!("{kind}: {text} is not so; log:\n{log}")
    })
}

/// Lines of the log, with `*` for the numbers of connections and transactions.
fn log_of(server: &Server) -> Vec<String> {
    let lines = server.log_lines();
    let shown = |line: &String| {
        let line = masked(line);
        match line.split_once("[UUID") {
            Some((before, after)) => {
                let rest = after.split_once(']').map_or("", |(_, rest)| rest);
                format!("{before}[*]{rest}")
            }
            None => line,
        }
    };
    lines.iter().map(shown).collect()
}

fn queued(server: &Server) -> Vec<String> {
    let queue = server.install().path().join("queue");
    let files = server.install().queue_files();
    files
        .iter()
        .filter_map(|file| std::fs::read(queue.join(file)).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// Two at a time, as most of it is waiting.
fn play_all(command: &[String]) {
    let left = std::sync::Mutex::new(examples());
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(example) = left.lock().unwrap().pop() else {
                        return;
                    };
                    let wrong = match Server::try_start(example.install(), command) {
                        Ok(server) => example.play(&server),
                        Err(failure) => vec![failure.log],
                    };
                    for wrong in wrong {
                        let line = format!("{}: {wrong}", example.name);
                        failed.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

// covers AUX-09, AUX-14, PLG-05, PLG-10, PLG-11, PLG-12, PLG-14, PLG-15, KEY-57, RES-02, OUT-22, CON-01
// covers TXN-01, HOK-31, CFS-03, CFS-04, CFS-07, CFS-14, PA-13, RES-08, PLG-17
#[test]
fn examples_of_the_documentation_do_here_what_they_say() {
    assert!(std::env::var_os("EXAMPLE").is_some() || examples().len() >= 25);
    play_all(&[env!("CARGO_BIN_EXE_haraka").to_owned()]);
}

#[test]
fn examples_of_the_documentation_do_the_same_in_the_real_haraka() {
    match peer_command() {
        Some(command) => play_all(&command),
        None => skip("PEER_HARAKA is not set: examples are played against this server only"),
    }
}
