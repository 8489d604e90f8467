//! The JSON form of an address in Haraka's queue files (OUT-07).

use std::borrow::Cow;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::grammar::refuse_control;
use super::{Address, Parts};

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("original", self.original())?;
        if let Some(host) = self.original_host() {
            map.serialize_entry("original_host", host)?;
        }
        map.serialize_entry("host", self.host())?;
        map.serialize_entry("user", self.user())?;
        if self.is_utf8 {
            map.serialize_entry("is_utf8", &true)?;
        }
        map.end()
    }
}

/// The fields that either of Haraka's address libraries has written; the older one wrote `null`
/// where the newer one writes an empty string or nothing.
#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow, default)]
    original: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    original_host: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    host: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user: Option<Cow<'a, str>>,
    #[serde(default)]
    is_utf8: Option<bool>,
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let user = stored.user.as_deref().unwrap_or_default();
        let host = stored.host.as_deref().unwrap_or_default();
        let original_host = stored.original_host.as_deref();
        let original = match stored.original {
            Some(original) => original,
            None if user.is_empty() => Cow::Borrowed("<>"),
            None if host.is_empty() => Cow::Owned(format!("<{user}>")),
            None => Cow::Owned(format!("<{user}@{}>", original_host.unwrap_or(host))),
        };
        // these parts are written into SMTP commands
        refuse_control("user", user).map_err(D::Error::custom)?;
        refuse_control("host", host).map_err(D::Error::custom)?;
        refuse_control("original_host", original_host.unwrap_or_default())
            .map_err(D::Error::custom)?;
        Parts {
            original: &original,
            user,
            host,
            original_host,
        }
        .pack(stored.is_utf8.unwrap_or(false))
        .map_err(D::Error::custom)
    }
}
