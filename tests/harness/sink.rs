//! A mail sink: an SMTP or LMTP server on threads that behaves as its rules say and records everything it
//! is given, in the clear or under TLS. The far end of every delivery test: losses, duplicates and broken peers are seen here.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::sink_rules::{Action, Rule, Stage, decide};
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
    asked_for: Mutex<Vec<String>>,
    messages: Mutex<Vec<Message>>,
    lines: Mutex<Vec<(usize, String)>>,
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

/// The bytes of a connection.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// Between the two.
    Gone,
}

impl Wire {
    fn socket(&self) -> std::io::Result<&TcpStream> {
        match self {
            Wire::Plain(socket) => Ok(socket),
            Wire::Tls(stream) => Ok(&stream.sock),
            Wire::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buf),
            Wire::Tls(stream) => stream.read(buf),
            Wire::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(buf),
            Wire::Tls(stream) => stream.write(buf),
            Wire::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
            Wire::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }
}

struct Connection<'a> {
    stream: Wire,
    number: usize,
    shared: &'a Shared,
    input: Vec<u8>,
    /// How much of `input` has been used up.
    used: usize,
    helo: String,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, number: usize, shared: &'a Shared) -> Self {
        let (input, helo, from, to) = (Vec::new(), String::new(), None, Vec::new());
        Self {
            stream: Wire::Plain(stream),
            number,
            shared,
            input,
            used: 0,
            helo,
            from,
            to,
        }
    }

    /// The whole conversation; an error is the end of the connection, wanted or not.
    fn converse(&mut self) -> std::io::Result<()> {
        let socket = self.stream.socket()?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        self.act(Stage::Greeting, "", "220 sink.test ESMTP")?;
        loop {
            let line = self.read_line()?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if self.used < self.input.len() {
                self.shared.pipelined.fetch_add(1, Ordering::SeqCst);
            }
            self.shared
                .lines
                .lock()
                .unwrap()
                .push((self.number, line.clone()));
            self.command(&line)?;
        }
    }

    fn command(&mut self, line: &str) -> std::io::Result<()> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let value = || {
            argument
                .split_once(':')
                .map_or("", |(_, value)| value)
                .trim()
                .to_owned()
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "LHLO" => self.hello(Stage::Ehlo, line, argument),
            "HELO" => self.hello(Stage::Helo, line, argument),
            "MAIL" => {
                if self
                    .act(Stage::Mail, line, "250 2.1.0 sender ok")?
                    .starts_with('2')
                {
                    self.from = Some(value());
                    self.to.clear();
                }
                Ok(())
            }
            "RCPT" if self.from.is_none() => self.say("503 5.5.1 MAIL first"),
            "RCPT" => {
                if self
                    .act(Stage::Rcpt, line, "250 2.1.5 recipient ok")?
                    .starts_with('2')
                {
                    self.to.push(value());
                }
                Ok(())
            }
            "DATA" if self.to.is_empty() => self
                .act(Stage::Data, line, "503 5.5.1 no valid recipients")
                .map(drop),
            "DATA" => match self.act(Stage::Data, line, "354 go on")?.starts_with('3') {
                true => self.message(),
                false => Ok(()),
            },
            "RSET" => {
                self.from = None;
                self.to.clear();
                self.act(Stage::Rset, line, "250 2.0.0 reset").map(drop)
            }
            "QUIT" => {
                self.act(Stage::Quit, line, "221 2.0.0 bye")?;
                Err(ErrorKind::ConnectionAborted.into())
            }
            "STARTTLS" if self.tls().is_some() => self.start_tls(line),
            "AUTH" => self.act(Stage::Auth, line, "235 2.7.0 welcome").map(drop),
            "NOOP" => self.act(Stage::Other, line, "250 2.0.0 ok").map(drop),
            _ => self.act(Stage::Other, line, "500 5.5.1 what").map(drop),
        }
    }

    /// What there is to begin TLS with; none under TLS.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        match self.stream {
            Wire::Plain(_) => self.shared.tls.lock().unwrap().clone(),
            _ => None,
        }
    }

    fn start_tls(&mut self, line: &str) -> std::io::Result<()> {
        if !self
            .act(Stage::StartTls, line, "220 2.0.0 go on")?
            .starts_with("220")
        {
            return Ok(());
        }
        let config = self.tls();
        let plain = std::mem::replace(&mut self.stream, Wire::Gone);
        let (Some(config), Wire::Plain(mut socket)) = (config, plain) else {
            return Err(ErrorKind::NotConnected.into());
        };
        let mut session = ServerConnection::new(config).unwrap();
        while session.is_handshaking() {
            match session.complete_io(&mut socket) {
                Err(e) if e.kind() == ErrorKind::WouldBlock && !self.ending() => {}
                done => drop(done?),
            }
        }
        let name = session.server_name().unwrap_or_default().to_owned();
        self.shared.asked_for.lock().unwrap().push(name);
        self.stream = Wire::Tls(Box::new(StreamOwned::new(session, socket)));
        self.shared.secured.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn hello(&mut self, stage: Stage, line: &str, name: &str) -> std::io::Result<()> {
        self.helo = name.to_owned();
        self.from = None;
        self.to.clear();
        let mut lines = vec!["sink.test".to_owned()];
        if stage == Stage::Ehlo {
            lines.extend(self.shared.capabilities.lock().unwrap().iter().cloned());
            lines.extend(self.tls().map(|_| "STARTTLS".to_owned()));
        }
        let last = lines.len() - 1;
        let reply: Vec<_> = lines
            .iter()
            .enumerate()
            .map(|(at, text)| format!("250{}{text}", if at == last { ' ' } else { '-' }))
            .collect();
        self.act(stage, line, &reply.join("\n")).map(drop)
    }

    /// The content up to CRLF . CRLF and nothing less, then the replies.
    fn message(&mut self) -> std::io::Result<()> {
        let mut raw = Vec::new();
        loop {
            let line = self.read_line()?;
            let at_line_start = raw.is_empty() || raw.ends_with(b"\r\n");
            if line == b".\r\n" && at_line_start {
                break;
            }
            raw.extend_from_slice(&line);
        }
        let place = {
            let mut messages = self.shared.messages.lock().unwrap();
            messages.push(Message {
                from: self.from.take().unwrap_or_default(),
                to: self.to.clone(),
                raw,
                connection: self.number,
                helo: self.helo.clone(),
                replies: Vec::new(),
            });
            messages.len() - 1
        };
        let to = std::mem::take(&mut self.to);
        let per_reply = if self.shared.lmtp {
            to
        } else {
            vec![to.join(" ")]
        };
        for recipient in per_reply {
            let (delay, action) = self.decision(Stage::Dot, &recipient, "250 2.0.0 taken");
            // Recorded before it is sent: who has read the reply finds the message accepted.
            if let Action::Reply(text) | Action::ReplyThenDrop(text) = &action {
                let mut messages = self.shared.messages.lock().unwrap();
                messages[place].replies.push(text.clone());
            }
            self.perform(delay, action)?;
        }
        Ok(())
    }

    fn act(&mut self, stage: Stage, text: &str, default: &str) -> std::io::Result<String> {
        let (delay, action) = self.decision(stage, text, default);
        self.perform(delay, action)
    }

    fn decision(&self, stage: Stage, text: &str, default: &str) -> (Duration, Action) {
        let mut rules = self.shared.rules.lock().unwrap();
        decide(&mut rules, stage, text, self.number, default)
    }

    /// Does it, and returns what was said; an error ends the connection.
    fn perform(&mut self, delay: Duration, action: Action) -> std::io::Result<String> {
        if !delay.is_zero() && poll_until(delay, || self.ending().then_some(())).is_some() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        match action {
            Action::Reply(text) => self.say(&text).map(|()| text),
            Action::Raw(bytes) => {
                self.stream.write_all(&bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Action::ReplyThenDrop(text) => {
                self.say(&text)?;
                // Closing with input unread would reset the connection, and the reply with it.
                self.stream.socket()?.shutdown(Shutdown::Write)?;
                poll_until(A_DAY, || {
                    let mut chunk = [0; 65536];
                    let waiting = matches!(self.stream.read(&mut chunk),
                        Err(e) if e.kind() == ErrorKind::WouldBlock && !self.ending());
                    (!waiting).then_some(())
                });
                Err(ErrorKind::ConnectionAborted.into())
            }
            Action::Drop => Err(ErrorKind::ConnectionAborted.into()),
            Action::Stall => {
                poll_until(A_DAY, || self.ending().then_some(()));
                Err(ErrorKind::ConnectionAborted.into())
            }
        }
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        let wire: String = text.split('\n').map(|line| format!("{line}\r\n")).collect();
        self.stream.write_all(wire.as_bytes())
    }

    fn read_line(&mut self) -> std::io::Result<Vec<u8>> {
        let mut searched = self.used;
        loop {
            if let Some(end) = self.input[searched..].iter().position(|b| *b == b'\n') {
                let line = self.input[self.used..=searched + end].to_vec();
                self.used = searched + end + 1;
                return Ok(line);
            }
            self.input.drain(..self.used);
            self.used = 0;
            searched = self.input.len();
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.ending() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn ending(&self) -> bool {
        self.shared.ending.load(Ordering::SeqCst)
    }
}

/// As good as for ever.
const A_DAY: Duration = Duration::from_secs(86_400);
