//! Taking a message into the queue: the headers that outbound mail gets, one item for each
//! destination, and a commit before anybody is told 250.

use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::config::Config;
use haraka_shared::connection::Connection;
use haraka_shared::date;
use haraka_shared::header::Header;
use haraka_shared::hook::{Call, HookName};
use haraka_shared::ledger::Outcome;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded, QueueError};
use haraka_shared::spool::{Body as StoredBody, BodyPiece, NewItem, NewMessage, Recipient, Todo};
use haraka_shared::transaction::Transaction;
use serde_json::{Map, Value};

use super::Outbound;
use super::asked::Asked;
use super::item::{Loaded, Stored};
use super::message::{Envelope, Outgoing};
use super::schedule::Job;
use super::smtputf8;
use crate::hooks::Subject;
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
    /// Queues a relayed transaction (OUT-01); on disk when it resolves.
    pub(crate) async fn enqueue(
        &self,
        worker: &Rc<Worker>,
        txn: &Transaction,
    ) -> Result<(), QueueError> {
        complete_header(&mut txn.header.borrow_mut(), &txn.uuid, &worker.settings());
        if worker.hooks.wants(HookName::PreSendTransEmail) {
            let services = worker.services();
            let connection = Connection::carrying(txn);
            let in_script = txn.notes.is_live() || txn.results.is_live();
            let subject = Subject {
                connection: Some(&connection),
                delivery: None,
                services: &services,
            };
            worker
                .hooks
                .run(Call::PreSendTransEmail(()), &subject)
                .await;
            if !in_script {
                // Only scripts of this hook have seen it, and they forget it with the connection.
                txn.notes.take_back();
                txn.results.take_back();
            }
            connection.part();
        }
        let mut notes = txn.notes.to_json();
        if let Value::Object(map) = &mut notes {
            // Plugins of both programs expect the list to be there (PB-67).
            map.entry("skip_plugins")
                .or_insert_with(|| Value::Array(Vec::new()));
        }
        let mut extra = Map::new();
        let asked = Asked::of_transaction(txn, worker.settings().connection.dsn);
        if let Some(asked) = &asked {
            asked.message.store(&mut extra);
        }
        if smtputf8::of_transaction(txn) {
            smtputf8::store(&mut extra);
        }
        let submission = Submission {
            uuid: txn.uuid.clone(),
            mail_from: txn.sender(),
            rcpt_to: recipients(txn, asked.as_ref()),
            extra,
            notes,
            message: message(&txn.header.borrow(), txn.body.borrow().clone()),
        };
        match self.submit(worker, submission).await {
            Ok(()) => {
                txn.results.add("outbound", "pass", "queued");
                Ok(())
            }
            Err(e) => {
                txn.results.add("outbound", "err", e.to_string());
                Err(e)
            }
        }
    }

    /// Hands a transaction's message to another host at once (queue/smtp_forward).
    pub(crate) async fn forward(
        &self,
        dns: &dyn Dns,
        route: Route,
        txn: &Transaction,
        one_per_recipient: bool,
    ) -> Result<Forwarded, ForwardError> {
        let recipients = txn.recipients();
        let asked = Asked::of_transaction(txn, true);
        let sender = txn.sender();
        let envelope = Envelope {
            uuid: txn.uuid.as_str().into(),
            sender: &sender,
            recipients: &recipients,
            requests: asked.as_ref().map(Asked::requests),
            smtputf8: smtputf8::of_transaction(txn),
            all_or_none: true,
            domain: "",
            force_tls: false,
            must_log_in: true,
            at_stake: None,
        };
        let Stored { header, body } = message(&txn.header.borrow(), txn.body.borrow().clone());
        let outgoing = Outgoing::received(header, body);
        let mail = &self.mail;
        let routing = mail.routing();
        let courier = &mail.courier;
        let forward = courier.forward(
            dns,
            &routing,
            route,
            &envelope,
            &outgoing,
            one_per_recipient,
        );
        Box::pin(forward).await
    }

    /// Stores a message and hands its items to the scheduler.
    pub(super) async fn submit(
        &self,
        worker: &Rc<Worker>,
        new: Submission,
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
        let orders = self.orders.get();
        let committed = match self.commits.run(stored).await {
            Ok(Ok(committed)) => committed,
            Ok(Err(e)) if e.is_full() => return Err(QueueError::Full(e.to_string())),
            Ok(Err(e)) => return Err(QueueError::Local(e.to_string())),
            Err(e) => return Err(QueueError::Local(e.to_string())),
        };
        let accepted = committed.items.len() as u64;
        for (index, (name, item)) in committed.items.into_iter().zip(items).enumerate() {
            self.tally(&item.domain, Outcome::Accepted, item.rcpt_to.len());
            let mut todo = Todo::default();
            todo.queue_time = now;
            todo.domain = item.domain;
            todo.rcpt_to = item.rcpt_to;
            todo.mail_from = new.mail_from.clone();
            todo.notes = new.notes.clone();
            todo.extra = new.extra.clone();
            todo.uuid = format!("{}.{}", new.uuid, index + 1);
            let Stored { header, body } = new.message.clone();
            let loaded = self.keep_fresh(
                Loaded::accepted(todo, Outgoing::received(header, body)),
                orders,
            );
            self.schedule.borrow_mut().due_now(Job::new(name, loaded));
        }
        self.book.scheduled(accepted);
        self.wake.notify();
        Ok(())
    }
}

/// The stored form: header, empty line, body.
pub(super) fn message(header: &Header, body: Body) -> Stored {
    let mut block = Vec::with_capacity(header.as_bytes().len() + 2);
    block.extend_from_slice(header.as_bytes());
    block.extend_from_slice(b"\r\n");
    Stored {
        header: block.into(),
        body,
    }
}

/// What outbound mail must have (OUT-03, PA-49).
pub(super) fn complete_header(header: &mut Header, uuid: &str, config: &Config) {
    let id = header.get("message-id").map(<[u8]>::to_vec);
    if id.as_deref().is_none_or(|id| id == b"<>") {
        header.remove("Message-Id");
        header.add_end("Message-Id", &format!("<{uuid}@{}>", config.me));
    }
    if header.get("date").is_none() {
        header.add_end("Date", &date::rfc2822_now());
    }
    if let Some(text) = &config.outbound.received_header {
        header.add("Received", &format!("({text}); {}", date::rfc2822_now()));
    }
}

/// The recipients with what was asked for each.
fn recipients(txn: &Transaction, asked: Option<&Asked>) -> Vec<Recipient> {
    let mut recipients: Vec<Recipient> = txn.recipients().into_iter().map(Into::into).collect();
    if let Some(asked) = asked {
        for (recipient, request) in recipients.iter_mut().zip(&asked.recipients) {
            request.store(&mut recipient.extra);
        }
    }
    recipients
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
