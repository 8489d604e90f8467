//! What one conversation delivers: an envelope and the message, which may live in memory or on disk.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::dsn::Requests;

/// Who gets a message from whom.
pub struct Envelope<'a> {
    /// Whose log lines the conversation appears under.
    pub uuid: Rc<str>,
    /// The sender; null for bounces.
    pub sender: &'a Address,
    /// The recipients; results come in the same order.
    pub recipients: &'a [Address],
    /// The message holds octets over 127; declared with BODY=8BITMIME where that is offered.
    /// Unset or false: nothing is declared.
    pub eight_bit: bool,
    /// Which reports the sender asked for; passed on where DSN is offered.
    pub requests: Option<Requests<'a>>,
    /// One refused recipient refuses all; data is sent only when every one was accepted.
    pub all_or_none: bool,
    /// The destination, for lists of those with or without TLS; empty where only the host counts.
    pub domain: &'a str,
    /// TLS with a good certificate, or nothing (PB-09).
    pub force_tls: bool,
    /// A host that does not let us log in is of no use, where there are credentials for it.
    pub must_log_in: bool,
    /// Set before message data is sent: from then on giving up could mean that the host has the
    /// message and nobody here knows.
    pub at_stake: Option<&'a Cell<bool>>,
}

/// A message in the form that it is stored in: dot-stuffed, without the final dot.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(super) head: Arc<[u8]>,
    pub(super) body: Body,
    pub(super) checked: bool,
}

impl Outgoing {
    /// A message that this server received and holds in wire form throughout: `head` goes before
    /// `body`, nothing is looked at.
    pub fn received(head: impl Into<Arc<[u8]>>, body: Body) -> Outgoing {
        Outgoing {
            head: head.into(),
            body,
            checked: true,
        }
    }

    /// A message from a queue file that anyone may have written. Line ends and lone dots are put
    /// right while it is sent, so that it cannot end early.
    pub fn stored(body: Body) -> Outgoing {
        Outgoing {
            head: Arc::default(),
            body,
            checked: false,
        }
    }

    /// The header with the empty line, if it is apart, and everything else.
    pub(super) fn parts(&self) -> (&[u8], &Body) {
        (&self.head, &self.body)
    }

    /// Octets, for SIZE (RFC 1870 §3 allows the estimate to count stuffed dots).
    pub fn octets(&self) -> u64 {
        self.head.len() as u64 + self.body.len()
    }
}
