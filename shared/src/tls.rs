//! What is known of a TLS session once its handshake is done, and how it is written down (TLS-21).

use std::fmt;

use serde_json::{Value, json};

use crate::date;

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
    /// Organization of its issuer; empty if it has none.
    pub issuer_organization: Box<str>,
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

impl Tls {
    /// What the log line of a session that came under TLS says.
    pub fn secured(&self) -> Secured<'_> {
        Secured(self)
    }

    /// Name, registered name and version of the cipher, in the form of Node's `getCipher`.
    pub fn cipher_json(&self) -> Value {
        json!({
            "name": self.cipher,
            "standardName": self.standard_cipher,
            "version": self.version,
        })
    }

    /// The peer's certificate in the form of Node's `getPeerCertificate`; an empty object without one.
    pub fn peer_json(&self) -> Value {
        let Some(peer) = &self.peer else {
            return json!({});
        };
        let names: Vec<String> = peer.names.iter().map(|name| shown_name(name)).collect();
        json!({
            "subject": named(&peer.subject, &peer.organization),
            "issuer": named(&peer.issuer, &peer.issuer_organization),
            "subjectaltname": names.join(", "),
            "valid_from": date::openssl(peer.not_before),
            "valid_to": date::openssl(peer.not_after),
            "fingerprint": peer.fingerprint,
            "fingerprint256": peer.fingerprint256,
        })
    }

    /// What plugins find in the note `tls` of a connection.
    pub fn note(&self) -> Value {
        let mut note = json!({
            // Older name of `verified`.
            "authorized": self.verified,
            "cipher": self.cipher_json(),
            "peerCertificate": self.peer_json(),
        });
        if let (Some(error), Some(note)) = (&self.verify_error, note.as_object_mut()) {
            note.insert("authorizationError".to_owned(), json!(error));
        }
        note
    }
}

fn named(common_name: &str, organization: &str) -> Value {
    let mut name = serde_json::Map::new();
    for (key, value) in [("O", organization), ("CN", common_name)] {
        if !value.is_empty() {
            name.insert(key.to_owned(), value.into());
        }
    }
    Value::Object(name)
}

fn shown_name(name: &str) -> String {
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) => format!("IP Address:{ip}"),
        Err(_) => format!("DNS:{name}"),
    }
}

/// See [`Tls::secured`].
#[derive(Debug)]
pub struct Secured<'a>(&'a Tls);

impl fmt::Display for Secured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = self.0;
        write!(
            f,
            "secured: cipher={} version={} verified={}",
            tls.cipher, tls.version, tls.verified
        )?;
        if let Some(error) = &tls.verify_error {
            write!(f, " error=\"{error}\"")?;
        }
        let Some(peer) = &tls.peer else {
            return Ok(());
        };
        // Names come from the client: what could end a word or a line stays out.
        write!(
            f,
            " cn=\"{}\" organization=\"{}\" issuer=\"{}\" expires=\"{}\" fingerprint={}",
            Quoted(&peer.subject),
            Quoted(&peer.organization),
            Quoted(&peer.issuer_organization),
            date::openssl(peer.not_after),
            peer.fingerprint
        )
    }
}

/// A name of a certificate between quotation marks.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            // As Haraka writes a part that is not there.
            return f.write_str("undefined");
        }
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Tls {
        Tls {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            standard_cipher: "TLS_AES_256_GCM_SHA384",
            ..Tls::default()
        }
    }

    // covers TLS-21
    #[test]
    fn line_has_haraka_s_words_with_and_without_a_certificate() {
        let mut tls = session();
        assert_eq!(
            tls.secured().to_string(),
            "secured: cipher=TLS_AES_256_GCM_SHA384 version=TLSv1.3 verified=false"
        );
        tls.verify_error = Some("DEPTH_ZERO_SELF_SIGNED_CERT".into());
        tls.peer = Some(PeerCertificate {
            subject: "client\".example\n".into(),
            not_after: 4_102_444_800,
            fingerprint: "AB:CD".into(),
            ..PeerCertificate::default()
        });
        assert_eq!(
            tls.secured().to_string(),
            "secured: cipher=TLS_AES_256_GCM_SHA384 version=TLSv1.3 verified=false \
             error=\"DEPTH_ZERO_SELF_SIGNED_CERT\" cn=\"client\\\".example\\n\" \
             organization=\"undefined\" issuer=\"undefined\" \
             expires=\"Jan  1 00:00:00 2100 GMT\" fingerprint=AB:CD"
        );
    }

    // covers TLS-21
    #[test]
    fn note_has_the_names_that_scripts_know() {
        let mut tls = session();
        tls.verified = true;
        tls.peer = Some(PeerCertificate {
            subject: "a".into(),
            organization: "b".into(),
            names: vec!["c.example".into(), "192.0.2.1".into()],
            ..PeerCertificate::default()
        });
        let note = tls.note();
        assert_eq!(note["authorized"], true);
        assert_eq!(note["cipher"]["version"], "TLSv1.3");
        assert_eq!(note["peerCertificate"]["subject"]["CN"], "a");
        assert_eq!(note["peerCertificate"]["subject"]["O"], "b");
        assert_eq!(
            note["peerCertificate"]["subjectaltname"],
            "DNS:c.example, IP Address:192.0.2.1"
        );
        assert_eq!(note.get("authorizationError"), None);
    }
}
