//! A remote host that follows a script on a real socket, and short cuts for the tests beside it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use haraka_shared::address::{Address, Limits};
use haraka_shared::body::Body;
use haraka_shared::config::InetPrefer;
use haraka_shared::plugin::LocalFuture;
use haraka_shared::route::{Host, Route};
use haraka_shared::services::{Dns, DnsError, MxRecord};

use super::attempt::{Attempt, RcptResult};
use super::client::{ClientSettings, Timeouts};
use super::mail_hosts::Local;
use super::message::{Envelope, Outgoing};
use super::route::{Place, RouteSettings, Target};
use crate::rt::Runtime;

/// A host on its own thread; each script serves one connection after the other.
///
/// Lines of a script: `C: text` awaits exactly this command, `S: text` says this (`|` separates
/// lines), `D: text` awaits message data with `\r` and `\n` escaped, `X` closes. At the end of the
/// script the client must close.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Sink {
    pub(crate) fn start(scripts: &[&str]) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scripts: Vec<String> = scripts.iter().map(|&s| s.to_owned()).collect();
        let thread = std::thread::spawn(move || {
            for script in scripts {
                follow(&script, &listener);
            }
        });
        Sink { address, thread }
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
        }
    }
}

fn follow(script: &str, listener: &TcpListener) {
    let (stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut output = stream;
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let line = if line == "D:" { "D: " } else { line };
        match line.split_at_checked(3) {
            Some(("C: ", expected)) => assert_eq!(command(&mut input), expected, "in {script}"),
            Some(("S: ", said)) => {
                let said = said.replace('|', "\r\n") + "\r\n";
                output.write_all(said.as_bytes()).unwrap();
            }
            Some(("D: ", expected)) => {
                let data = data(&mut input).replace('\r', "\\r").replace('\n', "\\n");
                assert_eq!(data, expected, "in {script}");
            }
            _ => {
                assert_eq!(line, "X", "unknown script line");
                return;
            }
        }
    }
    assert_eq!(
        command(&mut input),
        "",
        "the client must close, in {script}"
    );
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
    let ms = Duration::from_millis;
    let timeouts = Timeouts {
        dot: ms(300),
        mail: ms(300),
        greeting: ms(300),
        ..Timeouts::default()
    };
    Rc::new(ClientSettings {
        me: "me.example.org".into(),
        timeouts,
    })
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
