//! Rules about documents: complete against what the code declares, and leading to what exists.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::{File, Finding};

fn named<'a>(files: &'a [File], path: &str) -> &'a str {
    files
        .iter()
        .find(|f| f.path == path)
        .map_or("", |f| f.text.as_str())
}

/// `docs/adr/NNNN-title.md`: the number is in the title and belongs to one file; the parts are there.
pub(crate) fn decisions(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut owners = BTreeMap::new();
    for file in files.iter().filter(|f| f.path.starts_with("docs/adr/")) {
        let name = &file.path["docs/adr/".len()..];
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || !number.bytes().all(|b| b.is_ascii_digit()) {
            findings.push(format!(
                "{}: the name does not begin with NNNN-",
                file.at(0)
            ));
            continue;
        }
        if let Some(other) = owners.insert(number.to_owned(), name) {
            findings.push(format!("{}: {other} has this number, too", file.at(0)));
        }
        let title = file.text.lines().next().unwrap_or_default();
        if !title.starts_with(&format!("# {number}: ")) {
            findings.push(format!("{}: the title is not `# {number}: …`", file.at(0)));
        }
        for part in [
            "\nStatus: ",
            "\n## Context\n",
            "\n## Decision\n",
            "\n## Consequences\n",
        ] {
            if !file.text.contains(part) {
                findings.push(format!("{}: no `{}`", file.at(0), part.trim()));
            }
        }
    }
    if owners.is_empty() {
        findings.push("docs/adr:1: no decisions".to_owned());
    }
    findings
}

pub(crate) fn hooks(files: &[File], names: &[&str]) -> Vec<Finding> {
    let page = named(files, "docs/hooks.md");
    names
        .iter()
        .filter(|name| !page.contains(&format!("\n| `{name}` |")))
        .map(|name| format!("docs/hooks.md:1: no row for `{name}`"))
        .collect()
}

/// `settings` are file, section, key.
pub(crate) fn settings(files: &[File], settings: &[(&str, &str, &str)]) -> Vec<Finding> {
    let page = named(files, "docs/config.md");
    let mut rows = HashSet::new();
    let mut under = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            under = heading;
        } else if let Some(key) = line.strip_prefix("| `").and_then(|l| l.split('`').next()) {
            rows.insert((under.to_owned(), key.trim_end_matches("[]")));
        }
    }
    settings
        .iter()
        .map(|(file, section, key)| (format!("{file} [{section}]"), key.trim_end_matches("[]")))
        .filter(|row| !rows.contains(row))
        .map(|(section, key)| format!("docs/config.md:1: no row for {section} {key}"))
        .collect()
}

pub(crate) fn plugins(files: &[File], names: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in names {
        let path = format!("docs/plugins/{name}.md");
        if !named(files, &path).starts_with(&format!("# {name}\n")) {
            findings.push(format!("{path}:1: no page with this title"));
        }
    }
    for file in files {
        let page = file
            .path
            .strip_prefix("docs/plugins/")
            .and_then(|p| p.strip_suffix(".md"));
        if page.is_some_and(|page| !names.contains(&page)) {
            findings.push(format!("{}: no such plugin", file.at(0)));
        }
    }
    findings
}

/// Relative links of all documents, with the headings that they name.
pub(crate) fn links(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_document()) {
        for (i, line) in prose(&file.text) {
            for target in link_targets(line) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() {
                    file.path.clone()
                } else {
                    beside(&file.path, path)
                };
                let there = exists(files, &path);
                let headed =
                    heading.is_empty() || headings(named(files, &path)).any(|h| h == heading);
                if !there || !headed {
                    findings.push(format!("{}: `{target}` leads nowhere", file.at(i)));
                }
            }
        }
    }
    findings
}

/// Paths that readers look up are in these folders; other names may be of an install directory.
const SOURCES: [&str; 9] = [
    "master/",
    "worker/",
    "shared/",
    "plugins/src/",
    "plugins/tests/",
    "tests/",
    "docs/",
    "contrib/",
    ".ci/",
];

/// Source paths in backticks in any document.
pub(crate) fn source_paths(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_document()) {
        for (i, line) in prose(&file.text) {
            for path in line.split('`').skip(1).step_by(2) {
                let is_pattern = path.contains(['*', '<', ' ', '{', '…'])
                    || path.contains("NAME")
                    || path.contains("NNNN");
                if SOURCES.iter().any(|s| path.starts_with(s))
                    && !is_pattern
                    && !exists(files, path)
                {
                    findings.push(format!("{}: there is no `{path}`", file.at(i)));
                }
            }
        }
    }
    findings
}

/// Every option that the program prints is an item of its manual, and the other way round.
pub(crate) fn manual_options(files: &[File], usage: &str) -> Vec<Finding> {
    let manual = named(files, "docs/haraka.8");
    let shown = long_options(usage);
    // mdoc(7) writes `--name` as `Fl \-name`, in the items of a list and on lines of their own.
    let described = manual
        .lines()
        .filter(|l| l.starts_with(".It ") || l.starts_with(".Fl "))
        .flat_map(|l| l.split("Fl \\-").skip(1))
        .map(|rest| rest.split([' ', ',']).next().unwrap_or_default().to_owned())
        .collect::<HashSet<_>>();
    let mut findings = Vec::new();
    if shown.is_empty() {
        findings.push("master/src: `haraka -h` shows no option".to_owned());
    }
    for option in shown.difference(&described) {
        findings.push(format!("docs/haraka.8:1: nothing about --{option}"));
    }
    for option in described.difference(&shown) {
        findings.push(format!("docs/haraka.8:1: the program has no --{option}"));
    }
    findings.sort();
    findings
}

fn long_options(usage: &str) -> HashSet<String> {
    usage
        .split("--")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What stands in the brackets of `[text](target)`.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

fn exists(files: &[File], path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let known = files
        .iter()
        .any(|f| f.path == path || f.path.starts_with(&folder));
    // Data of tests is not among the files that are judged.
    known || Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// The path that a link in `document` means.
fn beside(document: &str, link: &str) -> String {
    let mut parts: Vec<_> = document.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Names of the headings, as links give them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        Some(kept)
    })
}

#[test]
fn decisions_out_of_form_are_found() {
    let good = "# 0001: A\n\nStatus: accepted.\n\n## Context\n\n## Decision\n\n## Consequences\n";
    let mut files = File::sample("docs/adr/0001-a.md", good);
    assert_eq!(decisions(&files), [""; 0]);
    files.extend(File::sample("docs/adr/0001-b.md", good));
    files.extend(File::sample("docs/adr/0002-c.md", "# C\n"));
    files.extend(File::sample("docs/adr/notes.md", good));
    let found = decisions(&files);
    assert_eq!(
        found[0],
        "docs/adr/0001-b.md:1: 0001-a.md has this number, too"
    );
    assert_eq!(
        found[1],
        "docs/adr/0002-c.md:1: the title is not `# 0002: …`"
    );
    assert_eq!(found[2], "docs/adr/0002-c.md:1: no `Status:`");
    assert_eq!(found.len(), 7);
}

#[test]
fn missing_rows_and_pages_are_found() {
    let page = File::sample("docs/hooks.md", "x\n| `mail` | … |\n");
    assert_eq!(hooks(&page, &["mail"]), [""; 0]);
    assert_eq!(
        hooks(&page, &["rcpt"]),
        ["docs/hooks.md:1: no row for `rcpt`"]
    );
    let page = File::sample(
        "docs/config.md",
        "### a.ini [main]\n| `x` | |\n### a.ini [b]\n| `y[]` * | |\n",
    );
    assert_eq!(
        settings(&page, &[("a.ini", "main", "x"), ("a.ini", "b", "y")]),
        [""; 0]
    );
    let found = settings(&page, &[("a.ini", "b", "x")]);
    assert_eq!(found, ["docs/config.md:1: no row for a.ini [b] x"]);
    let page = File::sample("docs/plugins/queue/a.md", "# queue/a\n");
    assert_eq!(plugins(&page, &["queue/a"]), [""; 0]);
    assert_eq!(plugins(&page, &["b"]).len(), 2);
}

#[test]
fn links_and_paths_to_nothing_are_found() {
    let text = "# One thing\n[a](../README.md) [b](x.md) [c](#one-thing) [d](#two)\n[e](https://a.example/)\n\
                ```\n[f](y.md)\n```\n`shared/src/lib.rs` `shared/src/no.rs` `plugins/NAME.js`\n";
    let file = File::sample("docs/a.md", text);
    assert_eq!(
        links(&file),
        [
            "docs/a.md:2: `x.md` leads nowhere",
            "docs/a.md:2: `#two` leads nowhere"
        ]
    );
    assert_eq!(
        source_paths(&file),
        ["docs/a.md:7: there is no `shared/src/no.rs`"]
    );
}

#[test]
fn manual_and_usage_are_compared_both_ways() {
    let manual = File::sample(
        "docs/haraka.8",
        ".It Fl c , Fl \\-configs Ar dir\n.It Fl \\-old\n",
    );
    assert_eq!(
        manual_options(&manual, "  -c, --configs DIR\n  --new\n"),
        [
            "docs/haraka.8:1: nothing about --new",
            "docs/haraka.8:1: the program has no --old"
        ]
    );
    assert_eq!(manual_options(&manual, "").len(), 3);
}
