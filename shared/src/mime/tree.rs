//! The parts of one message, and reading them.

use std::io;
use std::sync::Arc;

use super::part::{Part, PartKind, Text};
use super::reader::PartReader;
use super::scan::Scanner;
use super::{MimeError, MimeLimits, charset};
use crate::body::Body;
use crate::header::Header;
use crate::header::decoded::is_utf8;
use crate::message_stream::read_chunk;

/// The parts of a message, cheap to share, also with other threads. It keeps the stored body that it
/// was made from, so that parts stay readable when the transaction's body is edited or discarded.
#[derive(Clone, Debug)]
pub struct MimeTree(Arc<Tree>);

#[derive(Debug)]
struct Tree {
    parts: Vec<Part>,
    body: Body,
    too_deep: bool,
}

impl MimeTree {
    /// Finds the parts of a message. Blocks if the body is on disk; work is linear in its length.
    ///
    /// # Errors
    /// More parts than allowed, or the disk's.
    pub fn parse(header: &Header, body: &Body, limits: MimeLimits) -> Result<MimeTree, MimeError> {
        let mut scanner = Scanner::new(header, limits);
        let mut at = 0;
        if body.on_disk() {
            while at < body.len() {
                let piece = read_chunk(body, at, body.len())?;
                at += piece.len() as u64;
                scanner.push(&piece)?;
            }
        } else {
            body.slices().try_for_each(|piece| scanner.push(piece))?;
        }
        let (parts, too_deep) = scanner.finish()?;
        Ok(MimeTree(Arc::new(Tree {
            parts,
            body: body.clone(),
            too_deep,
        })))
    }

    /// Whether both are of the same reading of the same message.
    #[must_use]
    pub fn is(&self, other: &MimeTree) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// All parts, the message itself first, each before its own parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// A part by its index.
    #[must_use]
    pub fn part(&self, index: usize) -> Option<&Part> {
        self.0.parts.get(index)
    }

    /// The indexes of attachments, in order (TXN-13).
    pub fn attachments(&self) -> impl Iterator<Item = usize> {
        let parts = self.0.parts.iter().enumerate();
        parts
            .filter(|(_, part)| part.kind() == PartKind::Attachment)
            .map(|(index, _)| index)
    }

    /// Whether multiparts deeper than the limit were left as they are.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.0.too_deep
    }

    /// Reads the decoded octets of an attachment: those that the sender encoded, with CRLF in text and
    /// without the line end before the boundary.
    #[must_use]
    pub fn reader(&self, index: usize) -> Option<PartReader> {
        let part = self.part(index)?;
        let mut range = part.content();
        range.end -= part.line_end;
        Some(PartReader::new(&self.0.body, range, part.encoding(), false))
    }

    /// Reads the content of a text part as filters get it: decoded, lines ending with LF, the last one
    /// included, in the part's own character set.
    #[must_use]
    pub fn text_reader(&self, index: usize) -> Option<PartReader> {
        let part = self.part(index)?;
        Some(PartReader::new(
            &self.0.body,
            part.content(),
            part.encoding(),
            true,
        ))
    }

    /// The text of a part as UTF-8 (`bodytext`, `body_encoding`); empty for what is no text part.
    /// Blocks the first time if the body is on disk.
    ///
    /// # Errors
    /// The disk's; [`io::ErrorKind::FileTooLarge`] if the text has more than `limit` octets.
    pub fn text(&self, index: usize, limit: usize) -> io::Result<&Text> {
        static NONE: Text = Text {
            text: String::new(),
            encoding: String::new(),
        };
        let Some(part) = self.part(index).filter(|p| p.kind() == PartKind::Text) else {
            return Ok(&NONE);
        };
        if let Some(known) = part.text.get() {
            return Ok(known);
        }
        let Some(mut reader) = self.text_reader(index) else {
            return Ok(&NONE);
        };
        let mut octets = Vec::new();
        while reader.read(&mut octets)? {
            if octets.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(part.text.get_or_init(|| in_utf8(&octets, part.charset())))
    }

    /// Reads the texts of all parts, so that [`text`](Self::text) does not block any more. Parts with
    /// which the texts would have more than `limit` octets are left out. Blocks if the body is on disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_texts(&self, limit: usize) -> io::Result<()> {
        let mut left = limit;
        for index in 0..self.0.parts.len() {
            match self.text(index, left) {
                Ok(text) => left -= text.text.len().min(left),
                Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The text in UTF-8 (TXN-20).
fn in_utf8(octets: &[u8], label: &str) -> Text {
    if is_utf8(label) {
        return Text {
            text: String::from_utf8_lossy(octets).into_owned(),
            encoding: label.to_owned(),
        };
    }
    match charset::decode(octets, label) {
        Some(text) => Text {
            text,
            encoding: label.to_owned(),
        },
        None => Text {
            text: String::from_utf8_lossy(octets).into_owned(),
            encoding: format!("broken//{label}"),
        },
    }
}
