//! The header block of a message: found, kept byte for byte, searched and edited.
//!
//! Owns one block of octets in the stored (dot-stuffed) form; fields are found by walking it, which
//! for a few kilobytes is cheaper than any index and costs nothing for a message that nobody looks
//! at. Must never re-fold or lose a line that came from outside. Text for people is made on demand:
//! `words` (RFC 2047), `parameters` (RFC 2231), `addresses` (RFC 5322). Names are data: none is special.

pub mod addresses;
pub(crate) mod decoded;
pub mod parameters;
mod reader;
pub mod words;

use std::ops::Range;

use memchr::{memchr, memchr2};

pub use self::reader::{HeaderLimits, HeaderReader, Progress};

/// The fields of a message, without the empty line that ends them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    block: Vec<u8>,
    /// Received lines over `headers.max_lines`: part of the message, not shown to look-ups (PB-34).
    hidden: Range<usize>,
}

/// One field as it stands in the block: name, colon, value, folds and line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    raw: &'a [u8],
}

impl Header {
    /// A header without fields.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            block: Vec::new(),
            hidden: 0..0,
        }
    }

    /// Cuts a whole message in two: the header, and where the body begins (behind the empty line, if
    /// there is one; see [`HeaderReader::finish`] for messages without).
    #[must_use]
    pub fn split(message: &[u8], limits: HeaderLimits) -> (Self, usize) {
        let mut reader = HeaderReader::new(limits);
        match reader.push(message) {
            Progress::Ended { consumed } => (reader.into_header(), consumed),
            Progress::NeedMore | Progress::TooLarge => {
                let (header, rest) = reader.finish();
                (header, message.len() - rest.len())
            }
        }
    }

    /// The block as it is stored and sent, each field with its line end.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// Whether lines over `headers.max_lines` are kept out of look-ups (TXN-05).
    #[must_use]
    pub fn is_over_line_limit(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// All fields that look-ups see, in order, lines that are no field among them.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let before = self.block.get(..self.hidden.start).unwrap_or_default();
        let after = self.block.get(self.hidden.end..).unwrap_or_default();
        Walk { rest: before }.chain(Walk { rest: after })
    }

    /// The value of the first field of this name, any case: without the blanks behind the colon and
    /// without the line end, folds as they came.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The values of all fields of this name, in order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields()
            .filter(move |field| field.is(name))
            .map(|field| field.value())
    }

    /// What `header.get()` gives to plugins (TXN-23): all values with their line ends as LF, joined
    /// by LF.
    #[must_use]
    pub fn joined(&self, name: &str) -> Vec<u8> {
        let mut joined = Vec::new();
        for (number, value) in self.get_all(name).enumerate() {
            if number > 0 {
                joined.push(b'\n');
            }
            push_with_lf(value, &mut joined);
        }
        joined
    }

    /// How many fields of this name the message has, hidden ones included.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        Walk { rest: &self.block }
            .filter(|field| field.is(name))
            .count()
    }

    /// Puts a field before all others.
    ///
    /// The value may be folded already; a line break in it becomes a fold. Non-ASCII text is written
    /// as encoded words (TXN-24). Octets that cannot be in a name are left out of it.
    pub fn add(&mut self, name: &str, value: &str) {
        self.lead(compose(name, value));
    }

    /// Puts a field before all others whose value stays as it is, UTF-8 included (RFC 6532): trace
    /// fields, which name addresses as they were given.
    pub fn add_raw(&mut self, name: &str, value: &[u8]) {
        self.lead(raw(name, value));
    }

    fn lead(&mut self, field: Vec<u8>) {
        if !self.hidden.is_empty() {
            self.hidden = self.hidden.start + field.len()..self.hidden.end + field.len();
        }
        self.block.splice(0..0, field);
    }

    /// Puts a field behind all others; otherwise as [`add`](Self::add).
    pub fn add_end(&mut self, name: &str, value: &str) {
        self.block.extend(compose(name, value));
    }

    /// Puts a field behind all others whose value another field of this message has: its octets and
    /// folds stay as they are.
    pub fn add_end_raw(&mut self, name: &str, value: &[u8]) {
        self.block.extend(raw(name, value));
    }

    /// The fields with their folds and line ends as plugins get them (`header.lines()`): unstuffed,
    /// hidden ones left out.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .map(|field| field.raw.strip_prefix(b".").unwrap_or(field.raw))
    }

    /// A header from lines that were collected elsewhere; the empty line is not among them.
    pub(crate) fn from_block(block: Vec<u8>) -> Self {
        Self {
            block,
            hidden: 0..0,
        }
    }

    /// Removes all fields of this name, hidden ones included; tells how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let found = self.count(name);
        if found == 0 {
            return 0;
        }
        let mut kept = Vec::with_capacity(self.block.len());
        let mut hidden = self.hidden.clone();
        let mut at = 0;
        for field in (Walk { rest: &self.block }) {
            if !field.is(name) {
                kept.extend_from_slice(field.raw);
            } else if at < self.hidden.start {
                // both ends move with what stood before them
                hidden = hidden.start - field.raw.len()..hidden.end - field.raw.len();
            } else if at < self.hidden.end {
                hidden.end -= field.raw.len();
            }
            at += field.raw.len();
        }
        self.block = kept;
        self.hidden = if hidden.is_empty() { 0..0 } else { hidden };
        found
    }
}

impl<'a> Field<'a> {
    /// The octets of the field with folds and line end, in stored form.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The name as it was written; none if these lines are no field.
    #[must_use]
    pub fn name(self) -> Option<&'a [u8]> {
        self.parts().map(|(name, _)| name)
    }

    /// The value without the blanks behind the colon and without the line end; all of the lines if
    /// they are no field.
    #[must_use]
    pub fn value(self) -> &'a [u8] {
        let value = self.parts().map_or(self.raw, |(_, value)| value);
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }

    fn is(self, name: &str) -> bool {
        let name = name.as_bytes();
        // A message is looked through for many names: only where this one may stand are there parts.
        self.unstuffed().get(name.len()) == Some(&b':')
            && self
                .name()
                .is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    fn unstuffed(self) -> &'a [u8] {
        self.raw.strip_prefix(b".").unwrap_or(self.raw)
    }

    fn parts(self) -> Option<(&'a [u8], &'a [u8])> {
        let unstuffed = self.unstuffed();
        let colon = memchr(b':', unstuffed)?;
        let (name, rest) = unstuffed.split_at_checked(colon)?;
        if name.iter().any(|octet| is_space(*octet)) {
            return None;
        }
        let value = rest.get(1..)?;
        let blanks = value.iter().take_while(|octet| is_space(**octet)).count();
        Some((name, value.get(blanks..)?))
    }
}

/// Walks over the fields of a block.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let mut end = 0;
        loop {
            let line = self.rest.get(end..).unwrap_or_default();
            end += memchr(b'\n', line).map_or(line.len(), |at| at + 1);
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (raw, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        if raw.is_empty() {
            None
        } else {
            Some(Field { raw })
        }
    }
}

/// A field in stored form whose value keeps its octets and folds; a lone CR or LF becomes a fold.
fn raw(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = compose(name, "");
    field.truncate(field.len() - 2);
    let lines = value
        .split(|octet| *octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .flat_map(|line| line.split(|octet| *octet == b'\r'));
    for (number, line) in lines.enumerate() {
        if number > 0 {
            field.extend_from_slice(b"\r\n");
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                field.push(b' ');
            }
        }
        field.extend_from_slice(line);
    }
    field.extend_from_slice(b"\r\n");
    field
}

/// A field in stored form that stays one field whatever the name and value hold.
fn compose(name: &str, value: &str) -> Vec<u8> {
    let mut field = Vec::with_capacity(name.len() + value.len() + 4);
    // RFC 5322 §3.6.8 ftext
    field.extend(
        name.bytes()
            .filter(|octet| octet.is_ascii_graphic() && *octet != b':'),
    );
    if field.is_empty() {
        field.extend_from_slice(b"X-Haraka-Blank");
    }
    if field.first() == Some(&b'.') {
        field.insert(0, b'.');
    }
    field.extend_from_slice(b": ");
    let value = words::encode(value);
    // A value that is folded at once stays so.
    let folded = value.starts_with(['\r', '\n']);
    for (number, line) in lines_of(&value).enumerate() {
        if number > 0 || folded {
            field.extend_from_slice(b"\r\n");
            if !line.starts_with([' ', '\t']) {
                field.push(b' ');
            }
        }
        for part in line.as_bytes().split(|octet| *octet == 0) {
            field.extend_from_slice(part);
        }
    }
    field.extend_from_slice(b"\r\n");
    field
}

/// The lines that are not blank.
fn lines_of(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    let all = std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr2(b'\r', b'\n', text.as_bytes());
        let parts = end.and_then(|end| Some((text.get(..end)?, text.get(end + 1..)?)));
        let (line, after) = parts.map_or((text, None), |(line, after)| (line, Some(after)));
        rest = after;
        Some(line)
    });
    all.filter(|line| !line.trim().is_empty())
}

fn push_with_lf(value: &[u8], out: &mut Vec<u8>) {
    if value.is_empty() {
        return;
    }
    for line in value.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    out.push(b'\n');
}

fn is_space(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == 0x0b
}

#[cfg(test)]
mod tests;
