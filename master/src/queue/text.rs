//! Text of mail on terminals, and the short name of an item. Pure.

use haraka_shared::spool::{Form, StoredName};

/// Text that somebody else wrote, on one line and without control characters.
pub(super) fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(safe).collect()
}

/// At most `most` characters of it.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// What names an item to people: the worker that wrote it, and its serial number.
pub(super) fn id(item: &StoredName) -> String {
    let name = &item.name;
    match name.incarnation {
        Some(incarnation) if name.form != Form::Old => format!("{incarnation}_{}", name.counter),
        _ => name.as_str().to_owned(),
    }
}

/// A number of bytes: `812`, `4.1k`, `23M`.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["", "k", "M", "G"] {
        if value < 1000.0 {
            return match unit.is_empty() || value >= 10.0 {
                true => format!("{value:.0}{unit}"),
                false => format!("{value:.1}{unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.0}T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_cannot_drive_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc\u{9b}"), "a?[2Jb??c?");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("abcd", 4), "abcd");
    }

    #[test]
    fn sizes_are_short() {
        let texts: Vec<_> = [0, 999, 1000, 4123, 23_456_789]
            .iter()
            .map(|n| size(*n))
            .collect();
        assert_eq!(texts, ["0", "999", "1.0k", "4.1k", "23M"]);
    }
}
