//! TLS sessions towards back ends.
//!
//! Two configurations, each made when it is first asked for. Knows no socket.

use std::cell::OnceCell;
use std::sync::Arc;

use haraka_shared::dial::{DialError, Trust};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

thread_local! {
    static ANYONE: OnceCell<Arc<ClientConfig>> = const { OnceCell::new() };
    static SYSTEM: OnceCell<Arc<ClientConfig>> = const { OnceCell::new() };
}

/// A session with a server of this name, or at this address.
pub(super) fn session(name: &str, trust: Trust) -> Result<rustls::Connection, DialError> {
    let cell = match trust {
        Trust::Anyone => &ANYONE,
        Trust::System => &SYSTEM,
    };
    let config: Result<_, DialError> = cell.with(|cell| match cell.get() {
        Some(config) => Ok(Arc::clone(config)),
        None => {
            let made = Arc::new(config(trust)?);
            Ok(Arc::clone(cell.get_or_init(|| made)))
        }
    });
    let name = ServerName::try_from(name.to_owned())
        .map_err(|e| DialError::Tls(format!("{name:?}: {e}")))?;
    ClientConnection::new(config?, name)
        .map(Into::into)
        .map_err(failed)
}

fn config(trust: Trust) -> Result<ClientConfig, DialError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    Ok(match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoJudge(provider)))
            .with_no_client_auth(),
        Trust::System => builder
            .with_root_certificates(roots())
            .with_no_client_auth(),
    })
}

/// What the system trusts; nothing where there is nothing, so that then no server is.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn failed(e: rustls::Error) -> DialError {
    DialError::Tls(e.to_string())
}

/// Takes any certificate; the server must still hold its key.
#[derive(Debug)]
struct NoJudge(Arc<CryptoProvider>);

impl ServerCertVerifier for NoJudge {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
