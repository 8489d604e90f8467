//! Methods that plugins want at a hook since they were loaded: these run behind all others, in the order
//! in which they were registered, as in Haraka.
//!
//! A chain that is running goes on with what it began with.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{Handler, HookName};

use super::registry::Entry;

/// Methods that are kept; a plugin that registers at each connection must not fill the memory.
const MOST: usize = 1000;

/// Why a method cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooLate {
    /// There are as many as may be.
    #[error("there are {MOST} methods already that were registered late")]
    Many,
    /// Whether lines are shown to plugins is decided at the start.
    #[error("whether log lines are shown to plugins is decided when they are loaded")]
    Log,
}

/// Methods by hook.
#[derive(Default)]
pub(crate) struct LateHooks {
    chains: RefCell<Vec<(HookName, Rc<Entry>)>>,
}

impl LateHooks {
    /// Adds a method; `time_limit` is that of its plugin.
    pub(crate) fn add(
        &self,
        hook: HookName,
        plugin: &str,
        method: &str,
        time_limit: Option<Duration>,
        handler: Rc<dyn Handler>,
    ) -> Result<(), TooLate> {
        let mut chains = self.chains.borrow_mut();
        if hook == HookName::Log {
            return Err(TooLate::Log);
        }
        if chains.len() >= MOST {
            return Err(TooLate::Many);
        }
        let entry = Entry {
            plugin: Rc::from(plugin),
            method: Rc::from(method),
            priority: 0,
            time_limit,
            handler,
        };
        chains.push((hook, Rc::new(entry)));
        Ok(())
    }

    /// Forgets them all: they hold what they belong to.
    pub(crate) fn clear(&self) {
        self.chains.take();
    }

    /// Those of one hook.
    pub(super) fn of(&self, hook: HookName) -> Vec<Rc<Entry>> {
        let chains = self.chains.borrow();
        let of_hook = chains.iter().filter(|(at, _)| *at == hook);
        of_hook.map(|(_, entry)| Rc::clone(entry)).collect()
    }

    /// Whether there is any of this hook.
    pub(super) fn has(&self, hook: HookName) -> bool {
        self.chains.borrow().iter().any(|(at, _)| *at == hook)
    }
}

#[cfg(test)]
mod tests {
    use haraka_shared::hook::{Call, HookFuture, Verdict};
    use haraka_shared::plugin::HookCx;

    use super::*;

    struct Silent;

    impl Handler for Silent {
        fn call<'a>(&'a self, _call: Call<'a>, _cx: &'a HookCx) -> HookFuture<'a> {
            Box::pin(std::future::ready(Verdict::CONT))
        }
    }

    // covers HOK-31
    #[test]
    fn methods_stand_in_the_order_in_which_they_came_up_to_a_limit() {
        let late = LateHooks::default();
        let add = |hook, method: &str| late.add(hook, "p", method, None, Rc::new(Silent));
        for method in ["one", "two"] {
            add(HookName::Mail, method).unwrap();
        }
        add(HookName::Rcpt, "other").unwrap();
        let methods: Vec<_> = late
            .of(HookName::Mail)
            .iter()
            .map(|e| e.method.to_string())
            .collect();
        assert_eq!(methods, ["one", "two"]);
        assert!(late.has(HookName::Rcpt) && !late.has(HookName::Noop));
        assert_eq!(add(HookName::Log, "x"), Err(TooLate::Log));
        for _ in 4..MOST {
            add(HookName::Quit, "x").unwrap();
        }
        assert_eq!(add(HookName::Quit, "x"), Ok(()));
        assert_eq!(add(HookName::Quit, "x"), Err(TooLate::Many));
    }
}
