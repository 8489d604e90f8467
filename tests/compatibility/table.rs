//! The rows of `compatibility.tsv`, and the page made of them. Pure text work.

use std::fmt::Write;

/// An area of behaviours, numbered from 01 to `count`.
pub struct Area {
    pub name: &'static str,
    pub count: u32,
    pub title: &'static str,
}

const fn area(name: &'static str, count: u32, title: &'static str) -> Area {
    Area { name, count, title }
}

pub const AREAS: [Area; 24] = [
    area("CLI", 22, "Command line"),
    area("PRC", 25, "Processes, signals, stop"),
    area("CFS", 37, "Configuration system"),
    area("KEY", 66, "Files and keys of the core"),
    area("CON", 58, "Session"),
    area("EXT", 9, "ESMTP extensions"),
    area("TXN", 31, "Messages"),
    area("HOK", 38, "Hooks"),
    area("PLG", 17, "Plugins"),
    area("RES", 12, "Results, notes, functions for plugins"),
    area("LOG", 17, "Log"),
    area("TLS", 25, "TLS from clients"),
    area("AUT", 11, "AUTH"),
    area("OUT", 47, "Queue and delivery"),
    area("BNC", 12, "Bounces"),
    area("SMC", 11, "SMTP client of plugins"),
    area("HTP", 8, "HTTP"),
    area("HAP", 7, "PROXY protocol"),
    area("PI1", 6, "Plugins: AUTH"),
    area("PI2", 17, "Plugins: queue"),
    area("PI3", 23, "Plugins: others"),
    area("AUX", 14, "Around the program"),
    area("PA", 49, "What is easily got wrong"),
    area("PB", 77, "Defects of Haraka"),
];

/// What is said about a behaviour.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    Same,
    /// What is better.
    Better(String),
    /// Number of the issue, or `later`.
    NotYet(String),
    /// Why.
    NotWanted(String),
}

pub struct Row {
    pub id: String,
    pub name: String,
    pub claim: Claim,
    pub note: String,
    /// Why no test names it.
    pub untested: String,
}

/// Reads the table: ID, name, verdict, note, and why it is untested; the last two may be empty.
///
/// # Errors
/// Number of the line, and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |why: &str| Err(format!("line {}: {why}: {line:?}", at + 1));
        let cells: Vec<_> = line.split('\t').collect();
        let [id, name, claim, note, untested] = cells[..] else {
            return fail("five cells awaited");
        };
        let Some(claim) = claim_of(claim) else {
            return fail("verdict is same, better: WHAT, not yet: ISSUE, not wanted: WHY");
        };
        if name.is_empty() || line.contains('|') {
            return fail("a name, and no |");
        }
        rows.push(Row {
            id: id.to_owned(),
            name: name.to_owned(),
            claim,
            note: note.to_owned(),
            untested: untested.to_owned(),
        });
    }
    Ok(rows)
}

fn claim_of(text: &str) -> Option<Claim> {
    if text == "same" {
        return Some(Claim::Same);
    }
    let (verdict, rest) = text.split_once(": ")?;
    let rest = rest.trim().to_owned();
    match verdict {
        _ if rest.is_empty() => None,
        "better" => Some(Claim::Better(rest)),
        "not wanted" => Some(Claim::NotWanted(rest)),
        "not yet" if ["3", "4", "5", "6", "later"].contains(&rest.as_str()) => {
            Some(Claim::NotYet(rest))
        }
        _ => None,
    }
}

impl Claim {
    fn shown(&self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Better(what) => format!("**better**: {what}"),
            Self::NotYet(when) if when == "later" => "not yet: later".to_owned(),
            Self::NotYet(issue) => format!("not yet: issue {issue}"),
            Self::NotWanted(why) => format!("not wanted: {why}"),
        }
    }

    /// Column of the summary.
    fn column(&self) -> usize {
        match self {
            Self::Same => 0,
            Self::Better(_) => 1,
            Self::NotYet(_) => 2,
            Self::NotWanted(_) => 3,
        }
    }
}

/// The page.
pub fn page(rows: &[Row]) -> String {
    let mut out = String::from(INTRODUCTION);
    let mut sums = [0; 4];
    for area in &AREAS {
        let mut counts = [0; 4];
        for row in of(rows, area) {
            counts[row.claim.column()] += 1;
            sums[row.claim.column()] += 1;
        }
        let [same, better, not_yet, not_wanted] = counts;
        let (name, title) = (area.name, area.title);
        writeln!(
            out,
            "| {name} {title} | {same} | {better} | {not_yet} | {not_wanted} |"
        )
        .unwrap();
    }
    let [same, better, not_yet, not_wanted] = sums;
    writeln!(
        out,
        "| **all** | {same} | {better} | {not_yet} | {not_wanted} |"
    )
    .unwrap();
    for area in &AREAS {
        write!(
            out,
            "\n## {}: {}\n\n| ID | what | verdict | note |\n|---|---|---|---|\n",
            area.name, area.title
        )
        .unwrap();
        for row in of(rows, area) {
            let mut note = row.note.clone();
            if !row.untested.is_empty() {
                let separator = if note.is_empty() { "" } else { "; " };
                write!(note, "{separator}untested: {}", row.untested).unwrap();
            }
            writeln!(
                out,
                "| {} | {} | {} | {note} |",
                row.id,
                row.name,
                row.claim.shown()
            )
            .unwrap();
        }
    }
    out
}

fn of<'a>(rows: &'a [Row], area: &'a Area) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(|row| {
        row.id
            .rsplit_once('-')
            .is_some_and(|(name, _)| name == area.name)
    })
}

const INTRODUCTION: &str = "# Compatibility with Haraka\n\n\
Made from `tests/compatibility.tsv`; `make docs` rewrites this page. The reference is Haraka 3.3.1.\n\n\
- *same*: a client, an operator or another program sees what Haraka shows.\n\
- *better*: different on purpose; what is named is the difference.\n\
- *not yet*: planned, with the issue that brings it.\n\
- *not wanted*: left out on purpose, with the reason.\n\n\
For *same* and *better* a test names the ID (how much of it a test shows, the test says), or the row says that it is\n\
untested and why. What differs in dialogues is listed line by line in `tests/dialogues/differences.tsv`.\n\n\
| area | same | better | not yet | not wanted |\n|---|---|---|---|---|\n";

#[test]
fn row_that_is_not_understood_is_refused_with_its_line() {
    for (text, why) in [
        ("CLI-01\tversion\tsame\t", "line 1: five cells"),
        ("# c\n\nCLI-01\tversion\tlike it\t\t", "line 3: verdict"),
        ("CLI-01\tversion\tnot yet: 7\t\t", "line 1: verdict"),
        ("CLI-01\tversion\tbetter: \t\t", "line 1: verdict"),
        ("CLI-01\t\tsame\t\t", "line 1: a name"),
    ] {
        let error = parse(text).err().unwrap_or_default();
        assert!(error.starts_with(why), "{text:?}: {error}");
    }
}
