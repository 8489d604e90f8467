//! How much a destination takes, and from which address: the rules of `shaping.toml`, applied.
//!
//! Pure: rules and names in, limits out. Who counts is `crate::traffic`; who waits is the worker. The
//! file's form is `crate::config`'s business.

mod egress;
mod limits;
mod pattern;
mod reply_pattern;

use std::collections::HashMap;
use std::sync::Arc;

pub use egress::{Mailbox, Pool, Selection, Source, WarmUp};
pub use limits::{Counter, Limits};
pub use pattern::Pattern;
pub use reply_pattern::ReplyPattern;

use crate::traffic::{Rate, Slowing};

/// All rules. Made by reading `shaping.toml` over the shipped one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shaping {
    /// For every destination, as far as nothing else is said.
    pub default: Rule,
    /// By who runs the mail hosts; the longest name that matches counts.
    pub providers: Vec<Provider>,
    /// By the domain of the recipients, in lower case.
    pub domains: HashMap<String, Rule>,
    /// Addresses to send from.
    pub sources: Vec<Arc<Source>>,
    /// Named groups of them.
    pub pools: Vec<Pool>,
    /// Which messages use which pool; the first that matches counts.
    pub selections: Vec<Selection>,
}

/// Who runs mail hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// In log lines and tools.
    pub name: Arc<str>,
    /// Names of its mail hosts.
    pub mx: Vec<Pattern>,
    /// What it takes.
    pub rule: Rule,
}

/// What is said about a destination; what is not said comes from a wider rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// Messages over one connection.
    pub messages_per_connection: Option<u32>,
    /// Messages in a stretch of time.
    pub rate: Option<Rate>,
    /// How a complaint is answered.
    pub slowing: Option<Slowing>,
    /// Which replies are complaints; asked before those of a wider rule.
    pub replies: Vec<Arc<ReplyRule>>,
}

/// What a reply means.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyRule {
    /// Looked for in the code and text of the reply.
    pub pattern: ReplyPattern,
    /// What to do.
    pub action: Action,
}

/// What to do when a destination complains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Less at a time, and less often.
    SlowDown,
    /// Nothing for this many seconds.
    Suspend(u64),
}
