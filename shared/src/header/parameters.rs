//! Parameters of structured fields: `name=value`, and the extended and continued form of RFC 2231.
//!
//! One pass whatever the text holds (PB-15). Names are data: they are keys of a map, never of an object.

use std::collections::{BTreeMap, HashMap};

use crate::escapes::unescape;
use crate::mime::charset;

/// The first parameter of this name, any case: the text between quotes, or up to the next `;`.
///
/// As in Haraka the name may be the end of a longer one (`name` finds `filename=`).
#[must_use]
pub fn parameter<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let lower = field.to_ascii_lowercase();
    lower.match_indices(name).find_map(|(at, _)| {
        let value = field
            .get(at + name.len()..)?
            .trim_start()
            .strip_prefix('=')?
            .trim_start();
        let quoted = value.strip_prefix('"');
        let between = quoted.and_then(|v| v.split_once('"')).map(|(v, _)| v);
        let bare = || quoted.unwrap_or(value).split(['"', ';']).next();
        between
            .filter(|v| !v.is_empty())
            .or_else(bare)
            .filter(|v| !v.is_empty())
    })
}

/// What the extended parameters of a field mean, as ` name="value";` for each in the order that they
/// came in; empty if there are none.
#[must_use]
pub fn extended(field: &str) -> String {
    // no field has such a parameter without both signs
    if !(field.contains('*') && field.contains('=')) {
        return String::new();
    }
    let mut found = Found::default();
    let mut rest = field;
    while let Some((parameter, after)) = next(rest) {
        found.take(&parameter);
        rest = after;
    }
    let mut out = String::new();
    for name in &found.order {
        let Some(value) = found.values.get(name) else {
            continue;
        };
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        out.push_str(&value.text());
        out.push_str("\";");
    }
    out
}

#[derive(Default)]
struct Found<'a> {
    order: Vec<&'a str>,
    values: HashMap<&'a str, Value<'a>>,
}

#[derive(Default)]
struct Value<'a> {
    charset: &'a str,
    language: &'a str,
    sections: BTreeMap<u32, &'a str>,
}

impl<'a> Found<'a> {
    fn take(&mut self, parameter: &Parameter<'a>) {
        let value = match self.values.get_mut(parameter.name) {
            Some(known) => known,
            None => {
                self.order.push(parameter.name);
                self.values.entry(parameter.name).or_default()
            }
        };
        let mut text = parameter.value;
        if let Some((charset, rest)) = text.split_once('\'')
            && let Some((language, rest)) = rest.split_once('\'')
        {
            if !value.sections.is_empty() && language != value.language {
                return;
            }
            (value.charset, value.language) = (charset, language);
            text = rest;
        }
        value.sections.insert(parameter.section, text);
    }
}

impl Value<'_> {
    /// The sections from 0 on without a gap, joined before they are decoded: senders cut characters.
    fn text(&self) -> String {
        let whole: String = (0..)
            .map_while(|section| self.sections.get(&section).copied())
            .collect();
        let mut octets = Vec::with_capacity(whole.len());
        unescape(&whole, b'%', |octet| octet, &mut octets);
        let text = (!self.charset.is_empty())
            .then(|| charset::decode(&octets, self.charset))
            .flatten();
        text.unwrap_or_else(|| match String::from_utf8(octets) {
            Ok(text) => text,
            Err(_) => whole,
        })
    }
}

struct Parameter<'a> {
    name: &'a str,
    section: u32,
    value: &'a str,
}

/// The next `name*=`, `name*N=` or `name*N*=` with its value, and what follows.
fn next(text: &str) -> Option<(Parameter<'_>, &str)> {
    let mut from = 0;
    loop {
        let star = from + text.get(from..)?.find('*')?;
        let before = text.get(from..star)?;
        let name = before
            .rfind(|c| !is_attribute(c))
            .map_or(before, |end| before.get(end..).unwrap_or_default())
            .trim_start_matches(|c| !is_attribute(c));
        from = star + 1;
        if name.is_empty() {
            continue;
        }
        let after = text.get(from..)?;
        let digits = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at_checked(digits)?;
        let after = after.strip_prefix('*').unwrap_or(after);
        let Some(after) = after.strip_prefix('=') else {
            continue;
        };
        let section = match number {
            "" => Some(0),
            number if number.len() > 1 && number.starts_with('0') => None,
            number => number.parse().ok(),
        };
        let (value, rest) = value(after);
        match section {
            Some(section) => {
                let parameter = Parameter {
                    name,
                    section,
                    value,
                };
                return Some((parameter, rest));
            }
            None => from = text.len() - rest.len(),
        }
    }
}

/// A quoted value without its quotes, or everything up to a blank without the `;` at its end.
fn value(text: &str) -> (&str, &str) {
    if let Some(quoted) = text.trim_start().strip_prefix('"')
        && let Some(end) = closing_quote(quoted)
    {
        let (value, rest) = quoted.split_at_checked(end).unwrap_or((quoted, ""));
        let rest = rest.strip_prefix('"').unwrap_or(rest);
        return (value, rest.strip_prefix(';').unwrap_or(rest));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    (value.strip_suffix(';').unwrap_or(value), rest)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|octet| {
        let found = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        found
    })
}

// RFC 2045 §5.1 token without what RFC 2231 delimits with
fn is_attribute(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'+.^_`{|}~-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers TXN-13, TXN-18
    #[test]
    fn plain_parameters_are_found() {
        for (field, name, expected) in [
            (
                "multipart/mixed; boundary=\"a b\"; x",
                "boundary",
                Some("a b"),
            ),
            (
                "multipart/mixed; BOUNDARY = abc ; x",
                "boundary",
                Some("abc "),
            ),
            ("attachment; filename=\"x.y\"", "name", Some("x.y")),
            ("a; boundary=\"open", "boundary", Some("open")),
            ("a; boundary=\"\"; boundary=b", "boundary", Some("b")),
            ("a; boundary=", "boundary", None),
            ("a; name*=utf-8''x", "name", None),
            ("ü; name=ü", "name", Some("ü")),
        ] {
            assert_eq!(parameter(field, name), expected, "{field}");
        }
    }

    // covers TXN-23
    #[test]
    fn extended_parameters_are_joined_and_decoded() {
        for (field, expected) in [
            ("attachment; filename=x", ""),
            ("a; filename*=UTF-8''%e2%82%ac.txt", " filename=\"€.txt\";"),
            ("a; n*=iso-8859-1'de'%fc", " n=\"ü\";"),
            (
                "a; f*0*=utf-8''%e2%82; f*1*=%ac%20; f*2=\"x y\"; g*=h",
                " f=\"€ x y\"; g=\"h\";",
            ),
            ("a; f*1=b", " f=\"\";"),
            ("a; f*=%ff", " f=\"%ff\";"),
            ("a; __proto__*=x", " __proto__=\"x\";"),
            ("a; f*99999999999=x; *=y; f*01=z", ""),
        ] {
            assert_eq!(extended(field), expected, "{field}");
        }
    }
}
