//! TLS for the client that speaks SMTP by hand: after STARTTLS, or from the first octet.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, RootCertStore,
    SignatureScheme,
};

use super::client::SmtpClient;
use super::pki::Authority;

impl SmtpClient {
    /// Begins TLS on what is in the clear so far and completes the handshake; asks for the certificate
    /// of `name` (SNI). What was read in the clear and not looked at fails the test.
    ///
    /// # Errors
    /// The server closed or refused, or its certificate is not what `config` wants.
    pub fn try_start_tls(&mut self, config: &Arc<ClientConfig>, name: &str) -> io::Result<()> {
        assert_eq!(self.input, b"", "in the clear, before TLS");
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut self.stream)?;
        }
        self.note("-- ", b"TLS");
        self.tls = Some(Box::new(session));
        Ok(())
    }

    /// As [`SmtpClient::try_start_tls`]; what goes wrong fails the test.
    #[track_caller]
    pub fn start_tls(&mut self, config: &Arc<ClientConfig>, name: &str) {
        if let Err(error) = self.try_start_tls(config, name) {
            panic!("no TLS: {error}\n{}", self.history());
        }
    }

    /// Whether the session is an earlier one that was taken up again.
    pub fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// The first certificate that the server has shown; `None` in the clear.
    pub fn server_certificate(&self) -> Option<CertificateDer<'static>> {
        let shown = self.tls.as_ref()?.peer_certificates()?;
        shown.first().map(|first| first.clone().into_owned())
    }
}

/// A client that trusts this authority and has no certificate.
pub fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let roots = roots(authority);
    let config = builder().with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

/// A client that trusts this authority and shows a certificate, of which `pem` has the key as well.
pub fn showing(authority: &Authority, pem: &str) -> Arc<ClientConfig> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let config = builder().with_root_certificates(roots(authority));
    Arc::new(config.with_client_auth_cert(chain, key).unwrap())
}

/// A client that does not look at the server's certificate, as most senders of mail.
pub fn careless() -> Arc<ClientConfig> {
    let config = builder().dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(Careless));
    Arc::new(config.with_no_client_auth())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    builder.with_safe_default_protocol_versions().unwrap()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    roots
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
