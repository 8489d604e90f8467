//! What is changed in the text of scripts before they are compiled: calls of the older generation of
//! addresses, and replacements whose pattern is plain text.
//!
//! Here, as scripts are long and the engine's own expressions slow. Must keep lines where they are, and
//! must change nothing that would answer differently; `globals.js` has the methods that are called then.

use std::borrow::Cow;

/// The text with `x.user()` as `x.user$called()`, which answers for text and for a function, and with
/// `x.replace(/0/g, 'o')` as `x.replace$all('0', 'o')`: the engine makes an expression of the pattern at
/// each call, and looks up each of its flags by name. For `x.split(/\s+/)`, which is `x.split$blank(/\s+/)`, it
/// makes two.
pub(super) fn rewritten(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    for (at, _) in text.match_indices('(') {
        let (before, after) = (text.get(..at), text.get(at + 1..));
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        let called = [".address", ".host", ".user"];
        if after.trim_start().starts_with(')') && called.iter().any(|c| before.ends_with(c)) {
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str("$called");
            copied = at;
        } else if before.ends_with(".split") && after.starts_with("/\\s+/)") {
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str("$blank");
            copied = at;
        } else if before.ends_with(".replace")
            && let Some((pattern, rest)) = plain_pattern(after)
            && is_plain_replacement(rest)
        {
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str("$all('");
            out.push_str(&pattern);
            out.push('\'');
            copied = text.len() - rest.len();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// The text that a global expression looks for if that is all it does, as it stands in a string; and
/// what follows the expression.
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
        if matches!(c, '\'' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    let rest = rest.as_str().strip_prefix('g')?;
    (!pattern.is_empty()).then_some((pattern, rest))
}

/// Whether the last argument follows, a string that stands for itself.
fn is_plain_replacement(rest: &str) -> bool {
    let blank = [' ', '\t', '\r', '\n'];
    let Some(argument) = rest.trim_start_matches(blank).strip_prefix(',') else {
        return false;
    };
    let argument = argument.trim_start_matches(blank);
    let Some(quote) = argument.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        return false;
    };
    let Some((text, after)) = argument.get(1..).and_then(|a| a.split_once(quote)) else {
        return false;
    };
    !text.contains(['$', '\\', '\r', '\n']) && after.trim_start_matches(blank).starts_with(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers CON-30
    #[test]
    fn calls_of_address_parts_are_marked_and_nothing_else() {
        let marked = rewritten("a.address( \n) + b.host() + c.user(1) + d.users() + user()");
        assert_eq!(
            marked,
            "a.address$called( \n) + b.host$called() + c.user(1) + d.users() + user()"
        );
        assert!(matches!(rewritten("é.user(x)"), Cow::Borrowed(_)));
    }

    #[test]
    fn splitting_at_blanks_is_marked_and_no_other() {
        assert_eq!(
            rewritten(
                "a.split(/\\s+/)[0] + b.split(/\\s/) + c.split(/\\s+/, 2) + d.split(/\\s+/g) + e\n.split(/\\s+/)"
            ),
            "a.split$blank(/\\s+/)[0] + b.split(/\\s/) + c.split(/\\s+/, 2) + d.split(/\\s+/g) + e\n.split$blank(/\\s+/)"
        );
    }

    #[test]
    fn replacing_plain_text_everywhere_needs_no_expression() {
        for (script, expected) in [
            ("s.replace(/0/g, 'o')", "s.replace$all('0', 'o')"),
            (
                "s\n.replace(/\\)/g,\"g\" ).replace(/\\$/g, '')",
                "s\n.replace$all(')',\"g\" ).replace$all('$', '')",
            ),
            (r"s.replace(/a'\\/g, 'é')", r"s.replace$all('a\'\\', 'é')"),
            (
                "s.replace(/\\/\\//g,\n 'é(')",
                "s.replace$all('//',\n 'é(')",
            ),
        ] {
            assert_eq!(rewritten(script), expected);
        }
    }

    #[test]
    fn replacing_that_is_more_than_plain_text_stays_as_it_is() {
        for script in [
            "s.replace(/0/, 'o')",
            "s.replace(/0/gi, 'o')",
            "s.replace(/./g, 'o')",
            "s.replace(/a|b/g, 'o')",
            "s.replace(/[0]/g, 'o')",
            "s.replace(/\\d/g, 'o')",
            "s.replace(/\\n/g, 'o')",
            "s.replace(/é/g, 'o')",
            "s.replace(/0/g, '$&')",
            "s.replace(/0/g, 'a\\n')",
            "s.replace(/0/g, 'a' + b)",
            "s.replace(/0/g, `a`)",
            "s.replace(/0/g, f)",
            "s.replace(/0/g)",
            "s.replace(//g, 'a')",
            "replace(/0/g, 'a')",
            "s.replace(/0",
            "s.replace(/0\\",
            "s.replace(/0/g, '",
        ] {
            assert_eq!(rewritten(script), script);
        }
    }
}
