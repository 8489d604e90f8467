//! Encoded words (RFC 2047): text of header fields read and written.
//!
//! One pass over the text whatever it holds (PB-15). Words that are not well-formed stay as they are.

use std::borrow::Cow;

use crate::escapes::unescape;
use crate::mime::charset;
use crate::mime::transfer::{TransferEncoding, push_escaped};

/// The text with its encoded words decoded and the blanks between neighbours dropped (§6.2).
///
/// Neighbours in one character set are decoded together, because senders cut characters in two. Line
/// ends that a word smuggles in are dropped. An unknown character set is read as UTF-8 as far as it is.
#[must_use]
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut open: Option<(&str, Vec<u8>)> = None;
    let mut rest = text;
    // after the newest word; blanks there may have to go
    let mut gap = "";
    while let Some((before, from)) = split_word_start(rest) {
        let Some((word, after)) = Word::parse(from) else {
            let (literal, after) = rest
                .split_at_checked(before.len() + 2)
                .unwrap_or((rest, ""));
            close(&mut open, &mut out);
            out.push_str(std::mem::take(&mut gap));
            out.push_str(literal);
            rest = after;
            continue;
        };
        let joined = open.is_some() && gap.is_empty() && before.chars().all(is_blank);
        match &mut open {
            Some((charset, octets)) if joined && charset.eq_ignore_ascii_case(word.charset) => {
                word.octets(octets);
            }
            _ => {
                close(&mut open, &mut out);
                if !joined {
                    out.push_str(std::mem::take(&mut gap));
                    out.push_str(before);
                }
                let mut octets = Vec::new();
                word.octets(&mut octets);
                open = Some((word.charset, octets));
            }
        }
        rest = after;
    }
    close(&mut open, &mut out);
    out.push_str(rest);
    Cow::Owned(out)
}

fn split_word_start(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(text.find("=?")?)
}

fn close(open: &mut Option<(&str, Vec<u8>)>, out: &mut String) {
    let Some((label, octets)) = open.take() else {
        return;
    };
    let text = charset::decode(&octets, label)
        .unwrap_or_else(|| String::from_utf8_lossy(&octets).into_owned());
    out.extend(text.chars().filter(|c| !matches!(c, '\r' | '\n')));
}

/// One word, `=?charset*language?encoding?text?=`.
struct Word<'a> {
    charset: &'a str,
    encoding: TransferEncoding,
    text: &'a str,
}

impl<'a> Word<'a> {
    fn parse(from: &'a str) -> Option<(Word<'a>, &'a str)> {
        let rest = from.strip_prefix("=?")?;
        let (charset, rest) = token(rest)?;
        let rest = match rest.strip_prefix('*') {
            // RFC 2231 §5
            Some(language) => token(language)?.1,
            None => rest,
        };
        let rest = rest.strip_prefix('?')?;
        let encoding = match rest.chars().next()? {
            'b' | 'B' => TransferEncoding::Base64,
            'q' | 'Q' => TransferEncoding::QuotedPrintable,
            _ => return None,
        };
        let rest = rest.get(1..)?.strip_prefix('?')?;
        let end = rest.find(|c| c == '?' || is_blank(c))?;
        let (text, rest) = rest.split_at_checked(end)?;
        let word = Word {
            charset,
            encoding,
            text,
        };
        Some((word, rest.strip_prefix("?=")?))
    }

    fn octets(&self, out: &mut Vec<u8>) {
        if self.encoding == TransferEncoding::Base64 {
            let mut decoder = self.encoding.decoder();
            decoder.push(self.text.as_bytes(), out);
            decoder.finish(out);
            return;
        }
        let plain = |octet| if octet == b'_' { b' ' } else { octet };
        unescape(self.text, b'=', plain, out);
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .unwrap_or(text.len());
    text.split_at_checked(end).filter(|(t, _)| !t.is_empty())
}

// What counts as blank in scripts: Unicode's white space and the byte order mark, without U+0085.
fn is_blank(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// The text in a form that may stand in any field (TXN-24): from the first to the last word with
/// non-ASCII in it, `Q` encoded as UTF-8, in words of at most 75 octets.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let is_foreign = |c: char| !c.is_ascii();
    let first = text.find(is_foreign).unwrap_or_default();
    let start = text
        .get(..first)
        .and_then(|t| t.rfind(is_blank))
        .map_or(0, |blank| blank + 1);
    let last = text.rfind(is_foreign).unwrap_or(first);
    let end = text
        .get(last..)
        .and_then(|t| t.char_indices().skip(1).find(|(_, c)| is_blank(*c)))
        .map_or(text.len(), |(blank, _)| last + blank);
    let at = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let mut out = String::from(at(0, start));
    let mut word = Vec::new();
    for c in at(start, end).chars() {
        let mut encoded = Vec::new();
        match c {
            ' ' => encoded.push(b'_'),
            // RFC 2047 §5 (3): what may be in a word within a phrase
            c if c.is_ascii_alphanumeric() || "!*+-/".contains(c) => {
                encoded.extend(c.to_string().bytes());
            }
            c => {
                let mut octets = [0; 4];
                let octets = c.encode_utf8(&mut octets).bytes();
                octets.for_each(|octet| push_escaped(octet, &mut encoded));
            }
        }
        if FRAME + word.len() + encoded.len() > LONGEST_WORD {
            push_word(&mut word, &mut out);
            out.push_str("\r\n ");
        }
        word.append(&mut encoded);
    }
    push_word(&mut word, &mut out);
    out.push_str(at(end, text.len()));
    Cow::Owned(out)
}

fn push_word(word: &mut Vec<u8>, out: &mut String) {
    out.push_str("=?UTF-8?Q?");
    out.extend(word.drain(..).map(char::from));
    out.push_str("?=");
}

/// RFC 2047 §2.
const LONGEST_WORD: usize = 75;
const FRAME: usize = "=?UTF-8?Q??=".len();

#[cfg(test)]
mod tests {
    use super::*;

    // covers TXN-23
    #[test]
    fn words_are_decoded_and_what_is_none_stays() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a =?utf-8?q?=C3=BC_?= =?utf-8?b?w7w=?= b", "a ü ü b"),
            ("=?iso-8859-1*de?Q?=FC?=\t =?koi8-r?B?8A==?=x", "ü\u{41f}x"),
            ("=?utf-8?q?=C3?= =?UTF-8?b?vA==?=", "ü"),
            ("=?x-none?q?=C3=BC?=", "ü"),
            ("=?utf-8?Q?a=0D=0ABcc:?=", "aBcc:"),
            ("=?utf-8?x?a?= =?", "=?utf-8?x?a?= =?"),
            ("=?utf-8?q?a b?=", "=?utf-8?q?a b?="),
            ("=?=?utf-8?q?a?=", "=?a"),
            ("=?utf-8?q?a?= =? =?utf-8?q?b?=", "a =? b"),
            ("=?utf-8?q?=4=zz?=", "=4=zz"),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    // covers TXN-24
    #[test]
    fn foreign_words_are_encoded_and_read_back() {
        assert_eq!(encode("plain =?"), "plain =?");
        assert_eq!(encode("a ü b ö! c"), "a =?UTF-8?Q?=C3=BC_b_=C3=B6!?= c");
        let long = "größer ".repeat(40);
        let words = encode(&long);
        assert!(
            words
                .split("\r\n ")
                .all(|word| word.len() <= LONGEST_WORD + 1)
        );
        assert_eq!(decode(&words.replace("\r\n", "")), long);
    }
}
