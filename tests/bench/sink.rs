//! The receiving end: accepts every command and message, keeps nothing, counts. All replies to what one
//! read brought leave in one write; a delayed reply waits without holding up other connections.

use std::io::BufRead;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::poller::{read_some, ready, write_some};

/// A sink that runs on threads of this process until it is dropped.
pub struct Sink {
    /// Where it listens.
    pub addr: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    messages: AtomicUsize,
    connections: AtomicUsize,
    bytes: AtomicUsize,
    ending: AtomicBool,
}

impl Sink {
    /// Starts on `addr`.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(addr: &str, delay: Duration, threads: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(addr).with_context(|| format!("listen on {addr}"))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        for _ in 0..threads {
            let (listener, counts) = (listener.try_clone()?, counts.clone());
            std::thread::spawn(move || serve(&listener, delay, &counts));
        }
        Ok(Self { addr, counts })
    }

    /// Messages taken so far.
    pub fn messages(&self) -> usize {
        self.counts.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.counts.ending.store(true, Ordering::Relaxed);
    }
}

/// Runs a sink until the process is killed.
///
/// # Errors
/// The address cannot be listened on.
pub fn serve_forever(addr: &str, delay: Duration, threads: usize) -> anyhow::Result<()> {
    let sink = Sink::start(addr, delay, threads)?;
    println!("sink on {}", sink.addr);
    let mut shown = 0;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let count = sink.messages();
        if count != shown {
            let connections = sink.counts.connections.load(Ordering::Relaxed);
            let bytes = sink.counts.bytes.load(Ordering::Relaxed);
            println!(
                "messages={count} connections={connections} bytes={bytes} per_second={}",
                count - shown
            );
            shown = count;
        }
    }
}

struct Peer {
    stream: TcpStream,
    /// The beginning of a command whose end has not come yet.
    partial: Vec<u8>,
    /// In a message: how far CR LF . CR LF has been seen.
    data: Option<DotScan>,
    output: Vec<u8>,
    /// The reply to the final dot is due then; nothing further is read before.
    due: Option<Instant>,
    quitting: bool,
}

fn serve(listener: &TcpListener, delay: Duration, counts: &Counts) {
    let mut peers: Vec<Peer> = Vec::new();
    let mut buffer = vec![0; 65536];
    while !counts.ending.load(Ordering::Relaxed) {
        let now = Instant::now();
        let next_due = peers.iter().filter_map(|peer| peer.due).min();
        let limit = next_due.map_or(TICK, |due| due.saturating_duration_since(now).min(TICK));
        let sockets = peers
            .iter()
            .map(|peer| (&peer.stream as &dyn AsFd, !peer.output.is_empty()))
            .chain([(listener as &dyn AsFd, false)]);
        let mut states = ready(sockets, Some(limit)).into_iter();
        let now = Instant::now();
        peers.retain_mut(|peer| {
            let (readable, writable) = states.next().unwrap_or((false, false));
            if peer.due.is_some_and(|due| due <= now) {
                peer.due = None;
                peer.output.extend_from_slice(TAKEN);
            }
            let input = if readable && peer.due.is_none() {
                read_some(&peer.stream, &mut buffer)
            } else {
                Ok(0)
            };
            let Ok(length) = input else { return false };
            peer.take(&buffer[..length], delay, counts);
            if writable || !peer.output.is_empty() {
                match write_some(&peer.stream, &peer.output) {
                    Ok(written) => drop(peer.output.drain(..written)),
                    Err(_) => return false,
                }
            }
            !(peer.quitting && peer.output.is_empty())
        });
        if states.next().is_some_and(|(readable, _)| readable) {
            accept_all(listener, &mut peers, counts);
        }
    }
}

fn accept_all(listener: &TcpListener, peers: &mut Vec<Peer>, counts: &Counts) {
    while let Ok((stream, _)) = listener.accept() {
        counts.connections.fetch_add(1, Ordering::Relaxed);
        if stream
            .set_nonblocking(true)
            .and(stream.set_nodelay(true))
            .is_err()
        {
            continue;
        }
        let output = b"220 sink.example.com ESMTP\r\n".to_vec();
        peers.push(Peer {
            stream,
            partial: Vec::new(),
            data: None,
            output,
            due: None,
            quitting: false,
        });
        // The banner leaves with the next turn, in which the socket is found writable.
    }
}

impl Peer {
    fn take(&mut self, mut input: &[u8], delay: Duration, counts: &Counts) {
        counts.bytes.fetch_add(input.len(), Ordering::Relaxed);
        while !input.is_empty() {
            if let Some(scan) = &mut self.data {
                let Some(after) = scan.feed(input) else {
                    return;
                };
                input = &input[after..];
                self.data = None;
                counts.messages.fetch_add(1, Ordering::Relaxed);
                if delay.is_zero() {
                    self.output.extend_from_slice(TAKEN);
                } else {
                    self.due = Some(Instant::now() + delay);
                }
                continue;
            }
            let length = input
                .iter()
                .position(|b| *b == b'\n')
                .map_or(input.len(), |at| at + 1);
            let (line, rest) = input.split_at(length);
            input = rest;
            if !line.ends_with(b"\n") {
                self.partial.extend_from_slice(line);
            } else if self.partial.is_empty() {
                self.command(line);
            } else {
                self.partial.extend_from_slice(line);
                let line = std::mem::take(&mut self.partial);
                self.command(&line);
            }
        }
    }

    fn command(&mut self, line: &[u8]) {
        let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink.example.com\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            b"DATA" => {
                self.data = Some(DotScan::default());
                b"354 go on\r\n"
            }
            b"QUIT" => {
                self.quitting = true;
                b"221 bye\r\n"
            }
            _ => b"250 ok\r\n",
        };
        self.output.extend_from_slice(reply);
    }
}

/// Looks for a line with nothing but a dot, over any number of pieces.
struct DotScan {
    /// Octets of CR LF . CR LF that the input so far ends with; DATA itself ended in the first two.
    matched: usize,
}

impl Default for DotScan {
    fn default() -> Self {
        Self { matched: 2 }
    }
}

impl DotScan {
    /// The offset after the final dot's line, if it is in this piece.
    fn feed(&mut self, input: &[u8]) -> Option<usize> {
        const END: &[u8; 5] = b"\r\n.\r\n";
        let mut at = 0;
        while at < input.len() {
            if self.matched == 0 {
                // Skips to the next CR with the standard library's fast search.
                let mut rest = &input[at..];
                let skipped = rest.skip_until(b'\r').expect("a slice can always be read");
                at += skipped;
                self.matched = usize::from(input[at - 1] == b'\r');
                continue;
            }
            let octet = input[at];
            at += 1;
            self.matched = match octet {
                _ if octet == END[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.matched == END.len() {
                return Some(at);
            }
        }
        None
    }
}

const TAKEN: &[u8] = b"250 taken\r\n";
/// How soon the end of the program is noticed.
const TICK: Duration = Duration::from_millis(100);
