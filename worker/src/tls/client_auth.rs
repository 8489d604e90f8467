//! Certificates of clients during the handshake: asked for, and either taken as they are with the
//! verdict left for later, or required to be trusted (TLS-06 to TLS-08).
//!
//! Either way a client must prove that it has the key of what it shows.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::RawPublicKeyEntity;

use super::credential::parse;
use super::trust::Trust;

/// Takes certificates from clients.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    trust: Arc<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
    ask: bool,
    require: bool,
    hints: Vec<DistinguishedName>,
}

impl ClientCertificates {
    /// `ask` for certificates; `require` one that can be trusted.
    pub(super) fn new(
        trust: &Arc<Trust>,
        algorithms: WebPkiSupportedAlgorithms,
        ask: bool,
        require: bool,
    ) -> ClientCertificates {
        // The names of authorities help a client to choose; those of the system would be too many.
        let own = trust.own().iter().filter_map(|own| parse(own).ok());
        let hints = own.map(|own| own.subject().as_raw().to_vec().into());
        ClientCertificates {
            trust: Arc::clone(trust),
            algorithms,
            ask: ask || require,
            require,
            hints: hints.collect(),
        }
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        self.ask
    }

    fn client_auth_mandatory(&self) -> bool {
        self.require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.require {
            let chain: Vec<_> = std::iter::once(leaf).chain(others).cloned().collect();
            let judged = self.trust.judge_client(&chain, now);
            judged.map_err(|verdict| verdict.error)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls12_signature(message, certificate, signed, &self.algorithms) {
            Err(e) if is_odd(&e) => self.verify_odd(message, certificate, signed),
            verified => verified,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, certificate, signed, &self.algorithms) {
            Err(e) if is_odd(&e) => {
                let key = public_key(certificate)?;
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertificates {
    /// The signature by the key alone.
    fn verify_odd(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(certificate)?;
        let bad = || Error::from(CertificateError::BadSignature);
        let entity = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
        let mapping = self.algorithms.mapping.iter();
        let named = mapping.filter(|(scheme, _)| *scheme == signed.scheme);
        let mut algorithms = named.flat_map(|(_, algorithms)| algorithms.iter().copied());
        let proven = |algorithm: &dyn SignatureVerificationAlgorithm| {
            let verified = entity.verify_signature(algorithm, message, signed.signature());
            verified.is_ok()
        };
        match algorithms.any(proven) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(bad()),
        }
    }
}

/// Whether a certificate is one that WebPKI does not read, such as one of version 1. Machines show
/// such as well, and where none is required that is no reason to do without TLS.
fn is_odd(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::BadEncoding
                | CertificateError::UnhandledCriticalExtension
                | CertificateError::Other(_)
        )
    )
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let bad = |_| Error::from(CertificateError::BadEncoding);
    let parsed = parse(certificate).map_err(bad)?;
    Ok(parsed.public_key().raw.to_vec().into())
}

#[cfg(test)]
#[path = "client_auth_tests.rs"]
mod tests;
