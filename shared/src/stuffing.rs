//! Dot-stuffing (RFC 5321 §4.5.2) put on and taken off, in pieces of any size.
//!
//! Messages are stored stuffed, with CRLF; scanners, filters and scripts want them plain, and what
//! they produce has to be stuffed before it is stored. Finding the end of a message that a client
//! sends is not done here, but where its bytes arrive.

use memchr::{memchr, memchr2, memmem};

/// Takes the stuffing off a stored message.
#[derive(Debug, Clone, Copy)]
pub struct Unstuffer {
    line_start: bool,
}

impl Unstuffer {
    /// At the beginning of a message.
    #[must_use]
    pub const fn new() -> Self {
        Self { line_start: true }
    }

    /// Takes the next piece; `out` gets pieces of it, without the dots that lines begin with.
    pub fn push(&mut self, stored: &[u8], out: &mut impl FnMut(&[u8])) {
        let Some(last) = stored.last() else { return };
        let mut rest = stored;
        if self.line_start {
            rest = rest.strip_prefix(b".").unwrap_or(rest);
        }
        self.line_start = *last == b'\n';
        while let Some(found) = memmem::find(rest, b"\n.") {
            let (line, after) = rest.split_at(found + 1);
            out(line);
            rest = after.strip_prefix(b".").unwrap_or(after);
        }
        if !rest.is_empty() {
            out(rest);
        }
    }
}

impl Default for Unstuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts a plain message into stored form: CRLF for every CR, LF and CRLF, and one more dot before
/// each that begins a line.
#[derive(Debug, Clone, Copy)]
pub struct Stuffer {
    line_start: bool,
    /// A CR was the last octet: its CRLF is out, and an LF belongs to it.
    after_cr: bool,
}

impl Stuffer {
    /// At the beginning of a message.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line_start: true,
            after_cr: false,
        }
    }

    /// In the middle of a line, so that a dot which comes first is none that begins one.
    #[must_use]
    pub const fn within_line() -> Self {
        Self {
            line_start: false,
            after_cr: false,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, plain: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut rest = plain;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            if std::mem::take(&mut self.line_start) && *first == b'.' {
                out(b".");
            }
            let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            if !line.is_empty() {
                out(line);
            }
            if let Some((ending, after)) = after.split_first() {
                out(b"\r\n");
                self.line_start = true;
                self.after_cr = *ending == b'\r';
                rest = after;
            } else {
                rest = after;
            }
        }
    }

    /// Ends the last line, if it has no end.
    pub fn finish(self, out: &mut impl FnMut(&[u8])) {
        if !self.line_start {
            out(b"\r\n");
        }
    }
}

impl Default for Stuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Turns CRLF into LF and leaves every other CR alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineFeeds {
    /// A CR came and it is not known yet what follows.
    cr: bool,
}

impl LineFeeds {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.cr) && *first != b'\n' {
                out(b"\r");
            }
            let Some(at) = memchr(b'\r', rest) else {
                return out(rest);
            };
            let (text, after) = rest.split_at(at);
            if !text.is_empty() {
                out(text);
            }
            self.cr = true;
            rest = after.get(1..).unwrap_or_default();
        }
    }

    /// Gives a CR at the very end.
    pub fn finish(&mut self, out: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.cr) {
            out(b"\r");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuff(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stuffer = Stuffer::new();
        for piece in pieces {
            stuffer.push(piece, &mut |octets| out.extend_from_slice(octets));
        }
        stuffer.finish(&mut |octets| out.extend_from_slice(octets));
        out
    }

    fn unstuff(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut unstuffer = Unstuffer::new();
        for piece in pieces {
            unstuffer.push(piece, &mut |octets| out.extend_from_slice(octets));
        }
        out
    }

    #[test]
    fn plain_text_becomes_wire_form_for_any_cut() {
        for (plain, stored) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\nb\r\nc\rd", b"a\r\nb\r\nc\r\nd\r\n"),
            (b".\n..\r\n.a\r.", b"..\r\n...\r\n..a\r\n..\r\n"),
            (b"a.\n", b"a.\r\n"),
            (b"\r\r\n\n", b"\r\n\r\n\r\n"),
            (b"\n.\n", b"\r\n..\r\n"),
            (b"\r\n.\r\n", b"\r\n..\r\n"),
        ] {
            for cut in 0..=plain.len() {
                let out = stuff(&[&plain[..cut], &plain[cut..]]);
                assert_eq!(
                    out,
                    stored,
                    "{:?} cut at {cut}",
                    String::from_utf8_lossy(plain)
                );
            }
        }
    }

    // covers TXN-26
    #[test]
    fn stored_form_becomes_plain_for_any_cut() {
        for (stored, plain) in [
            (&b""[..], &b""[..]),
            (b"..\r\n...\r\n.a\r\na.\r\n", b".\r\n..\r\na\r\na.\r\n"),
            (b"a\r\n..\r\n", b"a\r\n.\r\n"),
            (b"a..\r\n", b"a..\r\n"),
            (b".\r\n", b"\r\n"),
        ] {
            for cut in 0..=stored.len() {
                let out = unstuff(&[&stored[..cut], &stored[cut..]]);
                assert_eq!(
                    out,
                    plain,
                    "{:?} cut at {cut}",
                    String::from_utf8_lossy(stored)
                );
            }
        }
    }

    #[test]
    fn off_after_on_gives_the_text_with_crlf() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let plain: Vec<u8> = (0..40).map(|_| b"\r\n.x"[random.usize(..4)]).collect();
            let stored = stuff(&[&plain]);
            assert_eq!(stuff(&[&unstuff(&[&stored])]), stored);
        }
    }

    // covers TXN-26
    #[test]
    fn line_ends_become_lf_for_any_cut() {
        for (crlf, lf) in [
            (&b"a\r\nb\rc\r\r\n\r"[..], &b"a\nb\rc\r\n\r"[..]),
            (b"\r\n\r\n\n", b"\n\n\n"),
            (b"", b""),
        ] {
            for cut in 0..=crlf.len() {
                let mut out = Vec::new();
                let mut feeds = LineFeeds::default();
                for piece in [&crlf[..cut], &crlf[cut..]] {
                    feeds.push(piece, &mut |octets| out.extend_from_slice(octets));
                }
                feeds.finish(&mut |octets| out.extend_from_slice(octets));
                assert_eq!(out, lf, "cut at {cut}");
            }
        }
    }
}
