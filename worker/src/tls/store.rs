//! The certificates of a server: those that tls.ini names (TLS-01, TLS-15), and those of the directory
//! `config/tls` (TLS-17).
//!
//! Whatever is wrong with one is told, and the others count.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::Path;

use haraka_shared::config::{ConfigDir, ConfigError};
use rustls::pki_types::CertificateDer;

use super::credential::{Credential, Facts, Signing};
use super::names::Names;
use super::ocsp;
use super::pem::{self, Contents};
use super::remark::Remark;

/// The directory below `config/`.
pub(super) const DIRECTORY: &str = "tls";

/// What is behind the name of a certificate's file in that of its response.
pub(super) const OCSP_ENDING: &str = "ocsp";

/// What reading needs besides the files.
pub(super) struct Reading<'a> {
    pub(super) dir: &'a ConfigDir,
    /// Seconds since 1970.
    pub(super) now: i64,
    pub(super) remarks: &'a mut Vec<Remark>,
    /// Files that were read before and that the process may not read any more.
    pub(super) unreadable: BTreeSet<String>,
    /// Files were read before, perhaps by root.
    pub(super) again: bool,
}

/// Reads key and certificate files that belong together in any order, such as those of `key` and
/// `cert`. Gives what can be used, and tells the rest.
pub fn from_files(
    dir: &ConfigDir,
    keys: &[String],
    certificates: &[String],
    passphrase: Option<&str>,
    remarks: &mut Vec<Remark>,
) -> Vec<Credential> {
    let mut reading = Reading::new(dir, false, remarks);
    reading.named(keys, certificates, passphrase, false)
}

/// Seconds since 1970.
pub(super) fn unix_now() -> i64 {
    i64::try_from(haraka_shared::date::epoch_ms() / 1000).unwrap_or(i64::MAX)
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        dir: &'a ConfigDir,
        again: bool,
        remarks: &'a mut Vec<Remark>,
    ) -> Reading<'a> {
        Reading {
            dir,
            now: unix_now(),
            remarks,
            unreadable: BTreeSet::new(),
            again,
        }
    }

    /// Notes a file that only others may read now; whether it is one.
    fn is_out_of_reach(&mut self, file: &str, e: &ConfigError) -> bool {
        let denied = matches!(
            e, ConfigError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied
        );
        if denied && self.again {
            self.unreadable.insert(file.to_owned());
        }
        denied && self.again
    }

    /// The certificates of some files with the keys of others.
    pub(super) fn named(
        &mut self,
        keys: &[String],
        certificates: &[String],
        passphrase: Option<&str>,
        ocsp: bool,
    ) -> Vec<Credential> {
        if keys.len() != certificates.len() {
            self.remarks.push(Remark::error(format!(
                "number of keys ({}) not equal to certs ({}).",
                keys.len(),
                certificates.len()
            )));
        }
        let mut signing = Vec::new();
        let mut loaded_keys = true;
        for file in keys {
            let found = self.load("key", file, passphrase);
            loaded_keys &= found.is_some();
            let found = found.unwrap_or_default().keys;
            signing.extend(self.signing(&self.shown(file), &found));
        }
        let mut credentials = Vec::new();
        for file in certificates {
            let Some(found) = self.load("cert", file, passphrase) else {
                continue;
            };
            let shown = self.shown(file);
            let staple = ocsp.then(|| self.response(file)).flatten();
            match Credential::join(file, found.chain, &signing, staple) {
                Ok(credential) => {
                    self.look_at_age(&credential);
                    credentials.push(credential);
                }
                // Without its key there is nothing more to say.
                Err(_) if !loaded_keys => {}
                Err(e) => self
                    .remarks
                    .push(Remark::error(format!("tls cert {shown}: {e}"))),
            }
        }
        credentials
    }

    /// The PEM sections of a file that is named in tls.ini.
    pub(super) fn load(
        &mut self,
        what: &str,
        file: &str,
        passphrase: Option<&str>,
    ) -> Option<Contents> {
        let shown = self.shown(file);
        let why = match self.dir.bytes(file) {
            Ok(Some(bytes)) => match pem::read(&bytes, passphrase) {
                Ok(found) if !found.is_empty() => return Some(found),
                Ok(_) => "no PEM in it".to_owned(),
                Err(e) => e.to_string(),
            },
            Ok(None) => {
                let text = format!("tls {what} {shown} could not be loaded.");
                self.remarks.push(Remark::error(text));
                return None;
            }
            Err(e) if self.is_out_of_reach(file, &e) => return None,
            Err(ConfigError::Read { source, .. }) => source.to_string(),
            Err(e) => e.to_string(),
        };
        let text = format!("tls {what} {shown} could not be loaded: {why}");
        self.remarks.push(Remark::error(text));
        None
    }

    fn shown(&self, file: &str) -> String {
        let path = self.dir.path(file);
        path.map_or_else(|_| file.to_owned(), |path| path.display().to_string())
    }

    fn signing(
        &mut self,
        file: &str,
        keys: &[rustls::pki_types::PrivateKeyDer<'_>],
    ) -> Vec<Signing> {
        let mut usable = Vec::new();
        for key in keys {
            match Signing::load(key) {
                Ok(key) => usable.push(key),
                Err(e) => self
                    .remarks
                    .push(Remark::error(format!("tls key {file}: {e}"))),
            }
        }
        usable
    }

    /// The response to staple: from the certificate's file name with `.ocsp` behind it, or in place
    /// of its ending.
    fn response(&mut self, certificate: &str) -> Option<Vec<u8>> {
        let beside = response_files(certificate);
        for file in &beside {
            let why = match self.dir.bytes(file) {
                Ok(None) => continue,
                Ok(Some(bytes)) => match ocsp::check(&bytes, self.now) {
                    Ok(_) => return Some(bytes),
                    Err(e) => e.to_string(),
                },
                Err(e) => e.to_string(),
            };
            let text = format!("{}: not stapled: {why}", self.shown(file));
            self.remarks.push(Remark::warn(text));
            return None;
        }
        let text = format!(
            "requestOCSP: nothing to staple: no file {}",
            beside.join(" or ")
        );
        self.remarks.push(Remark::warn(text));
        None
    }

    /// Certificates are used after their time too: most senders do not look (TLS-17).
    fn look_at_age(&mut self, credential: &Credential) {
        let file = &credential.file;
        let left = credential.not_after - self.now;
        let date = haraka_shared::date::iso8601(credential.not_after.saturating_mul(1000));
        if left < 0 {
            let text = format!("{file} expired on {date}");
            self.remarks.push(Remark::error(text));
        } else if left < AHEAD {
            let days = left / DAY;
            let text = format!("{file} expires on {date}, in {days} days");
            self.remarks.push(Remark::warn(text));
        }
    }

    /// Adds the certificates of the directory. Gives how many were found.
    pub(super) fn directory(
        &mut self,
        names: &mut Names,
        passphrase: Option<&str>,
        ocsp: impl Fn(&str) -> bool,
    ) -> usize {
        let files = self.files(passphrase);
        let keys = LoneKeys::of(&files);
        let mut used: BTreeSet<&str> = BTreeSet::new();
        let mut count = 0;
        for file in &files {
            let Some(facts) = &file.facts else { continue };
            let candidates = keys.candidates(file, facts);
            let owns = |other: &&&Filed| other.keys.iter().any(|key| key.belongs_to(facts));
            let Some(owner) = candidates.iter().find(owns) else {
                self.remarks.extend(without_key(file, facts, &candidates));
                continue;
            };
            used.insert(&owner.file);
            let staple = facts.names.iter().any(|name| ocsp(name));
            let staple = staple.then(|| self.response(&file.file)).flatten();
            let joined = Credential::join(&file.file, file.chain.clone(), &owner.keys, staple);
            let Ok(credential) = joined else { continue };
            self.look_at_age(&credential);
            for name in &facts.names {
                names.add(&starred(name), &credential);
            }
            count += 1;
        }
        for file in files.iter().filter(|file| file.facts.is_none()) {
            if !used.contains(&*file.file) {
                let text = format!("{}: no certificate for its key", file.file);
                self.remarks.push(Remark::warn(text));
            }
        }
        count
    }

    /// The files of the directory that have keys or certificates.
    fn files(&mut self, passphrase: Option<&str>) -> Vec<Filed> {
        // Without a directory there is nothing to say.
        let paths = match self.dir.path(DIRECTORY) {
            Ok(path) if path.is_dir() => self.dir.files_below(DIRECTORY),
            _ => return Vec::new(),
        };
        let paths = paths.unwrap_or_else(|e| {
            self.remarks.push(Remark::error(e.to_string()));
            Vec::new()
        });
        let root = self.dir.root().to_owned();
        let mut files = Vec::new();
        for path in &paths {
            let shown = path.strip_prefix(&root).unwrap_or(path);
            if shown.extension().is_some_and(|e| e == OCSP_ENDING) {
                continue;
            }
            let Some(name) = shown.to_str() else { continue };
            match self.dir.bytes(name) {
                Ok(Some(bytes)) => match pem::read(&bytes, passphrase) {
                    Ok(found) => files.extend(self.filed(name, found)),
                    Err(e) => self.remarks.push(Remark::error(format!("{name}: {e}"))),
                },
                // It went away since the directory was read.
                Ok(None) => {}
                Err(e) if self.is_out_of_reach(name, &e) => {}
                Err(e) => self.remarks.push(Remark::error(e.to_string())),
            }
        }
        files
    }

    fn filed(&mut self, name: &str, found: Contents) -> Option<Filed> {
        let keys = self.signing(name, &found.keys);
        let facts = match found.chain.first().map(Facts::of) {
            Some(Ok(facts)) => Some(facts),
            Some(Err(e)) => {
                self.remarks.push(Remark::error(format!("{name}: {e}")));
                return None;
            }
            None if keys.is_empty() => return None,
            None => None,
        };
        let stem = Path::new(name).file_stem().and_then(|s| s.to_str())?;
        Some(Filed {
            stem: starred(&stem.to_ascii_lowercase()),
            file: name.to_owned(),
            keys,
            chain: found.chain,
            facts,
        })
    }
}

/// A file of the directory.
struct Filed {
    /// Name below `config/`.
    file: String,
    /// The name that its key is for if it has no certificate.
    stem: String,
    keys: Vec<Signing>,
    chain: Vec<CertificateDer<'static>>,
    facts: Option<Facts>,
}

impl Filed {
    fn directory(&self) -> Option<&Path> {
        Path::new(&self.file).parent()
    }
}

/// Files that have keys and no certificate.
#[derive(Default)]
struct LoneKeys<'a> {
    by_name: HashMap<&'a str, Vec<&'a Filed>>,
    by_directory: HashMap<&'a Path, Vec<&'a Filed>>,
}

impl<'a> LoneKeys<'a> {
    fn of(files: &'a [Filed]) -> LoneKeys<'a> {
        let mut keys = LoneKeys::default();
        for file in files.iter().filter(|file| file.facts.is_none()) {
            keys.by_name.entry(&file.stem).or_default().push(file);
            if let Some(directory) = file.directory() {
                keys.by_directory.entry(directory).or_default().push(file);
            }
        }
        keys
    }

    /// The files that a certificate's key may be in: its own, those named after it, and, as programs
    /// that renew certificates lay them out, those beside it.
    fn candidates(&self, file: &'a Filed, facts: &Facts) -> Vec<&'a Filed> {
        let own = (!file.keys.is_empty()).then_some(file);
        let named = facts.names.iter();
        let named = named.filter_map(|name| self.by_name.get(&*starred(name)));
        let beside = file.directory().and_then(|d| self.by_directory.get(d));
        let others = named.flatten().chain(beside.into_iter().flatten());
        own.into_iter().chain(others.copied()).collect()
    }
}

/// What to say of a certificate without its key. Those of authorities have none.
fn without_key(file: &Filed, facts: &Facts, candidates: &[&Filed]) -> Option<Remark> {
    let name = facts.names.first().map_or("", |name| name);
    let meant = |other: &&&Filed| other.file == file.file || facts.names.contains(&other.stem);
    if let Some(other) = candidates.iter().find(meant) {
        return Some(Remark::error(format!(
            "CN '{name}' loading got: the key in {} is not that of {}",
            other.file, file.file
        )));
    }
    let text = || format!("{}: no key for its certificate '{name}'", file.file);
    (!facts.is_authority).then(|| Remark::warn(text()))
}

/// Where a certificate's response may be.
pub(super) fn response_files(certificate: &str) -> [String; 2] {
    let replaced = Path::new(certificate).with_extension(OCSP_ENDING);
    [
        format!("{certificate}.{OCSP_ENDING}"),
        replaced.to_string_lossy().into_owned(),
    ]
}

/// A name with `*` where a file system had to do with `_`.
fn starred(name: &str) -> String {
    match name.strip_prefix('_') {
        Some(rest) => format!("*{rest}"),
        None => name.to_owned(),
    }
}

const DAY: i64 = 24 * 60 * 60;

/// How long before its end a certificate is told of, in seconds.
const AHEAD: i64 = 14 * DAY;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
