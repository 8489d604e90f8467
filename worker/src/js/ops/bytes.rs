//! Octets to text and back, for `Buffer`.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rquickjs::{Ctx, Object};

use super::op;
use crate::js::convert::Bytes;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "toUtf8", |bytes: Bytes| {
        String::from_utf8_lossy(&bytes.0).into_owned()
    });
    op!(ctx, field, "fromUtf8", |text: Bytes| text);
    op!(ctx, field, "utf8Length", |text: String| text.len());
    op!(ctx, field, "toLatin1", |bytes: Bytes| bytes
        .0
        .iter()
        .map(|b| char::from(*b))
        .collect::<String>());
    op!(ctx, field, "toHex", |bytes: Bytes| hex(&bytes.0));
    op!(ctx, field, "fromHex", |text: String| Bytes(from_hex(&text)));
    op!(
        ctx,
        field,
        "toBase64",
        |bytes: Bytes, url: bool| match url {
            true => URL_SAFE_NO_PAD.encode(&bytes.0),
            false => STANDARD.encode(&bytes.0),
        }
    );
    op!(ctx, field, "fromBase64", |text: String| Bytes(from_base64(
        &text
    )));
    op!(
        ctx,
        field,
        "find",
        |hay: Bytes, needle: Bytes, from: usize| {
            let rest = hay.0.get(from..).unwrap_or_default();
            let found = memchr::memmem::find(rest, &needle.0);
            found.map(|at| at + from)
        }
    );
    op!(
        ctx,
        field,
        "findLast",
        |hay: Bytes, needle: Bytes, before: usize| {
            let end = before.saturating_add(needle.0.len()).min(hay.0.len());
            memchr::memmem::rfind(hay.0.get(..end).unwrap_or_default(), &needle.0)
        }
    );
    op!(ctx, field, "compare", |a: Bytes, b: Bytes| a.0.cmp(&b.0)
        as i32);
    op!(ctx, field, "isUtf8", |bytes: Bytes| std::str::from_utf8(
        &bytes.0
    )
    .is_ok());
    op!(ctx, field, "fromLatin1", |text: String| Bytes(
        text.encode_utf16().map(|unit| (unit & 255) as u8).collect()
    ));
    op!(ctx, field, "fromUtf16", |text: String| Bytes(
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    ));
    op!(ctx, field, "toUtf16", |bytes: Bytes| {
        let (pairs, _) = bytes.0.as_chunks::<2>();
        let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
        // None where half of a pair stands alone: no text of ours can hold it.
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .ok()
    });
    op!(ctx, field, "swapped", |bytes: Bytes, size: usize| {
        let mut bytes = bytes.0;
        for group in bytes.chunks_exact_mut(size.max(1)) {
            group.reverse();
        }
        Bytes(bytes)
    });
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

/// Up to the first pair that is not hexadecimal, as Node.
fn from_hex(text: &str) -> Vec<u8> {
    let mut digits = text.chars().map(|c| c.to_digit(16));
    let mut out = Vec::with_capacity(text.len() / 2);
    while let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) {
        out.push(u8::try_from(high << 4 | low).unwrap_or_default());
    }
    out
}

/// Both alphabets; anything else is skipped, and `=` ends it, as Node reads it.
fn from_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u8);
    for c in text.bytes().take_while(|c| *c != b'=') {
        let Some(six) = value(c) else { continue };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 255) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_hex_give_back_what_went_in_and_read_what_node_reads() {
        for text in ["", "f", "fo", "foo", "foobar", "\u{ff}\u{0}x"] {
            let bytes = text.as_bytes();
            assert_eq!(from_base64(&STANDARD.encode(bytes)), bytes);
            assert_eq!(from_base64(&URL_SAFE_NO_PAD.encode(bytes)), bytes);
            assert_eq!(from_hex(&hex(bytes)), bytes);
        }
        assert_eq!(from_base64("Zm 9v\nYg==Zm9v"), b"foob");
        assert_eq!(from_hex("6162zz63"), b"ab");
    }
}
