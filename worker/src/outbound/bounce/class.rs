//! What kind of trouble a bounce or a deferral is about, for the log: from the enhanced code, the words
//! of the host and its basic code, in this order. Pure.
//!
//! The classes are described in `docs/bounces.md`. Nothing is decided by them: what becomes of mail
//! follows from codes alone.

use std::fmt;

use super::super::attempt::Cause;

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// There is no such recipient.
    NoSuchUser,
    /// The domain does not exist, or takes no mail.
    NoSuchDomain,
    /// The mailbox is switched off.
    Disabled,
    /// The recipient has moved, or was renamed.
    Moved,
    /// No room in the mailbox.
    MailboxFull,
    /// The message is too large for the host or the mailbox.
    TooBig,
    /// The content looks like spam.
    Spam,
    /// The sending address is on a list, or has a bad name.
    Blocked,
    /// The content holds malware or a forbidden attachment.
    Malware,
    /// SPF, DKIM, DMARC or reverse DNS do not agree.
    Authentication,
    /// Too much in too short a time.
    RateLimited,
    /// To be tried again by whoever is serious.
    Greylisted,
    /// The host does not relay for us, or wants a login.
    Relaying,
    /// The sender's address is not accepted.
    BadSender,
    /// Some other rule of the host.
    Policy,
    /// The DNS did not answer.
    Dns,
    /// No connection, or it was lost.
    Connection,
    /// TLS was required and did not come about.
    Tls,
    /// An international address, and the host cannot handle those.
    International,
    /// The host does not like how the message is built.
    Content,
    /// The host does not understand us, or we it.
    Protocol,
    /// Trouble within the host.
    System,
    /// Nobody can tell.
    Undetermined,
}

impl Class {
    /// Of the trouble that a recipient had.
    pub fn of(cause: &Cause) -> Class {
        let status = (cause.status.subject(), cause.status.detail());
        let words = start(&cause.text).to_ascii_lowercase();
        by_status(status)
            .or_else(|| by_words(&words))
            .or_else(|| by_rough_status(status))
            .or_else(|| cause.reply.as_ref().and_then(|r| by_code(r.code())))
            .unwrap_or(Class::Undetermined)
    }

    /// The word in log lines.
    pub fn name(self) -> &'static str {
        match self {
            Class::NoSuchUser => "no-such-user",
            Class::NoSuchDomain => "no-such-domain",
            Class::Disabled => "mailbox-disabled",
            Class::Moved => "moved",
            Class::MailboxFull => "mailbox-full",
            Class::TooBig => "too-big",
            Class::Spam => "spam",
            Class::Blocked => "blocked",
            Class::Malware => "malware",
            Class::Authentication => "authentication",
            Class::RateLimited => "rate-limited",
            Class::Greylisted => "greylisted",
            Class::Relaying => "relaying",
            Class::BadSender => "bad-sender",
            Class::Policy => "policy",
            Class::Dns => "dns",
            Class::Connection => "connection",
            Class::Tls => "tls",
            Class::International => "international",
            Class::Content => "content",
            Class::Protocol => "protocol",
            Class::System => "system",
            Class::Undetermined => "undetermined",
        }
    }

    /// Whether the address itself is of no use, so that whoever keeps a list should drop it.
    pub fn is_about_the_address(self) -> bool {
        matches!(
            self,
            Class::NoSuchUser | Class::NoSuchDomain | Class::Disabled | Class::Moved
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `hard` if the address will not work another time either, else `soft`.
pub fn kind(cause: &Cause) -> &'static str {
    let for_good = cause.status.class() == 5 && !cause.exhausted;
    if for_good && Class::of(cause).is_about_the_address() {
        "hard"
    } else {
        "soft"
    }
}

/// The classes of several recipients, each once, in the order of their appearance.
pub fn classes<'a>(causes: impl Iterator<Item = &'a Cause>) -> String {
    let mut found: Vec<&str> = Vec::new();
    for cause in causes {
        let name = Class::of(cause).name();
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found.join(",")
}

/// Codes that say what they mean (RFC 3463, RFC 7372, RFC 7504, RFC 6531). Hosts use the others,
/// 7.1 before all, for anything.
fn by_status(status: (u16, u16)) -> Option<Class> {
    Some(match status {
        (1, 1) => Class::NoSuchUser,
        (1, 2 | 10) => Class::NoSuchDomain,
        (1, 6) => Class::Moved,
        (1, 7 | 8) => Class::BadSender,
        (2, 2) => Class::MailboxFull,
        (2, 3) | (3, 4) => Class::TooBig,
        (4, 3) => Class::Dns,
        (6, 7..=10) => Class::International,
        (7, 10 | 11) => Class::Tls,
        (7, 13) => Class::Disabled,
        (7, 20..=27 | 29) => Class::Authentication,
        (7, 28) => Class::RateLimited,
        _ => return None,
    })
}

/// Codes that say roughly where the trouble is.
fn by_rough_status(status: (u16, u16)) -> Option<Class> {
    Some(match status {
        (1, 3) => Class::NoSuchUser,
        (2, 1) => Class::Disabled,
        (4, 4 | 6) => Class::Dns,
        (4, 5) => Class::RateLimited,
        (4, _) => Class::Connection,
        (5, 3) | (3, 2) => Class::RateLimited,
        (5, _) => Class::Protocol,
        (6, _) => Class::Content,
        (7, 4..=6) => Class::Tls,
        (7, 8 | 9) => Class::Relaying,
        (7, _) => Class::Policy,
        (3, _) => Class::System,
        _ => return None,
    })
}

fn by_words(text: &str) -> Option<Class> {
    let row = WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|w| text.contains(w)));
    row.map(|(class, _)| *class)
}

fn by_code(code: u16) -> Option<Class> {
    Some(match code {
        421 => Class::Connection,
        452 | 552 => Class::MailboxFull,
        500..=504 | 555 => Class::Protocol,
        530 | 535 => Class::Relaying,
        551 => Class::Moved,
        553 => Class::NoSuchUser,
        556 => Class::NoSuchDomain,
        _ => return None,
    })
}

fn start(text: &str) -> &str {
    let end = text.floor_char_boundary(LOOKED_AT.min(text.len()));
    text.get(..end).unwrap_or_default()
}

/// Octets of a host's words that are looked at.
const LOOKED_AT: usize = 1000;

/// What hosts write, in lower case. The first row with a word that occurs wins: what names the trouble
/// goes before what could be part of any sentence.
const WORDS: &[(Class, &[&str])] = &[
    (
        Class::Greylisted,
        &[
            "greylist",
            "graylist",
            "grey list",
            "gray list",
            "greylisting",
        ],
    ),
    (
        Class::MailboxFull,
        &[
            "mailbox full",
            "mailbox is full",
            "mailbox for user is full",
            "over quota",
            "overquota",
            "quota exceeded",
            "exceeded its quota",
            "exceeded storage",
            "out of storage",
            "insufficient storage",
            "not enough space in the mailbox",
            "storage allocation",
        ],
    ),
    (
        Class::Malware,
        &[
            "virus",
            "malware",
            "trojan",
            "infected",
            "forbidden attachment",
            "file extension",
        ],
    ),
    (
        Class::Authentication,
        &[
            "spf ",
            "dkim",
            "dmarc",
            "reverse dns",
            "ptr record",
            "rdns",
            "unauthenticated email",
        ],
    ),
    (
        Class::Tls,
        &[
            "tls required",
            "must issue a starttls",
            "tls is required",
            "no tls available",
            "encryption needed",
        ],
    ),
    (
        Class::Blocked,
        &[
            "blacklist",
            "blocklist",
            "block list",
            "black list",
            "blocked using",
            "blocked by",
            "spamhaus",
            "spamcop",
            "barracuda",
            "rbl",
            "dnsbl",
            "is listed",
            "poor reputation",
            "low reputation",
            "bad reputation",
            "reputation of",
            "banned",
            "ip address is blocked",
            "client host rejected",
        ],
    ),
    (
        Class::Spam,
        &[
            "spam",
            "unsolicited",
            "junk mail",
            "bulk mail",
            "message content rejected",
        ],
    ),
    (
        Class::RateLimited,
        &[
            "rate limit",
            "ratelimit",
            "too many",
            "too much mail",
            "throttl",
            "exceeded the maximum number",
            "try again more slowly",
            "sending rate",
        ],
    ),
    (
        Class::Disabled,
        &[
            "account disabled",
            "account is disabled",
            "mailbox disabled",
            "mailbox is disabled",
            "mailbox inactive",
            "account inactive",
            "account is inactive",
            "account suspended",
            "has been suspended",
            "account has been disabled",
            "no longer active",
        ],
    ),
    (
        Class::Relaying,
        &[
            "relay access denied",
            "relaying denied",
            "not permitted to relay",
            "unable to relay",
            "relay not permitted",
            "authentication required",
        ],
    ),
    (
        Class::BadSender,
        &[
            "sender address rejected",
            "sender rejected",
            "sender domain",
            "domain of sender",
            "sender verify failed",
        ],
    ),
    (
        Class::NoSuchUser,
        &[
            "user unknown",
            "unknown user",
            "unknown recipient",
            "recipient unknown",
            "no such user",
            "no such recipient",
            "no such mailbox",
            "no mailbox",
            "mailbox not found",
            "mailbox unavailable",
            "user not found",
            "recipient not found",
            "does not exist",
            "doesn't exist",
            "invalid recipient",
            "invalid mailbox",
            "not a known user",
            "not our customer",
            "recipient address rejected",
            "address unknown",
            "unknown address",
            "unrouteable address",
        ],
    ),
    (
        Class::NoSuchDomain,
        &["no such domain", "domain not found", "unknown domain"],
    ),
    (
        Class::TooBig,
        &[
            "message too big",
            "message too large",
            "message size exceeds",
            "exceeds size limit",
            "too large",
        ],
    ),
    (
        Class::Policy,
        &[
            "policy",
            "not allowed",
            "administratively",
            "access denied",
            "not authorized",
            "rejected by",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::reply::{Enhanced, Reply};

    fn reply(code: u16, status: &str, text: &str) -> Cause {
        let mut reply = Reply::new(code, text.to_owned());
        let fields: Vec<u16> = status.split('.').filter_map(|n| n.parse().ok()).collect();
        if let [class, subject, detail] = fields[..] {
            reply = reply.with_enhanced(Enhanced::new(class as u8, subject, detail).unwrap());
        }
        Cause::from_reply(reply, &"mx.test".into())
    }

    #[test]
    fn class_follows_from_the_code_where_it_says_enough_and_else_from_the_words() {
        for (code, status, text, class, hard) in [
            (550, "5.1.1", "go away, spammer", "no-such-user", "hard"),
            (550, "", "No such user here", "no-such-user", "hard"),
            (
                550,
                "5.7.1",
                "Recipient address rejected: user unknown",
                "no-such-user",
                "hard",
            ),
            (
                550,
                "5.2.1",
                "The account is disabled",
                "mailbox-disabled",
                "hard",
            ),
            (550, "5.2.1", "", "mailbox-disabled", "hard"),
            (551, "", "try elsewhere", "moved", "hard"),
            (552, "5.2.2", "Mailbox full", "mailbox-full", "soft"),
            (452, "", "user is over quota", "mailbox-full", "soft"),
            (552, "", "", "mailbox-full", "soft"),
            (552, "5.3.4", "Message too big", "too-big", "soft"),
            (554, "5.7.1", "Spam message rejected", "spam", "soft"),
            (
                554,
                "5.7.1",
                "blocked using zen.spamhaus.org",
                "blocked",
                "soft",
            ),
            (
                550,
                "5.7.26",
                "This mail is unauthenticated",
                "authentication",
                "soft",
            ),
            (550, "5.7.1", "SPF check failed", "authentication", "soft"),
            (421, "4.7.28", "rate", "rate-limited", "soft"),
            (421, "4.7.0", "Too many connections", "rate-limited", "soft"),
            (
                450,
                "4.2.0",
                "Greylisted, see http://",
                "greylisted",
                "soft",
            ),
            (554, "5.7.1", "Relay access denied", "relaying", "soft"),
            (553, "5.1.8", "who?", "bad-sender", "soft"),
            (550, "5.7.1", "we do not like you", "policy", "soft"),
            (451, "4.3.0", "", "system", "soft"),
            (550, "5.6.0", "odd", "content", "soft"),
            (550, "5.6.7", "", "international", "soft"),
            (
                530,
                "5.7.0",
                "Must issue a STARTTLS command first",
                "tls",
                "soft",
            ),
            (503, "", "bad sequence", "protocol", "soft"),
            (554, "", "no", "undetermined", "soft"),
            (550, "5.1.10", "", "no-such-domain", "hard"),
        ] {
            let cause = reply(code, status, text);
            let found = (Class::of(&cause).name(), kind(&cause));
            assert_eq!(found, (class, hard), "{code} {status} {text}");
        }
    }

    #[test]
    fn our_own_findings_have_classes_too_and_giving_up_is_never_hard() {
        for (cause, class, hard) in [
            (
                Cause::permanent(1, 2, "No Such Domain: x"),
                "no-such-domain",
                "hard",
            ),
            (Cause::permanent(1, 10, "NULL MX"), "no-such-domain", "hard"),
            (Cause::temporary(4, 3, "timed out"), "dns", "soft"),
            (Cause::temporary(4, 1, "refused"), "connection", "soft"),
            (Cause::temporary(4, 4, "Tried all MXs"), "dns", "soft"),
            (
                Cause::temporary(7, 5, "TLS handshake failed"),
                "tls",
                "soft",
            ),
            (Cause::permanent(3, 4, "over the limit"), "too-big", "soft"),
            (
                Cause::permanent(0, 0, "a plugin said so"),
                "undetermined",
                "soft",
            ),
            (
                reply(450, "4.1.1", "later").given_up(),
                "no-such-user",
                "soft",
            ),
        ] {
            assert_eq!(
                (Class::of(&cause).name(), kind(&cause)),
                (class, hard),
                "{cause}"
            );
        }
    }

    #[test]
    fn several_recipients_name_each_class_once_and_huge_words_are_not_searched() {
        let causes = [
            reply(550, "5.1.1", ""),
            reply(552, "5.2.2", ""),
            reply(550, "5.1.1", ""),
        ];
        assert_eq!(classes(causes.iter()), "no-such-user,mailbox-full");
        let far = format!("{}é spam", "é".repeat(LOOKED_AT / 2));
        let cause = Cause::permanent(0, 0, far);
        assert_eq!(Class::of(&cause), Class::Undetermined);
    }
}
