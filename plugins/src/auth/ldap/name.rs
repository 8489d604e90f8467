//! A user's name inside the texts that an operator writes: escaped, so that it stays a value.

use std::fmt::Write as _;

/// A DN from its template: `%u` becomes the user as a value of an attribute (RFC 4514 §2.4).
pub(crate) fn dn(template: &str, user: &str) -> String {
    template.replace("%u", &dn_value(user))
}

fn dn_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => {
                out.push('\\');
                out.push(c);
            }
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            // NUL has to be written so, other control characters may be.
            c if c.is_ascii_control() => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A search filter from its template: `%u` becomes the user as an assertion value (RFC 4515 §3).
pub(crate) fn filter(template: &str, user: &str) -> String {
    template.replace("%u", &filter_value(user))
}

fn filter_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '(' | ')' | '\\' | '\0' => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PB-12
    #[test]
    fn names_stay_one_value_of_the_dn() {
        let template = "uid=%u,ou=people,dc=example";
        for (user, value) in [
            ("jane", "jane"),
            ("jane@example.org", "jane@example.org"),
            ("x,ou=admins", "x\\,ou\\=admins"),
            ("a+b=\"c\";<d>\\", "a\\+b\\=\\\"c\\\"\\;\\<d\\>\\\\"),
            ("#x", "\\#x"),
            ("x#", "x#"),
            (" x ", "\\ x\\ "),
            (" ", "\\ "),
            ("a\0b\nc", "a\\00b\\0ac"),
            ("jürgen", "jürgen"),
            ("%u", "%u"),
        ] {
            let expected = format!("uid={value},ou=people,dc=example");
            assert_eq!(dn(template, user), expected);
        }
    }

    // covers PB-12
    #[test]
    fn names_stay_one_value_of_the_filter() {
        for (user, value) in [
            ("jane", "jane"),
            ("*", "\\2a"),
            ("x)(uid=*", "x\\29\\28uid=\\2a"),
            ("a\\b\0", "a\\5cb\\00"),
        ] {
            assert_eq!(filter("(uid=%u)", user), format!("(uid={value})"));
        }
    }
}
