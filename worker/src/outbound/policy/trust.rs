//! The authorities that vouch for web servers and mail hosts, and client configurations with them.
//!
//! Read once, off the event loop, when something has to be verified for the first time. Must never be
//! empty silently: without authorities every verification fails, and the reason has to be readable.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::rt;
use crate::tls::system_roots;

/// Why there are no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The configured file.
    #[error("{path}: {cause}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The system's.
    #[error("this system has no certificates of authorities")]
    System,
    /// They could not be read off the event loop.
    #[error("authorities could not be read: {0}")]
    NotRead(String),
}

/// Authorities from a file, or the system's.
pub struct Trust {
    file: Option<PathBuf>,
    web: RefCell<Option<Arc<ClientConfig>>>,
    roots: RefCell<Option<Arc<RootCertStore>>>,
    judge: RefCell<Option<Authorities>>,
}

/// A judge of mail hosts' certificates: known authorities, the name, the dates. Two are the same only
/// if one is the other's copy.
#[derive(Clone, Debug)]
pub struct Authorities(pub Arc<dyn ServerCertVerifier>);

impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Authorities {}

impl Trust {
    /// Those of this PEM file; without one, those of the system.
    pub fn new(file: Option<PathBuf>) -> Trust {
        Trust {
            file,
            web: RefCell::default(),
            roots: RefCell::default(),
            judge: RefCell::default(),
        }
    }

    /// The file that they come from, if it is not the system that says.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The authorities. A failure is not remembered: what is missing may come.
    ///
    /// # Errors
    /// [`TrustError`]
    pub async fn roots(&self) -> Result<Arc<RootCertStore>, TrustError> {
        if let Some(roots) = &*self.roots.borrow() {
            return Ok(Arc::clone(roots));
        }
        let file = self.file.clone();
        let read = rt::offload(move || match file {
            Some(path) => from_file(&path),
            None => from_system(),
        })
        .await;
        let roots = read.map_err(|e| TrustError::NotRead(e.to_string()))??;
        *self.roots.borrow_mut() = Some(Arc::clone(&roots));
        Ok(roots)
    }

    /// The judge of mail hosts.
    ///
    /// # Errors
    /// [`TrustError`]
    pub async fn judge(&self) -> Result<Authorities, TrustError> {
        if let Some(judge) = &*self.judge.borrow() {
            return Ok(judge.clone());
        }
        let roots = self.roots().await?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let verifier = verifier.map_err(|e| TrustError::NotRead(e.to_string()))?;
        let judge = Authorities(verifier);
        *self.judge.borrow_mut() = Some(judge.clone());
        Ok(judge)
    }

    /// A configuration for HTTPS.
    ///
    /// # Errors
    /// [`TrustError`]
    pub(super) async fn web(&self) -> Result<Arc<ClientConfig>, TrustError> {
        if let Some(config) = &*self.web.borrow() {
            return Ok(Arc::clone(config));
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| TrustError::NotRead(e.to_string()))?
            .with_root_certificates(self.roots().await?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        *self.web.borrow_mut() = Some(Arc::clone(&config));
        Ok(config)
    }
}

/// The implementation of cryptography that is used everywhere.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn from_file(path: &Path) -> Result<Arc<RootCertStore>, TrustError> {
    let bad = |cause: String| TrustError::File {
        path: path.display().to_string(),
        cause,
    };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
        let cert = cert.map_err(|e| bad(e.to_string()))?;
        roots.add(cert).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(Arc::new(roots))
}

fn from_system() -> Result<Arc<RootCertStore>, TrustError> {
    let roots = system_roots();
    match roots.is_empty() {
        true => Err(TrustError::System),
        false => Ok(roots),
    }
}
