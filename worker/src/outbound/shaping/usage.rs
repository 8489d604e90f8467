//! How much of each limit is in use, for tools: the limits of destinations that this worker knows, and the
//! caps of new addresses.

use std::collections::HashSet;
use std::sync::Arc;

use haraka_shared::shaping::{Counter, Limits};
use haraka_shared::traffic::{Key, now};
use haraka_shared::usage::{MOST_ROWS, Usage};

use super::Shaper;

impl Shaper {
    /// Limits of which something is in use, or that items of this worker wait for.
    pub(in crate::outbound) fn rows(&self) -> Vec<Usage> {
        let rules = Arc::clone(&self.0.rules.borrow());
        let mut told: HashSet<Key> = HashSet::new();
        let mut rows = Vec::new();
        let mut tell = |limits: &Limits| {
            for (at, counter) in limits.counters.iter().enumerate() {
                if rows.len() >= MOST_ROWS || !told.insert(counter.key) {
                    continue;
                }
                let mut row = self.row(counter, limits);
                if at == 0 {
                    let rooms = self.0.rooms.borrow();
                    let (waiting, why) = rooms.of_provider(counter.key);
                    row.waiting = waiting as u64;
                    row.why = why.map(ToString::to_string);
                } else if !counter.name.contains(" from ") {
                    // A provider may be called like a domain.
                    row.name = format!("domain {}", counter.name);
                }
                rows.extend(row.is_in_use().then_some(row));
            }
        };
        let waited = self.0.rooms.borrow().destinations();
        waited.iter().for_each(|to| tell(&to.limits(&rules, None)));
        for to in self.0.known.borrow().iter().filter(|to| !to.is_unlimited()) {
            to.each_limits(&mut tell);
        }
        for source in &rules.sources {
            let today = self.0.warm_ups.today(&self.0.counted, source);
            if let Some(today) = today.filter(|_| rows.len() < MOST_ROWS) {
                rows.push(Usage {
                    name: format!("warm-up of {}", source.name),
                    share: 100,
                    today: Some(today),
                    ..Usage::default()
                });
            }
        }
        rows
    }

    fn row(&self, counter: &Counter, limits: &Limits) -> Usage {
        let now = now();
        let traffic = &self.0.counted.traffic;
        let view = traffic.view(counter.key, Some(limits.slowing), now);
        let share = view.map_or(1000, |v| v.share);
        let in_force = |most: u32| {
            let left = u64::from(most) * u64::from(share) / 1000;
            u32::try_from(left).unwrap_or(most).max(1)
        };
        let ms = |at: u64| at.saturating_sub(now) / 1000;
        Usage {
            name: counter.name.to_string(),
            connections: view.map_or(0, |v| v.connections),
            most: counter.connections.map(in_force),
            rate: counter.rate.map(|rate| (rate.count, rate.period_ms)),
            share: share.div_ceil(10),
            suspended: view.and_then(|v| v.suspended).map(ms),
            paced: view.and_then(|v| v.paced).map(ms),
            ..Usage::default()
        }
    }
}
