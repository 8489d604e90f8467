//! Conversations of plugins with other servers, over the runtime's streams.
//!
//! Owns looking up, connecting and a time limit on every step. Knows no protocol. A connection
//! takes a pooled buffer only when there is something to read, and keeps no more unread octets than
//! its reader asked for plus one buffer.

mod secure;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use haraka_shared::dial::{DialError, Dialogue, Endpoint, Trust};
use haraka_shared::plugin::LocalFuture;
use haraka_shared::route::Host;
use haraka_shared::services::{Dns, DnsError};

use crate::rt::{self, Buffer, Stream, TcpStream, UnixStream};

/// See [`haraka_shared::services::Services::dial`].
pub(crate) async fn dial(
    dns: &dyn Dns,
    to: &Endpoint,
    within: Duration,
) -> Result<Box<dyn Dialogue>, DialError> {
    let until = rt::precise_now() + within;
    let connecting = async {
        match &to.host {
            Host::Path(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(stream.into()),
                Err(cause) => Err(unreached(to, cause)),
            },
            Host::Ip(ip) => connect(to, &[*ip], until).await,
            Host::Name(name) => {
                let found = addresses(dns, name).await;
                let found = found.map_err(|cause| DialError::Dns {
                    name: name.clone(),
                    cause,
                })?;
                connect(to, &found, until).await
            }
        }
    };
    let stream: Stream = in_time(within, "connecting", connecting).await??;
    stream.set_nodelay(true)?;
    Ok(Box::new(Link {
        stream,
        unread: Vec::new(),
        scanned: 0,
        step: within,
    }))
}

/// IPv4 first: names such as `localhost` have both, and back ends tend to listen on that one.
async fn addresses(dns: &dyn Dns, name: &str) -> Result<Vec<IpAddr>, DnsError> {
    let v4 = dns.a(name).await;
    let v6 = dns.aaaa(name).await;
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.extend(v6);
            Ok(v4)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        // That there is none must not be concluded from half an answer.
        (Err(e @ DnsError::Temporary(_)), _) | (_, Err(e)) => Err(e),
    }
}

/// One address after the other; none may use up the time of those that follow.
async fn connect(to: &Endpoint, addresses: &[IpAddr], until: Instant) -> Result<Stream, DialError> {
    let mut last = ErrorKind::AddrNotAvailable.into();
    for (tried, ip) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(rt::precise_now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let place = SocketAddr::new(*ip, to.port);
        match rt::timeout(share, TcpStream::connect(place, None)).await {
            Ok(Ok(stream)) => return Ok(stream.into()),
            Ok(Err(cause)) => last = cause,
            Err(rt::Elapsed) => last = ErrorKind::TimedOut.into(),
        }
    }
    Err(unreached(to, last))
}

fn unreached(to: &Endpoint, cause: io::Error) -> DialError {
    DialError::Connect {
        to: to.to_string(),
        cause,
    }
}

async fn in_time<T>(
    step: Duration,
    doing: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, DialError> {
    rt::timeout(step, work)
        .await
        .map_err(|rt::Elapsed| DialError::Timeout(doing))
}

/// An open connection with what was received and not read yet.
struct Link {
    stream: Stream,
    unread: Vec<u8>,
    /// How many of the unread octets are known to hold no line end.
    scanned: usize,
    step: Duration,
}

impl Link {
    /// Receives once; false at the end. Nothing is lost if this is dropped while it waits.
    async fn receive(&mut self) -> Result<bool, DialError> {
        loop {
            self.stream.readable().await?;
            let mut buffer = Buffer::take();
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.unread
                        .extend_from_slice(buffer.get(..n).unwrap_or_default());
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn line(&mut self, longest: usize) -> Result<Option<Vec<u8>>, DialError> {
        loop {
            let fresh = self.unread.get(self.scanned..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let end = self.scanned + at;
                self.scanned = 0;
                if end > longest {
                    return Err(DialError::TooLong(longest));
                }
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            self.scanned = self.unread.len();
            if self.scanned > longest {
                return Err(DialError::TooLong(longest));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    async fn some(&mut self, most: usize) -> Result<Vec<u8>, DialError> {
        if self.unread.is_empty() && !self.receive().await? {
            return Ok(Vec::new());
        }
        self.scanned = 0;
        let taken = most.min(self.unread.len());
        Ok(self.unread.drain(..taken).collect())
    }
}

impl Dialogue for Link {
    fn limit(&mut self, step: Duration) {
        self.step = step;
    }

    fn write_all<'a>(&'a mut self, octets: &'a [u8]) -> LocalFuture<'a, Result<(), DialError>> {
        Box::pin(async move {
            let written = in_time(self.step, "writing", self.stream.write_all(octets)).await?;
            Ok(written?)
        })
    }

    fn read_line(&mut self, longest: usize) -> LocalFuture<'_, Result<Option<Vec<u8>>, DialError>> {
        Box::pin(async move { in_time(self.step, "reading", self.line(longest)).await? })
    }

    fn read_some(&mut self, most: usize) -> LocalFuture<'_, Result<Vec<u8>, DialError>> {
        Box::pin(async move { in_time(self.step, "reading", self.some(most)).await? })
    }

    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn start_tls<'a>(
        &'a mut self,
        name: &'a str,
        trust: Trust,
    ) -> LocalFuture<'a, Result<(), DialError>> {
        Box::pin(async move {
            if self.has_unread() {
                let why = "the server spoke in the clear when TLS was to begin";
                return Err(DialError::Tls(why.to_owned()));
            }
            let session = secure::session(name, trust).await?;
            let shaken = in_time(
                self.step,
                "in the TLS handshake",
                self.stream.start_tls(session),
            );
            shaken.await?.map_err(|e| DialError::Tls(e.to_string()))
        })
    }

    fn finish(&mut self) -> Result<(), DialError> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }
}
