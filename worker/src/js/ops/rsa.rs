//! RSA signatures (PKCS #1 v1.5) that ring leaves out: those with keys of 1024 bits, which DKIM has
//! still to be signed with (RFC 8301, section 3.2), and with digests besides SHA-256 and its longer kin.
//!
//! Keys are those of `keys`, in DER. Signs with a blinded key, so that time tells nothing of it.

use ::rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ::rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::digest::const_oid::AssociatedOid;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// The form of the padding and the digest of `data`.
type Padded = (Pkcs1v15Sign, Vec<u8>);

/// None for a digest that is not known.
pub(super) fn padded(digest: &str, data: &[u8]) -> Option<Padded> {
    fn of<D: Digest + AssociatedOid>(data: &[u8]) -> Padded {
        (Pkcs1v15Sign::new::<D>(), D::digest(data).to_vec())
    }
    Some(match digest {
        "md5" => of::<Md5>(data),
        "sha1" => of::<Sha1>(data),
        "sha224" => of::<Sha224>(data),
        "sha256" => of::<Sha256>(data),
        "sha384" => of::<Sha384>(data),
        "sha512" => of::<Sha512>(data),
        _ => return None,
    })
}

/// None for a key that does not hang together, or is shorter than 1024 or longer than 8192 bits.
pub(super) fn sign(pkcs8: &[u8], (form, digest): Padded) -> Option<Vec<u8>> {
    let key = RsaPrivateKey::from_pkcs8_der(pkcs8).ok()?;
    key.sign(form, &digest).ok()
}

/// False as well for a key shorter than 1024 or longer than 8192 bits, or with an exponent of more than
/// 33: whoever sent the message chose it, and our work grows with either.
pub(super) fn verify(spki: &[u8], (form, digest): Padded, signature: &[u8]) -> bool {
    RsaPublicKey::from_public_key_der(spki)
        .is_ok_and(|key| key.verify(form, &digest, signature).is_ok())
}
