//! Queue hooks whose time is up while the message is being stored, or after it was (H4): the client is
//! not told to send a message again that is in the queue, and one that it was told to send again does
//! not go there (ADR 0035). Must never store anything itself.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use haraka_shared::connection::Connection;
use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::limits::STORING_PATIENCE;
use haraka_shared::log::Level;
use haraka_shared::transaction::{Stored, Transaction};

use super::dispatch::Subject;
use crate::rt;

/// Time for a plugin to answer after what it waited for is stored.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The message that a queue hook is about; none for other hooks.
pub(super) fn message(hook: HookName, subject: &Subject<'_>) -> Option<Transaction> {
    match hook {
        HookName::Queue | HookName::QueueOutbound => {
            subject.connection.and_then(Connection::transaction)
        }
        _ => None,
    }
}

/// A message in the hands of a plugin.
pub(super) struct Message<'a> {
    pub(super) txn: &'a Transaction,
    /// Time that the plugin has.
    pub(super) limit: Duration,
}

impl Message<'_> {
    /// The plugin's answer. When its time is up while the message is being stored, the outcome of that
    /// is waited for, and a moment for the plugin to tell it.
    ///
    /// # Errors
    /// It has not answered: for whom the message is stored all the same.
    pub(super) async fn answer<T>(
        &self,
        answer: impl Future<Output = T>,
        subject: &Subject<'_>,
        plugin: &Rc<str>,
    ) -> Result<T, Stored> {
        let patience = Duration::from_secs(STORING_PATIENCE);
        self.within(patience, answer, subject, plugin).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = T>,
        subject: &Subject<'_>,
        plugin: &Rc<str>,
    ) -> Result<T, Stored> {
        let storing = &self.txn.storing;
        let mut answer = pin!(answer);
        if let Ok(said) = rt::timeout(self.limit, answer.as_mut()).await {
            return Ok(said);
        }
        storing.set_overdue();
        if !storing.is_under_way() {
            return Err(storing.stored());
        }
        subject.log(
            Level::Warn,
            &[],
            format_args!(
                "Plugin {plugin} has had its time while the message is being stored: waiting up to \
                 {} s for that",
                patience.as_secs()
            ),
        );
        let stored = std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(said) => Poll::Ready(Some(said)),
            Poll::Pending => storing.poll_ended(cx).map(|()| None),
        });
        match rt::timeout(patience, stored).await {
            Ok(Some(said)) => return Ok(said),
            Ok(None) => {}
            Err(rt::Elapsed) => return Err(storing.stored()),
        }
        match rt::timeout(LAST_WORDS, answer).await {
            Ok(said) => Ok(said),
            Err(rt::Elapsed) => Err(storing.stored()),
        }
    }
}

/// The verdict for a plugin that has not answered in its time.
pub(super) fn verdict(stored: Stored, plugin: &Rc<str>, subject: &Subject<'_>) -> Verdict {
    let log = |what| subject.log(Level::Warn, &[], format_args!("Plugin {plugin} {what}"));
    match stored {
        Stored::Whole => {
            log("had queued the message before its time was up: accepted");
            return Verdict::OK;
        }
        Stored::Partly => log(
            "had queued the message, but not for all its recipients, when its time was up: some may \
             get it twice",
        ),
        Stored::No => {}
    }
    Verdict::deny_soft("plugin timeout")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use haraka_shared::address::{Address, Limits};
    use haraka_shared::hook::Path;
    use haraka_shared::services::Services;

    use super::*;
    use crate::hooks::tests::script::NoServices;
    use crate::rt::Runtime;

    const LIMIT: Duration = Duration::from_millis(20);

    fn transaction() -> Transaction {
        let address = Address::null();
        let params = Vec::new();
        let txn = Transaction::new("A.1".to_owned(), Path { address, params });
        let to = Address::parse("<a@x.org>", Limits { postel: false }).unwrap();
        txn.push_recipient(to, Vec::new());
        txn.storing.answers_for(&txn.recipients());
        txn
    }

    /// The plugin begins to store the message, which takes `storing`, and answers only if told to.
    fn outcome(storing: Duration, patience: Duration, answers: bool) -> Result<(), Stored> {
        let services: Rc<dyn Services> = Rc::new(NoServices);
        let subject = Subject {
            connection: None,
            delivery: None,
            services: &services,
        };
        let txn = transaction();
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let keeping = txn.keeping();
            let done = Rc::new(Cell::new(false));
            let is_done = Rc::clone(&done);
            rt::spawn(async move {
                rt::sleep(storing).await;
                keeping.stored(&keeping.transaction().recipients());
                is_done.set(true);
            })
            .detach();
            let plugin = async {
                while !(answers && done.get()) {
                    rt::sleep(Duration::from_millis(1)).await;
                }
            };
            let message = Message {
                txn: &txn,
                limit: LIMIT,
            };
            message
                .within(patience, plugin, &subject, &"p".into())
                .await
        })
    }

    const LONG: Duration = Duration::from_secs(60);

    // covers H4
    #[test]
    fn plugin_whose_time_is_up_while_its_message_is_stored_is_waited_for() {
        assert_eq!(outcome(LIMIT * 5, LONG, true), Ok(()));
    }

    // covers H4
    #[test]
    fn message_that_is_stored_counts_whatever_becomes_of_its_plugin() {
        assert_eq!(outcome(LIMIT * 5, LONG, false), Err(Stored::Whole));
        assert_eq!(outcome(LIMIT / 5, LONG, false), Err(Stored::Whole));
    }

    // covers H4
    #[test]
    fn storing_that_takes_too_long_is_not_waited_for() {
        assert_eq!(outcome(LONG, LIMIT, true), Err(Stored::No));
    }
}
