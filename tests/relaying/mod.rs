//! What the delivery tests share: servers that relay to a sink, and clients that submit in bulk.
//! A message counts as accepted only when its client has read 250.

#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::client::stuffed;
use crate::harness::{DEADLINE, FakeDns, Install, Message, Server, Sink, SmtpClient, greeted};

/// An install directory that relays everything to `next_hop`.
pub fn to_next_hop(next_hop: SocketAddr) -> Install {
    routed(&[("any", &next_hop.to_string())])
}

/// As [`to_next_hop`], with a next hop for each domain.
pub fn routed(hops: &[(&str, &str)]) -> Install {
    relay(true).config("relay_dest_domains.ini", &destinations(hops))
}

/// Text of `relay_dest_domains.ini` with these next hops.
pub fn destinations(hops: &[(&str, &str)]) -> String {
    let lines: String = hops
        .iter()
        .map(|(domain, hop)| format!("{domain}={{\"action\":\"accept\",\"nexthop\":\"{hop}\"}}\n"))
        .collect();
    format!("[domains]\n{lines}")
}

/// An install directory that asks this name server where mail goes.
pub fn by_dns(dns: &FakeDns) -> Install {
    relay(false).config("net-utils.ini", &dns.config())
}

fn relay(force_routing: bool) -> Install {
    Install::new()
        .plugins(&["relay"])
        .config(
            "relay.ini",
            &format!(
                "[relay]\nacl=true\nforce_routing={force_routing}\nall=true\ndest_domains={force_routing}\n"
            ),
        )
        .config("relay_acl_allow", "127.0.0.1/32\n")
        .config("outbound.ini", "local_mx_ok=true\n")
}

/// A message that is told from others by its serial.
pub fn numbered(serial: &str) -> String {
    format!("Subject: test\r\nX-Serial: {serial}\r\n\r\nThis is {serial}.\r\n")
}

/// Submits one message, which must be accepted.
#[track_caller]
pub fn submit(server: &Server, from: &str, to: &[&str], message: &str) {
    let mut client = greeted(server);
    client.send_mail(from, to, message).expect(250);
    client.quit();
}

/// Submits messages with these serials over one connection.
#[track_caller]
pub fn submit_all(server: &Server, serials: &[String]) {
    let mut client = greeted(server);
    for serial in serials {
        client
            .send_mail("from@client.test", &["to@far.test"], &numbered(serial))
            .expect(250);
    }
    client.quit();
}

/// Serials `PREFIX-0` and so on.
pub fn serials(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// A number of messages: `default`, or `QUEUE_TEST_N` for runs by hand.
pub fn volume(default: usize) -> usize {
    std::env::var("QUEUE_TEST_N")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

/// Clients that submit until `count` messages are accepted, however often they lose their
/// connection. Each try has a serial of its own, so that a message whose 250 got lost is not taken
/// for a duplicate.
pub struct Flow {
    next: AtomicUsize,
    tries: AtomicUsize,
    count: usize,
    stop: AtomicBool,
    addr: Mutex<SocketAddr>,
    accepted: Mutex<Vec<String>>,
}

impl Flow {
    /// Nothing is sent until [`Flow::run`].
    pub fn new(addr: SocketAddr, count: usize) -> Flow {
        Flow {
            next: AtomicUsize::new(0),
            tries: AtomicUsize::new(0),
            count,
            stop: AtomicBool::new(false),
            addr: Mutex::new(addr),
            accepted: Mutex::default(),
        }
    }

    /// The server listens elsewhere from now on.
    pub fn moved(&self, addr: SocketAddr) {
        *self.addr.lock().unwrap() = addr;
    }

    /// Serials of the messages accepted so far.
    pub fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }

    /// Number of messages accepted so far.
    pub fn done(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Tries that were begun.
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    /// Whether all are accepted.
    pub fn is_done(&self) -> bool {
        self.done() >= self.count
    }

    /// One client; several threads may be in here. Ends when all messages are accepted, or with
    /// [`Flow::end`].
    pub fn run(&self) {
        while self.next.fetch_add(1, Ordering::SeqCst) < self.count {
            self.one_message();
        }
    }

    /// Clients give up.
    pub fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn one_message(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let serial = format!("try-{}", self.tries.fetch_add(1, Ordering::SeqCst));
            let addr = *self.addr.lock().unwrap();
            if matches!(attempt(addr, &serial), Ok(true)) {
                self.accepted.lock().unwrap().push(serial);
                return;
            }
            // The server is being started again.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// One message over a connection of its own; whether it was accepted.
fn attempt(addr: SocketAddr, serial: &str) -> std::io::Result<bool> {
    let stream = std::net::TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    let mut client = SmtpClient::from_stream(stream);
    let mut step = |bytes: &[u8], code: u16| -> std::io::Result<bool> {
        client.try_send(bytes)?;
        Ok(client.try_reply()?.is_some_and(|r| r.code == code))
    };
    if !step(b"", 220)? {
        return Ok(false);
    }
    let message = stuffed(numbered(serial).as_bytes());
    Ok(step(b"EHLO client.test\r\n", 250)?
        && step(b"MAIL FROM:<from@client.test>\r\n", 250)?
        && step(b"RCPT TO:<to@far.test>\r\n", 250)?
        && step(b"DATA\r\n", 354)?
        && step(&message, 250)?)
}

/// Waits until the queue directory holds no item.
#[track_caller]
pub fn wait_empty(install: &Install) {
    crate::harness::wait_for("an empty queue directory", || {
        install.queue_files().is_empty()
    });
}

/// Whether a file system of 1 MB (or `size`) could be put over the queue directory; needs root.
pub fn tiny_queue(install: &Install, size: &str) -> bool {
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
        .arg(install.path().join("queue"))
        .stderr(std::process::Stdio::null())
        .status();
    mounted.is_ok_and(|status| status.success())
}

/// Takes the small file system away again when dropped.
pub struct Unmount(pub std::path::PathBuf);

impl Unmount {
    pub fn queue_of(dir: &Path) -> Unmount {
        Unmount(dir.join("queue"))
    }
}

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

/// Makes the small file system over the queue read-only (`ro`) or writable (`rw`).
#[track_caller]
pub fn remount(install: &Install, how: &str) {
    let done = std::process::Command::new("mount")
        .args(["-o", &format!("remount,{how}")])
        .arg(install.path().join("queue"))
        .status();
    assert!(done.is_ok_and(|status| status.success()), "remount {how}");
}

/// The report that was sent to the sender of a message.
#[track_caller]
pub fn report(sink: &Sink) -> Message {
    let found = crate::harness::poll_until(DEADLINE, || {
        sink.accepted()
            .into_iter()
            .find(|m| m.from.starts_with("<>"))
    });
    found.unwrap_or_else(|| panic!("no report, only {:#?}", sink.lines()))
}

/// The value of a field of a report's machine-readable part, in the block that names `recipient`.
#[track_caller]
pub fn field(report: &Message, recipient: &str, name: &str) -> String {
    let text = report.text();
    let status = text
        .split("Content-Type: message/delivery-status\r\n")
        .nth(1);
    let status = status.unwrap_or_else(|| panic!("no status part: {text}"));
    let block = status
        .split("\r\n\r\n")
        .find(|b| b.contains(&format!("Final-Recipient: rfc822;{recipient}\r\n")));
    let block = block.unwrap_or_else(|| panic!("nothing about {recipient}: {text}"));
    let block = block.replace("\r\n    ", " ");
    let value = block
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")));
    value
        .unwrap_or_else(|| panic!("no {name}: {text}"))
        .to_owned()
}

/// Messages that are not reports.
pub fn mail(sink: &Sink) -> Vec<Message> {
    let mut all = sink.accepted();
    all.retain(|m| !m.from.starts_with("<>"));
    all
}

/// Attempts according to the names in the queue.
pub fn attempts(install: &Install) -> Vec<u32> {
    let files = install.queue_files();
    let items = files.iter().filter(|f| !f.starts_with("body."));
    items
        .filter_map(|f| f.split('_').nth(2)?.parse().ok())
        .collect()
}

/// Servers on port 25 of addresses that only this test uses; none if that is not allowed.
pub fn on_port_25(addresses: &[&str]) -> Option<Vec<Sink>> {
    if !nix::unistd::geteuid().is_root() {
        crate::harness::skip("mail exchangers listen on port 25, which needs root");
        return None;
    }
    Some(
        addresses
            .iter()
            .map(|ip| Sink::on(&format!("{ip}:25")))
            .collect(),
    )
}
