//! Conversations of plugins with other servers: where those are, and what can be said and heard.
//!
//! Only the shape: the worker connects, reads and writes (`Services::dial`). Nothing here waits
//! without an end, and nothing is read that its reader did not set a bound for.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::plugin::LocalFuture;
use crate::route::{Host, Route, RouteError};
use crate::services::DnsError;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, an address or the path of a Unix socket.
    pub host: Host,
    /// The TCP port; of no meaning with a path.
    pub port: u16,
}

impl Endpoint {
    /// Reads `host`, `host:port`, `address`, `[IPv6]:port` or `/path`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, default_port: u16) -> Result<Endpoint, RouteError> {
        let route = Route::place(text.trim())?;
        Ok(Endpoint {
            host: route.host,
            port: route.port.unwrap_or(default_port),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Path(path) => write!(f, "{}", path.display()),
            Host::Ip(ip) if ip.is_ipv6() => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Why a conversation did not come about or broke off.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no addresses, or they could not be looked up.
    #[error("cannot look up {name}: {cause}")]
    Dns {
        /// The name.
        name: String,
        /// Why not.
        cause: DnsError,
    },
    /// Nobody took the connection.
    #[error("cannot connect to {to}: {cause}")]
    Connect {
        /// Whom.
        to: String,
        /// What the system said about the last address.
        cause: io::Error,
    },
    /// A step took longer than it may.
    #[error("time limit reached {0}")]
    Timeout(&'static str),
    /// The connection broke.
    #[error("connection broke: {0}")]
    Broken(#[from] io::Error),
    /// A line was longer than its reader allows; its octets are of no use any more.
    #[error("line of more than {0} octets")]
    TooLong(usize),
    /// TLS did not come about.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Whose certificates are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's: TLS against eavesdropping only.
    Anyone,
    /// Those that the system's certification authorities vouch for, under the name that is asked for.
    System,
}

/// An open connection. Every call has to be done within the limit of a step; after an error, or a
/// call that was dropped in the middle (reads excepted), the connection can only be closed, by
/// dropping it. What a dropped read had received is there for the next one.
pub trait Dialogue {
    /// Sets how long each call may take from now on; at first it is the time for connecting.
    fn limit(&mut self, step: Duration);

    /// Writes all of it.
    fn write_all<'a>(&'a mut self, octets: &'a [u8]) -> LocalFuture<'a, Result<(), DialError>>;

    /// The next line without its LF or CR LF; `None` when the peer has closed, whatever it left of
    /// a line. More than `longest` octets without an end are an error.
    fn read_line(&mut self, longest: usize) -> LocalFuture<'_, Result<Option<Vec<u8>>, DialError>>;

    /// Whatever is there, at least one octet and at most `most`; empty when the peer has closed.
    fn read_some(&mut self, most: usize) -> LocalFuture<'_, Result<Vec<u8>, DialError>>;

    /// Whether something was received that nobody has read yet.
    fn has_unread(&self) -> bool;

    /// Begins TLS with a server of this name. Unread octets are an error: they came in the clear,
    /// and whoever sent them wants them taken for protected ones (RFC 3207 §6).
    fn start_tls<'a>(
        &'a mut self,
        name: &'a str,
        trust: Trust,
    ) -> LocalFuture<'a, Result<(), DialError>>;

    /// Tells the peer that nothing more is written; reading goes on.
    ///
    /// # Errors
    /// The connection is broken.
    fn finish(&mut self) -> Result<(), DialError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_form_gives_its_endpoint_and_back() {
        for (text, shown) in [
            ("mail.example", "mail.example:25"),
            ("mail.example:2525", "mail.example:2525"),
            (" 192.0.2.1 ", "192.0.2.1:25"),
            ("192.0.2.1:90", "192.0.2.1:90"),
            ("2001:db8::1", "[2001:db8::1]:25"),
            ("[2001:db8::1]:90", "[2001:db8::1]:90"),
            ("/run/auth.sock", "/run/auth.sock"),
        ] {
            assert_eq!(Endpoint::parse(text, 25).unwrap().to_string(), shown);
        }
        for bad in ["", "host:port", "host:70000", "[::1", ":25"] {
            assert!(Endpoint::parse(bad, 25).is_err(), "{bad}");
        }
    }
}
