//! Passwords as configuration files keep them: in the clear, or as a hash that its prefix names.
//!
//! Checking one costs up to a second of computing by intention: callers do it on the offload pool.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest;
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

    /// Made of `secret` by libxcrypt and Dovecot, as cheaply as they do it.
    const HASHES: [&str; 15] = [
        "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
        "$5$rounds=1000$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7",
        "$5$2QK0kPMnlD7.aQ/s$LDcEdu8rp3GW7Qg/gzOy8fRW6LOPgzx/8SaOMp/l2D9",
        "$6$rounds=1000$abc$MqEcPZUYRGGcOeq7PhMpfjfu/F0HrVEI0OlZBijWvO8mSG77iNUDP5MqFceKpJTBc8iITVtNyLiNTRNCxv6oh0",
        "$2b$04$TlKvLfx4LLnpvlyN7D/Bf.KsPbq1SeZvKauUStaUE7o2XHoZYvcNS",
        "$2y$04$TlKvLfx4LLnpvlyN7D/Bf.KsPbq1SeZvKauUStaUE7o2XHoZYvcNS",
        "{BLF-CRYPT}$2a$04$TlKvLfx4LLnpvlyN7D/Bf.KsPbq1SeZvKauUStaUE7o2XHoZYvcNS",
        "$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01",
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$LyGCBG1NZIoLOp8LOiiXMw$Aa7RqPcN71cdN4kwWfbFqWQiSIi1s/76QsndGkEMpNc",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SSHA}f3+OO8qwUe34j2x/y/PdnCwc9hJI2Ob8",
        "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
        "{SSHA256}PGqQA9JutQHw+pOPac5Q/Nr2mnVmV4AIAqtmiOn91ZdLAMsx",
        "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
        "{SSHA512}xnH6+LMYmh9L5eXv+rJ8MG2xeJ2XN5yBDrcW3TSyHWcmADH83/5ML5vhhe5pMMgj8+sl3DLCUBvCKKFc3ZGXAT+pmm8=",
    ];

    fn hash(text: &str) -> PasswordHash {
        match Stored::parse(text) {
            Ok(Stored::Hashed(hash)) => hash,
            other => panic!("{text}: {other:?}"),
        }
    }

    // covers PB-04
    #[test]
    fn hashes_of_other_programs_are_verified() {
        for text in HASHES {
            let hash = hash(text);
            assert!(hash.verify(&Secret::from("secret")), "{text}");
            assert!(!hash.verify(&Secret::from("Secret")), "{text}");
        }
    }

    #[test]
    fn a_new_hash_is_argon2id_with_a_salt_of_its_own() {
        let password = Secret::from("secret");
        let hash = PasswordHash::of(&password).unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hash.verify(&password) && !hash.verify(&Secret::from("x")));
        assert_ne!(hash.expose(), PasswordHash::of(&password).unwrap().expose());
        assert!(!format!("{hash:?}").contains(hash.expose()));
    }

    #[test]
    fn what_is_no_hash_is_the_password() {
        for (text, password) in [
            ("secret", "secret"),
            ("$ecret$", "$ecret$"),
            ("$", "$"),
            ("$$x", "$$x"),
            ("{secret}", "{secret}"),
            ("{PLAIN}$6$x", "$6$x"),
            ("{CLEARTEXT}{SHA}x", "{SHA}x"),
        ] {
            let Ok(Stored::Clear(secret)) = Stored::parse(text) else {
                panic!("{text} is not taken for a password");
            };
            assert!(secret.matches(&Secret::from(password)), "{text}");
        }
    }

    #[test]
    fn hashes_of_unknown_kinds_and_damaged_ones_are_no_passwords() {
        use HashError::{Damaged, UnknownKind};
        for (text, error) in [
            ("$3$$8846f7eaee8fb117ad06bdd830b7586c", UnknownKind),
            (
                "$2x$04$TlKvLfx4LLnpvlyN7D/Bf.KsPbq1SeZvKauUStaUE7o2XHoZYvcNS",
                UnknownKind,
            ),
            ("{SCRAM-SHA-256}x", UnknownKind),
            ("{CRYPT}ab01FAX.bQRSU", UnknownKind),
            ("$6$salt$short", Damaged),
            ("$1$salt", Damaged),
            ("$2b$04$short", Damaged),
            ("$y$j75$abcdefgh$short", Damaged),
            ("$argon2id$v=19$m=1$x", Damaged),
            ("{SSHA}f3+OO8qw", Damaged),
            ("{SSHA}!", Damaged),
        ] {
            assert_eq!(Stored::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
