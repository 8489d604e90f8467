//! The part of a report that programs read (RFC 3464 §2, BNC-09, BNC-10), and what of its fields has
//! to be found out first. Pure.

use std::net::IpAddr;

use haraka_shared::address::Address;
use haraka_shared::header::Header;

use super::super::template::{bounded, one_line, wrapped};
use super::{About, Form, Message, Report};

/// Writes the part.
pub(super) fn write(report: &Report<'_>, original_id: Option<&str>, form: Form, out: &mut Message) {
    let mut fields = Fields {
        lines: Vec::with_capacity(256 * (report.recipients.len() + 1)),
        form,
    };
    // Haraka names the Message-Id here; the sender's own name for it goes before.
    if let Some(id) = report.envelope_id.or(original_id) {
        fields.put("Original-Envelope-Id", id);
    }
    fields.put("Reporting-MTA", &format!("dns;{}", report.me));
    if let Some(client) = report.received_from {
        fields.put("Received-From-MTA", &format!("dns;{client}"));
    }
    fields.put("Arrival-Date", report.arrival);
    for about in report.recipients {
        fields.end_group();
        recipient(report, about, &mut fields);
    }
    fields.end_group();
    out.boundary(report.id, "");
    if fields.lines.is_ascii() {
        out.line("Content-Type: message/delivery-status");
    } else {
        out.line("Content-Type: message/global-delivery-status");
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.octets(&fields.lines);
}

fn recipient(report: &Report<'_>, about: &About<'_>, fields: &mut Fields) {
    let cause = about.cause;
    if let Some(original) = &about.original {
        let original = typed(original, fields.form);
        fields.put("Original-Recipient", &original);
    }
    let address = final_recipient(about.address, fields.form);
    fields.put("Final-Recipient", &address);
    fields.put("Action", report.action.name());
    let status = cause.status.to_string();
    match &cause.reply {
        Some(_) => fields.put("Status", &status),
        None => fields.put("Status", &format!("{status} ({})", comment(&cause.text))),
    }
    if let Some(host) = &cause.host {
        fields.put("Remote-MTA", &mta(host));
        if let Some(reply) = &cause.reply {
            fields.put("Diagnostic-Code", &format!("smtp;{reply}"));
        }
        // Without a host nothing was attempted yet.
        fields.put("Last-Attempt-Date", report.date);
    }
    if let Some(until) = report.retry_until {
        fields.put("Will-Retry-Until", until);
    }
}

/// Fields that are being written.
struct Fields {
    lines: Vec<u8>,
    form: Form,
}

impl Fields {
    /// A field, folded if it is long; what came from outside cannot begin another one.
    fn put(&mut self, name: &str, value: &str) {
        let value = bounded(&one_line(value), LONGEST_VALUE);
        let value = match self.form {
            Form::Ascii => ascii(&value),
            Form::International => value,
        };
        let field = format!("{name}: {value}");
        for (at, line) in wrapped(&field).enumerate() {
            if at > 0 {
                self.lines.extend_from_slice(b"    ");
            }
            self.lines.extend_from_slice(line.as_bytes());
            self.lines.extend_from_slice(b"\r\n");
        }
    }

    fn end_group(&mut self) {
        self.lines.extend_from_slice(b"\r\n");
    }
}

/// Who handed us the message with this header in this transaction, as Received-From-MTA wants it
/// (RFC 3464 §2.2.4): `name ([address])`. None where our own Received field is missing.
pub fn received_from(header: &Header, transaction: &str) -> Option<String> {
    let ours = |value: &&str| {
        let mut words = value.split_ascii_whitespace();
        !transaction.is_empty()
            && words.any(|w| w == "id")
            && words.next().is_some_and(|w| w == transaction)
    };
    let mut values = header
        .get_all("Received")
        .filter_map(|value| std::str::from_utf8(value).ok());
    let value = values.find(ours)?;
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let value = words.join(" ");
    let (from, _) = value.strip_prefix("from ")?.split_once(" by ")?;
    let name = from.split_ascii_whitespace().next().filter(|n| is_host(n));
    let ip = from
        .rsplit_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let ip = ip.and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
    match (name, ip) {
        (Some(name), Some(ip)) => Some(format!("{name} ({})", literal(ip))),
        (Some(name), None) => Some(name.to_owned()),
        (None, Some(ip)) => Some(literal(ip)),
        (None, None) => None,
    }
}

fn is_host(name: &str) -> bool {
    name.len() <= 255
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b))
}

/// RFC 5321 §4.1.3.
fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    }
}

/// A host by its name or address; a Unix socket has neither (RFC 3464 §2.1.2 allows other types).
fn mta(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => format!("dns;{}", literal(ip)),
        Err(_) if host.starts_with('/') => format!("x-unix;{host}"),
        Err(_) => format!("dns;{host}"),
    }
}

/// The address that the sender wrote to.
fn typed(original: &str, form: Form) -> String {
    match original.split_once(';') {
        Some((kind, address)) if !address.is_ascii() && form == Form::Ascii => {
            format!("{kind};{}", escaped(address))
        }
        _ => original.to_owned(),
    }
}

fn final_recipient(address: &Address, form: Form) -> String {
    let bare = |text: String| {
        text.trim_start_matches('<')
            .trim_end_matches('>')
            .to_owned()
    };
    if address.user().is_ascii() {
        // A domain has a form in ASCII, and everybody understands that.
        return format!("rfc822;{}", bare(address.format(true)));
    }
    let text = bare(address.format(false));
    match form {
        Form::Ascii => format!("utf-8;{}", escaped(&text)),
        Form::International => format!("utf-8;{text}"),
    }
}

/// RFC 6533 §3: an international address in a report that has to be ASCII.
fn escaped(text: &str) -> String {
    let escaped = |c: char| match c {
        '!'..='~' if c != '\\' && c != '+' && c != '=' => c.to_string(),
        c => code_point(c),
    };
    text.chars().map(escaped).collect()
}

/// Words in ASCII, such as a host's reply.
fn ascii(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let escaped = |c: char| match c {
        // The reply was no UTF-8 there.
        char::REPLACEMENT_CHARACTER => "?".to_owned(),
        c if c.is_ascii() => c.to_string(),
        c => code_point(c),
    };
    text.chars().map(escaped).collect()
}

fn code_point(c: char) -> String {
    format!("\\x{{{:02X}}}", u32::from(c))
}

/// Text that can stand in a comment (RFC 5322 §3.2.2).
fn comment(text: &str) -> String {
    let plain = |c| {
        if matches!(c, '(' | ')' | '\\') {
            ' '
        } else {
            c
        }
    };
    one_line(text).chars().map(plain).collect()
}

/// Characters of a field's value: a remote reply can have 32 kB, for each recipient.
const LONGEST_VALUE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::header::HeaderLimits;

    fn found(text: &str) -> Option<String> {
        let header = Header::split(text.as_bytes(), HeaderLimits::default()).0;
        received_from(&header, "ABC.1")
    }

    #[test]
    fn client_is_read_from_our_own_received_field_only() {
        let ours = "Received: from client.test (rdns.test [192.0.2.1])\r\n\tby mx.test (Haraka/3) \
                    with ESMTP id ABC.1\r\n\tenvelope-from <a@b.c>;\r\n\tSat, 21 Nov 2026\r\n";
        let other = ours.replace("ABC.1", "ABC.12").replace("client", "other");
        let queued = "Received: (Haraka outbound); Sat, 21 Nov 2026\r\n";
        let expected = Some("client.test ([192.0.2.1])".to_owned());
        assert_eq!(found(&format!("{queued}{ours}{other}\r\n")), expected);
        assert_eq!(found(&format!("{other}\r\n")), None);
        let v6 = ours.replace("192.0.2.1", "2001:db8::1");
        assert_eq!(
            found(&format!("{v6}\r\n")).unwrap(),
            "client.test ([IPv6:2001:db8::1])"
        );
        let odd = ours.replace("client.test", "(evil;comment");
        assert_eq!(found(&format!("{odd}\r\n")).unwrap(), "[192.0.2.1]");
        let bare = "Received: from x id ABC.1\r\n\r\n";
        assert_eq!(found(bare), None);
    }

    #[test]
    fn hosts_have_the_type_that_they_are_of() {
        for (host, expected) in [
            ("mx.test", "dns;mx.test"),
            ("192.0.2.7", "dns;[192.0.2.7]"),
            ("2001:db8::7", "dns;[IPv6:2001:db8::7]"),
            ("/run/lmtp", "x-unix;/run/lmtp"),
        ] {
            assert_eq!(mta(host), expected);
        }
    }
}
