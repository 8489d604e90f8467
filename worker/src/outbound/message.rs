//! What one conversation delivers: an envelope and the message, which may live in memory or on disk.

use std::cell::OnceCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::address::Address;
use haraka_shared::body::Body;
use haraka_shared::dsn::Requests;
use haraka_shared::limits::BODY_CHUNK;

use super::declared::{Declared, Look};
use super::ledger::AtStake;
use crate::rt;

/// Who gets a message from whom.
pub struct Envelope<'a> {
    /// Whose log lines the conversation appears under.
    pub uuid: Rc<str>,
    /// The sender; null for bounces.
    pub sender: &'a Address,
    /// The recipients; results come in the same order.
    pub recipients: &'a [Address],
    /// Which reports the sender asked for; passed on where DSN is offered.
    pub requests: Option<Requests<'a>>,
    /// The client said SMTPUTF8, so a header beyond ASCII is meant to be UTF-8 (RFC 6531 §3.4).
    pub smtputf8: bool,
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
    pub at_stake: Option<&'a AtStake>,
}

/// A message in the form that it is stored in: dot-stuffed, without the final dot.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(super) head: Arc<[u8]>,
    pub(super) body: Body,
    pub(super) checked: bool,
    declared: OnceCell<Declared>,
    eight_bit_header: OnceCell<bool>,
}

impl Outgoing {
    /// A message that this server received and holds in wire form throughout: `head` goes before
    /// `body`, nothing is looked at.
    pub fn received(head: impl Into<Arc<[u8]>>, body: Body) -> Outgoing {
        Outgoing {
            head: head.into(),
            body,
            checked: true,
            declared: OnceCell::new(),
            eight_bit_header: OnceCell::new(),
        }
    }

    /// A message from a queue file that anyone may have written. Line ends and lone dots are put
    /// right while it is sent, so that it cannot end early.
    pub fn stored(body: Body) -> Outgoing {
        Outgoing {
            head: Arc::default(),
            body,
            checked: false,
            declared: OnceCell::new(),
            eight_bit_header: OnceCell::new(),
        }
    }

    /// The header with the empty line, if it is apart, and everything else.
    pub(super) fn parts(&self) -> (&[u8], &Body) {
        (&self.head, &self.body)
    }

    /// Octets as it is stored: at least its size.
    pub fn octets(&self) -> u64 {
        self.head.len() as u64 + self.body.len()
    }

    /// Octets of the message, without dots that were doubled for the wire (RFC 1870 §5).
    ///
    /// # Errors
    /// The disk's.
    pub(super) async fn size(&self) -> io::Result<u64> {
        let declared = self.declared().await?;
        Ok(self.octets().saturating_sub(declared.stuffed))
    }

    /// Whether there is an octet over 127, so that BODY=8BITMIME must be declared (RFC 6152 §3).
    ///
    /// # Errors
    /// The disk's.
    pub(super) async fn is_eight_bit(&self) -> io::Result<bool> {
        Ok(self.declared().await?.eight_bit)
    }

    /// Looked for once; what is on disk is read on another thread.
    async fn declared(&self) -> io::Result<Declared> {
        if let Some(known) = self.declared.get() {
            return Ok(*known);
        }
        let mut look = Look::default();
        look.feed(&self.head);
        let found = if self.body.on_disk() {
            read_through(self.body.clone(), look).await?
        } else {
            self.body.slices().for_each(|slice| look.feed(slice));
            look.found()
        };
        Ok(*self.declared.get_or_init(|| found))
    }

    /// The same of the header alone, the part before the first empty line.
    ///
    /// # Errors
    /// The disk's.
    pub(super) async fn is_header_eight_bit(&self) -> io::Result<bool> {
        if let Some(known) = self.eight_bit_header.get() {
            return Ok(*known);
        }
        let mut scan = HeaderScan::default();
        let mut found = scan.feed(&self.head);
        if found.is_none() && self.body.on_disk() {
            found = Some(read_header(self.body.clone(), scan).await?);
        } else {
            let mut slices = self.body.slices();
            while found.is_none()
                && let Some(slice) = slices.next()
            {
                found = scan.feed(slice);
            }
        }
        let found = found.unwrap_or(false);
        Ok(*self.eight_bit_header.get_or_init(|| found))
    }
}

/// Looks through a header, in pieces, for an octet over 127.
struct HeaderScan {
    /// The line has no octet yet but perhaps a CR.
    empty_line: bool,
}

impl Default for HeaderScan {
    fn default() -> Self {
        HeaderScan { empty_line: true }
    }
}

impl HeaderScan {
    /// Whether there is one, as soon as that is known.
    fn feed(&mut self, piece: &[u8]) -> Option<bool> {
        for octet in piece {
            match octet {
                b'\n' if self.empty_line => return Some(false),
                b'\n' => self.empty_line = true,
                b'\r' => {}
                128.. => return Some(true),
                _ => self.empty_line = false,
            }
        }
        None
    }
}

async fn read_header(body: Body, mut scan: HeaderScan) -> io::Result<bool> {
    rt::offload(move || {
        let mut piece = vec![0; BODY_CHUNK];
        let mut at = 0;
        while at < body.len() {
            let read = body.read_at(at, &mut piece)?;
            if let Some(found) = scan.feed(piece.get(..read).unwrap_or_default()) {
                return Ok(found);
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += read as u64;
        }
        Ok(false)
    })
    .await
    .map_err(io::Error::other)?
}

async fn read_through(body: Body, mut look: Look) -> io::Result<Declared> {
    rt::offload(move || {
        let mut piece = vec![0; BODY_CHUNK];
        let mut at = 0;
        while at < body.len() {
            let read = body.read_at(at, &mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            look.feed(piece.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(look.found())
    })
    .await
    .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_ends_at_the_first_empty_line_wherever_pieces_are_cut() {
        for (text, found) in [
            ("A: b\r\n\r\nü", Some(false)),
            ("A: ü\r\n\r\nb", Some(true)),
            ("A: b\r\nC: ü", Some(true)),
            ("\r\nü", Some(false)),
            ("A: b\n\nü", Some(false)),
            ("A: b\r\n", None),
        ] {
            for cut in 0..=text.len() {
                let (a, b) = text.as_bytes().split_at(cut);
                let mut scan = HeaderScan::default();
                let told = scan.feed(a).or_else(|| scan.feed(b));
                assert_eq!(told, found, "{text:?} cut at {cut}");
            }
        }
    }
}
