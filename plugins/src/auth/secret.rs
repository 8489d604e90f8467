//! A password in memory: never printed, and overwritten when it is dropped.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A password in the clear.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(octets))
    }

    /// The octets, for whoever checks them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As text; octets that are not UTF-8 are replaced.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(&self.0).into_owned())
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are the same, in a time that tells nothing of where they differ (but the length).
    #[must_use]
    pub fn matches(&self, other: &Secret) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_and_compares_by_content() {
        let secret = Secret::from("swordfish");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert!(secret.matches(&Secret::from("swordfish")));
        assert!(!secret.matches(&Secret::from("swordfisH")));
        assert!(!secret.matches(&Secret::from("")));
    }
}
