//! The client's byte stream: lines in, replies out, deadlines, and nothing about SMTP's meaning.
//!
//! Waits for readiness first and borrows a buffer second, so that a silent client owns none. Replies
//! are gathered while more commands are buffered (RFC 2920 §3.2) and written when input runs dry.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use haraka_shared::reply::Reply;

use crate::rt::{self, Buffer, Deadline, Stream};
use crate::smtp::proto::line::{self, LineError, Split};
use crate::smtp::sessions::Ticket;

/// Why no further line or data comes.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The client closed or the connection broke.
    Gone,
    /// The client was silent for too long.
    Idle,
    /// The client took too long for one command, one message or the whole session.
    TooSlow,
    /// The server stops.
    Stopping,
    /// The line is no command line.
    Line(LineError),
    /// The connection broke with this error.
    Broken(std::io::Error),
}

/// The stream with its buffers.
pub(crate) struct Wire {
    stream: Stream,
    input: Option<Buffer>,
    /// Unconsumed bytes are `input[start..end]`.
    start: usize,
    end: usize,
    /// How far behind `start` no line end was found.
    scanned: usize,
    output: Vec<u8>,
    deadline: Deadline,
    idle: Duration,
    /// Nothing goes on after this, whatever the client sends.
    session_end: Option<Instant>,
    ticket: Ticket,
}

impl Wire {
    pub(crate) fn new(
        stream: Stream,
        idle: Duration,
        session: Option<Duration>,
        ticket: Ticket,
    ) -> Wire {
        let now = rt::now();
        Wire {
            stream,
            input: None,
            start: 0,
            end: 0,
            scanned: 0,
            output: Vec::new(),
            deadline: Deadline::at(now + idle),
            idle,
            session_end: session.map(|time| now + time),
            ticket,
        }
    }

    /// The unconsumed bytes.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.input
            .as_ref()
            .and_then(|b| b.get(self.start..self.end))
            .unwrap_or_default()
    }

    /// Whether the client has sent something that nobody has looked at yet.
    pub(crate) fn has_input(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.start < self.end || self.stream.poll_readable(&mut cx).is_ready()
    }

    /// Drops these many bytes from the front.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
        self.scanned = 0;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.input = None;
        }
    }

    /// The next command line, without its CRLF. Writes gathered replies before it waits.
    pub(crate) async fn next_line(
        &mut self,
        longest: usize,
        command_time: Option<Duration>,
        line: &mut Vec<u8>,
    ) -> Result<(), Lost> {
        let command_end = command_time.map(|time| rt::now() + time);
        loop {
            match line::split(self.buffered(), self.scanned, longest) {
                Split::Line { end, consumed } => {
                    line.clear();
                    let bytes = self.buffered().get(..end).unwrap_or_default();
                    line.extend_from_slice(bytes);
                    self.consume(consumed);
                    return Ok(());
                }
                Split::Error(e) => return Err(Lost::Line(e)),
                Split::Incomplete { scanned } => self.scanned = scanned,
            }
            self.fill(command_end).await?;
        }
    }

    /// Reads more bytes behind the buffered ones.
    pub(crate) async fn fill(&mut self, limit: Option<Instant>) -> Result<(), Lost> {
        self.flush().await?;
        let until = [limit, self.session_end].into_iter().flatten().min();
        loop {
            let idle_end = rt::now() + self.idle;
            self.deadline
                .reset_at(until.map_or(idle_end, |until| idle_end.min(until)));
            self.readable(until.is_none_or(|until| idle_end < until))
                .await?;
            let input = self.input.get_or_insert_with(Buffer::take);
            if self.start > 0 {
                input.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            let Some(room) = input.get_mut(self.end..) else {
                return Err(Lost::Gone);
            };
            let got = self.stream.try_read(room);
            match got {
                Ok(0) => return Err(Lost::Gone),
                Ok(n) => {
                    self.end += n;
                    return Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(Lost::Broken(e)),
            }
            if self.end == 0 {
                self.input = None;
            }
        }
    }

    /// Resolves when the client sent something, closed, or must not be waited for any longer.
    async fn readable(&mut self, idle_first: bool) -> Result<(), Lost> {
        std::future::poll_fn(|cx| {
            if self.ticket.told_to_leave(cx) {
                return Poll::Ready(Err(Lost::Stopping));
            }
            if self.stream.poll_readable(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if Pin::new(&mut self.deadline).poll(cx).is_ready() {
                let why = if idle_first {
                    Lost::Idle
                } else {
                    Lost::TooSlow
                };
                return Poll::Ready(Err(why));
            }
            Poll::Pending
        })
        .await
    }

    /// Lets the worker's drain wait for this session instead of ending it, or again not.
    pub(crate) fn busy(&self, busy: bool) {
        self.ticket.busy(busy);
    }

    /// Adds a reply to what is to be written, with the tag of refusals; gives its bytes.
    pub(crate) fn say(&mut self, reply: &Reply, tag: Option<&str>) -> &[u8] {
        let before = self.output.len();
        reply.write_tagged(tag, &mut self.output);
        self.output.get(before..).unwrap_or_default()
    }

    /// Writes what was gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), Lost> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = rt::timeout(self.idle, self.stream.write_all(&self.output)).await;
        self.output.clear();
        // A long EHLO reply must not stay allocated while the client is silent.
        self.output.shrink_to(128);
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Lost::Broken(e)),
            Err(rt::Elapsed) => Err(Lost::Gone),
        }
    }
}
