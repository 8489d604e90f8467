//! Everything that a server needs for TLS, made from tls.ini and the files that it names.
//!
//! Made once at start and anew when a file changes; sessions keep what they began with. Its
//! certificates, authorities and providers are shared by all ports.

use std::sync::Arc;

use haraka_shared::config::{ConfigDir, Inbound, TlsIni};
use ring::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::client::{Kit, Known};
use super::client_auth::ClientCertificates;
use super::names::Names;
use super::remark::Remark;
use super::store::{DIRECTORY, Reading, response_files};
use super::suites;
use super::tickets::{Keyring, Ticketer};
use super::trust::Trust;

/// What contexts are made from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the files are.
    pub dir: ConfigDir,
    /// The settings.
    pub ini: TlsIni,
    /// Something in the configuration wants TLS, so that its absence is worth a line.
    pub wanted: bool,
    /// Keys of tickets.
    pub tickets: Arc<Keyring>,
}

/// The certificates of a server, and how TLS is spoken on its ports.
#[derive(Debug)]
pub struct Contexts {
    names: Arc<Names>,
    trust: Arc<Trust>,
    /// For ports that take any client; `None` if there is no certificate.
    usual: Option<Arc<ServerConfig>>,
    /// For those of `requireAuthorized`.
    strict: Option<Arc<ServerConfig>>,
    strict_ports: Vec<u16>,
    outbound: Arc<Kit>,
    sources: Vec<String>,
}

impl Default for Contexts {
    /// No TLS at all.
    fn default() -> Contexts {
        let provider = suites::provider(None, &[]);
        Contexts {
            names: Arc::default(),
            trust: Arc::new(Trust::new(provider, Vec::new(), Vec::new())),
            usual: None,
            strict: None,
            strict_ports: Vec::new(),
            outbound: Arc::default(),
            sources: Vec::new(),
        }
    }
}

impl Contexts {
    /// Reads all files. Whatever is wrong is told in `remarks`, and the rest counts: what cannot be
    /// read any more is as in `earlier`. Without a usable default certificate TLS is not offered.
    /// Takes a while where there are many certificates.
    #[must_use]
    pub fn load(
        source: &Source,
        earlier: Option<&Contexts>,
        remarks: &mut Vec<Remark>,
    ) -> Contexts {
        let Source { dir, ini, .. } = source;
        let inbound = ini.inbound();
        let mut sources = Sources::new(dir, ini, &inbound);
        let mut reading = Reading::new(dir, earlier.is_some(), remarks);
        let names = certificates(source, &inbound, earlier, &mut reading);
        let provider = suites::provider(inbound.ciphers.as_deref(), &inbound.curves);
        let trust = Arc::new(trust(&inbound, &provider, &mut reading));
        let names = Arc::new(names);
        let options = ini.outbound();
        let same_files = options.key == inbound.key && options.cert == inbound.cert;
        let same_trust = options.ca == inbound.ca && options.crl == inbound.crl;
        let known = Known {
            own: same_files.then(|| names.own(None)),
            trust: same_trust.then(|| Arc::clone(&trust)),
            earlier: earlier.map(|earlier| &*earlier.outbound),
        };
        let outbound = Arc::new(Kit::read(&options, &mut reading, &known));
        sources.directory(dir);
        let mut contexts = Contexts {
            usual: None,
            strict: None,
            strict_ports: ini.require_authorized.clone(),
            names: Arc::clone(&names),
            trust: Arc::clone(&trust),
            outbound,
            sources: sources.0,
        };
        if !names.has_default() {
            return contexts;
        }
        let making = Making {
            provider,
            inbound: &inbound,
            trust,
            names,
            tickets: ini.session_tickets.then_some(&source.tickets),
        };
        let usual = inbound.request_cert && inbound.reject_unauthorized;
        match making.config(usual) {
            Ok(config) => contexts.usual = Some(Arc::new(config)),
            Err(e) => remarks.push(Remark::error(format!("tls.ini: {e}; TLS is not offered"))),
        }
        contexts.strict = match (&contexts.usual, usual || contexts.strict_ports.is_empty()) {
            (Some(usual), true) => Some(Arc::clone(usual)),
            (Some(_), false) => making.config(true).ok().map(Arc::new),
            (None, _) => None,
        };
        contexts
    }

    /// What a session on this local port begins with; `None` if TLS cannot be offered.
    #[must_use]
    pub fn server(&self, port: u16) -> Option<Arc<ServerConfig>> {
        match self.strict_ports.contains(&port) {
            true => self.strict.clone(),
            false => self.usual.clone(),
        }
    }

    /// Whether a client's certificates, its own in front, can be trusted now.
    ///
    /// # Errors
    /// Why not, as Node names it; `UNABLE_TO_GET_ISSUER_CERT` if there is no certificate.
    pub fn verify_peer(&self, chain: &[CertificateDer<'_>]) -> Result<(), &'static str> {
        let judged = self.trust.judge_client(chain, UnixTime::now());
        judged.map_err(|verdict| verdict.code)
    }

    /// The certificate to show to a server that asks for one: the one of this name, else the default
    /// one (TLS-10, TLS-13).
    #[must_use]
    pub fn own_certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.names.own(name)
    }

    /// Whom `ca` of clients, or the system, trusts.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// What TLS with other servers is made from, as `[outbound]` says.
    #[must_use]
    pub fn outbound(&self) -> &Arc<Kit> {
        &self.outbound
    }

    /// Number of names with certificates of their own.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Files and directories that it is made from, as [`ConfigDir`] takes them; some may be missing.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }
}

/// The certificates of tls.ini and those of the directory.
fn certificates(
    source: &Source,
    inbound: &Inbound,
    earlier: Option<&Contexts>,
    reading: &mut Reading<'_>,
) -> Names {
    let ini = &source.ini;
    let passphrase = inbound.passphrase.as_deref();
    let missing = |files: &[String]| files.iter().all(|file| !source.dir.exists(file));
    let asked = source.wanted || !missing(&inbound.key) || !missing(&inbound.cert);
    let default = match asked {
        false => {
            let text = format!(
                "neither {} nor {}: TLS is not offered",
                inbound.key.join(", "),
                inbound.cert.join(", ")
            );
            reading.remarks.push(Remark::info(text));
            Vec::new()
        }
        true => reading.named(
            &inbound.key,
            &inbound.cert,
            passphrase,
            inbound.request_ocsp,
        ),
    };
    let mut names = Names::new(&default);
    for name in ini.named() {
        let keys = ini.key_of.get(name).unwrap_or(&inbound.key);
        let certificates = ini.cert_of.get(name).map(|c| &**c).unwrap_or_default();
        let own = ini.passphrase_of.get(name).and_then(|p| p.as_deref());
        let staple = ini.request_ocsp_for(name);
        for credential in reading.named(keys, certificates, own.or(passphrase), staple) {
            names.add(name, &credential);
        }
    }
    let found = reading.directory(&mut names, passphrase, |name| ini.request_ocsp_for(name));
    if found > 0 {
        let text = format!("found {found} TLS certs in config/tls");
        reading.remarks.push(Remark::info(text));
    }
    if let Some(earlier) = earlier {
        keep_lost(&mut names, earlier, inbound, reading);
    }
    if !names.has_default() && (asked || !names.is_empty()) {
        let text = "no usable default certificate (key and cert of tls.ini): TLS is not offered";
        reading.remarks.push(Remark::error(text));
    }
    names
}

/// What was there before and cannot be read now.
fn keep_lost(names: &mut Names, earlier: &Contexts, inbound: &Inbound, reading: &mut Reading<'_>) {
    let unreadable = std::mem::take(&mut reading.unreadable);
    let default_is = inbound.key.iter().any(|file| unreadable.contains(file));
    for file in names.keep_lost(&earlier.names, reading.dir) {
        let explained = default_is && inbound.cert.contains(&file);
        if !explained && !unreadable.contains(&file) {
            let text = format!("{file}: the earlier certificate stays");
            reading.remarks.push(Remark::error(text));
        }
    }
    // One line for all: workers read as root only when they start.
    if let Some(first) = unreadable.first() {
        let others = match unreadable.len() {
            1 => String::new(),
            n => format!(" and {} others", n - 1),
        };
        reading.remarks.push(Remark::warn(format!(
            "{first}{others}: may not be read while the server runs, what was read at the start \
             stays; haraka --graceful reads it again"
        )));
    }
}

fn trust(inbound: &Inbound, provider: &Arc<CryptoProvider>, reading: &mut Reading<'_>) -> Trust {
    trust_in(&inbound.ca, &inbound.crl, provider, reading)
}

/// Those who are named in these files, or whom the system trusts if none is.
pub(super) fn trust_in(
    ca: &[String],
    crl: &[String],
    provider: &Arc<CryptoProvider>,
    reading: &mut Reading<'_>,
) -> Trust {
    let mut authorities = Vec::new();
    for file in ca {
        let found = reading.load("ca", file, None).unwrap_or_default();
        authorities.extend(found.chain);
    }
    if !ca.is_empty() {
        let text = match authorities.is_empty() {
            true => {
                "no authority in ca of tls.ini: no certificate of a client is trusted".to_owned()
            }
            false => format!("loading CA certs from {}", ca.join(", ")),
        };
        reading.remarks.push(match authorities.is_empty() {
            true => Remark::error(text),
            false => Remark::info(text),
        });
    }
    let mut crls = Vec::new();
    for file in crl {
        let found = reading.load("crl", file, None).unwrap_or_default();
        crls.extend(found.crls);
    }
    match authorities.is_empty() && !ca.is_empty() {
        // The system's are not what was asked for.
        true => Trust::nobody(Arc::clone(provider)),
        false => Trust::new(Arc::clone(provider), authorities, crls),
    }
}

/// What configurations are made from.
struct Making<'a> {
    provider: Arc<CryptoProvider>,
    inbound: &'a Inbound,
    trust: Arc<Trust>,
    names: Arc<Names>,
    tickets: Option<&'a Arc<Keyring>>,
}

impl Making<'_> {
    /// The configuration of ports where clients need a certificate, or do not.
    fn config(&self, require: bool) -> Result<ServerConfig, rustls::Error> {
        let versions: Vec<&'static SupportedProtocolVersion> =
            suites::versions(self.inbound.min_version, &self.provider);
        let algorithms = self.provider.signature_verification_algorithms;
        let ask = self.inbound.request_cert;
        let clients = ClientCertificates::new(&self.trust, algorithms, ask, require);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(Arc::new(clients))
            .with_cert_resolver(Arc::<Names>::clone(&self.names));
        config.ignore_client_order = self.inbound.honor_cipher_order;
        // Other workers could not read it, and it takes memory for each client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match self.tickets {
            Some(keys) => {
                config.ticketer = Arc::new(Ticketer::new(keys, self.scope(require)));
                config.send_tls13_tickets = 1;
            }
            None => config.send_tls13_tickets = 0,
        }
        Ok(config)
    }

    /// A digest of what decides whether a client's certificate is taken. Other workers come to the
    /// same.
    fn scope(&self, require: bool) -> [u8; 32] {
        let mut digest = Context::new(&SHA256);
        let switches = [
            self.inbound.request_cert,
            require,
            self.trust.is_of_system(),
        ];
        digest.update(&switches.map(u8::from));
        let authorities = self.trust.own().iter().map(AsRef::as_ref);
        let revoked = self.trust.crls().iter().map(AsRef::as_ref);
        for part in authorities.chain(revoked) {
            let part: &[u8] = part;
            digest.update(&part.len().to_be_bytes());
            digest.update(part);
        }
        let mut scope = [0; 32];
        for (to, from) in scope.iter_mut().zip(digest.finish().as_ref()) {
            *to = *from;
        }
        scope
    }
}

/// Files that contexts are made from.
struct Sources(Vec<String>);

impl Sources {
    fn new(dir: &ConfigDir, ini: &TlsIni, inbound: &Inbound) -> Sources {
        let mut files = vec!["tls.ini".to_owned(), DIRECTORY.to_owned()];
        files.extend(inbound.key.iter().cloned());
        files.extend(inbound.ca.iter().chain(&inbound.crl).cloned());
        let outbound = ini.outbound();
        for named in [outbound.key, outbound.cert, outbound.ca, outbound.crl] {
            files.extend(named);
        }
        files.extend(ini.key_of.values().flatten().cloned());
        let certificates = inbound.cert.iter().chain(ini.cert_of.values().flatten());
        for certificate in certificates {
            files.push(certificate.clone());
            files.extend(response_files(certificate));
        }
        files.sort();
        files.dedup();
        files.retain(|file| dir.path(file).is_ok());
        Sources(files)
    }

    /// All that is below the directory, and the directories themselves: what is added shows there.
    fn directory(&mut self, dir: &ConfigDir) {
        let (files, directories) = match dir.path(DIRECTORY) {
            Ok(path) if path.is_dir() => dir.tree_below(DIRECTORY).unwrap_or_default(),
            _ => return,
        };
        for path in files.into_iter().chain(directories) {
            let inside = path.strip_prefix(dir.root()).ok();
            self.0
                .extend(inside.and_then(|p| p.to_str()).map(str::to_owned));
        }
    }
}

#[cfg(test)]
#[path = "contexts_tests.rs"]
mod tests;
