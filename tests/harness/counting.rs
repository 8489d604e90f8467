//! A mail sink that counts: on one thread, so that what has ended is seen before what begins. It knows how
//! many connections were open at once, when each message was offered, and from where.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The sink; it ends when dropped.
pub struct CountingSink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A MAIL command, and what came of it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// When it was read.
    pub at: Instant,
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Where the connection came from.
    pub from: IpAddr,
    /// The argument of EHLO.
    pub helo: String,
    /// Connections open then, this one included.
    pub open: usize,
    /// `X-Serial` of the message, if it was taken.
    pub serial: Option<String>,
}

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offers: Vec<Offer>,
    most_open: usize,
    /// Replies to the next MAIL commands.
    complaints: Vec<String>,
    /// Time between the final dot and its reply, also where it is waited for already.
    pause: Duration,
}

impl CountingSink {
    /// Listens on port 25 of these addresses; none if that is not allowed.
    #[track_caller]
    pub fn on_port_25(addresses: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            super::skip("mail exchangers listen on port 25, which needs root");
            return None;
        }
        let listeners: Vec<_> = addresses
            .iter()
            .map(|ip| {
                let listener = TcpListener::bind(format!("{ip}:25")).unwrap();
                listener.set_nonblocking(true).unwrap();
                listener
            })
            .collect();
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || Loop::new(&listeners, &shared).run())
        };
        Some(CountingSink {
            shared,
            thread: Some(thread),
        })
    }

    /// Takes this long for each message from now on, those that are held just now included.
    pub fn pause(&self, pause: Duration) -> &Self {
        self.shared.state.lock().unwrap().pause = pause;
        self
    }

    /// Answers the next MAIL with this, once.
    pub fn complain(&self, reply: &str) -> &Self {
        let mut state = self.shared.state.lock().unwrap();
        state.complaints.push(reply.to_owned());
        self
    }

    /// Everything that was offered.
    pub fn offers(&self) -> Vec<Offer> {
        self.shared.state.lock().unwrap().offers.clone()
    }

    /// What was taken.
    pub fn taken(&self) -> Vec<Offer> {
        let mut all = self.offers();
        all.retain(|offer| offer.serial.is_some());
        all
    }

    /// Waits until this many different messages were taken.
    #[track_caller]
    pub fn wait_taken(&self, count: usize, limit: Duration) -> Vec<Offer> {
        let distinct = |all: &[Offer]| {
            let serials: std::collections::HashSet<_> = all.iter().map(|o| &o.serial).collect();
            serials.len()
        };
        let found = super::poll_until(limit, || {
            Some(self.taken()).filter(|all| distinct(all) >= count)
        });
        found.unwrap_or_else(|| panic!("{} of {count} messages came", distinct(&self.taken())))
    }

    /// Most connections that were open at once.
    pub fn most_open(&self) -> usize {
        self.shared.state.lock().unwrap().most_open
    }

    /// Most messages offered within any stretch of this length.
    pub fn most_within(&self, stretch: Duration) -> usize {
        let offers = self.offers();
        let from = |i: usize| {
            let later = &offers[i..];
            later
                .iter()
                .take_while(|o| o.at < offers[i].at + stretch)
                .count()
        };
        (0..offers.len()).map(from).max().unwrap_or(0)
    }

    /// Most messages offered over one connection.
    pub fn most_per_connection(&self) -> usize {
        let mut counts = HashMap::<usize, usize>::new();
        for offer in self.offers() {
            *counts.entry(offer.connection).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }
}

impl Drop for CountingSink {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Loop<'a> {
    listeners: &'a [TcpListener],
    shared: &'a Shared,
    open: Vec<Connection>,
    made: usize,
}

struct Connection {
    stream: TcpStream,
    number: usize,
    from: IpAddr,
    input: Vec<u8>,
    helo: String,
    /// Where its offer is; data is awaited if it has begun.
    offer: Option<usize>,
    in_data: bool,
    /// When the final dot came that is not answered yet.
    dot_at: Option<Instant>,
    ended: bool,
}

impl<'a> Loop<'a> {
    fn new(listeners: &'a [TcpListener], shared: &'a Shared) -> Self {
        Loop {
            listeners,
            shared,
            open: Vec::new(),
            made: 0,
        }
    }

    fn run(mut self) {
        while !self.shared.ending.load(Ordering::SeqCst) {
            self.wait();
            self.serve();
            for listener in self.listeners {
                while let Ok((stream, from)) = listener.accept() {
                    // Who ended before this one began is gone by now.
                    self.serve();
                    self.begin(stream, from.ip());
                }
            }
        }
    }

    fn wait(&self) {
        let listening = self.listeners.iter().map(AsFd::as_fd);
        let talking = self.open.iter().map(|c| c.stream.as_fd());
        let mut all: Vec<_> = listening
            .chain(talking)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let pause = self.shared.state.lock().unwrap().pause;
        let first = self.open.iter().filter_map(|c| c.dot_at).min();
        let wait = first.map_or(20, |at| {
            (at + pause)
                .saturating_duration_since(Instant::now())
                .as_millis()
                .min(20) as u16
        });
        let _ = poll(&mut all, PollTimeout::from(wait));
    }

    fn begin(&mut self, stream: TcpStream, from: IpAddr) {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = Connection {
            stream,
            number: self.made,
            from,
            input: Vec::new(),
            helo: String::new(),
            offer: None,
            in_data: false,
            dot_at: None,
            ended: false,
        };
        self.made += 1;
        // It may have ended while it waited to be taken, and another have begun at the other address since.
        connection.read();
        if connection.ended {
            return;
        }
        connection.say("220 sink.test ESMTP");
        self.open.push(connection);
        let mut state = self.shared.state.lock().unwrap();
        state.most_open = state.most_open.max(self.open.len());
    }

    fn serve(&mut self) {
        let count = self.open.len();
        for connection in &mut self.open {
            connection.read();
            let mut state = self.shared.state.lock().unwrap();
            connection.answer(&mut state, count);
        }
        self.open.retain(|c| !c.ended);
    }
}

impl Connection {
    fn read(&mut self) {
        let mut piece = [0; 65536];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.input.extend_from_slice(&piece[..n]);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.ended = true,
            }
            return;
        }
    }

    fn say(&mut self, line: &str) {
        if self
            .stream
            .write_all(format!("{line}\r\n").as_bytes())
            .is_err()
        {
            self.ended = true;
        }
    }

    fn answer(&mut self, state: &mut State, open: usize) {
        loop {
            if let Some(at) = self.dot_at {
                if Instant::now() < at + state.pause {
                    return;
                }
                self.dot_at = None;
                self.say("250 2.0.0 taken");
            }
            if self.in_data {
                let Some(end) = find(&self.input, b"\r\n.\r\n") else {
                    return;
                };
                let message: Vec<u8> = self.input.drain(..end + 5).collect();
                let text = String::from_utf8_lossy(&message).into_owned();
                let serial = text.lines().find_map(|l| l.strip_prefix("X-Serial: "));
                if let Some(offer) = self.offer.take() {
                    state.offers[offer].serial = serial.map(str::to_owned);
                }
                self.in_data = false;
                self.dot_at = Some(Instant::now());
                continue;
            }
            let Some(end) = find(&self.input, b"\r\n") else {
                return;
            };
            let line: Vec<u8> = self.input.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.command(&line, state, open);
        }
    }

    fn command(&mut self, line: &str, state: &mut State, open: usize) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.helo = rest.to_owned();
                self.say("250-sink.test\r\n250 PIPELINING");
            }
            "MAIL" => {
                state.offers.push(Offer {
                    at: Instant::now(),
                    connection: self.number,
                    from: self.from,
                    helo: self.helo.clone(),
                    open,
                    serial: None,
                });
                self.offer = None;
                if state.complaints.is_empty() {
                    self.offer = Some(state.offers.len() - 1);
                    self.say("250 ok");
                } else {
                    let complaint = state.complaints.remove(0);
                    self.say(&complaint);
                }
            }
            "DATA" if self.offer.is_some() => {
                self.in_data = true;
                self.say("354 go on");
            }
            "RCPT" | "DATA" if self.offer.is_none() => self.say("503 5.5.1 MAIL first"),
            "QUIT" => {
                self.say("221 bye");
                self.ended = true;
            }
            _ => self.say("250 ok"),
        }
    }
}

fn find(input: &[u8], what: &[u8]) -> Option<usize> {
    input.windows(what.len()).position(|w| w == what)
}
