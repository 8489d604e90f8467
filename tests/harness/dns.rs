//! A DNS server on the loopback interface, UDP and TCP on one port, whose answers the test decides while it
//! runs. Names it was not told about do not exist. Answers carry TTL 0 unless set, so a change counts at
//! once; everything asked is counted.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

mod wire;

pub use wire::RecordType;
use wire::{Header, Question, Rcode};

/// The server; it ends when dropped.
pub struct FakeDns {
    addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

const PRELOAD: &str = r#"
const dns = require('dns')
const servers = ['SERVER']
const bound = (Base) => class extends Base {
    constructor(...args) {
        super(...args)
        this.setServers(servers)
    }
}
dns.setServers(servers)
dns.Resolver = bound(dns.Resolver)
dns.promises.Resolver = bound(dns.promises.Resolver)
"#;

/// What is answered, and what was asked.
#[derive(Default)]
struct Zone {
    records: HashMap<(String, u16), Vec<Vec<u8>>>,
    names: HashSet<String>,
    faults: HashMap<String, Fault>,
    late: HashMap<String, Duration>,
    /// Names in signed zones, with all below them.
    signed: HashSet<String>,
    ttl: u32,
    asked: Vec<Asked>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    NxDomain,
    ServFail,
    Refused,
    Silent,
    Truncated,
}

struct Asked {
    name: String,
    kind: u16,
    tcp: bool,
}

impl FakeDns {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> Self {
        // The port has to be free for both protocols; a few attempts find one.
        let (tcp, udp) = (0..50)
            .find_map(|_| {
                let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
                let udp = UdpSocket::bind(tcp.local_addr().unwrap()).ok()?;
                Some((tcp, udp))
            })
            .expect("a port that is free for UDP and TCP");
        let addr = tcp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let ending = Arc::new(AtomicBool::new(false));
        let over_udp = {
            let (zone, ending) = (zone.clone(), ending.clone());
            std::thread::spawn(move || serve_udp(&udp, &zone, &ending))
        };
        let over_tcp = {
            let (zone, ending) = (zone.clone(), ending.clone());
            std::thread::spawn(move || serve_tcp(&tcp, &zone, &ending))
        };
        Self {
            addr,
            zone,
            ending,
            threads: vec![over_udp, over_tcp],
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Text of the `net-utils.ini` that points a server here.
    pub fn config(&self) -> String {
        format!("[dns]\nservers={}\n", self.addr)
    }

    /// A script for `node --require` that makes every look-up of the real Haraka come here.
    pub fn preload(&self) -> String {
        PRELOAD.replace("SERVER", &self.addr.to_string())
    }

    /// Adds mail exchangers, preference and host.
    pub fn mx(&self, name: &str, hosts: &[(u16, &str)]) -> &Self {
        for (preference, host) in hosts {
            let mut data = preference.to_be_bytes().to_vec();
            wire::put_name(&mut data, host);
            self.record(name, RecordType::MX, data);
        }
        self.exists(name)
    }

    /// Adds the null MX: the domain takes no mail (RFC 7505).
    pub fn null_mx(&self, name: &str) -> &Self {
        self.mx(name, &[(0, ".")])
    }

    /// Adds an address record, A or AAAA after the kind of address.
    pub fn address(&self, name: &str, ip: &str) -> &Self {
        match ip.parse().expect("an IP address") {
            IpAddr::V4(ip) => self.record(name, RecordType::A, ip.octets().to_vec()),
            IpAddr::V6(ip) => self.record(name, RecordType::AAAA, ip.octets().to_vec()),
        }
    }

    /// Adds the name of an address (PTR).
    pub fn ptr(&self, ip: &str, host: &str) -> &Self {
        let mut data = Vec::new();
        wire::put_name(&mut data, host);
        self.record(
            &wire::reverse_name(ip.parse().expect("an IP address")),
            RecordType::PTR,
            data,
        )
    }

    /// Adds a text record; text over 255 octets is cut into several strings.
    pub fn txt(&self, name: &str, text: &str) -> &Self {
        let mut data = Vec::new();
        for part in text.as_bytes().chunks(255) {
            data.push(part.len() as u8);
            data.extend_from_slice(part);
        }
        self.record(name, RecordType::TXT, data)
    }

    /// Makes a name an alias.
    pub fn cname(&self, name: &str, target: &str) -> &Self {
        let mut data = Vec::new();
        wire::put_name(&mut data, target);
        self.record(name, RecordType::CNAME, data)
    }

    /// Adds a TLSA record: usage, selector, matching type, and the data (RFC 6698).
    pub fn tlsa(&self, name: &str, fields: [u8; 3], association: &[u8]) -> &Self {
        self.record(name, RecordType::TLSA, [&fields, association].concat())
    }

    /// This is a validating resolver: it vouches for the name servers of the root.
    pub fn validating(&self) -> &Self {
        let mut data = Vec::new();
        wire::put_name(&mut data, "a.root.test");
        self.record(".", RecordType::NS, data).signed(".")
    }

    /// The name and all below it are in a signed zone, and this server vouches for that as a
    /// validating resolver does: answers carry AD to those who want it.
    pub fn signed(&self, name: &str) -> &Self {
        let name = wire::folded(name);
        self.zone.lock().unwrap().signed.insert(name);
        self
    }

    /// The zone is not signed any more.
    pub fn unsigned(&self, name: &str) -> &Self {
        let name = wire::folded(name);
        self.zone.lock().unwrap().signed.remove(&name);
        self
    }

    /// Adds any record from its encoded data (names inside it uncompressed).
    pub fn record(&self, name: &str, kind: RecordType, data: Vec<u8>) -> &Self {
        let key = (wire::folded(name), kind.0);
        self.zone
            .lock()
            .unwrap()
            .records
            .entry(key)
            .or_default()
            .push(data);
        self.exists(name)
    }

    /// The name exists, if only without records: an empty answer, not NXDOMAIN.
    pub fn exists(&self, name: &str) -> &Self {
        let name = wire::folded(name);
        let mut zone = self.zone.lock().unwrap();
        if zone.faults.get(&name) == Some(&Fault::NxDomain) {
            zone.faults.remove(&name);
        }
        zone.names.insert(name);
        drop(zone);
        self
    }

    /// The name does not exist any more, with whatever was recorded for it.
    pub fn nxdomain(&self, name: &str) -> &Self {
        let name = wire::folded(name);
        let mut zone = self.zone.lock().unwrap();
        zone.records.retain(|(owner, _), _| *owner != name);
        zone.names.remove(&name);
        zone.faults.insert(name, Fault::NxDomain);
        drop(zone);
        self
    }

    /// Every question about the name is answered SERVFAIL.
    pub fn servfail(&self, name: &str) -> &Self {
        self.fault(name, Fault::ServFail)
    }

    /// Every question about the name is answered REFUSED.
    pub fn refused(&self, name: &str) -> &Self {
        self.fault(name, Fault::Refused)
    }

    /// Questions about the name are never answered.
    pub fn silent(&self, name: &str) -> &Self {
        self.fault(name, Fault::Silent)
    }

    /// UDP answers about the name and those below it come this much later, so that they are behind those of other names.
    pub fn late(&self, name: &str, delay: Duration) -> &Self {
        let name = wire::folded(name);
        self.zone.lock().unwrap().late.insert(name, delay);
        self
    }

    /// UDP answers about the name are cut (TC), so that the asker has to come by TCP.
    pub fn truncated(&self, name: &str) -> &Self {
        self.fault(name, Fault::Truncated)
    }

    /// The name is answered normally again.
    pub fn recovered(&self, name: &str) -> &Self {
        self.zone.lock().unwrap().faults.remove(&wire::folded(name));
        self
    }

    /// Time to live of all answers from now on, in seconds.
    pub fn ttl(&self, seconds: u32) -> &Self {
        self.zone.lock().unwrap().ttl = seconds;
        self
    }

    /// How often a name and type was asked, over both protocols.
    pub fn queries(&self, name: &str, kind: RecordType) -> usize {
        let name = wire::folded(name);
        self.count(|one| one.name == name && one.kind == kind.0)
    }

    /// How often anything was asked by TCP.
    pub fn tcp_queries(&self) -> usize {
        self.count(|one| one.tcp)
    }

    /// How often anything was asked.
    pub fn total_queries(&self) -> usize {
        self.count(|_| true)
    }

    fn count(&self, which: impl Fn(&Asked) -> bool) -> usize {
        self.zone
            .lock()
            .unwrap()
            .asked
            .iter()
            .filter(|one| which(one))
            .count()
    }

    fn fault(&self, name: &str, fault: Fault) -> &Self {
        let name = wire::folded(name);
        self.zone.lock().unwrap().faults.insert(name, fault);
        self
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Zone {
    /// The answer to a packet; `None` when the asker is to wait in vain.
    fn answer(&mut self, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let Some((header, question)) = wire::parse_query(packet) else {
            let id = packet.get(..2)?;
            return Some(wire::format_error([id[0], id[1]]));
        };
        let asked = Asked {
            name: question.name.clone(),
            kind: question.kind,
            tcp,
        };
        self.asked.push(asked);
        let reply = |rcode, records: &[(String, u16, Vec<u8>)], ttl| {
            let authentic = header.wants_proof
                && self.is_signed(&question.name)
                && records.iter().all(|(owner, ..)| self.is_signed(owner));
            wire::reply(&header, &question, rcode, records, ttl, authentic)
        };
        match self.faults.get(&question.name) {
            Some(Fault::Silent) => return None,
            Some(Fault::NxDomain) => return Some(reply(Rcode::NxDomain, &[], self.ttl)),
            Some(Fault::ServFail) => return Some(reply(Rcode::ServFail, &[], 0)),
            Some(Fault::Refused) => return Some(reply(Rcode::Refused, &[], 0)),
            Some(Fault::Truncated) if !tcp => return Some(wire::truncated(&header, &question)),
            Some(Fault::Truncated) | None => {}
        }
        let (records, exists) = self.lookup(&question);
        let rcode = if exists {
            Rcode::NoError
        } else {
            Rcode::NxDomain
        };
        let answer = reply(rcode, &records, self.ttl);
        if !tcp && answer.len() > usize::from(header.udp_size) {
            return Some(wire::truncated(&header, &question));
        }
        Some(answer)
    }

    /// How much later the answer to a packet comes.
    fn delay(&self, packet: &[u8]) -> Option<Duration> {
        let (_, question) = wire::parse_query(packet)?;
        let below = |late: &String| {
            let rest = question.name.strip_suffix(late.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let found = self.late.iter().find(|(name, _)| below(name));
        found.map(|(_, delay)| *delay)
    }

    fn is_signed(&self, name: &str) -> bool {
        let below = |zone: &String| {
            name.strip_suffix(zone.as_str())
                .is_some_and(|n| n.ends_with('.'))
        };
        self.signed.contains(name) || self.signed.iter().any(below)
    }

    /// The records for a question, aliases followed, and whether the last name exists.
    fn lookup(&self, question: &Question) -> (Vec<(String, u16, Vec<u8>)>, bool) {
        let mut found = Vec::new();
        let mut owner = question.name.clone();
        // Eight aliases in a row are more than any test needs; a loop of aliases ends here too.
        for _ in 0..8 {
            let key = (owner.clone(), question.kind);
            for data in self.records.get(&key).into_iter().flatten() {
                found.push((owner.clone(), question.kind, data.clone()));
            }
            let alias = self.records.get(&(owner.clone(), RecordType::CNAME.0));
            let Some(target) = alias.and_then(|all| all.first()) else {
                break;
            };
            if question.kind == RecordType::CNAME.0 {
                break;
            }
            found.push((owner, RecordType::CNAME.0, target.clone()));
            owner = wire::name_of(target);
        }
        // A name also exists when another one lies below it (RFC 8020).
        let below = format!(".{owner}");
        let exists =
            self.names.contains(&owner) || self.names.iter().any(|name| name.ends_with(&below));
        (found, exists)
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>, ending: &AtomicBool) {
    socket.set_read_timeout(Some(TICK)).unwrap();
    let mut packet = [0; 4096];
    while !ending.load(Ordering::Relaxed) {
        let Ok((length, asker)) = socket.recv_from(&mut packet) else {
            continue;
        };
        let mut zone = zone.lock().unwrap();
        let answer = zone.answer(&packet[..length], false);
        let delay = zone.delay(&packet[..length]);
        drop(zone);
        let Some(answer) = answer else { continue };
        let Some(delay) = delay else {
            let _ = socket.send_to(&answer, asker);
            continue;
        };
        let socket = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            let _ = socket.send_to(&answer, asker);
        });
    }
}

fn serve_tcp(listener: &TcpListener, zone: &Arc<Mutex<Zone>>, ending: &Arc<AtomicBool>) {
    while let Ok((stream, _)) = listener.accept() {
        if ending.load(Ordering::Relaxed) {
            return;
        }
        let (zone, ending) = (zone.clone(), ending.clone());
        std::thread::spawn(move || {
            let _ = serve_stream(stream, &zone, &ending);
        });
    }
}

/// Questions over one TCP connection, each with its length in front (RFC 1035 §4.2.2).
fn serve_stream(
    mut stream: TcpStream,
    zone: &Mutex<Zone>,
    ending: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    while !ending.load(Ordering::Relaxed) {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet)?;
        let answer = zone.lock().unwrap().answer(&packet, true);
        if let Some(answer) = answer {
            stream.write_all(&(answer.len() as u16).to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }
    Ok(())
}

const TICK: Duration = Duration::from_millis(50);
