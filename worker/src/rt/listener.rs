//! Accepting connections on listeners inherited from the master.
//!
//! Several workers may watch one socket and all are told of a new client, so finding nothing to
//! accept is normal. A worker that is out of descriptors waits before it tries again: the
//! connection stays in the kernel's queue and would otherwise be announced in a tight loop.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;

use super::executor::with_core;
use super::net::{TcpStream, UnixStream};
use super::reactor::{Direction, Registration};
use super::socket::Socket;
use super::timer::sleep;

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListener {
    // Dropped first: it takes the descriptor out of the kernel's set while it is still open.
    watch: ListenerWatch,
    io: mio::net::TcpListener,
}

impl TcpListener {
    /// Takes over a bound and listening socket and makes it non-blocking.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener {
            watch: ListenerWatch::new(listener.as_raw_fd())?,
            io: mio::net::TcpListener::from_std(listener),
        })
    }

    /// Waits for the next client. Returns only errors that concern the listener itself; those of
    /// one client and shortages are dealt with here (see the module's head).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (io, peer) = self.watch.accept(|| self.io.accept()).await?;
        Ok((Socket::connected(io)?, peer))
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// A listening Unix stream socket.
#[derive(Debug)]
pub struct UnixListener {
    // Dropped first, as above.
    watch: ListenerWatch,
    io: mio::net::UnixListener,
}

impl UnixListener {
    /// Takes over a bound and listening socket and makes it non-blocking.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener {
            watch: ListenerWatch::new(listener.as_raw_fd())?,
            io: mio::net::UnixListener::from_std(listener),
        })
    }

    /// Waits for the next client; errors as for [`TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let (io, _) = self.watch.accept(|| self.io.accept()).await?;
        Socket::connected(io)
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// The waiting that both kinds share.
#[derive(Debug)]
struct ListenerWatch {
    fd: RawFd,
    registration: Registration,
}

impl ListenerWatch {
    fn new(fd: RawFd) -> io::Result<ListenerWatch> {
        Ok(ListenerWatch {
            fd,
            registration: Registration::new(false)?,
        })
    }

    async fn accept<T>(&self, mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut pause = FIRST_PAUSE;
        loop {
            poll_fn(|cx| self.registration.poll_ready(self.fd, Direction::Read, cx)).await?;
            let error = match accept() {
                Ok(accepted) => {
                    with_core(|core| core.spend(ACCEPT_COST));
                    return Ok(accepted);
                }
                Err(e) => e,
            };
            match Trouble::of(&error) {
                Trouble::Nothing => self.registration.clear(Direction::Read),
                Trouble::OneClient => {}
                Trouble::Shortage => {
                    if pause == FIRST_PAUSE {
                        log::warn!("cannot accept a connection for now: {error}");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Trouble::Listener => return Err(error),
            }
        }
    }
}

impl Drop for ListenerWatch {
    fn drop(&mut self) {
        self.registration.deregister(self.fd);
    }
}

/// What a failed accept means.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// Another worker was faster, or the event was spurious.
    Nothing,
    /// The connection failed before it was accepted; accept(2) tells to treat these like EAGAIN.
    OneClient,
    /// Out of descriptors or memory.
    Shortage,
    /// The listener is unusable.
    Listener,
}

impl Trouble {
    fn of(error: &io::Error) -> Trouble {
        if error.kind() == ErrorKind::WouldBlock {
            return Trouble::Nothing;
        }
        match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
            Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ETIMEDOUT
            | Errno::ECONNRESET => Trouble::OneClient,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => Trouble::Shortage,
            _ => Trouble::Listener,
        }
    }
}

/// Readiness checks that an accept counts for: ten clients per turn, then their sessions and the
/// other workers get a chance.
const ACCEPT_COST: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::rt::{Runtime, now};

    #[test]
    fn shortage_of_descriptors_is_waited_out_with_growing_pauses() {
        let (a, mut b) = std::os::unix::net::UnixStream::pair().unwrap();
        b.write_all(b"ready").unwrap();
        let rt = Runtime::with_virtual_clock().unwrap();
        let (calls, waited) = rt.block_on(async {
            let watch = ListenerWatch::new(a.as_raw_fd()).unwrap();
            let start = now();
            let mut calls = 0;
            let accepted = watch.accept(|| {
                calls += 1;
                match calls {
                    1..=12 => Err(Errno::EMFILE.into()),
                    13 => Err(Errno::ECONNABORTED.into()),
                    _ => Ok(()),
                }
            });
            accepted.await.unwrap();
            (calls, now() - start)
        });
        assert_eq!(calls, 14);
        // 5 + 10 + … + 640 ms, then one second for each of the last four.
        assert_eq!(waited, Duration::from_millis(1275 + 4000));
    }

    #[test]
    fn errors_of_one_client_are_not_errors_of_the_listener() {
        let of = |e: Errno| Trouble::of(&e.into());
        assert_eq!(of(Errno::EAGAIN), Trouble::Nothing);
        assert_eq!(of(Errno::ECONNABORTED), Trouble::OneClient);
        assert_eq!(of(Errno::EMFILE), Trouble::Shortage);
        assert_eq!(of(Errno::EBADF), Trouble::Listener);
        assert_eq!(of(Errno::EINVAL), Trouble::Listener);
    }
}
