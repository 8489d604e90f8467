//! Files without keys: one value, a list, or plain lines (CFS-26 to CFS-28).
//!
//! Pure functions over the text of a file. Lines end at LF, CR LF or a lone CR, as for Haraka.

use std::borrow::Cow;

/// The lines of a text without their ends; an end after the last line adds no empty line.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((line, after)) = rest.split_once(['\n', '\r']) else {
            return Some(std::mem::take(&mut rest));
        };
        // A CR LF was split at the CR: its LF belongs to the same end.
        let ended_by_cr = rest.as_bytes().get(line.len()) == Some(&b'\r');
        rest = match after.strip_prefix('\n') {
            Some(next) if ended_by_cr => next,
            _ => after,
        };
        Some(line)
    })
}

/// Whether a trimmed line says nothing: it is empty or a comment.
pub(super) fn is_idle(trimmed: &str) -> bool {
    trimmed.is_empty() || trimmed.starts_with([';', '#'])
}

/// Trimmed lines with their numbers from 1, without blank lines and comments (CFS-27).
pub(super) fn items(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..)
        .zip(lines(text))
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !is_idle(line))
}

/// The text of a file: what is not UTF-8 is replaced, a byte order mark is dropped.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_of_every_kind_split_once() {
        let all: Vec<_> = lines("a\r\nb\rc\n\nd").collect();
        assert_eq!(all, ["a", "b", "c", "", "d"]);
        assert_eq!(lines("a\n").count(), 1);
        assert_eq!(lines("").count(), 0);
    }

    #[test]
    fn items_skip_comments_and_keep_line_numbers() {
        // covers CFS-27
        let got: Vec<_> = items("# one\n\n  b ; x \n;c\nd#e").collect();
        assert_eq!(got, [(3, "b ; x"), (5, "d#e")]);
    }

    #[test]
    fn latin1_and_byte_order_mark_do_not_stop_the_reader() {
        assert_eq!(decode(b"\xef\xbb\xbfgr\xfc\xdfe"), "gr\u{fffd}\u{fffd}e");
    }
}
