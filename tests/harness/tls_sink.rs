//! A mail host that speaks STARTTLS and keeps what it is given: for tests of who is trusted, where the
//! dialogue itself is of no interest.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The host; its thread ends with the test program.
pub struct TlsSink {
    messages: Arc<Mutex<Vec<String>>>,
    names: Arc<Mutex<Vec<String>>>,
}

impl TlsSink {
    /// Listens on an address and port, with this certificate.
    #[track_caller]
    pub fn on(addr: &str, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(addr)
            .unwrap_or_else(|error| panic!("no sink can listen on {addr}: {error}"));
        let sink = Self {
            messages: Arc::default(),
            names: Arc::default(),
        };
        let (messages, names) = (sink.messages.clone(), sink.names.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (config, messages, names) = (config.clone(), messages.clone(), names.clone());
                // A client that leaves in the middle is what some tests are about.
                std::thread::spawn(move || drop(serve(stream, config, &messages, &names)));
            }
        });
        sink
    }

    /// The messages that came under TLS, dots still doubled.
    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// The names that clients asked for in their handshakes, also in those that failed.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    messages: &Mutex<Vec<String>>,
    names: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.write_all(b"220 mx ESMTP\r\n")?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "STARTTLS" => break,
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => stream.write_all(b"250-mx\r\n250 STARTTLS\r\n")?,
        }
    }
    stream.write_all(b"220 go\r\n")?;
    let mut session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let shaken = session.complete_io(&mut stream);
    let name = session.server_name().unwrap_or_default().to_owned();
    names.lock().unwrap().push(name);
    shaken?;
    conversation(StreamOwned::new(session, stream), messages)
}

fn conversation(tls: impl Read + Write, messages: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut tls = BufReader::new(tls);
    let mut line = String::new();
    while tls.read_line(&mut line)? > 0 {
        let reply = match line.trim_end() {
            "QUIT" => return tls.get_mut().write_all(b"221 bye\r\n"),
            "DATA" => {
                tls.get_mut().write_all(b"354 go\r\n")?;
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    if tls.read_line(&mut message)? == 0 {
                        return Ok(());
                    }
                }
                messages.lock().unwrap().push(message);
                "250 taken\r\n"
            }
            _ => "250 ok\r\n",
        };
        tls.get_mut().write_all(reply.as_bytes())?;
        line.clear();
    }
    Ok(())
}
