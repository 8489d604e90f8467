//! The sending end: sessions spread over threads, each session a small state machine over a non-blocking
//! socket. A message that is refused, or whose connection breaks, counts as an attempt, so every run ends.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::poller::{read_some, ready, write_some};

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Work {
    /// Connections at a time.
    pub sessions: usize,
    /// Messages in all.
    pub messages: usize,
    /// Octets of a message, header and body.
    pub size: usize,
    /// MAIL, RCPT and DATA in one write.
    pub pipelining: bool,
    /// Messages per connection.
    pub reuse: Reuse,
    /// Recipients per message.
    pub recipients: usize,
    /// Threads that the sessions are spread over.
    pub threads: usize,
    /// Sender.
    pub from: String,
    /// Recipient.
    pub to: String,
    /// What EHLO says.
    pub helo: String,
    /// Written as soon as a connection is there, such as a PROXY line; may be empty.
    pub hail: String,
    /// Further lines of the header, each with CR LF.
    pub header: String,
}

/// How many messages a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As many as there are.
    Always,
    /// At most so many.
    Times(usize),
}

impl Default for Work {
    fn default() -> Self {
        Self {
            sessions: 10,
            messages: 2000,
            size: 4096,
            pipelining: false,
            reuse: Reuse::Times(1),
            recipients: 1,
            threads: 1,
            from: "a@example.com".to_owned(),
            to: "b@example.com".to_owned(),
            helo: "load.example.com".to_owned(),
            hail: String::new(),
            header: String::new(),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Messages answered 250.
    pub delivered: usize,
    /// From the first connection to the last reply.
    pub elapsed: Duration,
    /// Attempts that failed, by reply code; 0 stands for a broken or refused connection.
    pub failures: BTreeMap<u16, usize>,
    /// Microseconds from MAIL to the reply to the final dot, of each delivered message, in order of size.
    pub latencies: Vec<u32>,
}

impl Outcome {
    /// Delivered messages per second.
    pub fn rate(&self) -> f64 {
        self.delivered as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The latency that this share (0 to 1) of the messages does not exceed, in milliseconds.
    pub fn latency(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        f64::from(self.latencies.get(at).copied().unwrap_or(0)) / 1000.0
    }

    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.latencies.extend(other.latencies);
        for (code, count) in other.failures {
            *self.failures.entry(code).or_default() += count;
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = |share| self.latency(share);
        write!(
            f,
            "{} messages in {:.2} s, {:.0} msg/s; latency ms p50 {:.2} p90 {:.2} p99 {:.2} max {:.2}; failed ",
            self.delivered,
            self.elapsed.as_secs_f64(),
            self.rate(),
            latency(0.5),
            latency(0.9),
            latency(0.99),
            latency(1.0),
        )?;
        if self.failures.is_empty() {
            return f.write_str("none");
        }
        f.debug_map().entries(&self.failures).finish()
    }
}

/// Does the work and waits for its end.
///
/// # Errors
/// A thread could not be started.
pub fn send(addr: SocketAddr, work: &Work) -> anyhow::Result<Outcome> {
    let wire = Wire::new(work);
    let left = AtomicUsize::new(work.messages);
    let start = Instant::now();
    let mut total = Outcome::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.threads)
            .map(|thread| {
                // Sessions that do not divide evenly go to the first threads.
                let sessions = (work.sessions + work.threads - 1 - thread) / work.threads;
                let (wire, left) = (&wire, &left);
                std::thread::Builder::new()
                    .spawn_scoped(scope, move || drive(addr, wire, work, sessions, left))
            })
            .collect();
        for thread in threads {
            total.add(
                thread
                    .context("thread")?
                    .join()
                    .expect("a source thread never panics"),
            );
        }
        anyhow::Ok(())
    })?;
    total.elapsed = start.elapsed();
    total.latencies.sort_unstable();
    Ok(total)
}

/// Everything that is ever written, prepared once.
struct Wire {
    hail: Vec<u8>,
    hello: Vec<u8>,
    envelope: Vec<Vec<u8>>,
    pipelined: Vec<u8>,
    message: Vec<u8>,
}

impl Wire {
    fn new(work: &Work) -> Self {
        let mut envelope = vec![format!("MAIL FROM:<{}>\r\n", work.from).into_bytes()];
        let (user, domain) = work.to.rsplit_once('@').unwrap_or((&work.to, "localhost"));
        for number in 0..work.recipients {
            let digits = if work.recipients > 1 {
                number.to_string()
            } else {
                String::new()
            };
            envelope.push(format!("RCPT TO:<{user}{digits}@{domain}>\r\n").into_bytes());
        }
        envelope.push(b"DATA\r\n".to_vec());
        let mut message = format!(
            "From: <{}>\r\nTo: <{}>\r\nSubject: load\r\nMessage-Id: <load@example.com>\r\n{}\r\n",
            work.from, work.to, work.header
        )
        .into_bytes();
        while message.len() + LINE.len() <= work.size {
            message.extend_from_slice(LINE);
        }
        message.extend_from_slice(b".\r\n");
        Self {
            hail: work.hail.clone().into_bytes(),
            hello: format!("EHLO {}\r\n", work.helo).into_bytes(),
            pipelined: envelope.concat(),
            envelope,
            message,
        }
    }
}

/// Where in the conversation a session is: which reply it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Greeting,
    Hello,
    /// Replies to MAIL, RCPT… and DATA; so many have come.
    Envelope(usize),
    Dot,
    Goodbye,
}

struct Session<'a> {
    stream: TcpStream,
    wire: &'a Wire,
    work: &'a Work,
    wait: Wait,
    /// The output under way and how much of it has been written.
    output: &'a [u8],
    written: usize,
    /// The beginning of a reply line whose end has not come yet.
    partial: Vec<u8>,
    sent: usize,
    message_start: Instant,
    /// A message has been taken from the stock and has no result yet.
    busy: bool,
}

fn drive(
    addr: SocketAddr,
    wire: &Wire,
    work: &Work,
    sessions: usize,
    left: &AtomicUsize,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; 16384];
    let mut open: Vec<Session> = Vec::with_capacity(sessions);
    loop {
        while open.len() < sessions && left.load(Ordering::Relaxed) > 0 {
            match Session::open(addr, wire, work) {
                Ok(session) => open.push(session),
                Err(_) if take(left) => *outcome.failures.entry(0).or_default() += 1,
                Err(_) => break,
            }
        }
        if open.is_empty() {
            return outcome;
        }
        let sockets = open
            .iter()
            .map(|s| (&s.stream as &dyn AsFd, s.written < s.output.len()));
        let states = ready(sockets, Some(SILENCE));
        let silent = states
            .iter()
            .all(|(readable, writable)| !readable && !writable);
        let mut states = states.into_iter();
        open.retain_mut(|session| {
            let (readable, writable) = states.next().unwrap_or((false, false));
            let mut result = if silent { Err(Some(0)) } else { Ok(()) };
            if writable && result.is_ok() {
                result = session.write();
            }
            if readable && result.is_ok() {
                result = session.read(&mut buffer, left, &mut outcome);
            }
            if let Err(code) = result {
                // A connection that broke before it had taken a message costs one, too: else a server that
                // is down would be called for ever.
                let lost = session.busy || (session.sent == 0 && take(left));
                if let Some(code) = code.filter(|_| lost) {
                    *outcome.failures.entry(code).or_default() += 1;
                }
            }
            result.is_ok()
        });
    }
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
}

impl<'a> Session<'a> {
    fn open(addr: SocketAddr, wire: &'a Wire, work: &'a Work) -> nix::Result<Self> {
        let family = if addr.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(addr)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            stream: TcpStream::from(fd),
            wire,
            work,
            wait: Wait::Greeting,
            output: &wire.hail,
            written: 0,
            partial: Vec::new(),
            sent: 0,
            message_start: Instant::now(),
            busy: false,
        })
    }

    fn say(&mut self, bytes: &'a [u8]) -> Result<(), Option<u16>> {
        self.output = bytes;
        self.written = 0;
        self.write()
    }

    fn write(&mut self) -> Result<(), Option<u16>> {
        let rest = &self.output[self.written..];
        self.written += write_some(&self.stream, rest).map_err(|_| Some(0))?;
        Ok(())
    }

    /// Takes the replies that have come. An error ends the session: with a code if a message is lost by it.
    fn read(
        &mut self,
        buffer: &mut [u8],
        left: &AtomicUsize,
        outcome: &mut Outcome,
    ) -> Result<(), Option<u16>> {
        let length = read_some(&self.stream, buffer).map_err(|_| match self.wait {
            Wait::Goodbye => None,
            _ => Some(0),
        })?;
        for part in buffer[..length].split_inclusive(|b| *b == b'\n') {
            if !part.ends_with(b"\n") || !self.partial.is_empty() {
                self.partial.extend_from_slice(part);
                if !part.ends_with(b"\n") {
                    return Ok(());
                }
                let line = std::mem::take(&mut self.partial);
                self.line(&line, left, outcome)?;
                continue;
            }
            self.line(part, left, outcome)?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        line: &[u8],
        left: &AtomicUsize,
        outcome: &mut Outcome,
    ) -> Result<(), Option<u16>> {
        if line.get(3) == Some(&b'-') {
            return Ok(()); // the last line of a reply decides
        }
        let digits = line
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code: u16 = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or(Some(0))?;
        if code >= 400 {
            return Err(Some(code));
        }
        match self.wait {
            Wait::Greeting => {
                self.wait = Wait::Hello;
                self.say(&self.wire.hello)
            }
            Wait::Hello => self.next_message(left),
            Wait::Envelope(came) if came + 1 < self.wire.envelope.len() => {
                self.wait = Wait::Envelope(came + 1);
                match self.work.pipelining {
                    true => Ok(()),
                    false => self.say(&self.wire.envelope[came + 1]),
                }
            }
            Wait::Envelope(_) => {
                self.wait = Wait::Dot;
                self.say(&self.wire.message)
            }
            Wait::Dot => {
                self.busy = false;
                self.sent += 1;
                outcome.delivered += 1;
                outcome
                    .latencies
                    .push(self.message_start.elapsed().as_micros() as u32);
                self.next_message(left)
            }
            Wait::Goodbye => Err(None),
        }
    }

    fn next_message(&mut self, left: &AtomicUsize) -> Result<(), Option<u16>> {
        let used_up = matches!(self.work.reuse, Reuse::Times(times) if self.sent >= times);
        if used_up || !take(left) {
            self.wait = Wait::Goodbye;
            return self.say(b"QUIT\r\n");
        }
        self.busy = true;
        self.message_start = Instant::now();
        self.wait = Wait::Envelope(0);
        match self.work.pipelining {
            true => self.say(&self.wire.pipelined),
            false => self.say(&self.wire.envelope[0]),
        }
    }
}

const LINE: &[u8] =
    b"The quick brown fox jumps over the lazy dog, and the dog goes on sleeping. 123\r\n";
/// With no answer from anyone for so long, the run is given up.
const SILENCE: Duration = Duration::from_secs(60);
