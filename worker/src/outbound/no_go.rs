//! Hosts with which TLS failed, so that they are spoken to in the clear for a while (PA-46, TLS-16).
//!
//! Kept in the memory of each worker, for so many hosts and so long. Holds only what was switched on
//! with `disable_for_failed_hosts`; must never be asked where TLS is required.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use haraka_shared::date::{epoch_ms, iso8601};

use crate::rt;

/// Hosts remembered; beyond it, the one that would be forgotten first is.
const MOST: usize = 4096;

#[derive(Default)]
pub(super) struct NoGo(RefCell<HashMap<IpAddr, Mark>>);

struct Mark {
    until: Instant,
    when: String,
}

impl NoGo {
    /// Remembers a host from now on.
    pub(super) fn mark(&self, host: IpAddr, lasting: Duration) {
        let now = rt::now();
        let mut marks = self.0.borrow_mut();
        if marks.len() >= MOST {
            marks.retain(|_, mark| mark.until > now);
        }
        if marks.len() >= MOST
            && let Some(first) = marks
                .iter()
                .min_by_key(|(_, mark)| mark.until)
                .map(|(ip, _)| *ip)
        {
            marks.remove(&first);
        }
        let when = iso8601(i64::try_from(epoch_ms()).unwrap_or(i64::MAX)).to_string();
        let until = now + lasting;
        marks.insert(host, Mark { until, when });
    }

    /// When a host was marked, if that still counts.
    pub(super) fn marked(&self, host: IpAddr) -> Option<String> {
        let mut marks = self.0.borrow_mut();
        let mark = marks.get(&host)?;
        if mark.until > rt::now() {
            return Some(mark.when.clone());
        }
        marks.remove(&host);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::testing::run;

    // covers PA-46, TLS-16
    #[test]
    fn marks_last_as_long_as_told_and_never_grow_without_bound() {
        run(async {
            let no_go = NoGo::default();
            let host = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            no_go.mark(host(0), Duration::from_secs(60));
            assert!(
                no_go
                    .marked(host(0))
                    .is_some_and(|when| when.ends_with('Z'))
            );
            assert_eq!(no_go.marked(host(1)), None);
            no_go.mark(host(2), Duration::ZERO);
            assert_eq!(no_go.marked(host(2)), None);
            for n in 10..10 + 2 * MOST {
                no_go.mark(host(n), Duration::from_secs(3600));
            }
            assert_eq!(no_go.0.borrow().len(), MOST);
            assert_eq!(no_go.marked(host(0)), None, "the shortest went first");
            assert!(no_go.marked(host(9 + 2 * MOST)).is_some());
        });
    }
}
