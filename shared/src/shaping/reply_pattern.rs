//! What is looked for in the replies of a destination.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

/// Memory that one expression may take when it is compiled, in bytes.
const LARGEST: usize = 1 << 20;

/// A regular expression over the code and text of a reply, without regard to case.
///
/// It is compiled when the first reply is held against it: most servers never see a complaint of most
/// destinations, and compiled all the shipped ones would be a tenth of a worker at rest.
#[derive(Clone, Debug)]
pub struct ReplyPattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl ReplyPattern {
    /// An expression, which nothing matches if it is none; see [`ReplyPattern::check`].
    #[must_use]
    pub fn new(text: &str) -> ReplyPattern {
        ReplyPattern {
            text: text.to_owned(),
            compiled: OnceLock::new(),
        }
    }

    /// Compiles the expression, and forgets that again.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn check(&self) -> Result<(), regex::Error> {
        compile(&self.text).map(|_| ())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the reply is meant.
    #[must_use]
    pub fn is_match(&self, reply: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        compiled.as_ref().is_some_and(|c| c.is_match(reply))
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(text);
    builder.case_insensitive(true).size_limit(LARGEST).build()
}

impl PartialEq for ReplyPattern {
    fn eq(&self, other: &ReplyPattern) -> bool {
        self.text == other.text
    }
}
