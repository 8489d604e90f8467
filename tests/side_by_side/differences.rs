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

/// The list: file, dialogue, Haraka's lines, our lines, reason. The first four are patterns with `*` and
/// `?`; lines are joined by ` // `.
pub struct Differences {
    rows: Vec<Row>,
}

struct Row {
    number: usize,
    patterns: [String; 4],
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
            let pairs = row.patterns.iter().zip([file, dialogue, &peer, &ours]);
            let fits = |(glob, text): (&String, &str)| glob_fits(glob.as_bytes(), text.as_bytes());
            if pairs.into_iter().all(fits) {
                row.used.set(true);
                explained = true;
            }
        }
        explained
    }

    /// Numbers and dialogues of the rows that explained nothing so far.
    pub fn unused(&self) -> Vec<String> {
        let unused = self.rows.iter().filter(|row| !row.used.get());
        unused
            .map(|row| format!("line {}: {}", row.number, row.patterns.join(" | ")))
            .collect()
    }
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
    let list = Differences::parse("# c\na\t*\t250 *\t501 x\tPB-01 why\nb\t*\t*\t*\tCON-21: why\n");
    let hunk = Hunk {
        peer: vec!["250 ok".to_owned()],
        ours: vec!["501 x".to_owned()],
    };
    assert!(list.explains("a", "any", &hunk));
    assert!(!list.explains("c", "any", &hunk));
    assert_eq!(list.unused(), ["line 3: b | * | * | *"]);
}
