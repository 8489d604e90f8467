//! One GET over HTTPS, on the worker's own runtime: connect, handshake, ask, read.
//!
//! Every step is within one time limit, what is read within one size limit. Follows no redirect and
//! knows no cookie, cache or proxy: RFC 8461 §3.3 wants none. Must never speak to a host whose
//! certificate does not fit its name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::services::{Dns, DnsError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::http_response::{HttpError, body};
use crate::rt::{self, Buffer, HandshakeError, Stream, TcpStream};

/// What to get, and how far to go for it.
pub(super) struct Get<'a> {
    /// Name of the host, for the DNS, its certificate and the request.
    pub host: &'a str,
    /// Where it listens, usually 443.
    pub port: u16,
    /// Path of the document.
    pub path: &'a str,
    /// For everything together.
    pub within: Duration,
    /// Longest body in bytes.
    pub limit: usize,
}

/// Why a document was not got.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host has no address, or the DNS does not tell it.
    #[error("{host}: {cause}")]
    Dns {
        /// The host.
        host: String,
        /// What the DNS said.
        cause: DnsError,
    },
    /// No name that a certificate could be for.
    #[error("{0:?} is no host name")]
    Name(String),
    /// The host did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("connection to {0} failed: {1}")]
    Connect(SocketAddr, io::Error),
    /// TLS, most often the certificate.
    #[error("TLS with {0} failed: {1}")]
    Tls(SocketAddr, HandshakeError),
    /// The connection broke later.
    #[error("connection broke: {0}")]
    Broken(io::Error),
    /// What came is not what was asked for.
    #[error("{0}")]
    Http(#[from] HttpError),
}

impl Get<'_> {
    /// The document.
    ///
    /// # Errors
    /// [`FetchError`], of the last address that was tried.
    pub(super) async fn fetch(
        &self,
        dns: &dyn Dns,
        tls: &Arc<ClientConfig>,
    ) -> Result<Vec<u8>, FetchError> {
        match rt::timeout(self.within, Box::pin(self.fetch_untimed(dns, tls))).await {
            Ok(done) => done,
            Err(rt::Elapsed) => Err(FetchError::Timeout),
        }
    }

    async fn fetch_untimed(
        &self,
        dns: &dyn Dns,
        tls: &Arc<ClientConfig>,
    ) -> Result<Vec<u8>, FetchError> {
        let name = ServerName::try_from(self.host.to_owned())
            .map_err(|_| FetchError::Name(self.host.to_owned()))?;
        let mut last = None;
        for ip in self.addresses(dns).await? {
            let address = SocketAddr::new(ip, self.port);
            match self.connect(address, &name, tls).await {
                Ok(stream) => return self.ask(&stream).await,
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or(FetchError::Timeout))
    }

    async fn addresses(&self, dns: &dyn Dns) -> Result<Vec<IpAddr>, FetchError> {
        let v4 = dns.a(self.host).await;
        let v6 = dns.aaaa(self.host).await;
        let problem = v4.as_ref().err().or(v6.as_ref().err()).cloned();
        let mut found: Vec<_> = [v4, v6].into_iter().flatten().flatten().collect();
        found.truncate(MOST_ADDRESSES);
        match problem {
            Some(cause) if found.is_empty() => Err(FetchError::Dns {
                host: self.host.to_owned(),
                cause,
            }),
            _ => Ok(found),
        }
    }

    async fn connect(
        &self,
        address: SocketAddr,
        name: &ServerName<'static>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Stream, FetchError> {
        let share = self.within / 4;
        let connected = rt::timeout(share, TcpStream::connect(address, None)).await;
        let mut stream: Stream = match connected {
            Ok(Ok(stream)) => stream.into(),
            Ok(Err(e)) => return Err(FetchError::Connect(address, e)),
            Err(rt::Elapsed) => return Err(FetchError::Timeout),
        };
        let session = ClientConnection::new(Arc::clone(tls), name.clone())
            .map_err(|e| FetchError::Tls(address, e.into()))?;
        match rt::timeout(share, Box::pin(stream.start_tls(session.into()))).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(e)) => Err(FetchError::Tls(address, e)),
            Err(rt::Elapsed) => Err(FetchError::Timeout),
        }
    }

    async fn ask(&self, stream: &Stream) -> Result<Vec<u8>, FetchError> {
        let host = match self.port {
            443 => self.host.to_owned(),
            port => format!("{}:{port}", self.host),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Haraka\r\nAccept: text/plain\r\n\
             Connection: close\r\n\r\n",
            self.path
        );
        let written = stream.write_all(request.as_bytes()).await;
        written.map_err(FetchError::Broken)?;
        let mut received = Vec::new();
        loop {
            stream.readable().await.map_err(FetchError::Broken)?;
            let mut buffer = Buffer::take();
            let ended = match stream.try_read(&mut buffer) {
                Ok(n) => {
                    received.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    n == 0
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(FetchError::Broken(e)),
            };
            drop(buffer);
            if received.len() > self.limit.saturating_mul(2) + HEAD {
                return Err(HttpError::TooLong.into());
            }
            if let Some(content) = body(&received, ended, self.limit)? {
                return Ok(content);
            }
        }
    }
}

/// Addresses that are tried before a document is given up.
const MOST_ADDRESSES: usize = 4;
/// Octets that an answer may have besides its body: its head, and what chunks add.
const HEAD: usize = 32 * 1024;
