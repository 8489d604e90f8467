//! What is changed in the text of scripts before they are compiled: calls of the older generation of
//! addresses, and replacements whose pattern is plain text.
//!
//! Here, as scripts are long and the engine's own expressions slow. Must keep lines where they are, and
//! must change nothing that would answer differently, and nothing but code: `scan` tells what that is.
//! `globals.js` has the methods that are called then.

use std::borrow::Cow;

use super::scan::Parentheses;

/// Without one of these nothing is changed; most scripts have none.
const CHANGED: [&str; 5] = [".address(", ".host(", ".user(", ".replace(/", ".split(/"];

/// The text with `x.user()` as `x.user$called()`, which answers for text and for a function, and with
/// `x.replace(/0/g, 'o')` as `x.replace$all('0', 'o')`: the engine makes an expression of the pattern at
/// each call, and looks up each of its flags by name. For `x.split(/\s+/)`, which is `x.split$blank(/\s+/)`, it
/// makes two. Several replacements one after another become one call, `x.replace$each('0\no\n1\ni')`: what is looked
/// for and what stands for it, in turn, each on a line.
pub(super) fn rewritten(text: &str) -> Cow<'_, str> {
    if !CHANGED.iter().any(|call| text.contains(call)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut copied = 0;
    for at in Parentheses::of(text) {
        if at < copied {
            continue;
        }
        let (before, after) = (text.get(..at), text.get(at + 1..));
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        let mut names = ["address", "host", "user", "replace", "split"].into_iter();
        let Some(name) = names.find(|name| before.ends_with(name)) else {
            continue;
        };
        if !calls_member(before, name) {
            continue;
        }
        if name == "split" {
            if !after.starts_with("/\\s+/)") {
                continue;
            }
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str("$blank");
            copied = at;
        } else if name != "replace" {
            if !after.trim_start().starts_with(')') {
                continue;
            }
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str("$called");
            copied = at;
        } else if let Some(first) = Replacement::parse(after) {
            out.push_str(text.get(copied..at).unwrap_or_default());
            copied = text.len() - replaced(&first, &mut out).len();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// Whether the name at the end is that of a method of some value: not a variable behind `...`, not the
/// method of a parent, and not what `new` makes something of.
fn calls_member(before: &str, name: &str) -> bool {
    let Some(value) = before.strip_suffix(name).and_then(|b| b.strip_suffix('.')) else {
        return false;
    };
    let value = value.strip_suffix('?').unwrap_or(value);
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '?' | '#');
    let keyword = value.trim_end_matches(part);
    let path = value.strip_prefix(keyword).unwrap_or_default();
    let keyword = keyword.trim_end();
    let made = keyword.strip_suffix("new").filter(|_| !path.is_empty());
    let made = made.is_some_and(|b| !b.ends_with(part));
    !value.ends_with('.') && path != "super" && !made
}

/// The calls that begin with this one; gives what follows them.
fn replaced<'a>(first: &Replacement<'a>, out: &mut String) -> &'a str {
    let next = |rest: &'a str| {
        let call = rest.trim_start_matches(BLANK).strip_prefix(".replace(")?;
        Replacement::parse(call)
    };
    let Some(mut replacement) = next(first.rest) else {
        out.push_str("$all('");
        push_quoted(&first.pattern, out);
        out.push('\'');
        return first.by_as_written;
    };
    out.push_str("$each('");
    let mut push = |pattern: &str, by: &str, before: &str| {
        out.push_str(before);
        push_quoted(pattern, out);
        out.push_str("\\n");
        push_quoted(by, out);
    };
    push(&first.pattern, first.by, "");
    let rest = loop {
        push(&replacement.pattern, replacement.by, "\\n");
        match next(replacement.rest) {
            Some(another) => replacement = another,
            None => break replacement.rest,
        }
    };
    out.push('\'');
    let between = first.by_as_written.strip_suffix(rest).unwrap_or_default();
    out.extend(between.chars().filter(|c| matches!(c, '\r' | '\n')));
    out.push(')');
    rest
}

/// What stands in a string in single quotes.
fn push_quoted(text: &str, out: &mut String) {
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// The arguments of a call that replaces plain text everywhere by another, which is a string that stands
/// for itself.
struct Replacement<'a> {
    pattern: String,
    by: &'a str,
    /// What follows the expression.
    by_as_written: &'a str,
    /// What follows the call.
    rest: &'a str,
}

impl<'a> Replacement<'a> {
    /// From what follows the parenthesis.
    fn parse(arguments: &'a str) -> Option<Self> {
        let (pattern, by_as_written) = plain_pattern(arguments)?;
        let argument = by_as_written.trim_start_matches(BLANK).strip_prefix(',')?;
        let argument = argument.trim_start_matches(BLANK);
        let quote = argument
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'))?;
        let (by, after) = argument.get(1..)?.split_once(quote)?;
        let rest = after.trim_start_matches(BLANK).strip_prefix(')')?;
        (!by.contains(['$', '\\', '\r', '\n'])).then_some(Self {
            pattern,
            by,
            by_as_written,
            rest,
        })
    }
}

/// The text that a global expression looks for if that is all it does, and what follows the expression.
fn plain_pattern(argument: &str) -> Option<(String, &str)> {
    let mut pattern = String::new();
    let mut rest = argument.strip_prefix('/')?.chars();
    loop {
        let mut c = rest.next()?;
        match c {
            '/' => break,
            '\\' => {
                c = rest.next().filter(char::is_ascii_punctuation)?;
            }
            '^' | '$' | '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' => {
                return None;
            }
            ' '..='~' => {}
            _ => return None,
        }
        pattern.push(c);
    }
    let rest = rest.as_str().strip_prefix('g')?;
    (!pattern.is_empty()).then_some((pattern, rest))
}
