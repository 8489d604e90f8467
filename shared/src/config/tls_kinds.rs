//! The forms of value that only tls.ini has. Each turns text into typed values; none reads files.

use std::collections::BTreeMap;

use super::ciphers::{Cipher, select};
use super::ip_range::IpRange;
use super::kinds::{Bool, Text};
use super::reader::Reader;
use super::row::{Describe, Kind, Row};

/// Names of files: one, or a list.
pub(super) struct Files;

impl Describe for Files {
    fn describe(&self) -> String {
        "file, or list ([]) of files".to_owned()
    }
    fn may_be_list(&self) -> bool {
        true
    }
    fn names_files(&self) -> bool {
        true
    }
}

impl Kind for Files {
    type Out = Vec<String>;
    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let one = (!text.is_empty()).then(|| text.to_owned());
        Ok(one.into_iter().collect())
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<Vec<String>> {
        let files = reader.one_or_many(&Text, row)?;
        match files.is_empty() {
            true => self.parse(row.default).ok(),
            false => Some(files),
        }
    }
}

/// Another kind, or nothing.
pub(super) struct Optional<K>(pub(super) K);

impl<K: Describe> Describe for Optional<K> {
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn takes_empty(&self) -> bool {
        true
    }
}

impl<K: Kind> Kind for Optional<K> {
    type Out = Option<K::Out>;
    fn parse(&self, text: &str) -> Result<Option<K::Out>, String> {
        match text {
            "" => Ok(None),
            text => self.0.parse(text).map(Some),
        }
    }
    fn fallback(&self) -> Option<Option<K::Out>> {
        self.0.fallback().map(Some)
    }
}

/// A setting of each section that an operator names, by the section's name.
pub(super) struct BySection<K>(pub(super) K);

impl<K: Describe> Describe for BySection<K> {
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn is_list(&self) -> bool {
        self.0.is_list()
    }
}

impl<K: Kind> Kind for BySection<K> {
    type Out = BTreeMap<String, K::Out>;
    fn parse(&self, _: &str) -> Result<BTreeMap<String, K::Out>, String> {
        Ok(BTreeMap::new())
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<BTreeMap<String, K::Out>> {
        reader.by_section(&self.0, row)
    }
}

/// A section whose keys are addresses and blocks.
pub(super) struct Ranges;

impl Describe for Ranges {
    fn describe(&self) -> String {
        "IP address or CIDR block alone on a line".to_owned()
    }
}

impl Kind for Ranges {
    type Out = Vec<IpRange>;
    fn parse(&self, _: &str) -> Result<Vec<IpRange>, String> {
        Ok(Vec::new())
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<Vec<IpRange>> {
        Some(reader.keys(row, |key, _| key.parse()))
    }
}

/// A section whose keys are hosts, each with or without a value.
pub(super) struct Hosts;

impl Describe for Hosts {
    fn describe(&self) -> String {
        "host alone on a line, or host = name".to_owned()
    }
}

impl Kind for Hosts {
    type Out = BTreeMap<String, String>;
    fn parse(&self, _: &str) -> Result<BTreeMap<String, String>, String> {
        Ok(BTreeMap::new())
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<BTreeMap<String, String>> {
        let pairs = reader.keys(row, |host, name| {
            Ok((host.to_ascii_lowercase(), name.to_ascii_lowercase()))
        });
        Some(pairs.into_iter().collect())
    }
}

/// The lowest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

pub(super) struct Version;

impl Describe for Version {
    fn describe(&self) -> String {
        "TLSv1.2 or TLSv1.3".to_owned()
    }
}

impl Kind for Version {
    type Out = MinVersion;
    fn parse(&self, text: &str) -> Result<MinVersion, String> {
        match text.to_ascii_lowercase().as_str() {
            "tlsv1.2" => Ok(MinVersion::Tls12),
            "tlsv1.3" => Ok(MinVersion::Tls13),
            "tlsv1" | "tlsv1.0" | "tlsv1.1" => Err(format!("{text} is not spoken here (RFC 8996)")),
            _ => Err(format!("\"{text}\" is none of TLSv1.2, TLSv1.3")),
        }
    }
}

/// The ciphers of a list; what is not known is left out with a warning.
pub(super) struct Ciphers;

impl Describe for Ciphers {
    fn describe(&self) -> String {
        "OpenSSL's list of ciphers".to_owned()
    }
}

impl Kind for Ciphers {
    type Out = Option<Vec<Cipher>>;
    fn parse(&self, text: &str) -> Result<Option<Vec<Cipher>>, String> {
        match text {
            "" => Ok(None),
            text => select(text).map(|selection| Some(selection.suites)),
        }
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<Option<Vec<Cipher>>> {
        let text = reader.single(&Text, row)?;
        if text.is_empty() {
            return Some(None);
        }
        match select(&text) {
            Ok(selection) => {
                if !selection.ignored.is_empty() {
                    let used: Vec<_> = selection.suites.iter().map(|c| c.openssl_name()).collect();
                    let (ignored, used) = (selection.ignored.join(":"), used.join(":"));
                    reader.warn_of(row, format!("not here: {ignored}; used are {used}"));
                }
                Some(Some(selection.suites))
            }
            Err(why) => {
                reader.warn_of(row, format!("{why}; all of ours are offered"));
                Some(None)
            }
        }
    }
}

/// A group to agree on keys in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// X25519 (RFC 7748).
    X25519,
    /// NIST P-256, `prime256v1`.
    P256,
    /// NIST P-384, `secp384r1`.
    P384,
}

pub(super) struct Curves;

impl Curves {
    fn curve(name: &str) -> Option<Curve> {
        match name.to_ascii_lowercase().as_str() {
            "x25519" => Some(Curve::X25519),
            "prime256v1" | "p-256" | "secp256r1" => Some(Curve::P256),
            "secp384r1" | "p-384" => Some(Curve::P384),
            _ => None,
        }
    }

    /// Curves, and the names that are not known.
    fn split(text: &str) -> (Vec<Curve>, Vec<&str>) {
        let (mut curves, mut unknown) = (Vec::new(), Vec::new());
        for name in text.split(':').map(str::trim).filter(|n| !n.is_empty()) {
            match Curves::curve(name) {
                Some(curve) if !curves.contains(&curve) => curves.push(curve),
                Some(_) => {}
                None if name == "auto" => {}
                None => unknown.push(name),
            }
        }
        (curves, unknown)
    }
}

impl Describe for Curves {
    fn describe(&self) -> String {
        "X25519, prime256v1, secp384r1, separated by colons, or auto".to_owned()
    }
}

impl Kind for Curves {
    /// Empty for all of ours.
    type Out = Vec<Curve>;
    fn parse(&self, text: &str) -> Result<Vec<Curve>, String> {
        Ok(Curves::split(text).0)
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<Vec<Curve>> {
        let text = reader.single(&Text, row)?;
        let (curves, unknown) = Curves::split(&text);
        if !unknown.is_empty() {
            let used = match curves.is_empty() {
                true => "X25519:prime256v1:secp384r1 are offered",
                false => "the others are offered",
            };
            reader.warn_of(row, format!("not here: {}; {used}", unknown.join(":")));
        }
        Some(curves)
    }
}

/// A switch that is on or off, or not set.
pub(super) const SWITCH: Optional<Bool> = Optional(Bool);
