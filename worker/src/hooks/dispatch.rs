//! Running the chain of one hook, with Haraka's rules (PA-01, PA-02, HOK-31 to HOK-38).
//!
//! Ask each plugin in turn; stop at the first answer other than CONT unless the hook's policy says
//! that all run; put a denial to the `deny` hook first. A plugin that takes too long is a soft denial,
//! one that panics is logged and skipped.

use std::rc::Rc;

use haraka_shared::connection::Connection;
use haraka_shared::delivery::Delivery;
use haraka_shared::hook::{Call, Code, Denial, HookName, Message, Path, Verdict};
use haraka_shared::log::{self, Level};
use haraka_shared::plugin::HookCx;
use haraka_shared::services::Services;
use haraka_shared::transaction::Stored;

use super::overtime;
use super::registry::{Entry, Registry};
use crate::rt;

/// Whom a hook is about, and what its plugins may use.
pub struct Subject<'a> {
    /// The client's connection.
    pub connection: Option<&'a Connection>,
    /// The queue item.
    pub delivery: Option<&'a Delivery>,
    /// The worker's services.
    pub services: &'a Rc<dyn Services>,
}

impl Subject<'_> {
    fn gone(&self) -> bool {
        self.connection.is_some_and(|c| c.remote.borrow().closed)
    }

    fn skips(&self, plugin: &str) -> bool {
        self.connection
            .and_then(Connection::transaction)
            .is_some_and(|t| t.skips(plugin))
    }

    /// Writes a line about whom the hook is about.
    pub(crate) fn log(
        &self,
        level: Level,
        fields: &[(&str, log::Value<'_>)],
        message: std::fmt::Arguments<'_>,
    ) {
        if !log::enabled(level) {
            return;
        }
        match (self.connection, self.delivery) {
            (Some(c), _) => log::emit(level, &c.log_id(), "core", fields, message),
            (None, Some(d)) => log::emit(level, &d.uuid, "outbound", fields, message),
            (None, None) => log::emit(level, &"-", "plugins", fields, message),
        }
    }
}

impl Registry {
    /// Runs a hook and gives the chain's verdict. Costs nothing when no plugin wants the hook.
    pub async fn run(&self, call: Call<'_>, subject: &Subject<'_>) -> Verdict {
        if !self.wants(call.hook()) {
            return Verdict::CONT;
        }
        Box::pin(self.run_chain(call, subject)).await
    }

    async fn run_chain(&self, call: Call<'_>, subject: &Subject<'_>) -> Verdict {
        let hook = call.hook();
        let policy = hook.policy();
        let mut last = Verdict::CONT;
        let late = self.late(hook);
        let chain = self.chain(hook).iter().chain(late.iter().map(|e| &**e));
        let last_at = chain.clone().count();
        for (at, entry) in chain.enumerate() {
            if subject.gone() && !policy.required {
                subject.log(
                    Level::Debug,
                    &[],
                    format_args!("aborting {} hook", policy.name),
                );
                return Verdict::CONT;
            }
            if subject.skips(&entry.plugin) {
                subject.log(
                    Level::Debug,
                    &[],
                    format_args!(
                        "skipping {}_{} by request in notes",
                        entry.plugin, policy.name
                    ),
                );
                continue;
            }
            let rewritten = rewritten(call, subject);
            let call = rewritten.as_ref().map_or(call, Rewritten::call);
            let verdict = ask(entry, call, subject).await;
            if policy.runs_all {
                continue;
            }
            if verdict.code == Code::Cont {
                // The text given with CONT is dropped, but for the last plugin's (PA-01).
                if at + 1 == last_at {
                    last = verdict;
                }
                continue;
            }
            if verdict.code.denies() && policy.deniable {
                let denial = Denial {
                    verdict: verdict.clone(),
                    plugin: Rc::clone(&entry.plugin),
                    method: Rc::clone(&entry.method),
                    call,
                };
                if let Some(message) = self.overturned(&denial, subject).await {
                    if at + 1 == last_at {
                        last = Verdict {
                            code: Code::Cont,
                            message,
                        };
                    }
                    continue;
                }
            }
            return verdict;
        }
        last
    }

    /// Asks the `deny` hook; OK cancels the denial and the other plugins of the hook go on (PA-02).
    /// Gives what was said with that OK, which counts as the last plugin's text if there is none.
    async fn overturned(&self, denial: &Denial<'_>, subject: &Subject<'_>) -> Option<Message> {
        let late = self.late(HookName::Deny);
        let chain = self.chain(HookName::Deny).iter();
        for entry in chain.chain(late.iter().map(|e| &**e)) {
            if subject.skips(&entry.plugin) {
                continue;
            }
            let verdict = ask(entry, Call::Deny(denial), subject).await;
            if verdict.code == Code::Ok {
                subject.log(
                    Level::Info,
                    &[],
                    format_args!("deny(soft?) overridden by deny hook"),
                );
                return Some(verdict.message);
            }
            if verdict.code != Code::Cont {
                return None;
            }
        }
        None
    }
}

/// The address that a hook is about, as an earlier plugin of the chain has left it.
enum Rewritten {
    Sender(Rc<Path>),
    Recipient(Box<Path>),
}

impl Rewritten {
    fn call(&self) -> Call<'_> {
        match self {
            Rewritten::Sender(path) => Call::Mail(path),
            Rewritten::Recipient(path) => Call::Rcpt(path),
        }
    }
}

fn rewritten(call: Call<'_>, subject: &Subject<'_>) -> Option<Rewritten> {
    match call {
        Call::Mail(_) => Some(Rewritten::Sender(
            subject.connection?.transaction()?.mail_from(),
        )),
        Call::Rcpt(_) => {
            let asked = subject.connection?.transaction()?.asked.borrow().clone();
            asked.map(Rewritten::Recipient)
        }
        _ => None,
    }
}

async fn ask(entry: &Entry, call: Call<'_>, subject: &Subject<'_>) -> Verdict {
    let hook = call.hook().name();
    subject.log(
        Level::Debug,
        &[],
        format_args!("running {hook} hook in {} plugin", entry.plugin),
    );
    let cx = HookCx {
        plugin: Rc::clone(&entry.plugin),
        connection: subject.connection.cloned(),
        delivery: subject.delivery.cloned(),
        services: Rc::clone(subject.services),
    };
    // Inside the guard from the first step: a method need not be an `async fn`.
    let answer = rt::catch(async { entry.handler.call(call, &cx).await });
    let message = overtime::message(call.hook(), subject);
    let answer = match (entry.time_limit, message) {
        (Some(limit), Some(txn)) => {
            let message = overtime::Message { txn: &txn, limit };
            Box::pin(message.answer(answer, subject, &entry.plugin)).await
        }
        (Some(limit), None) => {
            let answer = rt::timeout(limit, answer).await;
            answer.map_err(|_| Stored::No)
        }
        (None, _) => Ok(answer.await),
    };
    let verdict = match answer {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(panic)) => {
            subject.log(
                Level::Crit,
                &[],
                format_args!("Plugin {} failed on hook {hook}: {panic}", entry.plugin),
            );
            Verdict::CONT
        }
        Err(stored) => {
            subject.log(
                Level::Crit,
                &[],
                format_args!(
                    "Plugin {} timed out on hook {hook} - make sure it calls the callback",
                    entry.plugin
                ),
            );
            overtime::verdict(stored, &entry.plugin, subject)
        }
    };
    report(entry, call, &verdict, subject);
    verdict
}

/// Each answer at DEBUG, each one other than CONT at INFO (HOK-38).
fn report(entry: &Entry, call: Call<'_>, verdict: &Verdict, subject: &Subject<'_>) {
    let level = if verdict.code == Code::Cont {
        Level::Debug
    } else {
        Level::Info
    };
    if !log::enabled(level) {
        return;
    }
    let text = verdict.message.text().unwrap_or_default();
    subject.log(
        level,
        &[
            ("hook", call.hook().name().into()),
            ("plugin", log::Value::Text(&entry.plugin)),
            ("function", log::Value::Text(&entry.method)),
            ("params", log::Value::Text(&call.shown())),
            ("retval", verdict.code.name().into()),
            ("msg", log::Value::Text(&text)),
        ],
        format_args!(""),
    );
}
