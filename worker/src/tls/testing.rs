//! Certificates and directories for the tests of this folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use haraka_shared::config::{Cipher, ConfigDir, Environment, MinVersion, Problems, TlsIni};
use haraka_shared::log::Level;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme,
};

use super::contexts::{Contexts, Source};
use super::remark::Remark;
use super::suites::{provider, versions};
use super::tickets::{Keyring, new_key};

/// An RSA key; rcgen over ring makes none.
pub(crate) const RSA_KEY: &str = include_str!("../../tests/data/rsa_key.pem");

/// An authority.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
}

/// A certificate with its key.
pub(crate) struct Made {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Authority {
            pem: made.pem(),
            der: made.der().clone(),
            params,
            key,
        }
    }

    /// A certificate for clients.
    pub(crate) fn issue(&self, mut params: CertificateParams) -> Made {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue_as_it_is(params)
    }

    pub(crate) fn issue_as_it_is(&self, params: CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        made(params.signed_by(&key, &issuer).unwrap(), &key)
    }
}

impl Authority {
    /// A list with one revoked certificate.
    pub(crate) fn revoke(&self, serial: u64) -> CertificateRevocationListDer<'static> {
        let now = SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(3600)).into(),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: serial.into(),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer).unwrap().der().clone()
    }
}

fn made(certificate: rcgen::Certificate, key: &KeyPair) -> Made {
    Made {
        cert: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().clone(),
    }
}

/// What a certificate of this common name, for these DNS names, says.
pub(crate) fn named(common: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

/// The same, good until some days from now; negative for days ago.
pub(crate) fn until(mut params: CertificateParams, days: i64) -> CertificateParams {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let count = u32::try_from(days.unsigned_abs()).unwrap();
    let end = match days < 0 {
        true => now - day * count,
        // Some hours more, so that the number of whole days is this one.
        false => now + day * count + day / 2,
    };
    params.not_before = (now - day * 400).into();
    params.not_after = end.into();
    params
}

/// A certificate that vouches for itself.
pub(crate) fn self_signed(params: &CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    made(params.self_signed(&key).unwrap(), &key)
}

/// The same with [`RSA_KEY`].
pub(crate) fn self_signed_rsa(params: &CertificateParams) -> Made {
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    made(params.self_signed(&key).unwrap(), &key)
}

/// A configuration directory that goes away in the end.
pub(crate) struct Site {
    root: PathBuf,
    pub(crate) dir: ConfigDir,
    pub(crate) tickets: Arc<Keyring>,
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.root));
    }
}

impl Site {
    pub(crate) fn new() -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("haraka-tls-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(root.join("config")).unwrap();
        let tickets = Arc::<Keyring>::default();
        tickets.replace(&[new_key().unwrap()]);
        Site {
            dir: ConfigDir::with_environment(&root, Environment::new([])).unwrap(),
            root,
            tickets,
        }
    }

    /// A directory with the default certificate.
    pub(crate) fn with_default(common: &str) -> Site {
        let site = Site::new();
        let made = self_signed(&named(common, &[common]));
        site.write("tls_key.pem", &made.key);
        site.write("tls_cert.pem", &made.cert);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn source(&self) -> Source {
        let mut problems = Problems::default();
        let ini = TlsIni::load(&self.dir, &mut problems).unwrap();
        assert!(problems.errors.is_empty(), "{problems:?}");
        Source {
            dir: self.dir.clone(),
            ini,
            wanted: true,
            tickets: Arc::clone(&self.tickets),
        }
    }

    /// The contexts, and what was said from warnings on, with paths below `config/`.
    pub(crate) fn load(&self, earlier: Option<&Contexts>) -> (Contexts, Vec<String>) {
        let mut remarks: Vec<Remark> = Vec::new();
        let contexts = Contexts::load(&self.source(), earlier, &mut remarks);
        let loud = remarks.iter().filter(|r| r.level <= Level::Warn);
        let root = format!("{}/", self.dir.root().display());
        let told = loud.map(|r| r.text.replace(&root, "")).collect();
        (contexts, told)
    }
}

/// What a client finds.
#[derive(Debug)]
pub(crate) struct Shaken {
    /// Certificates of the server.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The response that came with them.
    pub(crate) staple: Vec<u8>,
    pub(crate) resumed: bool,
    /// Certificates of the client as the server has them.
    pub(crate) client: Vec<CertificateDer<'static>>,
    pub(crate) suite: &'static str,
}

impl Shaken {
    /// Common name of the server's certificate.
    pub(crate) fn common_name(&self) -> String {
        super::peer::describe(&self.chain[0]).subject.into_string()
    }
}

/// A client: what it can do, and what it keeps for the next time.
pub(crate) struct Client {
    config: ClientConfig,
    seen: Arc<Seen>,
}

/// Takes any server and notes what it shows.
#[derive(Debug)]
struct Seen {
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
    staple: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.staple.lock().unwrap() = staple.to_vec();
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl Client {
    /// One that can do everything and has no certificate.
    pub(crate) fn new() -> Client {
        Client::with(MinVersion::Tls12, None, None, |_| true)
    }

    /// One that shows a certificate.
    pub(crate) fn showing(made: &Made) -> Client {
        Client::with(MinVersion::Tls12, None, Some(made), |_| true)
    }

    /// It shows a certificate, whether its key belongs to it or not.
    pub(crate) fn and_shows_unchecked(mut self, made: &Made) -> Client {
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let certified = CertifiedKey::new(vec![made.der.clone()], key);
        self.config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        self
    }

    /// One with these ciphers, whose names tell the versions, and these kinds of signature.
    pub(crate) fn with(
        lowest: MinVersion,
        ciphers: Option<&[Cipher]>,
        shows: Option<&Made>,
        reads: impl Fn(SignatureScheme) -> bool,
    ) -> Client {
        let provider = provider(ciphers, &[]);
        let algorithms = provider.signature_verification_algorithms;
        let mut schemes = algorithms.supported_schemes();
        schemes.retain(|scheme| reads(*scheme));
        let seen = Arc::new(Seen {
            algorithms,
            schemes,
            staple: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(lowest, &provider))
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Seen>::clone(&seen));
        let config = match shows {
            None => config.with_no_client_auth(),
            Some(made) => {
                let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
                config
                    .with_client_auth_cert(vec![made.der.clone()], key)
                    .unwrap()
            }
        };
        Client { config, seen }
    }

    /// Shakes hands with a server in memory.
    pub(crate) fn shake(
        &self,
        server: Arc<ServerConfig>,
        name: &str,
    ) -> Result<Shaken, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        // Enough rounds for the tickets behind the handshake as well.
        for _ in 0..6 {
            let mut octets = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut octets).unwrap();
            }
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut octets = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut octets).unwrap();
            }
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let chain = |certs: Option<&[CertificateDer<'static>]>| certs.unwrap_or_default().to_vec();
        Ok(Shaken {
            chain: chain(client.peer_certificates()),
            staple: self.seen.staple.lock().unwrap().clone(),
            resumed: server.handshake_kind() == Some(HandshakeKind::Resumed),
            client: chain(server.peer_certificates()),
            suite: server
                .negotiated_cipher_suite()
                .and_then(|s| s.suite().as_str())
                .unwrap(),
        })
    }
}
