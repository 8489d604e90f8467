//! The local domains: `host_list`, `host_list_regex` and `host_list.anti_spoof`.
//!
//! What plugins over these files have in common: reading them, the question whether a domain is
//! local, and what the mail hook makes of the sender (PI3-03).

use std::collections::HashSet;

use haraka_shared::config::{At, ConfigDir, ConfigError};
use haraka_shared::hook::{Path, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, PluginError};
use regex::{Regex, RegexBuilder};

const REGEX_FILE: &str = "host_list_regex";

/// The files that [`HostList::load`] reads.
pub const FILES: [&str; 3] = ["host_list", REGEX_FILE, "host_list.anti_spoof"];

/// The local domains of an installation.
pub struct HostList {
    hosts: HashSet<Box<str>>,
    patterns: Option<Regex>,
    anti_spoof: bool,
}

impl HostList {
    /// Reads the three files; each may be missing.
    ///
    /// # Errors
    /// A file that cannot be read, or a line of `host_list_regex` that is no regular expression
    /// that can be matched in linear time (lookahead, lookbehind and back references cannot).
    pub fn load(config: &ConfigDir) -> Result<HostList, PluginError> {
        let hosts = config.list("host_list")?;
        Ok(HostList {
            hosts: hosts
                .into_iter()
                .map(|h| h.to_lowercase().into_boxed_str())
                .collect(),
            patterns: patterns(&config.items(REGEX_FILE)?)?,
            anti_spoof: config
                .value("host_list.anti_spoof")?
                .is_some_and(|v| says_yes(&v)),
        })
    }

    /// Whether the domain is local. It must be in lower case, as [`Address::host`] gives it.
    ///
    /// [`Address::host`]: haraka_shared::address::Address::host
    pub fn contains(&self, domain: &str) -> bool {
        self.hosts.contains(domain) || self.patterns.as_ref().is_some_and(|p| p.is_match(domain))
    }

    /// The mail hook: notes a local sender, and refuses one that may not be (PI3-03).
    pub fn check_sender(&self, cx: &HookCx, from: &Path) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        let results = &transaction.results;
        if from.address.is_null() {
            results.add(&cx.plugin, "skip", "mail_from.null");
            log_plugin!(Level::Info, cx, "skip:mail_from.null");
            return Verdict::CONT;
        }
        let domain = from.address.host();
        log_plugin!(Level::Debug, cx, "checking {domain} in config/host_list");
        if !self.contains(domain) {
            results.add(&cx.plugin, "msg", "mail_from!local");
            return Verdict::CONT;
        }
        if self.anti_spoof && !connection.relaying() {
            results.add(&cx.plugin, "fail", "mail_from.anti_spoof");
            return Verdict::deny(format!(
                "Mail from domain '{domain}' is not allowed from your host"
            ));
        }
        results.add(&cx.plugin, "pass", "mail_from");
        transaction.notes.set("local_sender", true);
        Verdict::CONT
    }
}

/// Haraka takes any text but `0` for yes; the words for no must not mean yes.
fn says_yes(text: &str) -> bool {
    !["0", "false", "no", "off", "disabled"]
        .iter()
        .any(|no| text.eq_ignore_ascii_case(no))
}

/// All lines as one expression, anchored and for any case; each line is compiled alone first, so
/// that an error names it.
fn patterns(lines: &[(u32, String)]) -> Result<Option<Regex>, ConfigError> {
    let mut all = String::new();
    for (line, text) in lines {
        let pattern = from_javascript(text);
        compile(&pattern).map_err(|e| invalid(*line, text, &e))?;
        all.push_str(if all.is_empty() { "^(?:" } else { "|" });
        all.push_str(&pattern);
    }
    let Some((last, text)) = lines.last() else {
        return Ok(None);
    };
    all.push_str(")$");
    compile(&all)
        .map(Some)
        .map_err(|e| invalid(*last, text, &e))
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).case_insensitive(true).build()
}

fn invalid(line: u32, text: &str, error: &regex::Error) -> ConfigError {
    // The library draws the pattern with a mark under the place; its last line says what is wrong.
    let drawn = error.to_string();
    let why = drawn.lines().last().unwrap_or_default();
    ConfigError::Value {
        at: At::line(REGEX_FILE, line),
        key: text.to_owned(),
        why: why.trim_start_matches("error: ").to_owned(),
    }
}

/// Within brackets JavaScript knows no operators: `[`, `&&` and `~~` are plain characters there.
fn from_javascript(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut in_class = false;
    let mut escaped = false;
    for c in pattern.chars() {
        if escaped {
            escaped = false;
        } else {
            match c {
                '\\' => escaped = true,
                '[' if !in_class => in_class = true,
                ']' => in_class = false,
                '[' | '&' | '~' if in_class => out.push('\\'),
                _ => {}
            }
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hosts: &[&str], regexes: &[&str]) -> HostList {
        let lines: Vec<(u32, String)> =
            (1..).zip(regexes.iter().map(|r| (*r).to_owned())).collect();
        HostList {
            hosts: hosts.iter().map(|h| Box::from(*h)).collect(),
            patterns: patterns(&lines).unwrap(),
            anti_spoof: false,
        }
    }

    // covers PI3-02
    #[test]
    fn patterns_are_anchored_at_both_ends_and_take_any_case() {
        let hosts = list(&["plain.example"], &[r".*\.Example\.com", "a|b"]);
        for local in ["plain.example", "x.example.com", "a", "b"] {
            assert!(hosts.contains(local), "{local}");
        }
        for other in [
            "sub.plain.example",
            "x.example.com.evil",
            "example.com",
            "ab",
            "",
        ] {
            assert!(!hosts.contains(other), "{other}");
        }
    }

    #[test]
    fn without_patterns_nothing_matches_them() {
        assert!(!list(&[], &[]).contains(""));
    }

    #[test]
    fn brackets_mean_what_they_mean_in_javascript() {
        assert_eq!(from_javascript(r"[[&~]\[[^\]]&"), r"[\[\&\~]\[[^\]]&");
        assert!(list(&[], &[r"[a&&b]x"]).contains("ax"));
        assert!(list(&[], &[r"mail\-[0-9]\.example\/"]).contains("mail-1.example/"));
    }

    // covers PB-15
    #[test]
    fn pattern_that_needs_backtracking_names_file_line_and_reason() {
        let lines = [(1, "ok".to_owned()), (7, "(?!a)b".to_owned())];
        let error = patterns(&lines).unwrap_err().to_string();
        assert_eq!(
            error,
            "host_list_regex:7: (?!a)b: look-around, including look-ahead and look-behind, is not supported"
        );
    }

    #[test]
    fn words_for_no_do_not_switch_anti_spoof_on() {
        for (text, on) in [
            ("true", true),
            ("1", true),
            ("0", false),
            ("False", false),
            ("off", false),
        ] {
            assert_eq!(says_yes(text), on, "{text}");
        }
    }
}
