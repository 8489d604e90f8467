//! A file of dialogues as read: an install directory, and many short conversations on it, some of them
//! written once for a table of values. Pure text work.

use crate::harness::Install;
use crate::harness::transcript::{Transcript, unescape};

/// All dialogues of one file.
pub struct DialogueFile {
    header: Transcript,
    pub dialogues: Vec<Dialogue>,
}

/// One conversation on a connection of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialogue {
    pub name: String,
    /// The banner is recorded as well.
    pub shows_banner: bool,
    pub steps: Vec<Step>,
}

/// One write, and how many replies are then awaited.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub bytes: Vec<u8>,
    pub replies: usize,
    /// The replies are recorded only if they are refusals.
    pub quiet: bool,
    /// Instead of all this, TLS begins.
    pub tls: bool,
}

impl DialogueFile {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong, with the dialogue or the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (header, rest) = match text.find("\n== ") {
            Some(at) => text.split_at(at + 1),
            None => return Err("no dialogue".to_owned()),
        };
        let mut dialogues: Vec<Dialogue> = Vec::new();
        for block in rest.split("\n== ") {
            let block = block.strip_prefix("== ").unwrap_or(block);
            for dialogue in expand(block)? {
                if dialogues.iter().any(|other| other.name == dialogue.name) {
                    return Err(format!("two dialogues are named {:?}", dialogue.name));
                }
                dialogues.push(dialogue);
            }
        }
        Ok(Self {
            header: Transcript::parse(header)?,
            dialogues,
        })
    }

    /// An install directory as the header describes it.
    pub fn install(&self) -> Install {
        self.header.install()
    }
}

/// The dialogues that one block stands for: one, or one for each value (pair of values) of its tables.
fn expand(block: &str) -> Result<Vec<Dialogue>, String> {
    let (name, body) = block.split_once('\n').unwrap_or((block, ""));
    let values = |key: &str| -> Vec<&str> {
        let found: Vec<_> = body
            .lines()
            .filter_map(|line| line.strip_prefix(key))
            .collect();
        if found.is_empty() { vec![""] } else { found }
    };
    let (each, with) = (values("each: "), values("with: "));
    let lines: Vec<_> = body
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| !line.starts_with("each: ") && !line.starts_with("with: "))
        .collect();
    let shows_banner = body.lines().any(|line| line == "@banner");
    let mut dialogues = Vec::new();
    for one in &each {
        for two in &with {
            let filled = |line: &str| line.replace("{1}", one).replace("{2}", two);
            let parts = [name.trim(), one, two];
            let name = parts.into_iter().filter(|part| !part.is_empty());
            let name = name.collect::<Vec<_>>().join(" / ");
            let steps = steps(lines.iter().map(|line| filled(line)))
                .map_err(|why| format!("{name}: {why}"))?;
            dialogues.push(Dialogue {
                name,
                shows_banner,
                steps,
            });
        }
    }
    Ok(dialogues)
}

const HELLO: [&str; 1] = ["- EHLO client.test"];
const OPEN: [&str; 3] = [
    "- EHLO client.test",
    "- MAIL FROM:<a@b.test>",
    "- RCPT TO:<u@here.test>",
];

fn steps(lines: impl Iterator<Item = String>) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut gathered = Step {
        bytes: Vec::new(),
        replies: 0,
        quiet: false,
        tls: false,
    };
    for line in lines {
        if line == "@tls" {
            steps.push(Step {
                bytes: Vec::new(),
                replies: 0,
                quiet: true,
                tls: true,
            });
            continue;
        }
        let shorthand: &[&str] = match line.as_str() {
            "@banner" => &[],
            "@hello" => &HELLO,
            "@open" => &OPEN,
            "@data" => &[&OPEN[..], &["- DATA"]].concat(),
            other => &[other],
        };
        for line in shorthand {
            add(line, &mut gathered, &mut steps)?;
        }
    }
    if gathered.bytes.is_empty() {
        Ok(steps)
    } else {
        Err("what the last lines gather is never sent".to_owned())
    }
}

fn add(line: &str, gathered: &mut Step, steps: &mut Vec<Step>) -> Result<(), String> {
    let (mark, rest) = match line.split_once(' ') {
        Some((mark @ ("+" | "|" | "||" | "-" | "|-"), rest)) => (mark, rest),
        _ => ("", line),
    };
    let line_end: &[u8] = if mark.contains('|') { b"" } else { b"\r\n" };
    gathered.bytes.extend(unescape(rest)?);
    gathered.bytes.extend_from_slice(line_end);
    gathered.replies += usize::from(!matches!(mark, "|" | "|-"));
    gathered.quiet = mark == "-";
    if !matches!(mark, "+" | "|") {
        let empty = Step {
            bytes: Vec::new(),
            replies: 0,
            quiet: false,
            tls: false,
        };
        steps.push(std::mem::replace(gathered, empty));
    }
    Ok(())
}

#[test]
fn block_with_two_tables_gives_a_dialogue_for_each_pair() {
    let text = "# c\nset: smtp.ini main nodes=1\n\n== pairs\neach: A\neach: B\nwith: 1\nwith: 2\n{1} {2}\n";
    let file = DialogueFile::parse(text).unwrap();
    let names: Vec<_> = file.dialogues.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "pairs / A / 1",
            "pairs / A / 2",
            "pairs / B / 1",
            "pairs / B / 2"
        ]
    );
    assert_eq!(file.dialogues[3].steps[0].bytes, b"B 2\r\n");
}

#[test]
fn gathered_lines_are_one_write_with_a_reply_for_each_command() {
    let text = "\n== one\n+ RSET\n| a\\r\\n\nNOOP\n- RSET\n|- x\n";
    let file = DialogueFile::parse(text).unwrap();
    let step = |bytes: &[u8], replies, quiet| Step {
        bytes: bytes.to_vec(),
        replies,
        quiet,
        tls: false,
    };
    assert_eq!(
        file.dialogues[0].steps,
        [
            step(b"RSET\r\na\r\nNOOP\r\n", 2, false),
            step(b"RSET\r\n", 1, true),
            step(b"x", 0, false)
        ]
    );
}

#[test]
fn file_that_cannot_be_played_is_refused() {
    for text in [
        "\n",
        "\n== a\n+ RSET\n",
        "\n== a\nRSET\n\n== a\nRSET\n",
        "\n== a\n| \\q\n",
    ] {
        assert!(DialogueFile::parse(text).is_err(), "{text:?}");
    }
}
