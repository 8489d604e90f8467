//! The enhanced status code of each of our own replies (RFC 2034, RFC 3463), where the extension is
//! switched on. A code that the reply already has stays.

use haraka_shared::reply::{Enhanced, Reply};

use super::command::Command;

/// What a reply answers, as far as its status code depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The greeting and what introduces the client: these have no status code (RFC 2034 §3).
    Greeting,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
    /// DATA or BDAT, and the message that came with it.
    Message,
    /// Anything else.
    Session,
}

impl Subject {
    /// What the replies to this command are about.
    #[must_use]
    pub fn of(command: &Command<'_>) -> Subject {
        match command {
            Command::Helo(_) | Command::Ehlo(_) => Subject::Greeting,
            Command::Mail(_) => Subject::Sender,
            Command::Rcpt(_) => Subject::Recipient,
            Command::Data(_) | Command::Bdat(_) => Subject::Message,
            _ => Subject::Session,
        }
    }
}

/// The reply with its status code.
#[must_use]
pub fn with_status(reply: Reply, subject: Subject) -> Reply {
    let has_one = reply.enhanced().is_some() || Enhanced::split_from(reply.text()).is_some();
    if has_one || subject == Subject::Greeting {
        return reply;
    }
    match status(reply.code(), subject) {
        Some(status) => reply.with_enhanced(status),
        None => reply,
    }
}

fn status(code: u16, subject: Subject) -> Option<Enhanced> {
    use Subject::{Message, Recipient, Sender};
    let (about, detail) = match (code, subject) {
        (200..300, Sender) => (1, 0),
        (200..300, Recipient) => (1, 5),
        (200..300, Message) => (6, 0),
        (252, _) => (5, 0),
        (200..300, _) => (0, 0),
        (421, _) => (3, 2),
        (450, Recipient) => (2, 0),
        (450 | 451, _) => (7, 0),
        (452, _) => (3, 1),
        (454, _) => (7, 0),
        (500, _) => (5, 2),
        (501 | 504 | 555, _) => (5, 4),
        (502 | 503, _) => (5, 1),
        (521, _) => (7, 0),
        (530, _) => (7, 0),
        (535, _) => (7, 8),
        (550 | 553, Recipient) => (1, 1),
        (552, _) => (3, 4),
        (550 | 553 | 554, _) => (7, 1),
        (400..600, _) => (0, 0),
        _ => return None,
    };
    // the codes that are matched begin with 2, 4 or 5
    Enhanced::new(u8::try_from(code / 100).ok()?, about, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(code: u16, text: &'static str, subject: Subject) -> String {
        with_status(Reply::fixed(code, text), subject).to_string()
    }

    #[test]
    fn replies_get_the_code_of_what_they_are_about() {
        for (code, subject, expected) in [
            (250, Subject::Sender, "250 2.1.0 x"),
            (250, Subject::Recipient, "250 2.1.5 x"),
            (250, Subject::Message, "250 2.6.0 x"),
            (250, Subject::Session, "250 2.0.0 x"),
            (221, Subject::Session, "221 2.0.0 x"),
            (354, Subject::Message, "354 x"),
            (334, Subject::Session, "334 x"),
            (220, Subject::Greeting, "220 x"),
            (501, Subject::Greeting, "501 x"),
            (421, Subject::Session, "421 4.3.2 x"),
            (450, Subject::Recipient, "450 4.2.0 x"),
            (503, Subject::Message, "503 5.5.1 x"),
            (550, Subject::Recipient, "550 5.1.1 x"),
            (550, Subject::Message, "550 5.7.1 x"),
            (599, Subject::Session, "599 5.0.0 x"),
        ] {
            assert_eq!(line(code, "x", subject), expected);
        }
    }

    #[test]
    fn a_code_that_is_there_stays() {
        let text = "4.5.3 Too many recipients";
        assert_eq!(
            line(452, text, Subject::Recipient),
            "452 4.5.3 Too many recipients"
        );
        let own = Enhanced::new(5, 7, 26).unwrap();
        let reply = with_status(
            Reply::fixed(550, "a\nb").with_enhanced(own),
            Subject::Message,
        );
        assert_eq!(reply.to_wire(), b"550-5.7.26 a\r\n550 5.7.26 b\r\n");
    }
}
