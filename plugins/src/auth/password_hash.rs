//! Passwords as configuration files keep them: in the clear, or as a hash that its prefix names.
//!
//! Checking one costs up to a second of computing by intention: callers do it on the offload pool.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest;
use md5::Md5;
use sha_crypt::ShaCrypt;
use subtle::ConstantTimeEq;
use thiserror::Error;
use yescrypt::Yescrypt;

use super::md5_crypt;
use super::secret::Secret;

/// What a configuration file says of a user's password.
#[derive(Clone, Debug)]
pub enum Stored {
    /// The password itself.
    Clear(Secret),
    /// What can only be compared with.
    Hashed(PasswordHash),
}

/// A hash with its salt and cost; never printed.
#[derive(Clone)]
pub struct PasswordHash {
    kind: Kind,
    text: String,
}

/// Why a hash cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// Its prefix is not one of ours. A password that only looks so is written `{PLAIN}password`.
    #[error("is a password hash of an unknown kind")]
    UnknownKind,
    /// The prefix is known, the rest cannot be read.
    #[error("is a damaged password hash")]
    Damaged,
    /// No random salt could be had, or there is too little memory.
    #[error("the password cannot be hashed")]
    NotMade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Argon2,
    Bcrypt,
    Yescrypt,
    ShaCrypt,
    Md5Crypt,
    /// `{SSHA}` and its kin: base64 of a digest and the salt behind it, if any.
    Salted(Algorithm),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// Prefixes of hashes as `crypt(3)` and the PHC string format write them.
const CRYPT: [(&str, Kind); 10] = [
    ("$argon2id$", Kind::Argon2),
    ("$argon2i$", Kind::Argon2),
    ("$argon2d$", Kind::Argon2),
    ("$2a$", Kind::Bcrypt),
    ("$2b$", Kind::Bcrypt),
    ("$2y$", Kind::Bcrypt),
    ("$y$", Kind::Yescrypt),
    ("$6$", Kind::ShaCrypt),
    ("$5$", Kind::ShaCrypt),
    ("$1$", Kind::Md5Crypt),
];

/// Schemes of LDAP and Dovecot whose value is base64.
const SALTED: [(&str, Algorithm); 6] = [
    ("SSHA", Algorithm::Sha1),
    ("SHA", Algorithm::Sha1),
    ("SSHA256", Algorithm::Sha256),
    ("SHA256", Algorithm::Sha256),
    ("SSHA512", Algorithm::Sha512),
    ("SHA512", Algorithm::Sha512),
];

/// Schemes of LDAP and Dovecot before what `crypt(3)` writes.
const WRAPPED: [&str; 7] = [
    "CRYPT",
    "BLF-CRYPT",
    "SHA256-CRYPT",
    "SHA512-CRYPT",
    "MD5-CRYPT",
    "ARGON2ID",
    "ARGON2I",
];

impl Stored {
    /// Reads the value of a configuration file. What begins like no hash is the password itself.
    pub fn parse(text: &str) -> Result<Stored, HashError> {
        let Some((scheme, value)) = scheme(text) else {
            return if looks_hashed(text) {
                PasswordHash::parse(text).map(Stored::Hashed)
            } else {
                Ok(Stored::Clear(Secret::from(text)))
            };
        };
        let is = |name: &&str| name.eq_ignore_ascii_case(scheme);
        if ["PLAIN", "CLEAR", "CLEARTEXT"].iter().any(is) {
            return Ok(Stored::Clear(Secret::from(value)));
        }
        if WRAPPED.iter().any(is) {
            return PasswordHash::parse(value).map(Stored::Hashed);
        }
        let salted = SALTED.iter().find(|(name, _)| is(name));
        let (_, algorithm) = salted.ok_or(HashError::UnknownKind)?;
        let hash = PasswordHash {
            kind: Kind::Salted(*algorithm),
            text: value.to_owned(),
        };
        hash.checked().map(Stored::Hashed)
    }
}

/// `{SCHEME}` at the beginning, and what follows.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, value) = text.strip_prefix('{')?.split_once('}')?;
    let word = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (!scheme.is_empty() && scheme.bytes().all(word)).then_some((scheme, value))
}

/// `$word$something`.
fn looks_hashed(text: &str) -> bool {
    let parts = text.strip_prefix('$').and_then(|t| t.split_once('$'));
    parts.is_some_and(|(id, rest)| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !id.is_empty() && id.len() <= 16 && id.bytes().all(word) && !rest.is_empty()
    })
}

impl PasswordHash {
    /// A new one, argon2id with the library's cost (19 MiB of memory, two passes) and a random salt.
    pub fn of(password: &Secret) -> Result<PasswordHash, HashError> {
        let hash: phc::PasswordHash = Argon2::default()
            .hash_password(password.expose())
            .map_err(|_| HashError::NotMade)?;
        Ok(PasswordHash {
            kind: Kind::Argon2,
            text: hash.to_string(),
        })
    }

    fn parse(text: &str) -> Result<PasswordHash, HashError> {
        let kind = CRYPT.iter().find(|(prefix, _)| text.starts_with(prefix));
        let (_, kind) = kind.ok_or(HashError::UnknownKind)?;
        let hash = PasswordHash {
            kind: *kind,
            text: text.to_owned(),
        };
        hash.checked()
    }

    /// As a configuration file has it, without a scheme in braces.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    fn checked(self) -> Result<PasswordHash, HashError> {
        // crypt(3) hashes end with the digest, whose length is that of the kind.
        let digest = self.text.rsplit('$').next().unwrap_or_default().len();
        let fine = match self.kind {
            Kind::Argon2 => phc::PasswordHash::new(&self.text).is_ok_and(|h| h.hash.is_some()),
            Kind::Bcrypt => self.text.parse::<bcrypt::HashParts>().is_ok(),
            Kind::Yescrypt => digest == 43 && self.text.matches('$').count() == 4,
            Kind::ShaCrypt if self.text.starts_with("$5$") => digest == 43,
            Kind::ShaCrypt => digest == 86,
            Kind::Md5Crypt => digest == 22 && self.text.matches('$').count() == 3,
            Kind::Salted(algorithm) => self.salted(algorithm).is_some(),
        };
        if fine {
            Ok(self)
        } else {
            Err(HashError::Damaged)
        }
    }

    /// Whether it was made of this password. Takes as long as the hash demands.
    #[must_use]
    pub fn verify(&self, password: &Secret) -> bool {
        let password = password.expose();
        match self.kind {
            Kind::Argon2 => phc::PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Yescrypt => Yescrypt::default()
                .verify_password(password, self.text.as_str())
                .is_ok(),
            Kind::ShaCrypt => ShaCrypt::default()
                .verify_password(password, self.text.as_str())
                .is_ok(),
            Kind::Md5Crypt => md5_crypt::verify(password, &self.text),
            Kind::Salted(algorithm) => self.salted(algorithm).is_some_and(|(digest, salt)| {
                bool::from(algorithm.digest(password, &salt).ct_eq(&digest))
            }),
        }
    }

    /// Digest and salt.
    fn salted(&self, algorithm: Algorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut digest = STANDARD.decode(&self.text).ok()?;
        let length = algorithm.length();
        (digest.len() >= length).then(|| {
            let salt = digest.split_off(length);
            (digest, salt)
        })
    }
}

impl Algorithm {
    const fn length(self) -> usize {
        match self {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    fn digest(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        fn of<D: Digest>(password: &[u8], salt: &[u8]) -> Vec<u8> {
            D::new()
                .chain_update(password)
                .chain_update(salt)
                .finalize()
                .to_vec()
        }
        match self {
            Algorithm::Sha1 => of::<sha1::Sha1>(password, salt),
            Algorithm::Sha256 => of::<sha2::Sha256>(password, salt),
            Algorithm::Sha512 => of::<sha2::Sha512>(password, salt),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [redacted]", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made of `secret` by other programs (libxcrypt, OpenSSL, slappasswd's formula).
    const HASHES: [&str; 13] = [
        "$1$xZd4EEls$dWvf6IwhY9iSlTMyHD1Nu/",
        "$5$2QK0kPMnlD7.aQ/s$LDcEdu8rp3GW7Qg/gzOy8fRW6LOPgzx/8SaOMp/l2D9",
        "$6$wLY4oQa2HQoxkn07$WPRzj3or.34rjFyB8dXU4CEJ4kcEqABtLX3BwrpoZ14f4lNS3uC4bxueuOgZwTQxrV5o6JgAhr0jeXZVTBLSw/",
        "$6$rounds=1000$abc$MqEcPZUYRGGcOeq7PhMpfjfu/F0HrVEI0OlZBijWvO8mSG77iNUDP5MqFceKpJTBc8iITVtNyLiNTRNCxv6oh0",
        "{CRYPT}$2b$04$TlKvLfx4LLnpvlyN7D/Bf.rJX8rhkLqIR0DLj2fjmV.gF4HyH/6D.",
        "$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "",
        "",
        "",
        "",
        "",
        "",
    ];
    #[test]
    fn placeholder() {
        for h in HASHES {
            if let Ok(Stored::Hashed(hash)) = Stored::parse(h) {
                eprintln!("{h} {}", hash.verify(&Secret::from("secret")));
            }
        }
    }
}
