//! BDAT (RFC 3030): a message in counted pieces.
//!
//! Whatever is wrong, the octets that a readable command announces are read and never taken for
//! commands. The plugins see the same as with DATA: `data` before the first chunk, the rest after
//! the last.

use std::time::Instant;

use haraka_shared::hook::UnknownCommand;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::Transaction;

use super::message::{DataLines, Incoming, Received, count_octets, policy};
use super::{data, unrecognized};
use crate::rt;
use crate::smtp::proto::chunk::{Chunk, ChunkWriter, UNREADABLE};
use crate::smtp::session::{Outcome, Session};
use crate::smtp::wire::Lost;

/// A message of which chunks have come.
pub(crate) struct Chunks {
    incoming: Incoming,
    writer: ChunkWriter,
    lines: DataLines,
    /// When the whole message must have come.
    until: Option<Instant>,
    /// Our Received field, as of the first chunk.
    received: Option<String>,
}

/// The answer to what cannot stand between chunks.
pub(super) const IN_PROGRESS: Reply = Reply::fixed(503, "Send BDAT or RSET first");

pub(super) async fn bdat(s: &mut Session, argument: &str) -> Outcome {
    if !s.config.connection.chunking {
        return unrecognized(s, UnknownCommand::new("BDAT", argument)).await;
    }
    let Some(chunk) = Chunk::parse(argument) else {
        s.conn.count_error();
        s.wire.leave_unread();
        return Outcome::SayClose(UNREADABLE);
    };
    match take(s, chunk).await {
        Ok(outcome) => outcome,
        Err(lost) => Outcome::Lost(lost),
    }
}

async fn take(s: &mut Session, chunk: Chunk) -> Result<Outcome, Lost> {
    if !s.conn.esmtp.get() {
        s.conn.count_error();
        skip(s, chunk.octets).await?;
        return Ok(Outcome::Say(Reply::new(503, "Use EHLO before BDAT")));
    }
    let txn = match data::ready(s) {
        Ok(txn) => txn,
        Err(refusal) => {
            skip(s, chunk.octets).await?;
            return Ok(Outcome::Say(refusal));
        }
    };
    let chunks = match s.chunks.take() {
        Some(chunks) => chunks,
        None => {
            if let Some(denied) = data::asked(s).await {
                if denied.close {
                    s.wire.leave_unread();
                } else {
                    skip(s, chunk.octets).await?;
                }
                return Ok(denied.and_reset());
            }
            Box::new(begin(s, &txn))
        }
    };
    append(s, &txn, chunks, chunk).await
}

fn begin(s: &Session, txn: &Transaction) -> Chunks {
    let config = &s.config.connection;
    Chunks {
        incoming: Incoming::new(config, txn),
        writer: ChunkWriter::new(policy(config)),
        lines: DataLines::default(),
        until: s.data_time().map(|time| rt::now() + time),
        received: data::received(s, txn),
    }
}

async fn append(
    s: &mut Session,
    txn: &Transaction,
    mut chunks: Box<Chunks>,
    chunk: Chunk,
) -> Result<Outcome, Lost> {
    let Chunks {
        incoming,
        writer,
        lines,
        until,
        ..
    } = &mut *chunks;
    let mut left = chunk.octets;
    while left > 0 {
        let taken = next(s, left, *until).await?;
        let piece = s.wire.buffered().get(..taken).unwrap_or_default();
        writer.push(piece, &mut |octets| incoming.push(octets));
        lines.log(&s.conn, piece);
        left -= taken as u64;
        s.wire.consume(taken);
        incoming.relieve(false).await;
    }
    count_octets(s, txn, chunk.octets);
    if chunk.last {
        writer.finish(&mut |octets| incoming.push(octets));
        incoming.end();
        incoming.relieve(true).await;
    }
    // A message that cannot be taken is refused at once; the chunks still to come have no
    // transaction then.
    match incoming.objection(s, writer.violation()) {
        None => {}
        Some(Received::Unusable(reply)) => return Ok(data::unusable(s, txn, reply)),
        Some(_) => return Ok(data::too_big(s).await),
    }
    if !chunk.last {
        s.chunks = Some(chunks);
        let octets = chunk.octets;
        return Ok(Outcome::Say(Reply::new(
            250,
            format!("{octets} octets received"),
        )));
    }
    let Chunks {
        incoming, received, ..
    } = *chunks;
    match incoming.finish(s, txn) {
        Received::Unusable(reply) => Ok(data::unusable(s, txn, reply)),
        _ => Ok(data::complete(s, txn, received).await),
    }
}

/// Reads the octets of a chunk that nobody wants.
async fn skip(s: &mut Session, octets: u64) -> Result<(), Lost> {
    let until = s.data_time().map(|time| rt::now() + time);
    let mut left = octets;
    while left > 0 {
        let taken = next(s, left, until).await?;
        left -= taken as u64;
        s.wire.consume(taken);
    }
    Ok(())
}

/// How many of these octets have come; waits until it is one at least.
async fn next(s: &mut Session, left: u64, until: Option<Instant>) -> Result<usize, Lost> {
    if s.wire.buffered().is_empty() {
        s.wire.fill(until).await?;
    }
    let most = usize::try_from(left).unwrap_or(usize::MAX);
    Ok(s.wire.buffered().len().min(most))
}
