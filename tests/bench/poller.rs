//! What source and sink share: waiting for many sockets, and buffered output on one of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until one of the sockets is ready, at most `limit`; tells for each whether it can be read (or has
/// ended) and whether it can be written. The second of a pair says whether writing is asked for.
pub fn ready<'a>(
    sockets: impl Iterator<Item = (&'a dyn AsFd, bool)>,
    limit: Option<Duration>,
) -> Vec<(bool, bool)> {
    let mut polled: Vec<_> = sockets
        .map(|(socket, writing)| {
            let out = if writing {
                PollFlags::POLLOUT
            } else {
                PollFlags::empty()
            };
            PollFd::new(socket.as_fd(), PollFlags::POLLIN | out)
        })
        .collect();
    // Rounded up: a limit below a millisecond would otherwise spin.
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        PollTimeout::try_from(limit.as_micros().div_ceil(1000) as i32).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => panic!("poll: {error}"),
    }
    let flags = polled
        .iter()
        .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
    flags
        .map(|flags| {
            let ended = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
            (
                flags.intersects(PollFlags::POLLIN | ended),
                flags.intersects(PollFlags::POLLOUT | ended),
            )
        })
        .collect()
}

/// One read: the number of bytes, 0 when there is nothing now.
///
/// # Errors
/// The connection has ended or broken.
pub fn read_some(mut stream: &TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if retry(error.kind()) => Ok(0),
        other => other,
    }
}

/// One write: the number of bytes, 0 when there is no room now.
///
/// # Errors
/// The connection has broken.
pub fn write_some(mut stream: &TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if retry(error.kind()) => Ok(0),
        other => other,
    }
}

fn retry(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected
    )
}
