//! `docs/config.md` and the shipped ini files, written from the declared settings.
//!
//! Pure functions from rows to text; `tests/config_files.rs` compares the results with the
//! repository.

use std::fmt::Write as _;

use super::INI_FILES;
use super::row::{FileDecl, Row};

/// Width of a comment line in a shipped file.
const WIDTH: usize = 96;

/// A file without keys that the core reads.
struct PlainFile {
    name: &'static str,
    form: &'static str,
    default: &'static str,
    text: &'static str,
}

const PLAIN_FILES: [PlainFile; 11] = [
    PlainFile {
        name: "plugins",
        form: "list",
        default: "",
        text: "Plugins in the order in which they are asked.",
    },
    PlainFile {
        name: "host_list",
        form: "list",
        default: "",
        text: "Domains that mail is accepted for, read by the plugin `rcpt_to.in_host_list`.",
    },
    PlainFile {
        name: "me",
        form: "value",
        default: "the host's name",
        text: "The server's name in greetings, replies, header fields and bounces.",
    },
    PlainFile {
        name: "queue_dir",
        form: "value",
        default: "`queue`",
        text: "Directory of the outbound queue. A relative path counts from the install directory.",
    },
    PlainFile {
        name: "internalcmd_key",
        form: "value",
        default: "",
        text: "What a local client must show to use the internal commands; without it they are off.",
    },
    PlainFile {
        name: "plugin_timeout",
        form: "value",
        default: "30",
        text: "Seconds that a plugin may take for one hook; 0 for no limit.",
    },
    PlainFile {
        name: "<plugin>.timeout",
        form: "value",
        default: "`plugin_timeout`",
        text: "The same for one plugin.",
    },
    PlainFile {
        name: "mailparser.max_mime_depth",
        form: "value",
        default: "100",
        text: "Multiparts within each other that are taken apart for plugins; deeper ones stay whole.",
    },
    PlainFile {
        name: "mailparser.attachment_max_buffered",
        form: "value",
        default: "67108864",
        text: "Bytes of a text that are held for a body filter, a banner or a script; longer ones \
               stay as they are.",
    },
    PlainFile {
        name: "loglevel",
        form: "value",
        default: "",
        text: "Goes before `level` in log.ini.",
    },
    PlainFile {
        name: "log_timestamps",
        form: "value",
        default: "",
        text: "Lines begin with the time if this or log.ini says so.",
    },
];

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the declarations in shared/src/config; change them, then run
     `UPDATE=1 cargo test -p haraka-shared --test config_files`. -->

Files are in `config/` of the install directory. A missing file, section or key means the default.
A bad value ends the start with file, line and key; an unknown key is warned about.

In an ini file a line is a section `[name]`, a setting `key = value`, a list item `key[] = value`, or
a comment, which begins with `;` or `#`. There are no comments behind a value and no quotes. A
backslash at the end joins the next line. What stands before the first section belongs to `[main]`.
True is `true`, `yes`, `ok`, `enabled`, `on` or `1`. A value file counts by its first line that is
neither blank nor a comment, a list file by all such lines.

Settings marked with * are not in Haraka.
";

/// The text of `docs/config.md`.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n## Files without keys\n\n");
    let table = PLAIN_FILES.iter().map(|f| {
        [
            format!("`{}`", f.name),
            f.form.to_owned(),
            f.default.to_owned(),
            f.text.to_owned(),
        ]
    });
    push_table(&mut out, ["File", "Type", "Default", "Meaning"], table);
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
                [
                    format!("`{}{}`{star}", row.key, brackets(row)),
                    row.kind.describe(),
                    code(row.default),
                    meaning(row),
                ]
            });
            push_table(&mut out, ["Setting", "Value", "Default", "Meaning"], table);
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
        push(&mut out, format_args!("\n[{section}]\n"));
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
                (Some(value), _) => push(&mut out, format_args!("{key} = {value}\n")),
                (None, "") => push(&mut out, format_args!(";{key} = {}\n", row.default)),
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

fn push_table(out: &mut String, head: [&str; 4], rows: impl Iterator<Item = [String; 4]>) {
    push(
        out,
        format_args!("| {} |\n|---|---|---|---|\n", head.join(" | ")),
    );
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
