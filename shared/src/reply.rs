//! SMTP replies: what we answer and what a remote server answered.
//!
//! Owns the wire form in both directions. No text that a plugin, a script or a remote wrote can add
//! a line or a control character to the wire: it is cleaned where it is written and where it is read.
//! Must never decide which reply a situation deserves.

mod parser;

use std::borrow::Cow;
use std::fmt;

pub use self::parser::{Fed, ReplyError, ReplyParser};

/// A reply code, an optional enhanced code and the text, whose lines are separated by `\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<Enhanced>,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply whose text is part of the program; costs no allocation.
    #[must_use]
    pub const fn fixed(code: u16, text: &'static str) -> Self {
        Self {
            code: sane_code(code),
            enhanced: None,
            text: Cow::Borrowed(text),
        }
    }

    /// A reply with text made at run time. `\n` separates lines; lines without a visible character
    /// are left out. A code outside of 200–599 becomes 451, as nobody knows what it meant.
    #[must_use]
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: sane_code(code),
            enhanced: None,
            text: text.into(),
        }
    }

    /// A reply of several lines.
    #[must_use]
    pub fn lines_of<S: AsRef<str>>(code: u16, lines: impl IntoIterator<Item = S>) -> Self {
        let mut text = String::new();
        for line in lines {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line.as_ref());
        }
        Self::new(code, text)
    }

    /// The same reply with an enhanced status code (RFC 3463), written on each line (RFC 2034 §4).
    #[must_use]
    pub const fn with_enhanced(mut self, enhanced: Enhanced) -> Self {
        self.enhanced = Some(enhanced);
        self
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, if the reply has one.
    #[must_use]
    pub const fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// The text without codes, as it was given; lines are separated by `\n`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines that have something to say.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n').filter(|line| is_visible(line))
    }

    /// 2xx
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx
    #[must_use]
    pub const fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the wire form, `CODE-text CRLF … CODE text CRLF`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_tagged(None, out);
    }

    /// As [`write_to`](Self::write_to), with `[tag] ` before the text of each line: the transaction
    /// or connection id that `uuid.deny_chars` asks for.
    pub fn write_tagged(&self, tag: Option<&str>, out: &mut Vec<u8>) {
        let mut lines = self.lines().peekable();
        if lines.peek().is_none() {
            // RFC 4954 §4: the empty challenge is one blank after the separator
            self.write_line(b' ', tag, if self.code == 334 { " " } else { "" }, out);
            return;
        }
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { b'-' } else { b' ' };
            self.write_line(separator, tag, line, out);
        }
    }

    /// The wire form on its own.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 16);
        self.write_to(&mut out);
        out
    }

    fn write_line(&self, separator: u8, tag: Option<&str>, text: &str, out: &mut Vec<u8>) {
        for divisor in [100, 10, 1] {
            // a decimal digit always fits
            #[allow(clippy::cast_possible_truncation)]
            out.push(b'0' + (self.code / divisor % 10) as u8);
        }
        out.push(separator);
        if let Some(enhanced) = self.enhanced {
            out.extend_from_slice(enhanced.to_string().as_bytes());
            out.push(b' ');
        }
        if let Some(tag) = tag {
            out.push(b'[');
            push_clean(tag, out);
            out.extend_from_slice(b"] ");
        }
        push_clean(text, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// One line for logs and reports: code, enhanced code, and the text with its lines joined by blanks.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.lines() {
            f.write_str(" ")?;
            for piece in line.split(is_forbidden) {
                f.write_str(piece)?;
            }
        }
        Ok(())
    }
}

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced {
    class: u8,
    subject: u16,
    detail: u16,
}

impl Enhanced {
    /// A code from its numbers; none if the class is not 2, 4 or 5 or a number has over 3 digits.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Option<Self> {
        if matches!(class, 2 | 4 | 5) && subject <= 999 && detail <= 999 {
            Some(Self {
                class,
                subject,
                detail,
            })
        } else {
            None
        }
    }

    /// Class, subject and detail.
    #[must_use]
    pub const fn parts(self) -> (u8, u16, u16) {
        (self.class, self.subject, self.detail)
    }

    /// Takes a code from the beginning of a text; gives it and what follows the blank after it.
    ///
    /// A `#` before the code, as some servers write, is skipped.
    #[must_use]
    pub fn split_from(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let mut numbers = word
            .strip_prefix('#')
            .unwrap_or(word)
            .split('.')
            .map(three_digits);
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if numbers.next().is_some() {
            return None;
        }
        Some((Self::new(u8::try_from(class).ok()?, subject, detail)?, rest))
    }

    /// 2 for success, 4 for a transient failure, 5 for a permanent one.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.class
    }

    /// What the code is about: 1 addresses, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content,
    /// 7 policy.
    #[must_use]
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The exact condition within the subject.
    #[must_use]
    pub const fn detail(self) -> u16 {
        self.detail
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

const fn sane_code(code: u16) -> u16 {
    if code >= 200 && code <= 599 {
        code
    } else {
        451
    }
}

// RFC 3463 §2: 1 to 3 digits
fn three_digits(text: &str) -> Option<u16> {
    let ok = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if ok { text.parse().ok() } else { None }
}

fn is_visible(line: &str) -> bool {
    line.chars()
        .any(|c| !(c.is_whitespace() || c == '\u{feff}' || is_forbidden(c)))
}

// RFC 5321 §4.2 textstring: no control character but HT
fn is_forbidden(c: char) -> bool {
    c.is_ascii_control() && c != '\t'
}

fn push_clean(text: &str, out: &mut Vec<u8>) {
    for piece in text.split(is_forbidden) {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        String::from_utf8(reply.to_wire()).unwrap()
    }

    // covers CON-52
    #[test]
    fn one_line_per_text_line_and_blank_ones_are_dropped() {
        for (text, expected) in [
            ("OK", "250 OK\r\n"),
            ("a\nb\nc", "250-a\r\n250-b\r\n250 c\r\n"),
            ("a\n\n  \n\t\nb\n", "250-a\r\n250 b\r\n"),
            ("a\r\nb\r\n", "250-a\r\n250 b\r\n"),
            (" lead", "250  lead\r\n"),
            ("", "250 \r\n"),
            ("\n \n", "250 \r\n"),
            ("\u{a0}\n\u{feff}\nx", "250 x\r\n"),
            ("tab\there", "250 tab\there\r\n"),
        ] {
            assert_eq!(wire(&Reply::new(250, text)), expected, "{text:?}");
        }
        assert_eq!(
            wire(&Reply::lines_of(501, ["x", "", "y"])),
            "501-x\r\n501 y\r\n"
        );
    }

    #[test]
    fn no_text_adds_lines_or_control_characters() {
        let text = "a\rb\0c\x1b[31m\x7f\r250 fake\n\r\r\nnext";
        assert_eq!(
            wire(&Reply::new(550, text)),
            "550-abc[31m250 fake\r\n550 next\r\n"
        );
        let mut out = Vec::new();
        Reply::fixed(450, "x").write_tagged(Some("ID\r\n250 y"), &mut out);
        assert_eq!(out, b"450 [ID250 y] x\r\n");
        assert_eq!(
            Reply::new(550, text).to_string(),
            "550 abc[31m250 fake next"
        );
    }

    #[test]
    fn empty_auth_challenge_keeps_its_blank() {
        assert_eq!(wire(&Reply::fixed(334, "")), "334  \r\n");
        assert_eq!(wire(&Reply::fixed(334, "dGVzdA==")), "334 dGVzdA==\r\n");
    }

    #[test]
    fn codes_that_are_no_reply_become_a_local_error() {
        for (given, used) in [
            (0, 451),
            (199, 451),
            (200, 200),
            (599, 599),
            (600, 451),
            (u16::MAX, 451),
        ] {
            assert_eq!(Reply::new(given, "x").code(), used);
            assert_eq!(Reply::fixed(given, "x").code(), used);
        }
    }

    #[test]
    fn enhanced_code_and_tag_are_on_each_line() {
        let code = Enhanced::new(5, 7, 26).unwrap();
        let reply = Reply::new(550, "a\nb").with_enhanced(code);
        let mut out = Vec::new();
        reply.write_tagged(Some("U.1"), &mut out);
        assert_eq!(out, b"550-5.7.26 [U.1] a\r\n550 5.7.26 [U.1] b\r\n");
        assert_eq!(reply.to_string(), "550 5.7.26 a b");
    }

    // covers PB-40
    #[test]
    fn enhanced_codes_have_up_to_three_digits_per_field() {
        for (text, expected) in [
            ("5.7.1 no", Some(("5.7.1", "no"))),
            ("5.7.26 no", Some(("5.7.26", "no"))),
            ("4.999.999\tx y", Some(("4.999.999", "x y"))),
            ("#5.1.1 no", Some(("5.1.1", "no"))),
            ("2.0.0", Some(("2.0.0", ""))),
            ("5.7.1000 no", None),
            ("3.7.1 no", None),
            ("5.7 no", None),
            ("5.7.1.2 no", None),
            ("5..1 no", None),
            ("+5.7.1 no", None),
            ("5.7.1: no", None),
            ("", None),
        ] {
            let found = Enhanced::split_from(text);
            let found = found.map(|(code, rest)| (code.to_string(), rest));
            assert_eq!(found, expected.map(|(c, r)| (c.to_owned(), r)), "{text:?}");
        }
        assert_eq!(Enhanced::new(5, 1000, 0), None);
    }

    #[test]
    fn classes_of_codes() {
        let of = |code| {
            let r = Reply::fixed(code, "");
            [
                r.is_success(),
                r.is_intermediate(),
                r.is_transient(),
                r.is_permanent(),
            ]
        };
        assert_eq!(of(251), [true, false, false, false]);
        assert_eq!(of(354), [false, true, false, false]);
        assert_eq!(of(421), [false, false, true, false]);
        assert_eq!(of(554), [false, false, false, true]);
    }

    #[test]
    fn fixed_replies_do_not_allocate() {
        const REPLY: Reply = Reply::fixed(250, "OK");
        assert!(matches!(REPLY.clone().text, Cow::Borrowed("OK")));
    }
}
