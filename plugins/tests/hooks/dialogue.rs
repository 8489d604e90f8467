//! Conversations with other servers over blocking sockets: whoever waits here waits in earnest.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use haraka_shared::dial::{DialError, Dialogue, Endpoint, Trust};
use haraka_shared::plugin::LocalFuture;
use haraka_shared::route::Host;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct Blocking {
    socket: Socket,
    unread: Vec<u8>,
}

pub fn open(to: &Endpoint, within: Duration) -> Result<Box<dyn Dialogue>, DialError> {
    let opened = match &to.host {
        Host::Path(path) => UnixStream::connect(path).map(Socket::Unix),
        Host::Ip(ip) => TcpStream::connect((*ip, to.port)).map(Socket::Tcp),
        Host::Name(name) => TcpStream::connect((name.as_str(), to.port)).map(Socket::Tcp),
    };
    let socket = opened.map_err(|cause| DialError::Connect {
        to: to.to_string(),
        cause,
    })?;
    let mut dialogue = Blocking {
        socket,
        unread: Vec::new(),
    };
    dialogue.limit(within);
    Ok(Box::new(dialogue))
}

impl Blocking {
    fn receive(&mut self) -> Result<bool, DialError> {
        let mut buffer = [0; 4096];
        let read = match &mut self.socket {
            Socket::Tcp(s) => s.read(&mut buffer),
            Socket::Unix(s) => s.read(&mut buffer),
        };
        match read {
            Ok(n) => {
                self.unread.extend(&buffer[..n]);
                Ok(n > 0)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(DialError::Timeout("reading")),
            Err(e) => Err(e.into()),
        }
    }

    fn line(&mut self, longest: usize) -> Result<Option<Vec<u8>>, DialError> {
        loop {
            if let Some(end) = self.unread.iter().position(|o| *o == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            if self.unread.len() > longest {
                return Err(DialError::TooLong(longest));
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    fn some(&mut self, most: usize) -> Result<Vec<u8>, DialError> {
        if self.unread.is_empty() && !self.receive()? {
            return Ok(Vec::new());
        }
        Ok(self.unread.drain(..most.min(self.unread.len())).collect())
    }
}

impl Dialogue for Blocking {
    fn limit(&mut self, step: Duration) {
        let step = Some(step.max(Duration::from_millis(1)));
        match &self.socket {
            Socket::Tcp(s) => s.set_read_timeout(step).unwrap(),
            Socket::Unix(s) => s.set_read_timeout(step).unwrap(),
        }
    }

    fn write_all<'a>(&'a mut self, octets: &'a [u8]) -> LocalFuture<'a, Result<(), DialError>> {
        let written = match &mut self.socket {
            Socket::Tcp(s) => s.write_all(octets),
            Socket::Unix(s) => s.write_all(octets),
        };
        Box::pin(std::future::ready(written.map_err(DialError::from)))
    }

    fn read_line(&mut self, longest: usize) -> LocalFuture<'_, Result<Option<Vec<u8>>, DialError>> {
        Box::pin(std::future::ready(self.line(longest)))
    }

    fn read_some(&mut self, most: usize) -> LocalFuture<'_, Result<Vec<u8>, DialError>> {
        Box::pin(std::future::ready(self.some(most)))
    }

    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// TLS itself is the worker's; here only what follows it counts.
    fn start_tls<'a>(
        &'a mut self,
        _name: &'a str,
        trust: Trust,
    ) -> LocalFuture<'a, Result<(), DialError>> {
        let refused = trust == Trust::System;
        Box::pin(std::future::ready(match refused {
            true => Err(DialError::Tls("unknown authority".to_owned())),
            false => Ok(()),
        }))
    }

    fn finish(&mut self) -> Result<(), DialError> {
        let closed = match &self.socket {
            Socket::Tcp(s) => s.shutdown(Shutdown::Write),
            Socket::Unix(s) => s.shutdown(Shutdown::Write),
        };
        closed.map_err(DialError::from)
    }
}
