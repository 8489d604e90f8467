//! Finding the parts of a message: one pass over the stored body in pieces of any size.
//!
//! Only lines that begin with `--` and the headers of parts are looked at; everything else is skipped
//! by a substring search. The open multiparts are a stack, so depth costs no recursion, and header
//! octets share one budget, so memory stays bounded whatever comes.

use memchr::{memchr, memmem};

use super::part::Part;
use super::{MimeError, MimeLimits};
use crate::header::Header;
use crate::limits::HEADER_BLOCK;

/// Takes the stored body from its beginning; gives the parts, the message itself first.
pub(super) struct Scanner {
    limits: MimeLimits,
    parts: Vec<Part>,
    /// Multiparts that are not closed, outermost first.
    open: Vec<Open>,
    reading: Reading,
    /// The beginning of a line that is cut between two pieces, or of one that is looked at.
    line: Vec<u8>,
    /// Where that line begins.
    line_start: u64,
    /// That line is longer than what is looked at.
    cut: bool,
    /// What is done with the octets up to the next line end.
    within: Within,
    /// Offset of the next octet.
    at: u64,
    /// The two octets before the line that is looked at.
    before: [u8; 2],
    boundaries: usize,
    header_octets: usize,
    too_deep: bool,
}

struct Open {
    part: usize,
    boundary: Vec<u8>,
}

enum Reading {
    /// The header of the newest part.
    Header(Vec<u8>),
    /// The content of a part that has no parts.
    Content(usize),
    /// What stands before the first part of a multipart, or after the last.
    Between,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    LineStart,
    /// A line that may be a boundary or is part of a header.
    Kept,
    /// Of no interest.
    Skipped,
}

impl Scanner {
    pub(super) fn new(header: &Header, limits: MimeLimits) -> Scanner {
        let mut scanner = Scanner {
            limits,
            parts: Vec::new(),
            open: Vec::new(),
            reading: Reading::Between,
            line: Vec::new(),
            line_start: 0,
            cut: false,
            within: Within::LineStart,
            at: 0,
            before: [0; 2],
            boundaries: 0,
            header_octets: 0,
            too_deep: false,
        };
        scanner.add_part(header.clone(), None, 0);
        scanner
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), MimeError> {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.within == Within::LineStart {
                self.begin_line(rest);
            }
            let used = match self.within {
                Within::Skipped => self.skip(rest),
                Within::LineStart | Within::Kept => self.keep(rest)?,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// The parts, and whether some were left alone because they are nested too deep.
    pub(super) fn finish(mut self) -> Result<(Vec<Part>, bool), MimeError> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        if let Reading::Header(block) = &mut self.reading {
            let block = std::mem::take(block);
            self.end_header(block, self.at);
        }
        let (end, before) = (self.at, [0; 2]);
        self.close(0, end, before);
        if let Some(whole) = self.parts.first_mut() {
            whole.content.end = end;
        }
        Ok((self.parts, self.too_deep))
    }

    fn begin_line(&mut self, rest: &[u8]) {
        let interesting = match self.reading {
            Reading::Header(_) => true,
            _ if self.open.is_empty() => false,
            _ => rest.starts_with(b"--") || rest == b"-",
        };
        self.line_start = self.at;
        self.within = if interesting {
            Within::Kept
        } else {
            Within::Skipped
        };
    }

    /// Passes over octets up to the next line that may be a boundary; tells how many.
    fn skip(&mut self, rest: &[u8]) -> usize {
        let used = if self.open.is_empty() {
            rest.len()
        } else {
            memmem::find(rest, b"\n--").map_or(rest.len(), |at| at + 1)
        };
        let (passed, after) = rest.split_at_checked(used).unwrap_or((rest, &[]));
        let known = self.before;
        self.pass(passed);
        if !after.is_empty() || self.before[1] == b'\n' {
            self.within = Within::LineStart;
        } else if passed.ends_with(b"\n-") && !self.open.is_empty() {
            // the next piece tells; until then the line is kept
            self.line_start = self.at - 1;
            self.before = before(passed.strip_suffix(b"-").unwrap_or(passed), known);
            self.line.push(b'-');
            self.within = Within::Kept;
        }
        used
    }

    fn pass(&mut self, octets: &[u8]) {
        self.at += octets.len() as u64;
        self.before = before(octets, self.before);
    }

    /// Takes octets of a line that is looked at; tells how many.
    fn keep(&mut self, rest: &[u8]) -> Result<usize, MimeError> {
        let used = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let line = rest.get(..used).unwrap_or_default();
        self.at += used as u64;
        // no boundary and no header of use is longer; a longer line is looked at by its beginning
        let room = LONGEST_LINE.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(line.get(..room).unwrap_or(line));
        self.cut |= line.len() > room;
        let no_boundary = matches!(self.line.get(1), Some(octet) if *octet != b'-');
        if line.ends_with(b"\n") {
            if !self.line.ends_with(b"\n") {
                self.line.extend_from_slice(b"\r\n");
            }
            self.end_line()?;
            self.within = Within::LineStart;
        } else if no_boundary && !matches!(self.reading, Reading::Header(_)) {
            self.before = before(&self.line, self.before);
            self.line.clear();
            self.cut = false;
            self.within = Within::Skipped;
        } else {
            self.within = Within::Kept;
        }
        Ok(used)
    }

    fn end_line(&mut self) -> Result<(), MimeError> {
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let done = !cut && self.boundary(&line)?;
        if !done && let Reading::Header(block) = &mut self.reading {
            if line.iter().all(u8::is_ascii_whitespace) {
                let block = std::mem::take(block);
                self.end_header(block, self.at);
            } else if self.header_octets + line.len() <= HEADER_BLOCK {
                self.header_octets += line.len();
                block.extend_from_slice(&line);
            }
        }
        self.before = before(&line, self.before);
        Ok(())
    }

    /// Deals with a line that is a boundary of an open multipart; outer ones come first, so that an
    /// inner one that was never closed ends with them.
    fn boundary(&mut self, line: &[u8]) -> Result<bool, MimeError> {
        let Some(text) = line.strip_prefix(b"--") else {
            return Ok(false);
        };
        let text = text.trim_ascii_end();
        let Some((level, closes)) = self.open.iter().enumerate().find_map(|(level, open)| {
            let tail = text.strip_prefix(open.boundary.as_slice())?;
            matches!(tail, b"" | b"--").then_some((level, !tail.is_empty()))
        }) else {
            return Ok(false);
        };
        if let Reading::Header(block) = &mut self.reading {
            // a part without the empty line after its header
            let block = std::mem::take(block);
            self.end_header(block, self.line_start);
        }
        let keep = if closes { level } else { level + 1 };
        let parent = self.open.get(level).map(|open| open.part);
        self.close(keep, self.line_start, self.before);
        if closes {
            return Ok(true);
        }
        self.boundaries += 1;
        if self.boundaries >= self.limits.max_parts {
            return Err(MimeError::TooManyParts);
        }
        self.reading = Reading::Header(Vec::new());
        self.add_open_child(parent);
        Ok(true)
    }

    fn add_open_child(&mut self, parent: Option<usize>) {
        let id = self.parts.len();
        self.parts.push(Part::empty(parent, self.open.len()));
        if let Some(parent) = parent.and_then(|p| self.parts.get_mut(p)) {
            parent.children.push(id);
        }
    }

    fn end_header(&mut self, block: Vec<u8>, end: u64) {
        let Some(Part { parent, .. }) = self.parts.pop() else {
            return;
        };
        self.add_part(Header::from_block(block), parent, end);
    }

    /// Adds a part whose header is known, and where its content begins.
    fn add_part(&mut self, header: Header, parent: Option<usize>, start: u64) {
        let id = self.parts.len();
        let mut part = Part::new(header, parent, self.open.len());
        part.content = start..start;
        self.reading = Reading::Content(id);
        if part.is_multipart() {
            if self.open.len() >= self.limits.max_depth {
                self.too_deep = true;
            } else {
                self.open.push(Open {
                    part: id,
                    boundary: part.boundary.clone().into_bytes(),
                });
            }
            self.reading = Reading::Between;
        }
        self.parts.push(part);
    }

    /// Ends the part that is read and all multiparts over this level, before the line at `end`.
    fn close(&mut self, level: usize, end: u64, before: [u8; 2]) {
        let line_end = match before {
            [b'\r', b'\n'] => 2,
            [_, b'\n'] => 1,
            _ => 0,
        };
        let read = match std::mem::replace(&mut self.reading, Reading::Between) {
            Reading::Content(id) => Some(id),
            _ => None,
        };
        let closed = self.open.drain(level.min(self.open.len())..);
        for id in closed.map(|open| open.part).chain(read) {
            if let Some(part) = self.parts.get_mut(id) {
                part.content.end = end.max(part.content.start);
                part.line_end = line_end.min(part.content.end - part.content.start);
            }
        }
    }
}

/// The last two octets after these were added.
fn before(octets: &[u8], known: [u8; 2]) -> [u8; 2] {
    match octets {
        [] => known,
        [one] => [known[1], *one],
        [.., a, b] => [*a, *b],
    }
}

/// RFC 5322 §2.1.1 allows 998 octets; a field with more of them in one line is cut.
const LONGEST_LINE: usize = 16 * 1024;
