//! Clients that come over a Unix socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use harness::{DEADLINE, Install, Server};

struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// One whole reply.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let got = self.0.read_line(&mut reply).unwrap();
            let line = reply.get(start..).unwrap();
            if got == 0 || line.as_bytes().get(3) == Some(&b' ') {
                return reply;
            }
        }
    }

    fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n"));
        self.reply()
    }
}

fn start(install: Install) -> (Server, PathBuf) {
    let path = install.path().join("smtp.sock");
    let listen = format!("127.0.0.1:0,{}:660", path.display());
    let server = Server::start(install.set("smtp.ini", "main", "listen", &listen));
    (server, path)
}

// covers CON-03, KEY-01
#[test]
fn client_of_a_unix_socket_is_a_local_one() {
    let (server, path) = start(Install::new());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut c = Client::connect(&path);
    assert!(c.reply().starts_with("220 mx.test ESMTP"));
    let hello = c.say("EHLO client.test");
    assert!(hello.contains("[127.0.0.1]"), "{hello}");
    assert!(c.say("MAIL FROM:<a@client.test>").starts_with("250"));
    assert!(c.say("RCPT TO:<b@here.test>").starts_with("250"));
    c.send("BDAT 14\r\nSubject: x\r\n\r\nBDAT 3 LAST\r\nhi\n");
    assert_eq!(c.reply(), "250 14 octets received\r\n");
    assert!(c.reply().starts_with("250 Message Queued"));
    assert!(c.say("QUIT").starts_with("221"));
    let stored = server.install().stored();
    let text = String::from_utf8_lossy(&stored[0]).into_owned();
    assert!(text.starts_with("Received: from client.test ("), "{text}");
    assert!(
        text.contains("[127.0.0.1])") && text.ends_with("\r\n\r\nhi\r\n"),
        "{text}"
    );
    server.wait_for_log(
        "connect ip=127.0.0.1 port=0 local_ip=127.0.0.1 local_port=0",
        DEADLINE,
    );
}

// covers HAP-06
#[test]
fn proxy_may_come_over_a_unix_socket() {
    let install = Install::new().config("connection.ini", "[haproxy]\nhosts[] = 127.0.0.1\n");
    let (_server, path) = start(install);
    let mut c = Client::connect(&path);
    c.send("PROXY TCP4 192.168.7.1 192.168.7.2 50000 25\r\n");
    assert!(c.reply().starts_with("220 "));
    assert!(c.say("EHLO x").contains("[192.168.7.1]"));
}
