//! Taking a message into the queue: the headers that outbound mail gets, one item for each
//! destination, and a commit before anybody is told 250.

use std::rc::Rc;

use haraka_shared::body::Body;
use haraka_shared::config::Config;
use haraka_shared::connection::Connection;
use haraka_shared::date;
use haraka_shared::header::Header;
use haraka_shared::hook::{Call, HookName};
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded, QueueError};
use haraka_shared::spool::Recipient;
use haraka_shared::transaction::Transaction;
use serde_json::{Map, Value};

use super::Outbound;
use super::asked::Asked;
use super::item::Stored;
use super::ledger::AtStake;
use super::message::{Envelope, Outgoing};
use super::smtputf8;
use super::submit::{Submission, too_late};
use crate::hooks::Subject;
use crate::worker::Worker;

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
        if txn.storing.is_given_up() {
            return Err(too_late(&txn.uuid));
        }
        match self.submit(worker, submission, Some(txn.keeping())).await {
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
        let at_stake = AtStake::of_transaction(txn);
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
            at_stake: Some(&at_stake),
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
