//! A command line as a value: which verb, and its argument in the shape that the verb takes.
//!
//! Owns the split at the first blank and what each verb makes of its rest. The arguments of MAIL and
//! RCPT stay text: the order of checks (CON-21) puts others before their grammar (`params`).

use std::borrow::Cow;

use haraka_shared::connection::HelloVerb;
use haraka_shared::hook::UnknownCommand;
use haraka_shared::reply::Reply;
use thiserror::Error;

use super::line;

/// One command. Verbs that only plugins know (AUTH, STARTTLS, XCLIENT …) are
/// [`Unrecognized`](Self::Unrecognized).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// CON-13
    Helo(Result<&'a str, HelloError>),
    /// CON-12
    Ehlo(Result<&'a str, HelloError>),
    /// All after the blank; for `params::parse`. CON-21
    Mail(&'a str),
    /// All after the blank; for `params::parse`. CON-24
    Rcpt(&'a str),
    /// CON-31; an argument is a syntax error that counts.
    Data(Bare),
    /// RFC 3030; all after the blank, for `chunk::Chunk::parse`.
    Bdat(&'a str),
    /// CON-16
    Rset(Bare),
    /// CON-17
    Quit(Bare),
    /// CON-15; whatever follows is ignored.
    Noop,
    /// CON-19, with what is to be verified.
    Vrfy(&'a str),
    /// CON-18
    Help,
    /// The PROXY protocol, version 1, where a proxy is trusted.
    Proxy(&'a str),
    /// CON-53
    InternalCmd(&'a str),
    /// CON-41: arguments of the hook of that name.
    Unrecognized {
        /// What stands before the first blank, as written.
        verb: &'a str,
        /// What stands after the blanks.
        rest: &'a str,
    },
}

/// Whether a verb that takes no argument came without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// As RFC 5321 wants it.
    Yes,
    /// To be answered with [`ARGUMENT_NOT_ALLOWED`].
    No,
}

/// A HELO or EHLO argument that cannot be a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// No argument.
    #[error("requires domain/address - see RFC-2821 4.1.1.1")]
    Missing,
    /// A control character: it would go into Received fields and logs.
    #[error("syntax error - see RFC-2821 4.1.1.1")]
    ControlCharacter,
}

impl HelloError {
    /// The answer to the client; `verb` is `HELO` or `EHLO`.
    #[must_use]
    pub fn reply(self, verb: &'static str) -> Reply {
        Reply::new(501, format!("{verb} {self}"))
    }
}

/// The answer to RSET, QUIT and DATA with an argument.
pub const ARGUMENT_NOT_ALLOWED: Reply = Reply::fixed(501, "Syntax error");

/// The answer to an 8-bit command after HELO.
pub const EIGHT_BIT: Reply = Reply::fixed(501, "Syntax error (8-bit characters not allowed)");

/// The text of a command line, or none if the client may not send 8-bit octets after its HELO
/// (CON-13; the answer is [`EIGHT_BIT`]).
#[must_use]
pub fn decode(line: &[u8], hello: Option<HelloVerb>) -> Option<Cow<'_, str>> {
    if hello == Some(HelloVerb::Helo) && !line.is_ascii() {
        None
    } else {
        Some(line::text(line))
    }
}

/// Whether more input may follow this line in one group (RFC 2920 §3.1, RFC 3030 §4.2, CON-46).
#[must_use]
pub fn may_be_followed(line: &[u8]) -> bool {
    const GROUPED: [&[u8]; 7] = [
        b"RSET", b"MAIL", b"SEND", b"SOML", b"SAML", b"RCPT", b"BDAT",
    ];
    line.get(..4)
        .is_some_and(|verb| GROUPED.iter().any(|g| g.eq_ignore_ascii_case(verb)))
}

/// Whether the input begins with MAIL or RCPT.
#[must_use]
pub fn is_envelope(input: &[u8]) -> bool {
    input.get(..5).is_some_and(|verb| {
        [b"MAIL ", b"RCPT "]
            .iter()
            .any(|v| v.eq_ignore_ascii_case(verb))
    })
}

/// Whether the input begins with AUTH.
#[must_use]
pub fn is_auth(input: &[u8]) -> bool {
    input
        .get(..5)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

/// Whether a client that was asked for a response rather leaves. Only in the forms that no base64 of
/// readable text has.
#[must_use]
pub fn is_quit(line: &str) -> bool {
    matches!(line, "QUIT" | "quit")
}

/// A line that answers a challenge, split at the first blank as a command of plugins is.
#[must_use]
pub fn response(line: &str) -> UnknownCommand<'_> {
    let (verb, rest) = match line.split_once(' ') {
        Some((verb, rest)) => (verb, rest.trim_matches(' ')),
        None => (line, ""),
    };
    UnknownCommand {
        verb,
        rest,
        secret: true,
    }
}

/// Whether the line is one that octets follow.
#[must_use]
pub fn is_bdat(line: &[u8]) -> bool {
    line.get(..5)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT "))
}

/// Whether the input begins with an introduction.
#[must_use]
pub fn is_hello(input: &[u8]) -> bool {
    input.get(..5).is_some_and(|verb| {
        verb.eq_ignore_ascii_case(b"EHLO ") || verb.eq_ignore_ascii_case(b"HELO ")
    })
}

impl<'a> Command<'a> {
    /// Reads a line without its CRLF. Never fails: what is not understood is `Unrecognized`.
    #[must_use]
    pub fn parse(line: &'a str) -> Self {
        let (verb, rest) = match line.split_once(' ') {
            Some((verb, rest)) => (verb, rest.trim_start_matches(' ')),
            None => (line, ""),
        };
        // Haraka's line pattern does not reach over Unicode line ends in the argument.
        if !rest.is_ascii() && rest.contains(['\u{2028}', '\u{2029}']) {
            return Self::Unrecognized {
                verb: line,
                rest: "",
            };
        }
        match Verb::find(verb) {
            Some(Verb::Helo) => Self::Helo(hello_host(rest)),
            Some(Verb::Ehlo) => Self::Ehlo(hello_host(rest)),
            Some(Verb::Mail) => Self::Mail(rest),
            Some(Verb::Rcpt) => Self::Rcpt(rest),
            Some(Verb::Data) => Self::Data(bare(rest)),
            Some(Verb::Bdat) => Self::Bdat(rest),
            Some(Verb::Rset) => Self::Rset(bare(rest)),
            Some(Verb::Quit) => Self::Quit(bare(rest)),
            Some(Verb::Noop) => Self::Noop,
            Some(Verb::Vrfy) => Self::Vrfy(rest),
            Some(Verb::Help) => Self::Help,
            Some(Verb::Proxy) => Self::Proxy(rest),
            Some(Verb::InternalCmd) => Self::InternalCmd(rest),
            None => Self::Unrecognized { verb, rest },
        }
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Helo,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Quit,
    Noop,
    Vrfy,
    Help,
    Proxy,
    InternalCmd,
}

impl Verb {
    const TABLE: [(&'static str, Self); 13] = [
        ("MAIL", Self::Mail),
        ("RCPT", Self::Rcpt),
        ("DATA", Self::Data),
        ("BDAT", Self::Bdat),
        ("EHLO", Self::Ehlo),
        ("QUIT", Self::Quit),
        ("RSET", Self::Rset),
        ("HELO", Self::Helo),
        ("NOOP", Self::Noop),
        ("VRFY", Self::Vrfy),
        ("HELP", Self::Help),
        ("PROXY", Self::Proxy),
        ("INTERNALCMD", Self::InternalCmd),
    ];

    fn find(word: &str) -> Option<Self> {
        let found = Self::TABLE
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, verb)| *verb)
    }
}

// Words after the host are ignored.
fn hello_host(rest: &str) -> Result<&str, HelloError> {
    let host = rest.split(' ').next().unwrap_or_default();
    if host.is_empty() {
        Err(HelloError::Missing)
    } else if host.bytes().any(|b| b.is_ascii_control()) {
        Err(HelloError::ControlCharacter)
    } else {
        Ok(host)
    }
}

fn bare(rest: &str) -> Bare {
    if rest.is_empty() { Bare::Yes } else { Bare::No }
}

/// A command line for the log: readable, on one line, and with `AUTH`'s argument left out (LOG-16).
pub(crate) fn without_secrets(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut words = text.splitn(3, char::is_whitespace);
    let (verb, mechanism, secret) = (words.next(), words.next(), words.next());
    let text = match (verb, mechanism, secret) {
        (Some(verb), Some(mechanism), Some(_)) if verb.eq_ignore_ascii_case("auth") => {
            format!("{verb} {mechanism} [redacted]")
        }
        _ => text.into_owned(),
    };
    if !text.contains(|c: char| c.is_control() && c != '\t') {
        return text;
    }
    // A terminal that shows the log must not be steered by a client.
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers LOG-16
    #[test]
    fn what_is_logged_of_auth_is_never_the_secret() {
        for (line, shown) in [
            ("AUTH PLAIN AGEAYgA=", "AUTH PLAIN [redacted]"),
            ("auth login dXNlcg==", "auth login [redacted]"),
            ("AUTH LOGIN", "AUTH LOGIN"),
            ("AUTH  PLAIN x y", "AUTH  [redacted]"),
            (
                "MAIL FROM:<a@b.c> \"\u{e9}\"",
                "MAIL FROM:<a@b.c> \"\u{e9}\"",
            ),
            ("NOOP \x1b[2J\tx", "NOOP \\u{1b}[2J\tx"),
        ] {
            assert_eq!(without_secrets(line.as_bytes()), shown);
        }
    }

    // covers CON-12 … CON-20, CON-31, CON-41
    #[test]
    fn verbs_and_their_arguments() {
        use Command::*;
        let unknown = |verb, rest| Unrecognized { verb, rest };
        for (line, expected) in [
            ("HELO a.b", Helo(Ok("a.b"))),
            ("helo   a.b   c d", Helo(Ok("a.b"))),
            ("HELO", Helo(Err(HelloError::Missing))),
            ("HELO   ", Helo(Err(HelloError::Missing))),
            ("HELO a\tb", Helo(Err(HelloError::ControlCharacter))),
            ("HELO \u{7f}", Helo(Err(HelloError::ControlCharacter))),
            ("HELO a b\tc", Helo(Ok("a"))),
            ("EhLo [1.2.3.4]", Ehlo(Ok("[1.2.3.4]"))),
            ("EHLO ü.de", Ehlo(Ok("ü.de"))),
            ("EHLO", Ehlo(Err(HelloError::Missing))),
            ("MAIL FROM:<a@b> SIZE=1", Mail("FROM:<a@b> SIZE=1")),
            ("mail   from:<> ", Mail("from:<> ")),
            ("MAIL", Mail("")),
            ("rcpt TO:<a@b>", Rcpt("TO:<a@b>")),
            ("DATA", Data(Bare::Yes)),
            ("data  ", Data(Bare::Yes)),
            ("DATA x", Data(Bare::No)),
            ("DATA \t", Data(Bare::No)),
            ("RSET", Rset(Bare::Yes)),
            ("RSET x", Rset(Bare::No)),
            ("QUIT", Quit(Bare::Yes)),
            ("quit now", Quit(Bare::No)),
            ("NOOP", Noop),
            ("NOOP whatever it is", Noop),
            ("VRFY  user name", Vrfy("user name")),
            ("HELP me", Help),
            (
                "PROXY TCP4 1.2.3.4 5.6.7.8 1 2",
                Proxy("TCP4 1.2.3.4 5.6.7.8 1 2"),
            ),
            (
                "internalcmd key:x flushQueue",
                InternalCmd("key:x flushQueue"),
            ),
            ("AUTH  PLAIN AAA=", unknown("AUTH", "PLAIN AAA=")),
            ("starttls", unknown("starttls", "")),
            ("bdat 5 LAST", Bdat("5 LAST")),
            ("BDAT", Bdat("")),
            ("EXPN x", unknown("EXPN", "x")),
            ("", unknown("", "")),
            (" QUIT", unknown("", "QUIT")),
            ("QUIT\t", unknown("QUIT\t", "")),
            ("MAILFROM:<a@b>", unknown("MAILFROM:<a@b>", "")),
            ("MAIL\tFROM:<a@b>", unknown("MAIL\tFROM:<a@b>", "")),
            ("ＱＵＩＴ", unknown("ＱＵＩＴ", "")),
            ("__proto__ x", unknown("__proto__", "x")),
            ("VRFY a\u{2028}b", unknown("VRFY a\u{2028}b", "")),
        ] {
            assert_eq!(Command::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn hello_errors_have_the_texts_of_haraka() {
        let text = |e: HelloError, verb| e.reply(verb).to_string();
        assert_eq!(
            text(HelloError::Missing, "EHLO"),
            "501 EHLO requires domain/address - see RFC-2821 4.1.1.1"
        );
        assert_eq!(
            text(HelloError::ControlCharacter, "HELO"),
            "501 HELO syntax error - see RFC-2821 4.1.1.1"
        );
    }

    // covers CON-13
    #[test]
    fn eight_bit_is_refused_after_helo_only() {
        let line = "VRFY ü".as_bytes();
        assert_eq!(decode(line, None).as_deref(), Some("VRFY ü"));
        assert_eq!(
            decode(line, Some(HelloVerb::Ehlo)).as_deref(),
            Some("VRFY ü")
        );
        assert_eq!(decode(line, Some(HelloVerb::Helo)), None);
        assert_eq!(
            decode(b"VRFY u", Some(HelloVerb::Helo)).as_deref(),
            Some("VRFY u")
        );
    }

    // covers PB-05
    #[test]
    fn lines_of_an_auth_exchange_are_told_from_commands() {
        assert!(is_auth(b"AUTH PLAIN x") && is_auth(b"auth "));
        assert!(!is_auth(b"AUTH") && !is_auth(b"AUTHX y"));
        assert!(is_quit("QUIT") && is_quit("quit"));
        // base64 of "AB-"
        assert!(!is_quit("QUIt"));
        for (line, expected) in [
            ("AUTH  LOGIN x ", ("AUTH", "LOGIN x")),
            ("RCpT", ("RCpT", "")),
            ("", ("", "")),
        ] {
            let found = response(line);
            assert_eq!((found.verb, found.rest), expected);
            assert!(found.secret);
        }
    }

    // covers CON-46
    #[test]
    fn only_envelope_commands_may_be_followed() {
        for line in [
            "MAIL FROM:<>",
            "rcpt to:<a@b>",
            "RSET",
            "bdat 5",
            "SEND",
            "SOML",
            "SAML",
        ] {
            assert!(may_be_followed(line.as_bytes()), "{line}");
        }
        for line in [
            "DATA",
            "QUIT",
            "EHLO a",
            "NOOP",
            "VRFY x",
            "MAI",
            "",
            "AUTH PLAIN",
        ] {
            assert!(!may_be_followed(line.as_bytes()), "{line}");
        }
    }
}
