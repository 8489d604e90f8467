//! Takes messages that somebody wanted thrown away, and drops them (PI2-14).

use haraka_shared::hook::{HookName, Hooks, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

use super::wanted;

/// See `docs/plugins/queue/discard.md`.
pub struct Discard {
    everything: bool,
}

impl Plugin for Discard {
    const NAME: &'static str = "queue/discard";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Queue).called("discard"),
        Wants::hook(HookName::QueueOutbound).called("discard"),
    ];

    fn new(_env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Discard {
            everything: std::env::var_os("YES_REALLY_DO_DISCARD").is_some_and(|v| !v.is_empty()),
        })
    }
}

impl Hooks for Discard {
    async fn queue(&self, cx: &HookCx, _none: ()) -> Verdict {
        self.discard(cx)
    }

    async fn queue_outbound(&self, cx: &HookCx, _none: ()) -> Verdict {
        self.discard(cx)
    }
}

impl Discard {
    fn discard(&self, cx: &HookCx) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        let noted = connection.notes.truthy("discard") || transaction.notes.truthy("discard");
        if !drops(wanted(&transaction).as_deref(), noted, self.everything) {
            return Verdict::CONT;
        }
        log_conn!(Level::Info, connection, [], "discarding message");
        Verdict::OK
    }
}

/// Whether to drop a message: chosen for it by name, or nothing else was chosen and somebody noted
/// it or everything goes.
fn drops(wanted: Option<&str>, noted: bool, everything: bool) -> bool {
    match wanted {
        Some(queue) => queue == "discard",
        None => noted || everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PI2-14, PA-12
    #[test]
    fn another_queues_message_is_never_dropped() {
        for (wanted, noted, everything, dropped) in [
            (None, false, false, false),
            (None, true, false, true),
            (None, false, true, true),
            (Some("discard"), false, false, true),
            (Some("smtp_forward"), true, true, false),
        ] {
            assert_eq!(
                drops(wanted, noted, everything),
                dropped,
                "{wanted:?} {noted} {everything}"
            );
        }
    }
}
