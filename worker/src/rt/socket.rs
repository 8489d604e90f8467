//! A connected stream socket: reads and writes that wait for readiness without wasted calls.
//!
//! A write is tried first and waits only if it would block. A read is tried only when an event
//! announced it; one that fills less than its buffer also tells that the socket is empty, which
//! saves the read that would only say so. One task may wait for reading and one for writing at a
//! time; a second one takes the first one's place.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use super::reactor::{Direction, Registration};

/// A non-blocking stream socket of kind `S`; see [`super::TcpStream`] and [`super::UnixStream`].
///
/// It stays on the thread that made it. Closing it (dropping) takes it out of the kernel's set of
/// watched descriptors without a call of its own.
#[derive(Debug)]
pub struct Socket<S: AsRawFd> {
    pub(super) io: S,
    pub(super) registration: Registration,
    /// Another process may hold the same open file, so closing ours does not end the watching.
    shared: bool,
}

impl<S: AsRawFd> Socket<S> {
    /// A fresh, connected socket: writing is tried before any event.
    pub(super) fn connected(io: S) -> io::Result<Socket<S>> {
        Socket::new(io, true, false)
    }

    /// A socket whose connection is under way.
    pub(super) fn connecting(io: S) -> io::Result<Socket<S>> {
        Socket::new(io, false, false)
    }

    /// A socket that came from elsewhere.
    pub(super) fn adopted(io: S) -> io::Result<Socket<S>> {
        Socket::new(io, true, true)
    }

    /// Waits until there is something to read, the peer has closed, or the socket failed.
    /// A hint: the read that follows may still find nothing.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// The poll behind [`readable`](Socket::readable).
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(Direction::Read, cx)
    }

    /// Waits until a write may be tried.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// The poll behind [`writable`](Socket::writable).
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(Direction::Write, cx)
    }

    /// Waits until the peer will send no more, without reading what it sent before. It may still
    /// want to be answered. Takes the place of a reader while it waits.
    pub async fn peer_closed(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_ready(Direction::PeerClosed, cx)).await
    }

    /// Whether the peer is known to send no more; never asks the kernel.
    pub fn is_peer_closed(&self) -> bool {
        self.registration.peer_closed()
    }

    fn new(io: S, writable: bool, shared: bool) -> io::Result<Socket<S>> {
        Ok(Socket {
            io,
            registration: Registration::new(writable)?,
            shared,
        })
    }

    fn poll_ready(&self, what: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.registration.poll_ready(self.io.as_raw_fd(), what, cx)
    }

    /// Runs `op` if it can succeed, and learns from its outcome. `offered` is how many bytes `op`
    /// would move at most.
    fn attempt(
        &self,
        what: Direction,
        offered: usize,
        mut op: impl FnMut(&S) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.registration.may_try(what) {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            match op(&self.io) {
                // Zero bytes read is the end of the stream, which stays ready.
                Ok(moved) => {
                    if moved > 0 && moved < offered {
                        self.registration.clear_after_short(what);
                    }
                    return Ok(moved);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    if e.kind() == ErrorKind::WouldBlock {
                        self.registration.clear(what);
                    }
                    return Err(e);
                }
            }
        }
    }
}

impl<S> Socket<S>
where
    S: AsRawFd,
    for<'a> &'a S: Read + Write,
{
    /// Reads what is there. `WouldBlock` if nothing is (mostly known without asking the kernel),
    /// `Ok(0)` at the end of the stream.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.attempt(Direction::Read, buf.len(), |mut io| io.read(buf))
    }

    /// Writes as much as the kernel takes, `WouldBlock` if that is nothing.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.attempt(Direction::Write, buf.len(), |mut io| io.write(buf))
    }

    /// As [`try_write`](Socket::try_write), from several pieces with one call.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = bufs.iter().map(|b| b.len()).sum();
        self.attempt(Direction::Write, offered, |mut io| io.write_vectored(bufs))
    }

    /// Reads once there is something; `Ok(0)` at the end of the stream.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(Direction::Read, cx))?;
            match self.try_read(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Writes once the kernel takes something.
    pub fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(Direction::Write, cx))?;
            match self.try_write(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// As [`poll_write`](Socket::poll_write), from several pieces with one call.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(Direction::Write, cx))?;
            match self.try_write_vectored(bufs) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Waits for bytes and reads them; `Ok(0)` at the end of the stream. For an idle session
    /// prefer [`readable`](Socket::readable), a buffer from the pool, then
    /// [`try_read`](Socket::try_read).
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Writes all of `buf`.
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, buf)).await?;
            buf = buf.get(nonzero(written)?..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes all pieces in order; `bufs` is used up on the way.
    pub async fn write_vectored_all(&self, mut bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Skips empty pieces, which would otherwise look like a write that made no progress.
        IoSlice::advance_slices(&mut bufs, 0);
        while !bufs.is_empty() {
            let written = poll_fn(|cx| self.poll_write_vectored(cx, bufs)).await?;
            IoSlice::advance_slices(&mut bufs, nonzero(written)?);
        }
        Ok(())
    }
}

impl<S: AsRawFd + AsFd> AsFd for Socket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<S: AsRawFd> Drop for Socket<S> {
    fn drop(&mut self) {
        if self.shared {
            self.registration.deregister(self.io.as_raw_fd());
        }
    }
}

pub(super) fn nonzero(written: usize) -> io::Result<usize> {
    if written == 0 {
        return Err(ErrorKind::WriteZero.into());
    }
    Ok(written)
}
