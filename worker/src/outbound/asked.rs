//! Which reports a sender asked for (RFC 3461), as a transaction or a queue file has it.

use haraka_shared::dsn::{MessageRequest, RecipientRequest, Requests};
use haraka_shared::spool::Todo;
use haraka_shared::transaction::Transaction;

/// Requests of which at least one asks for something.
pub(super) struct Asked {
    pub(super) message: MessageRequest,
    /// In the order of the recipients.
    pub(super) recipients: Vec<RecipientRequest>,
}

impl Asked {
    /// From the parameters of MAIL and RCPT; those that cannot be understood, where they were let
    /// pass, ask for nothing. Nothing is asked where `offered` is false.
    pub(super) fn of_transaction(txn: &Transaction, offered: bool) -> Option<Asked> {
        let paths = txn.rcpt_to.borrow();
        let from = txn.mail_from();
        let given = !from.params.is_empty() || paths.iter().any(|p| !p.params.is_empty());
        if !offered || !given {
            return None;
        }
        let recipient = |params| RecipientRequest::from_params(params).unwrap_or_default();
        Asked {
            message: MessageRequest::from_params(&from.params).unwrap_or_default(),
            recipients: paths.iter().map(|p| recipient(&p.params)).collect(),
        }
        .if_any()
    }

    /// From a queue file.
    pub(super) fn of_item(todo: &Todo) -> Option<Asked> {
        if todo.extra.is_empty() && todo.rcpt_to.iter().all(|r| r.extra.is_empty()) {
            return None;
        }
        let recipients = todo.rcpt_to.iter();
        Asked {
            message: MessageRequest::of_item(&todo.extra),
            recipients: recipients
                .map(|r| RecipientRequest::of_recipient(&r.extra))
                .collect(),
        }
        .if_any()
    }

    fn if_any(self) -> Option<Asked> {
        let nothing = RecipientRequest::default();
        let any = self.message != MessageRequest::default()
            || self.recipients.iter().any(|r| *r != nothing);
        any.then_some(self)
    }

    pub(super) fn requests(&self) -> Requests<'_> {
        Requests {
            message: &self.message,
            recipients: &self.recipients,
        }
    }
}
