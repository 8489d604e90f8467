//! The master's end of the channel to one worker: frames out, frames in, never blocking.
//!
//! What the frames mean is `haraka_shared::ipc`; what follows from them is `hub.rs`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use haraka_shared::ipc::{Decoder, IpcError, ToMaster, ToWorker, check_version, encode};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Bytes that may wait for a worker that does not read. A worker this far behind is stuck: frames
/// are small and rare.
const MOST_WAITING: usize = 4 * 1024 * 1024;

/// Bytes taken from one worker per turn, so that no worker keeps the hub busy.
const TURN: usize = 64 * 1024;

/// One worker's channel.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    decoder: Decoder<ToMaster>,
    out: VecDeque<Outgoing>,
    waiting: usize,
    greeted: bool,
    open: bool,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// Goes with the first byte.
    descriptor: Option<OwnedFd>,
}

/// Why a channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The worker sent what cannot be understood.
    #[error(transparent)]
    Frame(#[from] IpcError),
    /// The system said so.
    #[error("channel: {0}")]
    Io(#[from] io::Error),
    /// The worker does not read what it is sent.
    #[error("channel: the worker does not read")]
    Stuck,
}

impl Channel {
    /// Both ends: the master's, with `Hello` on its way, and the worker's. Both are non-blocking.
    pub fn pair() -> Result<(Channel, UnixStream), ChannelError> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let mut channel = Channel {
            stream: ours,
            decoder: Decoder::new(),
            out: VecDeque::new(),
            waiting: 0,
            greeted: false,
            open: true,
        };
        channel.send(&ToWorker::hello())?;
        Ok((channel, theirs))
    }

    /// Queues a frame and writes what can be written.
    pub fn send(&mut self, frame: &ToWorker) -> Result<(), ChannelError> {
        self.queue(frame, None)
    }

    /// Like [`Channel::send`], with a descriptor for the worker.
    pub fn send_with(&mut self, frame: &ToWorker, descriptor: OwnedFd) -> Result<(), ChannelError> {
        self.queue(frame, Some(descriptor))
    }

    fn queue(&mut self, frame: &ToWorker, descriptor: Option<OwnedFd>) -> Result<(), ChannelError> {
        let bytes = encode(frame)?;
        self.waiting += bytes.len();
        if self.waiting > MOST_WAITING {
            return Err(ChannelError::Stuck);
        }
        self.out.push_back(Outgoing {
            bytes,
            sent: 0,
            descriptor,
        });
        self.flush()
    }

    /// Writes what waits, as far as the system takes it. A worker that is gone is not an error
    /// here: its death is told by the system.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while let Some(next) = self.out.front_mut() {
            let rest = next.bytes.get(next.sent..).unwrap_or_default();
            let raw = next.descriptor.as_ref().map(|fd| [fd.as_raw_fd()]);
            let rights = raw.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
            let sent = sendmsg::<()>(
                self.stream.as_raw_fd(),
                &[IoSlice::new(rest)],
                rights.as_ref().map_or(&[], |r| r),
                MsgFlags::MSG_NOSIGNAL,
                None,
            );
            match sent {
                Ok(n) => {
                    next.sent += n;
                    next.descriptor = None;
                    self.waiting = self.waiting.saturating_sub(n);
                    if next.sent >= next.bytes.len() {
                        self.out.pop_front();
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    self.out.clear();
                    self.waiting = 0;
                }
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
        Ok(())
    }

    /// Takes what the worker sent, at most [`TURN`] bytes. After an error, or after the end of the
    /// stream, the channel is not [open](Channel::is_open) any more.
    pub fn receive(&mut self) -> Result<Vec<ToMaster>, ChannelError> {
        let received = self.read();
        if received.is_err() {
            self.open = false;
        }
        received
    }

    fn read(&mut self) -> Result<Vec<ToMaster>, ChannelError> {
        let mut frames = Vec::new();
        let mut buffer = [0u8; 4096];
        let mut taken = 0;
        while taken < TURN {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.open = false;
                    break;
                }
                Ok(n) => {
                    taken += n;
                    self.decoder.push(buffer.get(..n).unwrap_or_default());
                    while let Some(frame) = self.decoder.next()? {
                        frames.extend(self.greet(frame)?);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    self.open = false;
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(frames)
    }

    fn greet(&mut self, frame: ToMaster) -> Result<Option<ToMaster>, ChannelError> {
        match (self.greeted, frame) {
            (false, ToMaster::Hello { protocol, build }) => {
                check_version(protocol, &build)?;
                self.greeted = true;
                Ok(None)
            }
            // The one thing that a worker may say which failed before it could greet.
            (false, frame @ ToMaster::Failed { .. }) => Ok(Some(frame)),
            (true, ToMaster::Hello { .. }) | (false, _) => Err(IpcError::Greeting.into()),
            (true, frame) => Ok(Some(frame)),
        }
    }

    /// Whether more may come.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether something waits to be written.
    pub fn wants_to_write(&self) -> bool {
        !self.out.is_empty()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn greeted() -> (Channel, UnixStream) {
        let (channel, mut worker) = Channel::pair().unwrap();
        worker
            .write_all(&encode(&ToMaster::hello()).unwrap())
            .unwrap();
        (channel, worker)
    }

    #[test]
    fn frames_arrive_in_order_after_the_greeting() {
        let (mut channel, mut worker) = greeted();
        for frame in [ToMaster::Ready { pid: 7 }, ToMaster::Drained] {
            worker.write_all(&encode(&frame).unwrap()).unwrap();
        }
        assert_eq!(
            channel.receive().unwrap(),
            [ToMaster::Ready { pid: 7 }, ToMaster::Drained]
        );
        assert!(channel.is_open());
        drop(worker);
        assert_eq!(channel.receive().unwrap(), []);
        assert!(!channel.is_open());
    }

    #[test]
    fn a_worker_that_does_not_greet_is_refused() {
        let (mut channel, mut worker) = Channel::pair().unwrap();
        worker
            .write_all(&encode(&ToMaster::Drained).unwrap())
            .unwrap();
        assert!(matches!(
            channel.receive(),
            Err(ChannelError::Frame(IpcError::Greeting))
        ));
        assert!(!channel.is_open());
    }

    #[test]
    fn a_worker_of_another_version_is_refused() {
        let (mut channel, mut worker) = Channel::pair().unwrap();
        let hello = ToMaster::Hello {
            protocol: 99,
            build: "9.9".to_owned(),
        };
        worker.write_all(&encode(&hello).unwrap()).unwrap();
        assert!(matches!(
            channel.receive(),
            Err(ChannelError::Frame(IpcError::Version { theirs: 99, .. }))
        ));
    }

    #[test]
    fn a_worker_that_does_not_read_never_blocks_and_is_given_up_in_the_end() {
        let (mut channel, _worker) = Channel::pair().unwrap();
        let flush = ToWorker::Flush {
            domain: Some("x".repeat(100_000)),
        };
        let refused = (0..100).find_map(|_| channel.send(&flush).err());
        assert!(matches!(refused, Some(ChannelError::Stuck)));
        assert!(channel.wants_to_write());
    }

    #[test]
    fn sending_to_a_worker_that_is_gone_is_no_error() {
        let (mut channel, worker) = Channel::pair().unwrap();
        drop(worker);
        channel.send(&ToWorker::Stop).unwrap();
        assert!(!channel.wants_to_write());
    }
}
