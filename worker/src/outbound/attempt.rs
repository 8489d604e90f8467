//! What came of offering one message to one host: a result per recipient, or the finding that
//! another host should be asked.
//!
//! Pure values. Owns the translation of replies into delivery status codes (RFC 3463); must never
//! decide when or whether a message is tried again.

use std::fmt;
use std::rc::Rc;

use haraka_shared::reply::{Enhanced, Reply, ReplyError};

use super::policy::{Failure, FailureType, Source};
use super::wish::TlsOutcome;
use crate::rt::HandshakeError;

/// Why a recipient did not get the message; in reports of success, why it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Status for the delivery report; its class is 4 or 5, or 2 for a success.
    pub status: Enhanced,
    /// Code, enhanced code and text of the remote reply, or our own words.
    pub text: String,
    /// What the remote host answered; none when we found the cause ourselves.
    pub reply: Option<Reply>,
    /// The host that answered, or that was asked.
    pub host: Option<Rc<str>>,
    /// It is about one recipient, while the host may take the message for others.
    pub of_one: bool,
    /// It was put off too often, rather than refused.
    pub exhausted: bool,
}

impl Cause {
    /// The remote host put it off or refused it.
    pub fn from_reply(reply: Reply, host: &Rc<str>) -> Cause {
        let class = if reply.is_permanent() { 5 } else { 4 };
        let status = match reply.enhanced() {
            Some(e) if e.class() == class => e,
            // RFC 3464 §2.3.4 wants a status also from hosts that give none
            _ => general(class),
        };
        Cause {
            status,
            text: reply.to_string(),
            reply: Some(reply),
            host: Some(host.clone()),
            of_one: false,
            exhausted: false,
        }
    }

    /// The host took it, for reports of success.
    pub fn success(reply: Option<Reply>, host: &Rc<str>) -> Cause {
        Cause {
            status: match reply.as_ref().and_then(Reply::enhanced) {
                Some(e) if e.class() == 2 => e,
                _ => TAKEN,
            },
            text: reply.as_ref().map_or("accepted".into(), Reply::to_string),
            reply,
            host: Some(host.clone()),
            of_one: false,
            exhausted: false,
        }
    }

    /// Put off for a reason of ours; `subject` and `detail` as in RFC 3463.
    pub fn temporary(subject: u16, detail: u16, text: impl Into<String>) -> Cause {
        Cause::own(4, subject, detail, text.into())
    }

    /// Impossible for a reason of ours; `subject` and `detail` as in RFC 3463.
    pub fn permanent(subject: u16, detail: u16, text: impl Into<String>) -> Cause {
        Cause::own(5, subject, detail, text.into())
    }

    fn own(class: u8, subject: u16, detail: u16, text: String) -> Cause {
        let status = Enhanced::new(class, subject, detail).unwrap_or(general(class));
        Cause {
            status,
            text,
            reply: None,
            host: None,
            of_one: false,
            exhausted: false,
        }
    }

    /// The same cause, found while talking to this host.
    #[must_use]
    pub fn at(mut self, host: &Rc<str>) -> Cause {
        self.host = Some(host.clone());
        self
    }

    /// The same cause, of one recipient alone.
    #[must_use]
    pub fn of_one(mut self) -> Cause {
        self.of_one = true;
        self
    }

    /// The same cause as one that passes: another host, or another time, may do better.
    #[must_use]
    pub fn passing(mut self) -> Cause {
        let (subject, detail) = (self.status.subject(), self.status.detail());
        self.status = Enhanced::new(4, subject, detail).unwrap_or(general(4));
        self
    }

    /// The same cause turned from temporary into final, as after too many attempts (OUT-20).
    #[must_use]
    pub fn given_up(mut self) -> Cause {
        let (subject, detail) = (self.status.subject(), self.status.detail());
        self.status = Enhanced::new(5, subject, detail).unwrap_or(general(5));
        self.exhausted = true;
        self
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `class.0.0`: nothing more is known.
const fn general(class: u8) -> Enhanced {
    if class == 5 { FINAL } else { PASSING }
}

const TAKEN: Enhanced = match Enhanced::new(2, 0, 0) {
    Some(e) => e,
    None => unreachable!(),
};
const PASSING: Enhanced = match Enhanced::new(4, 0, 0) {
    Some(e) => e,
    None => unreachable!(),
};
const FINAL: Enhanced = match Enhanced::new(5, 0, 0) {
    Some(e) => e,
    None => unreachable!(),
};

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RcptResult {
    /// The host took the message with this reply.
    Delivered(Reply),
    /// Not now.
    Deferred(Cause),
    /// Never.
    Failed(Cause),
}

impl RcptResult {
    /// The cause, unless it was delivered.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            RcptResult::Delivered(_) => None,
            RcptResult::Deferred(c) | RcptResult::Failed(c) => Some(c),
        }
    }
}

/// Who was talked to, for log lines and hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The host's name, or its address when it was found without one.
    pub host: Rc<str>,
    /// Its address, or the path of its Unix socket.
    pub ip: String,
    /// Its port; 0 for a Unix socket.
    pub port: u16,
    /// LMTP rather than SMTP.
    pub lmtp: bool,
    /// It takes requests for reports, and answers for them from there on (RFC 3461 §5.2.1).
    pub dsn: bool,
    /// Over TLS.
    pub secured: bool,
    /// After AUTH.
    pub authenticated: bool,
    /// Who demanded TLS of it, if anybody did.
    pub tls_policy: Option<&'static str>,
    /// What became of TLS, and what is known of it.
    pub tls: TlsOutcome,
}

impl Peer {
    /// `SMTP` or `LMTP`.
    pub fn mode(&self) -> &'static str {
        if self.lmtp { "LMTP" } else { "SMTP" }
    }
}

/// A message was offered and every recipient has a result.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// In the order of the envelope's recipients.
    pub results: Vec<RcptResult>,
    /// Who was talked to; none if no host could be.
    pub peer: Option<Peer>,
    /// The connection was lost between the final dot and its reply: deferred recipients may have
    /// the message. The cure is to wait, not to ask the next host at once (PB-18).
    pub in_doubt: bool,
}

impl Attempt {
    /// All recipients share a cause that no host gave; its class says whether it is final.
    pub fn without_host(recipients: usize, cause: Cause) -> Attempt {
        let result = if cause.status.class() == 5 {
            RcptResult::Failed(cause)
        } else {
            RcptResult::Deferred(cause)
        };
        Attempt {
            results: vec![result; recipients],
            peer: None,
            in_doubt: false,
        }
    }

    /// What the host said when it took the message, to the last of those who got it; none if nobody did.
    pub fn response(&self) -> Option<&Reply> {
        self.results.iter().rev().find_map(|result| match result {
            RcptResult::Delivered(reply) => Some(reply),
            RcptResult::Deferred(_) | RcptResult::Failed(_) => None,
        })
    }

    /// How many were delivered, deferred and failed; the `rcpts` of the log line.
    pub fn tally(&self) -> (usize, usize, usize) {
        self.results
            .iter()
            .fold((0, 0, 0), |(ok, later, no), r| match r {
                RcptResult::Delivered(_) => (ok + 1, later, no),
                RcptResult::Deferred(_) => (ok, later + 1, no),
                RcptResult::Failed(_) => (ok, later, no + 1),
            })
    }
}

/// What was being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection.
    Connect,
    /// The first reply.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// RSET or MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The host taking message data.
    Block,
    /// The reply to the final dot.
    Dot,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// The TLS handshake.
    Handshake,
    /// AUTH and what follows of it.
    Auth,
    /// XCLIENT.
    XClient,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connect",
            Stage::Greeting => "greeting",
            Stage::Hello => "EHLO",
            Stage::Mail => "MAIL",
            Stage::Rcpt => "RCPT",
            Stage::Data => "DATA",
            Stage::Block => "message data",
            Stage::Dot => "the final dot",
            Stage::Quit => "QUIT",
            Stage::StartTls => "STARTTLS",
            Stage::Handshake => "the TLS handshake",
            Stage::Auth => "AUTH",
            Stage::XClient => "XCLIENT",
        })
    }
}

/// Why a connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// No answer in time.
    #[error("timeout waiting on {0}")]
    Timeout(Stage),
    /// The host closed.
    #[error("connection closed by the remote host during {0}")]
    Closed(Stage),
    /// The connection broke.
    #[error("connection broke during {0}: {1}")]
    Broken(Stage, std::io::Error),
    /// What came is no SMTP reply; nobody knows what will come next.
    #[error("unusable reply to {0}: {1}")]
    Junk(Stage, ReplyError),
    /// A reply that makes no sense at this place.
    #[error("unexpected reply to {0}: {1}")]
    Unexpected(Stage, Reply),
    /// The message could not be read from the local disk, so that its transfer was cut off.
    #[error("reading the message failed: {0}")]
    Local(std::io::Error),
}

/// Why TLS did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsTrouble {
    /// One side did not accept the other's messages or certificate, or the connection was lost.
    #[error("{}", in_words(.0))]
    Handshake(HandshakeError),
    /// The host took too long.
    #[error("it took too long")]
    TimedOut,
}

/// A policy's own verdict is hidden deep in what rustls says.
fn in_words(error: &HandshakeError) -> String {
    match error {
        HandshakeError::Tls(error) => Failure::of_handshake(error).why,
        other => other.to_string(),
    }
}

impl TlsTrouble {
    /// The same for reports to the destination.
    pub fn failure(&self) -> Failure {
        match self {
            TlsTrouble::Handshake(HandshakeError::Tls(error)) => Failure::of_handshake(error),
            other => Failure::new(FailureType::ValidationFailure, other.to_string()),
        }
    }

    /// Whether the certificate was the reason: then there is a host that can speak TLS, and to go on
    /// in the clear would be worse than to trust it.
    pub fn is_certificate(&self) -> bool {
        matches!(
            self,
            TlsTrouble::Handshake(HandshakeError::Tls(rustls::Error::InvalidCertificate(_)))
        )
    }
}

/// Why this host did not get the message while another one may (PB-29).
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No connection.
    #[error("{0}")]
    Connect(std::io::Error),
    /// The connection failed before anything was decided.
    #[error("{0}")]
    Lost(#[from] Lost),
    /// A greeting other than 220.
    #[error("greeting was {0}")]
    Greeting(Reply),
    /// Neither EHLO nor HELO is accepted.
    #[error("EHLO answered with {0}")]
    Hello(Reply),
    /// 421 before the sender was accepted.
    #[error("{0}")]
    Unavailable(Reply),
    /// It is not as its TLS policy demands.
    #[error("TLS policy {0}: {why}", why = .1.why)]
    Policy(Source, Failure),
    /// TLS is required, and the host does not speak it.
    #[error("No TLS available but required ({why}): {said}")]
    NoTls {
        /// Who requires it.
        why: Rc<str>,
        /// How that showed.
        said: String,
    },
    /// TLS was begun and did not come about.
    #[error("TLS handshake failed: {trouble}{}", for_whom(.required.as_deref()))]
    Handshake {
        /// What went wrong.
        trouble: TlsTrouble,
        /// Who requires TLS, if anybody does.
        required: Option<Rc<str>>,
    },
    /// Something in the clear came behind the reply to STARTTLS.
    #[error("octets in the clear behind the reply to STARTTLS")]
    Injected,
    /// The host does not let us log in.
    #[error("AUTH failed: {0}")]
    Login(Reply),
    /// There is no way to log in that could be taken.
    #[error("{0}")]
    NoLogin(String),
    /// The connection took so long that the message has lost its turn.
    #[error("the rate of messages to the destination is used up")]
    NotYet,
}

fn for_whom(required: Option<&str>) -> String {
    required.map_or_else(String::new, |why| format!(" (TLS is required: {why})"))
}

impl Unusable {
    /// What reports to the destination say of it; nothing if TLS was not the reason.
    pub fn tls_failure(&self) -> Option<Failure> {
        match self {
            Unusable::Policy(_, failure) => Some(failure.clone()),
            Unusable::NoTls { said, .. } => {
                Some(Failure::new(FailureType::StarttlsNotSupported, said))
            }
            Unusable::Handshake { trouble, .. } => Some(trouble.failure()),
            _ => None,
        }
    }

    /// What the host answered, if that was the reason.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Unusable::Greeting(reply)
            | Unusable::Hello(reply)
            | Unusable::Unavailable(reply)
            | Unusable::Login(reply)
            | Unusable::Lost(Lost::Unexpected(_, reply)) => Some(reply),
            _ => None,
        }
    }

    /// As a cause to put recipients off with, once no host is left.
    pub fn cause(self, host: &Rc<str>) -> Cause {
        match self {
            Unusable::Greeting(reply) | Unusable::Hello(reply) | Unusable::Unavailable(reply) => {
                let text = reply.to_string();
                // Another attempt may meet another host: a 5xx greeting is no word about recipients.
                let mut cause = Cause::from_reply(reply, host).passing();
                cause.text = text;
                cause
            }
            // RFC 3463 §3.8: cryptographic failure
            Unusable::NoTls { .. }
            | Unusable::Handshake { .. }
            | Unusable::Injected
            | Unusable::Policy(..) => Cause::temporary(7, 5, self.to_string()).at(host),
            Unusable::NoLogin(_) => Cause::temporary(7, 0, self.to_string()).at(host),
            Unusable::Login(ref reply) => {
                let text = self.to_string();
                let mut cause = Cause::from_reply(reply.clone(), host).passing();
                cause.text = text;
                cause
            }
            // RFC 3463 §3.5: mail system congestion
            Unusable::NotYet => Cause::temporary(4, 5, self.to_string()),
            Unusable::Connect(_) => Cause::temporary(4, 1, self.to_string()).at(host),
            Unusable::Lost(Lost::Local(_)) => Cause::temporary(3, 0, self.to_string()),
            Unusable::Lost(Lost::Junk(..) | Lost::Unexpected(..)) => {
                Cause::temporary(5, 0, self.to_string()).at(host)
            }
            Unusable::Lost(_) => Cause::temporary(4, 2, self.to_string()).at(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Rc<str> {
        Rc::from("mx.example.com")
    }

    // covers OUT-39
    #[test]
    fn status_comes_from_the_reply_when_it_fits_its_code() {
        let e = |c, s, d| Enhanced::new(c, s, d).unwrap();
        for (reply, status) in [
            (
                Reply::fixed(550, "no").with_enhanced(e(5, 7, 26)),
                e(5, 7, 26),
            ),
            (Reply::fixed(550, "no"), e(5, 0, 0)),
            (
                Reply::fixed(450, "wait").with_enhanced(e(5, 1, 1)),
                e(4, 0, 0),
            ),
            (Reply::fixed(354, "what"), e(4, 0, 0)),
        ] {
            let cause = Cause::from_reply(reply.clone(), &host());
            assert_eq!(cause.status, status, "{reply}");
            assert_eq!(cause.reply, Some(reply));
        }
    }

    // covers OUT-20
    #[test]
    fn giving_up_changes_the_class_and_nothing_else() {
        let cause = Cause::temporary(4, 1, "no answer").given_up();
        assert_eq!(cause.status.to_string(), "5.4.1");
        assert_eq!(cause.text, "no answer");
    }

    // covers PB-29
    #[test]
    fn refused_greeting_is_never_final() {
        let cause = Unusable::Greeting(Reply::fixed(554, "go away")).cause(&host());
        assert_eq!(cause.status.class(), 4);
        assert_eq!(cause.text, "554 go away");
    }
}
