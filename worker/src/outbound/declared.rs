//! What is declared of a message that takes a look at all of it: its size, and whether it has octets over
//! 127. Pure, in pieces of any length.

use memchr::memmem::find_iter;

/// What a look through a stored message has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// It has an octet over 127.
    pub(super) eight_bit: bool,
    /// Dots that stand for nothing but themselves on the wire (RFC 5321 §4.5.2): they are not part of the
    /// message, and RFC 1870 §5 does not count them.
    pub(super) stuffed: u64,
}

/// Looks through a message piece by piece.
#[derive(Debug, Default)]
pub(super) struct Look {
    found: Declared,
    at: At,
}

/// Where the octets so far end.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// At the beginning of a line.
    #[default]
    Start,
    /// Behind a dot that begins one.
    Dot,
    Within,
}

impl Look {
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.found.eight_bit |= !piece.is_ascii();
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else {
            return;
        };
        match (self.at, piece) {
            (At::Start, [b'.']) => {
                self.at = At::Dot;
                return;
            }
            (At::Start, [b'.', next, ..]) => self.dot_before(*next),
            (At::Dot, _) => self.dot_before(*first),
            _ => {}
        }
        for at in find_iter(piece, b"\n.") {
            if let Some(next) = piece.get(at + 2) {
                self.dot_before(*next);
            }
        }
        self.at = match last {
            b'\n' => At::Start,
            b'.' if piece.ends_with(b"\n.") => At::Dot,
            _ => At::Within,
        };
    }

    /// A dot alone on its line is one of a file that somebody else wrote; it is stuffed when it is sent.
    fn dot_before(&mut self, next: u8) {
        self.found.stuffed += u64::from(!matches!(next, b'\r' | b'\n'));
    }

    pub(super) fn found(self) -> Declared {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers OUT-33
    #[test]
    fn only_dots_that_were_doubled_are_left_out_wherever_pieces_are_cut() {
        for (text, stuffed, eight_bit) in [
            ("a\r\n..b\r\n..\r\n.. .\r\n", 3, false),
            ("..a\r\nb.\r\n.\r\nc..d", 1, false),
            (".", 0, false),
            ("a\n..ü\n", 1, true),
            ("\r\n...\r\n", 1, false),
            ("", 0, false),
        ] {
            let bytes = text.as_bytes();
            for one in 0..=bytes.len() {
                for two in one..=bytes.len() {
                    let mut look = Look::default();
                    for piece in [&bytes[..one], &bytes[one..two], &bytes[two..]] {
                        look.feed(piece);
                    }
                    let found = Declared { eight_bit, stuffed };
                    assert_eq!(look.found(), found, "{text:?} cut at {one} and {two}");
                }
            }
        }
    }
}
