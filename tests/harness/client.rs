//! An SMTP client for dialogues written by hand: blocking, with a time limit on every read, no opinion on
//! what may be sent when. Failed expectations panic with the conversation so far.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use rustls::ClientConnection;

use super::unread::unread_bytes;
use super::{DEADLINE, poll_until};

/// A complete reply: its code, and the text of its lines without code and line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits of the last line.
    pub code: u16,
    /// Text of each line after the code and its separator.
    pub lines: Vec<String>,
}

impl Reply {
    /// Fails the test unless the code is `code`; returns itself, to look at the text.
    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "unexpected reply: {self}");
        self
    }

    /// All text, lines separated by LF.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Whether an EHLO reply offers the keyword, alone or with parameters.
    pub fn offers(&self, keyword: &str) -> bool {
        let word = |line: &String| line.split(' ').next().unwrap_or("").to_ascii_uppercase();
        self.lines.iter().skip(1).any(|line| word(line) == keyword)
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" | "))
    }
}

/// A connection to a server under test.
pub struct SmtpClient {
    pub(super) stream: TcpStream,
    /// The session once TLS has begun, see [`SmtpClient::start_tls`].
    pub(super) tls: Option<Box<ClientConnection>>,
    pub(super) input: Vec<u8>,
    history: String,
}

impl SmtpClient {
    /// Connects and reads nothing yet.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, DEADLINE)
            .unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"));
        Self::from_stream(stream)
    }

    /// Connects from a given local address: all of 127/8 is there without configuration on Linux.
    #[track_caller]
    pub fn connect_from(local: IpAddr, addr: SocketAddr) -> Self {
        let family = if addr.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let fd: OwnedFd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(
            fd.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(local, 0)),
        )
        .unwrap();
        connect(fd.as_raw_fd(), &SockaddrStorage::from(addr))
            .unwrap_or_else(|error| panic!("cannot connect from {local} to {addr}: {error}"));
        Self::from_stream(TcpStream::from(fd))
    }

    /// Takes over a connected stream.
    pub fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            tls: None,
            input: Vec::new(),
            history: String::new(),
        }
    }

    /// The stream, for what this client does not do; bytes already read are lost with it.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Limits how long a read may take from now on.
    pub fn set_timeout(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
    }

    /// Own address and port of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The server's address and port.
    pub fn peer_addr(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    /// Reads the banner (220) and says EHLO; returns the reply to it.
    #[track_caller]
    pub fn ehlo(&mut self, name: &str) -> Reply {
        self.reply().expect(220);
        self.cmd(&format!("EHLO {name}")).expect(250)
    }

    /// Sends a line and reads the reply to it.
    #[track_caller]
    pub fn cmd(&mut self, line: &str) -> Reply {
        self.send_raw(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends all lines in one write, then reads as many replies.
    #[track_caller]
    pub fn pipeline(&mut self, lines: &[&str]) -> Vec<Reply> {
        self.send_raw(format!("{}\r\n", lines.join("\r\n")).as_bytes());
        lines.iter().map(|_| self.reply()).collect()
    }

    /// DATA, 354, the message with its dots doubled, the final dot; returns the reply to the message.
    #[track_caller]
    pub fn data(&mut self, message: &str) -> Reply {
        self.cmd("DATA").expect(354);
        self.send_raw(&stuffed(message.as_bytes()));
        self.reply()
    }

    /// MAIL, one RCPT per recipient (each must be accepted), DATA; returns the reply to the message.
    #[track_caller]
    pub fn send_mail(&mut self, from: &str, to: &[&str], message: &str) -> Reply {
        self.cmd(&format!("MAIL FROM:<{from}>")).expect(250);
        for rcpt in to {
            self.cmd(&format!("RCPT TO:<{rcpt}>")).expect(250);
        }
        self.data(message)
    }

    /// QUIT, 221, end of connection.
    #[track_caller]
    pub fn quit(mut self) {
        self.cmd("QUIT").expect(221);
        self.expect_close();
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("send failed: {error}\n{}", self.history));
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The server has closed the connection, or does not read any more.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.note("> ", bytes);
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(session) => {
                rustls::Stream::new(session.as_mut(), &mut self.stream).write_all(bytes)
            }
        }
    }

    /// Sends bytes in several writes, cut before each of the given offsets. The next piece follows when the
    /// server has read the one before, so that each really arrives alone; if it does not read, the rest
    /// follows at once. A server that closes in the middle is no error: the reads to come will tell.
    #[track_caller]
    pub fn send_split(&mut self, bytes: &[u8], cuts: &[usize]) {
        self.note("> ", bytes);
        let mut start = 0;
        for &cut in cuts {
            if self.stream.write_all(&bytes[start..cut]).is_err() {
                return;
            }
            start = cut;
            if !self.wait_read_by_server() {
                break;
            }
        }
        let _ = self.stream.write_all(&bytes[start..]);
    }

    /// Waits until the server has taken all sent bytes from its socket; false if it no longer reads.
    pub fn wait_read_by_server(&self) -> bool {
        let (Ok(us), Ok(server)) = (self.stream.local_addr(), self.stream.peer_addr()) else {
            return false;
        };
        let waiting = || match unread_bytes(server, us) {
            Some(0) => Some(true),
            Some(_) => None,
            None => Some(false), // the server closed its end
        };
        poll_until(Duration::from_secs(2), waiting).unwrap_or(false)
    }

    /// Reads one reply; fails the test if the connection ends or stays silent.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        match self.try_reply() {
            Ok(Some(reply)) => reply,
            Ok(None) => panic!("connection closed, a reply was awaited\n{}", self.history),
            Err(error) => panic!("no reply: {error}\n{}", self.history),
        }
    }

    /// Reads one reply; `None` when the connection ended before its first byte.
    ///
    /// # Errors
    /// Time is over, or the reply is cut short or is not a reply.
    pub fn try_reply(&mut self) -> std::io::Result<Option<Reply>> {
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.try_line()? else {
                return match lines.is_empty() {
                    true => Ok(None),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                };
            };
            let bad = || std::io::Error::new(ErrorKind::InvalidData, format!("reply {line:?}"));
            let code = line.get(..3).and_then(|c| c.parse().ok()).ok_or_else(bad)?;
            lines.push(line.get(4..).unwrap_or("").to_owned());
            match line.as_bytes().get(3) {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(Some(Reply { code, lines })),
                Some(_) => return Err(bad()),
            }
        }
    }

    /// Reads one line without its line end; `None` at the end of the connection (a reset is an end too).
    ///
    /// # Errors
    /// Time is over, or the connection ended inside a line.
    pub fn try_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.input.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                self.note("< ", &line);
                let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
                return Ok(Some(String::from_utf8_lossy(text).into_owned()));
            }
            let mut chunk = [0; 4096];
            let came = match &mut self.tls {
                None => self.stream.read(&mut chunk),
                Some(session) => {
                    rustls::Stream::new(session.as_mut(), &mut self.stream).read(&mut chunk)
                }
            };
            match came {
                Ok(0) if self.input.is_empty() => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                // A read with a time limit is not taken up again after a signal (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Fails the test unless the server closes the connection without another word.
    #[track_caller]
    pub fn expect_close(&mut self) {
        match self.try_line() {
            Ok(None) => {}
            Ok(Some(line)) => panic!("close awaited, got {line:?}\n{}", self.history),
            Err(error) => panic!("close awaited: {error}\n{}", self.history),
        }
    }

    /// Ends the own sending side; replies can still be read.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The same for a connection that may be closed already.
    pub fn half_close_quietly(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Drops the connection with a reset instead of an orderly end.
    pub fn reset(self) {
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&self.stream, sockopt::Linger, &at_once).unwrap();
    }

    /// The conversation so far, `>` sent and `<` received.
    pub fn history(&self) -> &str {
        &self.history
    }

    pub(super) fn note(&mut self, direction: &str, bytes: &[u8]) {
        const SHOWN: usize = 300;
        let shown = &bytes[..bytes.len().min(SHOWN)];
        self.history.push_str(direction);
        self.history.extend(shown.escape_ascii().map(char::from));
        if bytes.len() > SHOWN {
            self.history.push_str(&format!(" … {} bytes", bytes.len()));
        }
        self.history.push('\n');
    }
}

/// A message as it goes over the wire after DATA: dots doubled, ended by CRLF and the final dot
/// (RFC 5321 §4.5.2).
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 8);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}
