//! A web server that publishes one MTA-STS policy over HTTPS, and counts who asked for it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The server; its thread ends with the test program.
pub struct PolicyWeb {
    policy: Arc<Mutex<String>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl PolicyWeb {
    /// Listens on an address and port.
    #[track_caller]
    pub fn on(addr: &str, config: Arc<ServerConfig>, policy: &str) -> Self {
        let listener = TcpListener::bind(addr)
            .unwrap_or_else(|error| panic!("no web server can listen on {addr}: {error}"));
        let web = Self {
            policy: Arc::new(Mutex::new(policy.to_owned())),
            requests: Arc::default(),
        };
        let (policy, requests) = (web.policy.clone(), web.requests.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let session = ServerConnection::new(config.clone()).unwrap();
                let mut tls = StreamOwned::new(session, stream);
                if let Some(request) = request(&mut tls) {
                    requests.lock().unwrap().push(request);
                    let policy = policy.lock().unwrap().clone();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{policy}",
                        policy.len()
                    );
                    let _ = tls.write_all(answer.as_bytes());
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        web
    }

    /// Publishes another policy.
    pub fn publish(&self, policy: &str) {
        *self.policy.lock().unwrap() = policy.to_owned();
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A request, unless the client leaves before its end.
fn request(tls: &mut impl Read) -> Option<String> {
    let mut request = Vec::new();
    let mut octet = [0];
    while !request.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut octet).ok()?;
        request.push(octet[0]);
    }
    String::from_utf8(request).ok()
}
