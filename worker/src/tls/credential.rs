//! A certificate with the key that belongs to it, and what the server must know of both.
//!
//! Keys are used through rustls only; nothing here shows or keeps their bytes.

use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Why a key and a certificate are of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The certificate cannot be parsed.
    #[error("not a certificate: {0}")]
    Certificate(String),
    /// ring cannot sign with the key.
    #[error(
        "the key cannot be used: RSA from 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519 can"
    )]
    Key,
    /// None of the keys is that of the certificate.
    #[error("no key belongs to the certificate")]
    NoKey,
}

/// What a certificate says that decides about its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Common name and DNS names, in lower case, each once; the common name first.
    pub(super) names: Vec<String>,
    /// Seconds since 1970 until which it holds.
    pub(super) not_after: i64,
    /// It is an authority's, and no server's.
    pub(super) is_authority: bool,
    /// The key that it is about.
    public_key: Vec<u8>,
}

impl Facts {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Facts, CredentialError> {
        let parsed = parse(certificate)?;
        let mut names: Vec<String> = Vec::new();
        let common = parsed.subject().iter_common_name().next();
        let common = common.and_then(|name| name.as_str().ok());
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let dns = alternative.iter().flat_map(|a| &a.value.general_names);
        let dns = dns.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        for name in common.into_iter().chain(dns) {
            let name = name.to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Facts {
            names,
            not_after: parsed.validity().not_after.timestamp(),
            is_authority: parsed.is_ca(),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
        })
    }
}

/// Parses a certificate.
pub(super) fn parse<'a>(
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, CredentialError> {
    X509Certificate::from_der(der)
        .map(|(_, parsed)| parsed)
        .map_err(|e| CredentialError::Certificate(e.to_string()))
}

/// A private key that can sign.
#[derive(Clone, Debug)]
pub(super) struct Signing {
    key: Arc<dyn SigningKey>,
    public_key: Vec<u8>,
}

impl Signing {
    pub(super) fn load(der: &PrivateKeyDer<'_>) -> Result<Signing, CredentialError> {
        let key = any_supported_type(der).map_err(|_| CredentialError::Key)?;
        let public_key = key.public_key().ok_or(CredentialError::Key)?;
        let (_, parsed) =
            SubjectPublicKeyInfo::from_der(&public_key).map_err(|_| CredentialError::Key)?;
        let public_key = parsed.subject_public_key.data.to_vec();
        Ok(Signing { key, public_key })
    }

    /// Whether it is the key of this certificate.
    pub(super) fn belongs_to(&self, facts: &Facts) -> bool {
        self.public_key == facts.public_key
    }
}

/// A certificate that the server can show.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The chain, the key, and the stapled response if there is one.
    pub certified: Arc<CertifiedKey>,
    /// Common name and DNS names, in lower case.
    pub names: Vec<String>,
    /// Seconds since 1970 until which it holds.
    pub not_after: i64,
    /// Name of the certificate's file, as an operator knows it.
    pub file: String,
}

impl Credential {
    /// Puts a chain together with the one of `keys` that belongs to it.
    ///
    /// # Errors
    /// There is no certificate in the chain, or no key for it.
    pub(super) fn join(
        file: &str,
        chain: Vec<CertificateDer<'static>>,
        keys: &[Signing],
        ocsp: Option<Vec<u8>>,
    ) -> Result<Credential, CredentialError> {
        let none = || CredentialError::Certificate("none in the file".to_owned());
        let facts = Facts::of(chain.first().ok_or_else(none)?)?;
        let key = keys.iter().find(|key| key.belongs_to(&facts));
        let key = key.ok_or(CredentialError::NoKey)?;
        let mut certified = CertifiedKey::new(chain, Arc::clone(&key.key));
        certified.ocsp = ocsp;
        Ok(Credential {
            certified: Arc::new(certified),
            names: facts.names,
            not_after: facts.not_after,
            file: file.to_owned(),
        })
    }

    /// Which of several certificates for a name is shown before others: the faster one.
    pub(super) fn rank(&self) -> u8 {
        match self.certified.key.algorithm() {
            SignatureAlgorithm::ECDSA => 0,
            SignatureAlgorithm::ED25519 => 1,
            _ => 2,
        }
    }
}
