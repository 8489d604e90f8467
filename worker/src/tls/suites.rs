//! Versions, ciphers and groups of tls.ini in the terms of rustls (TLS-04).

use std::sync::Arc;

use haraka_shared::config::{Cipher, Curve, MinVersion};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// ring with these ciphers and groups, in this order; all of them where nothing is said.
#[must_use]
pub fn provider(ciphers: Option<&[Cipher]>, curves: &[Curve]) -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    if let Some(ciphers) = ciphers {
        provider.cipher_suites = ciphers.iter().copied().map(suite).collect();
    }
    if !curves.is_empty() {
        provider.kx_groups = curves.iter().copied().map(group).collect();
    }
    Arc::new(provider)
}

/// The versions that are spoken: from the lowest one on, if they have a cipher.
#[must_use]
pub fn versions(
    lowest: MinVersion,
    provider: &CryptoProvider,
) -> Vec<&'static SupportedProtocolVersion> {
    let has = |version: &SupportedProtocolVersion| {
        let mut suites = provider.cipher_suites.iter();
        suites.any(|suite| suite.version() == version)
    };
    let mut versions = Vec::new();
    if has(&TLS13) {
        versions.push(&TLS13);
    }
    if lowest == MinVersion::Tls12 && has(&TLS12) {
        versions.push(&TLS12);
    }
    versions
}

fn suite(cipher: Cipher) -> SupportedCipherSuite {
    match cipher {
        Cipher::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Cipher::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Cipher::ChaCha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        Cipher::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Cipher::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Cipher::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Cipher::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Cipher::RsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(curve: Curve) -> &'static dyn SupportedKxGroup {
    match curve {
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_that_the_names_say() {
        // covers TLS-04
        for cipher in Cipher::all() {
            let name = format!("{:?}", suite(cipher).suite());
            let standard = cipher.standard_name().replacen("TLS_AES", "TLS13_AES", 1);
            let standard = standard.replacen("TLS_CHACHA", "TLS13_CHACHA", 1);
            assert_eq!(name, standard);
            assert_eq!(suite(cipher).tls13().is_some(), cipher.is_tls13());
        }
        assert_eq!(
            default_provider().cipher_suites.len(),
            Cipher::all().count()
        );
    }

    #[test]
    fn versions_without_a_cipher_are_not_spoken() {
        let all = provider(None, &[]);
        assert_eq!(versions(MinVersion::Tls12, &all).len(), 2);
        assert_eq!(versions(MinVersion::Tls13, &all), [&TLS13]);
        let only_13 = provider(Some(&[Cipher::Aes128Gcm]), &[Curve::P384, Curve::X25519]);
        assert_eq!(versions(MinVersion::Tls12, &only_13), [&TLS13]);
        let names: Vec<_> = only_13.kx_groups.iter().map(|g| g.name()).collect();
        assert_eq!(format!("{names:?}"), "[secp384r1, X25519]");
    }
}
