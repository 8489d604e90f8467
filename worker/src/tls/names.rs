//! Which certificate a client gets: by the name that it asks for (SNI, RFC 6066 section 3) and by what
//! it can read (TLS-18).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use haraka_shared::config::ConfigDir;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureAlgorithm, SignatureScheme};

use super::credential::Credential;

/// The certificates of a server by their names.
#[derive(Debug, Default)]
pub struct Names {
    /// For clients that name no host, or one that is not here.
    default: Choice,
    /// Names in lower case; `*.` in front stands for one label.
    by_name: HashMap<Box<str>, Choice>,
}

/// Certificates for the same name, of different kinds of key.
#[derive(Clone, Debug, Default)]
struct Choice(Vec<Credential>);

impl Choice {
    /// Takes a certificate, unless there is one of its kind. The same one with more of its chain goes
    /// before one with less.
    fn add(&mut self, credential: &Credential) {
        let rank = credential.rank();
        let held = self.0.iter_mut().find(|held| held.rank() == rank);
        let Some(held) = held else {
            let at = self.0.partition_point(|held| held.rank() < rank);
            return self.0.insert(at, credential.clone());
        };
        let (old, new) = (&held.certified.cert, &credential.certified.cert);
        if old.first() == new.first() && old.len() < new.len() {
            *held = credential.clone();
        }
    }

    fn readable(&self, offer: &Offer<'_>) -> Option<&Arc<CertifiedKey>> {
        let held = self.0.iter().map(|held| &held.certified);
        held.into_iter().find(|held| offer.reads(held))
    }

    fn first(&self) -> Option<&Arc<CertifiedKey>> {
        self.0.first().map(|held| &held.certified)
    }
}

/// What a client can read.
struct Offer<'a> {
    schemes: &'a [SignatureScheme],
    suites: &'a [CipherSuite],
}

impl Offer<'_> {
    fn reads(&self, held: &CertifiedKey) -> bool {
        held.key.choose_scheme(self.schemes).is_some() && self.has_suite(held.key.algorithm())
    }

    /// Before TLS 1.3 a suite names the kind of certificate as well.
    fn has_suite(&self, algorithm: SignatureAlgorithm) -> bool {
        self.suites.iter().any(|suite| {
            let name = suite.as_str().unwrap_or_default();
            match algorithm {
                _ if name.starts_with("TLS13_") => true,
                SignatureAlgorithm::RSA => name.starts_with("TLS_ECDHE_RSA_"),
                _ => name.starts_with("TLS_ECDHE_ECDSA_"),
            }
        })
    }
}

impl Names {
    pub(super) fn new(default: &[Credential]) -> Names {
        let mut names = Names::default();
        for credential in default {
            names.default.add(credential);
        }
        names
    }

    /// Takes a certificate for a name, unless there is one of the same kind.
    pub(super) fn add(&mut self, name: &str, credential: &Credential) {
        let name = name.to_ascii_lowercase().into_boxed_str();
        self.by_name.entry(name).or_default().add(credential);
    }

    /// Takes over from earlier ones what is missing here though its file is still there, as somebody is
    /// at work on it; the default certificate in any case. Gives the files of what was taken over.
    pub(super) fn keep_lost(&mut self, earlier: &Names, dir: &ConfigDir) -> Vec<String> {
        let mut files = BTreeSet::new();
        if self.default.0.is_empty() {
            self.default.clone_from(&earlier.default);
            files.extend(self.default.0.iter().map(|held| held.file.clone()));
        }
        for (name, choice) in &earlier.by_name {
            if self.by_name.contains_key(name) {
                continue;
            }
            for held in choice.0.iter().filter(|held| dir.exists(&held.file)) {
                files.insert(held.file.clone());
                self.add(name, held);
            }
        }
        files.into_iter().collect()
    }

    /// Whether there is a certificate for clients that ask for no name.
    #[must_use]
    pub fn has_default(&self) -> bool {
        !self.default.0.is_empty()
    }

    /// Names that have certificates of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether no name has a certificate of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The certificate that is called exactly so, else the default one (TLS-13).
    #[must_use]
    pub fn own(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.by_name.get(&*name.to_ascii_lowercase()));
        named.unwrap_or(&self.default).first().cloned()
    }

    /// The certificates of a name: its own, else those of the wildcard above it.
    fn of(&self, name: &str) -> Option<&Choice> {
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(format!("*.{parent}").as_str())
        };
        self.by_name.get(name.as_str()).or_else(wildcard)
    }

    fn choose(&self, name: Option<&str>, offer: &Offer<'_>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.of(name));
        // A client that can read none of its name's certificates fails with the first one; with the
        // default one it may not, as most look at no name.
        let readable = named.and_then(|named| named.readable(offer));
        readable
            .or_else(|| self.default.readable(offer))
            .or_else(|| named.and_then(Choice::first))
            .or_else(|| self.default.first())
            .cloned()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offer = Offer {
            schemes: hello.signature_schemes(),
            suites: hello.cipher_suites(),
        };
        self.choose(hello.server_name(), &offer)
    }
}
