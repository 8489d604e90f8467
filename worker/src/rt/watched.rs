//! Any pollable descriptor that is not a stream or listener of ours: the channel to the master,
//! the signal pipe, a child's output.
//!
//! It only tells about readiness; reading and writing are the owner's. The descriptor must be
//! non-blocking, and must be read until `WouldBlock` before [`Watched::clear_readable`].

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;

use super::reactor::{Direction, Registration};

/// A descriptor and its readiness.
#[derive(Debug)]
pub struct Watched<F: AsRawFd> {
    io: F,
    registration: Registration,
}

impl<F: AsRawFd> Watched<F> {
    /// Watches `io` from the first wait on. Writing is assumed to be possible at first.
    pub fn new(io: F) -> io::Result<Watched<F>> {
        Ok(Watched {
            io,
            registration: Registration::new(true)?,
        })
    }

    /// The descriptor.
    pub fn get_ref(&self) -> &F {
        &self.io
    }

    /// Waits until there is something to read (or the end, or an error).
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.registration
                .poll_ready(self.io.as_raw_fd(), Direction::Read, cx)
        })
        .await
    }

    /// Waits until a write may be tried.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.registration
                .poll_ready(self.io.as_raw_fd(), Direction::Write, cx)
        })
        .await
    }

    /// To be called after a read that said `WouldBlock`: [`readable`](Watched::readable) waits
    /// again.
    pub fn clear_readable(&self) {
        self.registration.clear(Direction::Read);
    }

    /// To be called after a write that said `WouldBlock`.
    pub fn clear_writable(&self) {
        self.registration.clear(Direction::Write);
    }

    /// Waits and calls `op` until it gives something other than `WouldBlock`.
    pub async fn read_with<R>(&self, mut op: impl FnMut(&F) -> io::Result<R>) -> io::Result<R> {
        loop {
            self.readable().await?;
            match op(&self.io) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.clear_readable(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Calls `op`, and again after each wait, until it gives something other than `WouldBlock`.
    pub async fn write_with<R>(&self, mut op: impl FnMut(&F) -> io::Result<R>) -> io::Result<R> {
        loop {
            self.writable().await?;
            match op(&self.io) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.clear_writable(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl<F: AsRawFd> Drop for Watched<F> {
    fn drop(&mut self) {
        self.registration.deregister(self.io.as_raw_fd());
    }
}
