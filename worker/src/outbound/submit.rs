//! Storing a message and handing its items on, whether or not anybody still waits for that: what is
//! committed is in the schedule, or taken back where the client was told to send it again (ADR 0035).

use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::address::Address;
use haraka_shared::date;
use haraka_shared::ledger::{Out, Outcome};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::services::QueueError;
use haraka_shared::spool::{
    Body as StoredBody, BodyPiece, Committed, NewItem, NewMessage, QueueName, Recipient,
    SpoolError, Todo,
};
use haraka_shared::transaction::Keeping;
use serde_json::{Map, Value};

use super::Outbound;
use super::batch::ThreadLost;
use super::item::{Loaded, Stored};
use super::message::Outgoing;
use super::requeue::remove;
use super::schedule::Job;
use crate::rt;
use crate::rt::sync::oneshot;
use crate::worker::Worker;

/// A message to be queued.
pub(super) struct Submission {
    /// Transaction id.
    pub(super) uuid: String,
    pub(super) mail_from: Address,
    pub(super) rcpt_to: Vec<Recipient>,
    /// Further keys of the queue file.
    pub(super) extra: Map<String, Value>,
    pub(super) notes: Value,
    pub(super) message: Stored,
}

impl Outbound {
    /// Stores a message and hands its items to the scheduler. Dropping the future does not stop it.
    ///
    /// `keeping`: held by whoever has a client wait for it.
    pub(super) async fn submit(
        &self,
        worker: &Rc<Worker>,
        new: Submission,
        keeping: Option<Keeping>,
    ) -> Result<(), QueueError> {
        let now = date::epoch_ms();
        let items = split(&new.rcpt_to, worker.settings().outbound.always_split);
        for item in &items {
            log_at!(
                Level::Info,
                &new.uuid,
                "outbound",
                [],
                "Transaction delivery for domain: {}",
                item.domain
            );
        }
        let stored = NewMessage {
            uuid: new.uuid.clone(),
            queue_time: now,
            next_attempt: now,
            mail_from: new.mail_from.clone(),
            items: items.clone(),
            notes: new.notes.clone(),
            extra: new.extra.clone(),
            body: StoredBody {
                pieces: vec![
                    BodyPiece::Shared(Arc::clone(&new.message.header)),
                    BodyPiece::Whole(new.message.body.clone()),
                ],
            },
        };
        let given = Given {
            new,
            items,
            now,
            keeping,
            orders: self.orders.get(),
        };
        let (answer, answered) = oneshot::channel();
        let worker = Rc::clone(worker);
        self.writes.commit(stored, move |done| {
            // Nobody waits if the time of the plugin was up.
            let _ = answer.send(given.committed(&worker, done));
        });
        let ended = || QueueError::Local("the worker ends".to_owned());
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// A message on its way to the disk.
struct Given {
    new: Submission,
    items: Vec<NewItem>,
    now: u64,
    keeping: Option<Keeping>,
    /// Orders of operators before the commit: what is done to the item meanwhile is on disk only.
    orders: u64,
}

impl Given {
    /// In the turn of the loop in which the commit is known.
    fn committed(
        self,
        worker: &Rc<Worker>,
        done: Result<Result<Committed, SpoolError>, ThreadLost>,
    ) -> Result<(), QueueError> {
        let committed = match done {
            Ok(Ok(committed)) => committed,
            Ok(Err(e)) if e.is_full() => return Err(QueueError::Full(e.to_string())),
            Ok(Err(e)) => return Err(QueueError::Local(e.to_string())),
            Err(e) => return Err(QueueError::Local(e.to_string())),
        };
        let given_up = |k: &Keeping| k.transaction().storing.is_given_up();
        if self.keeping.as_ref().is_some_and(given_up) {
            take_back(worker, committed.items);
            return Err(too_late(&self.new.uuid));
        }
        if let Some(keeping) = &self.keeping {
            let recipients = self.items.iter().flat_map(|item| &item.rcpt_to);
            keeping.stored(recipients.map(|recipient| &recipient.address));
        }
        self.schedule(&worker.outbound, committed);
        Ok(())
    }

    fn schedule(self, out: &Outbound, committed: Committed) {
        let Given {
            new,
            items,
            now,
            orders,
            ..
        } = self;
        let accepted = committed.items.len() as u64;
        for (index, (name, item)) in committed.items.into_iter().zip(items).enumerate() {
            out.tally(&item.domain, Outcome::Accepted, item.rcpt_to.len());
            let mut todo = Todo::default();
            todo.queue_time = now;
            todo.domain = item.domain;
            todo.rcpt_to = item.rcpt_to;
            todo.mail_from = new.mail_from.clone();
            todo.notes = new.notes.clone();
            todo.extra = new.extra.clone();
            todo.uuid = format!("{}.{}", new.uuid, index + 1);
            let Stored { header, body } = new.message.clone();
            let loaded = out.keep_fresh(
                Loaded::accepted(todo, Outgoing::received(header, body)),
                orders,
            );
            out.schedule.borrow_mut().due_now(Job::new(name, loaded));
        }
        out.book.scheduled(accepted);
        out.wake.notify();
    }
}

/// The client is going to send it again.
pub(super) fn too_late(uuid: &str) -> QueueError {
    let why = "its plugin took too long, and the client was told to send it again";
    log_at!(Level::Warn, &uuid, "outbound", [], "not queued: {why}");
    QueueError::Local(why.to_owned())
}

/// Removes items that nobody has seen; they count as under way until then.
fn take_back(worker: &Rc<Worker>, items: Vec<QueueName>) {
    let out = &worker.outbound;
    out.in_flight.borrow_mut().extend(items.iter().cloned());
    out.book.scheduled(items.len() as u64);
    let worker = Rc::clone(worker);
    rt::spawn(async move {
        for name in items {
            remove(&worker, &name, Out::Discarded).await;
            worker.outbound.release(&name);
        }
    })
    .detach();
}

/// One item for each domain, or for each recipient (OUT-04), in the order in which they came.
fn split(recipients: &[Recipient], always: bool) -> Vec<NewItem> {
    let mut items: Vec<NewItem> = Vec::new();
    let mut by_domain = std::collections::HashMap::new();
    for recipient in recipients {
        let address = &recipient.address;
        let recipient = recipient.clone();
        let at = *by_domain.entry(address.host()).or_insert(items.len());
        match items.get_mut(at) {
            Some(item) if !always => item.rcpt_to.push(recipient),
            _ => items.push(NewItem {
                domain: address.host().to_owned(),
                rcpt_to: vec![recipient],
            }),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::address::Limits;

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter()
            .map(|a| Address::parse(a, Limits { postel: false }).unwrap())
            .collect()
    }

    // covers OUT-04
    #[test]
    fn recipients_of_one_domain_share_an_item_unless_always_split() {
        let rcpts = addresses(&["<a@x.org>", "<b@y.org>", "<c@X.org>"]);
        let rcpts: Vec<Recipient> = rcpts.into_iter().map(Into::into).collect();
        let shape = |items: Vec<NewItem>| -> Vec<(String, usize)> {
            items
                .into_iter()
                .map(|i| (i.domain, i.rcpt_to.len()))
                .collect()
        };
        assert_eq!(
            shape(split(&rcpts, false)),
            [("x.org".into(), 2), ("y.org".into(), 1)]
        );
        assert_eq!(split(&rcpts, true).len(), 3);
    }
}
