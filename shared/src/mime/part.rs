//! One part of a message: its header, what that says, and where its content is.

use std::ops::Range;
use std::sync::OnceLock;

use super::transfer::TransferEncoding;
use crate::header::Header;
use crate::header::parameters::parameter;

/// A part, or the message itself.
#[derive(Debug)]
pub struct Part {
    pub(super) header: Header,
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    pub(super) depth: usize,
    pub(super) content_type: String,
    pub(super) boundary: String,
    pub(super) kind: PartKind,
    pub(super) encoding: TransferEncoding,
    pub(super) encoding_known: bool,
    /// In the stored body.
    pub(super) content: Range<u64>,
    /// Octets of the line end before the boundary line, which belongs to that (RFC 2046 §5.1.1).
    pub(super) line_end: u64,
    pub(super) text: OnceLock<Text>,
}

/// What is done with the content of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartKind {
    /// Its text is shown, filtered and may get a banner: `text/*`, `message/*`, no type, and multiparts
    /// without boundary.
    #[default]
    Text,
    /// It consists of parts.
    Multipart,
    /// Everything else, and what says `Content-Disposition: attachment`.
    Attachment,
}

/// The text of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The content as UTF-8, with LF.
    pub text: String,
    /// The character set as the part names it, or `broken//` and that name if it is not known; UTF-8
    /// if none is named.
    pub encoding: String,
}

impl Part {
    /// A part whose header is not known yet.
    pub(super) fn empty(parent: Option<usize>, depth: usize) -> Part {
        Part {
            header: Header::new(),
            parent,
            children: Vec::new(),
            depth,
            content_type: String::new(),
            boundary: String::new(),
            kind: PartKind::Text,
            encoding: TransferEncoding::Identity,
            encoding_known: true,
            content: 0..0,
            line_end: 0,
            text: OnceLock::new(),
        }
    }

    pub(super) fn new(header: Header, parent: Option<usize>, depth: usize) -> Part {
        let mut part = Part::empty(parent, depth);
        part.content_type = header.get_decoded("content-type");
        if part.content_type.is_empty() {
            part.content_type.push_str("text/plain");
        }
        let named = header.get_decoded("content-transfer-encoding");
        (part.encoding, part.encoding_known) = TransferEncoding::named(&named);
        let text = part.is_type("text/") || part.is_type("message/");
        let attached = starts_with(&header.get_decoded("content-disposition"), "attachment");
        part.kind = if text && !attached {
            PartKind::Text
        } else if part.is_type("multipart/") {
            let boundary = parameter(&part.content_type, "boundary").unwrap_or_default();
            part.boundary = boundary.trim().to_owned();
            if part.boundary.is_empty() {
                PartKind::Text
            } else {
                PartKind::Multipart
            }
        } else {
            PartKind::Attachment
        };
        part.header = header;
        part
    }

    /// Its header; of the message itself a copy of the transaction's.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its Content-Type field with parameters, decoded; `text/plain` if there is none.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Whether its Content-Type begins with this, any case.
    #[must_use]
    pub fn is_type(&self, prefix: &str) -> bool {
        starts_with(self.content_type.trim_start(), prefix)
    }

    /// What is done with its content.
    #[must_use]
    pub fn kind(&self) -> PartKind {
        self.kind
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.kind == PartKind::Multipart
    }

    /// Its Content-Transfer-Encoding.
    #[must_use]
    pub fn encoding(&self) -> TransferEncoding {
        self.encoding
    }

    /// False if the encoding is one that nobody knows, and the content is taken as it is (TXN-19).
    #[must_use]
    pub fn encoding_known(&self) -> bool {
        self.encoding_known
    }

    /// How many multiparts it is in.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The multipart that it is in, as an index of [`MimeTree::parts`](super::MimeTree::parts).
    #[must_use]
    pub fn parent(&self) -> Option<usize> {
        self.parent
    }

    /// Its parts, as indexes of [`MimeTree::parts`](super::MimeTree::parts).
    #[must_use]
    pub fn children(&self) -> &[usize] {
        &self.children
    }

    /// Where its content is in the stored body, encoded, with the line end before the boundary.
    #[must_use]
    pub fn content(&self) -> Range<u64> {
        self.content.clone()
    }

    /// The file name that the sender gave; empty if there is none. Not safe to open.
    #[must_use]
    pub fn filename(&self) -> String {
        let disposition = self.header.get_decoded("content-disposition");
        parameter(&disposition, "name")
            .or_else(|| parameter(&self.content_type, "name"))
            .unwrap_or_default()
            .to_owned()
    }

    /// The character set that it names; UTF-8 if it names none.
    #[must_use]
    pub fn charset(&self) -> &str {
        let named = parameter(&self.content_type, "charset").unwrap_or_default();
        // `charset=3Dutf-8` is what a quoted-printable template leaves behind
        let named = named.trim_start_matches(['\'', ' ']);
        let named = named.strip_prefix("3D").unwrap_or(named);
        let named = named.trim_start_matches(['\'', '"']);
        let end = named
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(named.len());
        match named.get(..end) {
            Some("") | None => "UTF-8",
            Some(label) => label,
        }
    }
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
