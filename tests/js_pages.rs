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
`address`, `config`, `connection`, `constants`, `dsn`, `endpoint`, `host_pool`, `line_socket`, `logger`, `net_utils`, `notes`,
`outbound` (with `outbound/hmail`, `outbound/queue`, `outbound/todo`), `plugins`, `results`, `rfc1869`, `server`,
`smtp_client`, `tls_socket`, `transaction`, `utils`. `tls_socket` is for clients. Absent, with an error that says where to look: `dkim`, `haraka`,
`outbound/client_pool`, `outbound/qfile`, `outbound/tls`.

The packages `haraka-dsn`, `haraka-email-message`, `haraka-net-utils`, `haraka-tld`, `haraka-utils`,
`@haraka/email-address`, `address-rfc2821` and `address-rfc2822` come with the server where a plugin's folder has none of
its own; `haraka-config`, `haraka-constants`, `haraka-notes` and `haraka-results` always do.

A plugin may inherit from any other in JavaScript, and from those that come with the server. Of these, `auth/auth_base`,
`queue/discard` and `rcpt_to.host_list_base` have all of Haraka's methods; the others have one for each hook that they want.
Such a method runs at its hook, while that waits for the plugin that inherits, with the arguments of the hook; its answer
goes to the `next` that it is given. Its settings are the parent's own files; results and log lines have the name of the
plugin that inherits.

`config.get` gives a copy each time. A plugin of a single file finds what Haraka ships in its own `config/` where the
operator has nothing, but for lists that would let somebody in (`host_list`, `xclient.hosts`). A file that ends in `.js` is
a script, whose exports are what is read; with `HARAKA_JS_CONFIG` in the environment `NAME.js` stands for any `NAME` that is
missing, as it is.

A hook that is registered after the plugin was loaded runs behind all others, whatever its priority; a thousand of them are
kept. `log` can be registered while loading only.

The constants and `server` are the same for all plugins, and none can change them. The plugins of a worker share one set of
the language's own objects (`Array.prototype` and its like); files and network are open to all of them, with the rights of
the worker.
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

/// The members that an interface or class of the types declares, those that it inherits included, and
/// whether each is always there.
fn declared(types: &str, name: &str) -> BTreeMap<String, bool> {
    let heads = [format!("interface {name} "), format!("class {name} ")];
    let mut lines = types.lines();
    let head = lines
        .find(|line| heads.iter().any(|head| line.trim_start().starts_with(head)))
        .unwrap_or_else(|| panic!("no type {name}"));
    let mut members = match head.split_once(" extends ") {
        Some((_, parent)) => declared(types, parent.trim_end_matches([' ', '{'])),
        None => BTreeMap::new(),
    };
    let indent = head.len() - head.trim_start().len();
    for line in lines {
        let depth = line.len() - line.trim_start().len();
        if depth == indent {
            break;
        }
        // Comments and the lines of an object within are none.
        let line = line.trim_start();
        let line = line.strip_prefix("readonly ").unwrap_or(line);
        let end = line.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (member, rest) = line.split_at(end.unwrap_or(line.len()));
        let is_member = rest.starts_with(['(', ':', '?', '<']);
        if depth == indent + 4 && is_member && !["constructor", "on", "toString"].contains(&member)
        {
            members.insert(member.to_owned(), !rest.starts_with('?'));
        }
    }
    members
}

// covers PLG-13
#[test]
fn types_for_editors_have_the_members_of_the_table_and_no_others() {
    const TYPED: [(&str, &str); 14] = [
        ("address", "Address"),
        ("body", "Body"),
        ("config", "Config"),
        ("connection", "Connection"),
        ("header", "Header"),
        ("hmail", "HMail"),
        ("hmail.todo", "Todo"),
        ("message_stream", "MessageStream"),
        ("notes", "Notes"),
        ("outbound", "Outbound"),
        ("plugin", "Plugin"),
        ("results", "Results"),
        ("server", "Server"),
        ("transaction", "Transaction"),
    ];
    let types = page("contrib/haraka.d.ts");
    let rows = rows();
    let mut wrong = Vec::new();
    for (object, name) in TYPED {
        let declared = declared(&types, name);
        let of_object = rows.iter().filter(|row| row.object == object);
        for row in of_object.clone() {
            match (row.verdict.as_str(), declared.contains_key(&row.member)) {
                ("absent", true) => wrong.push(format!("{name}.{} is absent", row.member)),
                ("same" | "differs", false) => {
                    wrong.push(format!("{name}.{} has no type", row.member))
                }
                _ => {}
            }
        }
        let known: BTreeSet<&str> = of_object.map(|row| row.member.as_str()).collect();
        let others = declared
            .iter()
            .filter(|(member, always)| **always && !known.contains(member.as_str()));
        wrong.extend(others.map(|(member, _)| format!("{name}.{member} is in no row")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
