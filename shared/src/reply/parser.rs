//! Reading the replies of a remote server from arbitrary pieces of its output (RFC 5321 §4.2).

use memchr::memchr;
use thiserror::Error;

use super::{Enhanced, Reply, is_forbidden};

/// A reply that cannot be understood. The connection is of no use after it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// A line that does not begin with a reply code.
    #[error("not an SMTP reply: \"{line}\"")]
    Malformed {
        /// The beginning of the line, cleaned of control characters.
        line: String,
    },
    /// Lines of one reply with different codes.
    #[error("reply began with code {first} and went on with {then}")]
    CodeChanged {
        /// The code of the first line.
        first: u16,
        /// The code of the line that differs.
        then: u16,
    },
    /// A line over [`ReplyParser::MAX_LINE`].
    #[error("reply line of more than {} octets", ReplyParser::MAX_LINE)]
    LineTooLong,
    /// More than [`ReplyParser::MAX_LINES`] lines.
    #[error("reply of more than {} lines", ReplyParser::MAX_LINES)]
    TooManyLines,
    /// More than [`ReplyParser::MAX_TEXT`] octets.
    #[error("reply of more than {} octets", ReplyParser::MAX_TEXT)]
    TooLong,
}

/// What became of a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed {
    /// How many octets belong to this reply; the rest belongs to the next one.
    pub consumed: usize,
    /// The reply, once its last line is there.
    pub reply: Option<Reply>,
}

/// Collects one reply after the other. Idle, it owns no memory.
///
/// Lines may end in CRLF or LF, and a code may stand alone (PB-30): servers write both.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    text: String,
    code: Option<u16>,
    enhanced: Option<Enhanced>,
    lines: usize,
}

impl ReplyParser {
    /// Octets of one line. RFC 5321 §4.5.3.1.5 says 512; servers put whole policies into a line.
    pub const MAX_LINE: usize = 2048;
    /// Lines of one reply; the longest EHLO replies have about 20.
    pub const MAX_LINES: usize = 128;
    /// Octets of text of one reply, so that 128 full lines from a hostile server stay out of bounces.
    pub const MAX_TEXT: usize = 32 * 1024;

    /// A parser that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether part of a reply has been read.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.code.is_some() || !self.partial.is_empty()
    }

    /// Takes input up to the end of one reply.
    ///
    /// # Errors
    /// [`ReplyError`]; the parser then starts afresh, though the stream can no longer be trusted.
    pub fn feed(&mut self, input: &[u8]) -> Result<Fed, ReplyError> {
        let fed = self.advance(input);
        if fed.is_err() {
            *self = Self::default();
        }
        fed
    }

    fn advance(&mut self, input: &[u8]) -> Result<Fed, ReplyError> {
        let mut rest = input;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at + 1);
            rest = after;
            if self.partial.len() + line.len() > Self::MAX_LINE {
                return Err(ReplyError::LineTooLong);
            }
            let last = if self.partial.is_empty() {
                self.line(line)?
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?
            };
            if last {
                return Ok(Fed {
                    consumed: input.len() - rest.len(),
                    reply: self.finish(),
                });
            }
        }
        if self.partial.len() + rest.len() >= Self::MAX_LINE {
            return Err(ReplyError::LineTooLong);
        }
        self.partial.extend_from_slice(rest);
        Ok(Fed {
            consumed: input.len(),
            reply: None,
        })
    }

    /// Takes a line with its end; true if it is the last one of the reply.
    fn line(&mut self, raw: &[u8]) -> Result<bool, ReplyError> {
        self.lines += 1;
        if self.lines > Self::MAX_LINES {
            return Err(ReplyError::TooManyLines);
        }
        let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let Some((code, more, text)) = split_line(raw) else {
            let shown = raw.get(..80).unwrap_or(raw);
            return Err(ReplyError::Malformed { line: clean(shown) });
        };

        let first = *self.code.get_or_insert(code);
        if first != code {
            return Err(ReplyError::CodeChanged { first, then: code });
        }
        if self.text.len() + text.len() > Self::MAX_TEXT {
            return Err(ReplyError::TooLong);
        }
        self.push_text(&clean(text));
        Ok(!more)
    }

    /// Adds a line of text; the enhanced code of the first line is taken out wherever it repeats.
    fn push_text(&mut self, text: &str) {
        if self.lines > 1 {
            self.text.push('\n');
        }
        match Enhanced::split_from(text) {
            Some((code, rest)) if self.lines == 1 || self.enhanced == Some(code) => {
                self.enhanced = Some(code);
                self.text.push_str(rest);
            }
            _ => self.text.push_str(text),
        }
    }

    fn finish(&mut self) -> Option<Reply> {
        let done = std::mem::take(self);
        let reply = Reply::new(done.code?, done.text);
        Some(match done.enhanced {
            Some(enhanced) => reply.with_enhanced(enhanced),
            None => reply,
        })
    }
}

/// Code, whether more lines follow, text. None if this is no reply line.
fn split_line(raw: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = raw.split_at_checked(3)?;
    let &[
        hundreds @ b'2'..=b'5',
        tens @ b'0'..=b'9',
        units @ b'0'..=b'9',
    ] = digits
    else {
        return None;
    };
    let code = [hundreds, tens, units]
        .iter()
        .fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// Text that can go into logs, queue files and bounces.
fn clean(raw: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(raw).into_owned();
    text.retain(|c| !is_forbidden(c));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Result<Fed, ReplyError> {
        ReplyParser::new().feed(input.as_bytes())
    }

    fn reply(input: &str) -> Reply {
        let fed = parse(input).unwrap();
        assert_eq!(fed.consumed, input.len(), "{input:?}");
        fed.reply.unwrap()
    }

    // covers PB-30, PB-40, OUT-34
    #[test]
    fn replies_that_servers_write() {
        for (input, code, enhanced, text) in [
            ("250 OK\r\n", 250, None, "OK"),
            ("250\r\n", 250, None, ""),
            ("250 \r\n", 250, None, ""),
            ("250\n", 250, None, ""),
            ("250-a\r\n250 b\r\n", 250, None, "a\nb"),
            ("250-a\r\n250-\r\n250\r\n", 250, None, "a\n\n"),
            ("550 5.7.26 DMARC\r\n", 550, Some("5.7.26"), "DMARC"),
            ("550 #5.1.1 who\r\n", 550, Some("5.1.1"), "who"),
            (
                "550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.2 c\r\n",
                550,
                Some("5.1.1"),
                "a\nb\n5.1.2 c",
            ),
            ("354 go\r\n", 354, None, "go"),
            ("421 a\rb\0c\x1b\r\n", 421, None, "abc"),
        ] {
            let parsed = reply(input);
            assert_eq!(parsed.code(), code, "{input:?}");
            assert_eq!(
                parsed.enhanced().map(|e| e.to_string()).as_deref(),
                enhanced,
                "{input:?}"
            );
            assert_eq!(parsed.text(), text, "{input:?}");
        }
        assert_eq!(reply("250 \u{fc}\r\n").text(), "ü");
        let latin1 = ReplyParser::new().feed(b"250 \xfc\r\n").unwrap();
        assert_eq!(latin1.reply.unwrap().text(), "\u{fffd}");
    }

    #[test]
    fn any_split_of_the_input_gives_the_same_reply() {
        let input = b"250-mx.example\r\n250-SIZE 100\r\n250 PIPELINING\r\n";
        for first in 0..input.len() {
            for second in first..input.len() {
                let mut parser = ReplyParser::new();
                for piece in [&input[..first], &input[first..second]] {
                    let fed = parser.feed(piece).unwrap();
                    assert_eq!(
                        fed,
                        Fed {
                            consumed: piece.len(),
                            reply: None
                        }
                    );
                }
                let fed = parser.feed(&input[second..]).unwrap();
                assert_eq!(
                    fed.reply.unwrap().text(),
                    "mx.example\nSIZE 100\nPIPELINING"
                );
                assert!(!parser.is_midway());
            }
        }
    }

    #[test]
    fn pipelined_replies_are_taken_one_by_one() {
        let input = b"250 a\r\n251-b\r\n251 c\r\n3";
        let mut parser = ReplyParser::new();
        let first = parser.feed(input).unwrap();
        assert_eq!((first.consumed, first.reply.unwrap().code()), (7, 250));
        let second = parser.feed(&input[7..]).unwrap();
        assert_eq!((second.consumed, second.reply.unwrap().code()), (14, 251));
        assert_eq!(
            parser.feed(&input[21..]).unwrap(),
            Fed {
                consumed: 1,
                reply: None
            }
        );
        assert!(parser.is_midway());
    }

    #[test]
    fn junk_is_an_error() {
        for junk in [
            "",
            "x",
            "25",
            "2x0 a",
            "150 a",
            "650 a",
            "250:a",
            "250\ta",
            "\u{fc}\u{fc}",
            "2500 x",
        ] {
            let error = parse(&format!("{junk}\r\n")).unwrap_err();
            assert_eq!(
                error,
                ReplyError::Malformed {
                    line: junk.to_owned()
                },
                "{junk:?}"
            );
        }
        let long = parse(&format!("{}\r\n", "\x1bx".repeat(200))).unwrap_err();
        assert_eq!(
            long,
            ReplyError::Malformed {
                line: "x".repeat(40)
            }
        );
    }

    #[test]
    fn changing_code_is_an_error() {
        let error = parse("250-a\r\n550 b\r\n").unwrap_err();
        assert_eq!(
            error,
            ReplyError::CodeChanged {
                first: 250,
                then: 550
            }
        );
    }

    #[test]
    fn limits_hold_for_any_split() {
        let line = format!("250 {}\r\n", "x".repeat(ReplyParser::MAX_LINE - 6));
        assert!(
            parse(&line).unwrap().reply.is_some(),
            "a line of exactly the limit"
        );
        let line = format!("250 {}\r\n", "x".repeat(ReplyParser::MAX_LINE - 5));
        assert_eq!(parse(&line), Err(ReplyError::LineTooLong));

        let mut parser = ReplyParser::new();
        let drip = (0..ReplyParser::MAX_LINE)
            .map(|_| parser.feed(b"2"))
            .find(Result::is_err);
        assert_eq!(drip, Some(Err(ReplyError::LineTooLong)));

        let many = "250-x\r\n".repeat(ReplyParser::MAX_LINES + 1);
        assert_eq!(parse(&many), Err(ReplyError::TooManyLines));
        let heavy = format!("250-{}\r\n", "x".repeat(1000)).repeat(40);
        assert_eq!(parse(&heavy), Err(ReplyError::TooLong));
    }
}
