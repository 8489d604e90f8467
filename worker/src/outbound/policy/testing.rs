//! What the tests of policies share: a DNS that knows what is signed, an authority that makes
//! certificates, and a web server on a thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use haraka_shared::plugin::LocalFuture;
use haraka_shared::services::{Dns, DnsError, MxRecord};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Policies;
use super::counters::Counters;
use super::sts::Sts;
use super::sts_store::Store;
use super::trust::{Trust, provider};
use crate::dns::{TlsaRecord, Validated, ValidatedDns};

/// An empty directory of its own.
pub(crate) fn scratch_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("haraka-policy-{}-{n}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A DNS with what a test puts into it; all else does not exist.
#[derive(Clone, Default)]
pub(crate) struct Zone(Rc<Records>);

#[derive(Default)]
struct Records {
    mx: RefCell<HashMap<String, Vec<MxRecord>>>,
    addresses: RefCell<HashMap<String, Vec<IpAddr>>>,
    txt: RefCell<HashMap<String, Vec<String>>>,
    tlsa: RefCell<HashMap<String, Vec<TlsaRecord>>>,
    alias: RefCell<HashMap<String, String>>,
    secure: RefCell<HashSet<String>>,
    broken: RefCell<HashSet<String>>,
    pub(crate) asked: Cell<usize>,
    names: RefCell<Vec<String>>,
}

impl Zone {
    pub(crate) fn mx(&self, domain: &str, host: &str) -> &Zone {
        let record = MxRecord {
            preference: 10,
            exchange: host.to_owned(),
        };
        let mut all = self.0.mx.borrow_mut();
        all.entry(domain.to_owned()).or_default().push(record);
        self
    }

    pub(crate) fn address(&self, host: &str, ip: &str) -> &Zone {
        let mut all = self.0.addresses.borrow_mut();
        let ip = ip.parse().unwrap();
        all.entry(host.to_owned()).or_default().push(ip);
        self
    }

    /// In the place of earlier ones.
    pub(crate) fn txt(&self, name: &str, text: &str) -> &Zone {
        let mut all = self.0.txt.borrow_mut();
        all.insert(name.to_owned(), vec![text.to_owned()]);
        self
    }

    pub(crate) fn tlsa(&self, name: &str, record: TlsaRecord) -> &Zone {
        let mut all = self.0.tlsa.borrow_mut();
        all.entry(name.to_owned()).or_default().push(record);
        self
    }

    pub(crate) fn alias(&self, name: &str, target: &str) -> &Zone {
        let mut all = self.0.alias.borrow_mut();
        all.insert(name.to_owned(), target.to_owned());
        self
    }

    /// The names are in signed zones.
    pub(crate) fn secure(&self, names: &[&str]) -> &Zone {
        let mut all = self.0.secure.borrow_mut();
        all.extend(names.iter().map(|&n| n.to_owned()));
        self
    }

    /// Questions about the name fail.
    pub(crate) fn broken(&self, name: &str) -> &Zone {
        self.0.broken.borrow_mut().insert(name.to_owned());
        self
    }

    /// Names that were asked for, with proof wanted.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.names.borrow().clone()
    }

    fn find<T: Clone>(
        &self,
        name: &str,
        records: &RefCell<HashMap<String, Vec<T>>>,
    ) -> Result<Vec<T>, DnsError> {
        if self.0.broken.borrow().contains(name) {
            return Err(DnsError::Temporary("SERVFAIL".to_owned()));
        }
        records.borrow().get(name).cloned().ok_or(DnsError::NoData)
    }

    fn validated<T: Clone>(
        &self,
        name: &str,
        records: &RefCell<HashMap<String, Vec<T>>>,
    ) -> Result<Validated<T>, DnsError> {
        self.0.names.borrow_mut().push(name.to_owned());
        let is_secure = |name: &str| self.0.secure.borrow().contains(name);
        let owner = self.0.alias.borrow().get(name).cloned();
        let owner = owner.unwrap_or_else(|| name.to_owned());
        Ok(Validated {
            records: self.find(&owner, records)?,
            secure: is_secure(name) && is_secure(&owner),
            owner,
        })
    }
}

fn ready<T: 'static>(value: T) -> LocalFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl Dns for Zone {
    fn mx(&self, domain: &str) -> LocalFuture<'_, Result<Vec<MxRecord>, DnsError>> {
        ready(self.find(domain, &self.0.mx))
    }
    fn a(&self, host: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        self.0.asked.set(self.0.asked.get() + 1);
        ready(self.find(host, &self.0.addresses))
    }
    fn aaaa(&self, _: &str) -> LocalFuture<'_, Result<Vec<IpAddr>, DnsError>> {
        ready(Err(DnsError::NoData))
    }
    fn ptr(&self, _: IpAddr) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        ready(Err(DnsError::NoData))
    }
    fn txt(&self, name: &str) -> LocalFuture<'_, Result<Vec<String>, DnsError>> {
        ready(self.find(name, &self.0.txt))
    }
}

impl ValidatedDns for Zone {
    fn vouches(&self) -> LocalFuture<'_, bool> {
        ready(!self.0.secure.borrow().is_empty())
    }
    fn mx(&self, domain: &str) -> LocalFuture<'_, Result<Validated<MxRecord>, DnsError>> {
        ready(self.validated(domain, &self.0.mx))
    }
    fn addresses(
        &self,
        host: &str,
        v6: bool,
    ) -> LocalFuture<'_, Result<Validated<IpAddr>, DnsError>> {
        ready(
            self.validated(host, &self.0.addresses)
                .and_then(|mut found| {
                    found.records.retain(|ip| ip.is_ipv6() == v6);
                    if found.records.is_empty() {
                        return Err(DnsError::NoData);
                    }
                    Ok(found)
                }),
        )
    }
    fn tlsa(&self, name: &str) -> LocalFuture<'_, Result<Validated<TlsaRecord>, DnsError>> {
        ready(self.validated(name, &self.0.tlsa))
    }
    fn alias(&self, name: &str) -> LocalFuture<'_, Result<Validated<String>, DnsError>> {
        let secure = self.0.secure.borrow().contains(name);
        let target = self.0.alias.borrow().get(name).cloned();
        ready(target.ok_or(DnsError::NoData).map(|target| Validated {
            records: vec![target],
            secure,
            owner: name.to_owned(),
        }))
    }
}

/// Policies by what this zone says, kept in this directory; web servers are at this port.
pub(crate) fn policies(zone: &Zone, dir: &Path, ca: Option<PathBuf>, port: u16) -> Policies {
    let dns: Rc<dyn Dns> = Rc::new(zone.clone());
    let trust = Rc::new(Trust::new(ca));
    let store = Store::at(dir.join("mta-sts"));
    Policies {
        sts: Sts::new(Rc::clone(&dns), store, Rc::clone(&trust), port),
        sts_on: Cell::new(true),
        validated: Rc::new(zone.clone()),
        dane_on: Cell::new(true),
        trust: RefCell::new(trust),
        verifiers: RefCell::default(),
        counters: Counters::new(dns, dir.join("tls-rpt"), true),
    }
}

/// An authority of its own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Test authority");
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn cert(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// The authority's certificate in a file.
    pub(crate) fn file(&self) -> PathBuf {
        let path = scratch_dir().join("ca.pem");
        std::fs::write(&path, self.pem()).unwrap();
        path
    }

    /// A certificate for a name, with its key.
    pub(crate) fn issue(&self, name: &str, expired: bool) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }
}

/// A web server that gives the same answer to every request.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Web {
    /// With this certificate.
    pub(crate) fn start(cert: CertificateDer<'static>, key: &KeyPair, answer: &str) -> Web {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Web {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(answer.as_bytes().to_vec())),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (answer, requests) = (web.answer.clone(), web.requests.clone());
        let connections = web.connections.clone();
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                connections.fetch_add(1, Ordering::SeqCst);
                let session = ServerConnection::new(config.clone()).unwrap();
                let mut tls = StreamOwned::new(session, stream);
                let mut request = Vec::new();
                let mut octet = [0];
                while !request.ends_with(b"\r\n\r\n") {
                    match tls.read(&mut octet) {
                        Ok(1) => request.push(octet[0]),
                        // The client did not like the certificate.
                        _ => break,
                    }
                }
                if request.ends_with(b"\r\n\r\n") {
                    let text = String::from_utf8(request).unwrap();
                    requests.lock().unwrap().push(text);
                    let _ = tls.write_all(&answer.lock().unwrap());
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        web
    }

    pub(crate) fn answer(&self, answer: &str) {
        *self.answer.lock().unwrap() = answer.as_bytes().to_vec();
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An answer with a policy in it.
pub(crate) fn page(policy: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{policy}",
        policy.len()
    )
}
