//! A plugin to copy: accepts mail for one recipient, the text of `config/skeleton`.

use haraka_shared::config::{ConfigDir, Live};
use haraka_shared::hook::{HookName, Hooks, Path, Verdict};
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

/// See `docs/plugins/skeleton.md`.
pub struct Skeleton(Live<Option<String>>);

impl Plugin for Skeleton {
    const NAME: &'static str = "skeleton";
    const HOOKS: &'static [Wants] = &[Wants::hook(HookName::Rcpt)];
    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let load = |config: &ConfigDir, _: &mut Vec<_>| Ok(config.value("skeleton")?);
        Ok(Skeleton(env.live(Self::NAME, &["skeleton"], load)?))
    }
}

impl Hooks for Skeleton {
    async fn rcpt(&self, _cx: &HookCx, to: &Path) -> Verdict {
        match &*self.0.get() {
            Some(wanted) if to.address.address().eq_ignore_ascii_case(wanted) => Verdict::OK,
            _ => Verdict::CONT,
        }
    }
}
