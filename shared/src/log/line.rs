//! How one event becomes one line, in each of the three forms (LOG-02 to LOG-04).
//!
//! Pure: the time, the colour and the writing belong to others.

use std::fmt::{self, Display, Write as _};

use serde_json::{Map, Value as Json};

use super::{Format, Level, Value};

/// What a line is made from.
pub(super) struct Event<'a> {
    pub(super) level: Level,
    pub(super) uuid: &'a dyn Display,
    pub(super) origin: &'a str,
    pub(super) fields: &'a [(&'a str, Value<'a>)],
    pub(super) message: fmt::Arguments<'a>,
}

impl Event<'_> {
    /// The line, without its line end.
    pub(super) fn line(&self, format: Format) -> String {
        let mut out = String::with_capacity(160);
        // Writing to a String fails only when a Display implementation does; what it wrote so far
        // stays.
        let _ = match format {
            Format::Default => self.plain(&mut out),
            Format::Logfmt => self.logfmt(&mut out),
            Format::Json => self.json(&mut out),
        };
        escape_line_breaks(out)
    }

    /// What plugins of the `log` hook get beside the line: in the default form the fields are part
    /// of the message, as in Haraka.
    pub(super) fn said(&self, format: Format) -> Map<String, Json> {
        if !matches!(format, Format::Default) {
            return self.object();
        }
        let mut message = String::new();
        // As in `line`.
        let _ = self.told(&mut message);
        self.facts(message)
    }

    fn facts(&self, message: String) -> Map<String, Json> {
        let facts = [
            ("level", self.level.name().into()),
            ("uuid", self.uuid.to_string().into()),
            ("origin", self.origin.into()),
            ("message", message.into()),
        ];
        facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    fn plain(&self, out: &mut String) -> fmt::Result {
        write!(out, "[{}] [{}] [", self.level.name(), self.uuid)?;
        write!(out, "{}] ", self.origin)?;
        self.told(out)
    }

    fn told(&self, out: &mut String) -> fmt::Result {
        let start = out.len();
        out.write_fmt(self.message)?;
        for (key, value) in self.fields {
            // An empty message is followed by a blank as well: parsers in the field expect two.
            if out.len() == start || !out.ends_with(' ') {
                out.push(' ');
            }
            pair(out, key, value)?;
        }
        Ok(())
    }

    fn logfmt(&self, out: &mut String) -> fmt::Result {
        pair(out, "level", &Value::Text(self.level.name()))?;
        out.push(' ');
        pair(out, "uuid", &Value::Show(self.uuid))?;
        out.push(' ');
        pair(out, "origin", &Value::Text(self.origin))?;
        out.push(' ');
        pair(out, "message", &Value::Show(&self.message))?;
        for (key, value) in self.fields {
            out.push(' ');
            pair(out, key, value)?;
        }
        Ok(())
    }

    fn json(&self, out: &mut String) -> fmt::Result {
        write!(out, "{}", Json::Object(self.object()))
    }

    fn object(&self) -> Map<String, Json> {
        let mut object = self.facts(self.message.to_string());
        for (key, value) in self.fields {
            let value = match value {
                Value::Number(n) => (*n).into(),
                Value::Seconds(s) => seconds(*s),
                other => other.to_string().into(),
            };
            object.insert((*key).into(), value);
        }
        object
    }
}

/// Whole milliseconds; whole seconds without a fraction, as JavaScript writes numbers.
fn seconds(value: f64) -> serde_json::Value {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.fract() == 0.0 && (0.0..1e15).contains(&rounded) {
        return (rounded as u64).into();
    }
    rounded.into()
}

/// `key=value`, the value quoted when it is empty or holds a space, `=`, `"` or a backslash (LOG-02).
fn pair(out: &mut String, key: &str, value: &Value<'_>) -> fmt::Result {
    out.push_str(key);
    out.push('=');
    match value {
        Value::Text(text) => quoted(out, text),
        Value::Number(_) | Value::Seconds(_) => write!(out, "{value}")?,
        Value::Show(shown) => quoted(out, &shown.to_string()),
    }
    Ok(())
}

fn quoted(out: &mut String, text: &str) {
    let plain = |b: u8| !matches!(b, b' ' | b'=' | b'"' | b'\\');
    if !text.is_empty() && text.bytes().all(plain) {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// One event is one line whatever a peer sent: CR and LF become `\r` and `\n` (LOG-06).
fn escape_line_breaks(mut line: String) -> String {
    if line.ends_with('\n') {
        line.pop();
    }
    if line.contains(['\r', '\n']) {
        line = line.replace('\r', "\\r").replace('\n', "\\n");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: Format, fields: &[(&str, Value<'_>)], message: &str) -> String {
        Event {
            level: Level::Notice,
            uuid: &"U",
            origin: "core",
            fields,
            message: format_args!("{message}"),
        }
        .line(format)
    }

    // covers LOG-02
    #[test]
    fn values_with_blanks_or_nothing_are_quoted_and_others_are_not() {
        let fields = [
            ("code", "CONT".into()),
            ("msg", "".into()),
            ("lr", "550 no \"x\"".into()),
            ("n", 3u32.into()),
        ];
        assert_eq!(
            shown(Format::Default, &fields, "sender <a@b>"),
            r#"[NOTICE] [U] [core] sender <a@b> code=CONT msg="" lr="550 no \"x\"" n=3"#
        );
    }

    // covers LOG-02
    #[test]
    fn fields_after_an_empty_message_are_preceded_by_two_blanks() {
        assert_eq!(
            shown(Format::Default, &[("hook", "rcpt".into())], ""),
            "[NOTICE] [U] [core]  hook=rcpt"
        );
    }

    // covers LOG-03
    #[test]
    fn logfmt_quotes_the_message_as_any_other_value() {
        let fields = [("size", 5u64.into()), ("msg", "a=b".into())];
        assert_eq!(
            shown(Format::Logfmt, &fields, "two words"),
            r#"level=NOTICE uuid=U origin=core message="two words" size=5 msg="a=b""#
        );
        assert_eq!(
            shown(Format::Logfmt, &[], ""),
            r#"level=NOTICE uuid=U origin=core message="""#
        );
    }

    // covers LOG-06
    #[test]
    fn line_breaks_from_a_peer_never_start_a_second_line() {
        for format in [Format::Default, Format::Logfmt, Format::Json] {
            let line = shown(format, &[("x", "1\r\n2".into())], "a\r\n[EMERG] b\n");
            assert!(!line.contains(['\r', '\n']), "{line}");
        }
        assert_eq!(
            shown(Format::Default, &[], "a\r\n[EMERG] b\n"),
            "[NOTICE] [U] [core] a\\r\\n[EMERG] b"
        );
    }

    // covers LOG-04
    #[test]
    fn json_keeps_numbers_and_order() {
        let fields = [
            ("ip", "1.2.3.4".into()),
            ("port", 25u16.into()),
            ("time", 0.8071.into()),
            ("whole", 2.0.into()),
        ];
        assert_eq!(
            shown(Format::Json, &fields, "connect"),
            r#"{"level":"NOTICE","uuid":"U","origin":"core","message":"connect","ip":"1.2.3.4","port":25,"time":0.807,"whole":2}"#
        );
    }
}
