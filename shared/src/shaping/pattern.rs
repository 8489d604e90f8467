//! Names with a star in front, as operators write them: `*.example.com`.

use std::str::FromStr;

/// A host or domain name, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name.
    Exactly(String),
    /// All names that end in this, which begins with a dot.
    Below(String),
}

/// Not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name such as mx.example.com, or *.example.com for all below it, is expected")]
pub struct NoPattern;

impl Pattern {
    /// How much of a name it says, in bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            // One more than all below it.
            Pattern::Exactly(name) => name.len() + 1,
            Pattern::Below(end) => end.len(),
        }
    }

    /// Whether a name in lower case is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Exactly(wanted) => name == wanted,
            Pattern::Below(end) => name.ends_with(end.as_str()),
        }
    }
}

impl FromStr for Pattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Pattern, NoPattern> {
        let text = text.trim().trim_end_matches('.').to_lowercase();
        let (name, below) = match text.strip_prefix('*') {
            Some(end) => (end.strip_prefix('.').ok_or(NoPattern)?, true),
            None => (text.as_str(), false),
        };
        let plain = |c: char| c.is_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(NoPattern);
        }
        Ok(if below {
            Pattern::Below(format!(".{name}"))
        } else {
            Pattern::Exactly(name.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_what_is_below_and_nothing_else_has_one() {
        let below: Pattern = "*.Google.com".parse().unwrap();
        assert!(below.matches("alt1.aspmx.l.google.com"));
        assert!(!below.matches("google.com") && !below.matches("notgoogle.com"));
        let one: Pattern = "mx.example.com.".parse().unwrap();
        assert!(one.matches("mx.example.com") && !one.matches("a.mx.example.com"));
        for wrong in ["", "*", "*.", "*google.com", "a*b", "a b"] {
            assert_eq!(wrong.parse::<Pattern>(), Err(NoPattern), "{wrong:?}");
        }
    }
}
