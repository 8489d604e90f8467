//! Addresses to send from, which messages use which, and how much a new one may send.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Pattern, Shaping};
use crate::traffic::Rate;

/// An address of this host that mail goes out from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// In rules, log lines and tools.
    pub name: Arc<str>,
    /// Connections are bound to it.
    pub address: IpAddr,
    /// The name that is said with EHLO; the server's own if there is none.
    pub helo: Option<String>,
    /// Its part of a pool's messages, against the weights of the others.
    pub weight: u32,
    /// Connections at a time to one provider.
    pub connections: Option<u32>,
    /// Messages in a stretch of time to one provider.
    pub rate: Option<Rate>,
    /// A cap for each day while the address is new.
    pub warm_up: Option<WarmUp>,
}

/// A cap that grows from day to day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp {
    /// First day, in days since 1970 (UTC).
    pub begins: u64,
    /// Messages on the first day.
    pub messages: u32,
    /// By what the cap of a day is multiplied for the next; at least 1.
    pub growth: f64,
}

/// Caps beyond this are none: a month and a half of doubling from one message a day is far beyond what
/// a server sends, and the arithmetic stays exact.
const NO_CAP: f64 = 1e9;

impl WarmUp {
    /// How many messages may go on this day; `None` for as many as there are.
    #[must_use]
    pub fn cap(&self, day: u64) -> Option<u32> {
        let days = u32::try_from(day.saturating_sub(self.begins)).unwrap_or(u32::MAX);
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let cap = f64::from(self.messages) * self.growth.max(1.0).powi(days);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and below a billion"
        )]
        (cap < NO_CAP).then_some(cap as u32)
    }
}

/// A named group of sources.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// In rules and notes.
    pub name: String,
    /// Its members.
    pub sources: Vec<Arc<Source>>,
}

/// Messages that use a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Of these senders; of any if there are none.
    pub senders: Vec<Mailbox>,
    /// To these domains; to any if there are none.
    pub recipients: Vec<Pattern>,
    /// The pool's name.
    pub pool: String,
}

/// An address, or all of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// This address, in lower case.
    Address(String),
    /// All addresses of these domains.
    Domain(Pattern),
}

impl Mailbox {
    fn matches(&self, user: &str, domain: &str) -> bool {
        match self {
            Mailbox::Address(wanted) => {
                wanted
                    .strip_suffix(domain)
                    .and_then(|w| w.strip_suffix('@'))
                    == Some(user)
            }
            Mailbox::Domain(pattern) => pattern.matches(domain),
        }
    }
}

impl Shaping {
    /// The pool for a message: the one that was asked for by name, else the first that is selected. All
    /// names in lower case.
    #[must_use]
    pub fn pool(&self, asked: Option<&str>, sender: (&str, &str), domain: &str) -> Option<&Pool> {
        let by_rule = || {
            let selects = |s: &&Selection| {
                let (user, of) = sender;
                (s.senders.is_empty() || s.senders.iter().any(|m| m.matches(user, of)))
                    && (s.recipients.is_empty() || s.recipients.iter().any(|r| r.matches(domain)))
            };
            Some(self.selections.iter().find(selects)?.pool.as_str())
        };
        let name = asked.or_else(by_rule)?;
        self.pools.iter().find(|p| p.name == name)
    }
}

impl Pool {
    /// Its sources in the order in which a message tries them, by chance and weight.
    pub fn order(&self, mut chance: impl FnMut(u32) -> u32) -> Vec<Arc<Source>> {
        let mut left = self.sources.clone();
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let whole = left
                .iter()
                .fold(0u32, |sum, s| sum.saturating_add(s.weight.max(1)));
            let mut mark = chance(whole);
            let drawn = left.iter().position(|s| {
                let weight = s.weight.max(1);
                let here = mark < weight;
                mark = mark.saturating_sub(weight);
                here
            });
            order.push(left.remove(drawn.unwrap_or(0)));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, weight: u32) -> Arc<Source> {
        Arc::new(Source {
            name: name.into(),
            address: "127.0.0.2".parse().unwrap(),
            helo: None,
            weight,
            connections: None,
            rate: None,
            warm_up: None,
        })
    }

    #[test]
    fn first_selection_that_fits_counts_and_a_note_beats_it() {
        let pool = |name: &str| Pool {
            name: name.to_owned(),
            sources: vec![source("a", 1)],
        };
        let select = |sender: Option<Mailbox>, to: &str, pool: &str| Selection {
            senders: sender.into_iter().collect(),
            recipients: to.parse().into_iter().collect(),
            pool: pool.to_owned(),
        };
        let shaping = Shaping {
            pools: vec![pool("bulk"), pool("one"), pool("far")],
            selections: vec![
                select(Some(Mailbox::Address("ann@x.test".into())), "", "one"),
                select(
                    Some(Mailbox::Domain("*.news.test".parse().unwrap())),
                    "",
                    "bulk",
                ),
                select(None, "far.test", "far"),
                select(None, "lost.test", "no such pool"),
            ],
            ..Shaping::default()
        };
        let name = |asked, sender, to| shaping.pool(asked, sender, to).map(|p| p.name.as_str());
        assert_eq!(name(None, ("ann", "x.test"), "a.test"), Some("one"));
        assert_eq!(name(None, ("aann", "x.test"), "a.test"), None);
        assert_eq!(name(None, ("x", "a.news.test"), "far.test"), Some("bulk"));
        assert_eq!(name(None, ("x", "y.test"), "far.test"), Some("far"));
        assert_eq!(
            name(Some("bulk"), ("ann", "x.test"), "far.test"),
            Some("bulk")
        );
        assert_eq!(name(None, ("", ""), "lost.test"), None);
    }

    #[test]
    fn weights_say_how_often_a_source_comes_first() {
        let pool = Pool {
            name: "p".to_owned(),
            sources: vec![source("a", 3), source("b", 1), source("c", 0)],
        };
        let first: Vec<_> = (0..5)
            .map(|n| {
                let order = pool.order(|most| n.min(most - 1));
                assert_eq!(order.len(), 3);
                order[0].name.to_string()
            })
            .collect();
        assert_eq!(first, ["a", "a", "a", "b", "c"]);
    }

    #[test]
    fn cap_of_a_new_address_grows_until_there_is_none() {
        let warm_up = WarmUp {
            begins: 100,
            messages: 50,
            growth: 2.0,
        };
        assert_eq!(warm_up.cap(99), Some(50));
        assert_eq!(warm_up.cap(100), Some(50));
        assert_eq!(warm_up.cap(103), Some(400));
        assert_eq!(warm_up.cap(130), None);
        assert_eq!(
            WarmUp {
                growth: f64::NAN,
                ..warm_up
            }
            .cap(u64::MAX),
            Some(50)
        );
    }
}
