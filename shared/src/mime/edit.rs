//! Banners and body filters as splices over the stored body (TXN-15 to TXN-17, PB-35).
//!
//! Pure. A banner goes in between the octets that are there, in the part's own character set and
//! encoding; a filter's part is written anew only if the filter changed it. Everything else stays.

use memchr::memmem;

use super::charset::{self, Missing};
use super::part::{Part, PartKind};
use super::transfer::TransferEncoding;
use crate::body::Splice;
use crate::stuffing::Stuffer;

/// A text that is added to every text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// What `text/plain` parts get.
    pub text: String,
    /// What `text/html` parts get, inside of `<P>`.
    pub html: String,
}

impl Banner {
    /// A banner; without HTML the text with `<br/>` at its line ends.
    #[must_use]
    pub fn new(text: &str, html: Option<&str>) -> Banner {
        Banner {
            text: text.to_owned(),
            html: html.map_or_else(|| text.replace('\n', "<br/>\n"), str::to_owned),
        }
    }
}

/// Which parts a filter wants, by their lower-cased Content-Type.
pub type TypeMatch = Box<dyn Fn(&str) -> bool>;

/// Gets a part and its decoded octets; answers with other octets, or with none to leave it alone.
pub type FilterText = Box<dyn Fn(&Part, &[u8]) -> Option<Vec<u8>>>;

/// A filter of text parts.
pub struct BodyFilter {
    /// Which parts it gets.
    pub wants: TypeMatch,
    /// What it does to them.
    pub text: FilterText,
}

impl BodyFilter {
    /// A filter of parts whose Content-Type begins with this, any case. It gets Content-Type, character
    /// set and octets.
    pub fn of_type(
        prefix: &str,
        text: impl Fn(&str, &str, &[u8]) -> Option<Vec<u8>> + 'static,
    ) -> BodyFilter {
        let prefix = prefix.to_lowercase();
        BodyFilter {
            wants: Box::new(move |content_type| content_type.starts_with(&prefix)),
            text: Box::new(move |part, octets| text(part.content_type(), part.charset(), octets)),
        }
    }
}

/// Whether a part is anything to the banner or the filters.
pub(crate) fn concerns(part: &Part, banner: Option<&Banner>, filters: &[BodyFilter]) -> bool {
    part.kind() == PartKind::Text
        && (banner.is_some() && takes_banner(part) || filters.iter().any(|f| wants(f, part)))
}

/// What becomes of a text part: `stored` is its content as it stands in the body, `plain` the same
/// decoded and with LF. None if it stays.
#[must_use]
pub fn edit_part(
    part: &Part,
    stored: &[u8],
    plain: &[u8],
    banner: Option<&Banner>,
    filters: &[BodyFilter],
) -> Option<Splice> {
    let banner = banner.filter(|_| takes_banner(part));
    let insertion = banner.map(|banner| insertion(part, plain, banner));
    let start = part.content().start;
    if let Some(new) = filtered(part, plain, insertion.as_ref(), filters) {
        return Some(Splice {
            at: start,
            remove: stored.len() as u64,
            insert: rewritten(part.encoding(), &new),
        });
    }
    let (at, text) = insertion?;
    let mut splice = inserted(part.encoding(), stored, plain, at, &text);
    splice.at += start;
    Some(splice)
}

fn takes_banner(part: &Part) -> bool {
    part.is_type("text/plain") || part.is_type("text/html")
}

fn wants(filter: &BodyFilter, part: &Part) -> bool {
    (filter.wants)(part.content_type().to_lowercase().trim())
}

/// What the filters made of a part, if that is anything else than it was with the banner.
fn filtered(
    part: &Part,
    plain: &[u8],
    insertion: Option<&(usize, Vec<u8>)>,
    filters: &[BodyFilter],
) -> Option<Vec<u8>> {
    let mut filters = filters.iter().filter(|f| wants(f, part)).peekable();
    filters.peek()?;
    let mut text = plain.to_vec();
    if let Some((at, banner)) = insertion {
        text.splice(at..at, banner.iter().copied());
    }
    let mut changed = false;
    for filter in filters {
        if let Some(new) = (filter.text)(part, &text) {
            changed |= new != text;
            text = new;
        }
    }
    changed.then_some(text)
}

/// A part in stored form, ending with a line end.
fn rewritten(encoding: TransferEncoding, plain: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(plain.len() + plain.len() / 8);
    encoding.encode(plain, &mut text);
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.extend_from_slice(b"\r\n");
    }
    stuffed(&text, true)
}

/// Where the banner goes in the decoded text, and its octets.
fn insertion(part: &Part, plain: &[u8], banner: &Banner) -> (usize, Vec<u8>) {
    let label = part.charset();
    let html = part.is_type("text/html");
    let (at, text, missing) = if html {
        let text = format!("<P>{}</P>", banner.html);
        (html_end(plain, label), text, Missing::Reference)
    } else {
        let text = format!("\n{}\n", banner.text);
        (plain.len(), text, Missing::Question)
    };
    let octets = charset::encode(&text, label, missing).unwrap_or_else(|| text.into_bytes());
    (at, octets)
}

/// Before the first `</body>` or `</html>`, else before the last line end.
fn html_end(plain: &[u8], label: &str) -> usize {
    if charset::is_wide(label) {
        return html_end_wide(plain);
    }
    // ISO-2022 sets write other characters with the octets of ASCII, between escapes
    let shifts = memchr::memchr(0x1b, plain).is_some();
    let mut ascii = true;
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'<', 0x1b, plain.get(at..).unwrap_or_default()) {
        at += found;
        let rest = plain.get(at..).unwrap_or_default();
        if shifts && rest.starts_with(b"\x1b") {
            ascii = rest.starts_with(b"\x1b(B") || rest.starts_with(b"\x1b(J");
        } else if ascii && is_end_tag(rest) {
            return at;
        }
        at += 1;
    }
    plain.len() - usize::from(plain.ends_with(b"\n"))
}

fn html_end_wide(plain: &[u8]) -> usize {
    let narrow: Vec<u8> = plain
        .chunks(2)
        .map(|unit| match unit {
            [octet, 0] | [0, octet] => *octet,
            _ => 0xff,
        })
        .collect();
    2 * memmem::find_iter(&narrow, b"<")
        .find(|at| narrow.get(*at..).is_some_and(is_end_tag))
        .unwrap_or(plain.len() / 2 - usize::from(narrow.ends_with(b"\n")))
}

fn is_end_tag(text: &[u8]) -> bool {
    text.get(..7).is_some_and(|tag| {
        tag.eq_ignore_ascii_case(b"</body>") || tag.eq_ignore_ascii_case(b"</html>")
    })
}

/// Puts decoded octets in at a decoded offset, touching as little as the encoding allows. The splice
/// counts from the beginning of the part.
fn inserted(
    encoding: TransferEncoding,
    stored: &[u8],
    plain: &[u8],
    at: usize,
    text: &[u8],
) -> Splice {
    let place = Place::find(encoding, stored, at);
    let line_start = place.at == 0 || stored.get(..place.at).is_some_and(|b| b.ends_with(b"\n"));
    let mut insert = Vec::new();
    let mut remove = 0;
    match encoding {
        TransferEncoding::Identity => insert.extend_from_slice(text),
        TransferEncoding::QuotedPrintable => {
            let within = at < plain.len();
            if within && !line_start {
                insert.extend_from_slice(b"=\r\n");
            }
            encoding.encode(text, &mut insert);
            if within {
                insert.extend_from_slice(b"=\r\n");
            }
        }
        TransferEncoding::Base64 => {
            // from the group that the place is in, all that follows moves
            let tail = plain.get(place.plain..).unwrap_or_default();
            let (before, after) = tail
                .split_at_checked(at - place.plain)
                .unwrap_or((tail, &[]));
            if !line_start {
                insert.extend_from_slice(b"\r\n");
            }
            encoding.encode(&[before, text, after].concat(), &mut insert);
            remove = stored.len() - place.at;
        }
    }
    Splice {
        at: place.at as u64,
        remove: remove as u64,
        insert: stuffed(&insert, line_start),
    }
}

fn stuffed(text: &[u8], line_start: bool) -> Vec<u8> {
    let mut stuffer = if line_start {
        Stuffer::new()
    } else {
        Stuffer::within_line()
    };
    let mut out = Vec::with_capacity(text.len());
    stuffer.push(text, &mut |octets| out.extend_from_slice(octets));
    out
}

/// A place in the stored form of a part.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// The offset in the decoded text that it belongs to: the one that was asked for, or where its
    /// group of base64 begins.
    plain: usize,
}

impl Place {
    /// Decodes octet by octet until the one at `wanted` comes out.
    fn find(encoding: TransferEncoding, stored: &[u8], wanted: usize) -> Place {
        let mut decoder = encoding.decoder();
        let mut out = Vec::new();
        let mut done = 0;
        let mut group = Place { at: 0, plain: 0 };
        let mut last_group = group;
        let mut line_start = true;
        let mut at = 0;
        while done <= wanted
            && let Some(octet) = stored.get(at)
        {
            if decoder.is_idle() {
                group = Place { at, plain: done };
            }
            let line_end = stored.get(at..at + 2) == Some(b"\r\n");
            let stuffing = line_start && *octet == b'.';
            if line_end {
                decoder.push(b"\n", &mut out);
            } else if !stuffing {
                decoder.push(&[*octet], &mut out);
            }
            if !out.is_empty() {
                last_group = group;
            }
            done += out.len();
            out.clear();
            at += if line_end { 2 } else { 1 };
            line_start = line_end || *octet == b'\n';
        }
        match encoding {
            TransferEncoding::Base64 => last_group,
            // blanks are held back before it is known that they stay, octet for octet
            _ if done > wanted => Place {
                at: group.at + (wanted - group.plain),
                plain: wanted,
            },
            _ => Place {
                at: stored.len(),
                plain: wanted,
            },
        }
    }
}
