//! How long a login at a back end may take, all of it together.
//!
//! The client must hear 454 from us before the server gives the plugin up and calls its command
//! unknown.

use std::time::{Duration, Instant};

use haraka_shared::plugin::{PluginEnv, PluginError};

/// What is left to the server's own limit for the reply.
const SPARE: Duration = Duration::from_secs(1);

/// The time for one login: at most `most`, and a second less than the plugin may take for a hook.
///
/// # Errors
/// The files with the plugin's time cannot be read.
pub(super) fn limit(
    env: &PluginEnv<'_>,
    plugin: &str,
    most: Duration,
) -> Result<Duration, PluginError> {
    let whole = env.config.plugin_timeout(plugin)?;
    Ok(whole.map_or(most, |whole| most.min(whole.saturating_sub(SPARE))))
}

/// Where a configured time is beyond what the clock can count.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A point in time until which somebody may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(Instant);

impl Patience {
    /// From now on.
    pub(super) fn of(limit: Duration) -> Patience {
        let now = Instant::now();
        Patience(now.checked_add(limit).unwrap_or(now + LONGEST))
    }

    /// What is left.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// A share of what is left, for the next one of `others + 1` who are to get their turn.
    pub(super) fn share(self, others: usize) -> Patience {
        let parts = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        Patience::of(self.left() / parts)
    }
}
