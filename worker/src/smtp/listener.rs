//! Taking clients from an inherited socket and giving each a session of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use haraka_shared::connection::{Connection, Local};
use haraka_shared::log::Level;
use haraka_shared::{log_conn, log_server};

use super::session::converse;
use super::sessions::{Full, full_reply};
use super::wire::Wire;
use crate::rt::{self, Stream, TcpListener, UnixListener};
use crate::worker::Worker;

/// Takes TCP clients until the task is dropped.
pub(crate) async fn serve_tcp(worker: Rc<Worker>, listener: TcpListener) {
    let bound = match listener.local_addr() {
        Ok(bound) => bound,
        Err(e) => return log_server!(Level::Crit, "listener without an address: {e}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A socket that is bound to one address need not be asked for it each time.
                let local = if bound.ip().is_unspecified() {
                    stream.local_addr().unwrap_or(bound)
                } else {
                    bound
                };
                admit(&worker, Stream::from(stream), peer, local);
            }
            Err(e) => lost_client(&e),
        }
    }
}

/// Takes clients of a Unix socket; they count as coming from this machine.
pub(crate) async fn serve_unix(worker: Rc<Worker>, listener: UnixListener) {
    let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    loop {
        match listener.accept().await {
            Ok(stream) => admit(&worker, Stream::from(stream), here, here),
            Err(e) => lost_client(&e),
        }
    }
}

/// Running out of descriptors is waited out by the runtime; anything else cost one client.
fn lost_client(error: &io::Error) {
    log_server!(Level::Warn, "client not accepted: {error}");
}

/// Begins a client's session, or refuses it.
pub(super) fn admit(worker: &Rc<Worker>, stream: Stream, peer: SocketAddr, local: SocketAddr) {
    let conn = Connection::new(
        peer.ip(),
        peer.port(),
        Local {
            ip: local.ip().to_canonical(),
            port: local.port(),
        },
        rt::now(),
    );
    let ip = conn.remote_ip();
    if haraka_shared::log::enabled(Level::Notice) {
        let here = conn.local.get();
        log_conn!(
            Level::Notice,
            conn,
            [
                ("ip", (&ip.to_string()).into()),
                ("port", peer.port().into()),
                ("local_ip", (&here.ip.to_string()).into()),
                ("local_port", here.port.into()),
            ],
            "connect"
        );
    }
    let admitted = match worker.settings().connection.is_proxy(ip) {
        true => worker.sessions.admit_proxy(),
        false => worker.sessions.admit(ip),
    };
    match admitted {
        Ok(ticket) => {
            let config = worker.settings();
            let wire = Wire::new(
                stream,
                config.smtp.inactivity_timeout,
                config.connection.session_time,
                ticket,
            );
            rt::spawn(converse(Rc::clone(worker), conn, wire)).detach();
        }
        Err(full) => refuse(worker, &conn, &stream, local.port(), full),
    }
}

/// Says why and closes, without waiting: a client over the limit must cost next to nothing.
fn refuse(worker: &Worker, conn: &Connection, stream: &Stream, port: u16, full: Full) {
    log_conn!(Level::Warn, conn, [], "refused: {}", full.reason());
    if worker.settings().smtp.smtps_port == Some(port) {
        // It could not read the reason, and a handshake to tell it costs more than it is worth.
        return;
    }
    let reply = full_reply(&worker.settings().me, full).to_wire();
    // One that cannot take a line without waiting does not get it.
    drop(stream.try_write(&reply));
}
