//! Whom the server trusts, and what is to be thought of a peer's certificate (TLS-07, TLS-08).
//!
//! Verdicts are in the words of Node's error codes, which scripts and log readers know.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::credential::parse;

/// What is wrong with a certificate.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Node's code, such as `DEPTH_ZERO_SELF_SIGNED_CERT`.
    pub code: &'static str,
    /// What rustls says, which decides the alert.
    pub error: Error,
}

/// Authorities and revoked certificates.
pub struct Trust {
    provider: Arc<CryptoProvider>,
    anchors: Anchors,
    crls: Vec<CertificateRevocationListDer<'static>>,
    /// Made when the first certificate is judged.
    verifier: OnceLock<Option<Arc<dyn ClientCertVerifier>>>,
}

enum Anchors {
    /// Those that the system trusts.
    System,
    /// Those of `ca`.
    Own(Vec<CertificateDer<'static>>),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.anchors {
            Anchors::System => f.write_str("Trust of the system"),
            Anchors::Own(own) => write!(f, "Trust of {} authorities", own.len()),
        }
    }
}

/// The authorities that the system trusts, read once in the life of a process. Where the system has
/// none, nobody is trusted.
#[must_use]
pub fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    Arc::clone(roots)
}

impl Trust {
    /// Trusts `own`, or whom the system trusts if that is empty; none of `crls`.
    #[must_use]
    pub fn new(
        provider: Arc<CryptoProvider>,
        own: Vec<CertificateDer<'static>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Trust {
        Trust {
            provider,
            anchors: match own.is_empty() {
                true => Anchors::System,
                false => Anchors::Own(own),
            },
            crls,
            verifier: OnceLock::new(),
        }
    }

    /// Trusts nobody.
    #[must_use]
    pub(super) fn nobody(provider: Arc<CryptoProvider>) -> Trust {
        Trust {
            provider,
            anchors: Anchors::Own(Vec::new()),
            crls: Vec::new(),
            verifier: OnceLock::new(),
        }
    }

    /// Whether those are trusted that the system trusts.
    #[must_use]
    pub fn is_of_system(&self) -> bool {
        matches!(self.anchors, Anchors::System)
    }

    /// The authorities of `ca`; empty for those of the system.
    #[must_use]
    pub fn own(&self) -> &[CertificateDer<'static>] {
        match &self.anchors {
            Anchors::System => &[],
            Anchors::Own(own) => own,
        }
    }

    /// Lists of revoked certificates.
    #[must_use]
    pub fn crls(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.crls
    }

    /// The authorities as rustls takes them.
    #[must_use]
    pub fn roots(&self) -> Arc<RootCertStore> {
        match &self.anchors {
            Anchors::System => system_roots(),
            Anchors::Own(own) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(own.iter().cloned());
                Arc::new(roots)
            }
        }
    }

    /// Whether the certificates of a client, its own in front, can be trusted at this time.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_client(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Verdict> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err(Verdict {
                code: "UNABLE_TO_GET_ISSUER_CERT",
                error: Error::NoCertificatesPresented,
            });
        };
        // A certificate that vouches for itself may be named in `ca`; WebPKI knows only authorities.
        let itself = self.own().iter().any(|own| own == leaf) && is_self_signed(leaf);
        if itself && let Some(validity) = validity(leaf, now) {
            return validity;
        }
        let verifier = self.verifier.get_or_init(|| self.verifier());
        let judged = match verifier {
            Some(verifier) => verifier.verify_client_cert(leaf, others, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        judged.map(drop).map_err(|error| Verdict {
            code: code(&error, chain, now),
            error,
        })
    }

    fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        let provider = Arc::clone(&self.provider);
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots(), provider);
        let builder = match self.crls.is_empty() {
            true => builder,
            false => builder
                .with_crls(self.crls.iter().cloned())
                .enforce_revocation_expiration(),
        };
        builder.build().ok()
    }
}

pub(super) fn code(error: &Error, chain: &[CertificateDer<'_>], now: UnixTime) -> &'static str {
    use CertificateError as E;
    let Error::InvalidCertificate(error) = error else {
        return "UNSPECIFIED";
    };
    match error {
        E::Expired | E::ExpiredContext { .. } => "CERT_HAS_EXPIRED",
        E::NotValidYet | E::NotValidYetContext { .. } => "CERT_NOT_YET_VALID",
        E::Revoked => "CERT_REVOKED",
        E::UnknownRevocationStatus => "UNABLE_TO_GET_CRL",
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => "CRL_HAS_EXPIRED",
        E::NotValidForName | E::NotValidForNameContext { .. } => "ERR_TLS_CERT_ALTNAME_INVALID",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "INVALID_PURPOSE",
        E::BadSignature
        | E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => "CERT_SIGNATURE_FAILURE",
        _ => unknown(chain, now),
    }
}

/// A certificate that leads to nobody, as OpenSSL tells the cases apart.
fn unknown(chain: &[CertificateDer<'_>], now: UnixTime) -> &'static str {
    match chain {
        [leaf, ..] if is_self_signed(leaf) => match validity(leaf, now) {
            Some(Err(verdict)) => verdict.code,
            _ => "DEPTH_ZERO_SELF_SIGNED_CERT",
        },
        [_] => "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        [.., last] if is_self_signed(last) => "SELF_SIGNED_CERT_IN_CHAIN",
        _ => "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    }
}

pub(super) fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|c| c.subject().as_raw() == c.issuer().as_raw())
}

/// Whether the certificate holds at this time; `None` if it cannot be told.
pub(super) fn validity(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Option<Result<(), Verdict>> {
    let parsed = parse(certificate).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    let (code, error) = if now > parsed.validity().not_after.timestamp() {
        ("CERT_HAS_EXPIRED", CertificateError::Expired)
    } else if now < parsed.validity().not_before.timestamp() {
        ("CERT_NOT_YET_VALID", CertificateError::NotValidYet)
    } else {
        return Some(Ok(()));
    };
    Some(Err(Verdict {
        code,
        error: error.into(),
    }))
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
