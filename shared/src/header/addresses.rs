//! Address fields of message headers (RFC 5322 §3.4, obsolete forms of §4.4) (TXN-31).
//!
//! Display names, comments and groups live here; envelope addresses are another grammar, in
//! [`crate::address`]. Error texts are Haraka's, word for word, because scripts see them. No recursion,
//! and each character is looked at a fixed number of times (PB-15).

mod grammar;
mod names;

use std::fmt;

use thiserror::Error;

use self::grammar::Cursor;
pub use self::names::{extract_name, name_case};
use super::words;
use crate::address::{Address, AddressError, Limits};

/// One address of a field, or a named group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderAddress {
    /// `Display Name <user@host> (comment)`.
    Mailbox(Mailbox),
    /// `name: mailbox, mailbox;`.
    Group(Group),
}

/// A mailbox with what stands around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// The local part, with the quotes that were given.
    pub user: String,
    /// The domain or literal in lower case, non-ASCII labels in punycode.
    pub host: String,
    /// The domain as it was written.
    pub original_host: String,
    /// The display name without quotes; empty if there is none.
    pub phrase: String,
    /// All comments, joined by blanks, without the outer parentheses.
    pub comment: String,
}

/// A group of mailboxes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub phrase: String,
    /// Its members; may be none.
    pub addresses: Vec<Mailbox>,
}

/// Where the grammar begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// Mailboxes and groups, separated by commas: To, Cc.
    #[default]
    AddressList,
    /// The same under another name in errors.
    MailboxList,
    /// The same under another name in errors.
    From,
    /// The same under another name in errors.
    ReplyTo,
    /// One mailbox, under another name in errors.
    Sender,
    /// One mailbox or group.
    Address,
    /// One mailbox.
    Mailbox,
    /// One group.
    Group,
    /// `<user@host>` alone.
    AngleAddr,
}

/// What is accepted beyond the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the grammar begins.
    pub start_at: StartAt,
    /// `@` may stand in a display name without quotes.
    pub at_in_name: bool,
    /// A comma may stand in a display name without quotes; then it separates no addresses.
    pub comma_in_name: bool,
    /// Local parts of several quoted words, and empty entries of lists (RFC 5322 §4.4).
    pub postel: bool,
}

impl Options {
    /// The usual options from this point of the grammar.
    #[must_use]
    pub fn at(start_at: StartAt) -> Self {
        Options {
            start_at,
            ..Options::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            start_at: StartAt::AddressList,
            at_in_name: true,
            comma_in_name: false,
            postel: false,
        }
    }
}

/// Why a text is no address field. The texts are Haraka's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressHeaderError {
    /// There is nothing but blanks.
    #[error("Nothing to parse")]
    Empty,
    /// A list without any address.
    #[error("No results")]
    NoResults,
    /// The grammar broke at `position`, counted in UTF-16 units as Haraka counts.
    #[error("Invalid RFC-5321 address at position {position}: {what}")]
    Syntax {
        /// Offset of the first character that does not fit.
        position: usize,
        /// What was expected there.
        what: String,
    },
    /// The domain has no ASCII form, or is too long.
    #[error(transparent)]
    Host(#[from] AddressError),
    /// A control character where it could end the field that the text is written to.
    #[error("Address field \"{0}\" must not contain control characters")]
    ControlCharacter(&'static str),
}

/// The addresses of an address field's value. Folds count as blanks.
///
/// # Errors
/// [`AddressHeaderError`] at the first character that does not fit.
pub fn parse_header(
    value: &str,
    options: Options,
) -> Result<Vec<HeaderAddress>, AddressHeaderError> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Err(AddressHeaderError::Empty);
    }
    Cursor::new(value, options).parse()
}

/// The addresses of a From field.
///
/// # Errors
/// As [`parse_header`].
pub fn parse_from(value: &str) -> Result<Vec<HeaderAddress>, AddressHeaderError> {
    parse_header(value, Options::at(StartAt::From))
}

/// The addresses of a Reply-To field.
///
/// # Errors
/// As [`parse_header`].
pub fn parse_reply_to(value: &str) -> Result<Vec<HeaderAddress>, AddressHeaderError> {
    parse_header(value, Options::at(StartAt::ReplyTo))
}

/// The one mailbox of a Sender field.
///
/// # Errors
/// As [`parse_header`].
pub fn parse_sender(value: &str) -> Result<Mailbox, AddressHeaderError> {
    match parse_header(value, Options::at(StartAt::Sender))?.pop() {
        Some(HeaderAddress::Mailbox(mailbox)) => Ok(mailbox),
        _ => Err(AddressHeaderError::NoResults),
    }
}

/// Why a text is no plain `user@host`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlainAddressError {
    /// There is nothing but blanks.
    #[error("empty email address")]
    Empty,
    /// `<…>` belongs to envelopes.
    #[error("plain email address must not be wrapped in angle brackets")]
    AngleBrackets,
    /// A bare `postmaster`.
    #[error("plain email address requires a domain")]
    NoDomain,
    /// Comments belong to header fields.
    #[error("plain email address must not contain comments")]
    Comment,
    /// More than one address.
    #[error("plain email address must be a single address")]
    Several,
    /// No local part or no domain.
    #[error("plain email address requires a local-part and a domain")]
    Incomplete,
    /// A domain of one label, where that is not wanted.
    #[error("domain must include a TLD (e.g. user@example.com)")]
    NoTld,
    /// The grammar of the address itself.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// One plain `user@host`, as forms and configuration files have it.
///
/// # Errors
/// [`PlainAddressError`] for anything around or instead of it.
pub fn parse_address(
    text: &str,
    limits: Limits,
    require_tld: bool,
) -> Result<Address, PlainAddressError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(PlainAddressError::Empty);
    }
    if text.starts_with('<') || text.ends_with('>') {
        return Err(PlainAddressError::AngleBrackets);
    }
    if text.eq_ignore_ascii_case("postmaster") {
        return Err(PlainAddressError::NoDomain);
    }
    if text.contains(['(', ')']) {
        return Err(PlainAddressError::Comment);
    }
    if text.contains([',', ';']) {
        return Err(PlainAddressError::Several);
    }
    let address = Address::parse(text, limits)?;
    if address.user().is_empty() || address.host().is_empty() {
        return Err(PlainAddressError::Incomplete);
    }
    if require_tld && !address.original_host().is_some_and(|h| h.contains('.')) {
        return Err(PlainAddressError::NoTld);
    }
    Ok(address)
}

/// Whether the text is one plain `user@host`.
#[must_use]
pub fn is_valid(text: &str) -> bool {
    parse_address(text, Limits::default(), false).is_ok()
}

impl HeaderAddress {
    /// The mailboxes: itself, or the members of a group.
    #[must_use]
    pub fn mailboxes(&self) -> &[Mailbox] {
        match self {
            HeaderAddress::Mailbox(mailbox) => std::slice::from_ref(mailbox),
            HeaderAddress::Group(group) => &group.addresses,
        }
    }

    /// A name for people; see [`extract_name`].
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            HeaderAddress::Mailbox(mailbox) => mailbox.name(),
            HeaderAddress::Group(group) => extract_name(&group.phrase, ""),
        }
    }

    /// Decodes encoded words of names and comments (RFC 2047 §5 (3)).
    pub fn decode_words(&mut self) {
        match self {
            HeaderAddress::Mailbox(mailbox) => mailbox.decode_words(),
            HeaderAddress::Group(group) => {
                group.phrase = words::decode(&group.phrase).into_owned();
                group.addresses.iter_mut().for_each(Mailbox::decode_words);
            }
        }
    }
}

impl Mailbox {
    /// `user@host` with the host as it was written.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@{}", self.user, self.original_host)
    }

    /// Whether delivery needs SMTPUTF8 or a punycode domain.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        !(self.user.is_ascii() && self.original_host.is_ascii())
    }

    /// A name for people, from the display name, the comment or the address itself.
    #[must_use]
    pub fn name(&self) -> String {
        let phrase = if self.phrase.is_empty() {
            &self.comment
        } else {
            &self.phrase
        };
        extract_name(phrase, &self.address())
    }

    fn decode_words(&mut self) {
        self.phrase = words::decode(&self.phrase).into_owned();
        self.comment = words::decode(&self.comment).into_owned();
    }
}

impl fmt::Display for HeaderAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderAddress::Mailbox(mailbox) => mailbox.fmt(f),
            HeaderAddress::Group(group) => group.fmt(f),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.phrase)?;
        for (number, mailbox) in self.addresses.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{mailbox}")?;
        }
        f.write_str(";")
    }
}

/// As a field has it: the name quoted if it has to be, the address, the comment.
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address();
        if self.phrase.is_empty() {
            f.write_str(&address)?;
        } else if is_plain_phrase(self.phrase.trim()) {
            write!(f, "{} <{address}>", self.phrase)?;
        } else {
            write!(f, "\"{}\" <{address}>", escaped(&self.phrase, &['\\', '"']))?;
        }
        match self.comment.trim() {
            "" => Ok(()),
            comment if is_balanced(comment) => write!(f, " ({comment})"),
            comment => write!(f, " ({})", escaped(comment, &['\\', '(', ')'])),
        }
    }
}

fn is_plain_phrase(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_ !#$%&'*+/=?^`{|}~".contains(c))
}

fn escaped(text: &str, specials: &[char]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        if specials.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Whether parentheses and backslashes come in pairs, so that a comment may hold the text as it is.
fn is_balanced(text: &str) -> bool {
    let mut depth = 0_u32;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return false,
            '(' => depth += 1,
            ')' if depth == 0 => return false,
            ')' => depth -= 1,
            _ => {}
        }
    }
    depth == 0
}

#[cfg(test)]
mod tests;
