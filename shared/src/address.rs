//! Envelope addresses (RFC 5321 paths with the RFC 6531 extension) and their queue-file form.
//!
//! Owns the grammar of reverse and forward paths, the texts of its errors (they reach clients in
//! `501 Invalid MAIL FROM address …` replies) and the JSON shape that Haraka's queue files use.
//! Must never look at header addresses: display names, comments and groups are another grammar.

mod grammar;
mod stored;

use std::fmt;

pub use self::grammar::{AddressError, Fault, Limits};
use self::grammar::{Cursor, refuse_control};
pub(crate) use self::grammar::{ascii_host, is_literal_body};

/// One sender or recipient: user, host, and both as the client wrote them.
///
/// All parts live in one allocation, so that a clone or a list of thousands of recipients is cheap.
#[derive(Clone)]
pub struct Address {
    /// `original`, then the parts that are not substrings of it.
    text: Box<str>,
    original_end: u32,
    user: Span,
    host: Span,
    original_host: Option<Span>,
    is_utf8: bool,
}

impl Default for Address {
    fn default() -> Self {
        Self::null()
    }
}

impl Address {
    /// Parses what stands after `MAIL FROM:` or `RCPT TO:`, with or without angle brackets.
    ///
    /// The empty text and `<>` give the null sender; source routes are dropped; a bare `postmaster`
    /// needs no domain.
    ///
    /// # Errors
    /// [`AddressError`] with the position and the rule that was broken.
    pub fn parse(text: &str, limits: Limits) -> Result<Self, AddressError> {
        if text.is_empty() || text == "<>" {
            return Parts {
                original: text,
                user: "",
                host: "",
                original_host: None,
            }
            .pack(false);
        }
        if text.len() > limits.path() {
            return Err(AddressError::PathTooLong {
                limit: limits.path(),
                given: text.len(),
            });
        }
        // RFC 5321 §4.1.1.3
        let bare = text
            .strip_prefix('<')
            .and_then(|t| t.strip_suffix('>'))
            .unwrap_or(text);
        if bare.eq_ignore_ascii_case(POSTMASTER) {
            let parts = Parts {
                original: text,
                user: POSTMASTER,
                host: "",
                original_host: None,
            };
            return parts.pack(false);
        }

        let (user, domain) = Cursor::new(text, limits).address()?;
        if user.len() > limits.local_part() {
            return Err(AddressError::LocalPartTooLong {
                limit: limits.local_part(),
            });
        }
        let host = ascii_host(domain)?;
        let is_utf8 = !(user.is_ascii() && domain.is_ascii());
        Parts {
            original: text,
            user,
            host: &host,
            original_host: Some(domain),
        }
        .pack(is_utf8)
    }

    /// The null reverse path, `<>`.
    #[must_use]
    pub fn null() -> Self {
        Self {
            text: Box::from("<>"),
            original_end: 2,
            user: Span::default(),
            host: Span::default(),
            original_host: None,
            is_utf8: false,
        }
    }

    /// An address from its parts, as programs and plugins make them; the grammar is not applied.
    ///
    /// # Errors
    /// A control character in a part, or a host without ASCII form.
    pub fn from_parts(user: &str, host: &str) -> Result<Self, AddressError> {
        refuse_control("user", user)?;
        refuse_control("host", host)?;
        let original = format!("{user}@{host}");
        let ascii = ascii_host(host)?;
        Parts {
            original: &original,
            user,
            host: &ascii,
            original_host: Some(host),
        }
        .pack(!original.is_ascii())
    }

    /// The local part, in the case and with the quotes that were given.
    #[must_use]
    pub fn user(&self) -> &str {
        self.slice(self.user)
    }

    /// The domain or literal in lower case, non-ASCII labels in punycode; empty for the null sender
    /// and for a bare `postmaster`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.slice(self.host)
    }

    /// The text that was parsed.
    #[must_use]
    pub fn original(&self) -> &str {
        self.text
            .get(..self.original_end as usize)
            .unwrap_or_default()
    }

    /// The domain as it was written; none for the null sender and for a bare `postmaster`.
    #[must_use]
    pub fn original_host(&self) -> Option<&str> {
        self.original_host.map(|span| self.slice(span))
    }

    /// Whether delivery needs SMTPUTF8 or a punycode domain.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// Whether this is the null reverse path.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.user.is_empty()
    }

    /// `user@host` with the host as it was written; empty for the null sender.
    #[must_use]
    pub fn address(&self) -> String {
        if self.is_null() {
            String::new()
        } else {
            self.joined(self.written_host())
        }
    }

    /// `<user@host>` with the host as it was written, or in punycode.
    #[must_use]
    pub fn format(&self, punycode: bool) -> String {
        if self.is_null() {
            return "<>".to_owned();
        }
        format!(
            "<{}>",
            self.joined(if punycode {
                self.host()
            } else {
                self.written_host()
            })
        )
    }

    fn joined(&self, host: &str) -> String {
        if host.is_empty() {
            self.user().to_owned()
        } else {
            format!("{}@{host}", self.user())
        }
    }

    fn written_host(&self) -> &str {
        match self.original_host() {
            Some(host) if !host.is_empty() => host,
            _ => self.host(),
        }
    }

    fn slice(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() {
            return f.write_str("<>");
        }
        match self.written_host() {
            "" => write!(f, "<{}>", self.user()),
            host => write!(f, "<{}@{host}>", self.user()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("original", &self.original())
            .field("original_host", &self.original_host())
            .field("host", &self.host())
            .field("user", &self.user())
            .field("is_utf8", &self.is_utf8)
            .finish()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.user() == other.user()
            && self.host() == other.host()
            && self.original_host() == other.original_host()
            && self.original() == other.original()
            && self.is_utf8 == other.is_utf8
    }
}

impl Eq for Address {}

/// A part of [`Address::text`], in bytes.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The parts of an address before they are put into one allocation.
struct Parts<'a> {
    original: &'a str,
    user: &'a str,
    host: &'a str,
    original_host: Option<&'a str>,
}

impl Parts<'_> {
    fn pack(&self, is_utf8: bool) -> Result<Address, AddressError> {
        let all = [
            self.original,
            self.user,
            self.host,
            self.original_host.unwrap_or_default(),
        ];
        let given = all.iter().map(|part| part.len()).sum();
        if given > OVERSIZED {
            return Err(AddressError::Oversized { given });
        }
        let foreign: usize = all
            .iter()
            .skip(1)
            .filter(|p| !self.original.contains(**p))
            .map(|p| p.len())
            .sum();

        let mut text = String::with_capacity(self.original.len() + foreign);
        text.push_str(self.original);
        let mut place = |part: &str| {
            let start = match text.find(part) {
                Some(start) => start,
                None => {
                    text.push_str(part);
                    text.len() - part.len()
                }
            };
            // no truncation: everything together is below OVERSIZED
            #[allow(clippy::cast_possible_truncation)]
            Span {
                start: start as u32,
                end: (start + part.len()) as u32,
            }
        };
        let (user, host) = (place(self.user), place(self.host));
        let original_host = self.original_host.map(place);
        #[allow(clippy::cast_possible_truncation)]
        let original_end = self.original.len() as u32;
        Ok(Address {
            text: text.into(),
            original_end,
            user,
            host,
            original_host,
            is_utf8,
        })
    }
}
const POSTMASTER: &str = "postmaster";
/// Octets of all parts of an address that did not come through the grammar.
const OVERSIZED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Limits = Limits { postel: false };

    fn parse(text: &str) -> Address {
        Address::parse(text, STRICT).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    // covers CON-29, CON-30: every row was produced by the real library
    #[test]
    fn same_result_or_error_text_as_haraka() {
        let rows = include_str!("../tests/data/address.tsv");
        let mut seen = 0;
        for row in rows.lines().filter(|row| !row.starts_with('#')) {
            let mut columns = row.split('\t');
            let postel = columns.next() == Some("postel");
            let input: String = serde_json::from_str(columns.next().unwrap()).unwrap();
            let outcome = match Address::parse(&input, Limits { postel }) {
                Ok(a) => format!(
                    "{}\t{}\t{}\t{}",
                    serde_json::to_string(&a).unwrap(),
                    serde_json::to_string(&a.address()).unwrap(),
                    serde_json::to_string(&a.format(false)).unwrap(),
                    serde_json::to_string(&a.format(true)).unwrap()
                ),
                Err(e) => format!("!{e}"),
            };
            let expected = columns.collect::<Vec<_>>().join("\t");
            assert_eq!(outcome, expected, "input {input:?} postel {postel}");
            seen += 1;
        }
        assert!(seen > 300, "only {seen} rows");
    }

    #[test]
    fn null_sender_keeps_the_shape_of_haraka() {
        // covers OUT-07
        let json = r#"{"original":"<>","host":"","user":""}"#;
        assert_eq!(serde_json::to_string(&Address::null()).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<Address>(json).unwrap(),
            Address::null()
        );
        assert!(Address::null().is_null());
        assert_eq!(Address::null().to_string(), "<>");
        assert_eq!(Address::null(), parse("<>"));
    }

    #[test]
    fn shapes_of_the_older_library_are_read() {
        // covers OUT-07, PA-40
        for json in [
            r#"{"original":"<>","original_host":null,"host":null,"user":null}"#,
            r#"{"original":"<>","user":null,"host":null}"#,
        ] {
            assert_eq!(
                serde_json::from_str::<Address>(json).unwrap(),
                Address::null(),
                "{json}"
            );
        }
        let json =
            r#"{"original":"<a@B.c>","original_host":"B.c","host":"b.c","user":"a","phrase":"x"}"#;
        assert_eq!(
            serde_json::from_str::<Address>(json).unwrap(),
            parse("<a@B.c>")
        );
        let no_original: Address = serde_json::from_str(r#"{"user":"a","host":"b.c"}"#).unwrap();
        assert_eq!(no_original.original(), "<a@b.c>");
        assert_eq!(no_original.to_string(), "<a@b.c>");
    }

    #[test]
    fn stored_control_characters_are_refused() {
        for json in [
            r#"{"original":"x","host":"b","user":"a\r\nRCPT"}"#,
            r#"{"original":"x","host":"b\n","user":"a"}"#,
            r#"{"original":"x","original_host":"b\u007f","host":"b","user":"a"}"#,
        ] {
            assert!(serde_json::from_str::<Address>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn escaped_json_round_trips() {
        for text in [
            r#"<"a\"b"@x.y>"#,
            "<ü@exämple.com>",
            "<a@[IPv6:2001:db8::1]>",
            "postmaster",
        ] {
            let address = parse(text);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(
                serde_json::from_str::<Address>(&json).unwrap(),
                address,
                "{json}"
            );
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(
                serde_json::from_value::<Address>(value).unwrap(),
                address,
                "{json}"
            );
        }
    }

    #[test]
    fn programs_make_addresses_from_parts() {
        let address = Address::from_parts("Ü", "H.com").unwrap();
        assert_eq!((address.user(), address.host()), ("Ü", "h.com"));
        assert_eq!(address.original(), "Ü@H.com");
        assert!(address.is_utf8());
        assert!(Address::from_parts("a\r\nb", "h").is_err());
        assert!(Address::from_parts("a", "h\0").is_err());
        assert!(Address::from_parts(&"a".repeat(OVERSIZED), "h").is_err());
    }

    #[test]
    fn bytes_that_were_no_text_are_refused() {
        let lossy = String::from_utf8_lossy(b"<ab\xffc@x.y>").into_owned();
        let error = Address::parse(&lossy, STRICT).unwrap_err();
        assert_eq!(
            error,
            AddressError::Syntax {
                position: 3,
                fault: Fault::NotUtf8
            }
        );
        assert!(Address::parse("<a@\u{fffd}.y>", STRICT).is_err());
    }

    #[test]
    fn hosts_that_turn_into_numbers_or_nothing_are_refused() {
        // the real library hands these to a URL parser, which gives 1.2.3.4, 127.0.0.1 and ".com"
        for host in [
            "１.2.3.4",
            "127.1。",
            "0x7f。1",
            "\u{ad}.com",
            "ü.\u{ad}",
            "ü.1",
        ] {
            let error = Address::parse(&format!("<a@{host}>"), STRICT).unwrap_err();
            assert_eq!(error, AddressError::InvalidIdn, "{host}");
        }
    }

    #[test]
    fn one_small_value_per_address() {
        assert!(size_of::<Address>() <= 64, "{}", size_of::<Address>());
        let address = parse("<user@example.com>");
        assert_eq!(
            address.text.len(),
            "<user@example.com>".len(),
            "no part is stored twice"
        );
    }
}
