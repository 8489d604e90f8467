//! The SASL mechanisms as pure functions: what the client sent in, what it says out (RFC 4616,
//! RFC 2195, the LOGIN draft). Must know no connection, no clock and nobody's password.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use thiserror::Error;
use zeroize::Zeroizing;

use super::secret::Secret;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login.
    Login,
    /// RFC 2195.
    CramMd5,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
        }
    }

    /// The one of this name in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Mechanism> {
        let mut all = Mechanism::ALL.into_iter();
        all.find(|m| m.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a client's response cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// It is not base64.
    #[error("not base64")]
    NotBase64,
    /// User or password is missing or empty (AUT-07), or the user's name is longer than
    /// [`MAX_USER`].
    #[error("no user and password in it")]
    Incomplete,
}

/// Octets of a user's name (RFC 4616 §2).
pub const MAX_USER: usize = 255;

/// A user and the password that the client says is theirs.
#[derive(Clone, Debug)]
pub struct Login {
    /// Any characters; never empty.
    pub user: String,
    /// Never empty.
    pub password: Secret,
}

/// The answer to a CRAM-MD5 challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CramMd5 {
    /// What the client was asked to sign.
    pub challenge: String,
    /// Any characters; never empty.
    pub user: String,
    /// The signature as the client wrote it: 32 lower-case hexadecimal digits, if it is one.
    pub digest: String,
}

/// RFC 4954 §4 wants padding, and takes it ill; what clients leave out is as clear without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The text of a challenge in a 334 reply.
#[must_use]
pub fn challenge(text: &str) -> String {
    BASE64.encode(text)
}

/// What a response says. `=` is the empty one in an initial response (RFC 4954 §4).
pub fn decode(response: &str) -> Result<Zeroizing<Vec<u8>>, ResponseError> {
    if response == "=" {
        return Ok(Zeroizing::default());
    }
    match BASE64.decode(response) {
        Ok(octets) => Ok(Zeroizing::new(octets)),
        Err(_) => Err(ResponseError::NotBase64),
    }
}

/// The response of PLAIN: authorization identity (ignored, AUT-02), user and password, with NUL
/// between them.
pub fn plain(octets: &[u8]) -> Result<Login, ResponseError> {
    let mut parts = octets.split(|b| *b == 0).skip(1);
    match (parts.next(), parts.next()) {
        (Some(name), Some(password)) => login(user(name)?, password),
        _ => Err(ResponseError::Incomplete),
    }
}

/// The name in the first response of LOGIN.
#[must_use]
pub fn login_user(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The password in the second response of LOGIN.
pub fn login(user: String, password: &[u8]) -> Result<Login, ResponseError> {
    if user.is_empty() || user.len() > MAX_USER || password.is_empty() {
        return Err(ResponseError::Incomplete);
    }
    Ok(Login {
        user,
        password: Secret::new(password.to_vec()),
    })
}

/// The response of CRAM-MD5: user, blank, digest. A user's name may have blanks in it.
pub fn cram_md5(challenge: String, octets: &[u8]) -> Result<CramMd5, ResponseError> {
    let at = octets.iter().rposition(|b| *b == b' ');
    let (name, digest) = at
        .and_then(|at| octets.split_at_checked(at))
        .ok_or(ResponseError::Incomplete)?;
    let digest = digest.get(1..).unwrap_or_default();
    if digest.is_empty() {
        return Err(ResponseError::Incomplete);
    }
    Ok(CramMd5 {
        challenge,
        user: user(name)?,
        digest: String::from_utf8_lossy(digest).into_owned(),
    })
}

fn user(name: &[u8]) -> Result<String, ResponseError> {
    if name.is_empty() || name.len() > MAX_USER {
        return Err(ResponseError::Incomplete);
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

impl CramMd5 {
    /// Whether the digest could only come from one who knows this password.
    #[must_use]
    pub fn proves(&self, password: &Secret) -> bool {
        let Some(digest) = from_hex(&self.digest) else {
            return false;
        };
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Md5>::new_from_slice(password.expose()) else {
            return false;
        };
        mac.update(self.challenge.as_bytes());
        mac.verify_slice(&digest).is_ok()
    }
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (octet, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok()?;
        if digits
            .bytes()
            .any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        *octet = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(out)
}

/// A name that a client gave, fit for a log line, a note or a header field.
#[must_use]
pub fn printable(user: &str) -> String {
    user.chars().filter(|c| !c.is_control()).collect()
}

/// A user's name as a value of Authentication-Results: a quoted string unless it is a plain word
/// (RFC 8601 §2.2), so that it cannot pose as another result.
#[must_use]
pub fn authentication_result_value(user: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-./=?@^_`{|}~".contains(&b) && b != b'=';
    if !user.is_empty() && user.bytes().all(plain) {
        return user.to_owned();
    }
    let mut quoted = String::with_capacity(user.len() + 2);
    quoted.push('"');
    for c in user.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers AUT-04: the example of RFC 2195 section 2
    #[test]
    fn cram_md5_of_the_rfc_is_proved_by_its_password_only() {
        let login = CramMd5 {
            challenge: "<1896.697170952@postoffice.reston.mci.net>".to_owned(),
            user: "tim".to_owned(),
            digest: "b913a602c7eda7a495b4e6e7334d3890".to_owned(),
        };
        assert!(login.proves(&Secret::from("tanstaaftanstaaf")));
        assert!(!login.proves(&Secret::from("tanstaaftanstaag")));
        for digest in [
            "B913A602C7EDA7A495B4E6E7334D3890",
            "b913a602c7eda7a495b4e6e7334d38",
            "b913a602c7eda7a495b4e6e7334d38900",
            "+913a602c7eda7a495b4e6e7334d3890",
            "",
        ] {
            let other = CramMd5 {
                digest: digest.to_owned(),
                ..login.clone()
            };
            assert!(!other.proves(&Secret::from("tanstaaftanstaaf")), "{digest}");
        }
    }

    #[test]
    fn names_cannot_pose_as_another_result() {
        for (user, value) in [
            ("u@a.test", "u@a.test"),
            ("x; dkim=pass", "\"x; dkim=pass\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("", "\"\""),
        ] {
            assert_eq!(authentication_result_value(user), value);
        }
        assert_eq!(printable("a\r\nb\u{7f}c"), "abc");
    }
}
