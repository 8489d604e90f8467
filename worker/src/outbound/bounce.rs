//! The report to a sender of what became of a message: not delivered (BNC-03 to BNC-11), late, or
//! handed on (RFC 3461, RFC 3464, RFC 6533). Pure: the caller brings dates and ids.
//!
//! The result is a message as people write it, CRLF and no dot-stuffing. Its header is ASCII unless
//! its reader has an international address, and whatever came from outside (the message, replies,
//! templates) is bounded and cannot change its structure. That a null sender gets none is the
//! caller's rule.

mod class;
mod original;
mod status;
#[cfg(test)]
mod tests;
mod text;

use haraka_shared::address::Address;
use haraka_shared::header::Header;

pub use self::class::{Class, classes, kind};
use self::original::Original;
pub use self::status::received_from;
use self::text::Text;
use super::attempt::Cause;
use super::template::{Templates, wrapped};

/// What has happened to all recipients of a report (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Not delivered, for good.
    Failed,
    /// Not delivered yet.
    Delayed,
    /// Delivered.
    Delivered,
    /// Handed to a host that will not report.
    Relayed,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
        }
    }
}

/// One recipient of a report.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// Who.
    pub address: &'a Address,
    /// What happened, and who said so.
    pub cause: &'a Cause,
    /// Who the sender wrote to, `type;address` (RFC 3461 §4.2).
    pub original: Option<String>,
}

/// What a bounce is about.
pub struct Report<'a> {
    /// This server's name.
    pub me: &'a str,
    /// This process, for the Received field.
    pub pid: u32,
    /// Now, as mail writes it.
    pub date: &'a str,
    /// When the message was accepted.
    pub arrival: &'a str,
    /// Names this bounce: goes into its Message-Id and its MIME boundary, so it must not occur in
    /// the message.
    pub id: &'a str,
    /// Who is told.
    pub reader: &'a Address,
    /// What has happened.
    pub action: Action,
    /// To whom.
    pub recipients: &'a [About<'a>],
    /// The sender's own name for the transaction (ENVID).
    pub envelope_id: Option<&'a str>,
    /// Who handed us the message, see [`received_from`].
    pub received_from: Option<&'a str>,
    /// Until when delivery will be tried, as mail writes it; only for what is late.
    pub retry_until: Option<&'a str>,
    /// Why, in a line.
    pub reason: &'a str,
    /// The header of the message, in stored form.
    pub header: &'a Header,
    /// The whole message as people write it, to be returned in place of its header.
    pub message: Option<&'a [u8]>,
}

/// Which characters the report may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The reader's host may know nothing of SMTPUTF8, and nobody can ask it now: international
    /// addresses are written in ASCII (RFC 6533 §3).
    Ascii,
    /// Nothing but SMTPUTF8 leads to the reader, so UTF-8 can stand for itself.
    International,
}

impl Form {
    fn of(reader: &Address) -> Form {
        if reader.user().is_ascii() {
            Form::Ascii
        } else {
            Form::International
        }
    }
}

/// Writes the report.
pub fn compose(report: &Report<'_>, templates: &Templates) -> Vec<u8> {
    let form = Form::of(report.reader);
    let text = Text::of(report, templates, form);
    let original = Original::of(report, form);
    let mut status = Message::default();
    status::write(report, text.original_id.as_deref(), form, &mut status);
    let eight_bit = !(status.0.is_ascii() && original.is_ascii() && text.parts_are_ascii());

    let mut out = Message(Vec::with_capacity(8 * 1024 + status.0.len()));
    for line in &text.header {
        out.folded(line);
    }
    out.line("MIME-Version: 1.0");
    out.line("Content-Type: multipart/report; report-type=delivery-status;");
    out.line(&format!("    boundary=\"boundary_{}\"", report.id));
    if eight_bit {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    if let Some(id) = &text.original_id {
        out.line(&format!("References: {id}"));
    }
    out.line("");
    out.line("This is a MIME-encapsulated message.");
    out.line("");
    text.write(report.id, &mut out);
    out.octets(&status.0);
    original.write(report.id, &mut out);
    out.line(&format!("--boundary_{}--", report.id));
    out.0
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn line(&mut self, line: &str) {
        self.0.extend_from_slice(line.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn boundary(&mut self, id: &str, level: &str) {
        self.line(&format!("--boundary_{id}{level}"));
    }

    /// A header line, which may be longer than lines are.
    fn folded(&mut self, line: &str) {
        let mut lines = wrapped(line);
        self.line(lines.next().unwrap_or_default());
        lines.for_each(|line| self.line(&format!(" {line}")));
    }
}
