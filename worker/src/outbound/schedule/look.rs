//! Where an item stands in the book, for an operator who asks; and items that wait for the end of a
//! suspension.

use std::rc::Rc;

use haraka_shared::spool::QueueName;

use super::Schedule;

/// What an item that is not being delivered waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbound) enum Standing {
    /// The worker starts nothing any more.
    Closed,
    /// A free place among those of its domain.
    Lane {
        /// Deliveries to it under way.
        active: usize,
        /// Items before this one.
        before: usize,
    },
    /// A free place among all.
    Full {
        /// Deliveries under way.
        active: usize,
    },
    /// Nothing but its time.
    Time,
}

impl Schedule {
    /// See [`Standing`].
    pub(in crate::outbound) fn standing(&self, name: &QueueName, domain: &str) -> Standing {
        let lane = self.lanes.get(&Rc::from(domain.to_ascii_lowercase()));
        let parked = lane.and_then(|lane| {
            let before = lane.parked.iter().position(|parked| parked == name)?;
            Some((lane.active, before))
        });
        match parked {
            _ if self.closed => Standing::Closed,
            Some((active, before)) => Standing::Lane { active, before },
            None if self.active >= self.most => Standing::Full {
                active: self.active,
            },
            None => Standing::Time,
        }
    }

    /// Names in the book, those being delivered left out; one that stands twice counts twice.
    pub(in crate::outbound) fn entries(&self) -> usize {
        self.ready.len() + self.parked + self.waiting.len() + self.suspended.len()
    }

    /// Names in the book that are due, and those that wait for their time or for the end of a
    /// suspension; of each at most so many.
    pub(in crate::outbound) fn names(&self, most: usize) -> (Vec<QueueName>, Vec<QueueName>) {
        let ready = self.ready.iter().map(|job| &job.name);
        let parked = self.lanes.values().flat_map(|lane| &lane.parked);
        let due = ready.chain(parked).take(most).cloned().collect();
        let mut later = Vec::new();
        for heap in [&self.waiting, &self.suspended] {
            heap.for_each(|name| {
                if later.len() < most {
                    later.push(name.clone());
                }
            });
        }
        (due, later)
    }

    /// Whether nothing is started any more.
    pub(in crate::outbound) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether every item has its name in memory.
    pub(in crate::outbound) fn is_all_in_memory(&self) -> bool {
        let horizons = [&self.waiting, &self.suspended];
        let all = horizons.iter().all(|heap| heap.horizon().is_none());
        all && self.rescanning.is_none() && self.pass.is_none()
    }

    /// Calls `each` with all those names.
    pub(in crate::outbound) fn for_each(&self, mut each: impl FnMut(&QueueName)) {
        self.ready.iter().for_each(|job| each(&job.name));
        for lane in self.lanes.values() {
            lane.parked.iter().for_each(&mut each);
        }
        self.waiting.for_each(&mut each);
        self.suspended.for_each(&mut each);
    }

    /// An item waits for the end of a suspension.
    pub(in crate::outbound) fn suspend(&mut self, name: &QueueName) {
        self.suspended.push(name);
    }

    /// Suspensions have changed: what waits for the end of one is due, and may meet another.
    pub(in crate::outbound) fn resume(&mut self, now: u64) {
        let mut suspended = std::mem::take(&mut self.suspended);
        suspended.flush(now);
        self.waiting.absorb(suspended);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Job, Schedule};
    use super::*;

    fn name(n: u64) -> QueueName {
        QueueName::parse(&format!("1_{n}_0_7_AbCdEf_{n}_mx.example")).unwrap()
    }

    #[test]
    fn an_item_is_found_in_its_lane_or_behind_the_limit() {
        let mut schedule = Schedule::new(2, 1);
        let domain: Rc<str> = "one.example".into();
        for n in 1..=3 {
            schedule.due_now(Job::named(name(n)));
        }
        for _ in 0..3 {
            let job = schedule.start(9).unwrap();
            schedule.enter(&domain, &job.name);
        }
        let standing = |s: &Schedule, n| s.standing(&name(n), "One.example");
        let parked = |before| Standing::Lane { active: 1, before };
        assert_eq!(standing(&schedule, 2), parked(0));
        assert_eq!(standing(&schedule, 3), parked(1));
        assert_eq!(standing(&schedule, 9), Standing::Time);
        schedule.due_now(Job::named(name(4)));
        schedule.start(9).unwrap();
        assert_eq!(standing(&schedule, 9), Standing::Full { active: 2 });
        schedule.close();
        assert_eq!(standing(&schedule, 3), Standing::Closed);
    }

    #[test]
    fn suspended_items_are_due_when_suspensions_change_and_not_before() {
        let mut schedule = Schedule::new(9, 9);
        for n in [5, 6] {
            schedule.suspend(&name(n));
        }
        assert!(schedule.start(u64::MAX).is_none());
        assert_eq!(schedule.next_due(), None);
        assert_eq!(schedule.stats().deferred, 2);
        schedule.resume(100);
        assert_eq!(schedule.start(100).unwrap().name, name(5));
        assert_eq!(schedule.start(100).unwrap().name, name(6));
    }
}
