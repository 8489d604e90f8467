//! What a TLS session came to, in the words of log lines and plugins.

use haraka_shared::tls::Tls;
use rustls::{CipherSuite, ProtocolVersion};

/// Describes a session whose handshake is done. The peer's certificate and what is thought of it are
/// the caller's to add.
pub(crate) fn summary(session: &rustls::Connection) -> Tls {
    let (cipher, standard_cipher) = session
        .negotiated_cipher_suite()
        .map_or(("", ""), |suite| names(suite.suite()));
    let server_name = match session {
        rustls::Connection::Server(server) => server.server_name().map(Into::into),
        rustls::Connection::Client(_) => None,
    };
    Tls {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "",
        },
        cipher,
        standard_cipher,
        server_name,
        ..Tls::default()
    }
}

/// OpenSSL's name of a suite, and that of the registry.
fn names(suite: CipherSuite) -> (&'static str, &'static str) {
    use haraka_shared::config::Cipher;
    let wanted = suite.as_str().unwrap_or_default();
    // rustls writes the suites of TLS 1.3 with a prefix of its own.
    let wanted = wanted.replacen("TLS13_", "TLS_", 1);
    Cipher::all()
        .find(|cipher| cipher.standard_name() == wanted)
        .map_or(("", ""), |cipher| {
            (cipher.openssl_name(), cipher.standard_name())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers TLS-21
    #[test]
    fn every_suite_that_can_be_negotiated_has_both_names() {
        for suite in rustls::crypto::ring::ALL_CIPHER_SUITES {
            let (openssl, standard) = names(suite.suite());
            assert!(!openssl.is_empty(), "{:?}", suite.suite());
            assert!(standard.starts_with("TLS_"), "{standard}");
        }
    }
}
