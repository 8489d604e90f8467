//! The arguments of MAIL and RCPT (RFC 5321 §4.1.1.2 and §4.1.1.3, in the reading of CON-28).
//!
//! Owns the split into path and ESMTP parameters. The path stays text: `shared::address` parses it.
//! Must never decide which parameters are welcome; it only tells which they are.

use std::borrow::Cow;

use haraka_shared::reply::Reply;
use thiserror::Error;

/// Which of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// `MAIL FROM:`
    Mail,
    /// `RCPT TO:`
    Rcpt,
}

impl Path {
    fn prefix(self) -> &'static str {
        match self {
            Self::Mail => "FROM:",
            Self::Rcpt => "TO:",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
        }
    }
}

/// The two halves of a MAIL or RCPT argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// What `Address::parse` gets.
    pub path: Cow<'a, str>,
    /// The ESMTP parameters in their order; a repeated one has its last value.
    pub params: Vec<Param<'a>>,
}

/// `KEY` or `KEY=value` (CON-27).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param<'a> {
    /// In upper case.
    pub key: Cow<'a, str>,
    /// None for a bare key; never empty.
    pub value: Option<&'a str>,
}

/// The parameters that some extension of ours can know; for 555 answers (PB-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// RFC 1870
    Size,
    /// RFC 6152, RFC 3030
    Body,
    /// RFC 6531
    SmtpUtf8,
    /// RFC 4954 §5
    Auth,
    /// RFC 3461, MAIL
    Ret,
    /// RFC 3461, MAIL
    EnvId,
    /// RFC 3461, RCPT
    Notify,
    /// RFC 3461, RCPT
    ORcpt,
    /// RFC 8689
    RequireTls,
    /// None of these.
    Other,
}

/// A SIZE value that is no number of at most 20 digits (RFC 1870 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("SIZE is not a number")]
pub struct BadSize;

/// Why the argument is not of the grammar. The texts are Haraka's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrammarError {
    /// No `FROM:` or `TO:`.
    #[error("Invalid format of {command} command: missing {expected} prefix")]
    MissingPrefix {
        /// `mail` or `rcpt`.
        command: &'static str,
        /// What has to stand there.
        expected: &'static str,
    },
    /// A blank in what should be one word.
    #[error("Syntax error in parameters (\"{rest}\")")]
    Parameters {
        /// What could not be taken apart.
        rest: String,
    },
    /// `strict_rfc1869` and no angle brackets.
    #[error("Invalid format of {command} command: {path}")]
    Unbracketed {
        /// `mail` or `rcpt`.
        command: &'static str,
        /// What stands in place of the path.
        path: String,
    },
}

impl GrammarError {
    /// The answer to the client.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::new(501, format!("Command parsing failed\nError: {self}"))
    }
}

impl<'a> Arguments<'a> {
    /// Splits what follows `MAIL ` or `RCPT `. `strict` is `main.strict_rfc1869`, which Haraka does
    /// not apply to relaying clients.
    ///
    /// # Errors
    /// [`GrammarError`], to be counted and answered with its reply.
    pub fn parse(path: Path, text: &'a str, strict: bool) -> Result<Self, GrammarError> {
        let text = text.trim_end_matches(is_js_space);
        let Some(mut rest) = strip_prefix_ignore_case(text, path.prefix()) else {
            let (command, expected) = (path.name(), path.prefix());
            return Err(GrammarError::MissingPrefix { command, expected });
        };
        if !strict {
            rest = rest.trim_start_matches(is_js_space);
        }

        let mut words = Vec::new();
        while let Some(blank) = rest.rfind(is_js_space) {
            let word = rest
                .get(blank..)
                .unwrap_or_default()
                .trim_start_matches(is_js_space);
            if !is_param(word) {
                break;
            }
            words.push(word);
            rest = rest
                .get(..blank)
                .unwrap_or_default()
                .trim_end_matches(is_js_space);
        }
        if rest.contains(is_js_space) && !is_bracketed(rest) {
            return Err(GrammarError::Parameters {
                rest: rest.to_owned(),
            });
        }
        // "MAIL FROM: user=name" is all parameters to the loop above: the first one is the path
        let first = if rest.is_empty() {
            words.pop().unwrap_or_default()
        } else {
            rest
        };
        if strict && !is_bracketed(first) {
            let (command, path) = (path.name(), first.to_owned());
            return Err(GrammarError::Unbracketed { command, path });
        }

        let mut params = Vec::with_capacity(words.len());
        for word in words.iter().rev() {
            push_param(&mut params, word);
        }
        Ok(Self {
            path: normal_path(path, first),
            params,
        })
    }

    /// The parameter with this key, given in upper case.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&Param<'a>> {
        self.params.iter().find(|param| param.key == key)
    }

    /// The announced size in octets, if there is one.
    ///
    /// # Errors
    /// [`BadSize`] if the value is missing or no number. Numbers beyond 64 bits count as the largest.
    pub fn size(&self) -> Result<Option<u64>, BadSize> {
        let Some(param) = self.param("SIZE") else {
            return Ok(None);
        };
        let digits = param.value.unwrap_or_default();
        if !(1..=20).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadSize);
        }
        Ok(Some(digits.parse().unwrap_or(u64::MAX)))
    }
}

impl Param<'_> {
    /// Which extension the parameter belongs to.
    #[must_use]
    pub fn keyword(&self) -> Keyword {
        match self.key.as_ref() {
            "SIZE" => Keyword::Size,
            "BODY" => Keyword::Body,
            "SMTPUTF8" => Keyword::SmtpUtf8,
            "AUTH" => Keyword::Auth,
            "RET" => Keyword::Ret,
            "ENVID" => Keyword::EnvId,
            "NOTIFY" => Keyword::Notify,
            "ORCPT" => Keyword::ORcpt,
            "REQUIRETLS" => Keyword::RequireTls,
            _ => Keyword::Other,
        }
    }
}

fn normal_path(path: Path, text: &str) -> Cow<'_, str> {
    match path {
        Path::Mail if text.is_empty() => "<>".into(),
        Path::Rcpt if text.contains('@') && !is_bracketed(text) => format!("<{text}>").into(),
        _ => text.into(),
    }
}

fn push_param<'a>(params: &mut Vec<Param<'a>>, word: &'a str) {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    };
    let lower = key.bytes().any(|b| b.is_ascii_lowercase());
    let key: Cow<'a, str> = if lower {
        key.to_ascii_uppercase().into()
    } else {
        key.into()
    };
    match params.iter_mut().find(|param| param.key == key) {
        Some(repeated) => repeated.value = value,
        None => params.push(Param { key, value }),
    }
}

// RFC 1869 §6 esmtp-parameter; Haraka lets 8-bit characters and DEL into values
fn is_param(word: &str) -> bool {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    };
    key.starts_with(|c: char| c.is_ascii_alphanumeric())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && value.is_none_or(|v| !v.is_empty() && !v.bytes().any(|b| b <= b' ' || b == b'='))
}

// `.` of JavaScript: no line ends inside
fn is_bracketed(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with('<')
        && text.ends_with('>')
        && !text.contains(['\n', '\r', '\u{2028}', '\u{2029}'])
}

// `\s` of JavaScript
fn is_js_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers CON-27, CON-28: every row was produced by the real grammar
    #[test]
    fn same_result_or_error_text_as_haraka() {
        let rows = include_str!("../../../tests/data/params.tsv");
        let mut seen = 0;
        for row in rows.lines().filter(|row| !row.starts_with('#')) {
            let columns: Vec<&str> = row.split('\t').collect();
            let &[command, mode, input, expected] = columns.as_slice() else {
                panic!("bad row {row}")
            };
            let path = if command == "mail" {
                Path::Mail
            } else {
                Path::Rcpt
            };
            let input: String = serde_json::from_str(input).unwrap();
            let outcome = match Arguments::parse(path, &input, mode == "strict") {
                Ok(arguments) => {
                    let params: Vec<_> = arguments
                        .params
                        .iter()
                        .map(|p| (p.key.as_ref(), p.value))
                        .collect();
                    serde_json::to_string(&(arguments.path, params)).unwrap()
                }
                Err(e) => format!("!{e}"),
            };
            assert_eq!(outcome, expected, "{command} {mode} {input:?}");
            seen += 1;
        }
        assert!(seen > 300, "only {seen} rows");
    }

    // covers CON-21
    #[test]
    fn error_reply_has_two_lines() {
        let error = Arguments::parse(Path::Rcpt, "FROM:<a@b>", false).unwrap_err();
        let expected = "501-Command parsing failed\r\n\
                        501 Error: Invalid format of rcpt command: missing TO: prefix\r\n";
        assert_eq!(error.reply().to_wire(), expected.as_bytes());
    }

    #[test]
    fn size_is_a_decimal_number() {
        for (text, expected) in [
            ("FROM:<>", Ok(None)),
            ("FROM:<> SIZE=0", Ok(Some(0))),
            ("FROM:<> size=12345", Ok(Some(12345))),
            ("FROM:<> SIZE=1 SIZE=2", Ok(Some(2))),
            ("FROM:<> SIZE=99999999999999999999", Ok(Some(u64::MAX))),
            ("FROM:<> SIZE=999999999999999999999", Err(BadSize)),
            ("FROM:<> SIZE", Err(BadSize)),
            ("FROM:<> SIZE=1e9", Err(BadSize)),
            ("FROM:<> SIZE=-1", Err(BadSize)),
            ("FROM:<> SIZE=0x10", Err(BadSize)),
        ] {
            let arguments = Arguments::parse(Path::Mail, text, false).unwrap();
            assert_eq!(arguments.size(), expected, "{text}");
        }
    }

    #[test]
    fn keywords_are_known_in_any_case() {
        let text =
            "FROM:<> size=1 Body=8BITMIME smtputf8 AUTH=<> ret=HDRS envid=x requiretls x-y=z";
        let arguments = Arguments::parse(Path::Mail, text, true).unwrap();
        let found: Vec<Keyword> = arguments.params.iter().map(Param::keyword).collect();
        use Keyword::*;
        assert_eq!(
            found,
            [Size, Body, SmtpUtf8, Auth, Ret, EnvId, RequireTls, Other]
        );
    }
}
