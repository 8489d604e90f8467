//! Transfer encodings of MIME bodies (RFC 2045 §6), read and written in pieces of any size.
//!
//! Pure. Reading never fails: what is no valid encoding is passed over or stays as it is, because mail
//! in the field is full of it. Must never hold more than one unfinished line end.

use std::fmt;

/// How the octets of a part are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferEncoding {
    /// Lines of 64 letters, digits and signs.
    Base64,
    /// Text with `=XX` for what is no plain ASCII.
    QuotedPrintable,
    /// 7bit, 8bit, binary and whatever is not known: as it is.
    #[default]
    Identity,
}

impl TransferEncoding {
    /// The encoding of a Content-Transfer-Encoding value, and whether the value is a known one
    /// (TXN-19). Of several fields the last one counts.
    #[must_use]
    pub fn named(value: &str) -> (TransferEncoding, bool) {
        let name = value.rsplit('\n').next().unwrap_or_default().trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("base64") {
            (TransferEncoding::Base64, true)
        } else if is("quoted-printable") {
            (TransferEncoding::QuotedPrintable, true)
        } else {
            let known = name.is_empty() || is("7bit") || is("8bit") || is("binary");
            (TransferEncoding::Identity, known)
        }
    }

    /// A decoder at the beginning of a part.
    #[must_use]
    pub fn decoder(self) -> Decoder {
        match self {
            TransferEncoding::Base64 => Decoder::Base64(Base64Decoder::default()),
            TransferEncoding::QuotedPrintable => Decoder::Quoted(QuotedDecoder::default()),
            TransferEncoding::Identity => Decoder::Identity,
        }
    }

    /// Appends `plain` in this encoding. Line ends of text become CRLF; base64 takes octets as they
    /// are, in lines of 76.
    pub fn encode(self, plain: &[u8], out: &mut Vec<u8>) {
        match self {
            TransferEncoding::Base64 => encode_base64(plain, out),
            TransferEncoding::QuotedPrintable => encode_quoted(plain, out),
            TransferEncoding::Identity => out.extend_from_slice(plain),
        }
    }
}

impl fmt::Display for TransferEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TransferEncoding::Base64 => "base64",
            TransferEncoding::QuotedPrintable => "quoted-printable",
            TransferEncoding::Identity => "8bit",
        })
    }
}

/// Takes the encoding off a part.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// See [`TransferEncoding::Base64`].
    Base64(Base64Decoder),
    /// See [`TransferEncoding::QuotedPrintable`].
    Quoted(QuotedDecoder),
    /// See [`TransferEncoding::Identity`].
    Identity,
}

impl Decoder {
    /// Appends what the next piece means.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Base64(d) => d.push(piece, out),
            Decoder::Quoted(d) => d.push(piece, out),
            Decoder::Identity => out.extend_from_slice(piece),
        }
    }

    /// Appends what was held back at the end of the part.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Decoder::Base64(d) => d.flush(out),
            Decoder::Quoted(d) => d.finish(out),
            Decoder::Identity => {}
        }
    }

    /// Whether all that was pushed has its meaning in the output already.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Decoder::Base64(d) => d.count == 0,
            Decoder::Quoted(d) => d.state == Quoted::Text && d.blanks.is_empty(),
            Decoder::Identity => true,
        }
    }
}

/// Groups of four symbols. Padding ends a group, so that joined encodings are read as well.
#[derive(Clone, Debug, Default)]
pub struct Base64Decoder {
    bits: u32,
    count: u8,
}

impl Base64Decoder {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() / 4 * 3);
        for octet in piece {
            let Some(value) = sextet(*octet) else {
                if *octet == b'=' {
                    self.flush(out);
                }
                continue;
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            if self.count == 4 {
                let [_, a, b, c] = self.bits.to_be_bytes();
                out.extend_from_slice(&[a, b, c]);
                (self.bits, self.count) = (0, 0);
            }
        }
    }

    // Six bits of a group of one symbol are no octet.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let [_, a, b, _] = (self.bits << (6 * (4 - u32::from(self.count.min(4))))).to_be_bytes();
        match self.count {
            2 => out.push(a),
            3 => out.extend_from_slice(&[a, b]),
            _ => {}
        }
        (self.bits, self.count) = (0, 0);
    }
}

// Node's decoder takes the URL-safe alphabet (RFC 4648 §5) as well, and mail has it.
const fn sextet(octet: u8) -> Option<u8> {
    match octet {
        b'A'..=b'Z' => Some(octet - b'A'),
        b'a'..=b'z' => Some(octet - b'a' + 26),
        b'0'..=b'9' => Some(octet - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// RFC 2045 §6.7, with blanks before a line end dropped and soft line breaks joined.
#[derive(Clone, Debug, Default)]
pub struct QuotedDecoder {
    state: Quoted,
    /// Blanks that may turn out to be at the end of a line.
    blanks: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quoted {
    #[default]
    Text,
    /// After a CR, which ends a line if LF follows.
    Cr,
    /// After `=`, with as many blanks as are held.
    Sign,
    /// After `=`, blanks and CR.
    SignCr,
    /// After `=` and one digit.
    Digit(u8),
}

impl QuotedDecoder {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        loop {
            if self.state == Quoted::Text && self.blanks.is_empty() {
                let plain = rest
                    .iter()
                    .position(|b| matches!(b, b'=' | b' ' | b'\t' | b'\r'))
                    .unwrap_or(rest.len());
                let (text, after) = rest.split_at(plain);
                out.extend_from_slice(text);
                rest = after;
            }
            let Some((octet, after)) = rest.split_first() else {
                return;
            };
            self.step(*octet, out);
            rest = after;
        }
    }

    fn step(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.state, octet) {
            (Quoted::Text | Quoted::Sign, b' ' | b'\t') => {
                if self.blanks.len() >= LONGEST_BLANKS {
                    self.give_up(out);
                }
                self.blanks.push(octet);
            }
            (Quoted::Text, b'=') => {
                out.append(&mut self.blanks);
                self.state = Quoted::Sign;
            }
            (Quoted::Text, b'\r') => self.state = Quoted::Cr,
            (Quoted::Text, b'\n') => {
                self.blanks.clear();
                out.push(b'\n');
            }
            (Quoted::Text, _) => {
                out.append(&mut self.blanks);
                out.push(octet);
            }
            (Quoted::Cr, b'\n') => {
                self.blanks.clear();
                out.extend_from_slice(b"\r\n");
                self.state = Quoted::Text;
            }
            (Quoted::Sign, b'\r') => self.state = Quoted::SignCr,
            (Quoted::Sign | Quoted::SignCr, b'\n') => {
                self.blanks.clear();
                self.state = Quoted::Text;
            }
            (Quoted::Sign, _) if self.blanks.is_empty() && octet.is_ascii_hexdigit() => {
                self.state = Quoted::Digit(octet);
            }
            (Quoted::Digit(high), _) if octet.is_ascii_hexdigit() => {
                out.push(nibble(high) << 4 | nibble(octet));
                self.state = Quoted::Text;
            }
            _ => {
                self.give_up(out);
                self.step(octet, out);
            }
        }
    }

    /// What was held back means itself.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        match self.state {
            Quoted::Text | Quoted::Cr => {}
            Quoted::Sign | Quoted::SignCr => out.push(b'='),
            Quoted::Digit(high) => out.extend_from_slice(&[b'=', high]),
        }
        out.append(&mut self.blanks);
        if matches!(self.state, Quoted::Cr | Quoted::SignCr) {
            out.push(b'\r');
        }
        self.state = Quoted::Text;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if matches!(self.state, Quoted::Sign | Quoted::SignCr) {
            self.state = Quoted::Text; // a soft line break at the very end
        }
        if self.state == Quoted::Text {
            self.blanks.clear();
        }
        self.give_up(out);
    }
}

/// Blanks in a row that are still looked at for being the end of a line.
const LONGEST_BLANKS: usize = 1000;

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// Octets of an encoded line (RFC 2045 §6.7 and §6.8).
const LINE: usize = 76;

fn encode_base64(plain: &[u8], out: &mut Vec<u8>) {
    for line in plain.chunks(LINE / 4 * 3) {
        for group in line.chunks(3) {
            push_group(group, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn push_group(group: &[u8], out: &mut Vec<u8>) {
    let at = |i: usize| u32::from(group.get(i).copied().unwrap_or_default());
    let bits = at(0) << 16 | at(1) << 8 | at(2);
    for symbol in 0..4 {
        let index = usize::try_from(bits >> (18 - 6 * symbol) & 63).unwrap_or_default();
        let padding = symbol as usize > group.len();
        let digit = if padding { None } else { ALPHABET.get(index) };
        out.push(digit.copied().unwrap_or(b'='));
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode_quoted(plain: &[u8], out: &mut Vec<u8>) {
    for line in plain.split_inclusive(|b| *b == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = if text.len() < line.len() {
            text.strip_suffix(b"\r").unwrap_or(text)
        } else {
            text
        };
        let mut column = 0;
        for (at, octet) in text.iter().enumerate() {
            let last = at + 1 == text.len();
            let literal = match octet {
                b'=' => false,
                b' ' | b'\t' => !last,
                octet => octet.is_ascii_graphic(),
            };
            let width = if literal { 1 } else { 3 };
            // one column stays free for the sign of a soft line break
            if column + width > LINE - usize::from(!last) {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            if literal {
                out.push(*octet);
            } else {
                push_escaped(*octet, out);
            }
            column += width;
        }
        if text.len() < line.len() {
            out.extend_from_slice(b"\r\n");
        }
    }
}

pub(crate) fn push_escaped(octet: u8, out: &mut Vec<u8>) {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'A' + n - 10 };
    out.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: TransferEncoding, text: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut decoder = encoding.decoder();
        decoder.push(text, &mut whole);
        decoder.finish(&mut whole);
        for cut in 0..text.len() {
            let mut out = Vec::new();
            let mut decoder = encoding.decoder();
            decoder.push(&text[..cut], &mut out);
            decoder.push(&text[cut..], &mut out);
            decoder.finish(&mut out);
            assert_eq!(out, whole, "{} cut at {cut}", String::from_utf8_lossy(text));
        }
        whole
    }

    // covers TXN-19
    #[test]
    fn names_are_known_in_any_case_and_others_mean_as_it_is() {
        for (value, expected) in [
            ("BASE64", (TransferEncoding::Base64, true)),
            (
                " quoted-Printable ",
                (TransferEncoding::QuotedPrintable, true),
            ),
            ("8bit\nbase64", (TransferEncoding::Base64, true)),
            ("", (TransferEncoding::Identity, true)),
            ("x-uuencode", (TransferEncoding::Identity, false)),
        ] {
            assert_eq!(TransferEncoding::named(value), expected, "{value}");
        }
    }

    // covers TXN-19
    #[test]
    fn base64_is_read_across_lines_padding_and_junk() {
        for (text, plain) in [
            (&b""[..], &b""[..]),
            (b"aGVs\r\nbG8=\r\n", b"hello"),
            (b"aG!Vs bG8", b"hello"),
            (b"YQ==YQ==", b"aa"),
            (b"-_-_", &[0xfb, 0xff, 0xbf]),
            (b"a", b""),
        ] {
            assert_eq!(decode(TransferEncoding::Base64, text), plain);
        }
    }

    // covers TXN-19
    #[test]
    fn quoted_text_is_read_with_soft_breaks_and_errors_in_it() {
        for (text, plain) in [
            (
                &b"a=3Db=\r\nc  \r\nd \t=\r\ne"[..],
                &b"a=b\
c\r\nd \te"[..],
            ),
            (b"=4=41=ZZ=", b"=4A=ZZ"),
            (b"x=  \r\ny", b"xy"),
            (b"x= y", b"x= y"),
            (b"a\rb\r\n", b"a\rb\r\n"),
            (b"=e4=F6\n", b"\xe4\xf6\n"),
            (b"end  ", b"end"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&decode(TransferEncoding::QuotedPrintable, text)),
                String::from_utf8_lossy(plain),
            );
        }
    }

    #[test]
    fn what_is_encoded_reads_back_and_lines_are_short() {
        let mut random = fastrand::Rng::with_seed(3);
        for round in 0..300 {
            let plain: Vec<u8> = (0..round)
                .map(|_| match random.u8(..4) {
                    0 => b" \t=.\xff\xe4~"[random.usize(..7)],
                    1 if round % 3 == 0 => random.u8(..).max(b' '),
                    _ => random.u8(b'a'..=b'z'),
                })
                .chain(*b"\r\n")
                .collect();
            for encoding in [TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
                let mut text = Vec::new();
                encoding.encode(&plain, &mut text);
                assert_eq!(decode(encoding, &text), plain);
                assert!(text.is_ascii());
                assert!(
                    text.split(|b| *b == b'\n')
                        .all(|line| line.len() <= LINE + 1)
                );
            }
        }
    }
}
