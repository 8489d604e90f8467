//! The house rules that no compiler checks, held against the files of this repository.
//!
//! A rule is a function from files to findings, `file:line: what is wrong`; a second test shows each rule a
//! file that breaks it. What a rule is for stands at the rule.

#![allow(missing_docs)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/text.rs"]
mod text;

use files::{File, repository};

/// One thing that breaks a rule, as `file:line: what is wrong`.
type Finding = String;

#[track_caller]
fn hold(why: &str, findings: &[Finding]) {
    assert!(findings.is_empty(), "{why}\n{}", findings.join("\n"));
}

#[test]
fn only_the_runtime_imports_mio() {
    hold(
        "worker/src/rt is the one place that knows the event library",
        &code::word_only_below(&repository(), "mio", &["worker/src/rt/"]),
    );
}

#[test]
fn only_the_script_engine_imports_rquickjs() {
    hold(
        "worker/src/js is the one place that knows the engine",
        &code::word_only_below(&repository(), "rquickjs", &["worker/src/js/"]),
    );
}

#[test]
fn only_the_runtime_and_dns_import_tokio() {
    hold(
        "libraries that need tokio run beside our runtime (ADR 0002); mail never does",
        &code::word_only_below(
            &repository(),
            "tokio",
            &["worker/src/rt/", "worker/src/dns.rs", "worker/src/dns/"],
        ),
    );
}

#[test]
fn shared_and_plugins_open_no_sockets_and_start_no_threads() {
    hold(
        "they reach the network and other threads through shared::services only",
        &code::words_banned_below(
            &repository(),
            &["shared/src/", "plugins/src/"],
            &[
                "TcpStream",
                "TcpListener",
                "UdpSocket",
                "UnixStream",
                "UnixListener",
                "UnixDatagram",
                "thread",
            ],
            // These two only ask.
            &["thread::available_parallelism", "thread::current"],
        ),
    );
}

#[test]
fn protocol_code_is_pure() {
    hold(
        "worker/src/smtp/proto is bytes in, values out: no socket, clock, async or logging",
        &code::words_banned_below(
            &repository(),
            &["worker/src/smtp/proto/"],
            &[
                "async",
                "await",
                "Instant",
                "SystemTime",
                "log",
                "log_conn",
                "log_server",
                "rt",
                "TcpStream",
                "UnixStream",
            ],
            &[],
        ),
    );
}

#[test]
fn crates_depend_in_one_direction() {
    hold(
        "shared <- plugins <- worker <- master",
        &code::dependencies_point_one_way(&repository()),
    );
}

#[test]
fn every_dependency_is_used() {
    hold(
        "what nobody uses still has to be followed",
        &code::unused_dependencies(&repository()),
    );
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    hold(
        "a manifest needs `[lints] workspace = true`",
        &code::manifests_take_the_lints(&repository()),
    );
}

#[test]
fn unsafe_code_is_allowed_with_a_reason() {
    hold(
        "`SAFETY:` says at each unsafe block why it is sound",
        &code::unsafe_has_a_reason(&repository()),
    );
}

#[test]
fn no_source_file_is_too_long() {
    hold("split by meaning", &text::too_long(&repository()));
}

#[test]
fn every_source_file_says_what_it_owns() {
    hold(
        "a `.rs` file begins with `//!`",
        &text::begins_with_a_header(&repository()),
    );
}

#[test]
fn nothing_is_left_unfinished() {
    hold(
        "finish it, or leave it out",
        &text::nothing_unfinished(&repository()),
    );
}

#[test]
fn no_line_ends_in_blanks_and_every_file_ends_its_last_line() {
    hold("white space", &text::blanks_at_ends(&repository()));
}

#[test]
fn no_file_knows_a_developers_machine() {
    hold(
        "paths of one machine mean nothing elsewhere",
        &text::paths_of_a_machine(&repository()),
    );
}

#[test]
fn decisions_have_a_number_of_their_own_a_title_and_all_parts() {
    hold("docs/adr", &documents::decisions(&repository()));
}

#[test]
fn every_hook_is_documented() {
    let names: Vec<_> = haraka_shared::hook::HookName::ALL
        .iter()
        .map(|hook| hook.name())
        .collect();
    hold(
        "docs/hooks.md has a row for each hook",
        &documents::hooks(&repository(), &names),
    );
}

#[test]
fn every_setting_is_documented() {
    let settings: Vec<_> = haraka_shared::config::INI_FILES
        .iter()
        .flat_map(|decl| {
            decl.rows
                .iter()
                .map(|row| (decl.name, row.section, row.key))
        })
        .collect();
    hold(
        "docs/config.md has a row for each setting, under its file and section",
        &documents::settings(&repository(), &settings),
    );
}

// covers AUX-11
#[test]
fn every_native_plugin_has_a_page_and_every_page_a_plugin() {
    hold(
        "docs/plugins/NAME.md, titled `# NAME`",
        &documents::plugins(&repository(), haraka_plugins::names()),
    );
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    hold(
        "relative links and their headings",
        &documents::links(&repository()),
    );
}

#[test]
fn every_source_path_in_a_document_exists() {
    hold(
        "`path` in backticks, below one of the crates, tests/, docs/ or contrib/",
        &documents::source_paths(&repository()),
    );
}

// covers CLI-03: what the program says of itself and what its manual says are one list
#[test]
fn the_manual_has_every_option_of_the_program() {
    let mut usage = String::new();
    for args in [&["-h"][..], &["queue", "--help"]] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_haraka"));
        let out = program.args(args).output().unwrap();
        usage.push_str(&String::from_utf8(out.stdout).unwrap());
    }
    hold(
        "docs/haraka.8 against `haraka -h` and `haraka queue --help`",
        &documents::manual_options(&repository(), &usage),
    );
}
