//! Message data on its way out: CRLF line ends, stuffed dots, never a bare CR or LF.
//!
//! Data that this server received is in that form already and passes untouched. A queue directory
//! of another origin may hold anything, and what is not in wire form could end the data early and
//! smuggle commands to the next host. Pure; works on pieces of any size.

use std::borrow::Cow;

use memchr::memchr2;

/// Follows the data through its pieces.
#[derive(Debug)]
pub struct WireForm {
    at: At,
}

/// What the octets so far end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A line end that the sender of the data wrote as CRLF; it stuffed dots there.
    LineStart,
    /// A line end that we made out of a lone CR or LF; nobody stuffed dots there.
    NewLineStart,
    /// A line that is one dot so far.
    Dot,
    /// Within a line.
    Line,
    /// A CR.
    Return,
}

impl Default for WireForm {
    fn default() -> Self {
        WireForm { at: At::LineStart }
    }
}

impl WireForm {
    /// The piece as it must be sent; borrowed when nothing had to change.
    pub fn piece<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        let mut out = Vec::new();
        // Everything before `copied` is in `out`.
        let mut copied = 0;
        let mut pos = 0;
        while let Some(&octet) = piece.get(pos) {
            if let Some(missing) = self.missing_before(octet) {
                out.extend_from_slice(piece.get(copied..pos).unwrap_or_default());
                out.extend_from_slice(missing);
                copied = pos;
            }
            (self.at, pos) = match (self.at, octet) {
                (_, b'\r') => (At::Return, pos + 1),
                (At::Return | At::LineStart, b'\n') => (At::LineStart, pos + 1),
                (_, b'\n') => (At::NewLineStart, pos + 1),
                (At::LineStart, b'.') => (At::Dot, pos + 1),
                // The rest of the line is of no interest.
                _ => {
                    let rest = piece.get(pos..).unwrap_or_default();
                    (
                        At::Line,
                        pos + memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()),
                    )
                }
            };
        }
        if copied == 0 && out.is_empty() {
            return Cow::Borrowed(piece);
        }
        out.extend_from_slice(piece.get(copied..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// What must come between the data so far and this octet.
    fn missing_before(&mut self, octet: u8) -> Option<&'static [u8]> {
        match (self.at, octet) {
            (At::Return, b'\n') => None,
            (At::Return, b'.') => {
                self.at = At::Line;
                Some(b"\n.")
            }
            (At::Return, b'\r') => Some(b"\n"),
            (At::Return, _) => {
                self.at = At::NewLineStart;
                Some(b"\n")
            }
            (At::NewLineStart, b'.') => Some(b"."),
            // A lone dot is the end of data: only unstuffed data has one.
            (At::Dot, b'\r') => Some(b"."),
            (At::Dot, b'\n') => Some(b".\r"),
            (_, b'\n') => Some(b"\r"),
            _ => None,
        }
    }

    /// What completes the data, the final dot included.
    pub fn finish(self) -> &'static [u8] {
        match self.at {
            At::LineStart | At::NewLineStart => b".\r\n",
            At::Return => b"\n.\r\n",
            At::Line => b"\r\n.\r\n",
            At::Dot => b".\r\n.\r\n",
        }
    }

    /// [`finish`](WireForm::finish) for data that is known to be in wire form, by its last octets.
    pub fn finish_known(tail: &[u8]) -> &'static [u8] {
        if tail.is_empty() || tail.ends_with(b"\r\n") {
            b".\r\n"
        } else {
            b"\r\n.\r\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(data: &[u8]) -> Vec<u8> {
        let mut form = WireForm::default();
        let mut out = form.piece(data).into_owned();
        out.extend_from_slice(form.finish());
        out
    }

    #[test]
    fn data_in_wire_form_is_not_copied() {
        let data: &[u8] = b"A: b\r\n\r\n..dot\r\n.x\r\nend\r\n";
        let mut form = WireForm::default();
        assert!(matches!(form.piece(data), Cow::Borrowed(_)));
        assert_eq!(form.finish(), b".\r\n");
    }

    // covers OUT-33
    #[test]
    fn no_data_ends_early_or_holds_a_bare_line_end() {
        for (data, sent) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a\n", "a\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            ("a\nb\r\n", "a\r\nb\r\n.\r\n"),
            ("a\rb\r\n", "a\r\nb\r\n.\r\n"),
            ("a\r\rb", "a\r\n\r\nb\r\n.\r\n"),
            ("a\n\nb", "a\r\n\r\nb\r\n.\r\n"),
            ("a\r\n\n", "a\r\n\r\n.\r\n"),
            ("\n", "\r\n.\r\n"),
            ("\r\r\n", "\r\n\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\nMAIL", "..\r\nMAIL\r\n.\r\n"),
            (".\nMAIL", "..\r\nMAIL\r\n.\r\n"),
            (".\rMAIL", "..\r\nMAIL\r\n.\r\n"),
            ("a\n.\r\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n"),
            ("a\n.\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n"),
            ("a\r.\r\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n"),
            ("a\r\n.\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n"),
            ("..\r\n", "..\r\n.\r\n"),
            ("a\r..b", "a\r\n...b\r\n.\r\n"),
        ] {
            assert_eq!(
                String::from_utf8(whole(data.as_bytes())).unwrap(),
                sent,
                "{data:?}"
            );
        }
    }

    #[test]
    fn any_split_gives_the_same_octets_and_no_lone_dot() {
        // every text of up to six of these octets, cut everywhere
        let alphabet = [b'\r', b'\n', b'.', b'a'];
        for len in 0..=6u32 {
            for n in 0..4usize.pow(len) {
                let data: Vec<u8> = (0..len).map(|i| alphabet[n / 4usize.pow(i) % 4]).collect();
                let sent = whole(&data);
                let end = sent
                    .windows(3)
                    .enumerate()
                    .find(|(i, w)| *w == b".\r\n" && (*i == 0 || sent[..*i].ends_with(b"\r\n")));
                assert_eq!(
                    end.map(|(i, _)| i + 3),
                    Some(sent.len()),
                    "{data:?} {sent:?}"
                );
                let text = String::from_utf8(sent.clone()).unwrap();
                assert!(
                    !text.replace("\r\n", "").contains(['\r', '\n']),
                    "{data:?} {text:?}"
                );
                for cut in 0..=data.len() {
                    let mut form = WireForm::default();
                    let (a, b) = data.split_at(cut);
                    let mut parts = form.piece(a).into_owned();
                    parts.extend_from_slice(&form.piece(b));
                    parts.extend_from_slice(form.finish());
                    assert_eq!(parts, sent, "{data:?} cut at {cut}");
                }
            }
        }
    }
}
