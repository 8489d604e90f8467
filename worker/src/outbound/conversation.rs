//! The dialogue of one message: envelope, data, replies (OUT-33 to OUT-40).

use std::io::{self, IoSlice};
use std::time::Duration;

use haraka_shared::body::Body;
use haraka_shared::limits::BODY_CHUNK;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::reply::Reply;

use super::attempt::{Attempt, Cause, Lost, RcptResult, Stage, Unusable};
use super::client::Client;
use super::exchange::{Book, Exchange, Facts, GoAhead, has_ascii_form};
use super::message::{Envelope, Outgoing};
use super::wire_form::WireForm;
use crate::rt;

impl Client {
    /// Offers a message; afterwards the connection can carry another one if it
    /// [`is_usable`](Client::is_usable).
    ///
    /// Recipients over the host's limit for one transaction are served in further ones.
    ///
    /// # Errors
    /// [`Unusable`] if nothing was decided about any recipient, so that another host may be asked
    /// at once.
    pub async fn send(
        &mut self,
        envelope: &Envelope<'_>,
        message: &Outgoing,
    ) -> Result<Attempt, Unusable> {
        self.used += 1;
        self.remote.set_uuid(envelope.uuid.clone());
        let host = self.peer.host.clone();
        let mut book = Book::new(envelope.recipients.len(), host.clone());
        let facts = match looked_at(envelope, message).await {
            Ok(facts) => facts,
            Err(e) => {
                // Where the disk does not give it, nobody gets it now.
                book.defer_open(&Unusable::from(Lost::Local(e)).cause(&host));
                return Ok(book.finish(self.peer.clone()));
            }
        };
        self.refuse_beforehand(envelope, facts, &mut book);
        let mut open = book.open();
        while !open.is_empty() {
            let served = self.transaction(envelope, message, facts, open.clone(), &mut book);
            match Box::pin(served).await {
                Ok(()) => {}
                Err(e) => {
                    self.gone = true;
                    let local = matches!(e, Unusable::Lost(Lost::Local(_)));
                    if !local && !book.any_delivered() && !book.open().is_empty() {
                        return Err(e);
                    }
                    book.defer_open(&e.cause(&host));
                }
            }
            let left = book.open();
            if self.gone || left.len() >= open.len() {
                book.defer_open(
                    &Cause::temporary(4, 2, "the connection served other recipients only")
                        .at(&host),
                );
                break;
            }
            open = left;
        }
        Ok(book.finish(self.peer.clone()))
    }

    /// What cannot succeed is not tried.
    fn refuse_beforehand(&self, envelope: &Envelope<'_>, facts: Facts, book: &mut Book) {
        let host = &self.peer.host;
        let every = 0..envelope.recipients.len();
        if let Some(limit) = self.extensions.refuses_size(facts.octets) {
            // RFC 1870 §6.1
            let text = format!(
                "message of {} octets is over the limit of {limit} of {host}",
                facts.octets
            );
            let cause = Cause::permanent(3, 4, text).at(host);
            every.for_each(|i| book.set(i, RcptResult::Failed(cause.clone())));
            return;
        }
        self.refuse_addresses(envelope, book);
        if facts.utf8_header && !self.extensions.smtp_utf8 {
            // RFC 6531 §3.2: neither transmitted nor converted, so returned.
            let text = format!("{host} does not offer SMTPUTF8, which the header needs");
            book.fail_open(&Cause::permanent(6, 9, text).at(host));
        }
        if facts.eight_bit && !self.extensions.eight_bit_mime && !book.open().is_empty() {
            // RFC 6152 §3 would have it converted or returned. Hosts take it all the same, and a
            // conversion breaks signatures.
            log_at!(
                Level::Notice,
                &envelope.uuid,
                "outbound",
                [],
                "{host} does not offer 8BITMIME and gets an 8-bit message"
            );
        }
    }

    /// RFC 6531 §3.6: no SMTPUTF8, no such address.
    fn refuse_addresses(&self, envelope: &Envelope<'_>, book: &mut Book) {
        if self.extensions.smtp_utf8 {
            return;
        }
        let host = &self.peer.host;
        let sender_ok = has_ascii_form(envelope.sender);
        for (i, address) in (0..).zip(envelope.recipients) {
            if !sender_ok || !has_ascii_form(address) {
                let whose = if sender_ok { address } else { envelope.sender };
                let text = format!("{host} does not offer SMTPUTF8, which {whose} needs");
                book.set(i, RcptResult::Failed(Cause::permanent(6, 7, text).at(host)));
            }
        }
    }

    /// One MAIL to final dot, for these recipients. Some may still be open afterwards.
    async fn transaction(
        &mut self,
        envelope: &Envelope<'_>,
        message: &Outgoing,
        facts: Facts,
        open: Vec<usize>,
        book: &mut Book,
    ) -> Result<(), Unusable> {
        let extensions = std::mem::take(&mut self.extensions);
        let mut exchange = Exchange::new(envelope, facts, &extensions, open, self.dirty);
        let talked = self.envelope(&mut exchange, book).await;
        (self.dirty, self.gone) = (exchange.dirty, self.gone || exchange.gone);
        let verdict = exchange.verdict();
        self.extensions = extensions;
        talked?;
        match verdict {
            GoAhead::Nothing => Ok(()),
            GoAhead::Unavailable(reply) => Err(Unusable::Unavailable(reply)),
            GoAhead::Nonsense(stage, reply) => Err(Lost::Unexpected(stage, reply).into()),
            GoAhead::LoneDot => {
                if self.target.route.lmtp {
                    // RFC 2033 §4.2 knows no such 354, and no reply to a dot for nobody.
                    self.gone = true;
                    return Ok(());
                }
                let lone = self.ask(".\r\n", Stage::Dot).await;
                // Every recipient has its result; a host that breaks here is only of no more use.
                (self.dirty, self.gone) = (false, self.gone || lone.is_err());
                Ok(())
            }
            GoAhead::Message(accepted) => {
                if let Some(at_stake) = envelope.at_stake {
                    at_stake.set();
                }
                self.message(message, &accepted, book).await
            }
        }
    }

    async fn envelope(&mut self, exchange: &mut Exchange<'_>, book: &mut Book) -> Result<(), Lost> {
        let mut lines = Vec::new();
        while exchange.gather(&mut lines) {
            let within = self.settings.timeouts.block;
            let stage = exchange.due().map_or(Stage::Mail, |s| s.stage());
            self.remote.command(&lines, stage, within).await?;
            lines.clear();
            while let Some(sent) = exchange.due() {
                let reply = self.reply(sent.stage()).await?;
                exchange.take(reply, book);
            }
        }
        Ok(())
    }

    async fn message(
        &mut self,
        message: &Outgoing,
        accepted: &[usize],
        book: &mut Book,
    ) -> Result<(), Unusable> {
        if let Err(lost) = self.data(message).await {
            return match self.early_reply(&lost).await {
                Some(reply) => {
                    self.gone = true;
                    accepted.iter().for_each(|i| book.settle(*i, reply.clone()));
                    Ok(())
                }
                None => Err(lost.into()),
            };
        }
        self.dirty = false;
        // LMTP answers once for each accepted recipient, in their order (RFC 2033 §4.2).
        let per_recipient = self.target.route.lmtp;
        let mut replies = accepted.chunks(if per_recipient {
            1
        } else {
            accepted.len().max(1)
        });
        while let Some(recipients) = replies.next() {
            match self.reply(Stage::Dot).await {
                Ok(reply) => {
                    for i in recipients {
                        match per_recipient {
                            true => book.settle_one(*i, reply.clone()),
                            false => book.settle(*i, reply.clone()),
                        }
                    }
                    self.gone |= reply.code() == 421;
                }
                Err(lost) => {
                    self.gone = true;
                    book.in_doubt = true;
                    let cause = Unusable::Lost(lost).cause(&self.peer.host);
                    for i in recipients.iter().chain(replies.by_ref().flatten()) {
                        book.set(*i, RcptResult::Deferred(cause.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    /// A host that closes in the middle of data has often said why.
    async fn early_reply(&mut self, lost: &Lost) -> Option<Reply> {
        if !matches!(lost, Lost::Broken(..)) {
            return None;
        }
        let reply = self.remote.reply(Stage::Block, EARLY_REPLY).await.ok()?;
        (reply.is_transient() || reply.is_permanent()).then_some(reply)
    }

    /// Sends the message and the final dot, in bounded pieces.
    async fn data(&mut self, message: &Outgoing) -> Result<(), Lost> {
        if message.body.on_disk() {
            return self.data_from_disk(message).await;
        }
        let mut form = WireForm::default();
        let mut tail: &[u8] = &[];
        let mut all = std::iter::once(&*message.head)
            .chain(message.body.slices())
            .filter(|p| !p.is_empty())
            .peekable();
        while all.peek().is_some() {
            let mut batch = Vec::with_capacity(PIECES + 1);
            for piece in all.by_ref().take(PIECES) {
                tail = piece;
                batch.push(if message.checked {
                    piece.into()
                } else {
                    form.piece(piece)
                });
            }
            let last = all.peek().is_none();
            let end = match (last, message.checked) {
                (false, _) => &[],
                (true, true) => WireForm::finish_known(tail),
                (true, false) => std::mem::take(&mut form).finish(),
            };
            let mut slices: Vec<_> = batch.iter().map(|p| IoSlice::new(p)).collect();
            slices.push(IoSlice::new(end));
            self.remote
                .data(&mut slices, self.settings.timeouts.block)
                .await?;
            if last {
                return Ok(());
            }
        }
        self.remote
            .data(&mut [IoSlice::new(b".\r\n")], self.settings.timeouts.block)
            .await
    }

    async fn data_from_disk(&mut self, message: &Outgoing) -> Result<(), Lost> {
        let within = self.settings.timeouts.block;
        let mut form = WireForm::default();
        let mut head = if message.checked {
            (&*message.head).into()
        } else {
            form.piece(&message.head)
        };
        let mut chunk = Vec::new();
        let mut at = 0;
        loop {
            let read = read_chunk(message.body.clone(), at, chunk)
                .await
                .map_err(Lost::Local)?;
            at += read.len() as u64;
            let last = at >= message.body.len();
            if read.is_empty() && !last {
                return Err(Lost::Local(io::ErrorKind::UnexpectedEof.into()));
            }
            let piece = if message.checked {
                (&*read).into()
            } else {
                form.piece(&read)
            };
            let end = match (last, message.checked) {
                (false, _) => &[],
                (true, true) => WireForm::finish_known(if read.is_empty() {
                    &message.head
                } else {
                    &read
                }),
                (true, false) => std::mem::take(&mut form).finish(),
            };
            let mut slices = [IoSlice::new(&head), IoSlice::new(&piece), IoSlice::new(end)];
            self.remote.data(&mut slices, within).await?;
            if last {
                return Ok(());
            }
            drop(piece);
            (head, chunk) = (Vec::new().into(), read);
        }
    }
}

/// What MAIL says of the message.
async fn looked_at(envelope: &Envelope<'_>, message: &Outgoing) -> io::Result<Facts> {
    let eight_bit = message.is_eight_bit().await?;
    Ok(Facts {
        octets: message.size().await?,
        eight_bit,
        utf8_header: eight_bit && envelope.smtputf8 && message.is_header_eight_bit().await?,
    })
}

/// Reads the next part of a body that lives on disk, into the memory of the part before.
async fn read_chunk(body: Body, at: u64, mut memory: Vec<u8>) -> io::Result<Vec<u8>> {
    rt::offload(move || {
        let left = usize::try_from(body.len().saturating_sub(at)).unwrap_or(usize::MAX);
        memory.resize(left.min(BODY_CHUNK), 0);
        let read = body.read_at(at, &mut memory)?;
        memory.truncate(read);
        Ok(memory)
    })
    .await
    .map_err(io::Error::other)?
}

/// Pieces of a body in one write: a megabyte at most, and the time limit counts anew for each.
const PIECES: usize = 16;
/// What a host said before it closed has arrived already, or never will.
const EARLY_REPLY: Duration = Duration::from_secs(1);
