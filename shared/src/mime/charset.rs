//! Character sets of MIME text: octets to text and back.
//!
//! A thin layer over encoding_rs (the WHATWG tables, linear time, no state but the call's). A set that
//! it lacks is reported, never guessed.

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

/// The character set of this label, spelled as mail spells it.
#[must_use]
pub fn for_label(label: &str) -> Option<&'static Encoding> {
    let label = label.trim();
    Encoding::for_label(label.as_bytes())
        .or_else(|| {
            let plain: String = label
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_lowercase())
                .collect();
            let page = ["windows", "win", "cp", "ms", "x"]
                .iter()
                .find_map(|prefix| plain.strip_prefix(prefix))
                .unwrap_or(&plain);
            let name = match page {
                "utf8" | "unicode11utf8" => "utf-8",
                "932" | "31j" => "shift_jis",
                "936" => "gbk",
                "949" => "euc-kr",
                "950" => "big5",
                "874" => "windows-874",
                "125" => return None,
                page if page.starts_with("125") => {
                    return Encoding::for_label(format!("windows-{page}").as_bytes());
                }
                page => page,
            };
            Encoding::for_label(name.as_bytes())
        })
        // a set that the tables know only to refuse it
        .filter(|encoding| *encoding != REPLACEMENT)
}

/// The text of these octets; none if the character set is not known (TXN-20). Octets that the set
/// does not have become U+FFFD, a byte order mark is dropped.
#[must_use]
pub fn decode(octets: &[u8], label: &str) -> Option<String> {
    let mut encoding = for_label(label)?;
    if encoding == UTF_16LE && octets.starts_with(b"\xfe\xff") {
        encoding = UTF_16BE;
    }
    Some(encoding.decode_with_bom_removal(octets).0.into_owned())
}

/// What to write for a character that a set lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A question mark.
    Question,
    /// `&#8364;`, for HTML.
    Reference,
}

/// The octets of a text in this character set; none if the set is not known.
#[must_use]
pub fn encode(text: &str, label: &str, missing: Missing) -> Option<Vec<u8>> {
    let encoding = for_label(label)?;
    if encoding == UTF_8 {
        return Some(text.as_bytes().to_vec());
    }
    if encoding == UTF_16LE {
        return Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    }
    if encoding == UTF_16BE {
        return Some(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    }
    let (octets, _, unmappable) = encoding.encode(text);
    if !unmappable || missing == Missing::Reference {
        return Some(octets.into_owned());
    }
    let known: String = text
        .chars()
        .map(|c| {
            let (_, _, unmappable) = encoding.encode(c.encode_utf8(&mut [0; 4]));
            if unmappable { '?' } else { c }
        })
        .collect();
    Some(encoding.encode(&known).0.into_owned())
}

/// Whether every character takes two octets or more, ASCII included.
#[must_use]
pub fn is_wide(label: &str) -> bool {
    for_label(label).is_some_and(|e| e == UTF_16LE || e == UTF_16BE)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers TXN-20
    #[test]
    fn labels_of_mail_are_known() {
        for (label, name) in [
            ("ISO-8859-15", "ISO-8859-15"),
            ("iso8859_2", "ISO-8859-2"),
            ("cp1251", "windows-1251"),
            ("win1250", "windows-1250"),
            ("CP932", "Shift_JIS"),
            ("cp936", "GBK"),
            ("UTF_8", "UTF-8"),
            (" gb18030 ", "gb18030"),
            ("us-ascii", "windows-1252"),
            ("KOI8-R", "KOI8-R"),
            ("ks_c_5601-1987", "EUC-KR"),
        ] {
            assert_eq!(for_label(label).map(Encoding::name), Some(name), "{label}");
        }
        for label in ["", "x-unknown", "utf-7", "iso-2022-kr", "cp125", "8bit"] {
            assert_eq!(for_label(label), None, "{label}");
        }
    }

    // covers TXN-15, TXN-20
    #[test]
    fn text_goes_there_and_back() {
        for (label, text) in [
            ("iso-8859-2", "žluťoučký"),
            ("shift_jis", "日本語ソ表"),
            ("gb18030", "简体€𠀀"),
            ("iso-2022-jp", "日本 a"),
            ("utf-16be", "ä𝄞"),
            ("koi8-r", "привет"),
        ] {
            let octets = encode(text, label, Missing::Question).unwrap();
            assert_eq!(decode(&octets, label).unwrap(), text, "{label}");
        }
        assert_eq!(decode(b"x", "nothing"), None);
        assert_eq!(decode(b"\xef\xbb\xbfx", "utf-8").unwrap(), "x");
        assert_eq!(decode(b"\xfe\xff\0x", "utf-16").unwrap(), "x");
    }

    #[test]
    fn characters_that_are_missing_are_marked() {
        assert_eq!(
            encode("a…日", "iso-8859-2", Missing::Question).unwrap(),
            b"a??"
        );
        assert_eq!(
            encode("日", "iso-8859-2", Missing::Reference).unwrap(),
            b"&#26085;"
        );
    }
}
