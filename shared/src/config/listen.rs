//! Addresses to listen on as `smtp.ini` writes them (KEY-01, KEY-02, PA-38). Pure text work.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// An address and port.
    Tcp(SocketAddr),
    /// A Unix socket and, if given, its permission bits.
    Unix(PathBuf, Option<u32>),
}

impl Display for ListenAddr {
    /// `127.0.0.1:25`, `[::0]:25` or `/path:660`, as Haraka writes them in its log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Tcp(a) if a.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                write!(f, "[::0]:{}", a.port())
            }
            ListenAddr::Tcp(a) => write!(f, "{a}"),
            ListenAddr::Unix(path, Some(mode)) => write!(f, "{}:{mode:03o}", path.display()),
            ListenAddr::Unix(path, None) => write!(f, "{}", path.display()),
        }
    }
}

/// What one item of a list says, before names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and port, or a Unix socket.
    Addr(ListenAddr),
    /// A host name and port.
    Name(String, u16),
}

/// Splits a list at commas and semicolons; blanks around items and empty items do not count.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';'])
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Reads one item: `ip`, `ip:port`, `[v6]:port`, `v6`, `v6:port`, `port`, `name:port`, `/path` or
/// `/path:mode` with three octal digits. A number alone is a port on all addresses. On failure
/// tells why.
pub fn parse_endpoint(item: &str, default_port: u16) -> Result<Endpoint, String> {
    let tcp = |ip: IpAddr, port: u16| Ok(Endpoint::Addr(ListenAddr::Tcp((ip, port).into())));
    if !item.is_empty() && item.bytes().all(|b| b.is_ascii_digit()) {
        return tcp(Ipv6Addr::UNSPECIFIED.into(), port(item)?);
    }
    if item.contains('/') {
        return Ok(Endpoint::Addr(unix(item)));
    }
    if let Some(rest) = item.strip_prefix('[') {
        let (ip, tail) = rest
            .split_once(']')
            .ok_or_else(|| format!("\"{item}\" lacks a \"]\""))?;
        let ip: Ipv6Addr = ip
            .parse()
            .map_err(|_| format!("\"{ip}\" is not an IPv6 address"))?;
        return match tail.strip_prefix(':') {
            Some(digits) => tcp(ip.into(), port(digits)?),
            None if tail.is_empty() => tcp(ip.into(), default_port),
            None => Err(format!("\"{tail}\" after \"]\" is not a port")),
        };
    }
    // Haraka's order: what reads as IPv6 and a port is that, before it is an IPv6 address alone.
    if let Some((host, digits)) = item.rsplit_once(':') {
        if let Ok(ip) = host.parse::<Ipv6Addr>()
            && host.contains(':')
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.is_empty()
        {
            return tcp(ip.into(), port(digits)?);
        }
        if host.contains(':') {
            let ip: Ipv6Addr = item
                .parse()
                .map_err(|_| format!("\"{item}\" is not an address and port"))?;
            return tcp(ip.into(), default_port);
        }
        return host_and_port(host, port(digits)?);
    }
    host_and_port(item, default_port)
}

fn host_and_port(host: &str, port: u16) -> Result<Endpoint, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Endpoint::Addr(ListenAddr::Tcp((ip, port).into())));
    }
    // Four numbers are an address, never a name.
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric || !is_host_name(host) {
        return Err(format!("\"{host}\" is not an address"));
    }
    Ok(Endpoint::Name(host.to_ascii_lowercase(), port))
}

/// Labels of letters, digits and inner hyphens (RFC 1123 §2.1).
pub(super) fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn port(digits: &str) -> Result<u16, String> {
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits);
    number
        .and_then(|d| d.parse().ok())
        .ok_or_else(|| format!("\"{digits}\" is not a port"))
}

fn unix(item: &str) -> ListenAddr {
    if let Some((path, mode)) = item.rsplit_once(':')
        && mode.len() == 3
        && let Ok(bits) = u32::from_str_radix(mode, 8)
    {
        return ListenAddr::Unix(path.into(), Some(bits));
    }
    ListenAddr::Unix(item.into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(item: &str, expected: &str) {
        let got = match parse_endpoint(item, 25) {
            Ok(Endpoint::Addr(a)) => a.to_string(),
            Ok(Endpoint::Name(n, p)) => format!("name {n} {p}"),
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(got, expected, "{item}");
    }

    #[test]
    fn listen_addresses_read_as_haraka_reads_them() {
        // covers KEY-01 PA-38
        check("2525", "[::0]:2525");
        check("[::0]:25", "[::0]:25");
        check("[::]:25", "[::0]:25");
        check("[2001:DB8::1]", "[2001:db8::1]:25");
        check("::1", "[::1]:25");
        check("2001:db8::1:2525", "[2001:db8::1]:2525");
        check("fe80:1:2:3:4:5:6:7", "[fe80:1:2:3:4:5:6:7]:25");
        check("127.0.0.1", "127.0.0.1:25");
        check("127.0.0.1:0", "127.0.0.1:0");
        check("LocalHost:587", "name localhost 587");
        check("mx.example", "name mx.example 25");
        check("/run/haraka.sock", "/run/haraka.sock");
        check("/run/haraka.sock:660", "/run/haraka.sock:660");
        check("/run/a:999", "/run/a:999");
    }

    #[test]
    fn bad_listen_addresses_say_what_is_bad() {
        check("127.0.0.1:25a", "error: \"25a\" is not a port");
        check("127.0.0.1:65536", "error: \"65536\" is not a port");
        check("127.0.0.1:", "error: \"\" is not a port");
        check("256.0.0.1:25", "error: \"256.0.0.1\" is not an address");
        check("[::1:25", "error: \"[::1:25\" lacks a \"]\"");
        check("[x]:25", "error: \"x\" is not an IPv6 address");
        check("[::1]25", "error: \"25\" after \"]\" is not a port");
        check("a_b:25", "error: \"a_b\" is not an address");
        check(":::25:x", "error: \":::25:x\" is not an address and port");
    }

    #[test]
    fn lists_split_at_commas_and_semicolons() {
        let items: Vec<_> = split_list(" a , b;c,, ").collect();
        assert_eq!(items, ["a", "b", "c"]);
    }
}
