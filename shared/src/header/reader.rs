//! Finding the end of the header block while a message arrives.

use memchr::memchr;

use super::Header;

/// How much of a header is looked at, and how much is taken at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLimits {
    /// `headers.max_lines`: physical lines that look-ups see. Later ones stay in the message.
    pub max_lines: usize,
    /// Octets held in memory while no empty line is found.
    pub max_octets: usize,
}

impl Default for HeaderLimits {
    /// Haraka's: 1000 lines, 1 MiB.
    fn default() -> Self {
        Self {
            max_lines: 1000,
            max_octets: 1024 * 1024,
        }
    }
}

/// What a piece of a message meant for the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All of the piece is header so far.
    NeedMore,
    /// The empty line is there.
    Ended {
        /// Octets of the piece that are header or the empty line; the body follows.
        consumed: usize,
    },
    /// The piece was taken, and there are more octets than allowed without an empty line.
    /// [`HeaderReader::finish`] tells whether any of them can be a body.
    TooLarge,
}

/// Collects the header of a message in stored form from pieces of any size. Each octet is looked at
/// once.
#[derive(Debug)]
pub struct HeaderReader {
    limits: HeaderLimits,
    block: Vec<u8>,
    line_start: usize,
    lines: usize,
    hidden_from: Option<usize>,
}

impl HeaderReader {
    /// A reader at the beginning of a message.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            block: Vec::new(),
            line_start: 0,
            lines: 0,
            hidden_from: None,
        }
    }

    /// Takes the next piece. Not to be called again after anything but `NeedMore`.
    pub fn push(&mut self, piece: &[u8]) -> Progress {
        let base = self.block.len();
        let mut at = 0;
        while let Some(found) = memchr(b'\n', piece.get(at..).unwrap_or_default()) {
            let end = at + found + 1;
            let line_end = base + end;
            let before = end
                .checked_sub(2)
                .map_or(self.block.last(), |i| piece.get(i));
            let length = line_end - self.line_start;
            if length == 1 || (length == 2 && before == Some(&b'\r')) {
                let kept = self.line_start.saturating_sub(base);
                self.block
                    .extend_from_slice(piece.get(..kept).unwrap_or_default());
                self.block.truncate(self.line_start);
                return Progress::Ended { consumed: end };
            }
            let first = match self.block.get(self.line_start) {
                None => piece.get(at),
                carried => carried,
            };
            let continues = matches!(first, Some(b' ' | b'\t'));
            self.count_line(continues);
            self.line_start = line_end;
            at = end;
        }
        self.block.extend_from_slice(piece);
        if self.block.len() > self.limits.max_octets {
            Progress::TooLarge
        } else {
            Progress::NeedMore
        }
    }

    /// The header, after [`Progress::Ended`].
    #[must_use]
    pub fn into_header(self) -> Header {
        let end = self.block.len();
        let hidden = self.hidden_from.map_or(0..0, |from| from..end);
        Header {
            block: self.block,
            hidden,
        }
    }

    /// What was collected of a message that has no empty line: the lines up to the first that can be
    /// no header, and the rest, which is body (TXN-06). An empty line has to be put between them.
    #[must_use]
    pub fn finish(mut self) -> (Header, Vec<u8>) {
        let mut end = 0;
        for line in self.block.split_inclusive(|octet| *octet == b'\n') {
            if !looks_like_header(line) {
                break;
            }
            end += line.len();
        }
        let rest = self.block.split_off(end);
        self.hidden_from = self.hidden_from.filter(|from| *from < end);
        if !self.block.is_empty() && !self.block.ends_with(b"\n") {
            self.block.extend_from_slice(b"\r\n");
        }
        (self.into_header(), rest)
    }

    fn count_line(&mut self, continues: bool) {
        self.lines += 1;
        if self.lines > self.limits.max_lines && !continues && self.hidden_from.is_none() {
            self.hidden_from = Some(self.line_start);
        }
    }
}

// A name without blanks and a colon, or a continuation.
fn looks_like_header(line: &[u8]) -> bool {
    let name_end = line
        .iter()
        .position(|octet| *octet == b':' || super::is_space(*octet));
    matches!(line.first(), Some(b' ' | b'\t'))
        || name_end
            .and_then(|at| line.get(at))
            .is_some_and(|octet| *octet == b':')
}
