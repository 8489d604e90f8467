//! The PROXY protocol, version 1 (text) and 2 (binary), as haproxy's document describes it: who the
//! client behind a proxy is (HAP-03, HAP-07, PB-07).
//!
//! Owns the header at the very beginning of a connection, before SMTP or TLS. Every length is checked
//! against what is there. Must never decide who may send a header; its caller knows the proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use haraka_shared::reply::Reply;
use thiserror::Error;

/// What the beginning of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// May become a header; look again when more has come.
    Incomplete,
    /// A header. What follows it belongs to the client.
    Header {
        /// What it says.
        found: Header,
        /// Octets that it takes.
        consumed: usize,
    },
    /// Something else: the peer speaks for itself.
    Other,
    /// Begins like a header and is none.
    Bad(HeaderError),
}

/// What a proxy says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The proxy speaks for itself, as in a health check: the addresses of the socket are the real
    /// ones.
    Local,
    /// The proxy speaks for this client.
    Client(Client),
}

/// A client behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Where the client connects from.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

impl Client {
    /// The protocol as version 1 names it; it is in `notes.proxy`.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        if self.source.is_ipv4() {
            "TCP4"
        } else {
            "TCP6"
        }
    }
}

/// Why a header cannot be taken. The client is told [`INVALID`] whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// No line end within 107 octets.
    #[error("version 1 header without a line end in its first {LONGEST_LINE} octets")]
    LineTooLong,
    /// Not `PROXY TCP4|TCP6 source destination port port`. UNKNOWN is among these, as for Haraka.
    #[error("version 1 header is not of the form")]
    Line,
    /// Not version 2, or not LOCAL or PROXY.
    #[error("version 2 header of unknown version or command")]
    Command,
    /// Not TCP over IPv4 or IPv6.
    #[error("version 2 header for a connection that is not TCP over IP")]
    Family,
    /// Longer than any proxy needs.
    #[error("version 2 header is longer than {LONGEST_BINARY} octets")]
    TooLong,
    /// Too short for its addresses, or a field that goes beyond the end.
    #[error("version 2 header with a wrong length in it")]
    Length,
    /// The checksum field does not fit.
    #[error("version 2 header with a wrong checksum")]
    Checksum,
}

/// The answer to a header that cannot be taken (HAP-04).
pub const INVALID: Reply = Reply::fixed(421, "Invalid PROXY format");
/// The answer when no header came in time (HAP-02).
pub const TIMEOUT: Reply = Reply::fixed(421, "PROXY timeout");

/// Octets of a version 1 header with its CRLF, as the document has it.
pub const LONGEST_LINE: usize = 107;
/// Octets of a version 2 header. Addresses and the usual fields take some hundreds; a client's
/// certificate takes a few thousand.
pub const LONGEST_BINARY: usize = 8192;

/// Looks at what a connection begins with.
#[must_use]
pub fn scan(buffer: &[u8]) -> Scan {
    if begins(buffer, SIGNATURE) {
        return binary(buffer);
    }
    if begins(buffer, WORD) {
        return line(buffer);
    }
    Scan::Other
}

/// Whether these are the octets that follow the first CRLF of a version 2 header, which to a server
/// that expects none looks like an empty command.
#[must_use]
pub fn is_rest_of_signature(buffer: &[u8]) -> bool {
    buffer.starts_with(SIGNATURE.strip_prefix(b"\r\n").unwrap_or(SIGNATURE))
}

/// Whether the buffer begins with the mark or may still come to.
fn begins(buffer: &[u8], mark: &[u8]) -> bool {
    let common = buffer.len().min(mark.len());
    buffer.get(..common) == mark.get(..common)
}

fn line(buffer: &[u8]) -> Scan {
    let window = buffer.get(..LONGEST_LINE).unwrap_or(buffer);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == LONGEST_LINE {
            Scan::Bad(HeaderError::LineTooLong)
        } else {
            Scan::Incomplete
        };
    };
    let text = window
        .get(..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| std::str::from_utf8(line).ok());
    match text.and_then(client_of_line) {
        Some(client) => Scan::Header {
            found: Header::Client(client),
            consumed: end + 1,
        },
        None => Scan::Bad(HeaderError::Line),
    }
}

fn client_of_line(text: &str) -> Option<Client> {
    let mut words = text.split(' ');
    let mut word = || words.next();
    if word()? != "PROXY" {
        return None;
    }
    let (protocol, source, destination) = (word()?, word()?, word()?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return None;
    }
    let (source, destination) = match protocol {
        "TCP4" => (ip::<Ipv4Addr>(source)?, ip::<Ipv4Addr>(destination)?),
        "TCP6" => (ip::<Ipv6Addr>(source)?, ip::<Ipv6Addr>(destination)?),
        _ => return None,
    };
    Some(Client {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn ip<T: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<T>().ok().map(Into::into)
}

fn port(text: &str) -> Option<u16> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn binary(buffer: &[u8]) -> Scan {
    let Some(fixed) = buffer.first_chunk::<FIXED>() else {
        return Scan::Incomplete;
    };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, LOCAL | PROXY) {
        return Scan::Bad(HeaderError::Command);
    }
    let consumed = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if consumed > LONGEST_BINARY {
        return Scan::Bad(HeaderError::TooLong);
    }
    let Some(header) = buffer.get(..consumed) else {
        return Scan::Incomplete;
    };
    let rest = header.get(FIXED..).unwrap_or_default();
    let found = if command == LOCAL {
        // What it says of addresses is to be ignored, so its fields may stand anywhere.
        Ok(Header::Local)
    } else {
        client_of_binary(family, rest).and_then(|(client, fields)| {
            check_fields(header, fields)?;
            Ok(Header::Client(client))
        })
    };
    match found {
        Ok(found) => Scan::Header { found, consumed },
        Err(why) => Scan::Bad(why),
    }
}

/// The addresses, and the fields behind them.
fn client_of_binary(family: u8, rest: &[u8]) -> Result<(Client, &[u8]), HeaderError> {
    let mut at = Octets(rest);
    let (source, destination): (IpAddr, IpAddr) = match family {
        TCP4 => (
            Ipv4Addr::from(at.take::<4>()?).into(),
            Ipv4Addr::from(at.take::<4>()?).into(),
        ),
        TCP6 => (
            Ipv6Addr::from(at.take::<16>()?).into(),
            Ipv6Addr::from(at.take::<16>()?).into(),
        ),
        _ => return Err(HeaderError::Family),
    };
    let (from, to) = (at.take()?, at.take()?);
    let client = Client {
        source: SocketAddr::new(source, u16::from_be_bytes(from)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(to)),
    };
    Ok((client, at.0))
}

/// Fields are type, length, value. Only the checksum means something here; all must fit.
fn check_fields(header: &[u8], fields: &[u8]) -> Result<(), HeaderError> {
    let mut at = Octets(fields);
    while !at.0.is_empty() {
        let [kind] = at.take()?;
        let len = u16::from_be_bytes(at.take()?);
        let value = at.slice(len.into())?;
        if kind != CHECKSUM {
            continue;
        }
        let stated = <[u8; 4]>::try_from(value).map_err(|_| HeaderError::Length)?;
        let place = header.len() - at.0.len() - stated.len();
        // The sum is taken with zeros in its own place.
        let octets = header.iter().enumerate().map(|(i, octet)| {
            let own = (place..place + stated.len()).contains(&i);
            if own { 0 } else { *octet }
        });
        if crc32c(octets) != u32::from_be_bytes(stated) {
            return Err(HeaderError::Checksum);
        }
    }
    Ok(())
}

/// Octets that are taken from the front.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(HeaderError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], HeaderError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(HeaderError::Length)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// CRC32c (RFC 3720 §B.4), bit by bit: once in the life of few connections.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    !octets.fold(u32::MAX, |sum, octet| {
        (0..8).fold(sum ^ u32::from(octet), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    })
}

const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const CHECKSUM: u8 = 0x03;

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
