//! Which signal means what. Handlers only set a flag and wake `poll(2)` through a pipe.
//!
//! The table for operators, with a test per row, is `docs/signals.md`.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::{pipe, unregister};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// HUP: try deferred mail now (PRC-12).
    Flush,
    /// INT or TERM: stop; the name is for the log (PRC-10, PRC-11).
    Stop(&'static str),
    /// USR1: write to the log file by its name again.
    ReopenLog,
    /// USR2: replace all workers.
    Restart,
    /// CHLD: a worker may have died.
    Reap,
}

/// Signal number and meaning. A new row needs a row in `docs/signals.md`.
const TABLE: [(i32, Request); 6] = [
    (SIGCHLD, Request::Reap),
    (SIGHUP, Request::Flush),
    (SIGUSR1, Request::ReopenLog),
    (SIGUSR2, Request::Restart),
    (SIGINT, Request::Stop("SIGINT")),
    (SIGTERM, Request::Stop("SIGTERM")),
];

/// The installed handlers. Dropping this leaves handlers that do nothing, so that a worker is
/// neither killed by a signal meant for the master nor hands "ignored" on to programs it starts.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    arrived: Vec<(Arc<AtomicBool>, Request)>,
    handlers: Vec<SigId>,
}

impl Signals {
    /// Installs the handlers of the whole table.
    pub fn install() -> io::Result<Signals> {
        let (wake, ring) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut this = Signals {
            wake,
            arrived: Vec::new(),
            handlers: Vec::new(),
        };
        for (signal, request) in TABLE {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: the flag is set before poll(2) wakes up.
            this.handlers
                .push(signal_hook::flag::register(signal, Arc::clone(&flag))?);
            let ring = OwnedFd::from(ring.try_clone()?);
            this.handlers.push(pipe::register(signal, ring)?);
            this.arrived.push((flag, request));
        }
        Ok(this)
    }

    /// What arrived since the last call, each kind once.
    pub fn take(&mut self) -> Vec<Request> {
        let mut sink = [0u8; 64];
        while let Ok(1..) = self.wake.read(&mut sink) {}
        self.arrived
            .iter()
            .filter(|(flag, _)| flag.swap(false, Ordering::SeqCst))
            .map(|(_, request)| *request)
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}
