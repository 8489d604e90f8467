//! Tests of clients whose certificates WebPKI does not read.

use super::super::testing::{Client, Made, Site};
use haraka_shared::config::{Cipher, MinVersion};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const VERSION_1: &str = include_str!("../../tests/data/version_1.pem");

// covers TLS-06
#[test]
fn certificate_of_version_1_is_taken_with_proof_of_its_key() {
    let site = Site::with_default("mx");
    let (contexts, _) = site.load(None);
    let made = Made {
        cert: String::new(),
        key: VERSION_1.to_owned(),
        der: CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap(),
    };
    let stranger = super::super::testing::self_signed(&super::super::testing::named("x", &[]));
    let stolen = Made {
        key: stranger.key,
        cert: String::new(),
        der: made.der.clone(),
    };
    for ciphers in [None, Some(&[Cipher::EcdsaAes128Gcm][..])] {
        let shake = |shown: &Made| {
            let client = Client::with(MinVersion::Tls12, ciphers, None, |_| true);
            client
                .and_shows_unchecked(shown)
                .shake(contexts.server(25).unwrap(), "mx")
        };
        let shaken = shake(&made).unwrap();
        assert_eq!(shaken.client, std::slice::from_ref(&made.der));
        let verdict = contexts.verify_peer(&shaken.client);
        assert_eq!(verdict, Err("DEPTH_ZERO_SELF_SIGNED_CERT"));
        assert!(shake(&stolen).is_err());
    }
}
