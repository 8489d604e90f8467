//! Haraka's log lines over the `log` facade: ten levels, three formats, one line per event.
//!
//! A line is `[LEVEL] [uuid] [origin] message key=value …` (rows LOG-01 to LOG-07). Log parsers in
//! the field depend on keys and their order, so a caller passes its fields in Haraka's order.
//! Secrets never reach this module: whoever has one leaves it out of the fields. `line` makes the
//! text, `tap` offers it to plugins, `output` writes it without ever waiting for a reader.

mod line;
mod output;
mod tap;

use std::fmt::{self, Display};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use line::Event;
pub use output::{forget_waiting, output_changed};
pub use tap::{Held, Tap, hold, quietly};

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

    /// What a terminal needs to show it in its colour (LOG-07).
    fn colour(self) -> &'static str {
        match self {
            Level::Emerg | Level::Alert | Level::Crit | Level::Error | Level::Warn => "\x1b[31m",
            Level::Notice => "\x1b[34m",
            Level::Info => "\x1b[36m",
            Level::Debug => "\x1b[90m",
            Level::Protocol | Level::Data => "\x1b[32m",
        }
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

impl Format {
    /// The name as Haraka's log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Default => "DEFAULT",
            Format::Logfmt => "LOGFMT",
            Format::Json => "JSON",
        }
    }
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
    level as u8 <= self::level()
}

/// The level up to which lines are written.
#[inline]
pub fn level() -> u8 {
    LEVEL.load(Ordering::Relaxed)
}

/// Sets level, format and timestamps; may be called again at any time.
pub fn configure(level: Level, format: Format, timestamps: bool) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    FORMAT.store(format as u8, Ordering::Relaxed);
    TIMESTAMPS.store(timestamps, Ordering::Relaxed);
}

/// Sets level, format and timestamps, and says so (LOG-17).
pub fn configure_aloud(level: Level, format: Format, timestamps: bool) {
    configure(level, format, timestamps);
    crate::log_at!(
        Level::Info,
        &"-",
        "logger",
        [],
        "loglevel: {}",
        level.name()
    );
    crate::log_at!(
        Level::Info,
        &"-",
        "logger",
        [],
        "log format: {}",
        format.name()
    );
}

/// The form of lines.
fn format() -> Format {
    match FORMAT.load(Ordering::Relaxed) {
        n if n == Format::Json as u8 => Format::Json,
        n if n == Format::Logfmt as u8 => Format::Logfmt,
        _ => Format::Default,
    }
}

/// Installs the writer on standard output. Lines of libraries appear from WARN up in the same form.
/// A second call has no effect.
pub fn init() {
    output_changed();
    let built = env_logger::Builder::new()
        .target(env_logger::Target::Pipe(Box::new(output::Shared)))
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
            let event = Event {
                level,
                uuid: &"-",
                origin: record.target(),
                fields: &[],
                message: *record.args(),
            };
            writeln!(out, "{}", dressed(level, event.line(format())))
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
    let event = Event {
        level,
        uuid,
        origin,
        fields,
        message,
    };
    let format = format();
    let line = Line {
        level,
        text: event.line(format),
        said: tap::watched().then(|| Box::new(event.said(format))),
    };
    if let Some(line) = tap::pass(line) {
        line.write();
    }
}

/// A line that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its text in the configured form, without time and colour.
    pub text: String,
    /// Where plugins listen: what it was made from, as the `log` hook gets it (HOK-24).
    pub said: Option<Box<serde_json::Map<String, serde_json::Value>>>,
}

impl Line {
    /// Writes it, whoever listens.
    pub fn write(self) {
        let text = dressed(self.level, self.text);
        log::logger().log(
            &log::Record::builder()
                .level(self.level.facade())
                .target(TARGET)
                .args(format_args!("{text}"))
                .build(),
        );
    }
}

/// The line with its time, if wanted, and its colour on a terminal (LOG-07).
fn dressed(level: Level, text: String) -> String {
    let timed = TIMESTAMPS.load(Ordering::Relaxed);
    if !timed && !output::to_terminal() {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 40);
    if timed {
        out.push_str(&crate::date::iso_now());
        out.push(' ');
    }
    if output::to_terminal() {
        out.push_str(level.colour());
        out.push_str(&text);
        out.push_str("\x1b[39m");
    } else {
        out.push_str(&text);
    }
    out
}

/// Gives lines that wait for a slow reader a last moment; for the end of a process.
pub fn finish() {
    output::finish();
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

    // covers KEY-35, LOG-01
    #[test]
    fn levels_parse_by_name_prefix_and_number() {
        assert_eq!(Level::parse("LOGINFO"), Some(Level::Info));
        assert_eq!(Level::parse("notice"), Some(Level::Notice));
        assert_eq!(Level::parse("9"), Some(Level::Data));
        assert_eq!(Level::parse("loud"), None);
        let numbers: Vec<u8> = Level::ALL.iter().map(|l| *l as u8).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
