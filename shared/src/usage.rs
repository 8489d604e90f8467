//! How much of the limits per destination is in use, as workers tell the master and it tells tools.
//!
//! A worker knows names and rules, the counts are in memory that all share: what several tell of the same
//! limit is one row. Nothing is counted here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Rows that a worker tells of, and an answer has.
pub const MOST_ROWS: usize = 1000;

/// One limit: a provider, a domain of its own, or an address that is sent from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What is counted.
    pub name: String,
    /// Connections of all workers.
    pub connections: u32,
    /// As many as there may be now; none for any number.
    pub most: Option<u32>,
    /// So many messages in so many milliseconds.
    pub rate: Option<(u32, u64)>,
    /// Percent of the limits that are in force after complaints.
    pub share: u32,
    /// Left alone for these milliseconds.
    pub suspended: Option<u64>,
    /// The next message goes in so many milliseconds.
    pub paced: Option<u64>,
    /// Messages that a new address has sent today, and may.
    pub today: Option<(u32, u32)>,
    /// Items that wait for it.
    pub waiting: u64,
    /// Why the first of those does.
    pub why: Option<String>,
}

impl Usage {
    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.connections > 0
            || self.share < 100
            || self.suspended.is_some()
            || self.paced.is_some()
            || self.today.is_some()
            || self.waiting > 0
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "connections": self.connections,
            "most_connections": self.most,
            "rate": self.rate.map(|(messages, ms)| json!({ "messages": messages, "milliseconds": ms })),
            "share": self.share,
            "suspended": self.suspended,
            "paced": self.paced,
            "today": self.today.map(|(sent, most)| json!({ "sent": sent, "most": most })),
            "waiting": self.waiting,
            "why": self.why,
        })
    }
}

/// What several workers tell.
#[derive(Debug, Default)]
pub struct Usages(BTreeMap<String, Usage>);

impl Usages {
    /// Takes what one worker tells.
    pub fn add(&mut self, rows: Vec<Usage>) {
        for row in rows {
            let full = self.0.len() >= MOST_ROWS;
            match self.0.get_mut(&row.name) {
                Some(known) => known.merge(row),
                None if full => {}
                None => drop(self.0.insert(row.name.clone(), row)),
            }
        }
    }

    /// Most waited for first, then the busiest.
    #[must_use]
    pub fn into_rows(self) -> Vec<Usage> {
        let mut rows: Vec<Usage> = self.0.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.waiting, row.connections)));
        rows
    }
}

impl Usage {
    /// The same limit, as seen a moment earlier or later by another worker.
    fn merge(&mut self, other: Usage) {
        self.connections = self.connections.max(other.connections);
        self.most = self.most.or(other.most);
        self.rate = self.rate.or(other.rate);
        self.share = self.share.min(other.share);
        self.suspended = self.suspended.max(other.suspended);
        self.paced = self.paced.max(other.paced);
        self.today = self.today.max(other.today);
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.why = self.why.take().or(other.why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, connections: u32, waiting: u64) -> Usage {
        Usage {
            name: name.to_owned(),
            connections,
            share: 100,
            waiting,
            ..Usage::default()
        }
    }

    #[test]
    fn what_two_workers_tell_of_one_limit_is_one_row_whose_waiting_items_add_up() {
        let mut all = Usages::default();
        all.add(vec![row("big", 7, 2), row("small", 1, 0)]);
        all.add(vec![row("big", 8, 3)]);
        let rows = all.into_rows();
        let seen = rows.iter().map(|r| (&*r.name, r.connections, r.waiting));
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen, [("big", 8, 5), ("small", 1, 0)]);
    }

    #[test]
    fn rows_are_bounded() {
        let mut all = Usages::default();
        let many = (0..MOST_ROWS + 5).map(|n| row(&n.to_string(), 1, 0));
        all.add(many.collect());
        assert_eq!(all.into_rows().len(), MOST_ROWS);
    }
}
