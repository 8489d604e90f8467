//! TLS records over a stream, as rustls makes and reads them.
//!
//! Nothing here decides about keys, names or certificates: whoever begins TLS brings a session with
//! its configuration. A record is held until the socket takes it, never more than rustls' own limit.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

use super::stream::Plain;

/// Why TLS did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer closed in the middle of it.
    #[error("connection closed during the TLS handshake")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer's messages or its certificate cannot be accepted, or ours were not.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A TLS session on a stream.
pub(super) struct Records {
    session: RefCell<rustls::Connection>,
    /// Octets that were decrypted and not yet read.
    plaintext: Cell<usize>,
}

impl Records {
    pub(super) fn new(session: rustls::Connection) -> Records {
        Records {
            session: RefCell::new(session),
            plaintext: Cell::new(0),
        }
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&rustls::Connection) -> T) -> T {
        look(&self.session.borrow())
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.borrow().is_handshaking()
    }

    pub(super) fn has_plaintext(&self) -> bool {
        self.plaintext.get() > 0
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.session.borrow().wants_write()
    }

    /// Takes in what the peer has sent of its handshake so far.
    pub(super) fn shake(&self, plain: &Plain) -> Result<(), HandshakeError> {
        match self.session.borrow_mut().read_tls(&mut Octets(plain)) {
            Ok(0) => return Err(HandshakeError::Closed),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        self.process(plain).map_err(HandshakeError::Tls)
    }

    /// Takes in octets of the handshake that somebody has read before.
    pub(super) fn take_in(&self, mut first: &[u8], plain: &Plain) -> Result<(), HandshakeError> {
        while !first.is_empty() {
            // Takes a part at a time, never none of what is there.
            self.session.borrow_mut().read_tls(&mut first)?;
            self.process(plain)?;
        }
        Ok(())
    }

    /// As [`super::Socket::try_read`]. A peer that closes without saying so (RFC 8446 §6.1) is at
    /// its end like one that does: SMTP marks the end of everything that counts by itself.
    pub(super) fn try_read(&self, plain: &Plain, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.borrow_mut().reader().read(buf) {
                Ok(n) => {
                    self.plaintext.set(self.plaintext.get().saturating_sub(n));
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
            if self.session.borrow_mut().read_tls(&mut Octets(plain))? == 0 {
                return Ok(0);
            }
            self.process(plain)
                .map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
            if self.has_unsent() {
                // An answer to a request for new keys; what does not go now goes with the next write.
                drop(self.try_flush(plain));
            }
        }
    }

    /// As [`super::Socket::try_write_vectored`]. Nothing is taken while earlier records wait.
    pub(super) fn try_write(&self, plain: &Plain, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_flush(plain)?;
        let taken = self.session.borrow_mut().writer().write_vectored(bufs)?;
        match self.try_flush(plain) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    /// Sends the records that wait; `WouldBlock` if some are left.
    pub(super) fn try_flush(&self, plain: &Plain) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            session.write_tls(&mut Octets(plain))?;
        }
        Ok(())
    }

    /// Says that nothing more comes, as far as the socket takes that without waiting.
    pub(super) fn close(&self, plain: &Plain) {
        self.session.borrow_mut().send_close_notify();
        drop(self.try_flush(plain));
    }

    fn process(&self, plain: &Plain) -> Result<(), rustls::Error> {
        let processed = self.session.borrow_mut().process_new_packets();
        match processed {
            Ok(state) => {
                self.plaintext.set(state.plaintext_bytes_to_read());
                Ok(())
            }
            Err(e) => {
                // The alert that tells the peer why.
                drop(self.try_flush(plain));
                Err(e)
            }
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

/// The socket as rustls reads and writes it.
struct Octets<'a>(&'a Plain);

impl Read for Octets<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Octets<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
