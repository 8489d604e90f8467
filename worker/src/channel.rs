//! The worker's end of the channel to the master: frames both ways, and a descriptor with one of them.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use haraka_shared::ipc::{self, Decoder, IpcError, ToMaster, ToWorker};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::rt::Watched;
use crate::rt::sync::mpsc::UnboundedReceiver;

/// Why the channel cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A frame makes no sense.
    #[error(transparent)]
    Frame(#[from] IpcError),
}

/// What the master sent.
pub(crate) enum Received {
    /// A frame.
    Frame(ToWorker),
    /// A new log file.
    NewLog(OwnedFd),
    /// It closed its end, which it does only by dying.
    MasterGone,
}

/// The worker's end.
pub(crate) struct Channel {
    socket: Rc<Watched<UnixStream>>,
    decoder: Decoder<ToWorker>,
    descriptors: VecDeque<OwnedFd>,
}

impl Channel {
    pub(crate) fn new(socket: UnixStream) -> Result<Channel, std::io::Error> {
        socket.set_nonblocking(true)?;
        Ok(Channel {
            socket: Rc::new(Watched::new(socket)?),
            decoder: Decoder::new(),
            descriptors: VecDeque::new(),
        })
    }

    /// A task that writes what the worker has to say, in order, up to its last word (`Drained`).
    pub(crate) fn writer(
        &self,
        mut frames: UnboundedReceiver<ToMaster>,
    ) -> impl Future<Output = ()> + 'static {
        let socket = Rc::clone(&self.socket);
        async move {
            while let Some(frame) = frames.recv().await {
                // After an error the reader sees the same end and acts on it.
                if write(&socket, &frame).await.is_err() || matches!(frame, ToMaster::Drained) {
                    return;
                }
            }
        }
    }

    /// Writes one frame, while the writer has nothing to write: two at a time would mix.
    pub(crate) async fn send(&self, frame: &ToMaster) -> Result<(), ChannelError> {
        write(&self.socket, frame).await
    }

    /// The next frame that somebody has to act on.
    pub(crate) async fn receive(&mut self) -> Result<Received, ChannelError> {
        loop {
            match self.decoder.next()? {
                Some(ToWorker::Hello { protocol, build }) => {
                    ipc::check_version(protocol, &build)?;
                    continue;
                }
                Some(ToWorker::ReopenLog) => {
                    if let Some(fd) = self.descriptors.pop_front() {
                        return Ok(Received::NewLog(fd));
                    }
                    continue;
                }
                Some(frame) => return Ok(Received::Frame(frame)),
                None => {}
            }
            let mut buffer = [0; 512];
            let (got, fd) = self.socket.read_with(|s| read(s, &mut buffer)).await?;
            if got == 0 {
                return Ok(Received::MasterGone);
            }
            self.descriptors.extend(fd);
            self.decoder.push(buffer.get(..got).unwrap_or_default());
        }
    }
}

async fn write(socket: &Watched<UnixStream>, frame: &ToMaster) -> Result<(), ChannelError> {
    let bytes = ipc::encode(frame)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let n = socket.write_with(|mut s| s.write(rest)).await?;
        rest = rest.get(n..).unwrap_or_default();
    }
    Ok(())
}

fn read(socket: &UnixStream, buffer: &mut [u8]) -> std::io::Result<(usize, Option<OwnedFd>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut fd = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            for raw in fds {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                #[allow(unsafe_code)]
                let owned = unsafe { OwnedFd::from_raw_fd(raw) };
                fd = Some(owned);
            }
        }
    }
    Ok((message.bytes, fd))
}
