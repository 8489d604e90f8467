//! The client's byte stream: lines in, replies out, deadlines, and nothing about SMTP's meaning.
//!
//! Waits for readiness first and borrows a buffer second, so that a silent client owns none. Replies
//! are gathered while more commands are buffered (RFC 2920 §3.2) and written when input runs dry.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use haraka_shared::config::ConnectionIni;
use haraka_shared::connection::Connection;
use haraka_shared::reply::Reply;

use crate::rt::{self, Buffer, Deadline, HandshakeError, Stream};
use crate::smtp::proto::command;
use crate::smtp::proto::line::{self, LineError, Split};
use crate::smtp::sessions::{Full, Ticket};

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
    /// The client does not read what we write.
    Deaf,
    /// The connection broke with this error.
    Broken(std::io::Error),
    /// A plugin ended the session.
    Dismissed,
    /// Not lost: a plugin asks for something while the client is silent.
    Asked,
}

/// How long a command line may be, with its line end.
#[derive(Clone, Copy)]
pub(crate) struct Longest {
    /// Any line.
    pub(crate) line: usize,
    /// MAIL and RCPT, which extensions make longer (RFC 3461 §5.1).
    pub(crate) envelope: usize,
    /// The command AUTH (RFC 4954 §4).
    pub(crate) auth: usize,
}

/// Octets that the parameters of RFC 3461 add to RCPT at most (§5.1).
const DSN_LENGTH: usize = 500;

/// Octets of the command AUTH and of a response in its exchange at most, with CRLF (RFC 4954 §4).
const AUTH_LENGTH: usize = 12_288 + 2;

impl Longest {
    /// As it is configured; `challenged` if the next line is a response in an AUTH exchange.
    pub(crate) fn by(config: &ConnectionIni, challenged: bool) -> Longest {
        let line = config.max_line_length;
        let more = if config.dsn { DSN_LENGTH } else { 0 };
        let auth = line.max(AUTH_LENGTH);
        Longest {
            line: if challenged { auth } else { line },
            envelope: line + more,
            auth,
        }
    }

    fn of(self, input: &[u8]) -> usize {
        if command::is_envelope(input) {
            self.envelope
        } else if command::is_auth(input) {
            self.auth
        } else {
            self.line
        }
    }
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
    /// A part of a line that is waited for, in place of a whole buffer.
    kept: Vec<u8>,
    output: Vec<u8>,
    deadline: Deadline,
    idle: Duration,
    /// Nothing goes on after this, whatever the client sends.
    session_end: Option<Instant>,
    /// The client sends what nobody will read.
    unread: bool,
    /// A plugin ended the session: nothing is read or written any more.
    dismissed: bool,
    /// Who may ask for something while a command is waited for.
    asking: Option<Connection>,
    /// A handshake failed: nothing can be read or said any more.
    broken: bool,
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
            kept: Vec::new(),
            output: Vec::new(),
            deadline: Deadline::at(now + idle),
            idle,
            session_end: session.map(|time| now + time),
            unread: false,
            dismissed: false,
            asking: None,
            broken: false,
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

    /// Takes in what the client has sent so far, without waiting; whether there is something.
    pub(crate) fn look(&mut self) -> bool {
        if self.start == self.end {
            let mut input = Buffer::take();
            // An end or an error is met again by whoever waits for input.
            if let Ok(got @ 1..) = self.stream.try_read(&mut input) {
                self.end = got;
                self.input = Some(input);
            }
        }
        self.start < self.end
    }

    /// Whether the client has sent something that nobody has looked at yet; wakes when it does.
    pub(crate) fn spoke(&self, cx: &mut Context<'_>) -> bool {
        self.start < self.end
            || (matches!(self.stream.poll_readable(cx), Poll::Ready(Ok(())))
                && !self.stream.is_peer_closed())
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
    /// `command_time` counts from the first byte of the line.
    pub(crate) async fn next_line(
        &mut self,
        longest: Longest,
        command_time: Option<Duration>,
        line: &mut Vec<u8>,
    ) -> Result<(), Lost> {
        let mut command_end = None;
        loop {
            if self.dismissed {
                return Err(Lost::Dismissed);
            }
            let longest = longest.of(self.buffered());
            match line::split(self.buffered(), self.scanned, longest) {
                Split::Line { end, consumed } => {
                    line.clear();
                    let bytes = self.buffered().get(..end).unwrap_or_default();
                    line.extend_from_slice(bytes);
                    self.consume(consumed);
                    return Ok(());
                }
                Split::Error(e) => return Err(self.no_line(e)),
                Split::Incomplete { scanned } => self.scanned = scanned,
            }
            if command_end.is_none() && self.start < self.end {
                command_end = command_time.map(|time| rt::now() + time);
            }
            self.fill(command_end).await?;
        }
    }

    /// Reads more bytes behind the buffered ones.
    pub(crate) async fn fill(&mut self, limit: Option<Instant>) -> Result<(), Lost> {
        if self.dismissed {
            return Err(Lost::Dismissed);
        }
        self.flush().await?;
        if self.broken {
            return Err(Lost::Gone);
        }
        let until = [limit, self.session_end].into_iter().flatten().min();
        loop {
            let now = rt::now();
            // A client that always has more to send would never let the deadline have its say.
            if until.is_some_and(|until| until <= now) {
                return Err(Lost::TooSlow);
            }
            let idle_end = now + self.idle;
            self.deadline
                .reset_at(until.map_or(idle_end, |until| idle_end.min(until)));
            self.put_by();
            let ready = self
                .readable(until.is_none_or(|until| idle_end <= until))
                .await;
            self.take_up();
            ready?;
            let room = match self
                .input
                .get_or_insert_with(Buffer::take)
                .get_mut(self.end..)
            {
                Some(room) if !room.is_empty() => room,
                _ => return Err(self.no_line(LineError::TooLong)),
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

    /// Before a wait: a part of a line must not hold a whole buffer while the client dawdles.
    fn put_by(&mut self) {
        if let Some(input) = self.input.take() {
            self.kept
                .extend_from_slice(input.get(self.start..self.end).unwrap_or_default());
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// After the wait: the part stands at the beginning of a buffer.
    fn take_up(&mut self) {
        if self.end == 0 {
            return;
        }
        let mut input = Buffer::take();
        if let Some(place) = input.get_mut(..self.end) {
            place.copy_from_slice(&self.kept);
        }
        self.kept = Vec::new();
        self.input = Some(input);
    }

    /// The session is about to end while the client goes on sending.
    pub(crate) fn leave_unread(&mut self) {
        self.unread = true;
    }

    fn no_line(&mut self, why: LineError) -> Lost {
        self.unread = true;
        Lost::Line(why)
    }

    /// Resolves when the client sent something, closed, or must not be waited for any longer.
    async fn readable(&mut self, idle_first: bool) -> Result<(), Lost> {
        std::future::poll_fn(|cx| {
            if self.ticket.told_to_leave(cx) {
                return Poll::Ready(Err(Lost::Stopping));
            }
            if let Some(asking) = &self.asking
                && asking.asks.poll_waiting(cx)
            {
                return Poll::Ready(Err(Lost::Asked));
            }
            if let Poll::Ready(ready) = self.stream.poll_readable(cx) {
                return Poll::Ready(ready.map_err(Lost::Broken));
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

    /// Lets whoever waits for a command return with [`Lost::Asked`] when plugins ask for something.
    pub(crate) fn heed(&mut self, asking: Option<Connection>) {
        self.asking = asking;
    }

    /// Nothing is read or written any more.
    pub(crate) fn dismiss(&mut self) {
        self.dismissed = true;
        self.unread = true;
    }

    /// Lets the worker's drain wait for this session instead of ending it, or again not.
    pub(crate) fn busy(&self, busy: bool) {
        self.ticket.busy(busy);
    }

    /// Counts the session for this client instead of the proxy that it came through.
    pub(crate) fn belongs_to(&mut self, ip: IpAddr) -> Result<(), Full> {
        self.ticket.belongs_to(ip)
    }

    /// Adds a reply to what is to be written, with the tag of refusals; gives its bytes.
    pub(crate) fn say(&mut self, reply: &Reply, tag: Option<&str>) -> &[u8] {
        let before = self.output.len();
        reply.write_tagged(tag, &mut self.output);
        self.output.get(before..).unwrap_or_default()
    }

    /// Whether a handshake failed, after which nothing can be read or said.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Drops what came in the clear and was not looked at (RFC 3207 §4.2).
    pub(crate) fn forget_input(&mut self) {
        self.input = None;
        self.start = 0;
        self.end = 0;
        self.scanned = 0;
        self.kept = Vec::new();
    }

    /// Writes what was gathered, then begins TLS; unconsumed bytes are the beginning of it. After a
    /// failure the stream is [broken](Wire::is_broken).
    pub(crate) async fn start_tls(
        &mut self,
        session: rustls::Connection,
        within: Duration,
    ) -> Result<Result<(), HandshakeError>, Lost> {
        self.flush().await?;
        let first = self.buffered().to_vec();
        self.forget_input();
        let end = rt::now() + within;
        self.deadline
            .reset_at(self.session_end.map_or(end, |limit| limit.min(end)));
        let Wire {
            stream,
            ticket,
            deadline,
            ..
        } = self;
        let mut shaking = Box::pin(stream.start_tls_from(first, session));
        let done = std::future::poll_fn(|cx| {
            if ticket.told_to_leave(cx) {
                return Poll::Ready(Err(Lost::Stopping));
            }
            if let Poll::Ready(done) = shaking.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            match Pin::new(&mut *deadline).poll(cx) {
                Poll::Ready(_) => Poll::Ready(Err(Lost::TooSlow)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        drop(shaking);
        if !matches!(done, Ok(Ok(()))) {
            self.broken = true;
            // An alert may be on its way to a client that goes on sending.
            self.unread = true;
        }
        done
    }

    /// What `look` finds in the TLS session; `None` while the stream is in the clear.
    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&rustls::Connection) -> T) -> Option<T> {
        self.stream.with_tls(look)
    }

    /// Writes what was gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), Lost> {
        if self.broken {
            self.output.clear();
        }
        if self.output.is_empty() {
            return Ok(());
        }
        if self.dismissed {
            self.output.clear();
            return Err(Lost::Dismissed);
        }
        let written = rt::timeout(self.idle, self.stream.write_all(&self.output)).await;
        self.output.clear();
        // A long EHLO reply must not stay allocated while the client is silent.
        self.output.shrink_to(128);
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Lost::Broken(e)),
            Err(rt::Elapsed) => Err(Lost::Deaf),
        }
    }

    /// Ends the stream. Closing a socket with unread input resets the connection, and the client may
    /// then lose the last reply (RFC 1122 §4.2.2.13): where more is to be expected, it is read first.
    pub(crate) async fn close(&mut self) {
        if !self.unread && self.start == self.end {
            return;
        }
        self.input = None;
        self.start = 0;
        self.end = 0;
        if self.stream.shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        self.deadline.reset_at(rt::now() + LINGER);
        let mut left = LINGER_BYTES;
        while left > 0 && self.readable(true).await.is_ok() {
            match self.stream.try_read(&mut Buffer::take()) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// How long, and for how many bytes, a client that is being sent away may go on sending.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;
