//! Encoded words of header fields (RFC 2047), both ways, as far as a bounce needs them. Pure.

use std::borrow::Cow;

/// The text of an unstructured field, for people. Character sets other than UTF-8 and Latin-1, and
/// what is not well-formed, stay as they are.
pub(super) fn decoded(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value)
        .replace(['\r', '\n'], "")
        .replace('\t', " ");
    let text = text.trim();
    let mut out = String::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some((before, after)) = rest.split_once("=?") {
        match word(after) {
            Some((word, behind)) => {
                // RFC 2047 §6.2: blanks between encoded words are not shown
                if !(after_word && before.trim().is_empty()) {
                    out.push_str(before);
                }
                out.push_str(&word);
                rest = behind;
                after_word = true;
            }
            None => {
                out.push_str(before);
                out.push_str("=?");
                rest = after;
                after_word = false;
            }
        }
    }
    out.push_str(rest);
    out.retain(|c| !c.is_control());
    out
}

/// One word behind its `=?`, and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let (charset, text) = text.split_once('?')?;
    let (encoding, text) = text.split_once('?')?;
    let (data, rest) = text.split_once("?=")?;
    let octets = match encoding {
        "b" | "B" => base64(data)?,
        "q" | "Q" => quoted(data)?,
        _ => return None,
    };
    // RFC 2231 §5: a language may follow the character set
    let charset = charset
        .split('*')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let decoded = match charset.as_str() {
        "utf-8" | "us-ascii" => String::from_utf8(octets).ok()?,
        "iso-8859-1" | "iso-8859-15" | "windows-1252" => {
            octets.into_iter().map(char::from).collect()
        }
        _ => return None,
    };
    Some((decoded, rest))
}

fn quoted(data: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len());
    let mut octets = data.bytes();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'_' => b' ',
            b'=' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            octet => octet,
        });
    }
    Some(out)
}

fn base64(data: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for octet in data.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|a| *a == octet)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

/// A text that may go into an unstructured field.
pub(super) fn encoded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut words = Vec::new();
    let mut part = String::new();
    for c in text.chars() {
        // RFC 2047 §2: 75 characters, of which `=?utf-8?B?` and `?=` take 12
        if part.len() + c.len_utf8() > 45 {
            words.push(encoded_word(&part));
            part.clear();
        }
        part.push(c);
    }
    words.push(encoded_word(&part));
    Cow::Owned(words.join("\r\n "))
}

/// The name before an address; quotes go, as an encoded word needs none.
pub(super) fn encoded_phrase(text: &str) -> String {
    let bare = text.trim();
    if bare.is_ascii() {
        return text.to_owned();
    }
    let bare = bare.strip_prefix('"').unwrap_or(bare);
    let bare = bare.strip_suffix('"').unwrap_or(bare);
    format!("{} ", encoded(&bare.replace('\\', "")))
}

fn encoded_word(text: &str) -> String {
    let mut out = String::from("=?utf-8?B?");
    for chunk in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |b, i| {
            b << 8 | u32::from(chunk.get(i).copied().unwrap_or(0))
        });
        for i in 0..4_usize {
            let index = usize::try_from(bits >> (18 - 6 * i) & 63).unwrap_or(0);
            let digit = if i <= chunk.len() {
                ALPHABET.get(index)
            } else {
                None
            };
            out.push(char::from(*digit.unwrap_or(&b'=')));
        }
    }
    out + "?="
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_encodings_are_read_and_others_left_alone() {
        for (value, expected) in [
            (" plain\r\n", "plain"),
            ("=?utf-8?B?w7xiZXI=?=", "über"),
            ("=?UTF-8?q?=C3=BCber_alles?= x", "über alles x"),
            ("=?iso-8859-1?Q?=FC?=\r\n =?utf-8*de?B?w7w=?=", "üü"),
            ("a =?utf-8?Q?b?= c", "a b c"),
            ("=?koi8-r?B?8A==?=", "=?koi8-r?B?8A==?="),
            (
                "=?utf-8?B?!?= =?utf-8?Q?=G0?= =?x",
                "=?utf-8?B?!?= =?utf-8?Q?=G0?= =?x",
            ),
            ("=?utf-8?Q?a=0D=0ABcc:_x?=", "aBcc: x"),
        ] {
            assert_eq!(decoded(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn what_is_encoded_reads_back() {
        for text in ["plain", "ü", "üb", "übe", &"größer ".repeat(30)] {
            let value = encoded(text);
            assert!(value.is_ascii() && value.split("\r\n").all(|l| l.len() <= 76));
            assert_eq!(decoded(value.as_bytes()), text);
        }
    }
}
