//! The report to a sender of what became of a message: not delivered (BNC-03 to BNC-11), late, or
//! handed on (RFC 3461, RFC 3464). Pure: the caller brings date and ids.
//!
//! The result is a message as people write it, CRLF and no dot-stuffing. That a null sender gets
//! none is the caller's rule.

use std::borrow::Cow;
use std::net::IpAddr;

use haraka_shared::address::Address;
use haraka_shared::header::{Header, words};
use haraka_shared::stuffing::Unstuffer;

use super::attempt::Cause;
use super::template::{Templates, filled, html, one_line, wrapped};

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
    pub sender: &'a Address,
    /// What has happened.
    pub action: Action,
    /// To whom.
    pub recipients: &'a [About<'a>],
    /// The sender's own name for the transaction (ENVID).
    pub envelope_id: Option<&'a str>,
    /// Why, in a line.
    pub reason: &'a str,
    /// The header of the message, in stored form.
    pub header: &'a Header,
    /// The whole message as people write it, to be returned in place of its header.
    pub message: Option<&'a [u8]>,
}

/// Writes the report.
pub fn compose(report: &Report<'_>, templates: &Templates) -> Vec<u8> {
    let text = Text::of(report, templates);
    let original = match report.message {
        Some(message) => Cow::Borrowed(message),
        None => Cow::Owned(original_header(report.header)),
    };
    let eight_bit = !original.is_ascii() || !text.is_ascii();

    let mut out = Message(Vec::with_capacity(4096 + original.len()));
    for line in &text.header {
        out.line(line);
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
    text.write(report.id, templates.image.as_deref(), &mut out);
    status_part(report, text.original_id.as_deref(), &mut out);

    out.boundary(report.id, "");
    let (what, kind) = match (report.message, report.action) {
        (Some(_), _) => ("Undelivered Message", "message/rfc822"),
        (None, Action::Failed) => ("Undelivered Message Headers", "text/rfc822-headers"),
        (None, _) => ("Message Headers", "text/rfc822-headers"),
    };
    out.line(&format!("Content-Description: {what}"));
    out.line(&format!("Content-Type: {kind}"));
    if !original.is_ascii() {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.0.extend_from_slice(&original);
    out.line("");
    out.line(&format!("--boundary_{}--", report.id));
    out.0
}

/// The part for people, and the header fields.
struct Text {
    header: Vec<String>,
    plain: Vec<String>,
    html: Option<Vec<String>>,
    original_id: Option<String>,
}

impl Text {
    fn of(report: &Report<'_>, templates: &Templates) -> Text {
        let field = |name| {
            report
                .header
                .get(name)
                .map(|value| line_of(&report.header.decode(value)))
                .filter(|v| !v.is_empty())
        };
        let joined = |sep: &str, each: &dyn Fn(&About<'_>) -> String| {
            report
                .recipients
                .iter()
                .map(each)
                .collect::<Vec<_>>()
                .join(sep)
        };
        let values: [(&'static str, Cow<'_, str>); 10] = [
            ("pid", report.pid.to_string().into()),
            ("date", report.date.into()),
            ("me", report.me.into()),
            ("from", "<>".into()),
            ("to", report.sender.to_string().into()),
            ("subject", field("Subject").unwrap_or_default().into()),
            (
                "recipients",
                joined(", ", &|about| about.address.to_string()).into(),
            ),
            ("reason", report.reason.into()),
            (
                "extended_reason",
                joined("\n", &|about| format!("{}: {}", about.address, about.cause)).into(),
            ),
            ("msgid", format!("<{}@{}>", report.id, report.me).into()),
        ];
        let (header, body) = templates.parts();
        let mut fields: Vec<String> = header
            .iter()
            .filter(|line| !OURS.iter().any(|ours| is_field(line, ours)))
            .map(|line| header_line(&filled(line, &values, one_line)))
            .collect();
        let standard = Templates::default();
        for line in standard.parts().0 {
            // A report without these reaches nobody or starts a loop.
            let name = line.split(':').next().unwrap_or_default();
            if name != "Received" && !header.iter().any(|l| is_field(l, name)) {
                fields.push(header_line(&filled(line, &values, one_line)));
            }
        }
        let html_text = templates.html.as_ref();
        Text {
            header: fields,
            plain: body
                .iter()
                .map(|line| filled(line, &values, str::to_owned))
                .collect(),
            html: html_text.map(|t| t.lines().map(|line| filled(line, &values, html)).collect()),
            original_id: field("Message-Id"),
        }
    }

    fn is_ascii(&self) -> bool {
        let all = self
            .header
            .iter()
            .chain(&self.plain)
            .chain(self.html.iter().flatten());
        all.chain(&self.original_id).all(|line| line.is_ascii())
    }

    /// BNC-07, BNC-08: text alone, or text and HTML as alternatives with the image beside them.
    fn write(&self, id: &str, image: Option<&str>, out: &mut Message) {
        let Some(html) = &self.html else {
            out.boundary(id, "");
            return out.text("plain", &self.plain);
        };
        out.boundary(id, "");
        out.line(&format!(
            "Content-Type: multipart/related; boundary=\"boundary_{id}a\""
        ));
        out.line("");
        out.boundary(id, "a");
        out.line(&format!(
            "Content-Type: multipart/alternative; boundary=\"boundary_{id}b\""
        ));
        out.line("");
        out.boundary(id, "b");
        out.text("plain", &self.plain);
        out.boundary(id, "b");
        out.text("html", html);
        out.line(&format!("--boundary_{id}b--"));
        out.line("");
        if let Some(image) = image {
            out.boundary(id, "a");
            image.lines().for_each(|line| out.line(line));
            out.line("");
        }
        out.line(&format!("--boundary_{id}a--"));
        out.line("");
    }
}

/// BNC-09, BNC-10
fn status_part(report: &Report<'_>, original_id: Option<&str>, out: &mut Message) {
    out.boundary(report.id, "");
    out.line("Content-Type: message/delivery-status");
    out.line("");
    // Haraka names the Message-Id here; the sender's own name for it goes before.
    if let Some(id) = report.envelope_id.or(original_id) {
        out.field("Original-Envelope-Id", id);
    }
    out.field("Reporting-MTA", &format!("dns;{}", report.me));
    out.field("Arrival-Date", report.arrival);
    for About {
        address,
        cause,
        original,
    } in report.recipients
    {
        out.line("");
        if let Some(original) = original {
            out.field("Original-Recipient", &typed(original));
        }
        out.field("Final-Recipient", &recipient(address));
        out.field("Action", report.action.name());
        match &cause.reply {
            Some(_) => out.field("Status", &cause.status.to_string()),
            None => out.field(
                "Status",
                &format!("{} ({})", cause.status, comment(&cause.text)),
            ),
        }
        if let (Some(host), Some(reply)) = (&cause.host, &cause.reply) {
            let host = match host.parse::<IpAddr>() {
                Ok(ip) => format!("[{ip}]"),
                Err(_) => host.to_string(),
            };
            out.field("Remote-MTA", &format!("dns;{host}"));
            out.field("Diagnostic-Code", &format!("smtp;{reply}"));
        }
    }
    out.line("");
}

/// The address that the sender wrote to, in ASCII.
fn typed(original: &str) -> String {
    match original.split_once(';') {
        Some((kind, address)) if !address.is_ascii() => format!("{kind};{}", escaped(address)),
        _ => original.to_owned(),
    }
}

fn recipient(address: &Address) -> String {
    let text = address.address();
    if text.is_ascii() {
        return format!("rfc822;{text}");
    }
    format!("utf-8;{}", escaped(&text))
}

/// RFC 6533 §3: an international address in a report that has to be ASCII.
fn escaped(text: &str) -> String {
    let escaped = |c: char| match c {
        '!'..='~' if c != '\\' && c != '+' && c != '=' => c.to_string(),
        c => format!("\\x{{{:02X}}}", u32::from(c)),
    };
    text.chars().map(escaped).collect()
}

/// Text that can stand in a comment (RFC 5322 §3.2.2).
fn comment(text: &str) -> String {
    one_line(text)
        .chars()
        .map(|c| {
            if matches!(c, '(' | ')' | '\\') {
                ' '
            } else {
                c
            }
        })
        .collect()
}

/// The text of a field in one line, without what could end it.
fn line_of(text: &str) -> String {
    let mut line = text.trim().replace('\t', " ");
    line.retain(|c| !c.is_control());
    line
}

/// A filled header line; only Subject may hold anything beyond ASCII, and has it encoded.
fn header_line(line: &str) -> String {
    match line.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("subject") => {
            format!("{name}: {}", words::encode(value.trim_start()))
        }
        _ => line.to_owned(),
    }
}

fn is_field(line: &str, name: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(n, _)| n.trim_end().eq_ignore_ascii_case(name))
}

fn original_header(header: &Header) -> Vec<u8> {
    let mut plain = Vec::with_capacity(header.as_bytes().len());
    Unstuffer::new().push(header.as_bytes(), &mut |piece| {
        plain.extend_from_slice(piece)
    });
    plain.truncate(cut_at_line(&plain));
    plain
}

/// Where to cut a header that is too large to return.
fn cut_at_line(header: &[u8]) -> usize {
    match header.get(..LARGEST_HEADER) {
        None => header.len(),
        Some(part) => memchr::memrchr(b'\n', part).map_or(LARGEST_HEADER, |at| at + 1),
    }
}

/// A message that is being written.
struct Message(Vec<u8>);

impl Message {
    fn line(&mut self, line: &str) {
        self.0.extend_from_slice(line.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    fn boundary(&mut self, id: &str, level: &str) {
        self.line(&format!("--boundary_{id}{level}"));
    }

    fn text(&mut self, kind: &str, lines: &[String]) {
        if lines.iter().all(|l| l.is_ascii()) {
            self.line(&format!("Content-Type: text/{kind}; charset=us-ascii"));
        } else {
            self.line(&format!("Content-Type: text/{kind}; charset=utf-8"));
            self.line("Content-Transfer-Encoding: 8bit");
        }
        self.line("");
        for line in lines.iter().flat_map(|l| l.split('\n')).flat_map(wrapped) {
            self.line(line.trim_end_matches('\r'));
        }
        self.line("");
    }

    /// A field of the machine-readable part, folded if it is long.
    fn field(&mut self, name: &str, value: &str) {
        let field = format!("{name}: {}", one_line(value));
        let mut lines = wrapped(&field);
        self.line(lines.next().unwrap_or_default());
        lines.for_each(|line| self.line(&format!("    {line}")));
    }
}

/// Fields that describe the report's own structure; a template cannot know it.
const OURS: [&str; 3] = ["MIME-Version", "Content-Type", "Content-Transfer-Encoding"];
/// Octets of the returned header: enough to see what message it was.
const LARGEST_HEADER: usize = 64 * 1024;
