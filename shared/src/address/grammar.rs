//! The grammar of RFC 5321 §4.1.2 paths and §4.1.3 literals, its limits and its error texts.
//!
//! The texts reach clients in `501 Invalid MAIL FROM address …` and are Haraka's, word for word.

use std::borrow::Cow;

use thiserror::Error;

/// How strict the size limits of the grammar are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// `main.postel`: paths and local parts up to 998 octets instead of 256 and 64, and the content
    /// of an `IPv6:` literal is not checked.
    pub postel: bool,
}

impl Limits {
    // RFC 5321 §4.5.3.1.3 (path) and §4.5.3.1.6 (text line)
    pub(super) fn path(self) -> usize {
        if self.postel { TEXT_LINE } else { 256 }
    }

    // RFC 5321 §4.5.3.1.1
    pub(super) fn local_part(self) -> usize {
        if self.postel { TEXT_LINE } else { 64 }
    }
}

/// Why a text is no envelope address. The texts are Haraka's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The grammar broke at `position`, counted in UTF-16 units as Haraka counts.
    #[error("Invalid RFC-5321 address at position {position}: {fault}")]
    Syntax {
        /// Offset of the first character that does not fit.
        position: usize,
        /// What was expected there.
        fault: Fault,
    },
    /// More octets than a path may have.
    #[error("RFC-5321 path exceeds {limit} octets ({given} given)")]
    PathTooLong {
        /// The limit in octets.
        limit: usize,
        /// The length of the given text in octets.
        given: usize,
    },
    /// More octets than a local part may have.
    #[error("RFC-5321 local-part exceeds {limit} octets")]
    LocalPartTooLong {
        /// The limit in octets.
        limit: usize,
    },
    /// A domain of more than 255 octets.
    #[error("RFC-5321 domain exceeds 255 octets")]
    DomainTooLong,
    /// A domain with non-ASCII characters that has no ASCII (punycode) form.
    #[error("invalid IDN domain")]
    InvalidIdn,
    /// A part given by a program or a queue file contains a control character.
    #[error("Address field \"{field}\" must not contain control characters")]
    ControlCharacter {
        /// The name of the part.
        field: &'static str,
    },
    /// Parts given by a program or a queue file that are longer than any address.
    #[error("address of {given} octets is too long to be kept")]
    Oversized {
        /// The octets of all parts together.
        given: usize,
    },
}

/// The rule that a character broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Another character had to come here.
    #[error("expected \"{0}\"")]
    Expected(char),
    /// The local part does not begin with an atom.
    #[error("expected atom in local-part")]
    Atom,
    /// A dot in the local part is not followed by an atom.
    #[error("expected atom after \".\"")]
    AtomAfterDot,
    /// The closing quote is missing.
    #[error("unterminated quoted-string")]
    UnterminatedQuote,
    /// A backslash before a character that cannot be quoted.
    #[error("invalid quoted-pair")]
    QuotedPair,
    /// A control character between quotes.
    #[error("invalid character in quoted-string")]
    QuotedText,
    /// No domain label.
    #[error("expected sub-domain")]
    SubDomain,
    /// A domain label of more than 63 octets.
    #[error("sub-domain label exceeds 63 octets")]
    LabelTooLong,
    /// A character that cannot be in `[…]`.
    #[error("invalid character in address literal")]
    LiteralText,
    /// The closing bracket is missing.
    #[error("unterminated address literal")]
    UnterminatedLiteral,
    /// `[…]` holds no address.
    #[error("invalid address literal")]
    Literal,
    /// The `@a,@b:` prefix does not end with a colon.
    #[error("expected \":\" after source route")]
    RouteColon,
    /// Characters after the end of the address.
    #[error("trailing input after address")]
    Trailing,
    /// The bytes of the line were not UTF-8: the address that was meant is not known.
    #[error("invalid UTF-8")]
    NotUtf8,
}
/// Recursive descent over RFC 5321 §4.1.2 and §4.1.3; `at` always is a character boundary.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    limits: Limits,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, limits: Limits) -> Self {
        Self {
            text,
            at: 0,
            limits,
        }
    }

    /// The local part and the domain of the one address that the text is.
    pub(super) fn address(mut self) -> Result<(&'a str, &'a str), AddressError> {
        let parts = if self.eat('<') {
            if self.peek() == Some('@') {
                self.source_route()?;
            }
            let parts = self.mailbox()?;
            self.expect('>')?;
            parts
        } else {
            self.mailbox()?
        };
        if self.at < self.text.len() {
            self.fail(Fault::Trailing)
        } else {
            Ok(parts)
        }
    }

    // RFC 5321 §4.1.2 A-d-l; appendix C: to be ignored
    fn source_route(&mut self) -> Result<(), AddressError> {
        loop {
            self.expect('@')?;
            self.domain()?;
            if !self.eat(',') {
                break;
            }
        }
        if self.eat(':') {
            Ok(())
        } else {
            self.fail(Fault::RouteColon)
        }
    }

    fn mailbox(&mut self) -> Result<(&'a str, &'a str), AddressError> {
        let user = if self.peek() == Some('"') {
            self.quoted()
        } else {
            self.dot_string()
        }?;
        if user.contains(char::REPLACEMENT_CHARACTER) {
            self.at -= user.len() - user.find(char::REPLACEMENT_CHARACTER).unwrap_or_default();
            return self.fail(Fault::NotUtf8);
        }
        self.expect('@')?;
        let host = if self.peek() == Some('[') {
            self.literal()
        } else {
            self.domain()
        }?;
        Ok((user, host))
    }

    fn dot_string(&mut self) -> Result<&'a str, AddressError> {
        let start = self.at;
        if self.skip_while(is_atext) == 0 {
            return self.fail(Fault::Atom);
        }
        while self.eat('.') {
            if self.skip_while(is_atext) == 0 {
                return self.fail(Fault::AtomAfterDot);
            }
        }
        Ok(self.since(start))
    }

    fn quoted(&mut self) -> Result<&'a str, AddressError> {
        let start = self.at;
        self.expect('"')?;
        loop {
            match self.peek() {
                None => return self.fail(Fault::UnterminatedQuote),
                Some('"') => {
                    self.at += 1;
                    return Ok(self.since(start));
                }
                Some('\\') => match self.rest().as_bytes().get(1) {
                    Some(0x20..=0x7e) => self.at += 2,
                    _ => return self.fail(Fault::QuotedPair),
                },
                Some(_) => {
                    if self.skip_while(is_qtext) == 0 {
                        return self.fail(Fault::QuotedText);
                    }
                }
            }
        }
    }

    fn domain(&mut self) -> Result<&'a str, AddressError> {
        let start = self.at;
        self.label()?;
        while self.eat('.') {
            self.label()?;
        }
        Ok(self.since(start))
    }

    fn label(&mut self) -> Result<(), AddressError> {
        let start = self.at;
        self.skip_while(is_label_char);
        // a label neither begins nor ends with a hyphen; what follows the last letter is not of it
        let label = self.since(start).trim_end_matches('-');
        self.at = start + label.len();
        if label.is_empty() || label.starts_with('-') {
            self.at = start;
            return self.fail(Fault::SubDomain);
        }
        // RFC 1035 §2.3.4
        if label.len() > 63 {
            self.fail(Fault::LabelTooLong)
        } else {
            Ok(())
        }
    }

    fn literal(&mut self) -> Result<&'a str, AddressError> {
        let start = self.at;
        self.expect('[')?;
        self.skip_while(|c| matches!(c, '\x21'..='\x5a' | '\x5e'..='\x7e'));
        match self.peek() {
            None => return self.fail(Fault::UnterminatedLiteral),
            Some(']') => self.at += 1,
            Some(_) => return self.fail(Fault::LiteralText),
        }
        let whole = self.since(start);
        let body = whole
            .strip_prefix('[')
            .and_then(|b| b.strip_suffix(']'))
            .unwrap_or_default();
        if is_literal_body(body, self.limits) {
            return Ok(whole);
        }
        self.at = start;
        self.fail(Fault::Literal)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), AddressError> {
        if self.eat(wanted) {
            Ok(())
        } else {
            self.fail(Fault::Expected(wanted))
        }
    }

    fn skip_while(&mut self, admits: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        let skipped = rest.find(|c| !admits(c)).unwrap_or(rest.len());
        self.at += skipped;
        skipped
    }

    fn fail<T>(&self, fault: Fault) -> Result<T, AddressError> {
        let before = self.text.get(..self.at).unwrap_or_default();
        Err(AddressError::Syntax {
            position: before.encode_utf16().count(),
            fault,
        })
    }
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn is_qtext(c: char) -> bool {
    matches!(c, '\x20' | '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e') || !c.is_ascii()
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || !c.is_ascii()
}

// RFC 5321 §4.1.3: IPv4, IPv6 or general literal
pub(crate) fn is_literal_body(body: &str, limits: Limits) -> bool {
    if body.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let Some((tag, content)) = body.split_once(':') else {
        return false;
    };
    let tag_ok = !tag.is_empty()
        && !tag.starts_with('-')
        && !tag.ends_with('-')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !tag_ok || content.is_empty() {
        return false;
    }
    if limits.postel || !tag.eq_ignore_ascii_case("ipv6") {
        return true;
    }
    is_ipv6_text(content)
}

/// RFC 5321 §4.1.3 IPv6-addr: unlike RFC 4291 text, `::` has to stand for two groups or more.
fn is_ipv6_text(text: &str) -> bool {
    if text.parse::<std::net::Ipv6Addr>().is_err() {
        return false;
    }
    let groups = text.split(':').filter(|group| !group.is_empty());
    let explicit: usize = groups
        .map(|group| if group.contains('.') { 2 } else { 1 })
        .sum();
    !text.contains("::") || explicit <= 6
}

/// The host in the form that DNS and comparisons use.
pub(crate) fn ascii_host(host: &str) -> Result<Cow<'_, str>, AddressError> {
    // RFC 5321 §4.5.3.1.2
    if host.len() > MAX_DOMAIN {
        return Err(AddressError::DomainTooLong);
    }
    if host.is_ascii() {
        let lower = !host.bytes().any(|b| b.is_ascii_uppercase());
        return Ok(if lower {
            host.into()
        } else {
            host.to_ascii_lowercase().into()
        });
    }
    let mapped = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL)
        .map_err(|_| AddressError::InvalidIdn)?;
    // Mapping can empty a label or make a number of the last one (fullwidth digits): such a host
    // would be read as an IP address by whoever resolves it.
    let labels_ok = mapped
        .split('.')
        .all(|label| (1..=63).contains(&label.len()));
    let last = mapped.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if !labels_ok || numeric || mapped.len() > MAX_DOMAIN {
        return Err(AddressError::InvalidIdn);
    }
    Ok(mapped.into_owned().into())
}

pub(super) fn refuse_control(field: &'static str, text: &str) -> Result<(), AddressError> {
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(AddressError::ControlCharacter { field });
    }
    Ok(())
}

/// RFC 5321 §4.5.3.1.6 without CRLF: what can be on the wire at all.
const TEXT_LINE: usize = 998;
/// RFC 5321 §4.5.3.1.2, in octets.
const MAX_DOMAIN: usize = 255;
