//! Search filters from their text (RFC 4515) to the form on the wire (RFC 4511 §4.5.1.7).
//!
//! Extensible matches (`:=`) are left out: no directory needs them to find a user.

use super::ber::{OCTETS, element};

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("a bracket has no partner")]
    Bracket,
    #[error("{0:?} is no comparison")]
    Comparison(String),
    #[error("an escape is not \\ and two hexadecimal digits")]
    Escape,
    #[error("it goes deeper than {DEEPEST} brackets")]
    TooDeep,
    #[error("extensible matches are not known here")]
    Extensible,
}

const DEEPEST: usize = 16;

const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const AT_LEAST: u8 = 0xa5;
const AT_MOST: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const SIMILAR: u8 = 0xa8;

/// The filter on the wire. A text without brackets around it counts as if it had them.
///
/// # Errors
/// Where the text is no filter.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, FilterError> {
    let text = text.trim();
    if !text.starts_with('(') {
        return comparison(text);
    }
    let (filter, rest) = bracketed(text, 0)?;
    match rest.trim() {
        "" => Ok(filter),
        _ => Err(FilterError::Bracket),
    }
}

/// The filter at the front, and what follows it.
fn bracketed(text: &str, depth: usize) -> Result<(Vec<u8>, &str), FilterError> {
    if depth > DEEPEST {
        return Err(FilterError::TooDeep);
    }
    let inside = text.strip_prefix('(').ok_or(FilterError::Bracket)?;
    let inside = inside.trim_start();
    let several = match inside.chars().next() {
        Some('&') => Some(AND),
        Some('|') => Some(OR),
        Some('!') => Some(NOT),
        _ => None,
    };
    let Some(tag) = several else {
        // Brackets within values are escaped.
        let (item, rest) = inside.split_once(')').ok_or(FilterError::Bracket)?;
        return Ok((comparison(item)?, rest));
    };
    let mut rest = inside.get(1..).unwrap_or_default().trim_start();
    let mut parts = Vec::new();
    while rest.starts_with('(') {
        let (part, after) = bracketed(rest, depth + 1)?;
        parts.extend(part);
        rest = after.trim_start();
        if tag == NOT {
            break;
        }
    }
    let rest = rest.strip_prefix(')').ok_or(FilterError::Bracket)?;
    if tag == NOT && parts.is_empty() {
        return Err(FilterError::Bracket);
    }
    Ok((element(tag, &parts), rest))
}

fn comparison(item: &str) -> Result<Vec<u8>, FilterError> {
    let wrong = || FilterError::Comparison(item.to_owned());
    let (left, value) = item.split_once('=').ok_or_else(wrong)?;
    let (attribute, tag) = match left
        .trim()
        .split_at_checked(left.trim().len().saturating_sub(1))
    {
        Some((attribute, ">")) => (attribute, AT_LEAST),
        Some((attribute, "<")) => (attribute, AT_MOST),
        Some((attribute, "~")) => (attribute, SIMILAR),
        Some((_, ":")) => return Err(FilterError::Extensible),
        _ => (left.trim(), EQUAL),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || "-.;".contains(c);
    if attribute.is_empty() || !attribute.chars().all(known) || value.contains('(') {
        return Err(wrong());
    }
    let attribute = attribute.as_bytes();
    if tag == EQUAL && value == "*" {
        return Ok(element(PRESENT, attribute));
    }
    let mut content = element(OCTETS, attribute);
    if tag == EQUAL && value.contains('*') {
        content.extend(element(super::ber::SEQUENCE, &substrings(value)?));
        return Ok(element(SUBSTRINGS, &content));
    }
    content.extend(element(OCTETS, &unescaped(value)?));
    Ok(element(tag, &content))
}

/// `first*any*last`, each with its tag.
fn substrings(value: &str) -> Result<Vec<u8>, FilterError> {
    let last = value.split('*').count().saturating_sub(1);
    let mut out = Vec::new();
    for (at, part) in value.split('*').enumerate() {
        if part.is_empty() {
            continue;
        }
        let tag = match at {
            0 => 0x80,
            n if n == last => 0x82,
            _ => 0x81,
        };
        out.extend(element(tag, &unescaped(part)?));
    }
    Ok(out)
}

fn unescaped(text: &str) -> Result<Vec<u8>, FilterError> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    let hex = |o: Option<u8>| o.and_then(|o| char::from(o).to_digit(16));
    while let Some(octet) = octets.next() {
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        match (hex(octets.next()), hex(octets.next())) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err(FilterError::Escape),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        let coded = parse(text).unwrap();
        coded.iter().map(|o| format!("{o:02x}")).collect()
    }

    #[test]
    fn filters_have_the_form_of_the_standard() {
        for (text, coded) in [
            ("(uid=jane)", "a30b0403756964".to_owned() + "04046a616e65"),
            ("uid=jane", "a30b0403756964".to_owned() + "04046a616e65"),
            ("(mail=*)", "87046d61696c".to_owned()),
            ("(n>=1)", "a50604016e040131".to_owned()),
            ("(n<=1)", "a60604016e040131".to_owned()),
            ("(n~=1)", "a80604016e040131".to_owned()),
            ("(n=a*b*c)", "a40e04016e3009800161810162820163".to_owned()),
            ("(n=\\2a)", "a30604016e04012a".to_owned()),
            (
                "(&(a=1)(|(b=2)(!(c=3))))",
                "a01ca306040161040131a112a306040162040132a208a306040163040133".to_owned(),
            ),
            ("(&)", "a000".to_owned()),
        ] {
            assert_eq!(hex(text), coded, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_filters_are_refused() {
        for text in [
            "",
            "(",
            "(uid=jane",
            "(uid)",
            "(=x)",
            "(u id=x)",
            "(!)",
            "(&(a=1)",
            "(a=1))",
            "(a=\\)",
            "(a=\\zz)",
            "(cn:dn:=x)",
            "(a=b(c)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "(!".repeat(40) + "(a=1)" + &")".repeat(40);
        assert_eq!(parse(&deep), Err(FilterError::TooDeep));
    }
}
