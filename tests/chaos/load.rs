//! The clients: what each message is like follows from its serial number, so that the verdict knows it
//! without a list.

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::hosts::{DOMAINS, Fate, Script};
use crate::harness::SmtpClient;
use crate::harness::client::stuffed;
use crate::relaying::numbered;

/// A message that a client sends.
pub struct Letter {
    pub serial: usize,
    pub to: Vec<Recipient>,
    /// Parameter of RCPT, or nothing.
    pub notify: &'static str,
    international: bool,
}

/// One of its recipients.
#[derive(Clone)]
pub struct Recipient {
    pub address: String,
    pub domain: usize,
    pub fate: Fate,
}

impl Letter {
    pub fn new(serial: usize) -> Letter {
        let mut domains = vec![serial % DOMAINS];
        if serial.is_multiple_of(10) {
            domains.extend([(serial + 7) % DOMAINS, (serial + 22) % DOMAINS]);
        }
        let international = serial % 9 == 4;
        let of = |domain: usize| {
            let script = Script::of(domain);
            script.names().iter().map(move |name| {
                let name = if international && *name == "good" {
                    "gööd"
                } else {
                    name
                };
                Recipient {
                    address: format!("{name}{serial}@d{domain}.test"),
                    domain,
                    fate: script.fate(name),
                }
            })
        };
        let notify = match serial % 7 {
            1 => " NOTIFY=NEVER",
            2 => " NOTIFY=SUCCESS",
            3 => " NOTIFY=FAILURE",
            4 => " NOTIFY=SUCCESS,FAILURE",
            _ => "",
        };
        Letter {
            serial,
            to: domains.into_iter().flat_map(of).collect(),
            notify,
            international,
        }
    }

    /// Nobody but this message has this sender.
    pub fn sender(&self) -> String {
        format!("from{}@client.test", self.serial)
    }

    /// Some are long, with lines that begin with a dot.
    pub fn text(&self) -> String {
        let mut text = numbered(&format!("n-{}", self.serial));
        if self.serial % 16 == 5 {
            for n in 0..1500 {
                text.push_str(&format!(".{n} is a line of {}\r\n", self.serial));
            }
        }
        text.push_str("..end\r\n");
        text
    }

    /// Its client goes away before the end of the message.
    pub fn is_broken_off(&self) -> bool {
        self.serial % 23 == 11
    }

    /// Whether the sender wants to hear of successes.
    pub fn wants_success(&self) -> bool {
        self.notify.contains("SUCCESS")
    }

    /// Whether the sender wants to hear of failures; who says nothing wants to.
    pub fn wants_failure(&self) -> bool {
        self.notify.is_empty() || self.notify.contains("FAILURE")
    }

    fn mail(&self) -> String {
        let mut line = format!("MAIL FROM:<{}>", self.sender());
        if self.international {
            line.push_str(" SMTPUTF8 BODY=8BITMIME");
        }
        if self.serial.is_multiple_of(14) {
            line.push_str(" RET=HDRS");
        }
        line.push_str("\r\n");
        line
    }
}

/// Clients that send until so many messages are accepted, however often they lose their connection. Each
/// try is a message of its own.
pub struct Load {
    messages: usize,
    addr: Mutex<SocketAddr>,
    next: AtomicUsize,
    tries: AtomicUsize,
    /// Serials that a client has read 250 for.
    accepted: Mutex<Vec<usize>>,
}

impl Load {
    pub fn new(addr: SocketAddr, messages: usize) -> Load {
        Load {
            messages,
            addr: Mutex::new(addr),
            next: AtomicUsize::new(0),
            tries: AtomicUsize::new(0),
            accepted: Mutex::default(),
        }
    }

    /// The server listens elsewhere from now on.
    pub fn moved(&self, addr: SocketAddr) {
        *self.addr.lock().unwrap() = addr;
    }

    /// How many messages are accepted.
    pub fn done(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    pub fn is_done(&self) -> bool {
        self.done() >= self.messages
    }

    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    pub fn accepted(&self) -> Vec<usize> {
        self.accepted.lock().unwrap().clone()
    }

    /// One client.
    pub fn run(&self) {
        while self.next.fetch_add(1, Ordering::SeqCst) < self.messages {
            loop {
                let serial = self.tries.fetch_add(1, Ordering::SeqCst);
                if matches!(self.send(&Letter::new(serial)), Ok(true)) {
                    self.accepted.lock().unwrap().push(serial);
                    break;
                }
                // A worker is being started again.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn send(&self, letter: &Letter) -> std::io::Result<bool> {
        let addr = *self.addr.lock().unwrap();
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        let mut client = SmtpClient::from_stream(stream);
        let step = |client: &mut SmtpClient, bytes: &[u8], code: u16| -> std::io::Result<bool> {
            client.try_send(bytes)?;
            Ok(client.try_reply()?.is_some_and(|r| r.code == code))
        };
        let start = step(&mut client, b"", 220)?
            && step(&mut client, b"EHLO client.test\r\n", 250)?
            && step(&mut client, letter.mail().as_bytes(), 250)?;
        if !start {
            return Ok(false);
        }
        for to in &letter.to {
            let line = format!("RCPT TO:<{}>{}\r\n", to.address, letter.notify);
            if !step(&mut client, line.as_bytes(), 250)? {
                return Ok(false);
            }
        }
        let text = letter.text();
        if letter.serial % 19 == 3 {
            let mut chunk = format!("BDAT {} LAST\r\n", text.len()).into_bytes();
            chunk.extend_from_slice(text.as_bytes());
            if letter.is_broken_off() {
                return gone(client, &chunk);
            }
            return step(&mut client, &chunk, 250);
        }
        let message = stuffed(text.as_bytes());
        if !step(&mut client, b"DATA\r\n", 354)? {
            return Ok(false);
        }
        if letter.is_broken_off() {
            return gone(client, &message);
        }
        step(&mut client, &message, 250)
    }
}

/// Sends all but the last octets, and goes.
fn gone(mut client: SmtpClient, message: &[u8]) -> std::io::Result<bool> {
    client.try_send(&message[..message.len() - 3])?;
    if message.len().is_multiple_of(2) {
        client.reset();
    }
    Ok(false)
}
