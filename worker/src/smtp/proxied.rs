//! Clients behind a proxy: waiting for its header, and becoming the client that it names (HAP-02 to
//! HAP-07).
//!
//! Comes before the first hook, and before TLS on a port that begins with it. Nothing is said to the
//! peer until the header is there.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use haraka_shared::connection::{Local, Proxy};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use serde_json::json;

use super::proto::command;
use super::proto::proxy::{self, Client, Header, HeaderError, Scan};
use super::session::{Outcome, Session};
use super::sessions::full_reply;
use super::wire::{Lost, Wire};
use crate::rt;

/// What a proxy said first.
pub(super) enum Heard {
    /// Its header; what follows is still to be read.
    Header(Header),
    /// Something else, still to be read.
    Other,
    /// A header that cannot be taken.
    Bad(HeaderError),
    /// Nothing more comes.
    Lost(Lost),
}

/// Reads a header, and nothing beyond it, from the beginning of a connection.
pub(super) async fn hear(wire: &mut Wire, until: Instant) -> Heard {
    loop {
        match proxy::scan(wire.buffered()) {
            Scan::Header { found, consumed } => {
                wire.consume(consumed);
                return Heard::Header(found);
            }
            Scan::Other => return Heard::Other,
            Scan::Bad(why) => return Heard::Bad(why),
            Scan::Incomplete => {}
        }
        if let Err(lost) = wire.fill(Some(until)).await {
            return Heard::Lost(lost);
        }
    }
}

impl Session {
    /// Finds out from a trusted proxy who the client is; false ends the session.
    pub(super) async fn meet_proxy(&mut self) -> bool {
        let config = &self.config.connection;
        if !config.is_proxy(self.conn.remote_ip()) {
            return true;
        }
        let until = rt::now() + config.haproxy_timeout;
        self.conn.proxy.set(Proxy {
            allowed: true,
            ip: None,
        });
        let lost = match hear(&mut self.wire, until).await {
            Heard::Header(Header::Local) => return true,
            Heard::Header(Header::Client(client)) => return self.become_client(client).await,
            Heard::Bad(why) => {
                let ip = self.conn.remote_ip().to_string();
                log_conn!(Level::Warn, self.conn, [("ip", (&ip).into())], "{why}");
                return self.settle(Outcome::SayClose(proxy::INVALID)).await;
            }
            // A proxy may check its way with TLS of its own, without a header (TLS-23).
            Heard::Other if self.on_tls_port() => {
                self.conn.proxy.set(Proxy::default());
                return true;
            }
            // Haraka leaves a proxy that forgets itself without an answer until its time is over.
            Heard::Other => self.ignore(until).await,
            Heard::Lost(lost) => lost,
        };
        match lost {
            Lost::Idle | Lost::TooSlow => self.settle(Outcome::SayClose(proxy::TIMEOUT)).await,
            lost => self.settle(Outcome::Lost(lost)).await,
        }
    }

    async fn ignore(&mut self, until: Instant) -> Lost {
        loop {
            let seen = self.wire.buffered().len();
            self.wire.consume(seen);
            if let Err(lost) = self.wire.fill(Some(until)).await {
                return lost;
            }
        }
    }

    /// HAP-06
    async fn become_client(&mut self, client: Client) -> bool {
        let Client {
            source,
            destination,
        } = client;
        let protocol = client.protocol();
        log_conn!(
            Level::Info,
            self.conn,
            [
                ("proto", protocol.into()),
                ("src_ip", (&shown(source)).into()),
                ("dst_ip", (&shown(destination)).into()),
            ],
            "HAProxy"
        );
        let proxy = self.conn.remote_ip();
        self.conn.notes.set(
            "proxy",
            json!({
                "type": "haproxy",
                "proto": protocol,
                "src_ip": source.ip().to_string(),
                "src_port": source.port().to_string(),
                "dst_ip": destination.ip().to_string(),
                "dst_port": destination.port().to_string(),
                "proxy_ip": proxy.to_string(),
            }),
        );
        self.conn.proxy.set(Proxy {
            allowed: true,
            ip: Some(proxy),
        });
        self.conn.may_relay.set(false);
        let local = Local {
            ip: destination.ip().to_canonical(),
            port: destination.port(),
        };
        self.conn.local.set(local);
        self.conn.set_remote_ip(source.ip());
        {
            let mut remote = self.conn.remote.borrow_mut();
            remote.port = source.port();
            remote.host = None;
            remote.info = None;
        }
        match self.wire.belongs_to(self.conn.remote_ip()) {
            Ok(()) => true,
            Err(full) => {
                log_conn!(Level::Warn, self.conn, [], "refused: {}", full.reason());
                let reply = full_reply(&self.config.me, full);
                self.settle(Outcome::SayClose(reply)).await
            }
        }
    }

    /// Whether what the client has sent is its hello, in the same packet as the proxy's header: that
    /// is not talking out of turn.
    pub(super) fn said_hello_with_header(&self) -> bool {
        self.conn.proxy.get().allowed && command::is_hello(self.wire.buffered())
    }
}

fn shown(end: SocketAddr) -> String {
    // Haraka writes no brackets around IPv6 addresses.
    let ip: IpAddr = end.ip();
    format!("{ip}:{}", end.port())
}
