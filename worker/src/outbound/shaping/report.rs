//! What destinations are doing, for the log and for tools.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::traffic::now;

use super::{Denied, Shaper, Why};
use crate::rt;
use crate::worker::Worker;

/// Between two reports on those who wait.
const REPORT: Duration = Duration::from_secs(60);

/// Providers in one report.
const MOST_LINES: usize = 20;

/// One provider, as all workers use it, and what waits for it in this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Who runs the mail hosts.
    pub(crate) provider: Arc<str>,
    /// Connections of all workers.
    pub(crate) connections: u32,
    /// As many as there may be now.
    pub(crate) most: u32,
    /// Percent of its limits that are in force.
    pub(crate) share: u32,
    /// Left alone for this time.
    pub(crate) suspended: Option<Duration>,
    /// The next message of its rate goes after this time.
    pub(crate) paced: Option<Duration>,
    /// Items of this worker that wait.
    pub(crate) waiting: usize,
    /// Why the first of those does.
    pub(crate) why: Option<Denied>,
}

impl Shaper {
    /// Providers for which items wait in this worker, most of them first.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        let rules = Arc::clone(&self.0.rules.borrow());
        let rooms = self.0.rooms.borrow();
        let now = now();
        let mut all = Vec::new();
        for to in rooms.destinations() {
            let limits = to.limits(&rules, None);
            let Some(counter) = limits.counters.first() else {
                continue;
            };
            let traffic = &self.0.counted.traffic;
            let view = traffic.view(counter.key, Some(limits.slowing), now);
            let share = view.map_or(1000, |v| v.share);
            let most = counter.connections.unwrap_or(u32::MAX);
            let left = u64::from(most) * u64::from(share) / 1000;
            let (waiting, why) = rooms.of_provider(counter.key);
            let ahead = |at: u64| Duration::from_micros(at.saturating_sub(now));
            all.push(Usage {
                provider: Arc::clone(&limits.provider),
                connections: view.map_or(0, |v| v.connections),
                most: u32::try_from(left).unwrap_or(most).max(1),
                share: share.div_ceil(10),
                suspended: view.and_then(|v| v.suspended).map(ahead),
                paced: view.and_then(|v| v.paced).map(ahead),
                waiting,
                why: why.cloned(),
            });
        }
        all.sort_by_key(|usage| std::cmp::Reverse(usage.waiting));
        all
    }

    /// Tells about those who wait, now and then.
    pub(in crate::outbound) fn start(worker: &Rc<Worker>) {
        let worker = Rc::clone(worker);
        rt::spawn(async move {
            loop {
                rt::sleep(REPORT).await;
                for usage in worker.outbound.shaper.usage().iter().take(MOST_LINES) {
                    log_server!(Level::Notice, "{usage}");
                }
            }
        })
        .detach();
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} items wait for {}: {} of {} connections",
            self.waiting, self.provider, self.connections, self.most
        )?;
        if self.share < 100 {
            write!(f, ", {}% of its limits after complaints", self.share)?;
        }
        if let Some(time) = self.suspended {
            write!(f, ", left alone for {} s", time.as_secs())?;
        }
        if let Some(why) = &self.why {
            write!(f, "; {why}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = &self.what;
        match self.why {
            Why::Suspended => write!(f, "{what} asked to be left alone"),
            Why::Connections => write!(f, "all connections that {what} takes are in use"),
            Why::Rate => write!(f, "{what} takes no more messages at a time"),
            Why::WarmUp => write!(f, "{what} has sent what a new address may send today"),
        }
    }
}
