//! Peers with which TLS failed, remembered for a while (TLS-16).
//!
//! Each worker remembers for itself, and forgets when it ends. Haraka keeps the same in Redis, where
//! a key `no_tls|ADDRESS` holds the time of the failure and expires by itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A memory of peers, by address or name.
#[derive(Debug)]
pub struct NoTls<K> {
    until: RefCell<HashMap<K, Instant>>,
    most: usize,
}

impl<K: Eq + Hash + Clone> Default for NoTls<K> {
    fn default() -> Self {
        NoTls::with_capacity(MOST)
    }
}

impl<K: Eq + Hash + Clone> NoTls<K> {
    /// For this many peers at most; more push out those that would be forgotten first.
    pub fn with_capacity(most: usize) -> NoTls<K> {
        NoTls {
            until: RefCell::default(),
            most: most.max(1),
        }
    }

    /// TLS failed with this peer; remembered from `now` on for `time`.
    pub fn remember(&self, peer: K, now: Instant, time: Duration) {
        let mut until = self.until.borrow_mut();
        if until.len() >= self.most && !until.contains_key(&peer) {
            until.retain(|_, end| *end > now);
            if until.len() >= self.most
                && let Some(first) = until.iter().min_by_key(|(_, end)| **end)
            {
                let first = first.0.clone();
                until.remove(&first);
            }
        }
        until.insert(peer, now + time);
    }

    /// Whether TLS failed with this peer not long ago.
    pub fn contains(&self, peer: &K, now: Instant) -> bool {
        let mut until = self.until.borrow_mut();
        match until.get(peer) {
            Some(end) if *end > now => true,
            Some(_) => {
                until.remove(peer);
                false
            }
            None => false,
        }
    }

    /// TLS worked after all.
    pub fn forget(&self, peer: &K) {
        self.until.borrow_mut().remove(peer);
    }
}

/// Peers that are remembered at most: less than a megabyte of addresses.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    // covers TLS-16
    #[test]
    fn peer_is_remembered_until_its_time_is_over() {
        let (no_tls, now) = (NoTls::default(), Instant::now());
        no_tls.remember("a", now, Duration::from_secs(10));
        assert!(no_tls.contains(&"a", now + Duration::from_secs(9)));
        assert!(!no_tls.contains(&"b", now));
        assert!(!no_tls.contains(&"a", now + Duration::from_secs(10)));
        no_tls.remember("a", now, Duration::from_secs(10));
        no_tls.forget(&"a");
        assert!(!no_tls.contains(&"a", now));
    }

    // covers TLS-16
    #[test]
    fn memory_is_bounded_and_gives_up_those_whose_time_ends_first() {
        let (no_tls, now) = (NoTls::with_capacity(2), Instant::now());
        no_tls.remember(1, now, Duration::from_secs(10));
        no_tls.remember(2, now, Duration::from_secs(20));
        no_tls.remember(3, now, Duration::from_secs(30));
        assert!(!no_tls.contains(&1, now));
        assert!(no_tls.contains(&2, now) && no_tls.contains(&3, now));
        no_tls.remember(2, now, Duration::from_secs(40));
        no_tls.remember(4, now + Duration::from_secs(35), Duration::from_secs(1));
        assert!(no_tls.contains(&2, now + Duration::from_secs(35)));
    }
}
