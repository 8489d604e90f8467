//! Where to deliver: one host of a route, from the DNS or from a plugin (Haraka's `HarakaMx`, OUT-28).

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::TlsClient;
use crate::escapes::unescape;

/// What a route points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name to look up.
    Name(String),
    /// An address.
    Ip(IpAddr),
    /// A Unix socket.
    Path(PathBuf),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(n) => f.write_str(n),
            Host::Ip(ip) => write!(f, "{ip}"),
            Host::Path(p) => write!(f, "{}", p.display()),
        }
    }
}

/// One host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host.
    pub host: Host,
    /// Its port; `None` means 25, or 24 with LMTP (OUT-29).
    pub port: Option<u16>,
    /// Speak LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// Lower is tried first; plugin-given lists keep their order instead (PA-45).
    pub preference: u16,
    /// Local address to connect from.
    pub bind: Option<IpAddr>,
    /// Name for EHLO instead of `me`.
    pub bind_helo: Option<String>,
    /// User for AUTH.
    pub auth_user: Option<String>,
    /// Password for AUTH.
    pub auth_pass: Option<String>,
    /// Mechanism for AUTH; the best offered one when unset.
    pub auth_type: Option<String>,
    /// Whether to use STARTTLS where it is offered; as `outbound.ini` says when unset.
    pub starttls: Option<bool>,
    /// How TLS is spoken with it; as `[outbound]` of `tls.ini` says when unset.
    pub tls: Option<Arc<TlsClient>>,
    /// The client that the message came from, told to the host by XCLIENT where it takes that.
    pub xclient: Option<XClient>,
    /// How long to wait for the connection; as `outbound.ini` says when unset.
    pub connect_timeout: Option<Duration>,
    /// Found in the DNS rather than given by a plugin; only such hosts are checked for being this
    /// server itself (PB-66).
    pub from_dns: bool,
}

/// A client as the host behind this server is to see it (SMC-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XClient {
    /// Its address.
    pub addr: IpAddr,
    /// The name that it gave in EHLO or HELO; `None` for ours.
    pub helo: Option<String>,
}

/// Why a text is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing there.
    #[error("empty host")]
    Empty,
    /// The part behind the colon is no port.
    #[error("{0:?} is not a port")]
    Port(String),
    /// A bracket without its partner, or no address between them.
    #[error("{0:?} is not an address in brackets")]
    Bracket(String),
    /// A scheme other than smtp:// and lmtp://.
    #[error("{0:?} is not smtp:// or lmtp://")]
    Scheme(String),
}

impl Route {
    /// A route to a host with everything else at its default.
    pub fn to(host: Host) -> Route {
        Route {
            host,
            port: None,
            lmtp: false,
            preference: 0,
            bind: None,
            bind_helo: None,
            auth_user: None,
            auth_pass: None,
            auth_type: None,
            starttls: None,
            tls: None,
            xclient: None,
            connect_timeout: None,
            from_dns: false,
        }
    }

    /// Reads `host`, `host:port`, `[v6]:port`, a bare address, `/path`, or
    /// `smtp://user:pass@host:port` and `lmtp://…`.
    pub fn parse(text: &str) -> Result<Route, RouteError> {
        let text = text.trim();
        if let Some((scheme, rest)) = text.split_once("://") {
            let lmtp = match scheme.to_ascii_lowercase().as_str() {
                "smtp" => false,
                "lmtp" => true,
                _ => return Err(RouteError::Scheme(scheme.to_owned())),
            };
            let (credentials, place) = match rest.rsplit_once('@') {
                Some((c, p)) => (Some(c), p),
                None => (None, rest),
            };
            let mut route = Route::place(place.trim_end_matches('/'))?;
            route.lmtp = lmtp;
            if let Some((user, pass)) = credentials.and_then(|c| c.split_once(':')) {
                route.auth_user = Some(percent_decoded(user));
                route.auth_pass = Some(percent_decoded(pass));
            }
            return Ok(route);
        }
        Route::place(text)
    }

    /// [`Route::parse`] without schemes.
    pub(crate) fn place(text: &str) -> Result<Route, RouteError> {
        if text.is_empty() {
            return Err(RouteError::Empty);
        }
        if text.starts_with('/') {
            return Ok(Route::to(Host::Path(PathBuf::from(text))));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Route::to(Host::Ip(ip)));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let bad = || RouteError::Bracket(text.to_owned());
            let (inside, after) = rest.split_once(']').ok_or_else(bad)?;
            let ip = inside
                .trim_start_matches("IPv6:")
                .parse()
                .map_err(|_| bad())?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or_else(bad)?),
            };
            (Host::Ip(ip), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((n, p)) => (n, Some(p)),
                None => (text, None),
            };
            match name.parse() {
                Ok(ip) => (Host::Ip(ip), port),
                Err(_) if name.is_empty() => return Err(RouteError::Empty),
                Err(_) => (Host::Name(name.to_ascii_lowercase()), port),
            }
        };
        let mut route = Route::to(host);
        if let Some(port) = port {
            route.port = Some(
                port.parse()
                    .map_err(|_| RouteError::Port(port.to_owned()))?,
            );
        }
        Ok(route)
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.lmtp { 24 } else { 25 })
    }
}

/// Credentials in a URI may hold `%40` and the like (RFC 3986 §2.1).
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    unescape(text, b'%', |octet| octet, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers OUT-28
    #[test]
    fn every_written_form_gives_its_route() {
        let cases: [(&str, Host, Option<u16>, bool); 8] = [
            (
                "MX.example.com",
                Host::Name("mx.example.com".into()),
                None,
                false,
            ),
            (
                "mx.example.com:2525",
                Host::Name("mx.example.com".into()),
                Some(2525),
                false,
            ),
            (
                "127.0.0.1:26",
                Host::Ip("127.0.0.1".parse().unwrap()),
                Some(26),
                false,
            ),
            ("::1", Host::Ip("::1".parse().unwrap()), None, false),
            (
                "[::1]:26",
                Host::Ip("::1".parse().unwrap()),
                Some(26),
                false,
            ),
            (
                "smtp://mx.example.com",
                Host::Name("mx.example.com".into()),
                None,
                false,
            ),
            (
                "lmtp://[::1]:24",
                Host::Ip("::1".parse().unwrap()),
                Some(24),
                true,
            ),
            (
                "/run/lmtp.sock",
                Host::Path("/run/lmtp.sock".into()),
                None,
                false,
            ),
        ];
        for (text, host, port, lmtp) in cases {
            let route = Route::parse(text).unwrap();
            assert_eq!(
                (route.host, route.port, route.lmtp),
                (host, port, lmtp),
                "{text}"
            );
        }
    }

    // covers OUT-28
    #[test]
    fn credentials_in_a_uri_are_decoded() {
        let route = Route::parse("smtp://bob%40example.com:p%3Aw@mx:587").unwrap();
        assert_eq!(route.auth_user.as_deref(), Some("bob@example.com"));
        assert_eq!(route.auth_pass.as_deref(), Some("p:w"));
        assert_eq!(route.port(), 587);
    }

    #[test]
    fn nonsense_is_an_error_not_a_host() {
        for text in ["", "mx:port", "mx:99999", "[::1", "ftp://mx"] {
            assert!(Route::parse(text).is_err(), "{text}");
        }
    }
}
