//! What a plugin's verdict makes of a reply.
//!
//! Pure: which verdict is asked for, and what follows from it, is the business of session and commands.

use std::borrow::Cow;

use haraka_shared::hook::{Code, Message, Verdict};
use haraka_shared::reply::Reply;
use haraka_shared::transaction::Outcome as Counted;

use super::session::Outcome;

/// The reply for a plugin's message: its own code and text if it is a whole reply (CON-52), its text
/// under our code, or our text.
pub(crate) fn reply(code: u16, message: Message, default: impl Into<Cow<'static, str>>) -> Reply {
    match message {
        Message::Reply(reply) => reply,
        Message::Text(text) if !text.is_empty() => Reply::new(code, text),
        _ => Reply::new(code, default),
    }
}

/// A plugin's denial, ready to be carried out.
pub(crate) struct Denied {
    /// What the client is told.
    pub(crate) reply: Reply,
    /// Whether the connection ends with it.
    pub(crate) close: bool,
    /// How it is counted.
    pub(crate) counted: Counted,
}

impl Denied {
    /// How most hooks answer a denial: DENY with `hard`, DENYSOFT with `soft`, and their disconnecting
    /// forms closing (PA-16, PA-17). `None` is no denial.
    pub(crate) fn from(verdict: &Verdict, hard: (u16, &str), soft: (u16, &str)) -> Option<Denied> {
        let counted = match verdict.code {
            Code::Deny | Code::DenyDisconnect => Counted::Reject,
            Code::DenySoft | Code::DenySoftDisconnect => Counted::Tempfail,
            _ => return None,
        };
        let (code, text) = if counted == Counted::Reject {
            hard
        } else {
            soft
        };
        Some(Denied {
            reply: reply(code, verdict.message.clone(), text.to_owned()),
            close: matches!(
                verdict.code,
                Code::DenyDisconnect | Code::DenySoftDisconnect
            ),
            counted,
        })
    }

    /// Answer and close, or answer and end the transaction.
    pub(crate) fn and_reset(self) -> Outcome {
        if self.close {
            Outcome::SayClose(self.reply)
        } else {
            Outcome::SayReset(self.reply)
        }
    }

    /// Answer and close, or answer and go on.
    pub(crate) fn and_go_on(self) -> Outcome {
        if self.close {
            Outcome::SayClose(self.reply)
        } else {
            Outcome::Say(self.reply)
        }
    }
}

/// The text of a verdict for a log line.
pub(crate) fn spoken(verdict: &Verdict) -> String {
    match &verdict.message {
        Message::Reply(reply) => match reply.enhanced() {
            Some(status) => format!("{status} {}", reply.text()),
            None => reply.text().to_owned(),
        },
        other => other.text().unwrap_or_default().into_owned(),
    }
}
