//! `docs/config.md` and the shipped ini files, written from the declared settings.
//!
//! Pure functions from rows to text; `tests/config_files.rs` compares the results with the
//! repository.

use std::fmt::Write as _;

use super::INI_FILES;
use super::row::{FileDecl, NAMED, Row};

/// Width of a comment line in a shipped file.
const WIDTH: usize = 96;

/// A file without keys that the core reads.
struct PlainFile {
    name: &'static str,
    form: &'static str,
    default: &'static str,
    live: bool,
    text: &'static str,
}

const PLAIN_FILES: [PlainFile; 11] = [
    PlainFile {
        name: "plugins",
        form: "list",
        default: "",
        live: false,
        text: "Plugins in the order in which they are asked.",
    },
    PlainFile {
        name: "host_list",
        form: "list",
        default: "",
        live: true,
        text: "Domains that mail is accepted for, read by the plugin `rcpt_to.in_host_list`.",
    },
    PlainFile {
        name: "me",
        form: "value",
        default: "the host's name",
        live: true,
        text: "The server's name in greetings, replies, header fields and bounces.",
    },
    PlainFile {
        name: "queue_dir",
        form: "value",
        default: "`queue`",
        live: false,
        text: "Directory of the outbound queue. A relative path counts from the install directory.",
    },
    PlainFile {
        name: "internalcmd_key",
        form: "value",
        default: "",
        live: true,
        text: "What a local client must show to use the internal commands; without it they are off.",
    },
    PlainFile {
        name: "plugin_timeout",
        form: "value",
        default: "30",
        live: false,
        text: "Seconds that a plugin may take for one hook; 0 for no limit.",
    },
    PlainFile {
        name: "<plugin>.timeout",
        form: "value",
        default: "`plugin_timeout`",
        live: false,
        text: "The same for one plugin.",
    },
    PlainFile {
        name: "mailparser.max_mime_depth",
        form: "value",
        default: "100",
        live: true,
        text: "Multiparts within each other that are taken apart for plugins; deeper ones stay whole.",
    },
    PlainFile {
        name: "mailparser.attachment_max_buffered",
        form: "value",
        default: "67108864",
        live: true,
        text: "Bytes of a text that are held for a body filter, a banner or a script; longer ones \
               stay as they are.",
    },
    PlainFile {
        name: "loglevel",
        form: "value",
        default: "",
        live: true,
        text: "Goes before `level` in log.ini.",
    },
    PlainFile {
        name: "log_timestamps",
        form: "value",
        default: "",
        live: true,
        text: "Lines begin with the time if this or log.ini says so.",
    },
];

const INTRODUCTION: &str = r#"# Configuration

<!-- Written from the declarations in shared/src/config; change them, then run
     `UPDATE=1 cargo test -p haraka-shared --test config_files`. -->

Files are in `config/` of the install directory. A missing file, section or key means the default.
A bad value ends the start with file, line and key; an unknown key is warned about.

In an ini file a line is a section `[name]`, a setting `key = value`, a list item `key[] = value`, or
a comment, which begins with `;` or `#`. There are no comments behind a value and no quotes. A
backslash at the end joins the next line. What stands before the first section belongs to `[main]`.
True is `true`, `yes`, `ok`, `enabled`, `on` or `1`. A value file counts by its first line that is
neither blank nor a comment, a list file by all such lines.

Settings marked with * are not in Haraka. The column Change tells whether a changed file counts at
once (sessions that are open go on as they began) or after a restart, for which `haraka --graceful`
is enough unless user, group or daemon settings change. A change that makes no sense is logged with
file, line and key, and what was there before stays.

`haraka --check -c DIR` tells what is wrong with a configuration without starting it, with status 1 if
there is an error. `haraka --dump -c DIR` shows all settings as they count and where each comes from.

## The environment

`HARAKA_<FILE>_<SECTION>_<KEY>` goes before every file: the file's name without `.ini`, section and
key, in upper case, with `_` for whatever is neither letter nor digit. Section `main` may be left out.
`HARAKA_SMTP_NODES=2` is `nodes = 2` in smtp.ini, `HARAKA_CONNECTION_MAX_BYTES` is `[max] bytes` in
connection.ini. A file without keys has a name without section and key: `HARAKA_ME`, `HARAKA_PLUGINS`,
`HARAKA_QUEUE_SMTP_FORWARD_TIMEOUT` for `queue/smtp_forward.timeout`. The items of a list are
separated by `;`. JSON, Hjson, YAML and binary files are not touched. The environment is read at
start only.

## Whole files in one

`smtp.json`, or `smtp.yaml` where that is missing, may stand for other files: a key that begins with
`!` holds what the file of that name is taken to contain, whether that is there or not.

```json
{
  "!smtp.ini": { "main": { "nodes": 2, "listen": "[::]:25" } },
  "!host_list": [ "example.com", "example.net" ],
  "!me": "mx.example.com"
}
```

## Types of files

| Ending | Type |
|---|---|
| `.ini` | sections, keys and values, as above |
| `.json` | JSON; where it is missing, `.yaml` of the same name |
| `.hjson` | Hjson; where it is missing, `.yaml` of the same name |
| `.yaml`, `.yml` | YAML 1.2 |
| `.pem`, `.bin`, `.binary` | bytes |
| any other | a value, a list, or lines as they stand: whoever reads it decides |
"#;

/// The text of `docs/config.md`.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n## Files without keys\n\n");
    let table = PLAIN_FILES.iter().map(|f| {
        [
            format!("`{}`", f.name),
            f.form.to_owned(),
            f.default.to_owned(),
            if f.live { "at once" } else { "restart" }.to_owned(),
            f.text.to_owned(),
        ]
    });
    let head = ["File", "Type", "Default", "Change", "Meaning"];
    push_table(&mut out, head, table);
    for decl in INI_FILES {
        push(
            &mut out,
            format_args!("\n## {}\n\n{}\n", decl.name, tidy(decl.text)),
        );
        for (section, text) in decl.sections {
            push(
                &mut out,
                format_args!("\n### {} [{section}]\n\n", decl.name),
            );
            if !text.is_empty() {
                push(&mut out, format_args!("{text}\n\n"));
            }
            let rows = decl.rows.iter().filter(|r| r.section == *section);
            let table = rows.map(|row| {
                let star = if row.ours { " *" } else { "" };
                let live = if row.live { "at once" } else { "restart" };
                [
                    format!("`{}{}`{star}", row.key, brackets(row)),
                    row.kind.describe(),
                    code(row.default),
                    live.to_owned(),
                    meaning(row),
                ]
            });
            let head = ["Setting", "Value", "Default", "Change", "Meaning"];
            push_table(&mut out, head, table);
        }
    }
    out
}

/// The text of a shipped file: every setting with its meaning, commented out where it has its
/// default.
pub fn ini(decl: &FileDecl) -> String {
    let mut out = String::new();
    push_comment(&mut out, decl.text);
    for (section, text) in decl.sections {
        match *section {
            NAMED => push(&mut out, format_args!("\n;[mail.example.com]\n")),
            section => push(&mut out, format_args!("\n[{section}]\n")),
        }
        if !text.is_empty() {
            push_comment(&mut out, text);
        }
        for row in decl.rows.iter().filter(|r| r.section == *section) {
            out.push('\n');
            push_comment(&mut out, row.text);
            let form = row.kind.describe();
            match row.default {
                "" => push_comment(&mut out, &format!("({form}; not set)")),
                default => push_comment(&mut out, &format!("({form}; default {default})")),
            }
            let key = format!("{}{}", row.key, brackets(row));
            match (row.shipped, row.example) {
                (None, example) if row.key == "*" => push(&mut out, format_args!(";{example}\n")),
                (Some(value), _) => push(&mut out, format_args!("{key} = {value}\n")),
                (None, "") => {
                    let line = format!(";{key} = {}", row.default);
                    push(&mut out, format_args!("{}\n", line.trim_end()));
                }
                (None, example) => push(&mut out, format_args!(";{key} = {example}\n")),
            }
        }
    }
    out
}

fn meaning(row: &Row) -> String {
    let mut text = tidy(row.text);
    if !row.example.is_empty() {
        push(&mut text, format_args!(" Example: `{}`.", row.example));
    }
    if row.lenient {
        text.push_str(" A bad value is warned about and does not count.");
    }
    if row.zero_is_default {
        text.push_str(" 0 means the default.");
    }
    if let Some(file) = row.legacy {
        push(
            &mut text,
            format_args!(" Without it, the file `{file}` counts."),
        );
    }
    text
}

fn brackets(row: &Row) -> &'static str {
    if row.kind.is_list() { "[]" } else { "" }
}

fn code(value: &str) -> String {
    match value {
        "" => String::new(),
        value => format!("`{value}`"),
    }
}

fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn push_table<const N: usize>(
    out: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rule = "---|".repeat(N);
    push(out, format_args!("| {} |\n|{rule}\n", head.join(" | ")));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|"));
        push(out, format_args!("| {} |\n", cells.join(" | ")));
    }
}

fn push_comment(out: &mut String, text: &str) {
    let mut line = String::from(";");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            push(out, format_args!("{line}\n"));
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    push(out, format_args!("{line}\n"));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
