//! Octets written as a sign and two hexadecimal digits: `%40` in URIs and parameters, `=40` in encoded
//! words. A sign without digits stands for itself. Pure.

/// Appends what the text stands for; `plain` is asked about octets that are written as they are.
pub(crate) fn unescape(text: &str, sign: u8, plain: impl Fn(u8) -> u8, out: &mut Vec<u8>) {
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let mut ahead = octets.clone();
        let mut escaped = || Some(digit(ahead.next()?)? << 4 | digit(ahead.next()?)?);
        match escaped().filter(|_| octet == sign) {
            Some(value) => {
                out.push(value);
                octets = ahead;
            }
            None => out.push(plain(octet)),
        }
    }
}

fn digit(octet: u8) -> Option<u8> {
    let value = char::from(octet).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_with_two_digits_is_one_octet_and_any_other_stands_for_itself() {
        let cases = [
            ("a%40b", "a@b"),
            ("%4", "%4"),
            ("%zz%", "%zz%"),
            ("%%41", "%A"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let mut out = Vec::new();
            unescape(text, b'%', |octet| octet, &mut out);
            assert_eq!(out, expected.as_bytes(), "{text}");
        }
        let mut out = Vec::new();
        let blank = |octet| if octet == b'_' { b' ' } else { octet };
        unescape("a_=5F", b'=', blank, &mut out);
        assert_eq!(out, b"a _");
    }
}
