//! Several servers for one purpose, taken in turn; one that failed is left out for a while (SMC-04).

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use haraka_shared::route::Route;

/// One or more servers.
#[derive(Debug)]
pub(super) struct HostPool {
    first: Route,
    others: Box<[Route]>,
    /// When each may be tried again; `None` for one that works.
    dead: RefCell<Box<[Option<Instant>]>>,
    turn: Cell<usize>,
    retry: Duration,
}

impl HostPool {
    /// `first`, then the others in this order. A failed host is left out for `retry`.
    pub(super) fn new(first: Route, others: Vec<Route>, retry: Duration) -> HostPool {
        HostPool {
            dead: RefCell::new(vec![None; others.len() + 1].into()),
            first,
            others: others.into(),
            turn: Cell::new(0),
            retry,
        }
    }

    /// The server whose turn it is and works, with its number for [`HostPool::failed`]. If none
    /// works it is the one whose turn it is: trying costs less than refusing mail.
    pub(super) fn next(&self, now: Instant) -> (usize, &Route) {
        let count = self.count();
        let start = self.turn.get();
        let at = (0..count)
            .map(|i| (start + i) % count)
            .find(|at| self.works(*at, now))
            .unwrap_or(start);
        self.turn.set((at + 1) % count);
        (at, self.at(at))
    }

    /// All servers, beginning with the next one; those that failed come last.
    pub(super) fn in_order(&self, now: Instant) -> Vec<Route> {
        let (first, _) = self.next(now);
        let count = self.count();
        let mut order: Vec<usize> = (0..count).map(|i| (first + i) % count).collect();
        order.sort_by_key(|at| !self.works(*at, now));
        order.into_iter().map(|at| self.at(at).clone()).collect()
    }

    /// Leaves the server out for the pool's retry time.
    pub(super) fn failed(&self, at: usize, now: Instant) {
        if let Some(until) = self.dead.borrow_mut().get_mut(at) {
            *until = now.checked_add(self.retry);
        }
    }

    /// The server that stands for the pool in `queue.next_hop`.
    pub(super) fn first(&self) -> &Route {
        &self.first
    }

    fn count(&self) -> usize {
        self.others.len() + 1
    }

    fn works(&self, at: usize, now: Instant) -> bool {
        self.dead
            .borrow()
            .get(at)
            .copied()
            .flatten()
            .is_none_or(|until| until <= now)
    }

    fn at(&self, at: usize) -> &Route {
        at.checked_sub(1)
            .and_then(|i| self.others.get(i))
            .unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(names: &[&str]) -> HostPool {
        let mut routes: Vec<Route> = names.iter().map(|n| Route::parse(n).unwrap()).collect();
        HostPool::new(routes.remove(0), routes, Duration::from_secs(10))
    }

    fn next(pool: &HostPool, now: Instant) -> String {
        pool.next(now).1.host.to_string()
    }

    // covers SMC-04
    #[test]
    fn hosts_take_turns_and_a_failed_one_sits_out_its_time() {
        let pool = pool(&["a", "b", "c"]);
        let now = Instant::now();
        let turns: Vec<_> = (0..4).map(|_| next(&pool, now)).collect();
        assert_eq!(turns, ["a", "b", "c", "a"]);
        pool.failed(1, now);
        let turns: Vec<_> = (0..3).map(|_| next(&pool, now)).collect();
        assert_eq!(turns, ["c", "a", "c"]);
        let later = now + Duration::from_secs(10);
        let turns: Vec<_> = (0..3).map(|_| next(&pool, later)).collect();
        assert_eq!(turns, ["a", "b", "c"]);
    }

    // covers SMC-04
    #[test]
    fn when_all_are_dead_the_next_one_is_tried_anyway() {
        let pool = pool(&["a", "b"]);
        let now = Instant::now();
        pool.failed(0, now);
        pool.failed(1, now);
        assert_eq!(next(&pool, now), "a");
        assert_eq!(next(&pool, now), "b");
    }

    #[test]
    fn the_whole_list_puts_dead_hosts_last() {
        let pool = pool(&["a", "b", "c"]);
        let now = Instant::now();
        pool.failed(0, now);
        let order: Vec<_> = pool.in_order(now).iter().map(|r| r.host.to_string()).collect();
        assert_eq!(order, ["b", "c", "a"]);
    }
}
