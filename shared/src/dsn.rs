//! What a client asks to be told about its message (RFC 3461): parameters of MAIL and RCPT, their
//! check, and the form in which they lie in a queue file.
//!
//! Pure. Values are kept as the client wrote them (xtext), so that they are passed on unchanged;
//! they are decoded only where a report shows them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::hook::Params;

/// Key in a queue file, of the item and of each recipient.
const KEY: &str = "dsn";

/// What RET asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header.
    Hdrs,
}

impl Return {
    /// The value of RET.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Hdrs => "HDRS",
        }
    }
}

/// What NOTIFY asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Notify {
    /// Nothing, whatever happens.
    Never,
    /// Reports of these events only.
    Of {
        /// Delivered, or passed on to a host that cannot report.
        success: bool,
        /// Not delivered.
        failure: bool,
        /// Not delivered for a while.
        delay: bool,
    },
}

impl Notify {
    /// Reads the value: `NEVER`, or `SUCCESS`, `FAILURE` and `DELAY` in any order and number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Notify> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(Notify::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in text.split(',') {
            let flag = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut success,
                "FAILURE" => &mut failure,
                "DELAY" => &mut delay,
                _ => return None,
            };
            *flag = true;
        }
        Some(Notify::Of {
            success,
            failure,
            delay,
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notify::Of {
            success,
            failure,
            delay,
        } = *self
        else {
            return f.write_str("NEVER");
        };
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let mut separator = "";
        for (_, word) in words.into_iter().filter(|(asked, _)| *asked) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl TryFrom<String> for Notify {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Notify::parse(&text).ok_or("not a NOTIFY value")
    }
}

impl From<Notify> for String {
    fn from(notify: Notify) -> String {
        notify.to_string()
    }
}

/// What a client asks for its message as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageRequest {
    /// How much of the message a report of failure returns; none is for us to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Return>,
    /// The client's own name for the transaction, in xtext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
}

/// What a client asks for one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecipientRequest {
    /// When to report; none is failure and, if the server likes, delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The address that the sender wrote, `type;xtext`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
}

/// The requests of a message and of its recipients, in the order of the recipients.
#[derive(Debug, Clone, Copy)]
pub struct Requests<'a> {
    /// For the message.
    pub message: &'a MessageRequest,
    /// For each recipient.
    pub recipients: &'a [RecipientRequest],
}

impl<'a> Requests<'a> {
    /// The same for some of the recipients, from this one on.
    #[must_use]
    pub fn from(self, first: usize) -> Requests<'a> {
        Requests {
            recipients: self.recipients.get(first..).unwrap_or_default(),
            ..self
        }
    }

    /// The parameters of RCPT for a recipient.
    #[must_use]
    pub fn of(self, recipient: usize, utf8: bool) -> String {
        let request = self.recipients.get(recipient);
        request.map(|r| r.params(utf8)).unwrap_or_default()
    }
}

/// Which parameter has a value that RFC 3461 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("bad {0} value")]
pub struct BadValue(pub &'static str);

impl MessageRequest {
    /// From the parameters of MAIL.
    ///
    /// # Errors
    /// The first parameter whose value is wrong.
    pub fn from_params(params: &Params) -> Result<Self, BadValue> {
        let mut request = Self::default();
        for (key, value) in params {
            let value = value.as_deref().unwrap_or_default();
            match key.as_str() {
                "RET" if value.eq_ignore_ascii_case("FULL") => request.ret = Some(Return::Full),
                "RET" if value.eq_ignore_ascii_case("HDRS") => request.ret = Some(Return::Hdrs),
                "RET" => return Err(BadValue("RET")),
                "ENVID" if is_envid(value) => {
                    request.envid = Some(value.to_owned());
                }
                "ENVID" => return Err(BadValue("ENVID")),
                _ => {}
            }
        }
        Ok(request)
    }

    /// From the keys of a queue file; what is not understood counts as not asked for.
    #[must_use]
    pub fn of_item(extra: &Map<String, Value>) -> Self {
        let mut request: Self = of(extra);
        // Anybody may have written the file, and this goes into a command line.
        request.envid = request.envid.filter(|id| is_envid(id));
        request
    }

    /// Puts the request among the keys of a queue file, unless it asks for nothing.
    pub fn store(&self, extra: &mut Map<String, Value>) {
        store(self, extra);
    }

    /// The parameters of MAIL, each after a blank.
    #[must_use]
    pub fn params(&self) -> String {
        let mut text = String::new();
        if let Some(ret) = self.ret {
            text.push_str(&format!(" RET={}", ret.name()));
        }
        if let Some(envid) = &self.envid {
            text.push_str(&format!(" ENVID={envid}"));
        }
        text
    }

    /// The decoded ENVID, for reports.
    #[must_use]
    pub fn envelope_id(&self) -> Option<String> {
        self.envid.as_deref().and_then(xtext)
    }
}

impl RecipientRequest {
    /// From the parameters of RCPT.
    ///
    /// # Errors
    /// The first parameter whose value is wrong.
    pub fn from_params(params: &Params) -> Result<Self, BadValue> {
        let mut request = Self::default();
        for (key, value) in params {
            let value = value.as_deref().unwrap_or_default();
            match key.as_str() {
                "NOTIFY" => {
                    request.notify = Some(Notify::parse(value).ok_or(BadValue("NOTIFY"))?);
                }
                "ORCPT" if is_orcpt(value) => {
                    request.orcpt = Some(value.to_owned());
                }
                "ORCPT" => return Err(BadValue("ORCPT")),
                _ => {}
            }
        }
        Ok(request)
    }

    /// From the keys of a recipient in a queue file.
    #[must_use]
    pub fn of_recipient(extra: &Map<String, Value>) -> Self {
        let mut request: Self = of(extra);
        request.orcpt = request.orcpt.filter(|address| is_orcpt(address));
        request
    }

    /// Puts the request among the keys of a recipient, unless it asks for nothing.
    pub fn store(&self, extra: &mut Map<String, Value>) {
        store(self, extra);
    }

    /// The parameters of RCPT, each after a blank; `utf8` if they may hold more than ASCII.
    #[must_use]
    pub fn params(&self, utf8: bool) -> String {
        let mut text = String::new();
        if let Some(notify) = self.notify {
            text.push_str(&format!(" NOTIFY={notify}"));
        }
        if let Some(orcpt) = &self.orcpt {
            text.push_str(" ORCPT=");
            for c in orcpt.chars() {
                if c.is_ascii() || utf8 {
                    text.push(c);
                } else {
                    // RFC 6533 §3, utf-8-addr-xtext
                    text.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
                }
            }
        }
        text
    }

    /// Whether the sender wants to hear of a failure; unless told otherwise it does.
    #[must_use]
    pub fn wants_failure(&self) -> bool {
        match self.notify {
            None => true,
            Some(Notify::Never) => false,
            Some(Notify::Of { failure, .. }) => failure,
        }
    }

    /// Whether the sender asked to hear of a success.
    #[must_use]
    pub fn wants_success(&self) -> bool {
        matches!(self.notify, Some(Notify::Of { success: true, .. }))
    }

    /// Whether the sender asked to hear of a delay.
    #[must_use]
    pub fn wants_delay(&self) -> bool {
        matches!(self.notify, Some(Notify::Of { delay: true, .. }))
    }

    /// The value of Original-Recipient, `type;address` with the address decoded.
    #[must_use]
    pub fn original_recipient(&self) -> Option<String> {
        let (kind, address) = self.orcpt.as_deref()?.split_once(';')?;
        Some(format!("{kind};{}", xtext(address)?))
    }
}

fn of<T: Default + for<'de> Deserialize<'de>>(extra: &Map<String, Value>) -> T {
    let value = extra.get(KEY).cloned();
    value
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default()
}

fn store<T: Default + PartialEq + Serialize>(request: &T, extra: &mut Map<String, Value>) {
    if *request == T::default() {
        return;
    }
    if let Ok(value) = serde_json::to_value(request) {
        extra.insert(KEY.to_owned(), value);
    }
}

/// Decodes xtext (RFC 3461 §4); none if it is not xtext, or gives what a report cannot show.
/// Characters beyond ASCII are taken as they are, for the addresses of RFC 6533.
#[must_use]
pub fn xtext(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'+' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                octets.push(high << 4 | low);
            }
            b'=' | ..=b' ' | 0x7f => return None,
            octet => octets.push(octet),
        }
    }
    let text = String::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// RFC 3461 §4: hexadecimal digits are upper case.
fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// RFC 3461 §4.4: printable ASCII once it is decoded.
fn is_envid(text: &str) -> bool {
    (1..=LONGEST_ENVID).contains(&text.len())
        && text.is_ascii()
        && xtext(text).is_some_and(|t| t.is_ascii())
}

/// RFC 3461 §4.2, with the address type of RFC 6533 §3 for international addresses.
fn is_orcpt(text: &str) -> bool {
    let Some((kind, address)) = text.split_once(';') else {
        return false;
    };
    let atom = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    text.len() <= LONGEST_ORCPT
        && !kind.is_empty()
        && kind.bytes().all(atom)
        && !address.is_empty()
        && (address.is_ascii() || kind.eq_ignore_ascii_case("utf-8"))
        && xtext(address).is_some()
}

/// RFC 3461 §4.4.
const LONGEST_ENVID: usize = 100;
/// RFC 3461 §4.2.
const LONGEST_ORCPT: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        let param = |word: &str| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        };
        text.split_whitespace().map(param).collect()
    }

    #[test]
    fn good_values_are_kept_as_written() {
        let request =
            MessageRequest::from_params(&params("SIZE=1 RET=hdrs ENVID=a+2Bb+3D")).unwrap();
        assert_eq!(request.params(), " RET=HDRS ENVID=a+2Bb+3D");
        assert_eq!(request.envelope_id().as_deref(), Some("a+b="));
        let request = RecipientRequest::from_params(&params(
            "NOTIFY=delay,FAILURE,DELAY ORCPT=rfc822;Bob+2Bx@b.c",
        ))
        .unwrap();
        assert_eq!(
            request.params(false),
            " NOTIFY=FAILURE,DELAY ORCPT=rfc822;Bob+2Bx@b.c"
        );
        assert_eq!(
            request.original_recipient().as_deref(),
            Some("rfc822;Bob+x@b.c")
        );
    }

    #[test]
    fn bad_values_are_told_by_name() {
        let long = format!("ENVID={}", "x".repeat(101));
        for (text, name) in [
            ("RET", "RET"),
            ("RET=", "RET"),
            ("RET=BODY", "RET"),
            ("ENVID", "ENVID"),
            ("ENVID=a+", "ENVID"),
            ("ENVID=a+2", "ENVID"),
            ("ENVID=a+2b", "ENVID"),
            ("ENVID=a+0A", "ENVID"),
            ("ENVID=é", "ENVID"),
            ("ENVID=+C3+A9", "ENVID"),
            (&long, "ENVID"),
        ] {
            let found = MessageRequest::from_params(&params(text));
            assert_eq!(found, Err(BadValue(name)), "{text}");
        }
        let long = format!("ORCPT=rfc822;{}", "x".repeat(494));
        for (text, name) in [
            ("NOTIFY", "NOTIFY"),
            ("NOTIFY=", "NOTIFY"),
            ("NOTIFY=NEVER,DELAY", "NOTIFY"),
            ("NOTIFY=SUCCESS,", "NOTIFY"),
            ("NOTIFY=ALWAYS", "NOTIFY"),
            ("ORCPT", "ORCPT"),
            ("ORCPT=a@b.c", "ORCPT"),
            ("ORCPT=;a@b.c", "ORCPT"),
            ("ORCPT=rfc822;", "ORCPT"),
            ("ORCPT=rfc822;+0D+0A", "ORCPT"),
            ("ORCPT=rf[822;a@b.c", "ORCPT"),
            ("ORCPT=rfc822;é@b.c", "ORCPT"),
            (&long, "ORCPT"),
        ] {
            let found = RecipientRequest::from_params(&params(text));
            assert_eq!(found, Err(BadValue(name)), "{text}");
        }
        let foreign = RecipientRequest::from_params(&params("ORCPT=utf-8;é@b.c")).unwrap();
        assert_eq!(foreign.params(true), " ORCPT=utf-8;é@b.c");
        assert_eq!(foreign.params(false), r" ORCPT=utf-8;\x{E9}@b.c");
    }

    #[test]
    fn what_to_report_follows_from_notify() {
        for (text, wants) in [
            ("", [true, false, false]),
            ("NOTIFY=NEVER", [false, false, false]),
            ("NOTIFY=SUCCESS", [false, true, false]),
            ("NOTIFY=FAILURE,DELAY", [true, false, true]),
        ] {
            let r = RecipientRequest::from_params(&params(text)).unwrap();
            let found = [r.wants_failure(), r.wants_success(), r.wants_delay()];
            assert_eq!(found, wants, "{text}");
        }
    }

    #[test]
    fn requests_survive_the_queue_file_and_nothing_is_written_for_nothing() {
        let mut extra = Map::new();
        MessageRequest::default().store(&mut extra);
        RecipientRequest::default().store(&mut extra);
        assert!(extra.is_empty());
        let message = MessageRequest::from_params(&params("RET=FULL ENVID=x")).unwrap();
        message.store(&mut extra);
        assert_eq!(
            serde_json::to_string(&extra).unwrap(),
            r#"{"dsn":{"ret":"FULL","envid":"x"}}"#
        );
        assert_eq!(MessageRequest::of_item(&extra), message);
        let mut extra = Map::new();
        let recipient = RecipientRequest::from_params(&params("NOTIFY=NEVER")).unwrap();
        recipient.store(&mut extra);
        assert_eq!(RecipientRequest::of_recipient(&extra), recipient);
        extra.insert("dsn".into(), serde_json::json!({"notify": "x\r\nQUIT"}));
        assert_eq!(
            RecipientRequest::of_recipient(&extra),
            RecipientRequest::default()
        );
        let hostile = serde_json::json!({"envid": "x\r\nQUIT", "orcpt": "rfc822;a b"});
        extra.insert("dsn".into(), hostile);
        assert_eq!(MessageRequest::of_item(&extra), MessageRequest::default());
        assert_eq!(RecipientRequest::of_recipient(&extra).orcpt, None);
    }
}
