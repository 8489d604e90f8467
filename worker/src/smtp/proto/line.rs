//! Cutting command lines out of a receive buffer.
//!
//! Owns the definition of a line end: CRLF and nothing else (PB-01). Must never look into a line.

use std::borrow::Cow;

use memchr::memchr3;
use thiserror::Error;

/// What a receive buffer begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// No line end yet. Call again with more input and this `scanned`, so that no octet is looked
    /// at twice.
    Incomplete {
        /// Octets that need no second look.
        scanned: usize,
    },
    /// A line.
    Line {
        /// Where the line ends, without CRLF.
        end: usize,
        /// Where the next line begins.
        consumed: usize,
    },
    /// The peer does not speak SMTP, or tries to smuggle. To be answered and closed.
    Error(LineError),
}

/// Why the input cannot be a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineError {
    /// LF without CR before it.
    #[error("bare line feed")]
    BareLineFeed,
    /// CR without LF after it.
    #[error("bare carriage return")]
    BareCarriageReturn,
    /// An octet 0.
    #[error("NUL in command line")]
    Nul,
    /// No line end within the limit.
    #[error("command line too long")]
    TooLong,
    /// A TLS handshake on a port that does not expect one (CON-45).
    #[error("TLS handshake on a plain-text port")]
    TlsHandshake,
}

/// Finds the first line of `buffer`.
///
/// `scanned` is 0 for a new line, then what [`Split::Incomplete`] said. `max` is `max.line_length`:
/// octets of a line with its CRLF (CON-43).
#[must_use]
pub fn split(buffer: &[u8], scanned: usize, max: usize) -> Split {
    let window = buffer.get(..max).unwrap_or(buffer);
    let fresh = window.get(scanned..).unwrap_or_default();
    if is_tls_handshake(buffer) {
        return Split::Error(LineError::TlsHandshake);
    }
    let Some(found) = memchr3(b'\r', b'\n', 0, fresh) else {
        return incomplete(window.len(), window.len(), max);
    };
    let at = window.len() - fresh.len() + found;
    match (window.get(at), window.get(at + 1)) {
        (Some(b'\n'), _) => Split::Error(LineError::BareLineFeed),
        (Some(0), _) => Split::Error(LineError::Nul),
        (_, Some(b'\n')) => Split::Line {
            end: at,
            consumed: at + 2,
        },
        (_, Some(_)) => Split::Error(LineError::BareCarriageReturn),
        (_, None) => incomplete(at, window.len(), max),
    }
}

/// The text of a line. Octets that are not UTF-8 become U+FFFD, as in Haraka; the address grammar
/// refuses that character.
#[must_use]
pub fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line)
}

fn incomplete(scanned: usize, seen: usize, max: usize) -> Split {
    if seen >= max {
        Split::Error(LineError::TooLong)
    } else {
        Split::Incomplete { scanned }
    }
}

// RFC 8446 §5.1: content type 22, record version 3.x
fn is_tls_handshake(buffer: &[u8]) -> bool {
    matches!(buffer, [0x16, 0x03, 0x00..=0x04, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers CON-43, CON-45, PB-01
    #[test]
    fn a_line_ends_with_crlf_only() {
        use LineError::*;
        let line = |end: usize| Split::Line {
            end,
            consumed: end + 2,
        };
        for (input, expected) in [
            (&b""[..], Split::Incomplete { scanned: 0 }),
            (b"QUIT", Split::Incomplete { scanned: 4 }),
            (b"QUIT\r", Split::Incomplete { scanned: 4 }),
            (b"QUIT\r\n", line(4)),
            (b"\r\n", line(0)),
            (b"A\r\nB\r\n", line(1)),
            (b"A\r\nB\n", line(1)),
            (b"QUIT\n", Split::Error(BareLineFeed)),
            (b"\n", Split::Error(BareLineFeed)),
            (b"QU\rIT\r\n", Split::Error(BareCarriageReturn)),
            (b"QUIT\r\r\n", Split::Error(BareCarriageReturn)),
            (b"QU\0IT\r\n", Split::Error(Nul)),
            (b"\x16\x03\x01\x02\x00", Split::Error(TlsHandshake)),
            (b"\x16\x03", Split::Incomplete { scanned: 2 }),
            (b"\x16\x04\x01\r\n", line(3)),
        ] {
            assert_eq!(
                split(input, 0, 512),
                expected,
                "{:?}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn the_limit_counts_the_line_end() {
        for (length, outcome) in [
            (508, true),
            (510, true),
            (511, false),
            (512, false),
            (600, false),
        ] {
            let input = [vec![b'x'; length], b"\r\n".to_vec()].concat();
            let found = split(&input, 0, 512);
            if outcome {
                assert_eq!(
                    found,
                    Split::Line {
                        end: length,
                        consumed: length + 2
                    }
                );
            } else {
                assert_eq!(found, Split::Error(LineError::TooLong), "{length}");
            }
        }
        assert_eq!(
            split(&[b'x'; 512], 0, 512),
            Split::Error(LineError::TooLong)
        );
        assert_eq!(
            split(&[b'x'; 511], 0, 512),
            Split::Incomplete { scanned: 511 }
        );
    }

    #[test]
    fn octet_by_octet_gives_the_same_and_never_looks_back() {
        for input in [
            &b"MAIL FROM:<a@b>\r\n"[..],
            b"a\rb\r\n",
            b"a\nb\r\n",
            b"\r\n",
            b"\r\r\n",
        ] {
            let mut scanned = 0;
            let mut last = Split::Incomplete { scanned };
            for have in 1..=input.len() {
                last = split(&input[..have], scanned, 512);
                match last {
                    Split::Incomplete { scanned: next } => {
                        assert!(next >= scanned && next + 1 >= have, "rescans");
                        scanned = next;
                    }
                    _ => break,
                }
            }
            assert_eq!(
                last,
                split(input, 0, 512),
                "{:?}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn text_of_a_line_is_lossy() {
        assert_eq!(text("é".as_bytes()), "é");
        assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
    }
}
