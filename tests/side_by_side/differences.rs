//! What differs between two records, and the list of differences that are meant.

use std::cell::Cell;
use std::fmt;
use std::path::Path;

use crate::harness::transcript::glob_fits;

/// A place where two records part: lines of Haraka, and ours in their stead.
#[derive(Debug, PartialEq, Eq)]
pub struct Hunk {
    pub peer: Vec<String>,
    pub ours: Vec<String>,
}

impl fmt::Display for Hunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.peer {
            writeln!(f, "  haraka: {line}")?;
        }
        for line in &self.ours {
            writeln!(f, "  ours:   {line}")?;
        }
        Ok(())
    }
}

/// The places where the records part, between the longest common sequence of lines.
pub fn hunks(peer: &[String], ours: &[String]) -> Vec<Hunk> {
    // common[i][j]: length of the longest common sequence of peer[i..] and ours[j..].
    let mut common = vec![vec![0_usize; ours.len() + 1]; peer.len() + 1];
    for i in (0..peer.len()).rev() {
        for j in (0..ours.len()).rev() {
            common[i][j] = match peer[i] == ours[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let mut found = Vec::new();
    let mut hunk = Hunk {
        peer: Vec::new(),
        ours: Vec::new(),
    };
    let (mut i, mut j) = (0, 0);
    while i < peer.len() || j < ours.len() {
        if i < peer.len() && j < ours.len() && peer[i] == ours[j] {
            close(&mut hunk, &mut found);
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || (i < peer.len() && common[i + 1][j] >= common[i][j + 1]) {
            hunk.peer.push(peer[i].clone());
            i += 1;
        } else {
            hunk.ours.push(ours[j].clone());
            j += 1;
        }
    }
    close(&mut hunk, &mut found);
    found
}

fn close(hunk: &mut Hunk, found: &mut Vec<Hunk>) {
    let empty = Hunk {
        peer: Vec::new(),
        ours: Vec::new(),
    };
    let done = std::mem::replace(hunk, empty);
    if !done.peer.is_empty() || !done.ours.is_empty() {
        found.push(done);
    }
}

/// The list: file, dialogue, Haraka's lines, our lines, reason. The first two are patterns with `*`. In the
/// lines, joined by ` // `, each `*` stands for the same text on both sides, and `**` for any.
pub struct Differences {
    rows: Vec<Row>,
}

struct Row {
    number: usize,
    patterns: [String; 4],
    /// `may:` before the reason: what the row is about is on its way and need not be there.
    required: bool,
    used: Cell<bool>,
}

impl Differences {
    /// Reads the list; a row without a reason that names an ID fails the test.
    pub fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut rows = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let cells: Vec<_> = line.split('\t').collect();
            let [file, dialogue, peer, ours, reason] = cells[..] else {
                panic!("differences.tsv line {}: five cells awaited", at + 1);
            };
            let names_an_id = reason
                .split([' ', ':', ','])
                .any(|word| word.contains('-') && word.ends_with(|c: char| c.is_ascii_digit()));
            assert!(
                names_an_id,
                "differences.tsv line {}: reason without an ID",
                at + 1
            );
            rows.push(Row {
                number: at + 1,
                patterns: [file, dialogue, peer, ours].map(str::to_owned),
                required: !reason.starts_with("may: "),
                used: Cell::new(false),
            });
        }
        Self { rows }
    }

    /// Whether a row is about this difference.
    pub fn explains(&self, file: &str, dialogue: &str, hunk: &Hunk) -> bool {
        let (peer, ours) = (hunk.peer.join(" // "), hunk.ours.join(" // "));
        let mut explained = false;
        for row in &self.rows {
            let [in_file, in_dialogue, of_peer, of_ours] = &row.patterns;
            if glob_fits(in_file.as_bytes(), file.as_bytes())
                && glob_fits(in_dialogue.as_bytes(), dialogue.as_bytes())
                && both_fit(of_peer, &peer, of_ours, &ours)
            {
                row.used.set(true);
                explained = true;
            }
        }
        explained
    }

    /// Numbers and dialogues of the rows that explained nothing so far.
    pub fn unused(&self) -> Vec<String> {
        let unused = self
            .rows
            .iter()
            .filter(|row| row.required && !row.used.get());
        unused
            .map(|row| format!("line {}: {}", row.number, row.patterns.join(" | ")))
            .collect()
    }
}

/// Whether both texts fit their patterns with the same text for each `*`.
fn both_fit(peer_pattern: &str, peer: &str, ours_pattern: &str, ours: &str) -> bool {
    let mut same = Vec::new();
    if !captures(peer_pattern, peer, &mut same) {
        return false;
    }
    let mut same = same.into_iter();
    let mut filled = String::new();
    let mut rest = ours_pattern;
    while let Some((before, after)) = rest.split_once('*') {
        filled.push_str(before);
        match after.strip_prefix('*') {
            Some(after) => {
                filled.push_str("**");
                rest = after;
            }
            None => {
                // A `*` in what was captured would be a pattern again; none is in any record.
                filled.push_str(&same.next().unwrap_or_default());
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    captures(&filled, ours, &mut Vec::new())
}

/// Fits a text to a pattern and gives what each `*` (not `**`) stands for, as short as can be.
fn captures(pattern: &str, text: &str, found: &mut Vec<String>) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    let (any, after) = match after.strip_prefix('*') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let depth = found.len();
    for (end, _) in text.char_indices().chain([(text.len(), ' ')]) {
        if !any {
            found.push(text[..end].to_owned());
        }
        if captures(after, &text[end..], found) {
            return true;
        }
        found.truncate(depth);
    }
    false
}

#[test]
fn star_stands_for_the_same_text_on_both_sides_and_two_for_any() {
    for (peer, ours, fit) in [
        ("pipe=N bytes=5", "pipe=Y bytes=5", true),
        ("pipe=N bytes=5", "pipe=Y bytes=6", false),
        ("pipe=Y bytes=5", "pipe=Y bytes=5", false),
    ] {
        assert_eq!(
            both_fit("pipe=N *", peer, "pipe=Y *", ours),
            fit,
            "{peer} {ours}"
        );
    }
    assert!(both_fit("a ** c", "a b c", "a ** c", "a x c"));
}

#[test]
fn records_part_where_their_lines_differ() {
    let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    let hunk = |peer: &str, ours: &str| Hunk {
        peer: lines(peer),
        ours: lines(ours),
    };
    assert_eq!(
        hunks(&lines("abcd"), &lines("axcde")),
        [hunk("b", "x"), hunk("", "e")]
    );
    assert_eq!(hunks(&lines("ab"), &lines("ab")), []);
}

#[test]
fn row_explains_what_its_patterns_fit_and_is_reported_when_it_never_does() {
    let list = Differences::parse(
        "# c\na\t*\t250 *\t501 x\tPB-01 why\nb\t*\t*\t*\tCON-21: why\nc\t*\t1\t2\tmay: PB-14 why\n",
    );
    let hunk = Hunk {
        peer: vec!["250 ok".to_owned()],
        ours: vec!["501 x".to_owned()],
    };
    assert!(list.explains("a", "any", &hunk));
    assert!(!list.explains("c", "any", &hunk));
    assert_eq!(list.unused(), ["line 3: b | * | * | *"]);
}
