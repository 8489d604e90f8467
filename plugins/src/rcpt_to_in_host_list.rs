//! Accepts recipients in a local domain, and any recipient of a local sender who may relay.

use haraka_shared::config::Live;
use haraka_shared::hook::{HookName, Hooks, Path, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

use crate::rcpt_to_host_list_base::{FILES, HostList};

/// See `docs/plugins/rcpt_to.in_host_list.md` (PI3-02).
pub struct InHostList {
    hosts: Live<HostList>,
}

impl Plugin for InHostList {
    const NAME: &'static str = "rcpt_to.in_host_list";
    const HOOKS: &'static [Wants] = &[Wants::hook(HookName::Mail), Wants::hook(HookName::Rcpt)];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(InHostList {
            hosts: env.live(Self::NAME, &FILES, |config, _| HostList::load(config))?,
        })
    }
}

impl Hooks for InHostList {
    async fn mail(&self, cx: &HookCx, from: &Path) -> Verdict {
        self.hosts.get().check_sender(cx, from)
    }

    async fn rcpt(&self, cx: &HookCx, to: &Path) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        let results = &transaction.results;
        let domain = to.address.host();
        if domain.is_empty() {
            results.add(&cx.plugin, "fail", "rcpt!domain");
            return Verdict::CONT;
        }
        log_plugin!(
            Level::Debug,
            cx,
            "Checking if {} host is in host_list",
            to.address
        );
        if self.hosts.get().contains(domain) {
            results.add(&cx.plugin, "pass", "rcpt_to");
            return Verdict::OK;
        }
        if connection.relaying() && transaction.notes.truthy("local_sender") {
            results.add(&cx.plugin, "pass", "relaying local_sender");
            return Verdict::OK;
        }
        // Another plugin may yet vouch for this recipient.
        results.add(&cx.plugin, "msg", "rcpt!local");
        Verdict::CONT
    }
}
