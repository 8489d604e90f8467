//! Haraka's log lines over the `log` facade: ten levels, three formats, one line per event.
//!
//! A line is `[LEVEL] [uuid] [origin] message key=value …` (rows LOG-01 to LOG-07). Log parsers in
//! the field depend on keys and their order, so a caller passes its fields in Haraka's order.
//! Secrets never reach this module: whoever has one leaves it out of the fields.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Haraka's levels; a line is written when its level is at or below the configured one (LOG-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The server is unusable.
    Emerg = 0,
    /// Someone must act now.
    Alert = 1,
    /// A part of the server failed.
    Crit = 2,
    /// An operation failed.
    Error = 3,
    /// Something is likely wrong.
    Warn = 4,
    /// One line per event that an operator accounts by.
    Notice = 5,
    /// What happens, for the curious.
    Info = 6,
    /// What happens, for whoever looks for a fault.
    Debug = 7,
    /// Every line of the SMTP dialogue.
    Protocol = 8,
    /// Message data.
    Data = 9,
}

impl Level {
    /// All levels by name and number, lowest number first.
    pub const ALL: [Level; 10] = [
        Level::Emerg,
        Level::Alert,
        Level::Crit,
        Level::Error,
        Level::Warn,
        Level::Notice,
        Level::Info,
        Level::Debug,
        Level::Protocol,
        Level::Data,
    ];

    /// The name as it stands in a log line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Emerg => "EMERG",
            Level::Alert => "ALERT",
            Level::Crit => "CRIT",
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Notice => "NOTICE",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Protocol => "PROTOCOL",
            Level::Data => "DATA",
        }
    }

    /// A level from `notice`, `LOGNOTICE` or `5` (KEY-35); `None` for anything else.
    pub fn parse(text: &str) -> Option<Level> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("LOG").unwrap_or(&upper);
        Level::ALL
            .into_iter()
            .find(|l| l.name() == name || (*l as u8).to_string() == name)
    }

    fn facade(self) -> log::Level {
        match self {
            Level::Emerg | Level::Alert | Level::Crit | Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Notice | Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
            Level::Protocol | Level::Data => log::Level::Trace,
        }
    }
}

/// How a line is laid out (KEY-37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// `[LEVEL] [uuid] [origin] message k=v`
    Default = 0,
    /// `level=… uuid=… origin=… message=… k=v`
    Logfmt = 1,
    /// One JSON object.
    Json = 2,
}

/// One value of a line's fields; numbers stay numbers in JSON.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A count, size or port.
    Number(u64),
    /// Seconds, written with milliseconds.
    Seconds(f64),
    /// Anything that can write itself.
    Show(&'a dyn Display),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(v: &'a str) -> Self {
        Value::Text(v)
    }
}
impl<'a> From<&'a String> for Value<'a> {
    fn from(v: &'a String) -> Self {
        Value::Text(v)
    }
}
impl From<u64> for Value<'_> {
    fn from(v: u64) -> Self {
        Value::Number(v)
    }
}
impl From<u32> for Value<'_> {
    fn from(v: u32) -> Self {
        Value::Number(u64::from(v))
    }
}
impl From<u16> for Value<'_> {
    fn from(v: u16) -> Self {
        Value::Number(u64::from(v))
    }
}
impl From<usize> for Value<'_> {
    fn from(v: usize) -> Self {
        Value::Number(v as u64)
    }
}
impl From<f64> for Value<'_> {
    fn from(v: f64) -> Self {
        Value::Seconds(v)
    }
}
impl<'a> From<&'a dyn Display> for Value<'a> {
    fn from(v: &'a dyn Display) -> Self {
        Value::Show(v)
    }
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(t) => f.write_str(t),
            Value::Number(n) => write!(f, "{n}"),
            Value::Seconds(s) => write!(f, "{}", (s * 1000.0).round() / 1000.0),
            Value::Show(d) => write!(f, "{d}"),
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Warn as u8);
static FORMAT: AtomicU8 = AtomicU8::new(Format::Default as u8);
static TIMESTAMPS: AtomicBool = AtomicBool::new(false);

/// Whether a line of this level would be written; the cheap question before any formatting.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Sets level, format and timestamps; may be called again at any time.
pub fn configure(level: Level, format: Format, timestamps: bool) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    FORMAT.store(format as u8, Ordering::Relaxed);
    TIMESTAMPS.store(timestamps, Ordering::Relaxed);
}

/// Installs the writer on standard output. Lines of libraries appear from WARN up in the same form.
/// A second call has no effect.
pub fn init() {
    let built = env_logger::Builder::new()
        .target(env_logger::Target::Stdout)
        .filter_level(log::LevelFilter::Warn)
        .filter_module(TARGET, log::LevelFilter::Trace)
        .format(|out, record| {
            if record.target() == TARGET {
                return writeln!(out, "{}", record.args());
            }
            let level = match record.level() {
                log::Level::Error => Level::Error,
                log::Level::Warn => Level::Warn,
                log::Level::Info => Level::Info,
                log::Level::Debug | log::Level::Trace => Level::Debug,
            };
            let line = line(level, &"-", record.target(), &[], *record.args());
            writeln!(out, "{line}")
        })
        .try_init();
    // A second initialisation keeps the first writer, which writes the same lines.
    drop(built);
}

const TARGET: &str = "haraka";

/// Writes one line. Call through [`log_at!`](crate::log_at), which asks [`enabled`] first.
pub fn emit(
    level: Level,
    uuid: &dyn Display,
    origin: &str,
    fields: &[(&str, Value<'_>)],
    message: fmt::Arguments<'_>,
) {
    let line = line(level, uuid, origin, fields, message);
    log::logger().log(
        &log::Record::builder()
            .level(level.facade())
            .target(TARGET)
            .args(format_args!("{line}"))
            .build(),
    );
}

fn line(
    level: Level,
    uuid: &dyn Display,
    origin: &str,
    fields: &[(&str, Value<'_>)],
    message: fmt::Arguments<'_>,
) -> String {
    let mut out = String::with_capacity(160);
    if TIMESTAMPS.load(Ordering::Relaxed) {
        out.push_str(&crate::date::iso_now());
        out.push(' ');
    }
    let format = FORMAT.load(Ordering::Relaxed);
    // Writing to a String fails only when a Display implementation does; what it wrote so far stays.
    let _ = if format == Format::Json as u8 {
        json(&mut out, level, uuid, origin, fields, message)
    } else if format == Format::Logfmt as u8 {
        logfmt(&mut out, level, uuid, origin, fields, message)
    } else {
        plain(&mut out, level, uuid, origin, fields, message)
    };
    escape_line_breaks(out)
}

fn plain(
    out: &mut String,
    level: Level,
    uuid: &dyn Display,
    origin: &str,
    fields: &[(&str, Value<'_>)],
    message: fmt::Arguments<'_>,
) -> fmt::Result {
    write!(out, "[{}] [{uuid}] [{origin}] ", level.name())?;
    let start = out.len();
    out.write_fmt(message)?;
    for (key, value) in fields {
        // An empty message is followed by a blank as well: parsers in the field expect two.
        if out.len() == start || !out.ends_with(' ') {
            out.push(' ');
        }
        pair(out, key, value)?;
    }
    Ok(())
}

fn logfmt(
    out: &mut String,
    level: Level,
    uuid: &dyn Display,
    origin: &str,
    fields: &[(&str, Value<'_>)],
    message: fmt::Arguments<'_>,
) -> fmt::Result {
    pair(out, "level", &Value::Text(level.name()))?;
    out.push(' ');
    pair(out, "uuid", &Value::Show(uuid))?;
    out.push(' ');
    pair(out, "origin", &Value::Text(origin))?;
    out.push(' ');
    pair(out, "message", &Value::Show(&message))?;
    for (key, value) in fields {
        out.push(' ');
        pair(out, key, value)?;
    }
    Ok(())
}

fn json(
    out: &mut String,
    level: Level,
    uuid: &dyn Display,
    origin: &str,
    fields: &[(&str, Value<'_>)],
    message: fmt::Arguments<'_>,
) -> fmt::Result {
    let mut object = serde_json::Map::new();
    object.insert("level".into(), level.name().into());
    object.insert("uuid".into(), uuid.to_string().into());
    object.insert("origin".into(), origin.into());
    object.insert("message".into(), message.to_string().into());
    for (key, value) in fields {
        let value = match value {
            Value::Number(n) => (*n).into(),
            Value::Seconds(s) => ((s * 1000.0).round() / 1000.0).into(),
            other => other.to_string().into(),
        };
        object.insert((*key).into(), value);
    }
    write!(out, "{}", serde_json::Value::Object(object))
}

/// `key=value`, the value quoted when it is empty or holds a space, `=`, `"` or a backslash (LOG-02).
fn pair(out: &mut String, key: &str, value: &Value<'_>) -> fmt::Result {
    out.push_str(key);
    out.push('=');
    let text = value.to_string();
    if text.is_empty() || text.contains([' ', '=', '"', '\\']) {
        out.push('"');
        for c in text.chars() {
            if c == '"' || c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    } else {
        out.push_str(&text);
    }
    Ok(())
}

/// One event is one line whatever a peer sent: CR and LF become `\r` and `\n` (LOG-06).
fn escape_line_breaks(mut line: String) -> String {
    while line.ends_with('\n') {
        line.pop();
    }
    if line.contains(['\r', '\n']) {
        line = line.replace('\r', "\\r").replace('\n', "\\n");
    }
    line
}

/// Writes a line if its level is enabled:
/// `log_at!(Level::Notice, &uuid, "core", [("ip", ip.into())], "connect")`.
#[macro_export]
macro_rules! log_at {
    ($level:expr, $uuid:expr, $origin:expr, [$($field:expr),* $(,)?], $($message:tt)+) => {
        if $crate::log::enabled($level) {
            $crate::log::emit($level, $uuid, $origin, &[$($field),*], format_args!($($message)+));
        }
    };
}

/// Writes a line without a connection: `log_server!(Level::Notice, "Listening on {addr}")`.
#[macro_export]
macro_rules! log_server {
    ($level:expr, $($message:tt)+) => {
        $crate::log_at!($level, &"-", "server", [], $($message)+)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[(&str, Value<'_>)], message: &str) -> String {
        let mut out = String::new();
        plain(
            &mut out,
            Level::Notice,
            &"U",
            "core",
            fields,
            format_args!("{message}"),
        )
        .unwrap();
        escape_line_breaks(out)
    }

    // covers LOG-02
    #[test]
    fn values_with_blanks_or_nothing_are_quoted_and_others_are_not() {
        assert_eq!(
            shown(
                &[
                    ("code", "CONT".into()),
                    ("msg", "".into()),
                    ("lr", "550 no \"x\"".into()),
                    ("n", 3u32.into())
                ],
                "sender <a@b>"
            ),
            r#"[NOTICE] [U] [core] sender <a@b> code=CONT msg="" lr="550 no \"x\"" n=3"#
        );
    }

    // covers LOG-06
    #[test]
    fn line_breaks_from_a_peer_never_start_a_second_line() {
        assert_eq!(
            shown(&[], "a\r\n[EMERG] b\n"),
            "[NOTICE] [U] [core] a\\r\\n[EMERG] b"
        );
    }

    // covers LOG-04
    #[test]
    fn json_keeps_numbers_and_order() {
        let mut out = String::new();
        json(
            &mut out,
            Level::Notice,
            &"U",
            "core",
            &[
                ("ip", "1.2.3.4".into()),
                ("port", 25u16.into()),
                ("time", 0.8071.into()),
            ],
            format_args!("connect"),
        )
        .unwrap();
        assert_eq!(
            out,
            r#"{"level":"NOTICE","uuid":"U","origin":"core","message":"connect","ip":"1.2.3.4","port":25,"time":0.807}"#
        );
    }

    // covers KEY-35
    #[test]
    fn levels_parse_by_name_prefix_and_number() {
        assert_eq!(Level::parse("LOGINFO"), Some(Level::Info));
        assert_eq!(Level::parse("notice"), Some(Level::Notice));
        assert_eq!(Level::parse("9"), Some(Level::Data));
        assert_eq!(Level::parse("loud"), None);
    }
}
