//! When a deferred item is tried again (OUT-18). Pure.

use std::time::Duration;

/// The time to wait after this many failures, the newest included; none when there were more
/// failures than intervals and the item must be returned: `Too many failures` (OUT-20).
///
/// The intervals come from `temp_fail_intervals` or `maxTempFailures` (KEY-45, KEY-46); an empty
/// list returns mail at its first failure.
pub fn delay(failures: u32, intervals: &[Duration]) -> Option<Duration> {
    let last = usize::try_from(failures.max(1)).ok()? - 1;
    intervals.get(last).copied()
}

/// How much longer an item is tried after the attempt that is due next, having failed so often.
pub fn remaining(failures: u32, intervals: &[Duration]) -> Duration {
    let used = usize::try_from(failures).unwrap_or(usize::MAX);
    let left = intervals.get(used..).unwrap_or_default();
    left.iter()
        .fold(Duration::ZERO, |sum, t| sum.saturating_add(*t))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|s| Duration::from_secs(*s)).collect()
    }

    // covers OUT-18, OUT-20
    #[test]
    fn thirteenth_failure_of_the_default_schedule_is_the_last() {
        let intervals: Vec<_> = (1..13).map(|i| Duration::from_secs(1 << (i + 5))).collect();
        assert_eq!(delay(1, &intervals), Some(Duration::from_secs(64)));
        assert_eq!(delay(12, &intervals), Some(Duration::from_secs(131_072)));
        assert_eq!(delay(13, &intervals), None);
    }

    #[test]
    fn remaining_time_is_that_of_the_intervals_to_come() {
        let intervals = seconds(&[10, 20, 40]);
        for (failures, expected) in [(0, 70), (1, 60), (2, 40), (3, 0), (u32::MAX, 0)] {
            let expected = Duration::from_secs(expected);
            assert_eq!(remaining(failures, &intervals), expected);
        }
        assert_eq!(remaining(0, &[Duration::MAX; 2]), Duration::MAX);
    }

    // covers KEY-46
    #[test]
    fn no_intervals_return_mail_at_once_and_absurd_counts_are_over() {
        assert_eq!(delay(1, &[]), None);
        assert_eq!(delay(u32::MAX, &seconds(&[60])), None);
        assert_eq!(delay(0, &seconds(&[60])), delay(1, &seconds(&[60])));
    }
}
