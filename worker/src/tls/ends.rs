//! A certificate of our own, and configurations that show it and trust it.

use std::sync::{Arc, OnceLock};

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

/// The name in the certificate.
pub(crate) const NAME: &str = "mx.example.org";

/// A self-signed certificate and its key, made once.
fn made() -> &'static CertifiedKey<KeyPair> {
    static MADE: OnceLock<CertifiedKey<KeyPair>> = OnceLock::new();
    MADE.get_or_init(|| rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap())
}

fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = made();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    (made.cert.der().clone(), key)
}

/// The certificate of [`ends`] and its key as files.
pub(crate) fn files() -> (String, String) {
    let made = made();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Both ends, made once for all tests.
pub(crate) fn ends() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    static ENDS: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    ENDS.get_or_init(|| {
        let (certificate, key) = certificate();
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    })
    .clone()
}

/// A server's session.
pub(crate) fn server() -> rustls::Connection {
    rustls::ServerConnection::new(ends().0).unwrap().into()
}

/// A client's session that trusts [`ends`]' certificate.
pub(crate) fn client() -> ClientConnection {
    ClientConnection::new(ends().1, ServerName::try_from(NAME).unwrap()).unwrap()
}
