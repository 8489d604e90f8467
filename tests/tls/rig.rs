//! A server with a certificate, one port for STARTTLS and one where TLS comes first.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rustls::ClientConfig;

use crate::harness::secured::trusting;
use crate::harness::{Authority, DEADLINE, Install, Server, SmtpClient};

/// The name in the server's certificate.
pub const NAME: &str = "mx.test";

pub struct Rig {
    pub server: Server,
    pub authority: Authority,
    /// Trusts the authority, shows no certificate.
    pub client: Arc<ClientConfig>,
    /// The port for STARTTLS.
    pub clear: SocketAddr,
    /// The port where TLS comes first.
    pub tls: SocketAddr,
}

impl Rig {
    pub fn start() -> Self {
        Self::with(|install, _, _| install)
    }

    /// With a configuration changed by somebody who is told the authority and the number of the TLS port.
    pub fn with(change: impl FnOnce(Install, &Authority, u16) -> Install) -> Self {
        let authority = Authority::new();
        let pem = authority.issue(NAME).pem();
        let port = free_port();
        let listen = format!("127.0.0.1:0,127.0.0.1:{port}");
        let install = Install::new()
            .set("smtp.ini", "main", "listen", &listen)
            .set("smtp.ini", "main", "smtps_port", &port.to_string())
            .config("tls_key.pem", &pem)
            .config("tls_cert.pem", &pem)
            .plugins(&["tls", "rcpt_to.in_host_list", "queue/test"]);
        let server = Server::start(change(install, &authority, port));
        let (tls, clear) = server.addrs().iter().partition(|addr| addr.port() == port);
        let (tls, clear): (Vec<SocketAddr>, Vec<SocketAddr>) = (tls, clear);
        Self {
            client: trusting(&authority),
            authority,
            clear: clear[0],
            tls: tls[0],
            server,
        }
    }

    /// A client that has begun TLS with STARTTLS and said nothing since.
    #[track_caller]
    pub fn starttls(&self, config: &Arc<ClientConfig>) -> SmtpClient {
        let mut client = SmtpClient::connect(self.clear);
        assert!(client.ehlo("client.test").offers("STARTTLS"));
        client.cmd("STARTTLS").expect(220);
        client.start_tls(config, NAME);
        client
    }

    /// A client that has begun TLS on the port for that and read nothing since.
    #[track_caller]
    pub fn on_tls_port(&self, config: &Arc<ClientConfig>) -> SmtpClient {
        let mut client = SmtpClient::connect(self.tls);
        client.start_tls(config, NAME);
        client
    }

    /// Fails the test unless clients are served under TLS, on both ports.
    #[track_caller]
    pub fn serves(&self) {
        let mut client = self.starttls(&self.client);
        client.cmd("EHLO client.test").expect(250);
        client.quit();
        let mut client = self.on_tls_port(&self.client);
        client.ehlo("client.test");
        client.quit();
    }

    /// The line that tells of the only failed handshake.
    #[track_caller]
    pub fn failure(&self) -> String {
        let text = "TLS handshake failed: ";
        let line = self.server.wait_for_log(text, DEADLINE);
        let all = self.server.log_text();
        assert_eq!(all.matches(text).count(), 1, "{all}");
        line
    }
}

/// A port that nobody listens on, outside of the range from which the kernel gives ports to others.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 10_000) as u16;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
