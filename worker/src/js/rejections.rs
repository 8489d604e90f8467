//! Promises that were rejected and that nobody has handled by the end of the turn.
//!
//! Keeps texts and addresses only, never script values: those must not outlive their runtime.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};

use rquickjs::{Ctx, Value};

use super::convert::describe_value;
use super::host::Host;

/// Rejections kept for one turn; a script that makes more says nothing new with them.
const MOST: usize = 100;

/// Those of the running turn.
#[derive(Default)]
pub(super) struct Rejections(RefCell<Vec<(u64, String)>>);

impl Rejections {
    /// Told by the engine: rejected without a handler, or that a handler came later.
    pub(super) fn note(
        &self,
        _ctx: &Ctx<'_>,
        promise: &Value<'_>,
        reason: Value<'_>,
        handled: bool,
    ) {
        let mut waiting = self.0.borrow_mut();
        let address = address(promise);
        if handled {
            waiting.retain(|(known, _)| *known != address);
        } else if waiting.len() < MOST {
            waiting.push((address, describe_value(reason)));
        }
    }

    /// Logs those that are left; to be called when no job is running.
    pub(super) fn report(&self, host: &Host) {
        for (_, text) in self.0.take() {
            host.log_failure(&format!("unhandled promise rejection: {text}"));
        }
    }
}

/// Tells promises apart while they live.
fn address(promise: &Value<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    promise.hash(&mut hasher);
    hasher.finish()
}
