//! When the next message may go, as a pure function (the generic cell rate algorithm).
//!
//! The whole state of a rate is one time: when what was taken so far would be used up at an even pace.
//! That makes it one atomic number.

/// At most so many in any stretch of time of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how many milliseconds; at least 1.
    pub period_ms: u64,
}

/// Microseconds in a millisecond: times are counted in microseconds.
const MICROS: u64 = 1000;

/// The most that is allowed for the way from a decision to the wire, in microseconds.
const MOST_LEEWAY: u64 = 1_000_000;

impl Rate {
    /// How many may go at once after a pause. A twentieth of the count makes up for an event loop that
    /// comes late, and the pace is chosen so that count and burst together never pass the rate.
    fn burst(self) -> u64 {
        u64::from(self.count / 20).max(1)
    }

    /// How many microseconds later than it was taken a message may begin to be sent: a twentieth of the
    /// period, a second at most. One that is later than that has to be taken again.
    #[must_use]
    pub fn leeway(self) -> u64 {
        let period = self.period_ms.max(1).saturating_mul(MICROS);
        (period / 20).min(MOST_LEEWAY)
    }

    /// Microseconds between two at an even pace.
    ///
    /// With a burst of b, any stretch of the period begins with at most b - 1 ahead of their time, and
    /// sees one more at each interval: together no more than the count. The stretch is longer by the
    /// leeway, as the first of those that the destination sees in a period may be late while the last
    /// is not.
    fn interval(self) -> u64 {
        let period = self.period_ms.max(1).saturating_mul(MICROS);
        let even = u64::from(self.count.max(1)) - (self.burst() - 1);
        period.saturating_add(self.leeway()).div_ceil(even)
    }

    /// The state after one more at `now`, or the time from which on one more may go; all in microseconds
    /// of the same clock.
    ///
    /// # Errors
    /// Not yet: the time.
    pub fn take(self, state: u64, now: u64) -> Result<u64, u64> {
        let interval = self.interval();
        let ahead = interval.saturating_mul(self.burst() - 1);
        let from = state.saturating_sub(ahead);
        if now < from {
            return Err(from);
        }
        Ok(state.max(now).saturating_add(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: Rate, step: u64, until: u64) -> Vec<u64> {
        let mut state = 0;
        let mut times = Vec::new();
        let mut now = 1_000_000_000;
        let end = now + until;
        while now < end {
            match rate.take(state, now) {
                Ok(next) => {
                    state = next;
                    times.push(now);
                }
                Err(from) => {
                    assert!(from > now);
                    now += step;
                }
            }
        }
        times
    }

    fn most_in_any(times: &[u64], period: u64) -> usize {
        let within =
            |(i, t): (usize, &u64)| times[i..].iter().take_while(|u| **u < t + period).count();
        times.iter().enumerate().map(within).max().unwrap_or(0)
    }

    // covers PB-51
    #[test]
    fn never_more_than_the_count_in_any_stretch_of_the_period_and_its_leeway() {
        for (count, period_ms) in [
            (1, 1000),
            (2, 1000),
            (7, 100),
            (20, 1000),
            (250, 5000),
            (1000, 1000),
        ] {
            let rate = Rate { count, period_ms };
            for step in [1, 700, 40_000] {
                let times = taken(rate, step, period_ms * 3000);
                let most = most_in_any(&times, period_ms * 1000 + rate.leeway());
                assert!(most <= count as usize, "{rate:?} step {step}: {most}");
            }
        }
    }

    #[test]
    fn most_of_the_rate_can_be_used() {
        for (count, period_ms) in [(1, 1000), (2, 1000), (20, 1000), (1000, 1000)] {
            let times = taken(Rate { count, period_ms }, 100, period_ms * 10_000);
            let wanted = count as usize * 10;
            assert!(
                times.len() * 10 >= wanted * 9,
                "{count}: {} of {wanted}",
                times.len()
            );
        }
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let slow = Rate {
            count: 1,
            period_ms: u64::MAX,
        };
        let state = slow.take(0, 5).unwrap();
        assert!(slow.take(state, 6).is_err());
        let none = Rate {
            count: 0,
            period_ms: 0,
        };
        assert!(none.take(0, 5).is_ok());
        assert!(
            Rate {
                count: u32::MAX,
                period_ms: 1
            }
            .take(u64::MAX, u64::MAX)
            .is_ok()
        );
    }
}
