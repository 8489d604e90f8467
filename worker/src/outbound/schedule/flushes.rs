//! Which flushes there were, for items that were just being put off when one came.

use std::collections::VecDeque;

/// Flushes of single domains that are told apart; of older ones every item hears.
const MOST: usize = 64;

/// The flushes of this worker, counted from 1.
#[derive(Default)]
pub(super) struct Flushes {
    count: u64,
    /// The last one of all domains.
    all: u64,
    /// The last ones of a domain each.
    single: VecDeque<(u64, String)>,
}

impl Flushes {
    /// There is another one: of this domain, or of all.
    pub(super) fn begun(&mut self, domain: Option<&str>) {
        self.count += 1;
        let Some(domain) = domain else {
            self.single.clear();
            self.all = self.count;
            return;
        };
        self.single.retain(|(_, d)| !d.eq_ignore_ascii_case(domain));
        if self.single.len() >= MOST
            && let Some((oldest, _)) = self.single.pop_front()
        {
            self.all = self.all.max(oldest);
        }
        self.single.push_back((self.count, domain.to_owned()));
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether one of those after the first `since` is about items for this domain.
    pub(super) fn concern(&self, domain: &str, since: u64) -> bool {
        let of = |(n, d): &(u64, String)| *n > since && d.eq_ignore_ascii_case(domain);
        self.all > since || self.single.iter().any(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers OUT-15
    #[test]
    fn flush_concerns_its_domain_until_it_is_older_than_what_it_is_held_against() {
        let mut flushes = Flushes::default();
        flushes.begun(Some("one.test"));
        assert!(flushes.concern("ONE.test", 0) && !flushes.concern("two.test", 0));
        assert!(!flushes.concern("one.test", flushes.count()));
        flushes.begun(None);
        assert!(flushes.concern("two.test", 1) && !flushes.concern("two.test", 2));
    }

    #[test]
    fn flushes_that_are_forgotten_count_as_those_of_all_domains() {
        let mut flushes = Flushes::default();
        for n in 0..MOST {
            flushes.begun(Some(&format!("d{n}.test")));
        }
        assert!(!flushes.concern("other.test", 0));
        flushes.begun(Some("one.more.test"));
        assert_eq!(flushes.single.len(), MOST);
        assert!(flushes.concern("d0.test", 0) && flushes.concern("other.test", 0));
        assert!(!flushes.concern("other.test", 1));
    }
}
