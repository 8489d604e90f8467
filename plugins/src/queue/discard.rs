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
        let asked = match wanted(&transaction).as_deref() {
            Some("discard") => true,
            Some(_) => return Verdict::CONT,
            None => connection.notes.truthy("discard") || transaction.notes.truthy("discard"),
        };
        if !asked && !self.everything {
            return Verdict::CONT;
        }
        log_conn!(Level::Info, connection, [], "discarding message");
        Verdict::OK
    }
}
