//! The `$1$` hashes of `crypt(3)`: a thousand rounds of MD5. Old files have them; never made here.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// Rounds of the stretching loop.
const ROUNDS: u32 = 1000;
/// Octets of the salt that count.
const SALT: usize = 8;
/// Which octets of the digest each group of four digits shows, the most significant first.
const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether `hash` (`$1$salt$digest`) was made of this password.
pub(super) fn verify(password: &[u8], hash: &str) -> bool {
    let parts = hash.strip_prefix("$1$").and_then(|h| h.rsplit_once('$'));
    let Some((salt, digest)) = parts else {
        return false;
    };
    let salt = salt.as_bytes();
    let salt = salt.get(..SALT).unwrap_or(salt);
    bool::from(encoded(&stretched(password, salt)).ct_eq(digest.as_bytes()))
}

fn stretched(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner: [u8; 16] = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into();
    let mut outer = Md5::new()
        .chain_update(password)
        .chain_update("$1$")
        .chain_update(salt);
    let repeated = inner.iter().cycle().take(password.len());
    outer.update(repeated.copied().collect::<Vec<u8>>());
    let mut length = password.len();
    while length > 0 {
        match length & 1 {
            1 => outer.update([0]),
            _ => outer.update(password.get(..1).unwrap_or_default()),
        }
        length >>= 1;
    }
    let mut digest: [u8; 16] = outer.finalize().into();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        let odd = round % 2 == 1;
        next.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &digest } else { password });
        digest = next.finalize().into();
    }
    digest
}

fn encoded(digest: &[u8; 16]) -> Vec<u8> {
    let octet = |at: usize| digest.get(at).map_or(0, |b| u32::from(*b));
    let mut out = Vec::with_capacity(22);
    let mut push = |mut value: u32, digits: u32| {
        for _ in 0..digits {
            out.extend(DIGITS.get((value & 63) as usize));
            value >>= 6;
        }
    };
    for [high, middle, low] in GROUPS {
        push(octet(high) << 16 | octet(middle) << 8 | octet(low), 4);
    }
    push(octet(11), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libxcrypt makes of these.
    #[test]
    fn hashes_of_the_c_library_are_verified() {
        let long = "a much longer password than sixteen octets";
        for (password, hash) in [
            ("", "$1$saltsalt$5Jhcit4zN9UlGiA0txPkO0"),
            ("a", "$1$saltsalt$MzDjbImyzEz2m0NTiPzNW/"),
            ("secret", "$1$saltsalt$9xy1btjgzLYfb7hivXtC//"),
            (long, "$1$saltsalt$pbXyBZphMPnNT5dkoDN3L0"),
            ("secret", "$1$a$41c8gzdxX5iFFuqkeAdoe0"),
            (long, "$1$$feMHgM8lZ1zlwrmFPsTRq0"),
        ] {
            assert!(verify(password.as_bytes(), hash), "{hash}");
            assert!(!verify(b"another", hash), "{hash}");
        }
        assert!(!verify(b"", "$1$"));
    }
}
