//! TCP and Unix streams: making them.
//!
//! Reading and writing live in `socket.rs`, accepting in `listener.rs`, the one type that stands for
//! both in `stream.rs`. Names are never resolved here: callers bring addresses.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
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
