//! TLSA records against certificates (RFC 6698 §2, RFC 7671, RFC 7672 §3.1): pure decisions, and the
//! rustls verifier made of them.
//!
//! Whether records may be believed is decided in `dane.rs`. Must never fall back to the public
//! authorities: a host that publishes usable records is known by them or not at all.

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, SHA512, digest};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError, RootCertStore};

use crate::dns::TlsaRecord;
use crate::tls::signatures;

/// DANE-TA: an authority that the host names itself.
const AUTHORITY: u8 = 2;
/// DANE-EE: the host's own key or certificate.
const END_ENTITY: u8 = 3;

/// Records that mail can use, most specific first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Associations(Vec<TlsaRecord>);

/// The certificate is none of those that the host's TLSA records stand for.
#[derive(Debug, thiserror::Error)]
#[error("certificate matches none of the host's {0} TLSA records")]
pub struct NoMatch(usize);

impl Associations {
    /// The usable ones of these records (RFC 7672 §3.1): usages 2 and 3, selectors 0 and 1, matching
    /// types 0, 1 and 2, digests of the right length. Usages 0 and 1 lean on public authorities,
    /// which mail servers do not agree on, so RFC 7672 §3.1.3 calls them unusable.
    pub fn usable(records: impl IntoIterator<Item = TlsaRecord>) -> Associations {
        let mut usable: Vec<_> = records.into_iter().filter(is_usable).collect();
        usable.sort_by_key(|r| std::cmp::Reverse(r.usage));
        usable.truncate(MOST);
        Associations(usable)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records, for reports.
    pub fn records(&self) -> &[TlsaRecord] {
        &self.0
    }

    /// Judges a chain; `names` are those that the host may bear, of which one is enough.
    ///
    /// # Errors
    /// [`NoMatch`] in a rustls error, or why an authority that matches does not vouch for the host.
    pub fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        names: &[ServerName<'_>],
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<(), Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let of = |usage| self.0.iter().filter(move |r| r.usage == usage);
        // RFC 7671 §5.1: neither names nor dates count, the record is in the place of both.
        if of(END_ENTITY).any(|record| stands_for(record, end_entity)) {
            return Ok(());
        }
        let mut roots = RootCertStore::empty();
        for record in of(AUTHORITY) {
            for cert in std::iter::once(end_entity).chain(intermediates) {
                if stands_for(record, cert) {
                    // One that cannot be an authority vouches for nothing.
                    drop(roots.add(cert.clone().into_owned()));
                }
            }
            // RFC 7671 §5.2.2: a host may leave an authority out that its record holds in full.
            if record.selector == 0 && record.matching == 0 {
                drop(roots.add(CertificateDer::from(record.data.to_vec())));
            }
        }
        if roots.is_empty() {
            return Err(no_match(self.0.len()));
        }
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, now, algorithms)?;
        let mut verdict = Err(CertificateError::NotValidForName.into());
        for name in names {
            verdict = verify_server_name(&leaf, name);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }
}

fn no_match(records: usize) -> Error {
    CertificateError::Other(OtherError(Arc::new(NoMatch(records)))).into()
}

fn is_usable(record: &TlsaRecord) -> bool {
    let length = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, AUTHORITY | END_ENTITY) && record.selector <= 1 && length
}

/// Whether a record stands for this certificate, or for its key (RFC 6698 §2.1).
fn stands_for(record: &TlsaRecord, cert: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => cert.as_ref().to_vec(),
        _ => match ParsedCertificate::try_from(cert) {
            Ok(parsed) => parsed.subject_public_key_info().to_vec(),
            Err(_) => return false,
        },
    };
    match record.matching {
        0 => *record.data == *selected,
        1 => *record.data == *digest(&SHA256, &selected).as_ref(),
        _ => *record.data == *digest(&SHA512, &selected).as_ref(),
    }
}

/// Judges a host's certificate by its TLSA records alone. Two are the same if they judge alike.
pub struct DaneVerifier {
    associations: Associations,
    names: Vec<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

impl DaneVerifier {
    /// A verifier by these records; `names` are those that a certificate of one of the host's own
    /// authorities may be for (RFC 7672 §3.2.2). A text that is no host name is left out.
    pub fn new<'n>(
        associations: Associations,
        names: impl IntoIterator<Item = &'n str>,
        provider: Arc<CryptoProvider>,
    ) -> DaneVerifier {
        let name = |n: &str| ServerName::try_from(n.to_owned()).ok();
        DaneVerifier {
            associations,
            names: names.into_iter().filter_map(name).collect(),
            provider,
        }
    }

    /// The records that it goes by.
    pub fn records(&self) -> &[TlsaRecord] {
        self.associations.records()
    }
}

impl PartialEq for DaneVerifier {
    fn eq(&self, other: &DaneVerifier) -> bool {
        self.associations == other.associations && self.names == other.names
    }
}

impl Eq for DaneVerifier {}

impl fmt::Debug for DaneVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaneVerifier")
            .field("associations", &self.associations)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for DaneVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked_for: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged =
            self.associations
                .verify(end_entity, intermediates, &self.names, now, &self.provider);
        judged.map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

/// Records of one host that are looked at: key changes need two to four.
const MOST: usize = 16;
