//! What is known of a TLS session once its handshake is done (TLS-21).

/// Why a client's session did not come under TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// There is no certificate to show; nothing was said to the client.
    #[error("no certificate to show")]
    NoCertificate,
    /// The client took too long.
    #[error("timed out")]
    TimedOut,
    /// The client closed, or the connection broke, before the handshake was done.
    #[error("{0}")]
    Gone(Box<str>),
    /// One side did not accept the other's messages or certificate.
    #[error("{0}")]
    Refused(Box<str>),
    /// There is no session that could begin it.
    #[error("the session has ended")]
    NoSession,
}

/// A session as plugins and log lines see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// OpenSSL's name of the cipher, which Haraka's log lines carry.
    pub cipher: &'static str,
    /// The name of the cipher in the registry of RFC 8446.
    pub standard_cipher: &'static str,
    /// The name that the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// The peer's certificate, if it showed one.
    pub peer: Option<PeerCertificate>,
    /// The peer's certificate is trusted.
    pub verified: bool,
    /// Why it is not, in the words of Node's error codes where there is one.
    pub verify_error: Option<Box<str>>,
}

/// What a peer's certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Common name of its subject; empty if it has none.
    pub subject: Box<str>,
    /// Organization of its subject; empty if it has none.
    pub organization: Box<str>,
    /// Common name of its issuer; empty if it has none.
    pub issuer: Box<str>,
    /// DNS names and addresses that it is for.
    pub names: Vec<Box<str>>,
    /// Seconds since 1970 from which it holds.
    pub not_before: i64,
    /// Seconds since 1970 until which it holds.
    pub not_after: i64,
    /// SHA-1 of its DER form, upper-case hexadecimal with colons.
    pub fingerprint: Box<str>,
    /// SHA-256 of its DER form, written alike.
    pub fingerprint256: Box<str>,
}
