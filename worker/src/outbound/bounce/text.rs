//! The part of a report that people read, and the header: templates filled in (BNC-03 to BNC-08).
//! Pure.

use std::borrow::Cow;

use haraka_shared::header::words;
use haraka_shared::mime::transfer::TransferEncoding;

use super::super::template::{Templates, bounded, filled, html, one_line, plain, wrapped};
use super::{About, Form, Message, Report};

/// Header lines, text, and HTML with its image.
pub(super) struct Text<'a> {
    pub(super) header: Vec<String>,
    plain: Vec<String>,
    html: Option<Vec<String>>,
    image: Option<&'a str>,
    /// The Message-Id of the message, if it can be one.
    pub(super) original_id: Option<String>,
}

impl<'a> Text<'a> {
    pub(super) fn of(report: &Report<'_>, templates: &'a Templates, form: Form) -> Text<'a> {
        let field = |name| {
            let value = report.header.get(name)?;
            let value = line_of(&report.header.decode(value));
            (!value.is_empty()).then_some(value)
        };
        let subject = bounded(&field("Subject").unwrap_or_default(), LONGEST_SUBJECT);
        let values: [(&'static str, Cow<'_, str>); 10] = [
            ("pid", report.pid.to_string().into()),
            ("date", report.date.into()),
            ("me", report.me.into()),
            ("from", "<>".into()),
            ("to", report.reader.format(form == Form::Ascii).into()),
            ("subject", subject.into()),
            (
                "recipients",
                listed(report, ", ", |about| about.address.to_string()).into(),
            ),
            ("reason", bounded(report.reason, LONGEST_REASON).into()),
            (
                "extended_reason",
                listed(report, "\n", |about| {
                    let cause = bounded(&about.cause.text, LONGEST_REASON);
                    format!("{}: {cause}", about.address)
                })
                .into(),
            ),
            ("msgid", format!("<{}@{}>", report.id, report.me).into()),
        ];
        let (header, body) = templates.parts();
        let fill = |line: &&str| header_line(&one_line(&filled(line, &values, one_line)), form);
        let is_ours = |line: &&&str| OURS.iter().any(|ours| is_field(line, ours));
        let mut fields: Vec<String> = header.iter().filter(|l| !is_ours(l)).map(fill).collect();
        let standard = Templates::default();
        for line in &standard.parts().0 {
            // A report without these reaches nobody or starts a loop.
            let name = line.split(':').next().unwrap_or_default();
            if name != "Received" && !header.iter().any(|l| is_field(l, name)) {
                fields.push(fill(line));
            }
        }
        let markup = templates.html.as_deref();
        Text {
            header: fields,
            plain: body.iter().map(|l| filled(l, &values, plain)).collect(),
            html: markup.map(|t| t.lines().map(|l| filled(l, &values, html)).collect()),
            image: templates.image.as_deref(),
            original_id: field("Message-Id").filter(|id| is_id(id)),
        }
    }

    /// Text and HTML are encoded where that is needed; only the image is as its file has it.
    pub(super) fn parts_are_ascii(&self) -> bool {
        self.header.iter().all(|line| line.is_ascii()) && self.image.is_none_or(str::is_ascii)
    }

    /// BNC-07, BNC-08: text alone, or text and HTML as alternatives with the image beside them.
    pub(super) fn write(&self, id: &str, out: &mut Message) {
        let Some(html) = &self.html else {
            out.boundary(id, "");
            return part("plain", &self.plain, out);
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
        part("plain", &self.plain, out);
        out.boundary(id, "b");
        part("html", html, out);
        out.line(&format!("--boundary_{id}b--"));
        out.line("");
        if let Some(image) = self.image {
            out.boundary(id, "a");
            image.lines().for_each(|line| out.line(line));
            out.line("");
        }
        out.line(&format!("--boundary_{id}a--"));
        out.line("");
    }
}

/// A part with text, in ASCII whatever it holds.
fn part(kind: &str, lines: &[String], out: &mut Message) {
    let lines = lines.iter().flat_map(|l| l.split('\n')).flat_map(wrapped);
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end_matches('\r'));
        text.push_str("\r\n");
    }
    if text.is_ascii() {
        out.line(&format!("Content-Type: text/{kind}; charset=us-ascii"));
        out.line("");
        out.octets(text.as_bytes());
    } else {
        out.line(&format!("Content-Type: text/{kind}; charset=utf-8"));
        out.line("Content-Transfer-Encoding: quoted-printable");
        out.line("");
        TransferEncoding::QuotedPrintable.encode(text.as_bytes(), &mut out.0);
    }
    out.line("");
}

/// All recipients in words, as long as that is of use to a person.
fn listed(report: &Report<'_>, between: &str, each: impl Fn(&About<'_>) -> String) -> String {
    let mut out = String::new();
    for (at, about) in report.recipients.iter().enumerate() {
        if out.len() > LONGEST_LIST {
            let more = report.recipients.len() - at;
            return format!("{out}{between}and {more} more");
        }
        if at > 0 {
            out.push_str(between);
        }
        out.push_str(&each(about));
    }
    out
}

/// A filled header line, in ASCII but for the address of a reader who has an international one.
fn header_line(line: &str, form: Form) -> String {
    if line.is_ascii() {
        return line.to_owned();
    }
    let Some((name, value)) = line.split_once(':') else {
        return words::encode(line).into_owned();
    };
    let value = value.trim_start();
    if name.eq_ignore_ascii_case("subject") {
        return format!("{name}: {}", words::encode(value));
    }
    // Else it is most likely a name with an address.
    match value.rsplit_once('<') {
        Some((phrase, address)) if address.is_ascii() || form == Form::International => {
            format!("{name}: {}<{address}", named(phrase))
        }
        _ => format!("{name}: {}", words::encode(value)),
    }
}

/// The name before an address, whose quotes do not go around encoded words (RFC 2047 §5).
fn named(phrase: &str) -> String {
    let bare = phrase.trim();
    let bare = bare.strip_prefix('"').unwrap_or(bare);
    let bare = bare.strip_suffix('"').unwrap_or(bare).replace('\\', "");
    let encoded = words::encode(&bare);
    let parts = encoded
        .split_once("=?")
        .and_then(|(before, rest)| Some((before, rest.rsplit_once("?=")?)));
    match parts {
        Some((before, (word, after))) => {
            format!("{}=?{word}?= {}", quoted(before), quoted(after))
        }
        None => phrase.to_owned(),
    }
}

/// Words of a name, in quotes where they need some, and a blank.
fn quoted(words: &str) -> String {
    let words = words.trim();
    if words.is_empty() {
        String::new()
    } else if words.contains(|c: char| "()<>[]:;@,.\"".contains(c)) {
        format!("\"{}\" ", words.replace('"', ""))
    } else {
        format!("{words} ")
    }
}

/// The text of a field in one line, without what could end it.
fn line_of(text: &str) -> String {
    let mut line = text.trim().replace('\t', " ");
    line.retain(|c| !c.is_control());
    line
}

fn is_field(line: &str, name: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(n, _)| n.trim_end().eq_ignore_ascii_case(name))
}

/// It goes into References, which is not folded within an id.
fn is_id(id: &str) -> bool {
    id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// Fields that describe the report's own structure; a template cannot know it.
const OURS: [&str; 3] = ["MIME-Version", "Content-Type", "Content-Transfer-Encoding"];
/// Characters of the subject; people recognize their message by less.
const LONGEST_SUBJECT: usize = 500;
/// Characters of a host's words.
const LONGEST_REASON: usize = 1000;
/// Characters of a list of recipients, in which each may have its reason.
const LONGEST_LIST: usize = 64 * 1024;
/// RFC 5322 §2.1.1, and there is the field's name.
const LONGEST_ID: usize = 900;
