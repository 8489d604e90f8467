//! A connection of the sink: commands, TLS, message data, and the replies that the rules give.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use super::super::poll_until;
use super::super::sink_rules::{Action, Stage, Wait, decide};
use super::{Answer, Message, Shared};

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

/// One client of the sink, and what it has said so far.
pub(super) struct Connection<'a> {
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
    pub(super) fn new(stream: TcpStream, number: usize, shared: &'a Shared) -> Self {
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
    pub(super) fn converse(&mut self) -> std::io::Result<()> {
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
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.shared.resumed.fetch_add(1, Ordering::SeqCst);
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
                secured: matches!(self.stream, Wire::Tls(_)),
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
            let (wait, action) = self.decision(Stage::Dot, &recipient, "250 2.0.0 taken");
            // Recorded before it is sent: who has read the reply finds the message accepted.
            if let Action::Reply(text) | Action::ReplyThenDrop(text) = &action {
                let mut messages = self.shared.messages.lock().unwrap();
                messages[place].replies.push(text.clone());
            }
            self.perform(wait, action)?;
        }
        Ok(())
    }

    fn act(&mut self, stage: Stage, text: &str, default: &str) -> std::io::Result<String> {
        let (wait, action) = self.decision(stage, text, default);
        self.perform(wait, action)
    }

    fn decision(&self, stage: Stage, text: &str, default: &str) -> (Wait, Action) {
        let mut rules = self.shared.rules.lock().unwrap();
        let (wait, action) = decide(&mut rules, stage, text, self.number, default);
        if matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Dot) {
            let reply = match &action {
                Action::Reply(text) | Action::ReplyThenDrop(text) => text.clone(),
                Action::Raw(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Action::Drop | Action::Stall => String::new(),
            };
            self.shared.answers.lock().unwrap().push(Answer {
                connection: self.number,
                stage,
                about: text.to_owned(),
                reply,
            });
        }
        (wait, action)
    }

    /// Does it, and returns what was said; an error ends the connection.
    fn perform(&mut self, wait: Wait, action: Action) -> std::io::Result<String> {
        let ended = match wait {
            Wait::For(delay) if delay.is_zero() => false,
            Wait::For(delay) => poll_until(delay, || self.ending().then_some(())).is_some(),
            Wait::Behind(gate) => {
                let end = || self.ending().then_some(true);
                poll_until(A_DAY, || end().or(gate.is_open().then_some(false))) != Some(false)
            }
        };
        if ended {
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
