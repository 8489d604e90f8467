//! The words of a bounce: the operator's templates or built-in ones, and filling them in
//! (BNC-03, BNC-04, BNC-08, PB-37). Pure.

use std::borrow::Cow;

/// Texts that bounces are made of, line by line with their line ends.
#[derive(Clone, Debug)]
pub struct Templates {
    pub(super) text: Cow<'static, str>,
    pub(super) html: Option<String>,
    pub(super) image: Option<String>,
}

impl Templates {
    /// From `outbound.bounce_message`, `outbound.bounce_message_html` and
    /// `outbound.bounce_message_image`, as far as there are such files. The image file is a whole
    /// MIME part; it goes with the HTML text only.
    pub fn new(text: Option<String>, html: Option<String>, image: Option<String>) -> Templates {
        let filled = |t: &String| !t.trim().is_empty();
        // Haraka takes a file of one line for a missing one.
        let html = html.filter(|t| t.trim_end().lines().count() > 1);
        Templates {
            text: text
                .filter(filled)
                .map_or(Cow::Borrowed(BUILT_IN), Cow::Owned),
            image: image.filter(filled).filter(|_| html.is_some()),
            html,
        }
    }

    /// For a message that is late.
    pub fn delayed() -> Templates {
        Templates::built_in(DELAYED)
    }

    /// For the operator, about mail that has no sender to tell.
    pub fn double_bounce() -> Templates {
        Templates::built_in(DOUBLE)
    }

    /// For a message that was delivered or handed on.
    pub fn done() -> Templates {
        Templates::built_in(DONE)
    }

    fn built_in(text: &'static str) -> Templates {
        Templates {
            text: Cow::Borrowed(text),
            html: None,
            image: None,
        }
    }

    /// Header lines and body of the text template.
    pub(super) fn parts(&self) -> (Vec<&str>, Vec<&str>) {
        let mut lines = self.text.lines();
        let header = lines.by_ref().take_while(|l| !l.is_empty()).collect();
        (header, lines.collect())
    }
}

impl Default for Templates {
    fn default() -> Templates {
        Templates::new(None, None, None)
    }
}

/// What stands for `{name}`.
pub(super) type Values<'a> = [(&'static str, Cow<'a, str>)];

/// Puts values in the place of their names; what is unknown or empty becomes `?`.
pub(super) fn filled(line: &str, values: &Values<'_>, written: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let word = after
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default();
        match after.strip_prefix(word).and_then(|r| r.strip_prefix('}')) {
            Some(behind) if !word.is_empty() => {
                let value = values
                    .iter()
                    .find(|(name, value)| *name == word && !value.is_empty());
                match value {
                    Some((_, value)) => out.push_str(&written(value)),
                    None => out.push('?'),
                }
                rest = behind;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A value in HTML; its lines stay lines.
pub(super) fn html(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in visible(value.trim_end()).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>\n"),
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

/// A value within one header line.
pub(super) fn one_line(value: &str) -> String {
    let lines = value.split(['\r', '\n']).filter(|l| !l.is_empty());
    visible(&lines.collect::<Vec<_>>().join(" "))
}

/// A value in text; its lines stay lines.
pub(super) fn plain(value: &str) -> String {
    visible(value)
}

/// Other control characters could mean anything to whoever shows them.
fn visible(text: &str) -> String {
    let visible = |c: char| match c {
        '\t' | '\n' | '\r' => c,
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// The beginning of a value that may be of any size; `most` in octets.
pub(super) fn bounded(value: &str, most: usize) -> String {
    if value.len() <= most {
        return value.to_owned();
    }
    let end = value.floor_char_boundary(most);
    format!("{} ...", value.get(..end).unwrap_or_default())
}

/// Cuts lines that are too long for mail (RFC 5321 §4.5.3.1.6), at blanks where there are any.
pub(super) fn wrapped(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        if line.len() <= LONGEST {
            return Some(line);
        }
        let end = (0..=LONGEST)
            .rev()
            .find(|at| line.is_char_boundary(*at))
            .unwrap_or(LONGEST);
        let (head, _) = line.split_at_checked(end)?;
        let at = head
            .rfind(' ')
            .filter(|at| *at > 0)
            .map_or(end, |blank| blank + 1);
        let (head, tail) = line.split_at_checked(at)?;
        rest = Some(tail);
        Some(head.trim_end_matches(' '))
    })
}

/// RFC 5321 allows 998; some room is left for folding.
const LONGEST: usize = 900;

const BUILT_IN: &str = "\
Received: (Haraka {pid} invoked for bounce); {date}
Date: {date}
From: MAILER-DAEMON@{me}
To: {to}
Auto-Submitted: auto-replied
Subject: failure notice
Message-Id: {msgid}

This is the mail server at {me}.

Your message
    \"{subject}\"
could not be delivered to these recipients:

    {recipients}

Reason: {reason}

{extended_reason}

It will not be tried again.
";

const DELAYED: &str = "\
Received: (Haraka {pid} invoked for report); {date}
Date: {date}
From: MAILER-DAEMON@{me}
To: {to}
Auto-Submitted: auto-replied
Subject: delivery is delayed
Message-Id: {msgid}

This is the mail server at {me}.

Your message
    \"{subject}\"
has not reached these recipients yet:

    {recipients}

Reason: {reason}

{extended_reason}

You need not send it again: the server goes on trying.
";

const DOUBLE: &str = "\
Received: (Haraka {pid} invoked for bounce); {date}
Date: {date}
From: MAILER-DAEMON@{me}
To: {to}
Auto-Submitted: auto-replied
Subject: mail without a sender was not delivered
Message-Id: {msgid}
X-Loop: double-bounce@{me}

This is the mail server at {me}.

The message
    \"{subject}\"
could not be delivered to these recipients, and it has no sender who could be
told. Most likely it is a report itself.

    {recipients}

Reason: {reason}

{extended_reason}
";

const DONE: &str = "\
Received: (Haraka {pid} invoked for report); {date}
Date: {date}
From: MAILER-DAEMON@{me}
To: {to}
Auto-Submitted: auto-replied
Subject: delivery report
Message-Id: {msgid}

This is the mail server at {me}.

Your message
    \"{subject}\"
was handed to the mail server of these recipients, as you asked to be told:

    {recipients}

{extended_reason}
";

#[cfg(test)]
mod tests {
    use super::*;

    // covers BNC-03
    #[test]
    fn names_are_replaced_once_and_unknown_ones_become_a_question_mark() {
        let values = [
            ("me", Cow::Borrowed("{to}")),
            ("to", Cow::Borrowed("<x>")),
            ("subject", Cow::Borrowed("")),
        ];
        for (line, expected) in [
            ("{me} and {to}", "{to} and <x>"),
            ("{subject} {what}", "? ?"),
            ("{} {a b} { {me", "{} {a b} { {me"),
            ("{{me}}", "{{to}}"),
        ] {
            assert_eq!(filled(line, &values, str::to_owned), expected);
        }
    }

    // covers BNC-08
    #[test]
    fn html_values_cannot_be_markup() {
        assert_eq!(
            html("<a href='x'>&\"\r\nb\n"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;<br>\nb"
        );
    }

    // covers PB-37, BNC-08
    #[test]
    fn missing_or_empty_files_mean_the_built_in_text_alone() {
        for text in [None, Some(String::new()), Some(" \n".into())] {
            let t = Templates::new(text, Some("one line\n".into()), Some("image".into()));
            assert_eq!(t.text, BUILT_IN);
            assert!(t.html.is_none() && t.image.is_none());
        }
    }

    #[test]
    fn long_lines_are_cut_at_blanks_and_lose_nothing_else() {
        let line = "word ".repeat(500) + "end";
        let parts: Vec<_> = wrapped(&line).collect();
        assert!(parts.iter().all(|p| p.len() <= LONGEST));
        assert_eq!(parts.join(" "), line);
        let solid = "ü".repeat(1000);
        assert_eq!(wrapped(&solid).collect::<String>(), solid);
        assert_eq!(wrapped("").count(), 1);
    }
}
