//! What is written to the queue directory: new messages, and items that are done with.
//!
//! Both go in the same batches, so that one thread a worker is at the directory and one hand-over serves all
//! that has gathered; with a thread for each, they and those of the other workers wait for one another.
//! Within a batch files are removed first: the messages' sync of the directory then covers that, too, which
//! sets those files free to be written again.

use std::sync::Arc;

use haraka_shared::limits::{COMMIT_BATCH, COMMIT_BATCH_BYTES};
use haraka_shared::spool::{Committed, NewMessage, QueueName, Spool, SpoolError};

use super::batch::{Batches, ThreadLost};
use super::ledger::Book;

/// The writes of one worker.
pub(super) struct Writes(Batches<Write, Written>);

#[allow(clippy::large_enum_variant)] // a box would be one more allocation a message
enum Write {
    Message(NewMessage),
    Removal(QueueName),
}

enum Written {
    Message(Result<Committed, SpoolError>),
    Removal(Result<(), SpoolError>),
}

/// A write counts for its octets, and for enough that no batch has too many.
const LEAST: u64 = COMMIT_BATCH_BYTES / COMMIT_BATCH;

impl Writes {
    pub(super) fn new(spool: Arc<Spool>, book: &Book) -> Writes {
        let weight = |write: &Write| match write {
            Write::Message(message) => message.body.len().max(LEAST),
            Write::Removal(_) => LEAST,
        };
        let commit = book.commits(Arc::clone(&spool));
        Writes(Batches::new(weight, COMMIT_BATCH_BYTES, move |batch| {
            carry_out(batch, |name| spool.remove(name), &commit)
        }))
    }

    /// Commits a message. `then` is called whether or not anybody waits, in the same turn of the loop for
    /// all of a batch.
    pub(super) fn commit(
        &self,
        message: NewMessage,
        then: impl FnOnce(Result<Result<Committed, SpoolError>, ThreadLost>) + 'static,
    ) {
        self.0.give(Write::Message(message), |done| {
            then(match done {
                Ok(Written::Message(done)) => Ok(done),
                Ok(Written::Removal(_)) | Err(ThreadLost) => Err(ThreadLost),
            });
        });
    }

    /// Removes an item; it is done even if the future is dropped.
    pub(super) async fn remove(
        &self,
        name: QueueName,
    ) -> Result<Result<(), SpoolError>, ThreadLost> {
        match self.0.run(Write::Removal(name)).await {
            Ok(Written::Removal(done)) => Ok(done),
            Ok(Written::Message(_)) | Err(ThreadLost) => Err(ThreadLost),
        }
    }

    /// Whether anything is being written or waits for it.
    pub(super) fn is_busy(&self) -> bool {
        self.0.is_busy()
    }
}

/// All removals, then one commit of all messages; the answers come in the order of the batch.
fn carry_out(
    batch: Vec<Write>,
    remove: impl Fn(&QueueName) -> Result<(), SpoolError>,
    commit: impl Fn(Vec<NewMessage>) -> Vec<Result<Committed, SpoolError>>,
) -> Vec<Written> {
    let mut messages = Vec::new();
    let removed: Vec<Option<Written>> = batch
        .into_iter()
        .map(|write| match write {
            Write::Removal(name) => Some(Written::Removal(remove(&name))),
            Write::Message(message) => {
                messages.push(message);
                None
            }
        })
        .collect();
    let committed = match messages.is_empty() {
        true => Vec::new(),
        false => commit(messages),
    };
    let mut committed = committed.into_iter();
    removed
        .into_iter()
        .map_while(|written| written.or_else(|| committed.next().map(Written::Message)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use haraka_shared::address::Address;
    use haraka_shared::spool::Body;

    use super::*;

    fn message(uuid: &str) -> Write {
        Write::Message(NewMessage {
            uuid: uuid.to_owned(),
            queue_time: 1,
            next_attempt: 1,
            mail_from: Address::null(),
            items: Vec::new(),
            notes: serde_json::Value::Null,
            extra: serde_json::Map::new(),
            body: Body::default(),
        })
    }

    fn removal(counter: u32) -> (Write, QueueName) {
        let name = format!("1_1_0_7_abcdef_{counter}_host");
        let name = QueueName::parse(&name).unwrap();
        (Write::Removal(name.clone()), name)
    }

    #[test]
    fn removals_come_before_the_one_commit_and_each_gets_its_own_answer() {
        let ((first, one), (second, two)) = (removal(1), removal(2));
        let batch = vec![message("a"), first, message("b"), second];
        let seen = RefCell::new(Vec::new());
        let answers = carry_out(
            batch,
            |name| {
                seen.borrow_mut().push(name.to_string());
                Ok(())
            },
            |messages| {
                let ids = messages.iter().map(|m| m.uuid.clone());
                seen.borrow_mut().extend(ids);
                let none = || Ok(Committed { items: Vec::new() });
                messages.iter().map(|_| none()).collect()
            },
        );
        assert_eq!(
            seen.into_inner(),
            [one.to_string(), two.to_string(), "a".into(), "b".into()]
        );
        let kinds: Vec<bool> = answers
            .iter()
            .map(|answer| matches!(answer, Written::Message(Ok(_))))
            .collect();
        assert_eq!(kinds, [true, false, true, false]);
    }

    #[test]
    fn nothing_is_committed_where_nothing_came() {
        let (write, _) = removal(1);
        let answers = carry_out(vec![write], |_| Ok(()), |_| unreachable!("no message"));
        assert_eq!(answers.len(), 1);
    }
}
