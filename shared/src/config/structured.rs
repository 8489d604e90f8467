//! JSON, Hjson and YAML files as values, with the line of what is wrong (CFS-02).

use serde_json::{Number, Value};

use super::error::{At, ConfigError};
use super::file_type::FileType;
use super::flat::decode;
use super::{hjson, yaml};

/// How deep collections may be nested: nothing that people write comes near, and a value of this
/// depth is read and dropped on any stack.
pub(super) const DEPTH: usize = 100;

/// What is wrong with a text, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn at(line: usize, why: impl Into<String>) -> Fault {
        let why = why.into();
        Fault { line, why }
    }
}

/// A decimal number, whole if it can be; no words that Rust reads as floats, and no infinities, which
/// JSON lacks.
pub(super) fn decimal(text: &str) -> Option<Number> {
    let digit = |b: u8| b.is_ascii_digit();
    let looks_like_one =
        text.bytes().any(digit) && text.bytes().all(|b| digit(b) || b"+-.eE".contains(&b));
    if !looks_like_one {
        return None;
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Ok(whole) = unsigned.parse::<i64>() {
        return Some(Number::from(whole));
    }
    text.parse().ok().and_then(Number::from_f64)
}

/// The value of a file of one of the three types; `file` is the name for messages.
pub(super) fn parse(file: &str, form: FileType, bytes: &[u8]) -> Result<Value, ConfigError> {
    let text = decode(bytes);
    let (form, parsed) = match form {
        FileType::Yaml => ("YAML", yaml::parse(&text)),
        FileType::Hjson => ("Hjson", hjson::parse(&text)),
        _ => ("JSON", json(&text)),
    };
    parsed.map_err(|fault| ConfigError::Syntax {
        at: At::line(file, u32::try_from(fault.line).unwrap_or(0)),
        why: format!("is not {form}: {}", fault.why),
    })
}

fn json(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|e| {
        // The library ends its message with the place.
        let told = e.to_string();
        let why = told.split(" at line ").next().unwrap_or_default();
        Fault::at(e.line(), why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_json_names_file_and_line() {
        let e = parse("x.json", FileType::Json, b"{\n\"a\": 1,\n}").unwrap_err();
        assert_eq!(e.to_string(), "x.json:3: is not JSON: trailing comma");
        let deep = "[".repeat(200_000);
        for form in [FileType::Json, FileType::Hjson, FileType::Yaml] {
            assert!(parse("x", form, deep.as_bytes()).is_err(), "{form:?}");
        }
    }
}
