//! Hjson as JSON values, by the rules of the JavaScript library that Haraka uses.
//!
//! A pure function from text to value. Braces around the whole, quotes and commas may be left out;
//! `#`, `//` and `/* */` begin comments, but within a text without quotes they belong to it.

use serde_json::{Map, Number, Value};

use super::structured::{DEPTH, Fault, decimal};

/// The value of a text.
pub(super) fn parse(text: &str) -> Result<Value, Fault> {
    let with = |braces| {
        let mut reader = Reader {
            text,
            at: 0,
            depth: 0,
        };
        reader
            .root(braces)
            .map_err(|why| Fault::at(reader.line(), why))
    };
    let mut start = Reader {
        text,
        at: 0,
        depth: 0,
    };
    match start.skip() {
        Ok(()) if matches!(start.peek(), Some('{' | '[')) => with(true),
        // Members without braces around them; if it is not that, a single value.
        _ => with(false).or_else(|fault| with(true).map_err(|_| fault)),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Bytes that are read.
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn root(&mut self, braces: bool) -> Result<Value, String> {
        let value = if braces {
            self.value()?
        } else {
            Value::Object(self.members(None)?)
        };
        self.skip()?;
        match self.peek() {
            None => Ok(value),
            Some(c) => Err(format!("\"{c}\" stands behind the end")),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        self.skip()?;
        match self.peek() {
            None => Err("a value is missing".to_owned()),
            Some('{') => {
                self.next();
                self.deeper()?;
                let members = self.members(Some('}'))?;
                self.depth -= 1;
                Ok(Value::Object(members))
            }
            Some('[') => {
                self.next();
                self.deeper()?;
                let items = self.items()?;
                self.depth -= 1;
                Ok(Value::Array(items))
            }
            Some('"' | '\'') => self.quoted(true).map(Value::String),
            Some(c @ ('}' | ']' | ':' | ',')) => Err(format!("a value cannot begin with \"{c}\"")),
            Some(_) => Ok(self.bare()),
        }
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        match self.depth > DEPTH {
            true => Err(format!("nested deeper than {DEPTH}")),
            false => Ok(()),
        }
    }

    /// Up to `end`, or to the end of the text.
    fn members(&mut self, end: Option<char>) -> Result<Map<String, Value>, String> {
        let mut members = Map::new();
        loop {
            self.skip()?;
            if self.peek() == end {
                self.next();
                return Ok(members);
            }
            let key = self.key()?;
            self.skip()?;
            if self.next() != Some(':') {
                return Err(format!("\":\" is missing behind the key \"{key}\""));
            }
            let value = self.value()?;
            members.insert(key, value);
            self.comma()?;
        }
    }

    fn items(&mut self) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        loop {
            self.skip()?;
            if self.peek() == Some(']') {
                self.next();
                return Ok(items);
            }
            items.push(self.value()?);
            self.comma()?;
        }
    }

    fn comma(&mut self) -> Result<(), String> {
        self.skip()?;
        if self.peek() == Some(',') {
            self.next();
        }
        Ok(())
    }

    fn key(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Some('"' | '\'')) {
            return self.quoted(false);
        }
        let rest = self.rest();
        let length = rest
            .find(|c: char| c <= ' ' || "{}[],:".contains(c))
            .unwrap_or(rest.len());
        let key = rest.get(..length).unwrap_or_default();
        self.at += length;
        match self.peek() {
            _ if key.is_empty() => Err("a key is missing".to_owned()),
            None => Err(format!("\":\" is missing behind the key \"{key}\"")),
            Some(c) if c == ':' || c <= ' ' => Ok(key.to_owned()),
            Some(c) => Err(format!("a key without quotes cannot contain \"{c}\"")),
        }
    }

    /// Text between quotes, or `'''` where `long` allows it.
    fn quoted(&mut self, long: bool) -> Result<String, String> {
        if long && self.rest().starts_with("'''") {
            return self.long_text();
        }
        let quote = self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                None | Some('\n' | '\r') => return Err("a quote is not closed".to_owned()),
                c if c == quote => return Ok(out),
                Some('\\') => out.push(self.escape()?),
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        Ok(match self.next() {
            Some(c @ ('"' | '\'' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => self.unicode()?,
            _ => return Err("a backslash is followed by what has no meaning".to_owned()),
        })
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !self.rest().starts_with("\\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        self.at += 2;
        let second = self.hex4()?;
        let pair = 0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff);
        Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self.rest().get(..4).unwrap_or_default();
        let code = u32::from_str_radix(digits, 16)
            .map_err(|_| "\\u wants four hexadecimal digits".to_owned())?;
        self.at += 4;
        Ok(code)
    }

    /// Text between `'''`, without the indentation of its first quote.
    fn long_text(&mut self) -> Result<String, String> {
        let before = self.text.get(..self.at).unwrap_or_default();
        let indent = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        self.at += 3;
        let rest = self.rest();
        let Some(end) = rest.find("'''") else {
            return Err("''' is not closed".to_owned());
        };
        let body = rest.get(..end).unwrap_or_default().replace('\r', "");
        self.at += end + 3;
        // Blanks up to the first line's end do not count, nor does the last line's end.
        let start = body.trim_start_matches([' ', '\t']);
        let first_on_own_line = start.strip_prefix('\n');
        let mut out = String::new();
        for (n, line) in first_on_own_line.unwrap_or(start).split('\n').enumerate() {
            if n > 0 {
                out.push('\n');
            }
            let indented = n > 0 || first_on_own_line.is_some();
            out.push_str(if indented {
                outdent(line, indent)
            } else {
                line
            });
        }
        if out.ends_with('\n') {
            out.pop();
        }
        Ok(out)
    }

    /// A word, a number, or text up to the end of the line.
    fn bare(&mut self) -> Value {
        let rest = self.rest();
        let line = rest.split(['\n', '\r']).next().unwrap_or_default();
        // A word or number may be followed by more of the line; text may not.
        for (end, c) in line.char_indices() {
            let behind = line.get(end..).unwrap_or_default();
            let stop = matches!(c, ',' | '}' | ']' | '#')
                || behind.starts_with("//")
                || behind.starts_with("/*");
            if stop && let Some(value) = word(line.get(..end).unwrap_or_default()) {
                self.at += end;
                return value;
            }
        }
        self.at += line.len();
        word(line).unwrap_or_else(|| Value::from(line.trim()))
    }

    fn skip(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest().trim_start_matches(|c| c <= ' ');
            self.at = self.text.len() - rest.len();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    return Err("a comment is not closed".to_owned());
                };
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += c.map_or(0, char::len_utf8);
        c
    }

    fn line(&self) -> usize {
        let before = self.text.get(..self.at).unwrap_or_default();
        1 + before.matches('\n').count()
    }
}

/// The line without up to `most` blanks at its start.
fn outdent(line: &str, most: usize) -> &str {
    let blanks = line
        .chars()
        .take(most)
        .take_while(|c| *c <= ' ')
        .map(char::len_utf8)
        .sum();
    line.get(blanks..).unwrap_or_default()
}

fn word(text: &str) -> Option<Value> {
    match text.trim() {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null),
        text => number(text).map(Value::Number),
    }
}

/// A number as JSON writes it; one with leading zeros is text.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut chars = digits.chars();
    let leading_zero =
        chars.next() == Some('0') && chars.next().is_some_and(|c| c.is_ascii_digit());
    let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (begins && !leading_zero).then(|| decimal(text)).flatten()
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
    fn braces_quotes_and_commas_may_be_left_out() {
        let text = "// all\n# kinds /* of */\n/* comment */ a: 1 # one\nb: text with # and , kept \n\
                    \"c d\": 'x' // y\ne: [1, 2\n three\n]\nf: {g: true, h: null}\ni: 007\nj: -1.5e2\n";
        let want = json!({
            "a": 1, "b": "text with # and , kept", "c d": "x", "e": [1, 2, "three"],
            "f": {"g": true, "h": null}, "i": "007", "j": -150.0,
        });
        assert_eq!(parse(text).unwrap(), want);
        assert_eq!(parse(&format!("{{{text}}}")).unwrap(), want);
    }

    #[test]
    fn long_text_loses_the_indentation_of_its_quotes() {
        let text = "a:\n  '''\n  one\n    two\n  '''\nb: '''x y'''\n";
        assert_eq!(parse(text).unwrap(), json!({"a": "one\n  two", "b": "x y"}));
    }

    #[test]
    fn escapes_and_single_values_are_read() {
        assert_eq!(
            parse(r#"{a: "x\n\u0041\ud83d\ude00"}"#).unwrap(),
            json!({"a": "x\nA😀"})
        );
        assert_eq!(parse("5").unwrap(), json!(5));
        assert_eq!(parse("[]").unwrap(), json!([]));
        assert_eq!(parse("").unwrap(), json!({}));
    }

    #[test]
    fn faults_name_their_line() {
        assert_eq!(error("{a: 1\nb: }"), "2: a value cannot begin with \"}\"");
        assert_eq!(
            error("{\n a 1 }"),
            "2: \":\" is missing behind the key \"a\""
        );
        assert_eq!(error("{a: \"x\n}"), "2: a quote is not closed");
        assert_eq!(error("{} x"), "1: \"x\" stands behind the end");
        assert!(error(&"[".repeat(DEPTH + 1)).contains("nested deeper"));
    }
}
