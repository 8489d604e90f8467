//! Keys and signatures: RSA (PKCS #1), Ed25519, and ECDSA over P-256 and P-384.
//!
//! A private key is kept as PKCS #8 (RFC 5958), a public one as SubjectPublicKeyInfo (RFC 5280,
//! section 4.1), each in DER. What ring does, it does; the rest of RSA is in `rsa`.

use std::rc::Rc;

use ring::rand::SystemRandom;
use ring::signature::{self as sig, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm};
use rquickjs::{Ctx, Exception, Object};

use super::{op, rsa};
use crate::js::convert::Bytes;
use crate::js::host::Host;

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;
const NULL: u8 = 5;
const OID: u8 = 6;
const SEQUENCE: u8 = 0x30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum KeyError {
    #[error("error:1E08010C:DECODER routines::unsupported")]
    Unreadable,
    #[error("key type is not supported: use RSA, Ed25519, or EC with P-256 or P-384")]
    Kind,
    #[error("RSA signatures are made with sound keys of 1024 to 8192 bits")]
    Signing,
    #[error("Invalid digest")]
    Digest,
    #[error("the system gives no random octets")]
    Random,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    Ed25519,
    P256,
    P384,
}

struct Key {
    kind: Kind,
    /// Bits of the modulus, of RSA.
    bits: usize,
    exponent: u64,
    public: Vec<u8>,
    private: Option<Vec<u8>>,
}

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    fn thrown<T>(ctx: &Ctx<'_>, result: Result<T, KeyError>) -> rquickjs::Result<T> {
        result.map_err(|e| Exception::throw_message(ctx, &e.to_string()))
    }
    op!(
        ctx,
        field,
        "read",
        |ctx: Ctx<'js>, form: String, der: Bytes| {
            let key = thrown(&ctx, read(&form, &der.0))?;
            let object = Object::new(ctx)?;
            object.set("kind", key.kind.name())?;
            object.set("curve", key.kind.curve())?;
            object.set("bits", key.bits)?;
            object.set("exponent", key.exponent)?;
            object.set("public", Bytes(key.public))?;
            object.set("private", key.private.map(Bytes))?;
            Ok::<_, rquickjs::Error>(object)
        }
    );
    op!(
        ctx,
        field,
        "sign",
        |ctx: Ctx<'js>, digest: Option<String>, pkcs8: Bytes, data: Bytes| {
            thrown(&ctx, sign(digest.as_deref(), &pkcs8.0, &data.0).map(Bytes))
        }
    );
    op!(
        ctx,
        field,
        "verify",
        |ctx: Ctx<'js>, digest: Option<String>, spki: Bytes, data: Bytes, signature: Bytes| {
            let verified = verify(digest.as_deref(), &spki.0, &data.0, &signature.0);
            thrown(&ctx, verified)
        }
    );
    op!(ctx, field, "generate", |ctx: Ctx<'js>, name: String| {
        thrown(&ctx, generate(&name).map(Bytes))
    });
    Ok(())
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rsa => "rsa",
            Kind::Ed25519 => "ed25519",
            Kind::P256 | Kind::P384 => "ec",
        }
    }

    fn curve(self) -> Option<&'static str> {
        match self {
            Kind::P256 => Some("prime256v1"),
            Kind::P384 => Some("secp384r1"),
            Kind::Rsa | Kind::Ed25519 => None,
        }
    }

    /// By AlgorithmIdentifier.
    fn of(algorithm: &[u8]) -> Result<Kind, KeyError> {
        let (oid, rest) = take(OID, algorithm)?;
        match oid {
            OID_RSA => Ok(Kind::Rsa),
            OID_ED25519 => Ok(Kind::Ed25519),
            OID_EC => Kind::of_curve(take(OID, rest)?.0),
            _ => Err(KeyError::Kind),
        }
    }

    fn of_curve(oid: &[u8]) -> Result<Kind, KeyError> {
        match oid {
            OID_P256 => Ok(Kind::P256),
            OID_P384 => Ok(Kind::P384),
            _ => Err(KeyError::Kind),
        }
    }

    fn algorithm(self) -> Vec<u8> {
        let inside = match self {
            Kind::Rsa => [der(OID, OID_RSA), der(NULL, &[])].concat(),
            Kind::Ed25519 => der(OID, OID_ED25519),
            Kind::P256 => [der(OID, OID_EC), der(OID, OID_P256)].concat(),
            Kind::P384 => [der(OID, OID_EC), der(OID, OID_P384)].concat(),
        };
        der(SEQUENCE, &inside)
    }

    fn ecdsa(self) -> Option<&'static sig::EcdsaSigningAlgorithm> {
        match self {
            Kind::P256 => Some(&sig::ECDSA_P256_SHA256_ASN1_SIGNING),
            Kind::P384 => Some(&sig::ECDSA_P384_SHA384_ASN1_SIGNING),
            Kind::Rsa | Kind::Ed25519 => None,
        }
    }
}

/// A value of DER with this tag, and what follows it.
fn take(tag: u8, from: &[u8]) -> Result<(&[u8], &[u8]), KeyError> {
    let (content, rest) = value(tag, from).ok_or(KeyError::Unreadable)?;
    Ok((content, rest))
}

fn value(tag: u8, from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = from.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    match length {
        0..=127 => rest.split_at_checked(usize::from(*length)),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length & 127))?;
            let length = octets.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
            rest.split_at_checked(length)
        }
        _ => None,
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let short = length
        .iter()
        .copied()
        .skip_while(|b| *b == 0)
        .collect::<Vec<_>>();
    match short.as_slice() {
        [] => out.push(0),
        [one] if *one < 128 => out.push(*one),
        more => {
            out.push(0x80 | u8::try_from(more.len()).unwrap_or_default());
            out.extend_from_slice(more);
        }
    }
    out.extend_from_slice(content);
    out
}

fn spki(kind: Kind, key: &[u8]) -> Vec<u8> {
    let bits = [&[0], key].concat();
    der(
        SEQUENCE,
        &[kind.algorithm(), der(BIT_STRING, &bits)].concat(),
    )
}

fn pkcs8(kind: Kind, key: &[u8]) -> Vec<u8> {
    let parts = [der(INTEGER, &[0]), kind.algorithm(), der(OCTET_STRING, key)];
    der(SEQUENCE, &parts.concat())
}

/// A key in any of the forms that PEM files have.
fn read(form: &str, octets: &[u8]) -> Result<Key, KeyError> {
    match form {
        "PRIVATE KEY" => {
            let (kind, inner) = private_parts(octets)?;
            private(kind, inner, octets.to_vec())
        }
        "RSA PRIVATE KEY" => private(Kind::Rsa, octets, pkcs8(Kind::Rsa, octets)),
        "EC PRIVATE KEY" => {
            // RFC 5915, section 3: version, key, [0] curve, [1] public key.
            let (inside, _) = take(SEQUENCE, octets)?;
            let (_, rest) = take(INTEGER, inside)?;
            let (_, rest) = take(OCTET_STRING, rest)?;
            let (curve, _) = take(0xa0, rest)?;
            let kind = Kind::of_curve(take(OID, curve)?.0)?;
            private(kind, octets, pkcs8(kind, octets))
        }
        "PUBLIC KEY" => {
            let (kind, key) = public_parts(octets)?;
            public(kind, key)
        }
        "RSA PUBLIC KEY" => public(Kind::Rsa, octets),
        "CERTIFICATE" => {
            let (_, certificate) =
                x509_parser::parse_x509_certificate(octets).map_err(|_| KeyError::Unreadable)?;
            let (kind, key) = public_parts(certificate.public_key().raw)?;
            public(kind, key)
        }
        _ => Err(KeyError::Unreadable),
    }
}

fn private_parts(octets: &[u8]) -> Result<(Kind, &[u8]), KeyError> {
    let (inside, _) = take(SEQUENCE, octets)?;
    let (_, rest) = take(INTEGER, inside)?;
    let (algorithm, rest) = take(SEQUENCE, rest)?;
    let (key, _) = take(OCTET_STRING, rest)?;
    Ok((Kind::of(algorithm)?, key))
}

fn public_parts(octets: &[u8]) -> Result<(Kind, &[u8]), KeyError> {
    let (inside, _) = take(SEQUENCE, octets)?;
    let (algorithm, rest) = take(SEQUENCE, inside)?;
    let (bits, _) = take(BIT_STRING, rest)?;
    let key = bits.strip_prefix(&[0]).ok_or(KeyError::Unreadable)?;
    Ok((Kind::of(algorithm)?, key))
}

fn public(kind: Kind, key: &[u8]) -> Result<Key, KeyError> {
    let (mut bits, mut exponent) = (0, 0);
    if kind == Kind::Rsa {
        let (inside, _) = take(SEQUENCE, key)?;
        let (modulus, rest) = take(INTEGER, inside)?;
        (bits, exponent) = size(modulus, take(INTEGER, rest)?.0);
    }
    Ok(Key {
        kind,
        bits,
        exponent,
        public: spki(kind, key),
        private: None,
    })
}

fn size(modulus: &[u8], exponent: &[u8]) -> (usize, u64) {
    let significant = modulus.iter().skip_while(|b| **b == 0);
    let zeros = significant.clone().next().map_or(0, |b| b.leading_zeros());
    let bits = significant.count() * 8;
    let exponent = exponent.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    (bits.saturating_sub(zeros as usize), exponent)
}

/// With its public half, which is part of it or is computed.
fn private(kind: Kind, inner: &[u8], pkcs8: Vec<u8>) -> Result<Key, KeyError> {
    let public_half = match kind {
        Kind::Rsa => {
            let (inside, _) = take(SEQUENCE, inner)?;
            let (_, rest) = take(INTEGER, inside)?;
            let (modulus, rest) = take(INTEGER, rest)?;
            let (exponent, _) = take(INTEGER, rest)?;
            let both = [der(INTEGER, modulus), der(INTEGER, exponent)].concat();
            der(SEQUENCE, &both)
        }
        Kind::Ed25519 => sig::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8)
            .map_err(|_| KeyError::Unreadable)?
            .public_key()
            .as_ref()
            .to_vec(),
        Kind::P256 | Kind::P384 => ecdsa(kind, &pkcs8)?.public_key().as_ref().to_vec(),
    };
    let mut key = public(kind, &public_half)?;
    key.private = Some(pkcs8);
    Ok(key)
}

fn ecdsa(kind: Kind, pkcs8: &[u8]) -> Result<sig::EcdsaKeyPair, KeyError> {
    let algorithm = kind.ecdsa().ok_or(KeyError::Kind)?;
    sig::EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new())
        .map_err(|_| KeyError::Unreadable)
}

/// `sha256` for `RSA-SHA256` and its like.
fn plain(digest: Option<&str>) -> String {
    let lower = digest.unwrap_or_default().to_ascii_lowercase();
    lower.trim_start_matches("rsa-").replace('-', "")
}

fn sign(digest: Option<&str>, pkcs8: &[u8], data: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (kind, _) = private_parts(pkcs8)?;
    let random = SystemRandom::new();
    match kind {
        Kind::Ed25519 => {
            let pair = sig::Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8);
            let pair = pair.map_err(|_| KeyError::Unreadable)?;
            Ok(pair.sign(data).as_ref().to_vec())
        }
        Kind::Rsa => rsa_signature(&plain(digest), pkcs8, data),
        Kind::P256 | Kind::P384 => {
            let own = if kind == Kind::P256 {
                "sha256"
            } else {
                "sha384"
            };
            if plain(digest) != own {
                return Err(KeyError::Digest);
            }
            let pair = ecdsa(kind, pkcs8)?;
            let signature = pair.sign(&random, data).map_err(|_| KeyError::Random)?;
            Ok(signature.as_ref().to_vec())
        }
    }
}

/// By ring where it takes the key and the digest; either gives the same octets.
fn rsa_signature(digest: &str, pkcs8: &[u8], data: &[u8]) -> Result<Vec<u8>, KeyError> {
    let padding: Option<&dyn sig::RsaEncoding> = match digest {
        "sha256" => Some(&sig::RSA_PKCS1_SHA256),
        "sha384" => Some(&sig::RSA_PKCS1_SHA384),
        "sha512" => Some(&sig::RSA_PKCS1_SHA512),
        _ => None,
    };
    if let (Some(padding), Ok(pair)) = (padding, sig::RsaKeyPair::from_pkcs8(pkcs8)) {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), data, &mut signature)
            .map_err(|_| KeyError::Random)?;
        return Ok(signature);
    }
    let padded = rsa::padded(digest, data).ok_or(KeyError::Digest)?;
    rsa::sign(pkcs8, padded).ok_or(KeyError::Signing)
}

fn verify(
    digest: Option<&str>,
    spki: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<bool, KeyError> {
    let (kind, key) = public_parts(spki)?;
    let digest = plain(digest);
    let algorithm: &dyn VerificationAlgorithm = match (kind, digest.as_str()) {
        (Kind::Ed25519, _) => &sig::ED25519,
        (Kind::Rsa, "sha1") => &sig::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (Kind::Rsa, "sha256") => &sig::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (Kind::Rsa, "sha512") => &sig::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (Kind::P256, "sha256") => &sig::ECDSA_P256_SHA256_ASN1,
        (Kind::P256, "sha384") => &sig::ECDSA_P256_SHA384_ASN1,
        (Kind::P384, "sha256") => &sig::ECDSA_P384_SHA256_ASN1,
        (Kind::P384, "sha384") => &sig::ECDSA_P384_SHA384_ASN1,
        (Kind::Rsa, other) => {
            let padded = rsa::padded(other, data).ok_or(KeyError::Digest)?;
            return Ok(rsa::verify(spki, padded, signature));
        }
        _ => return Err(KeyError::Digest),
    };
    Ok(UnparsedPublicKey::new(algorithm, key)
        .verify(data, signature)
        .is_ok())
}

fn generate(name: &str) -> Result<Vec<u8>, KeyError> {
    let random = SystemRandom::new();
    let made = match name {
        "ed25519" => sig::Ed25519KeyPair::generate_pkcs8(&random),
        "prime256v1" | "P-256" => {
            sig::EcdsaKeyPair::generate_pkcs8(&sig::ECDSA_P256_SHA256_ASN1_SIGNING, &random)
        }
        "secp384r1" | "P-384" => {
            sig::EcdsaKeyPair::generate_pkcs8(&sig::ECDSA_P384_SHA384_ASN1_SIGNING, &random)
        }
        _ => return Err(KeyError::Kind),
    };
    made.map(|document| document.as_ref().to_vec())
        .map_err(|_| KeyError::Random)
}
