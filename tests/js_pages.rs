//! What the pages about plugins in JavaScript say, run: the tutorial, the table of objects and members,
//! the types for editors, and what `haraka -p` makes.

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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use harness::scripts::{MESSAGE, send};
use harness::{DEADLINE, Install, Server};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The blocks of code that have a name, with it.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```").filter(|n| !n.is_empty()) else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        blocks.push((name.to_owned(), text.join("\n") + "\n"));
    }
    blocks
}

/// Says what follows `C: ` and expects what follows `S: ` to begin a reply.
fn converse(server: &Server, dialogue: &str) {
    let mut client = server.client();
    client.reply().expect(220);
    for line in dialogue.lines() {
        if let Some(said) = line.strip_prefix("C:") {
            client.send_raw(format!("{}\r\n", said.strip_prefix(' ').unwrap_or(said)).as_bytes());
        } else if let Some(expected) = line.strip_prefix("S: ") {
            let reply = client.reply();
            let found = format!("{} {}", reply.code, reply.lines.join(" "));
            assert!(found.starts_with(expected), "{expected}: {found}");
        }
    }
}

// covers PLG-05, PLG-09, PLG-10, CLI-05
#[test]
fn the_tutorial_does_what_it_says() {
    let blocks = blocks(&page("docs/tutorial-plugin.md"));
    let is_file = |name: &str| name.starts_with("config/") || name.starts_with("plugins/");
    let mut files = BTreeMap::new();
    let mut server = None;
    let mut dialogues = 0;
    for (name, text) in &blocks {
        match name.as_str() {
            name if is_file(name) => {
                files.insert(name.to_owned(), text.clone());
                server = None;
            }
            "smtp" => {
                let install = files
                    .iter()
                    .fold(Install::new(), |i, (name, text)| i.file(name, text));
                converse(server.insert(Server::start(install)), text);
                dialogues += 1;
            }
            "log" => {
                let server: &Server = server.as_ref().expect("a dialogue before its log");
                for line in text.lines() {
                    server.wait_for_log(line, DEADLINE);
                }
            }
            "stored" => {
                let server: &Server = server.as_ref().expect("a dialogue before its message");
                let stored = server.install().stored().remove(0);
                let stored = String::from_utf8(stored).unwrap();
                assert!(stored.contains(text.trim()), "{stored}");
            }
            other => panic!("what is a block of {other}?"),
        }
    }
    assert_eq!(dialogues, 3, "the page has fewer dialogues than it had");
}

// covers CLI-05
#[test]
fn a_plugin_that_was_just_begun_loads_and_is_asked() {
    let install = Install::new();
    let made = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["-c", &install.path().display().to_string(), "-p", "mine"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let install = install
        .config("loglevel", "debug\n")
        .config("log.ini", "[main]\nlevel=debug\n")
        .plugins(&["mine", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    send(&server, MESSAGE);
    server.wait_for_log("[mine] recipient <c@here.test>", DEADLINE);
}

/// One row of the table: object, member, verdict, what differs.
struct Row {
    object: String,
    member: String,
    verdict: String,
    note: String,
}

fn rows() -> Vec<Row> {
    let table = page("tests/js/members.tsv");
    assert!(table.lines().count() > 400, "rows are missing");
    let rows = table.lines().map(|line| {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut cell = || cells.next().unwrap_or_default();
        Row {
            object: cell(),
            member: cell(),
            verdict: cell(),
            note: cell(),
        }
    });
    rows.collect()
}

const HEAD: &str = "\
# Objects and members in JavaScript

Made from `tests/js/members.tsv`; `make docs` rewrites this page, and a test asks a running server whether it is true.

What plugins written for Haraka 3.3 find here: *same*, *differs* and how, or *absent*. Members that are steps of Haraka's
own machinery (`cmd_mail`, `mail_respond`, …) and that no documentation names are not listed.

Core modules are found as `require('./NAME')` in plugins of a single file, and with `this.haraka_require('NAME')` in all:
`address`, `config`, `connection`, `constants`, `dsn`, `line_socket`, `logger`, `net_utils`, `notes`, `outbound`,
`plugins`, `results`, `rfc1869`, `server`, `transaction`, `utils`. Absent: `smtp_client`, `tls_socket`, `endpoint`.

The packages `haraka-dsn`, `haraka-email-message`, `haraka-net-utils`, `haraka-tld`, `haraka-utils`,
`@haraka/email-address`, `address-rfc2821` and `address-rfc2822` come with the server where a plugin's folder has none of
its own; `haraka-config`, `haraka-constants`, `haraka-notes` and `haraka-results` always do.

A plugin may inherit from `auth/auth_base`, `queue/discard` and `rcpt_to.host_list_base`, and from any other plugin in
JavaScript. The other plugins that come with the server are not written in JavaScript and cannot be inherited from.
";

fn rendered(rows: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    let mut object = "";
    for row in rows {
        if row.object != object {
            object = &row.object;
            write!(page, "\n## {object}\n\n| member | | |\n|---|---|---|\n").unwrap();
        }
        let Row {
            member,
            verdict,
            note,
            ..
        } = row;
        writeln!(page, "| `{member}` | {verdict} | {note} |").unwrap();
    }
    page
}

/// What a plugin sees of each object.
fn found() -> BTreeMap<String, BTreeSet<String>> {
    let install = Install::new()
        .file("plugins/members.js", &page("tests/js/members.js"))
        .plugins(&["members", "rcpt_to.in_host_list", "queue/test"]);
    let server = Server::start(install);
    send(&server, MESSAGE);
    server.wait_for_log("members hmail.todo ", DEADLINE);
    let mut found = BTreeMap::new();
    for line in server.log_lines() {
        let Some((_, told)) = line.split_once(" members ") else {
            continue;
        };
        let Some((object, names)) = told.split_once(" [") else {
            continue;
        };
        let names = names.trim_end_matches(']').split(',');
        let names = names.map(|n| n.trim_matches('"').to_owned()).collect();
        found.insert(object.to_owned(), names);
    }
    found
}

// covers PLG-12, PLG-13, TXN-01, CON-01, AUX-09
#[test]
fn the_table_of_members_is_true_and_the_page_is_made_from_it() {
    let rows = rows();
    let found = found();
    let mut wrong = Vec::new();
    for row in &rows {
        let there = found
            .get(&row.object)
            .is_some_and(|m| m.contains(&row.member));
        let name = format!("{}.{}", row.object, row.member);
        match row.verdict.as_str() {
            "same" | "differs" if !there => wrong.push(format!("{name} is not there")),
            "absent" if there => wrong.push(format!("{name} is there")),
            "same" | "absent" => {}
            "differs" if row.note.is_empty() => wrong.push(format!("{name} differs how?")),
            "differs" => {}
            other => wrong.push(format!("{name}: verdict {other}?")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/js-api.md");
    let expected = rendered(&rows);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/js-api.md is stale; run `make docs`"
    );
}

// covers PLG-13
#[test]
fn types_for_editors_name_each_member_of_the_main_objects() {
    const TYPED: [&str; 9] = [
        "connection",
        "transaction",
        "header",
        "outbound",
        "results",
        "notes",
        "hmail",
        "hmail.todo",
        "plugin",
    ];
    let types = page("contrib/haraka.d.ts");
    let words: BTreeSet<&str> = types
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .collect();
    let missing: Vec<String> = rows()
        .iter()
        .filter(|row| TYPED.contains(&row.object.as_str()) && row.verdict != "absent")
        .filter(|row| !words.contains(row.member.as_str()))
        .map(|row| format!("{}.{}", row.object, row.member))
        .collect();
    assert!(missing.is_empty(), "no type for {missing:?}");
}
