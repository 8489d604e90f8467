//! TLS handshakes: what a connection costs this server in the clear, with a full handshake and with one
//! that takes an earlier session up again, beside `openssl s_server` with the same key.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use crate::harness::secured::careless;
use crate::harness::{Install, Server, processes};
use crate::table::family_cpu;

/// Prints a row for each kind of key and handshake, of so many connections one after the other.
///
/// # Errors
/// A server did not answer as it should.
pub fn print(connections: usize) -> anyhow::Result<()> {
    println!(
        "\n{connections} connections, one at a time, until the banner\n{:<42}{:>9}{:>12}",
        "server, key, handshake", "conn/s", "CPU us/conn"
    );
    for (key, options) in KEYS {
        let dir = Install::new();
        if !make_certificate(dir.path(), options) {
            println!("{:<42} needs the program openssl", "handshakes");
            return Ok(());
        }
        let (clear, tls) = (free_addr()?, free_addr()?);
        let listen = format!("{clear},{tls}");
        let install = dir
            .set("smtp.ini", "main", "listen", &listen)
            .set("smtp.ini", "main", "smtps_port", &tls.port().to_string())
            .set("log.ini", "main", "level", "warn");
        let pair = [CERTIFICATE, KEY].map(|name| install.path().join("config").join(name));
        let mut other = s_server(&pair)?;
        let server = Server::start(install);
        let cpu = || family_cpu(&server);
        if key == KEYS[0].0 {
            let work = || in_the_clear(clear);
            row("haraka, in the clear", connections, &cpu, work)?;
        }
        rows(&format!("haraka, {key}"), tls, connections, &cpu)?;
        let pid = other.child.id() as i32;
        let cpu = || processes::cpu_seconds(pid);
        rows(
            &format!("openssl s_server, {key}"),
            other.addr,
            connections,
            &cpu,
        )?;
        other.child.kill().context("s_server")?;
        other.child.wait().context("s_server")?;
    }
    Ok(())
}

/// Both kinds of handshakes.
fn rows(
    label: &str,
    addr: SocketAddr,
    connections: usize,
    cpu: &dyn Fn() -> f64,
) -> anyhow::Result<()> {
    let mut config = Arc::unwrap_or_clone(careless());
    let again = Arc::new(config.clone());
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let full = || secured(addr, &config, Some(HandshakeKind::Full));
    row(&format!("{label}, full"), connections, cpu, full)?;
    secured(addr, &again, None)?;
    let resumed = || secured(addr, &again, Some(HandshakeKind::Resumed));
    row(&format!("{label}, resumed"), connections, cpu, resumed)
}

fn row(
    label: &str,
    connections: usize,
    cpu: &dyn Fn() -> f64,
    connect: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for _ in 0..connections / 10 {
        connect()?; // warms up
    }
    let (before, start) = (cpu(), Instant::now());
    for _ in 0..connections {
        connect()?;
    }
    println!(
        "{label:<42}{:>9.0}{:>12.0}",
        connections as f64 / start.elapsed().as_secs_f64(),
        (cpu() - before) * 1e6 / connections as f64
    );
    Ok(())
}

fn in_the_clear(addr: SocketAddr) -> anyhow::Result<()> {
    let mut stream = connect(addr)?;
    ensure!(stream.read(&mut [0; 512])? > 0, "no banner");
    Ok(())
}

/// A connection until the first octets under TLS: the ticket for the next one, and the banner if there
/// is one.
fn secured(
    addr: SocketAddr,
    config: &Arc<ClientConfig>,
    kind: Option<HandshakeKind>,
) -> anyhow::Result<()> {
    let mut stream = connect(addr)?;
    let name = ServerName::try_from("mx.test")?;
    let mut session = ClientConnection::new(Arc::clone(config), name)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    ensure!(session.read_tls(&mut stream)? > 0, "no ticket");
    session.process_new_packets()?;
    ensure!(
        kind.is_none() || session.handshake_kind() == kind,
        "{:?} in place of {kind:?}",
        session.handshake_kind()
    );
    session.send_close_notify();
    session.write_tls(&mut stream)?;
    stream.flush()?;
    Ok(())
}

fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

struct Other {
    child: Child,
    addr: SocketAddr,
}

/// `openssl s_server` that gives one ticket for each session, as this server does.
fn s_server(pair: &[std::path::PathBuf; 2]) -> anyhow::Result<Other> {
    let addr = free_addr()?;
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-num_tickets", "1", "-accept"]);
    command.arg(addr.to_string()).arg("-cert").arg(&pair[0]);
    command.arg("-key").arg(&pair[1]);
    // It ends with its input.
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let up = crate::harness::poll_until(Duration::from_secs(20), || TcpStream::connect(addr).ok());
    up.context("s_server does not listen")?;
    Ok(Other { child, addr })
}

fn make_certificate(dir: &Path, options: &[&str]) -> bool {
    let config = dir.join("config");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=mx.test",
        ])
        .args(options)
        .arg("-keyout")
        .arg(config.join(KEY))
        .arg("-out")
        .arg(config.join(CERTIFICATE))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
}

fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

const KEY: &str = "tls_key.pem";
const CERTIFICATE: &str = "tls_cert.pem";

/// What there is most of.
const KEYS: [(&str, &[&str]); 2] = [
    ("RSA 2048", &["-newkey", "rsa:2048"]),
    (
        "ECDSA P-256",
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ),
];
