//! Keys and certificates from the bytes of PEM files (RFC 7468), also encrypted keys (RFC 5958).
//!
//! Pure: bytes in, DER out. What a file has besides is passed over, as OpenSSL does it.

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

/// Certificates in one file, more of which no chain has.
const MOST: usize = 1000;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    /// A section's text is no PEM.
    #[error("{label} cannot be read: {why}")]
    Section {
        /// What the section calls itself.
        label: String,
        /// What the reader says.
        why: String,
    },
    /// An encrypted key and no password for it.
    #[error("the key is encrypted; set passphrase in tls.ini")]
    NoPassphrase,
    /// An encrypted key that the password does not open.
    #[error("the key cannot be decrypted: wrong passphrase, or a cipher that is not known here")]
    Passphrase,
    /// OpenSSL's own form of encrypted keys.
    #[error(
        "the key is encrypted in OpenSSL's old form; change it: openssl pkcs8 -topk8 -in OLD -out NEW"
    )]
    OldEncryption,
    /// More sections than any chain has.
    #[error("more than {MOST} keys and certificates")]
    TooMany,
}

/// What a file holds, in its order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Contents {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.chain.is_empty() && self.crls.is_empty()
    }
}

/// Reads a file; one without any PEM section is empty.
pub(super) fn read(bytes: &[u8], passphrase: Option<&str>) -> Result<Contents, PemError> {
    let mut found = Contents::default();
    let text = String::from_utf8_lossy(bytes);
    for (count, (label, section)) in sections(&text).enumerate() {
        if count >= MOST {
            return Err(PemError::TooMany);
        }
        let failed = |why: rustls::pki_types::pem::Error| PemError::Section {
            label: label.to_owned(),
            why: why.to_string(),
        };
        let bytes = section.as_bytes();
        match label {
            "CERTIFICATE" => {
                let certificate = CertificateDer::from_pem_slice(bytes).map_err(failed)?;
                found.chain.push(certificate);
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                if section.contains("Proc-Type:") {
                    return Err(PemError::OldEncryption);
                }
                let key = PrivateKeyDer::from_pem_slice(bytes).map_err(failed)?;
                found.keys.push(key);
            }
            "ENCRYPTED PRIVATE KEY" => {
                // The reader knows the form within, not this name.
                let plain = section.replace("ENCRYPTED PRIVATE KEY", "PRIVATE KEY");
                let der = PrivatePkcs8KeyDer::from_pem_slice(plain.as_bytes()).map_err(failed)?;
                found.keys.push(decrypt(&der, passphrase)?);
            }
            "X509 CRL" => {
                let crl = CertificateRevocationListDer::from_pem_slice(bytes).map_err(failed)?;
                found.crls.push(crl);
            }
            _ => {}
        }
    }
    Ok(found)
}

fn decrypt(
    der: &PrivatePkcs8KeyDer<'_>,
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, PemError> {
    let passphrase = passphrase.ok_or(PemError::NoPassphrase)?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(der.secret_pkcs8_der())
        .map_err(|_| PemError::Passphrase)?;
    let opened = sealed
        .decrypt(passphrase)
        .map_err(|_| PemError::Passphrase)?;
    let key = PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec());
    Ok(PrivateKeyDer::Pkcs8(key))
}

/// The sections of a file, each with what it calls itself and with its markers.
fn sections(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find("-----BEGIN ")?;
            let section = rest.get(start..)?;
            let name = section.get("-----BEGIN ".len()..)?;
            let label = name.split("-----").next().unwrap_or_default();
            let end = format!("-----END {label}-----");
            let next = name.find("-----BEGIN ").unwrap_or(usize::MAX);
            match name.find(&end) {
                Some(at) if at < next => {
                    let length = section.len() - name.len() + at + end.len();
                    rest = section.get(length..)?;
                    return Some((label, section.get(..length)?));
                }
                // A section without an end: the next one may be whole.
                _ => rest = name,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCRYPTED: &str = include_str!("../../tests/data/encrypted_key.pem");

    #[test]
    fn encrypted_key_is_opened_by_its_passphrase_only() {
        // covers TLS-03
        assert_eq!(
            read(ENCRYPTED.as_bytes(), None).unwrap_err(),
            PemError::NoPassphrase
        );
        assert_eq!(
            read(ENCRYPTED.as_bytes(), Some("wrong")).unwrap_err(),
            PemError::Passphrase
        );
        let found = read(ENCRYPTED.as_bytes(), Some("open sesame")).unwrap();
        assert_eq!(found.keys.len(), 1);
        rustls::crypto::ring::sign::any_supported_type(&found.keys[0]).unwrap();
    }

    #[test]
    fn old_encryption_is_refused_with_the_way_out() {
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                   DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let e = read(old.as_bytes(), Some("x")).unwrap_err();
        assert!(e.to_string().contains("openssl pkcs8 -topk8"), "{e}");
    }

    #[test]
    fn what_is_no_key_or_certificate_is_passed_over() {
        let text = "Bag Attributes\n-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n\
                    -----BEGIN CERTIFICATE-----\nunfinished\n\
                    -----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\r\ntrailer";
        let found = read(text.as_bytes(), None).unwrap();
        assert_eq!((found.chain.len(), found.keys.len()), (1, 0));
        assert!(read(b"no pem \xff\xfe at all", None).unwrap().is_empty());
        assert!(read(b"-----BEGIN ", None).unwrap().is_empty());
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----";
        let e = read(broken.as_bytes(), None).unwrap_err();
        assert!(
            e.to_string().starts_with("CERTIFICATE cannot be read: "),
            "{e}"
        );
    }
}
