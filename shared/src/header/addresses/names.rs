//! A name for people out of what an address field holds. Guesswork, as in the Perl module that Haraka's
//! came from; never an error.

/// A name from a display name or comment, else from an address like `first.last@…`; empty if there is
/// nothing that looks like a name.
#[must_use]
pub fn extract_name(phrase: &str, address: &str) -> String {
    // a name that has not been decoded would only show its code
    if let Some((_, after)) = phrase.split_once("=?")
        && after.contains("?=")
    {
        return String::new();
    }
    let mut name: String = phrase.split_whitespace().collect::<Vec<_>>().join(" ");
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_digit() || c == ' ') {
        return String::new();
    }
    name = inner(&name, '(', ')').to_owned();
    name = inner(&name, '"', '"').to_owned();
    name = without_bracketed(&name, '(', ')').replace('\\', "");
    name = inner(&name, '"', '"').to_owned();
    name = first_then_last(name);
    if let Some((before, _)) = name.split_once(',') {
        name = before.to_owned();
    }
    if is_one_case(&name) {
        name = name_case(&name);
    }
    let name = without_bracketed(&name, '[', ']');
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == '\'' || c == '"');
    let name = joined_blanks(name);
    if !name.is_empty() {
        return name;
    }
    from_address(address)
}

fn from_address(address: &str) -> String {
    let cased = |name: String| {
        if is_one_case(&name) {
            name_case(&name)
        } else {
            name
        }
    };
    // only what an `@` or `%` follows is the user's part of something
    let segments = address.split_inclusive(['@', '%']);
    for segment in segments.filter_map(|s| s.strip_suffix(['@', '%'])) {
        if segment.contains(['.', '_']) && segment.split(['.', '_']).all(|s| !s.is_empty()) {
            return cased(segment.replace(['.', '_'], " ").trim().to_owned());
        }
    }
    // X.400: /G=Given/S=Surname/
    let lower = address.to_ascii_lowercase();
    let attribute = |key: &str| {
        let at = lower.find(key)? + key.len();
        address.get(at..)?.split('/').next()
    };
    match attribute("/g=") {
        Some(given) => {
            let surname = attribute("/s=").unwrap_or_default();
            let joined = format!("{given} {surname}").trim().to_owned();
            if joined.is_empty() {
                joined
            } else {
                cased(joined)
            }
        }
        None => String::new(),
    }
}

/// Capitals as names have them: `van MCDONALD iii` becomes `Van McDonald III`.
#[must_use]
pub fn name_case(name: &str) -> String {
    let lower = name.to_lowercase();
    let mut out = String::with_capacity(lower.len());
    let mut rest = lower.as_str();
    while let Some(c) = rest.chars().next() {
        if !is_word(c) {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        push_word(word, &mut out);
        rest = after;
    }
    out
}

fn push_word(word: &str, out: &mut String) {
    if is_roman(word) {
        out.push_str(&word.to_ascii_uppercase());
        return;
    }
    let mut capital = true;
    for (at, c) in word.char_indices() {
        let after_mc = at == 2 && word.starts_with("mc");
        out.push(if capital || after_mc {
            c.to_ascii_uppercase()
        } else {
            c
        });
        capital = false;
    }
}

/// `x*(ix)?v*(iv)?i*`, without the empty word.
fn is_roman(word: &str) -> bool {
    let rest = word.trim_start_matches('x');
    // the x's may give one up only to `ix`, which begins with another letter: no choice is ever undone
    let rest = rest.strip_prefix("ix").unwrap_or(rest);
    let rest = rest.trim_start_matches('v');
    let rest = rest.strip_prefix("iv").unwrap_or(rest);
    rest.trim_start_matches('i').is_empty()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_one_case(text: &str) -> bool {
    text == text.to_lowercase() || text == text.to_uppercase()
}

/// What a pair around the whole text encloses, else the text.
fn inner(text: &str, open: char, close: char) -> &str {
    text.strip_prefix(open)
        .and_then(|t| t.strip_suffix(close))
        .unwrap_or(text)
}

/// The text without what a pair encloses; without a closing sign, without the rest.
fn without_bracketed(text: &str, open: char, close: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        out.push_str(before);
        rest = after.split_once(close).map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    out
}

/// `Last, First` turned round, if the first half is one word.
fn first_then_last(name: String) -> String {
    let Some((last, first)) = name.split_once(',') else {
        return name;
    };
    let last = last.strip_suffix(' ').unwrap_or(last);
    if last.is_empty() || last.contains(char::is_whitespace) {
        return name;
    }
    format!("{} {last}", first.strip_prefix(' ').unwrap_or(first))
}

fn joined_blanks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blanks = String::new();
    for c in text.trim().chars() {
        if c.is_whitespace() {
            blanks.push(c);
            continue;
        }
        match blanks.chars().count() {
            0 | 1 => out.push_str(&blanks),
            _ => out.push(' '),
        }
        blanks.clear();
        out.push(c);
    }
    out
}
