//! The words of TLS reports (RFC 8460 §4.3): what came of a connection, in terms that the
//! destination's operator gets to read.
//!
//! Pure values; `counters.rs` counts them.

use rustls::{CertificateError, Error};

/// Why TLS with a host was not as its policy demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureType {
    /// The host does not offer STARTTLS.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// It is not valid any more.
    CertificateExpired,
    /// Nobody trusted vouches for it.
    CertificateNotTrusted,
    /// Anything else in verification or handshake.
    ValidationFailure,
    /// The TLSA records are of no use.
    TlsaInvalid,
    /// The DNS answers are not genuine, or there was none.
    DnssecInvalid,
    /// The policy is announced and could not be fetched.
    StsPolicyFetchError,
    /// It was fetched and is none.
    StsPolicyInvalid,
    /// The web server's certificate is not good.
    StsWebpkiInvalid,
}

impl FailureType {
    /// All of them.
    pub const ALL: [FailureType; 10] = [
        FailureType::StarttlsNotSupported,
        FailureType::CertificateHostMismatch,
        FailureType::CertificateExpired,
        FailureType::CertificateNotTrusted,
        FailureType::ValidationFailure,
        FailureType::TlsaInvalid,
        FailureType::DnssecInvalid,
        FailureType::StsPolicyFetchError,
        FailureType::StsPolicyInvalid,
        FailureType::StsWebpkiInvalid,
    ];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            FailureType::StarttlsNotSupported => "starttls-not-supported",
            FailureType::CertificateHostMismatch => "certificate-host-mismatch",
            FailureType::CertificateExpired => "certificate-expired",
            FailureType::CertificateNotTrusted => "certificate-not-trusted",
            FailureType::ValidationFailure => "validation-failure",
            FailureType::TlsaInvalid => "tlsa-invalid",
            FailureType::DnssecInvalid => "dnssec-invalid",
            FailureType::StsPolicyFetchError => "sts-policy-fetch-error",
            FailureType::StsPolicyInvalid => "sts-policy-invalid",
            FailureType::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }

    /// What a failed handshake comes under.
    pub fn of_handshake(error: &Error) -> FailureType {
        match error {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => FailureType::CertificateHostMismatch,
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => FailureType::CertificateExpired,
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::Revoked,
            ) => FailureType::CertificateNotTrusted,
            _ => FailureType::ValidationFailure,
        }
    }
}

/// Something that a report tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What it comes under.
    pub kind: FailureType,
    /// The same in words, for log lines, delivery reports and `failure-reason-code`.
    pub why: String,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(kind: FailureType, why: impl Into<String>) -> Failure {
        Failure {
            kind,
            why: why.into(),
        }
    }

    /// A certificate that was taken though nobody vouches for it, by the code that Node has for that.
    pub fn of_verdict(code: &str) -> Failure {
        let kind = match code {
            "ERR_TLS_CERT_ALTNAME_INVALID" => FailureType::CertificateHostMismatch,
            "CERT_HAS_EXPIRED" | "CERT_NOT_YET_VALID" => FailureType::CertificateExpired,
            "UNSPECIFIED" => FailureType::ValidationFailure,
            _ => FailureType::CertificateNotTrusted,
        };
        Failure::new(kind, code)
    }

    /// A handshake that failed, in words that need no knowledge of rustls.
    pub fn of_handshake(error: &Error) -> Failure {
        let why = match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.to_string(),
            other => other.to_string(),
        };
        Failure::new(FailureType::of_handshake(error), why)
    }
}
