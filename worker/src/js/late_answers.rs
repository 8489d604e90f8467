//! Answers of queue hooks that come when nobody waits for them any more: a script that says OK then has
//! put the message somewhere, and the client was told to send it again (H4). Must never act on one.

use std::collections::VecDeque;
use std::rc::Rc;

use haraka_shared::hook::{Code, HookName};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::plugin::HookCx;

/// Calls that are remembered; the oldest are forgotten.
const MOST: usize = 1000;

/// A call of a queue hook.
pub(super) struct Queueing {
    plugin: Rc<str>,
    /// The transaction's.
    uuid: String,
}

impl Queueing {
    /// The call, if it is of such a hook.
    pub(super) fn of(hook: HookName, cx: &HookCx) -> Option<Queueing> {
        if !matches!(hook, HookName::Queue | HookName::QueueOutbound) {
            return None;
        }
        let uuid = cx.transaction()?.uuid.clone();
        let plugin = Rc::clone(&cx.plugin);
        Some(Queueing { plugin, uuid })
    }
}

/// Calls whose answers may still come.
#[derive(Default)]
pub(super) struct LateAnswers(VecDeque<(u32, Queueing)>);

impl LateAnswers {
    /// Nobody waits for the answer to this call any more.
    pub(super) fn expect(&mut self, call: u32, queueing: Queueing) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((call, queueing));
    }

    /// An answer has come to a call that nobody waits for.
    pub(super) fn comes(&mut self, call: u32, code: Code) {
        let Some(at) = self.0.iter().position(|(number, _)| *number == call) else {
            return;
        };
        let Some((_, Queueing { plugin, uuid })) = self.0.remove(at) else {
            return;
        };
        if code == Code::Ok {
            log_at!(
                Level::Warn,
                &uuid,
                "core",
                [],
                "Plugin {plugin} has queued the message after its time was up: the client may send it \
                 again"
            );
        }
    }
}
