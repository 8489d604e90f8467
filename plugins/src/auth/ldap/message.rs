//! Requests to a directory and its responses (RFC 4511 §4).

use zeroize::Zeroizing;

use super::ber::{
    BOOLEAN, ENUMERATED, INTEGER, OCTETS, SEQUENCE, element, integer, number, take, take_tagged,
};

const BIND: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
/// Context tag 0: a password in the clear in a bind, a name in an extended request.
const FIRST: u8 = 0x80;

/// RFC 4511 §4.14.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// How deep a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The base itself.
    Base,
    /// What is right below it.
    One,
    /// All below it.
    Subtree,
}

/// A simple bind. Whoever calls sees to it that the password is not empty: a directory takes that
/// for a wish to be nobody, and says yes (RFC 4513 §5.1.2).
pub(crate) fn bind(id: u32, dn: &str, password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut content = Zeroizing::new(integer(INTEGER, 3));
    content.extend(element(OCTETS, dn.as_bytes()));
    content.extend_from_slice(&Zeroizing::new(element(FIRST, password)));
    let operation = Zeroizing::new(element(BIND, &content));
    Zeroizing::new(message(id, &operation))
}

/// A search for names of entries, at most two of them, which is one more than a login can use.
pub(crate) fn search(id: u32, base: &str, scope: Scope, seconds: u32, filter: &[u8]) -> Vec<u8> {
    let scope = match scope {
        Scope::Base => 0,
        Scope::One => 1,
        Scope::Subtree => 2,
    };
    let mut content = element(OCTETS, base.as_bytes());
    content.extend(integer(ENUMERATED, scope));
    // Aliases are not followed.
    content.extend(integer(ENUMERATED, 0));
    content.extend(integer(INTEGER, 2));
    content.extend(integer(INTEGER, seconds));
    content.extend(element(BOOLEAN, &[0]));
    content.extend_from_slice(filter);
    // No attributes (RFC 4511 §4.5.1.8).
    content.extend(element(SEQUENCE, &element(OCTETS, b"1.1")));
    message(id, &element(SEARCH, &content))
}

/// Asks for TLS.
pub(crate) fn start_tls(id: u32) -> Vec<u8> {
    message(id, &element(EXTENDED, &element(FIRST, START_TLS)))
}

/// A farewell.
pub(crate) fn unbind(id: u32) -> Vec<u8> {
    message(id, &element(UNBIND, &[]))
}

fn message(id: u32, operation: &[u8]) -> Vec<u8> {
    let mut content = Zeroizing::new(integer(INTEGER, id));
    content.extend_from_slice(operation);
    element(SEQUENCE, &content)
}

/// What a directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// The answer to a bind.
    Bound(Outcome),
    /// An entry that a search found, by its DN.
    Entry(String),
    /// Where else to look, which nobody does here.
    Reference,
    /// The search is over.
    Found(Outcome),
    /// The answer to StartTLS.
    Extended(Outcome),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// RFC 4511 §4.1.9.
    pub(crate) code: u32,
    /// For a log line.
    pub(crate) text: String,
}

impl Outcome {
    /// It was done.
    pub(crate) const SUCCESS: u32 = 0;
    /// There were more entries than were asked for.
    pub(crate) const SIZE_LIMIT: u32 = 4;
    /// There is no such entry.
    pub(crate) const NO_SUCH_OBJECT: u32 = 32;
    /// The DN is none.
    pub(crate) const INVALID_DN: u32 = 34;
    /// The entry has no password.
    pub(crate) const INAPPROPRIATE_AUTH: u32 = 48;
    /// The password is wrong, or there is no such entry.
    pub(crate) const INVALID_CREDENTIALS: u32 = 49;
}

/// Reads one whole message; its number (0 if the directory speaks unasked) and what it says.
/// `None` if it is no message that could come here.
pub(crate) fn parse(octets: &[u8]) -> Option<(u32, Response)> {
    let (content, _) = take_tagged(octets, SEQUENCE)?;
    let (id, rest) = take_tagged(content, INTEGER)?;
    let (tag, operation, _) = take(rest)?;
    let response = match tag {
        BIND_RESPONSE => Response::Bound(outcome(operation)?),
        ENTRY => {
            let (dn, _) = take_tagged(operation, OCTETS)?;
            Response::Entry(String::from_utf8(dn.to_vec()).ok()?)
        }
        SEARCH_DONE => Response::Found(outcome(operation)?),
        REFERENCE => Response::Reference,
        EXTENDED_RESPONSE => Response::Extended(outcome(operation)?),
        _ => return None,
    };
    Some((number(id)?, response))
}

fn outcome(operation: &[u8]) -> Option<Outcome> {
    let (code, rest) = take_tagged(operation, ENUMERATED)?;
    let (_matched, rest) = take_tagged(rest, OCTETS)?;
    let (text, _) = take_tagged(rest, OCTETS)?;
    Some(Outcome {
        code: number(code)?,
        text: String::from_utf8_lossy(text)
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ldap::ber;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|o| format!("{o:02x}")).collect()
    }

    fn octets(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        pairs
            .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn requests_have_the_form_of_the_standard() {
        assert_eq!(
            hex(&bind(1, "cn=x", b"pw")),
            "3012020101600d0201030404636e3d7880027077"
        );
        assert_eq!(hex(&unbind(2)), "30050201024200");
        assert_eq!(
            hex(&start_tls(1)),
            "301d02010177188016312e332e362e312e342e312e313436362e3230303337"
        );
        assert_eq!(
            hex(&search(2, "o=x", Scope::Subtree, 5, &[0x87, 1, b'a'])),
            "3023020102631e04036f3d780a01020a010002010202010501010087016130050403312e31"
        );
    }

    #[test]
    fn responses_are_read_and_those_of_others_are_none() {
        let bound = octets("300c02010161070a013104000400");
        let refused = Outcome {
            code: Outcome::INVALID_CREDENTIALS,
            text: String::new(),
        };
        assert_eq!(parse(&bound), Some((1, Response::Bound(refused))));
        let entry = octets("300d02010264080404636e3d783000");
        assert_eq!(parse(&entry), Some((2, Response::Entry("cn=x".into()))));
        let done = octets("300e02010265090a010004000402686f");
        assert!(matches!(
            parse(&done),
            Some((2, Response::Found(Outcome { code: 0, text }))) if text == "ho"
        ));
        for cut in 0..bound.len() {
            assert_eq!(parse(&bound[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(&unbind(1)), None);
        assert_eq!(ber::size(&bound), ber::Size::Whole(bound.len()));
    }
}
