//! TLS towards other servers: what is spoken, what is shown, and what is thought of their
//! certificates (TLS-10, TLS-13, TLS-14, TLS-24).
//!
//! A [`Kit`] is made from the files that a set of options names; configurations are made of it once
//! for each way of judging and each certificate shown, and keep the sessions that hosts let us take
//! up again. Must never believe a session that was judged less strictly: each configuration has a
//! store of its own.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use haraka_shared::config::{ConfigDir, MinVersion, TlsClient, TlsIni};
use haraka_shared::tls::Tls;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, ClientConnection, SupportedProtocolVersion};

use super::contexts::{Contexts, trust_in};
use super::peer::describe;
use super::remark::Remark;
use super::signatures::signatures;
use super::store::Reading;
use super::suites;
use super::summary;
use super::trust::{Trust, code};

/// Sessions that one configuration remembers: hosts that are delivered to again and again.
const SESSIONS: usize = 256;

/// Configurations of one kit that are kept: a certificate for each of some hosts, judged or not.
const CONFIGS: usize = 32;

/// How a server's certificate is judged.
#[derive(Clone, Debug)]
pub enum Judge {
    /// Any certificate does; what is thought of it is noted.
    Nobody,
    /// The authorities of the options, or the system's, must vouch for it, and the name must fit.
    Authorities,
    /// By a policy's own rules, under the name that the policy gives.
    Policy {
        /// The rules.
        verifier: Arc<dyn ServerCertVerifier>,
        /// The name for the handshake; that of the host when unset.
        name: Option<String>,
    },
}

impl PartialEq for Judge {
    fn eq(&self, other: &Judge) -> bool {
        match (self, other) {
            (Judge::Nobody, Judge::Nobody) | (Judge::Authorities, Judge::Authorities) => true,
            (
                Judge::Policy { verifier, name },
                Judge::Policy {
                    verifier: v,
                    name: n,
                },
            ) => name == n && Arc::ptr_eq(verifier, v),
            _ => false,
        }
    }
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// By name, or by address where there is no name.
    pub name: &'a str,
    /// By address; none behind a Unix socket.
    pub ip: Option<IpAddr>,
}

impl Host<'_> {
    /// The name for SNI and for the comparison with the certificate (RFC 6066 §3: no address in SNI,
    /// which rustls sees to).
    fn server_name(&self) -> Option<ServerName<'static>> {
        let name = self.name.trim_end_matches('.');
        let named = ServerName::try_from(name.to_owned()).ok();
        named.or_else(|| self.ip.map(ServerName::from))
    }

    /// Whether a list of tls.ini has this host, by name or address.
    fn find<'t, T>(&self, list: &'t std::collections::BTreeMap<String, T>) -> Option<&'t T> {
        let name = self.name.trim_end_matches('.').to_ascii_lowercase();
        let by_address = || list.get(&self.ip?.to_string());
        list.get(&name).or_else(by_address)
    }
}

/// What TLS with other servers is made from.
pub struct Kit {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    trust: Arc<Trust>,
    own: Option<Arc<CertifiedKey>>,
    judge: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    configs: Mutex<Vec<(Way, Arc<ClientConfig>)>>,
}

/// What need not be read again for a kit.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// The certificate, if the options name the same files as somebody else.
    pub(super) own: Option<Option<Arc<CertifiedKey>>>,
    /// The authorities, likewise.
    pub(super) trust: Option<Arc<Trust>>,
    /// What was made of the options before: its certificate stays when only root may read the files.
    pub(super) earlier: Option<&'a Kit>,
}

/// What tells the configurations of a kit apart.
struct Way {
    judged: bool,
    shown: Option<Arc<CertifiedKey>>,
}

impl Way {
    fn is(&self, judged: bool, shown: Option<&Arc<CertifiedKey>>) -> bool {
        self.judged == judged
            && match (&self.shown, shown) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            }
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kit")
    }
}

impl Default for Kit {
    /// All that is here is spoken, the system's authorities count, no certificate is shown.
    fn default() -> Kit {
        let provider = suites::provider(None, &[]);
        Kit {
            versions: suites::versions(MinVersion::Tls12, &provider),
            trust: Arc::new(Trust::new(Arc::clone(&provider), Vec::new(), Vec::new())),
            provider,
            own: None,
            judge: OnceLock::new(),
            configs: Mutex::default(),
        }
    }
}

impl Kit {
    /// Reads the files that the options name. What is wrong with them is told, and the rest counts.
    #[must_use]
    pub fn load(dir: &ConfigDir, options: &TlsClient, remarks: &mut Vec<Remark>) -> Kit {
        let mut reading = Reading::new(dir, false, remarks);
        Kit::read(options, &mut reading, &Known::default())
    }

    /// The same; files that are known already are not read once more.
    pub(super) fn read(options: &TlsClient, reading: &mut Reading<'_>, known: &Known<'_>) -> Kit {
        let provider = suites::provider(options.ciphers.as_deref(), &options.curves);
        let own = match (
            &known.own,
            options.key.is_empty() && options.cert.is_empty(),
        ) {
            (_, true) => None,
            (Some(own), _) => own.clone(),
            (None, false) => {
                let passphrase = options.passphrase.as_deref();
                let found = reading.named(&options.key, &options.cert, passphrase, false);
                let found = found.into_iter().next().map(|found| found.certified);
                found.or_else(|| known.earlier.and_then(|kit| kit.own.clone()))
            }
        };
        let trust = match &known.trust {
            Some(trust) => Arc::clone(trust),
            None => Arc::new(trust_in(&options.ca, &options.crl, &provider, reading)),
        };
        let lowest = options.min_version.unwrap_or(MinVersion::Tls12);
        Kit {
            versions: suites::versions(lowest, &provider),
            trust,
            provider,
            own,
            judge: OnceLock::new(),
            configs: Mutex::default(),
        }
    }

    /// Does what takes long, such as reading the authorities of the system; to be called on another
    /// thread unless [`is_ready`](Kit::is_ready).
    pub fn make_ready(&self) {
        let _ = self.verifier();
    }

    /// Whether sessions can be begun without delay.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.judge.get().is_some()
    }

    /// The certificate that a host is shown if it asks for one: the one that tls.ini names for the
    /// host, nothing to those that are excepted, else that of the options.
    #[must_use]
    pub fn shown_to(
        &self,
        host: &Host<'_>,
        ini: &TlsIni,
        contexts: &Contexts,
    ) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = host.find(&ini.mutual_auth_hosts) {
            // A bare host is read as a switch that is on.
            let named = !matches!(name.as_str(), "" | "true");
            return contexts.own_certificate(named.then_some(name.as_str()));
        }
        if host.find(&ini.mutual_auth_hosts_exclude).is_some() {
            return None;
        }
        if ini.mutual_tls {
            return contexts.own_certificate(Some(host.name));
        }
        self.own.clone()
    }

    /// A session that can begin.
    ///
    /// # Errors
    /// There is no cipher or version left, or the host has neither a name nor an address.
    pub fn begin(
        self: &Arc<Self>,
        host: &Host<'_>,
        judge: &Judge,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<Beginning, rustls::Error> {
        let named = match judge {
            Judge::Policy {
                name: Some(name), ..
            } => Host { name, ..*host }.server_name(),
            _ => host.server_name(),
        };
        let none = || rustls::Error::General(format!("{:?} is no name of a host", host.name));
        let name = named.ok_or_else(none)?;
        let config = match judge {
            Judge::Nobody => self.kept(false, shown)?,
            Judge::Authorities => self.kept(true, shown)?,
            Judge::Policy { verifier, .. } => {
                let mut config = self.config(Arc::clone(verifier), shown)?;
                // What the policy wants is to be looked at each time.
                config.resumption = Resumption::disabled();
                Arc::new(config)
            }
        };
        let session = ClientConnection::new(config, name.clone())?;
        Ok(Beginning {
            session: session.into(),
            ending: Ending {
                kit: Arc::clone(self),
                name,
                by_policy: matches!(judge, Judge::Policy { .. }),
            },
        })
    }

    fn kept(
        &self,
        judged: bool,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut configs = match self.configs.lock() {
            Ok(configs) => configs,
            // Nothing is half done in it at any time.
            Err(poisoned) => poisoned.into_inner(),
        };
        let found = configs
            .iter()
            .find(|(way, _)| way.is(judged, shown.as_ref()));
        if let Some((_, config)) = found {
            return Ok(Arc::clone(config));
        }
        let always = |verdict| -> Arc<dyn ServerCertVerifier> {
            let provider = Arc::clone(&self.provider);
            Arc::new(Unseen { verdict, provider })
        };
        let verifier = match judged {
            false => always(Ok(())),
            // Without authorities none vouches for anybody.
            true => match self.verifier() {
                Some(verifier) => verifier,
                None => always(Err(CertificateError::UnknownIssuer)),
            },
        };
        let mut config = self.config(verifier, shown.clone())?;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let config = Arc::new(config);
        if configs.len() >= CONFIGS {
            configs.remove(0);
        }
        configs.push((Way { judged, shown }, Arc::clone(&config)));
        Ok(config)
    }

    fn config(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(match shown {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        })
    }

    fn verifier(&self) -> Option<Arc<WebPkiServerVerifier>> {
        self.judge
            .get_or_init(|| {
                let provider = Arc::clone(&self.provider);
                let builder =
                    WebPkiServerVerifier::builder_with_provider(self.trust.roots(), provider);
                let crls = self.trust.crls();
                let builder = match crls.is_empty() {
                    true => builder,
                    false => builder
                        .with_crls(crls.iter().cloned())
                        .enforce_revocation_expiration(),
                };
                builder.build().ok()
            })
            .clone()
    }

    /// What is to be thought of a server's certificates, its own in front.
    ///
    /// # Errors
    /// Why they cannot be trusted, as Node names it.
    pub fn verdict(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), &'static str> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err("UNABLE_TO_GET_ISSUER_CERT");
        };
        let judged = match self.verifier() {
            Some(verifier) => verifier.verify_server_cert(leaf, others, name, &[], now),
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        };
        judged.map(drop).map_err(|e| code(&e, chain, now))
    }
}

/// A session that has not begun.
pub struct Beginning {
    /// For the stream.
    pub session: rustls::Connection,
    /// For what comes of it.
    pub ending: Ending,
}

/// Looks at a session once its handshake is done.
pub struct Ending {
    kit: Arc<Kit>,
    name: ServerName<'static>,
    by_policy: bool,
}

impl Ending {
    /// What came of it.
    #[must_use]
    pub fn outcome(&self, session: &rustls::Connection) -> Tls {
        let chain = session.peer_certificates().unwrap_or_default();
        // A policy has its own idea of trust, and the handshake would have failed without it.
        let verdict = match self.by_policy {
            true => Ok(()),
            false => self.kit.verdict(chain, &self.name, UnixTime::now()),
        };
        Tls {
            peer: chain.first().map(describe),
            verified: verdict.is_ok(),
            verify_error: verdict.err().map(Into::into),
            ..summary(session)
        }
    }
}

/// What is said of any certificate; the server must still hold its key.
#[derive(Debug)]
struct Unseen {
    verdict: Result<(), CertificateError>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unseen {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verdict.clone()?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
