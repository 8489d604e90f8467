//! TCP and Unix streams: making them, and the one type that stands for both.
//!
//! Reading and writing live in `socket.rs`, accepting in `listener.rs`. Names are never resolved
//! here: callers bring addresses.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use super::reactor::Direction;
use super::socket::Socket;
use super::timer::sleep;

/// A TCP connection.
pub type TcpStream = Socket<mio::net::TcpStream>;

/// A Unix stream connection.
pub type UnixStream = Socket<mio::net::UnixStream>;

impl TcpStream {
    /// Connects to `addr`, from the local address `source` if one is given.
    ///
    /// There is no time limit of its own: wrap it in [`super::timeout`].
    pub async fn connect(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
        let io = match source {
            None => mio::net::TcpStream::connect(addr)?,
            Some(source) => connect_from(source, addr)?,
        };
        let stream = Socket::connecting(io)?;
        stream.registration.arm_both(stream.io.as_raw_fd())?;
        loop {
            stream.writable().await?;
            if let Some(e) = stream.io.take_error()? {
                return Err(e);
            }
            match stream.io.peer_addr() {
                Ok(_) => return Ok(stream),
                Err(e) if e.kind() == ErrorKind::NotConnected => {
                    stream.registration.clear(Direction::Write);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes over a connected socket and makes it non-blocking.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        Socket::adopted(mio::net::TcpStream::from_std(stream))
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.peer_addr()
    }

    /// Our own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Whether small writes are sent at once instead of being gathered (`TCP_NODELAY`).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.set_nodelay(nodelay)
    }

    /// Closes one or both directions.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.shutdown(how)
    }
}

impl UnixStream {
    /// Connects to the socket at `path`. While the listener's queue is full it tries again every
    /// ten milliseconds, without a time limit of its own.
    pub async fn connect(path: &Path) -> io::Result<UnixStream> {
        loop {
            match mio::net::UnixStream::connect(path) {
                Ok(io) => return Socket::connected(io),
                // A Unix socket connects at once or not at all (connect(2), EAGAIN).
                Err(e) if e.kind() == ErrorKind::WouldBlock => sleep(UNIX_RETRY).await,
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes over a connected socket and makes it non-blocking.
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
        stream.set_nonblocking(true)?;
        Socket::adopted(mio::net::UnixStream::from_std(stream))
    }

    /// Two sockets connected to each other.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = mio::net::UnixStream::pair()?;
        Ok((Socket::connected(a)?, Socket::connected(b)?))
    }

    /// Closes one or both directions.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.shutdown(how)
    }
}

/// A stream of either kind. The methods are those of [`Socket`].
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Stream {
        Stream::Unix(stream)
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl Stream {
    /// See [`Socket::poll_readable`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_readable(cx))
    }

    /// See [`Socket::poll_read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_read(cx, buf))
    }

    /// See [`Socket::poll_write`].
    pub fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_write(cx, buf))
    }

    /// See [`Socket::poll_write_vectored`].
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_write_vectored(cx, bufs))
    }

    /// See [`Socket::try_read`].
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, s => s.try_read(buf))
    }

    /// See [`Socket::try_write`].
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        either!(self, s => s.try_write(buf))
    }

    /// See [`Socket::try_write_vectored`].
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.try_write_vectored(bufs))
    }

    /// See [`Socket::readable`].
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// See [`Socket::writable`].
    pub async fn writable(&self) -> io::Result<()> {
        either!(self, s => s.writable().await)
    }

    /// See [`Socket::peer_closed`].
    pub async fn peer_closed(&self) -> io::Result<()> {
        either!(self, s => s.peer_closed().await)
    }

    /// See [`Socket::is_peer_closed`].
    pub fn is_peer_closed(&self) -> bool {
        either!(self, s => s.is_peer_closed())
    }

    /// See [`Socket::read`].
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// See [`Socket::write_all`].
    pub async fn write_all(&self, buf: &[u8]) -> io::Result<()> {
        either!(self, s => s.write_all(buf).await)
    }

    /// See [`Socket::write_vectored_all`].
    pub async fn write_vectored_all(&self, bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
        either!(self, s => s.write_vectored_all(bufs).await)
    }

    /// Closes one or both directions.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, s => s.shutdown(how))
    }

    /// The peer's address; `None` on a Unix socket.
    pub fn peer_addr(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Stream::Tcp(s) => s.peer_addr().map(Some),
            Stream::Unix(_) => Ok(None),
        }
    }

    /// Our own address; `None` on a Unix socket.
    pub fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Stream::Tcp(s) => s.local_addr().map(Some),
            Stream::Unix(_) => Ok(None),
        }
    }

    /// See [`TcpStream::set_nodelay`]; nothing to do on a Unix socket.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_nodelay(nodelay),
            Stream::Unix(_) => Ok(()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, s => s.as_fd())
    }
}

/// Begins a connection from a given local address.
fn connect_from(source: IpAddr, addr: SocketAddr) -> io::Result<mio::net::TcpStream> {
    if source.is_ipv4() != addr.is_ipv4() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("cannot connect from {source} to {addr}: different address families"),
        ));
    }
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    // Leaves the choice of the port to connect(), which can share one between peers: without it
    // a busy relay runs out of ports per source address instead of per connection.
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    bind(
        fd.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(source, 0)),
    )?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(addr)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(mio::net::TcpStream::from_std(fd.into()))
}

const UNIX_RETRY: Duration = Duration::from_millis(10);
