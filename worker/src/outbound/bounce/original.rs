//! What a report returns of the message that it is about (BNC-11, RFC 3462 §2, RFC 6533 §6). Pure.
//!
//! A message is returned only as it is. One that cannot stand in a report without a change, because of
//! NUL, lone line ends or endless lines, is returned as its header, encoded.

use std::borrow::Cow;

use haraka_shared::header::Header;
use haraka_shared::mime::transfer::TransferEncoding;
use haraka_shared::stuffing::Unstuffer;

use super::{Action, Form, Message, Report};

/// The last part of a report.
pub(super) struct Original<'a> {
    what: &'static str,
    kind: &'static str,
    encoding: Option<&'static str>,
    octets: Cow<'a, [u8]>,
}

impl<'a> Original<'a> {
    /// The message if it is wanted and can be had, else its header.
    pub(super) fn of(report: &Report<'a>, form: Form) -> Original<'a> {
        let whole = report
            .message
            .and_then(|m| Original::message(report, m, form));
        whole.unwrap_or_else(|| Original::header(report, form))
    }

    /// Hosts refuse reports that hold what is no mail, so such a message is not returned.
    fn message(report: &Report<'_>, message: &'a [u8], form: Form) -> Option<Original<'a>> {
        if !is_lines(message) {
            return None;
        }
        let end = memchr::memmem::find(message, b"\r\n\r\n");
        let (head, body) = message.split_at_checked(end.unwrap_or(message.len()))?;
        let global = form == Form::International && is_international(head);
        // RFC 6532 §3.7: UTF-8 in a header makes it another type, which not every host takes.
        let legal_head = head.is_ascii() || global;
        let legal_body = body.is_ascii() || report.header.get("MIME-Version").is_some();
        (legal_head && legal_body).then_some(Original {
            what: "Undelivered Message",
            kind: if global {
                "message/global"
            } else {
                "message/rfc822"
            },
            // RFC 2046 §5.2.1: a message within a message is never encoded.
            encoding: (!message.is_ascii()).then_some("8bit"),
            octets: Cow::Borrowed(message),
        })
    }

    fn header(report: &Report<'_>, form: Form) -> Original<'a> {
        let header = unstuffed(report.header);
        let what = match report.action {
            Action::Failed => "Undelivered Message Headers",
            _ => "Message Headers",
        };
        if is_lines(&header) && header.is_ascii() {
            return Original {
                what,
                kind: "text/rfc822-headers",
                encoding: None,
                octets: Cow::Owned(header),
            };
        }
        if is_lines(&header) && form == Form::International && is_international(&header) {
            return Original {
                what,
                kind: "message/global-headers",
                encoding: Some("8bit"),
                octets: Cow::Owned(header),
            };
        }
        // RFC 3462 §3 allows this where a header is no legal one.
        let mut encoded = Vec::with_capacity(header.len() * 2);
        TransferEncoding::QuotedPrintable.encode(&header, &mut encoded);
        Original {
            what,
            kind: "text/rfc822-headers",
            encoding: Some("quoted-printable"),
            octets: Cow::Owned(encoded),
        }
    }

    pub(super) fn is_ascii(&self) -> bool {
        self.octets.is_ascii()
    }

    pub(super) fn write(&self, id: &str, out: &mut Message) {
        out.boundary(id, "");
        out.line(&format!("Content-Description: {}", self.what));
        out.line(&format!("Content-Type: {}", self.kind));
        if let Some(encoding) = self.encoding {
            out.line(&format!("Content-Transfer-Encoding: {encoding}"));
        }
        out.line("");
        out.octets(&self.octets);
        out.line("");
    }
}

/// Whether it is made of lines: no NUL, no lone CR or LF, none over the limit (RFC 5322 §2.1.1).
fn is_lines(text: &[u8]) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let ends_well = end == rest.len() || rest.get(end..end + 2) == Some(b"\r\n");
        if end > LONGEST_LINE || !ends_well {
            return false;
        }
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    memchr::memchr(0, text).is_none()
}

/// RFC 6532 §3.2: UTF-8, and not only ASCII.
fn is_international(header: &[u8]) -> bool {
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}

fn unstuffed(header: &Header) -> Vec<u8> {
    let stored = header.as_bytes();
    let mut plain = Vec::with_capacity(stored.len().min(2 * LARGEST_HEADER));
    // Twice as much as is returned: there can be a dot too many at each line only.
    let start = stored.get(..2 * LARGEST_HEADER).unwrap_or(stored);
    Unstuffer::new().push(start, &mut |piece| plain.extend_from_slice(piece));
    if let Some(part) = plain.get(..LARGEST_HEADER) {
        let end = memchr::memrchr(b'\n', part).map_or(LARGEST_HEADER, |at| at + 1);
        plain.truncate(end);
    }
    plain
}

/// Octets of the returned header: enough to see what message it was.
const LARGEST_HEADER: usize = 64 * 1024;
/// RFC 5322 §2.1.1, without the line end.
const LONGEST_LINE: usize = 998;
