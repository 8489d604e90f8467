//! Certificates against TLSA records.

use std::slice::from_ref;

use ring::digest::{SHA256, SHA512, digest};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

use crate::dns::TlsaRecord;
use crate::outbound::policy::report::{Failure, FailureType};
use crate::outbound::policy::testing::Authority;
use crate::outbound::policy::tlsa::{Associations, DaneVerifier};
use crate::outbound::policy::trust::provider;

fn record(usage: u8, selector: u8, matching: u8, cert: &CertificateDer<'_>) -> TlsaRecord {
    let selected = match selector {
        0 => cert.to_vec(),
        _ => ParsedCertificate::try_from(cert)
            .unwrap()
            .subject_public_key_info()
            .to_vec(),
    };
    let data = match matching {
        0 => selected,
        1 => digest(&SHA256, &selected).as_ref().to_vec(),
        _ => digest(&SHA512, &selected).as_ref().to_vec(),
    };
    TlsaRecord {
        usage,
        selector,
        matching,
        data: data.into(),
    }
}

fn verify(
    records: &[TlsaRecord],
    chain: &[&CertificateDer<'static>],
    names: &[&str],
) -> Result<(), rustls::Error> {
    let verifier = DaneVerifier::new(
        Associations::usable(records.to_vec()),
        names.iter().copied(),
        provider(),
    );
    let rest: Vec<_> = chain[1..].iter().map(|&c| c.clone()).collect();
    let asked = ServerName::try_from("asked.test").unwrap();
    let now = UnixTime::now();
    verifier
        .verify_server_cert(chain[0], &rest, &asked, &[], now)
        .map(drop)
}

#[test]
fn end_entity_record_counts_whatever_name_or_date_the_certificate_has() {
    let authority = Authority::new();
    let (leaf, _) = authority.issue("elsewhere.test", true);
    let (other, _) = authority.issue("mx.test", false);
    for selector in 0..=1 {
        for matching in 0..=2 {
            let good = record(3, selector, matching, &leaf);
            let bad = record(3, selector, matching, &other);
            assert_eq!(verify(from_ref(&good), &[&leaf], &["mx.test"]), Ok(()));
            assert_eq!(verify(&[bad.clone(), good], &[&leaf], &["mx.test"]), Ok(()));
            let refused = verify(&[bad], &[&leaf, &authority.cert()], &["mx.test"]).unwrap_err();
            let refused = Failure::of_handshake(&refused);
            let why = "certificate matches none of the host's 1 TLSA records";
            assert_eq!(refused, Failure::new(FailureType::ValidationFailure, why));
        }
    }
    // The authority's own record does not make it the end of the chain.
    let wrong_place = record(3, 0, 1, &authority.cert());
    assert!(
        verify(
            &[wrong_place],
            &[&leaf, &authority.cert()],
            &["elsewhere.test"]
        )
        .is_err()
    );
}

#[test]
fn authority_record_counts_for_fitting_names_and_dates_only() {
    let authority = Authority::new();
    let ca = authority.cert();
    let (leaf, _) = authority.issue("mx.test", false);
    let (expired, _) = authority.issue("mx.test", true);
    for selector in 0..=1 {
        for matching in 0..=2 {
            let records = [record(2, selector, matching, &ca)];
            for names in [&["mx.test"][..], &["a.test", "mx.test"]] {
                assert_eq!(verify(&records, &[&leaf, &ca], names), Ok(()));
            }
            let kind = |leaf: &CertificateDer<'static>, name| {
                let refused = verify(&records, &[leaf, &ca], &[name]).unwrap_err();
                FailureType::of_handshake(&refused)
            };
            assert_eq!(kind(&leaf, "a.test"), FailureType::CertificateHostMismatch);
            assert_eq!(kind(&expired, "mx.test"), FailureType::CertificateExpired);
            let stranger = Authority::new().issue("mx.test", false).0;
            assert_eq!(
                kind(&stranger, "mx.test"),
                FailureType::CertificateNotTrusted
            );
            // Without the authority in the chain there is nothing that its digest could match;
            // a certificate in full is one that we have already.
            let alone = verify(&records, &[&leaf], &["mx.test"]);
            assert_eq!(alone.is_ok(), selector == 0 && matching == 0, "{alone:?}");
        }
    }
}

#[test]
fn unusable_records_are_left_out() {
    let leaf = Authority::new().issue("mx.test", false).0;
    let good = record(3, 1, 1, &leaf);
    let with = |change: fn(&mut TlsaRecord)| {
        let mut record = good.clone();
        change(&mut record);
        record
    };
    let unusable = [
        with(|r| r.usage = 0),
        with(|r| r.usage = 1),
        with(|r| r.usage = 4),
        with(|r| r.selector = 2),
        with(|r| r.matching = 3),
        with(|r| r.data = [1; 31].into()),
        with(|r| r.matching = 2),
        with(|r| (r.matching, r.data) = (0, [].into())),
    ];
    assert!(Associations::usable(unusable.clone()).is_empty());
    let mixed = Associations::usable(unusable.into_iter().chain([good.clone()]));
    assert_eq!(mixed.records(), from_ref(&good));
    let many = Associations::usable(std::iter::repeat_n(good, 100));
    assert_eq!(many.records().len(), 16);
}
