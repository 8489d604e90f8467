//! The one type that stands for every byte stream: TCP or Unix, in the clear or under TLS.
//!
//! TLS begins in place, right after the connection or on a stream that was in the clear so far;
//! whoever reads and writes need not know. `tls.rs` holds the records.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use super::net::{TcpStream, UnixStream};
use super::socket::nonzero;
use super::tls::{HandshakeError, Records};

/// A byte stream. Reading and writing work as on a [`super::Socket`].
#[derive(Debug)]
pub struct Stream {
    plain: Plain,
    records: Option<Box<Records>>,
}

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream {
            plain: Plain::Tcp(stream),
            records: None,
        }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Stream {
        Stream {
            plain: Plain::Unix(stream),
            records: None,
        }
    }
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Plain::Tcp($stream) => $call,
            Plain::Unix($stream) => $call,
        }
    };
}

impl Plain {
    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, s => s.try_read(buf))
    }

    pub(super) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.try_write_vectored(bufs))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_readable(cx))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_writable(cx))
    }
}

impl Stream {
    /// Begins TLS and completes the handshake. What was read before in the clear and not looked at
    /// must be dropped by the caller (RFC 3207 §4.2, §6). There is no time limit of its own: wrap
    /// it in [`super::timeout`].
    ///
    /// # Errors
    /// The stream is of no more use after one; an alert has been sent where TLS wants that.
    pub fn start_tls(
        &mut self,
        session: rustls::Connection,
    ) -> impl Future<Output = Result<(), HandshakeError>> {
        self.start_tls_from(Vec::new(), session)
    }

    /// The same for a stream from which the first octets of TLS have been read already.
    ///
    /// # Errors
    /// As those of [`start_tls`](Stream::start_tls).
    pub fn start_tls_from(
        &mut self,
        first: Vec<u8>,
        session: rustls::Connection,
    ) -> impl Future<Output = Result<(), HandshakeError>> {
        // Two kilobytes that every future around this one would carry.
        let records = Box::new(Records::new(session));
        async move {
            // What follows the last words of the handshake would else wait for the peer to
            // acknowledge them: 40 ms before the banner of a port where TLS comes first.
            self.set_nodelay(true)?;
            let plain = &self.plain;
            records.take_in(&first, plain)?;
            drop(first);
            loop {
                poll_fn(|cx| poll_flush(plain, &records, cx)).await?;
                if !records.is_handshaking() {
                    break;
                }
                poll_fn(|cx| plain.poll_readable(cx)).await?;
                records.shake(plain)?;
            }
            self.records = Some(records);
            Ok(())
        }
    }

    /// What `look` finds in the TLS session; `None` while the stream is in the clear.
    pub fn with_tls<T>(&self, look: impl FnOnce(&rustls::Connection) -> T) -> Option<T> {
        self.records.as_ref().map(|records| records.look(look))
    }

    /// See [`super::Socket::poll_readable`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.records {
            Some(records) if records.has_plaintext() => Poll::Ready(Ok(())),
            _ => self.plain.poll_readable(cx),
        }
    }

    /// See [`super::Socket::poll_read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx))?;
            match self.try_read(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// See [`super::Socket::try_read`].
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.records {
            None => self.plain.try_read(buf),
            Some(records) => records.try_read(&self.plain, buf),
        }
    }

    /// See [`super::Socket::try_write`]. Under TLS, what was taken may still wait to be sent: only
    /// [`write_all`](Stream::write_all) sees to that.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(buf)])
    }

    /// As [`try_write`](Stream::try_write), from several pieces with one call.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.records {
            None => self.plain.try_write_vectored(bufs),
            Some(records) => records.try_write(&self.plain, bufs),
        }
    }

    /// See [`super::Socket::readable`].
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// See [`super::Socket::writable`].
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.plain.poll_writable(cx)).await
    }

    /// See [`super::Socket::peer_closed`].
    pub async fn peer_closed(&self) -> io::Result<()> {
        either!(&self.plain, s => s.peer_closed().await)
    }

    /// See [`super::Socket::is_peer_closed`].
    pub fn is_peer_closed(&self) -> bool {
        either!(&self.plain, s => s.is_peer_closed())
    }

    /// See [`super::Socket::read`].
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// See [`super::Socket::write_all`].
    pub async fn write_all(&self, buf: &[u8]) -> io::Result<()> {
        self.write_vectored_all(&mut [IoSlice::new(buf)]).await
    }

    /// See [`super::Socket::write_vectored_all`].
    pub async fn write_vectored_all(&self, mut bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Skips empty pieces, which would otherwise look like a write that made no progress.
        IoSlice::advance_slices(&mut bufs, 0);
        while !bufs.is_empty() {
            let written = poll_fn(|cx| self.poll_write_vectored(cx, bufs)).await?;
            IoSlice::advance_slices(&mut bufs, nonzero(written)?);
        }
        match &self.records {
            None => Ok(()),
            Some(records) => poll_fn(|cx| poll_flush(&self.plain, records, cx)).await,
        }
    }

    fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.plain.poll_writable(cx))?;
            match self.try_write_vectored(bufs) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Closes one or both directions; under TLS, tells the peer first (RFC 8446 §6.1).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let (Some(records), Shutdown::Write | Shutdown::Both) = (&self.records, how) {
            records.close(&self.plain);
        }
        either!(&self.plain, s => s.shutdown(how))
    }

    /// The peer's address; `None` on a Unix socket.
    pub fn peer_addr(&self) -> io::Result<Option<SocketAddr>> {
        match &self.plain {
            Plain::Tcp(s) => s.peer_addr().map(Some),
            Plain::Unix(_) => Ok(None),
        }
    }

    /// Our own address; `None` on a Unix socket.
    pub fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match &self.plain {
            Plain::Tcp(s) => s.local_addr().map(Some),
            Plain::Unix(_) => Ok(None),
        }
    }

    /// See [`TcpStream::set_nodelay`]; nothing to do on a Unix socket.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.plain {
            Plain::Tcp(s) => s.set_nodelay(nodelay),
            Plain::Unix(_) => Ok(()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(&self.plain, s => s.as_fd())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(records) = &self.records {
            records.close(&self.plain);
        }
    }
}

/// Sends the records that wait.
fn poll_flush(plain: &Plain, records: &Records, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while records.has_unsent() {
        ready!(plain.poll_writable(cx))?;
        match records.try_flush(plain) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
    Poll::Ready(Ok(()))
}
