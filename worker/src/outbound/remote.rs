//! The byte stream to a remote host: commands out, replies in, a deadline on every wait.
//!
//! Knows nothing of what commands mean. Borrows a pooled buffer only when there is something to
//! read, so that an idle connection owns none. Every wait has an absolute end: a host that sends a
//! byte now and then does not hold a connection longer than a silent one.

use std::future::Future;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

use haraka_shared::log::{Level, enabled};
use haraka_shared::log_at;
use haraka_shared::reply::{Reply, ReplyParser};

use super::attempt::{Lost, Stage};
use crate::rt::{self, Buffer, HandshakeError, Stream};
use crate::smtp::proto::command::without_secrets;

/// The stream with what was read and not yet understood.
pub(crate) struct Remote {
    stream: Stream,
    parser: ReplyParser,
    input: Option<Buffer>,
    /// Unread octets are `input[start..end]`.
    start: usize,
    end: usize,
    /// Whose log lines the dialogue appears under.
    uuid: Rc<str>,
}

impl Remote {
    pub(crate) fn new(stream: Stream, uuid: Rc<str>) -> Remote {
        Remote {
            stream,
            parser: ReplyParser::new(),
            input: None,
            start: 0,
            end: 0,
            uuid,
        }
    }

    pub(crate) fn set_uuid(&mut self, uuid: Rc<str>) {
        self.uuid = uuid;
    }

    pub(crate) fn uuid(&self) -> &Rc<str> {
        &self.uuid
    }

    /// Whether octets have been read that belong to no reply so far.
    pub(crate) fn has_unread(&self) -> bool {
        self.end > self.start || self.parser.is_midway()
    }

    /// Begins TLS. Nothing may be unread; see [`has_unread`](Remote::has_unread).
    pub(crate) async fn start_tls(
        &mut self,
        session: rustls::Connection,
    ) -> Result<(), HandshakeError> {
        self.stream.start_tls(session).await
    }

    /// What `look` finds in the TLS session; none in the clear.
    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&rustls::Connection) -> T) -> Option<T> {
        self.stream.with_tls(look)
    }

    /// Writes a line that is not for the log.
    pub(crate) async fn secret(
        &mut self,
        line: &[u8],
        stage: Stage,
        within: Duration,
    ) -> Result<(), Lost> {
        log_at!(Level::Protocol, &self.uuid, "outbound", [], "C: [redacted]");
        in_time(
            rt::timeout(within, self.stream.write_all(line)).await,
            stage,
        )
    }

    /// Writes whole command lines.
    pub(crate) async fn command(
        &mut self,
        lines: &[u8],
        stage: Stage,
        within: Duration,
    ) -> Result<(), Lost> {
        if enabled(Level::Protocol) {
            for line in lines.split_inclusive(|b| *b == b'\n') {
                let line = without_secrets(line.trim_ascii_end());
                log_at!(Level::Protocol, &self.uuid, "outbound", [], "C: {line}");
            }
        }
        let written = rt::timeout(within, self.stream.write_all(lines)).await;
        in_time(written, stage)
    }

    /// Writes pieces of message data, in one system call where the system takes them.
    pub(crate) async fn data(
        &mut self,
        pieces: &mut [IoSlice<'_>],
        within: Duration,
    ) -> Result<(), Lost> {
        if enabled(Level::Data) {
            for line in pieces
                .iter()
                .flat_map(|p| p.split_inclusive(|b| *b == b'\n'))
            {
                let line = String::from_utf8_lossy(line);
                log_at!(Level::Data, &self.uuid, "outbound", [], "C: {line}");
            }
        }
        let written = rt::timeout(within, self.stream.write_vectored_all(pieces)).await;
        in_time(written, Stage::Block)
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self, stage: Stage, within: Duration) -> Result<Reply, Lost> {
        let deadline = rt::now() + within;
        loop {
            if let Some(reply) = self.buffered_reply(stage)? {
                if enabled(Level::Protocol) {
                    for line in String::from_utf8_lossy(&reply.to_wire()).lines() {
                        log_at!(Level::Protocol, &self.uuid, "outbound", [], "S: {line}");
                    }
                }
                return Ok(reply);
            }
            self.fill(stage, deadline).await?;
        }
    }

    fn buffered_reply(&mut self, stage: Stage) -> Result<Option<Reply>, Lost> {
        let unread = self
            .input
            .as_ref()
            .and_then(|b| b.get(self.start..self.end))
            .unwrap_or_default();
        let fed = self.parser.feed(unread).map_err(|e| Lost::Junk(stage, e))?;
        self.start += fed.consumed;
        if self.start >= self.end {
            (self.start, self.end, self.input) = (0, 0, None);
        }
        Ok(fed.reply)
    }

    /// Reads once; everything read before has been fed to the parser.
    async fn fill(&mut self, stage: Stage, deadline: Instant) -> Result<(), Lost> {
        loop {
            let left = deadline.saturating_duration_since(rt::now());
            match rt::timeout(left, self.stream.readable()).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(Lost::Broken(stage, e)),
                Err(rt::Elapsed) => return Err(Lost::Timeout(stage)),
            }
            let mut buffer = Buffer::take();
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(Lost::Closed(stage)),
                Ok(n) => {
                    (self.start, self.end, self.input) = (0, n, Some(buffer));
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(Lost::Broken(stage, e)),
            }
        }
    }

    /// Whether the host kept quiet and did not close since the last reply. What an idle host sends
    /// is a 421 before it closes, so whatever is there makes the connection useless.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.end > self.start || self.parser.is_midway() || self.stream.is_peer_closed() {
            return false;
        }
        let mut octet = [0; 1];
        matches!(self.stream.try_read(&mut octet), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

fn in_time(written: Result<io::Result<()>, rt::Elapsed>, stage: Stage) -> Result<(), Lost> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(Lost::Broken(stage, e)),
        Err(rt::Elapsed) => Err(Lost::Timeout(stage)),
    }
}

/// Runs a connection attempt within its time.
pub(crate) async fn connected<S: Into<Stream>>(
    within: Duration,
    attempt: impl Future<Output = io::Result<S>>,
) -> io::Result<Stream> {
    match rt::timeout(within, attempt).await {
        Ok(done) => done.map(Into::into),
        Err(rt::Elapsed) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "connection timed out",
        )),
    }
}
