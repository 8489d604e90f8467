//! auth/auth_base: the plugin that every back end becomes (AUT-01 to AUT-11).

use haraka_shared::hook::{HookName, Hooks, Verdict};
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

use super::backend::Backend;

/// A back end as a plugin.
pub struct AuthPlugin<B> {
    backend: B,
}

impl<B: Backend> Plugin for AuthPlugin<B> {
    const NAME: &'static str = B::NAME;
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Capabilities),
        Wants::hook(HookName::UnrecognizedCommand),
        Wants::hook(HookName::Mail).called("constrain_sender"),
        Wants::hook(HookName::Disconnect),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(AuthPlugin {
            backend: B::new(env)?,
        })
    }

    fn wants(&self) -> Vec<Wants> {
        let constrains = self.backend.rules().constrain_sender;
        let mut wants = Self::HOOKS.to_vec();
        wants.retain(|w| w.hook != HookName::Mail || constrains);
        wants
    }
}

impl<B: Backend> Hooks for AuthPlugin<B> {
    async fn capabilities(&self, cx: &HookCx, _none: ()) -> Verdict {
        if let Some(connection) = &cx.connection {
            let offers = self.backend.offers(connection);
            if !offers.is_empty() {
                let names: Vec<&str> = offers.iter().map(|m| m.name()).collect();
                let line = format!("AUTH {}", names.join(" "));
                connection.capabilities.borrow_mut().push(line);
            }
        }
        Verdict::CONT
    }
}
