//! Client sessions that note what is to be thought of the server instead of breaking off, as Node
//! has it: who began the session decides. Made from PEM that scripts bring; nothing here has a socket.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};

use super::credential::{Credential, Signing};
use super::signatures::signatures;
use super::trust::{Trust, code, is_self_signed, validity};
use super::{pem, suites};

/// What a client session begins with.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The name to ask for and to find in the certificate; an address is not asked for.
    pub(crate) server_name: String,
    /// PEM of the authorities to trust; the system's if there are none.
    pub(crate) ca: Vec<u8>,
    /// PEM of our own certificates and keys; may be empty.
    pub(crate) cert: Vec<u8>,
    /// For encrypted keys.
    pub(crate) passphrase: Option<String>,
    /// Protocols to offer, the preferred one first (RFC 7301).
    pub(crate) alpn: Vec<Vec<u8>>,
    /// TLS 1.2 is not spoken.
    pub(crate) only_13: bool,
}

/// What was found out about the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement(Arc<Mutex<Option<&'static str>>>);

impl Judgement {
    /// Why the server cannot be trusted, as Node names it.
    pub(crate) fn code(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// A session, and where its judgement will be.
    ///
    /// # Errors
    /// Keys and certificates that cannot be read or do not belong together.
    pub(crate) fn session(&self) -> Result<(ClientConnection, Judgement), String> {
        let provider = suites::provider(None, &[]);
        let own = pem::read(&self.ca, None).map_err(|e| e.to_string())?.chain;
        let judgement = Judgement::default();
        let verifier = Noting {
            trust: Trust::new(Arc::clone(&provider), own, Vec::new()),
            provider: Arc::clone(&provider),
            judgement: judgement.clone(),
        };
        let lowest = match self.only_13 {
            true => haraka_shared::config::MinVersion::Tls13,
            false => haraka_shared::config::MinVersion::Tls12,
        };
        let versions = suites::versions(lowest, &provider);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.cert.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let own = self.credential()?;
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                    (*own.certified).clone(),
                )))
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|e| format!("{}: {e}", self.server_name))?;
        let session = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
        Ok((session, judgement))
    }

    fn credential(&self) -> Result<Credential, String> {
        let found = pem::read(&self.cert, self.passphrase.as_deref()).map_err(|e| e.to_string())?;
        let mut keys = Vec::new();
        for key in &found.keys {
            keys.push(Signing::load(key).map_err(|e| e.to_string())?);
        }
        Credential::join("cert", found.chain, &keys, None).map_err(|e| e.to_string())
    }
}

/// Takes every certificate and notes what it should have said.
#[derive(Debug)]
struct Noting {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    judgement: Judgement,
}

impl Noting {
    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), &'static str> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err("UNABLE_TO_GET_ISSUER_CERT");
        };
        // A certificate that vouches for itself may be named in `ca`; WebPKI knows only authorities.
        let itself = self.trust.own().iter().any(|own| own == leaf) && is_self_signed(leaf);
        if itself && let Some(validity) = validity(leaf, now) {
            validity.map_err(|verdict| verdict.code)?;
            let named = ParsedCertificate::try_from(leaf)
                .and_then(|parsed| verify_server_name(&parsed, name));
            return named.map_err(|_| WRONG_NAME);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(
            self.trust.roots(),
            Arc::clone(&self.provider),
        );
        // Without any authority there is no verifier, and nobody is known.
        let judged = match verifier.build() {
            Ok(verifier) => verifier.verify_server_cert(leaf, others, name, &[], now),
            Err(_) => Err(CertificateError::UnknownIssuer.into()),
        };
        match judged {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Err(WRONG_NAME),
            Err(e) => Err(code(&e, chain, now)),
        }
    }
}

const WRONG_NAME: &str = "ERR_TLS_CERT_ALTNAME_INVALID";

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut chain = vec![leaf.clone()];
        chain.extend_from_slice(others);
        let verdict = self.judge(&chain, name, now).err();
        let mut noted = self.judgement.0.lock();
        **noted.as_mut().unwrap_or_else(|e| e.get_mut()) = verdict;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
