//! BDAT (RFC 3030): its argument, and the stored form of a message that comes in counted octets.
//!
//! Owns that no octet of a chunk ends the message or is a command: only the count does. What comes
//! out is what [`super::data`] gives for the same text: dot-stuffed, CRLF everywhere.

use haraka_shared::reply::Reply;

use super::data::{BareLineEnds, Violation, is_clean};

/// The argument of BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command line.
    pub octets: u64,
    /// The message ends with them.
    pub last: bool,
}

/// The answer to a BDAT whose size nobody knows. The connection ends with it: what follows could be
/// the chunk, and must not be taken for commands.
pub const UNREADABLE: Reply =
    Reply::fixed(521, "5.5.4 Syntax: BDAT size [LAST], closing connection");

impl Chunk {
    /// Reads what stands after `BDAT `; none if it is not of the grammar.
    #[must_use]
    pub fn parse(argument: &str) -> Option<Chunk> {
        let mut words = argument.split(' ').filter(|word| !word.is_empty());
        let size = words.next()?;
        // RFC 3030 §2: 1*DIGIT; what does not fit into 64 bits nobody sends
        if size.len() > 20 || !size.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let octets = size.parse().ok()?;
        let last = match words.next() {
            None => false,
            Some(word) if word.eq_ignore_ascii_case("LAST") => true,
            Some(_) => return None,
        };
        words.next().is_none().then_some(Chunk { octets, last })
    }
}

/// Puts chunks into stored form, in pieces of any size. Has no memory beyond a few flags.
#[derive(Debug)]
pub struct ChunkWriter {
    policy: BareLineEnds,
    /// The next octet begins a line.
    line_start: bool,
    /// A CR was given out whose LF has not come.
    after_cr: bool,
    violation: Option<Violation>,
}

impl ChunkWriter {
    /// At the beginning of a message.
    #[must_use]
    pub fn new(policy: BareLineEnds) -> Self {
        Self {
            policy,
            line_start: true,
            after_cr: false,
            violation: None,
        }
    }

    /// What [`BareLineEnds::Reject`] has found so far.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Takes the next octets; after a violation nothing more is given out.
    pub fn push(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) {
        for block in input.chunks(BLOCK) {
            if self.violation.is_some() {
                return;
            }
            let previous = if self.after_cr { b'\r' } else { 0 };
            if is_clean(previous, block) {
                self.clean(block, out);
            } else {
                self.mend(block, out);
            }
        }
    }

    /// Ends the last line, if it has no end.
    pub fn finish(&mut self, out: &mut impl FnMut(&[u8])) {
        if self.after_cr {
            self.lone(Violation::CarriageReturn);
        }
        if self.violation.is_some() {
            return;
        }
        if self.after_cr {
            out(b"\n");
        } else if !self.line_start {
            out(b"\r\n");
        }
        (self.after_cr, self.line_start) = (false, true);
    }

    /// A block in which every line ends in CRLF: whole pieces of it, with dots between them.
    fn clean(&mut self, block: &[u8], out: &mut impl FnMut(&[u8])) {
        if self.line_start && block.starts_with(b".") {
            out(b".");
        }
        let mut start = 0;
        for found in memchr::memmem::find_iter(block, b"\n.") {
            out(block.get(start..=found).unwrap_or_default());
            out(b".");
            start = found + 1;
        }
        out(block.get(start..).unwrap_or_default());
        self.line_start = block.ends_with(b"\n");
        self.after_cr = block.ends_with(b"\r");
    }

    /// A block with a lone CR or LF in it, octet by octet.
    fn mend(&mut self, block: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut start = 0;
        for (at, octet) in block.iter().enumerate() {
            if self.after_cr && *octet != b'\n' {
                out(block.get(start..at).unwrap_or_default());
                start = at;
                if self.lone(Violation::CarriageReturn) {
                    return;
                }
                out(b"\n");
                (self.after_cr, self.line_start) = (false, true);
            }
            match octet {
                b'\n' if !self.after_cr => {
                    out(block.get(start..at).unwrap_or_default());
                    start = at;
                    if self.lone(Violation::LineFeed) {
                        return;
                    }
                    out(b"\r");
                }
                b'.' if self.line_start => {
                    out(block.get(start..at).unwrap_or_default());
                    start = at;
                    out(b".");
                }
                _ => {}
            }
            self.line_start = *octet == b'\n';
            self.after_cr = *octet == b'\r';
        }
        out(block.get(start..).unwrap_or_default());
    }

    /// Whether this lone line end is the end of the message's fortune.
    fn lone(&mut self, what: Violation) -> bool {
        let rejected = self.policy == BareLineEnds::Reject;
        if rejected {
            self.violation.get_or_insert(what);
        }
        rejected
    }
}

/// Octets that are judged as one, as in `data`.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::proto::data::{DataScanner, is_wire_form};
    use haraka_shared::stuffing::Stuffer;

    fn write(policy: BareLineEnds, pieces: &[&[u8]]) -> (Vec<u8>, Option<Violation>) {
        let mut out = Vec::new();
        let mut writer = ChunkWriter::new(policy);
        for piece in pieces {
            writer.push(piece, &mut |octets| out.extend_from_slice(octets));
        }
        writer.finish(&mut |octets| out.extend_from_slice(octets));
        (out, writer.violation())
    }

    #[test]
    fn argument_is_a_size_and_perhaps_last() {
        let chunk = |octets, last| Some(Chunk { octets, last });
        for (text, expected) in [
            ("0", chunk(0, false)),
            ("86", chunk(86, false)),
            ("0 LAST", chunk(0, true)),
            ("5  last ", chunk(5, true)),
            ("18446744073709551615", chunk(u64::MAX, false)),
            ("000000000000000000005", None),
            ("18446744073709551616", None),
            ("", None),
            ("LAST", None),
            ("-1", None),
            ("+1", None),
            ("0x10", None),
            ("1.5", None),
            ("5 LAST x", None),
            ("5 FIRST", None),
            ("5\tLAST", None),
            ("\u{664}", None),
        ] {
            assert_eq!(Chunk::parse(text), expected, "{text:?}");
        }
    }

    // covers PB-01
    #[test]
    fn stored_form_is_wire_form_for_any_cut() {
        for (text, stored) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b".\r\n", b"..\r\n"),
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n..\r\nQUIT\r\n"),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n"),
            (b"a\r.\rb", b"a\r\n..\r\nb\r\n"),
            (b"a\r\r\n.\r\n", b"a\r\n\r\n..\r\n"),
            (b"a\r", b"a\r\n"),
            (b"\n\n\r\n", b"\r\n\r\n\r\n"),
            (b"..\r\n..", b"...\r\n...\r\n"),
            (b"a.\r\n a.b\r\n", b"a.\r\n a.b\r\n"),
        ] {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let (out, violation) = write(BareLineEnds::Convert, &pieces);
                    assert_eq!(
                        out.escape_ascii().to_string(),
                        stored.escape_ascii().to_string(),
                        "{:?}",
                        pieces.map(|p| p.escape_ascii().to_string())
                    );
                    assert_eq!(violation, None);
                    assert!(is_wire_form(&out));
                }
            }
        }
    }

    // covers PB-01
    #[test]
    fn lone_line_ends_are_found_for_any_cut() {
        use Violation::*;
        for (text, expected) in [
            (&b"a\r\nb\r\n"[..], None),
            (b"a", None),
            (b"a\nb\r\n", Some(LineFeed)),
            (b"\n", Some(LineFeed)),
            (b"a\rb\r\n", Some(CarriageReturn)),
            (b"a\r", Some(CarriageReturn)),
            (b"a\r\r\n", Some(CarriageReturn)),
            (b"a\r\n\n.\n", Some(LineFeed)),
        ] {
            for cut in 0..=text.len() {
                let (_, found) = write(BareLineEnds::Reject, &[&text[..cut], &text[cut..]]);
                assert_eq!(found, expected, "{} cut at {cut}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn random_text_in_random_pieces_is_stored_as_stuffing_and_data_store_it() {
        let mut random = fastrand::Rng::with_seed(3030);
        for _ in 0..2000 {
            let long = random.usize(..12) == 0;
            let len = if long { 9000 } else { random.usize(..60) };
            let kind: &[u8] = if random.bool() { b"\r\n.x" } else { b"x.yz" };
            let text: Vec<u8> = (0..len).map(|_| kind[random.usize(..4)]).collect();
            let mut expected = Vec::new();
            let mut stuffer = Stuffer::new();
            stuffer.push(&text, &mut |octets| expected.extend_from_slice(octets));
            stuffer.finish(&mut |octets| expected.extend_from_slice(octets));

            let a = random.usize(..=len);
            let b = random.usize(a..=len);
            let pieces = [&text[..a], &text[a..b], &text[b..]];
            assert_eq!(write(BareLineEnds::Convert, &pieces).0, expected);

            let sent = [&expected[..], b".\r\n"].concat();
            let mut read = Vec::new();
            let scan = DataScanner::new(BareLineEnds::Reject)
                .scan(&sent, &mut |octets| read.extend_from_slice(octets));
            assert!(scan.done && scan.consumed == sent.len() && read == expected);
        }
    }
}
