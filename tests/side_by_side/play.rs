//! Plays dialogues and writes down what came of them: replies, the end of the connection, stored messages
//! and NOTICE lines of the log, with what differs from run to run masked.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::format::{Dialogue, DialogueFile};
use crate::harness::secured::careless;
use crate::harness::transcript::masked;
use crate::harness::{Reply, Server, SmtpClient, poll_until};

/// What came of each dialogue, line by line, by its name.
pub type Records = BTreeMap<String, Vec<String>>;

/// A server that says nothing for so long is recorded as silent.
const SILENCE: Duration = Duration::from_secs(6);
/// A stored message longer than this is recorded by its length only.
const LONGEST: usize = 1200;

/// Plays all dialogues of a file against one server started by `command`.
pub fn run(file: &DialogueFile, command: &[String]) -> Records {
    let server = Server::start_command(file.install(), command);
    let play = |dialogue: &Dialogue| (dialogue.name.clone(), play(&server, dialogue));
    file.dialogues.iter().map(play).collect()
}

fn play(server: &Server, dialogue: &Dialogue) -> Vec<String> {
    let mut record = Vec::new();
    let mut client = server.client();
    client.set_timeout(SILENCE);
    let port = client.local_addr().port();
    let mut open = await_replies(&mut client, 1, !dialogue.shows_banner, &mut record);
    for step in &dialogue.steps {
        if !open {
            break;
        }
        if step.tls {
            if client.try_start_tls(&careless(), "mx.test").is_err() {
                record.push("no TLS".to_owned());
                break;
            }
            continue;
        }
        // A server that has closed shows it in the replies.
        let _ = client.try_send(&step.bytes);
        open = await_replies(&mut client, step.replies, step.quiet, &mut record);
    }
    if open {
        client.half_close_quietly();
        while let Ok(Some(line)) = client.try_line() {
            record.push(format!("late {line}"));
        }
    }
    drop(client);
    let (id, log) = log_of(server, port);
    record.extend(stored(server, &id));
    record.extend(log);
    // The number of the transaction, which follows the id, stays.
    record
        .iter()
        .map(|line| mask(&line.replace(&id, "ID")))
        .collect()
}

/// Records so many replies; false when the connection is over.
fn await_replies(
    client: &mut SmtpClient,
    count: usize,
    quiet: bool,
    record: &mut Vec<String>,
) -> bool {
    for _ in 0..count {
        match client.try_reply() {
            Ok(Some(reply)) if quiet && reply.code < 400 => {}
            Ok(Some(reply)) => record.extend(reply_lines(&reply)),
            Ok(None) => {
                record.push("close".to_owned());
                return false;
            }
            Err(error) => {
                record.push(match error.kind() {
                    std::io::ErrorKind::WouldBlock => "silence".to_owned(),
                    kind => format!("broken: {kind}"),
                });
                return false;
            }
        }
    }
    true
}

fn reply_lines(reply: &Reply) -> Vec<String> {
    let last = reply.lines.len() - 1;
    let line = |(at, text): (usize, &String)| {
        let separator = if at == last { ' ' } else { '-' };
        format!("{}{separator}{text}", reply.code)
    };
    reply.lines.iter().enumerate().map(line).collect()
}

/// The id of the connection that came from `port`, and its NOTICE lines up to its end.
fn log_of(server: &Server, port: u16) -> (String, Vec<String>) {
    let connect = format!(" port={port} ");
    let found = poll_until(SILENCE, || {
        let lines = server.log_lines();
        let first = lines
            .iter()
            .rposition(|line| line.contains("] connect ") && line.contains(&connect))?;
        let id = lines[first].split(['[', ']']).nth(3)?.to_owned();
        let own = format!("[{id}");
        let of_it: Vec<_> = lines[first..]
            .iter()
            .filter(|line| line.contains("[NOTICE]"))
            .filter_map(|line| Some(format!("log {}", &line[line.find(&own)?..])))
            .collect();
        let over = of_it.iter().any(|line| line.contains("] disconnect "));
        over.then_some((id, of_it))
    });
    found.unwrap_or_else(|| panic!("no disconnect line of port {port}:\n{}", server.log_text()))
}

/// The messages of this connection that `queue/test` wrote.
fn stored(server: &Server, id: &str) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(server.install().path().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(&format!("mail_{id}")))
        .collect();
    paths.sort();
    let of_file = |path: std::path::PathBuf| {
        let bytes = fs::read(path).unwrap();
        if bytes.len() > LONGEST {
            return vec![format!("stored {} octets", bytes.len())];
        }
        let lines = bytes.split_inclusive(|b| *b == b'\n');
        let line = |line: &[u8]| format!("stored {}", line.escape_ascii());
        lines.map(line).collect()
    };
    paths.into_iter().flat_map(of_file).collect()
}

/// Masks ids, the server's version, the client's name in the DNS, dates, ports and durations.
fn mask(line: &str) -> String {
    let line = masked(line);
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        let word = words[at].clone();
        if let Some(after) = word.split("Haraka/").nth(1) {
            let version: String = after
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            words[at] = word.replace(&format!("Haraka/{version}"), "Haraka/VERSION");
        }
        for (key, mask) in [
            ("port=", "PORT"),
            ("local_port=", "PORT"),
            ("rdns=", "RDNS"),
            ("delay=", "TIME"),
            ("time=", "TIME"),
        ] {
            if word.starts_with(key) {
                words[at] = format!("{key}{mask}");
            }
        }
        if at > 0 && word.starts_with("[127.0.0.1]") {
            let bracket = if words[at - 1].starts_with('(') {
                "("
            } else {
                ""
            };
            words[at - 1] = format!("{bracket}RDNS");
        }
    }
    let line = words.join(" ");
    match line.strip_prefix("stored \\t").filter(|text| is_date(text)) {
        Some(_) => "stored \\tDATE".to_owned(),
        None => line,
    }
}

/// `Sat, 21 Nov 2026 …\r\n`, as it ends a Received field.
fn is_date(text: &str) -> bool {
    let day = text.get(..5).unwrap_or("");
    [
        "Mon, ", "Tue, ", "Wed, ", "Thu, ", "Fri, ", "Sat, ", "Sun, ",
    ]
    .contains(&day)
}

/// Records as they stand in a `*.peer` file.
pub fn write(records: &Records) -> String {
    let mut text = String::new();
    for (name, lines) in records {
        text.push_str(&format!("== {name}\n"));
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Reads back what [`write`] gave.
pub fn read(text: &str) -> Records {
    let mut records = Records::new();
    for line in text.lines() {
        match line.strip_prefix("== ") {
            Some(name) => {
                records.insert(name.to_owned(), Vec::new());
            }
            None => {
                if let Some(mut last) = records.last_entry() {
                    last.get_mut().push(line.to_owned());
                }
            }
        }
    }
    records
}
