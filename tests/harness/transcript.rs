//! SMTP conversations as data: reads a `*.smtp` file and plays it against a server. The format is described
//! in `tests/transcripts/README.md`; this file is all that interprets it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Install, Server, SmtpClient};

mod play;
mod text;

pub use text::{glob_fits, masked, unescape};

/// Which program is on the other side; lines after `@ours` or `@peer` hold for one of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Peer,
}

/// How what is to be sent gets into the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// As the transcript says, one write for each `>`.
    Whole,
    /// Every byte alone, the next one when the server has read the one before.
    Bytewise,
}

/// A transcript as read.
#[derive(Debug, Default)]
pub struct Transcript {
    files: Vec<(String, String)>,
    settings: Vec<[String; 4]>,
    plugins: Option<Vec<String>>,
    /// `writes: whole`: what it shows depends on lines arriving together.
    pub whole_only: bool,
    /// `peer: no REASON`: the real Haraka cannot be asked.
    pub without_peer: bool,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    line: usize,
    side: Option<Side>,
    act: Act,
}

#[derive(Debug, PartialEq, Eq)]
enum Act {
    Client(String),
    Send(Vec<u8>),
    Line(Match),
    Reply(String),
    Close,
    HalfClose,
    StoredCount(usize),
    Stored { has: bool, part: Vec<u8> },
    Log(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Match {
    Prefix(String),
    Glob(String),
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// Number of the line that is not understood, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut transcript = Self::default();
        let mut gathered = Vec::new();
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        while let Some((number, line)) = lines.next() {
            let fail = |why: &str| Err(format!("line {number}: {why}: {line:?}"));
            let (side, rest) = match line.split_once(' ') {
                Some(("@ours", rest)) => (Some(Side::Ours), rest),
                Some(("@peer", rest)) => (Some(Side::Peer), rest),
                _ => (None, line),
            };
            if rest.is_empty() || rest.starts_with('#') {
                continue;
            }
            if let Some((key, value)) = header(rest) {
                let mut block = || -> String {
                    let body = lines.by_ref().map(|(_, line)| line);
                    body.take_while(|line| *line != "EOF")
                        .map(|line| format!("{line}\n"))
                        .collect()
                };
                if !transcript.set(key, value, &mut block) {
                    return fail("bad header");
                }
                continue;
            }
            let act = match parse_act(rest, &mut gathered) {
                Ok(Some(act)) => act,
                Ok(None) => continue,
                Err(why) => return fail(&why),
            };
            transcript.steps.push(Step {
                line: number,
                side,
                act,
            });
        }
        match gathered.is_empty() {
            true => Ok(transcript),
            false => Err("lines after the last `>+` are never sent".to_owned()),
        }
    }

    fn set(&mut self, key: &str, value: &str, block: &mut dyn FnMut() -> String) -> bool {
        match key {
            "plugins" => {
                self.plugins = Some(value.split_whitespace().map(str::to_owned).collect());
            }
            "set" => {
                let mut words = value.splitn(3, ' ');
                let (Some(file), Some(section)) = (words.next(), words.next()) else {
                    return false;
                };
                let Some((name, set_to)) = words.next().and_then(|w| w.split_once('=')) else {
                    return false;
                };
                self.settings
                    .push([file, section, name, set_to].map(str::to_owned));
            }
            "config" | "file" => {
                let folder = if key == "config" { "config/" } else { "" };
                let (name, text) = match (value.strip_suffix(" <<EOF"), value.split_once(" = ")) {
                    (Some(name), _) => (name, block()),
                    (None, Some((name, text))) => (name, format!("{text}\n")),
                    (None, None) => return false,
                };
                self.files.push((format!("{folder}{name}"), text));
            }
            "certificate" => {
                let made = rcgen::generate_simple_self_signed([value.to_owned()]).unwrap();
                let key = made.signing_key.serialize_pem();
                let files = [("key", key), ("cert", made.cert.pem())];
                let file = |(kind, text)| (format!("config/tls_{kind}.pem"), text);
                self.files.extend(files.map(file));
            }
            "writes" => self.whole_only = value == "whole",
            "peer" => self.without_peer = value.starts_with("no "),
            _ => return false,
        }
        true
    }

    /// An install directory as the header of the transcript describes it.
    pub fn install(&self) -> Install {
        let mut install = Install::new();
        if let Some(names) = &self.plugins {
            install = install.plugins(&names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for (path, text) in &self.files {
            install = install.file(path, text);
        }
        for [file, section, key, value] in &self.settings {
            install = install.set(file, section, key, value);
        }
        install
    }

    /// Plays the conversation against a server that was started on [`Transcript::install`].
    ///
    /// # Errors
    /// The first step that did not go as written, with the conversation up to it.
    pub fn play(&self, server: &Server, side: Side, writes: Writes) -> Result<(), String> {
        let mut clients: BTreeMap<&str, SmtpClient> = BTreeMap::new();
        let mut current = "1";
        for step in self
            .steps
            .iter()
            .filter(|step| step.side.is_none_or(|only| only == side))
        {
            if let Act::Client(name) = &step.act {
                current = name;
            }
            let client = clients.entry(current).or_insert_with(|| server.client());
            step.act.perform(server, client, writes).map_err(|why| {
                format!(
                    "line {}: {why}\nclient {current}:\n{}",
                    step.line,
                    client.history()
                )
            })?;
        }
        for (name, client) in &mut clients {
            client.half_close_quietly();
            if let Ok(Some(line)) = client.try_line() {
                return Err(format!(
                    "client {name}: unread at the end: {line:?}\n{}",
                    client.history()
                ));
            }
        }
        Ok(())
    }

    /// Starts a server for the file and plays it.
    ///
    /// # Errors
    /// What went wrong, with the name of the file.
    pub fn run(path: &Path, side: Side, writes: Writes, command: &[String]) -> Result<(), String> {
        let fail = |why: String| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let transcript = Self::parse(&text).map_err(fail)?;
        let skipped = (side == Side::Peer && transcript.without_peer)
            || (writes == Writes::Bytewise && transcript.whole_only);
        if skipped {
            return Ok(());
        }
        let server = Server::try_start(transcript.install(), command)
            .map_err(|failure| fail(format!("no start: {:?}\n{}", failure.status, failure.log)))?;
        transcript
            .play(&server, side, writes)
            .map_err(|why| fail(format!("{why}\nlog:\n{}", server.log_text())))
    }
}

fn header(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ")?;
    key.bytes()
        .all(|b| b.is_ascii_lowercase())
        .then_some((key, value.trim()))
}

/// One line of the conversation; `None` when it only adds to what the next `>` sends.
fn parse_act(line: &str, gathered: &mut Vec<u8>) -> Result<Option<Act>, String> {
    let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
    let text = rest.to_owned();
    Ok(Some(match mark {
        ">+" => {
            gathered.extend_from_slice(format!("{rest}\r\n").as_bytes());
            return Ok(None);
        }
        ">" | ">|" => {
            let mut bytes = std::mem::take(gathered);
            match mark {
                ">" => bytes.extend_from_slice(format!("{rest}\r\n").as_bytes()),
                _ => bytes.extend(unescape(rest)?),
            }
            Act::Send(bytes)
        }
        "<" => Act::Line(Match::Prefix(text)),
        "<~" => Act::Line(Match::Glob(text)),
        "<*" => Act::Reply(text),
        "--" if rest.is_empty() => Act::Client("2".to_owned()),
        "--" => Act::Client(text),
        "!" => match rest.split_once(' ').unwrap_or((rest, "")) {
            ("close", "") => Act::Close,
            ("half-close", "") => Act::HalfClose,
            ("log", part) => Act::Log(part.to_owned()),
            ("stored", what) => match what.split_once(' ') {
                None => Act::StoredCount(what.parse().map_err(|_| "not a number")?),
                Some((word @ ("has" | "lacks"), part)) => Act::Stored {
                    has: word == "has",
                    part: unescape(part)?,
                },
                Some(_) => return Err("stored: has or lacks".to_owned()),
            },
            _ => return Err("unknown check".to_owned()),
        },
        _ => return Err("unknown mark".to_owned()),
    }))
}
