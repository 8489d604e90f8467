//! YAML 1.2 documents as JSON values, over the events of saphyr-parser.
//!
//! Scalars are typed by the core schema, as the library that Haraka uses does: `yes` is text, `0o17`
//! is a number, `<<` merges nothing. Aliases are copied, within a limit on the size of the whole.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use super::structured::{DEPTH, Fault, decimal};

/// Values in one document, aliases counted as what they stand for: enough for a file of the largest
/// size, and the end of aliases of aliases of aliases.
const MOST_VALUES: usize = 4_000_000;

/// The value of a text that holds one document; nothing at all is null.
pub(super) fn parse(text: &str) -> Result<Value, Fault> {
    let mut composer = Composer::default();
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next_event() {
        let (event, span) = event.map_err(|e| Fault::at(e.marker().line(), e.info().to_owned()))?;
        composer
            .take(event)
            .map_err(|why| Fault::at(span.start.line(), why))?;
    }
    Ok(composer.root.map_or(Value::Null, |(value, _)| value))
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    root: Option<Sized>,
    /// By anchor: the parser numbers them.
    anchors: std::collections::HashMap<usize, Sized>,
    documents: usize,
    values: usize,
}

/// A value with how many values it holds, itself included.
type Sized = (Value, usize);

/// A collection that is not at its end.
struct Open {
    anchor: usize,
    size: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Value>),
    /// With the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

impl Composer {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("a second document begins; one is expected".to_owned());
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref())?;
                self.add(anchor, (value, 1))
            }
            Event::Alias(anchor) => {
                // Within its own collection an alias would have no end.
                let found = self.anchors.get(&anchor).cloned();
                let copy = found.ok_or("an alias stands within what it stands for")?;
                self.add(0, copy)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, Kind::Sequence(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(anchor, Kind::Mapping(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(done) => {
                    let value = match done.kind {
                        Kind::Sequence(items) => Value::Array(items),
                        Kind::Mapping(map, _) => Value::Object(map),
                    };
                    self.add(done.anchor, (value, done.size))
                }
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, kind: Kind) -> Result<(), String> {
        if self.open.len() >= DEPTH {
            return Err(format!("nested deeper than {DEPTH}"));
        }
        self.open.push(Open {
            anchor,
            size: 1,
            kind,
        });
        Ok(())
    }

    fn add(&mut self, anchor: usize, (value, size): Sized) -> Result<(), String> {
        self.values += size;
        if self.values > MOST_VALUES {
            return Err("aliases make it too large".to_owned());
        }
        if anchor > 0 {
            // The copy counts too.
            self.values += size;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some((value, size));
            return Ok(());
        };
        open.size += size;
        match &mut open.kind {
            Kind::Sequence(items) => items.push(value),
            Kind::Mapping(map, key) => match key.take() {
                None => *key = Some(key_text(value)?),
                Some(key) if map.contains_key(&key) => {
                    return Err(format!("the key \"{key}\" is there twice"));
                }
                Some(key) => {
                    map.insert(key, value);
                }
            },
        }
        Ok(())
    }
}

fn key_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err("a collection cannot be a key".to_owned()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let tag = tag.filter(|t| t.is_yaml_core_schema());
    match tag.map(|t| t.suffix.as_str()) {
        Some("str") => Ok(Value::from(text)),
        Some(kind @ ("int" | "float" | "bool" | "null")) => {
            let value = plain(text);
            let fits = match kind {
                "int" => value.is_i64() || value.is_u64(),
                "float" => value.is_number(),
                "bool" => value.is_boolean(),
                _ => value.is_null(),
            };
            fits.then_some(value)
                .ok_or_else(|| format!("\"{text}\" is not of the type !!{kind}"))
        }
        _ if style == ScalarStyle::Plain => Ok(plain(text)),
        _ => Ok(Value::from(text)),
    }
}

/// A scalar without quotes, by the core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::from(text), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let radix = |digits: &str, radix| {
        let number = u64::from_str_radix(digits, radix).ok();
        number
            .filter(|_| !digits.starts_with('+'))
            .map(Number::from)
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return radix(octal, 8);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return radix(hex, 16);
    }
    decimal(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(text: &str) -> String {
        let fault = parse(text).unwrap_err();
        format!("{}: {}", fault.line, fault.why)
    }

    #[test]
    fn scalars_are_typed_by_the_core_schema() {
        let text = "a: 1\nb: yes\nc: true\nd: 'true'\ne: 0o17\nf: 0x1F\ng: 1.50\nh: ~\ni:\n\
                    j: 007\nk: 1e3\nl: .5\nm: +12\nn: 12:30\no: nan\np: !!str 5\nq: 1_000\n1: x\n";
        let want = json!({
            "a": 1, "b": "yes", "c": true, "d": "true", "e": 15, "f": 31, "g": 1.5, "h": null,
            "i": null, "j": 7, "k": 1000.0, "l": 0.5, "m": 12, "n": "12:30", "o": "nan",
            "p": "5", "q": "1_000", "1": "x",
        });
        assert_eq!(parse(text).unwrap(), want);
    }

    #[test]
    fn collections_blocks_and_aliases_are_read() {
        let text =
            "list: &l [a, {b: 1}]\nagain: *l\nblock: |\n  one\n  two\nfold: >-\n  one\n  two\n";
        let want = json!({
            "list": ["a", {"b": 1}], "again": ["a", {"b": 1}], "block": "one\ntwo\n",
            "fold": "one two",
        });
        assert_eq!(parse(text).unwrap(), want);
        assert_eq!(parse("").unwrap(), Value::Null);
        assert_eq!(parse("# nothing\n").unwrap(), Value::Null);
    }

    #[test]
    fn faults_name_their_line() {
        assert_eq!(
            error("a: 1\nb: 2\na: 3\n"),
            "3: the key \"a\" is there twice"
        );
        assert_eq!(
            error("a: 1\n---\nb: 2\n"),
            "2: a second document begins; one is expected"
        );
        assert_eq!(
            error("a: &x [*x]\n"),
            "1: an alias stands within what it stands for"
        );
        assert!(
            error("a: [1\nb: 2\n").starts_with("2: "),
            "{}",
            error("a: [1\nb: 2\n")
        );
    }

    #[test]
    fn nesting_and_aliases_have_limits() {
        assert!(error(&"[".repeat(DEPTH + 1)).contains("nested deeper"));
        let deep = format!("{}{}", "- ".repeat(DEPTH + 1), "x");
        assert!(error(&deep).contains("nested deeper"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let of = vec![format!("*a{}", n - 1); 10].join(",");
            bomb.push_str(&format!("a{n}: &a{n} [{of}]\n"));
        }
        assert!(error(&bomb).ends_with("aliases make it too large"));
    }
}
