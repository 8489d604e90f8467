//! A remote host that follows a script on a real socket, and short cuts for the tests beside it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use haraka_shared::address::{Address, Limits};
use haraka_shared::body::Body;
use haraka_shared::config::InetPrefer;
use haraka_shared::plugin::LocalFuture;
use haraka_shared::route::{Host, Route};
use haraka_shared::services::{Dns, DnsError, MxRecord};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::attempt::{Attempt, RcptResult};
use super::client::{ClientSettings, Timeouts};
use super::kits::Kits;
use super::mail_hosts::Local;
use super::message::{Envelope, Outgoing};
use super::policy::HostPolicy;
use super::route::{Place, RouteSettings, Target};
use crate::rt::{self, Runtime};
use crate::tls::testing::Site;
use crate::tls::{Contexts, Tls};

/// How long a client may take to be done with a host.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host on its own thread; each script serves one connection after the other.
///
/// Lines of a script: `C: text` awaits exactly this command, `S: text` says this (`|` separates
/// lines), `T` shakes hands, `G: text` says this after anything was heard, `W` waits for the end,
/// `D: text` awaits message data with `\r` and `\n` escaped, `X` closes. At the end of the script the
/// client must close.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Sink {
    pub(crate) fn start(scripts: &[&str]) -> Sink {
        Sink::under(None, scripts)
    }

    /// A host that can speak TLS: at the line `T` of a script.
    pub(crate) fn under(tls: Option<Arc<ServerConfig>>, scripts: &[&str]) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scripts: Vec<String> = scripts.iter().map(|&s| s.to_owned()).collect();
        let thread = std::thread::spawn(move || {
            for script in scripts {
                follow(&script, &listener, tls.as_ref());
            }
        });
        Sink { address, thread }
    }

    /// Waits until the scripts are over, so that what the client still does for them is done: goodbyes.
    pub(crate) async fn over(&self) {
        let end = rt::now() + PATIENCE;
        while !self.thread.is_finished() && rt::now() < end {
            rt::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Fails the test if a script was not followed to its end.
    pub(crate) fn done(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    pub(crate) fn target(&self, lmtp: bool) -> Target {
        let route = Route {
            lmtp,
            ..Route::to(Host::Ip(self.address.ip()))
        };
        Target {
            host: "mx.example.com".into(),
            place: Place::Socket(self.address),
            route: Rc::new(route),
            policy: Rc::new(HostPolicy::OPPORTUNISTIC),
        }
    }
}

fn follow(script: &str, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
    let (stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut peer = BufReader::new(Wire::Plain(stream));
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let line = if line == "D:" { "D: " } else { line };
        match line.split_at_checked(3) {
            Some(("C: ", expected)) => assert_eq!(command(&mut peer), expected, "in {script}"),
            Some(("S: ", said)) => {
                let said = said.replace('|', "\r\n") + "\r\n";
                peer.get_mut().write_all(said.as_bytes()).unwrap();
            }
            Some(("D: ", expected)) => {
                let data = data(&mut peer).replace('\r', "\\r").replace('\n', "\\n");
                assert_eq!(data, expected, "in {script}");
            }
            Some(("G: ", said)) => {
                let heard = peer.fill_buf().unwrap().len();
                peer.consume(heard);
                peer.get_mut().write_all(said.as_bytes()).unwrap();
            }
            None if line == "W" => {
                let _ = std::io::copy(&mut peer, &mut std::io::sink());
                return;
            }
            None if line == "T" => match peer.into_inner().shake(tls.unwrap()) {
                Ok(wire) => peer = BufReader::new(wire),
                // The client did not like what it was shown; the script ends there.
                Err(_) => return,
            },
            _ => {
                assert_eq!(line, "X", "unknown script line");
                return;
            }
        }
    }
    assert_eq!(command(&mut peer), "", "the client must close, in {script}");
}

/// A connection of the host.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn shake(self, tls: &Arc<ServerConfig>) -> std::io::Result<Wire> {
        let Wire::Plain(mut stream) = self else {
            panic!("TLS twice");
        };
        let mut session = ServerConnection::new(Arc::clone(tls)).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Wire::Tls(Box::new(StreamOwned::new(session, stream))))
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buf),
            Wire::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(buf),
            Wire::Tls(stream) => stream.write(buf),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

fn command(input: &mut impl BufRead) -> String {
    let mut line = String::new();
    match input.read_line(&mut line) {
        Ok(_) => line.strip_suffix("\r\n").unwrap_or(&line).to_owned(),
        Err(e) => format!("({e})"),
    }
}

fn data(input: &mut impl BufRead) -> String {
    let mut data = String::new();
    loop {
        let line = command(input);
        match line.as_str() {
            "." => return data,
            "" if input.fill_buf().is_ok_and(<[u8]>::is_empty) => return data + "(closed)",
            _ => data.push_str(&(line + "\r\n")),
        }
    }
}

/// `+` delivered, `~` deferred, `-` failed, each with its text.
pub(crate) fn shown(attempt: &Attempt) -> Vec<String> {
    attempt
        .results
        .iter()
        .map(|r| match r {
            RcptResult::Delivered(reply) => format!("+{reply}"),
            RcptResult::Deferred(c) => format!("~{c}"),
            RcptResult::Failed(c) => format!("-{c}"),
        })
        .collect()
}

/// Runs a test on the worker's runtime.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(test)
}

pub(crate) fn settings() -> Rc<ClientSettings> {
    settings_with(&Site::new(), |_| {})
}

/// With what tls.ini of this site says, and other changes.
pub(crate) fn settings_with(
    site: &Site,
    change: impl FnOnce(&mut ClientSettings),
) -> Rc<ClientSettings> {
    let source = site.source();
    let contexts = Contexts::load(&source, None, &mut Vec::new());
    let kits = Kits::new(Rc::new(Tls::of(contexts)), source.dir, &source.ini);
    let ms = Duration::from_millis;
    let timeouts = Timeouts {
        dot: ms(300),
        mail: ms(300),
        greeting: ms(300),
        ..Timeouts::default()
    };
    let mut settings = ClientSettings {
        me: "me.example.org".into(),
        timeouts,
        enable_tls: true,
        auth_in_clear: false,
        kits: Rc::new(kits),
    };
    change(&mut settings);
    Rc::new(settings)
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text, Limits { postel: false }).unwrap()
}

pub(crate) fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|t| address(t)).collect()
}

pub(crate) fn envelope<'a>(sender: &'a Address, recipients: &'a [Address]) -> Envelope<'a> {
    Envelope {
        uuid: "TEST.1.1".into(),
        sender,
        recipients,
        requests: None,
        all_or_none: false,
        domain: "y.z",
        force_tls: false,
        must_log_in: false,
        at_stake: None,
    }
}

pub(crate) fn message(text: &str) -> Outgoing {
    Outgoing::received(
        b"A: b\r\n".to_vec(),
        Body::from_bytes(text.as_bytes().to_vec()),
    )
}

type Answer<T> = Result<Vec<T>, DnsError>;

/// A DNS whose answers are given; unknown names do not exist. Keeps a list of the questions.
#[derive(Default)]
pub(crate) struct GivenDns {
    pub(crate) mx: HashMap<String, Answer<MxRecord>>,
    pub(crate) a: HashMap<String, Answer<IpAddr>>,
    pub(crate) aaaa: HashMap<String, Answer<IpAddr>>,
    pub(crate) asked: RefCell<Vec<String>>,
}

impl GivenDns {
    pub(crate) fn mx(mut self, domain: &str, hosts: &[(u16, &str)]) -> GivenDns {
        let record = |(preference, host): &(u16, &str)| MxRecord {
            preference: *preference,
            exchange: (*host).into(),
        };
        self.mx
            .insert(domain.into(), Ok(hosts.iter().map(record).collect()));
        self
    }

    pub(crate) fn host(mut self, name: &str, addresses: &[&str]) -> GivenDns {
        let all: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let (v4, v6): (Vec<_>, Vec<_>) = all.into_iter().partition(IpAddr::is_ipv4);
        let answer = |a: Vec<_>| {
            if a.is_empty() {
                Err(DnsError::NoData)
            } else {
                Ok(a)
            }
        };
        self.a.insert(name.into(), answer(v4));
        self.aaaa.insert(name.into(), answer(v6));
        self
    }

    fn answer<T: Clone + 'static>(
        &self,
        kind: &str,
        of: &HashMap<String, Answer<T>>,
        name: &str,
    ) -> LocalFuture<'_, Answer<T>> {
        self.asked.borrow_mut().push(format!("{kind} {name}"));
        let answer = of.get(name).cloned().unwrap_or(Err(DnsError::NoSuchName));
        Box::pin(async move {
            // an answer is never there at once
            crate::rt::yield_now().await;
            answer
        })
    }
}

impl Dns for GivenDns {
    fn mx(&self, domain: &str) -> LocalFuture<'_, Answer<MxRecord>> {
        self.answer("MX", &self.mx, domain)
    }
    fn a(&self, host: &str) -> LocalFuture<'_, Answer<IpAddr>> {
        self.answer("A", &self.a, host)
    }
    fn aaaa(&self, host: &str) -> LocalFuture<'_, Answer<IpAddr>> {
        self.answer("AAAA", &self.aaaa, host)
    }
    fn ptr(&self, ip: IpAddr) -> LocalFuture<'_, Answer<String>> {
        self.answer("PTR", &HashMap::new(), &ip.to_string())
    }
    fn txt(&self, name: &str) -> LocalFuture<'_, Answer<String>> {
        self.answer("TXT", &HashMap::new(), name)
    }
}

/// Routing on a host that is called `me.example.org` and is 192.0.2.99.
pub(crate) fn routing() -> RouteSettings {
    RouteSettings {
        prefer: InetPrefer::Default,
        local_mx_ok: false,
        local: Local::new("me.example.org", None, ["192.0.2.99".parse().unwrap()]),
    }
}
