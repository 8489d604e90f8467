//! A mail sink: an SMTP or LMTP server on threads that behaves as its rules say and records everything it
//! is given, in the clear or under TLS. The far end of every delivery test: losses, duplicates and broken
//! peers are seen here. What it says on a connection is in `sink/connection.rs`.

mod connection;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use connection::Connection;
use rustls::ServerConfig;

use super::sink_rules::{Rule, Stage};
use super::{DEADLINE, poll_until};

/// The sink; it ends, and drops its connections, when dropped.
pub struct Sink {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// A message that reached the final dot.
#[derive(Clone, Debug)]
pub struct Message {
    /// The argument of MAIL after `FROM:`, with parameters.
    pub from: String,
    /// The accepted arguments of RCPT after `TO:`, with parameters.
    pub to: Vec<String>,
    /// The content as it was on the wire, dots still doubled, without the final dot.
    pub raw: Vec<u8>,
    /// Number of the connection, from 1.
    pub connection: usize,
    /// The argument of EHLO, HELO or LHLO.
    pub helo: String,
    /// The replies to the final dot, one, or one per recipient (LMTP); empty when none was given.
    pub replies: Vec<String>,
    /// It came under TLS.
    pub secured: bool,
}

/// What was said at a stage of a connection, or to one recipient at the dot.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Number of the connection, from 1.
    pub connection: usize,
    /// When.
    pub stage: Stage,
    /// The command line; at the dot the recipients whom the reply is for, with parameters.
    pub about: String,
    /// Empty where the connection was dropped instead.
    pub reply: String,
}

impl Message {
    /// The content with single dots.
    pub fn content(&self) -> Vec<u8> {
        let lines = self.raw.split_inclusive(|b| *b == b'\n');
        lines
            .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
            .copied()
            .collect()
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content()).into_owned()
    }

    /// Value of the first header field with this name (any case), unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text
            .split("\r\n\r\n")
            .next()?
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        head.split("\r\n").find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    /// What tells this message from all others: `X-Serial`, else `Message-Id`.
    pub fn serial(&self) -> String {
        let found = self
            .header("X-Serial")
            .or_else(|| self.header("Message-Id"));
        found.unwrap_or_else(|| "no serial".to_owned())
    }

    /// Whether the sink took responsibility: it answered 2xx (LMTP: for any recipient).
    pub fn accepted(&self) -> bool {
        self.replies.iter().any(|reply| reply.starts_with('2'))
    }
}

#[derive(Default)]
struct Shared {
    lmtp: bool,
    ending: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    pipelined: AtomicUsize,
    rules: Mutex<Vec<Rule>>,
    capabilities: Mutex<Vec<String>>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    secured: AtomicUsize,
    resumed: AtomicUsize,
    asked_for: Mutex<Vec<String>>,
    messages: Mutex<Vec<Message>>,
    lines: Mutex<Vec<(usize, String)>>,
    answers: Mutex<Vec<Answer>>,
}

impl Sink {
    /// SMTP on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::on("127.0.0.1:0")
    }

    /// SMTP on an address: any of 127/8, `[::1]`, any port (0: a free one).
    #[track_caller]
    pub fn on(addr: &str) -> Self {
        Self::listen(addr, false)
    }

    /// LMTP (RFC 2033) on an address.
    #[track_caller]
    pub fn lmtp_on(addr: &str) -> Self {
        Self::listen(addr, true)
    }

    #[track_caller]
    fn listen(addr: &str, lmtp: bool) -> Self {
        let listener = TcpListener::bind(addr)
            .unwrap_or_else(|error| panic!("the sink cannot listen on {addr}: {error}"));
        let shared = Arc::new(Shared {
            lmtp,
            ..Shared::default()
        });
        let addr = listener.local_addr().unwrap();
        let mut sink = Self {
            addr,
            shared: shared.clone(),
            accepting: None,
        };
        sink.capabilities(&["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 100000000"]);
        sink.accepting = Some(std::thread::spawn(move || accept_all(&listener, &shared)));
        sink
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Appends a rule; rules apply in the order in which they were added.
    pub fn rule(&self, rule: Rule) -> &Self {
        self.shared.rules.lock().unwrap().push(rule);
        self
    }

    /// Removes all rules: the sink is friendly again.
    pub fn clear_rules(&self) -> &Self {
        self.shared.rules.lock().unwrap().clear();
        self
    }

    /// The rules, with what they were used for so far.
    pub fn rules(&self) -> Vec<Rule> {
        self.shared.rules.lock().unwrap().clone()
    }

    /// The keywords that EHLO offers from now on.
    pub fn capabilities(&self, keywords: &[&str]) -> &Self {
        let keywords = keywords.iter().map(|&word| word.to_owned()).collect();
        *self.shared.capabilities.lock().unwrap() = keywords;
        self
    }

    /// Offers STARTTLS from now on, and shows what this configuration says.
    pub fn secure(&self, tls: Arc<ServerConfig>) -> &Self {
        *self.shared.tls.lock().unwrap() = Some(tls);
        self
    }

    /// Number of connections that came under TLS.
    pub fn secured(&self) -> usize {
        self.shared.secured.load(Ordering::SeqCst)
    }

    /// Number of connections whose TLS session was an earlier one that was taken up again.
    pub fn resumed(&self) -> usize {
        self.shared.resumed.load(Ordering::SeqCst)
    }

    /// The names that clients asked for (SNI), one for each connection that came under TLS.
    pub fn asked_for(&self) -> Vec<String> {
        self.shared.asked_for.lock().unwrap().clone()
    }

    /// All messages that reached the final dot, whatever was answered.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// The messages that were answered 2xx.
    pub fn accepted(&self) -> Vec<Message> {
        self.messages()
            .into_iter()
            .filter(Message::accepted)
            .collect()
    }

    /// Waits until `count` messages have been accepted, and returns them.
    #[track_caller]
    pub fn wait_accepted(&self, count: usize) -> Vec<Message> {
        let found = poll_until(DEADLINE, || {
            Some(self.accepted()).filter(|all| all.len() >= count)
        });
        found.unwrap_or_else(|| {
            let lines = self.lines();
            panic!(
                "the sink accepted {} of {count} messages; {lines:#?}",
                self.accepted().len()
            )
        })
    }

    /// How often each serial was accepted.
    pub fn serials(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for message in self.accepted() {
            *counts.entry(message.serial()).or_default() += 1;
        }
        counts
    }

    /// Fails the test unless exactly these serials were accepted, each once.
    #[track_caller]
    pub fn assert_each_once<S: AsRef<str>>(&self, expected: &[S]) {
        let counts = self.serials();
        let lost: Vec<_> = expected
            .iter()
            .map(AsRef::as_ref)
            .filter(|s| !counts.contains_key(*s))
            .collect();
        let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        let foreign: Vec<_> = counts
            .keys()
            .filter(|s| !expected.iter().any(|e| e.as_ref() == *s))
            .collect();
        assert!(
            lost.is_empty() && doubled.is_empty() && foreign.is_empty(),
            "lost {lost:?}, more than once {doubled:?}, unexpected {foreign:?}"
        );
    }

    /// Number of connections that were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Number of connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Largest number of connections that were open at once.
    pub fn most_open_connections(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }

    /// How many commands arrived before the reply to the one before was written.
    pub fn pipelined_commands(&self) -> usize {
        self.shared.pipelined.load(Ordering::SeqCst)
    }

    /// Everything that was answered about messages, in order of arrival.
    pub fn answers(&self) -> Vec<Answer> {
        self.shared.answers.lock().unwrap().clone()
    }

    /// Every command line, with the number of its connection, in order of arrival.
    pub fn lines(&self) -> Vec<(usize, String)> {
        self.shared.lines.lock().unwrap().clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.ending.load(Ordering::SeqCst) {
            break;
        }
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_open.fetch_max(open, Ordering::SeqCst);
        let shared = shared.clone();
        threads.push(std::thread::spawn(move || {
            let mut connection = Connection::new(stream, number, &shared);
            let _ = connection.converse();
            drop(connection);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}
