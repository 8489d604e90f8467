//! Sockets of scripts: streams to servers, TLS on them, and listeners.
//!
//! A socket is a number here and an object of `net.js` there. Each wait (connecting, reading, writing)
//! is work with a number of its own, which the script calls off when it destroys the socket, so an idle
//! socket costs one waiting task and no buffer. Datagrams are another field.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use rquickjs::{CString, Ctx, Object, Value as JsValue};
use serde_json::{Value, json};

use super::op;
use super::redis::publish_command;
use crate::js::convert::{Bytes, Json, throw_io};
use crate::js::finding;
use crate::js::host::{Host, Outcome};
use crate::rt::{self, Buffer, HandshakeError, Stream, TcpListener, TcpStream, UnixListener};
use crate::tls::{Wanted, describe};

/// Sockets that scripts may have at a time; a worker's sessions need descriptors as well.
const MOST: usize = 4096;

/// Clients that wait for a listener of a script to accept them.
const BACKLOG: i32 = 128;

/// Octets of messages to redis that may wait for it; a follower that is so far behind has lost the thread
/// anyway.
const MOST_PUBLISHED: usize = 1 << 20;

/// Octets for which there is room at first: the findings of some hooks.
const USUAL_PUBLISHED: usize = 2048;

/// Turns in which the last reader of a socket lets go of it before TLS begins.
const TURNS: u32 = 100;

#[derive(Clone)]
enum Socket {
    Stream(Rc<Stream>),
    Tcp(Rc<TcpListener>),
    Unix(Rc<UnixListener>),
}

/// The sockets of an engine.
#[derive(Default)]
struct Sockets(RefCell<BTreeMap<u32, Socket>>);

impl Sockets {
    fn add(&self, host: &Host, socket: Socket) -> io::Result<u32> {
        let mut all = self.0.borrow_mut();
        if all.len() >= MOST {
            return Err(nix::errno::Errno::EMFILE.into());
        }
        let number = host.number();
        all.insert(number, socket);
        Ok(number)
    }

    fn stream(&self, number: u32) -> io::Result<Rc<Stream>> {
        match self.0.borrow().get(&number) {
            Some(Socket::Stream(stream)) => Ok(Rc::clone(stream)),
            _ => Err(nix::errno::Errno::EBADF.into()),
        }
    }

    fn remove(&self, number: u32) -> Option<Socket> {
        self.0.borrow_mut().remove(&number)
    }
}

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let sockets = Rc::new(Sockets::default());
    install_connect(ctx, field, host, &sockets)?;
    install_stream(ctx, field, host, &sockets)?;
    install_listener(ctx, field, host, &sockets)?;
    let (h, s) = (Rc::clone(host), Rc::clone(&sockets));
    op!(ctx, field, "startTls", move |number: u32, options: Json| {
        let work = start_tls(Rc::clone(&s), number, options.0);
        h.start(Box::pin(work))
    });
    op!(ctx, field, "close", move |number: u32| {
        drop(sockets.remove(number));
    });
    Ok(())
}

fn install_connect<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
    sockets: &Rc<Sockets>,
) -> rquickjs::Result<()> {
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    op!(
        ctx,
        field,
        "connect",
        move |ip: String, port: u16, local: Option<String>| {
            let (weak, s) = (Rc::downgrade(&h), Rc::clone(&s));
            h.start(async move {
                let Ok(ip) = ip.parse::<IpAddr>() else {
                    return io::Error::from(nix::errno::Errno::EINVAL).into();
                };
                let local = local.and_then(|l| l.parse().ok());
                let connected = TcpStream::connect(SocketAddr::new(ip, port), local).await;
                opened(&weak, &s, connected.map(Stream::from))
            })
        }
    );
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    op!(ctx, field, "connectUnix", move |path: String| {
        let (weak, s) = (Rc::downgrade(&h), Rc::clone(&s));
        h.start(async move {
            let connected = rt::UnixStream::connect(Path::new(&path)).await;
            opened(&weak, &s, connected.map(Stream::from))
        })
    });
    Ok(())
}

/// Gives a new stream its number and tells both addresses.
fn opened(host: &std::rc::Weak<Host>, sockets: &Sockets, stream: io::Result<Stream>) -> Outcome {
    let Some(host) = host.upgrade() else {
        return Outcome::Data(Value::Null);
    };
    let made = stream.and_then(|stream| {
        let ends = json!({
            "local": end(stream.local_addr()),
            "remote": end(stream.peer_addr()),
        });
        let number = sockets.add(&host, Socket::Stream(Rc::new(stream)))?;
        Ok((number, ends))
    });
    match made {
        Ok((number, mut ends)) => {
            if let Some(ends) = ends.as_object_mut() {
                ends.insert("socket".to_owned(), number.into());
            }
            Outcome::Data(ends)
        }
        Err(e) => e.into(),
    }
}

fn end(addr: io::Result<Option<SocketAddr>>) -> Value {
    match addr {
        Ok(Some(addr)) => shown(addr),
        _ => Value::Null,
    }
}

/// As Node shows an address.
pub(super) fn shown(addr: SocketAddr) -> Value {
    let family = if addr.is_ipv6() { "IPv6" } else { "IPv4" };
    json!({ "address": addr.ip().to_string(), "family": family, "port": addr.port() })
}

fn install_stream<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
    sockets: &Rc<Sockets>,
) -> rquickjs::Result<()> {
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    op!(ctx, field, "read", move |number: u32| {
        let stream = s.stream(number);
        h.start(async move {
            match read(stream).await {
                Ok(bytes) => Outcome::Bytes(bytes),
                Err(e) => e.into(),
            }
        })
    });
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    // What the kernel takes at once is done, which is told by 0.
    op!(ctx, field, "write", move |number: u32, bytes: Bytes| {
        let stream = s.stream(number);
        let mut from = 0;
        if let Ok(stream) = &stream
            && stream.with_tls(|_| ()).is_none()
            && let Ok(taken) = stream.try_write(&bytes.0)
        {
            if taken == bytes.0.len() {
                return 0;
            }
            from = taken;
        }
        h.start(async move {
            let stream = match stream {
                Ok(stream) => stream,
                Err(e) => return e.into(),
            };
            let rest = bytes.0.get(from..).unwrap_or_default();
            match stream.write_all(rest).await {
                Ok(()) => Outcome::Data(Value::Null),
                Err(e) => e.into(),
            }
        })
    });
    let (s, publishing) = (Rc::clone(sockets), Rc::new(Publishing::default()));
    // Tells redis of a finding; false if too much waits already.
    op!(
        ctx,
        field,
        "publish",
        move |ctx: Ctx<'js>,
              number: u32,
              channel: CString<'js>,
              by: JsValue<'js>,
              given: JsValue<'js>| {
            let Ok(stream) = s.stream(number) else {
                return rquickjs::Result::Ok(false);
            };
            // Before anything is borrowed: it may run a script, which may find something itself.
            let told = finding::told(&ctx, by, given)?;
            Ok(publishing.add(number, stream, channel.as_ref(), &told))
        }
    );
    let s = Rc::clone(sockets);
    op!(ctx, field, "shutdown", move |number: u32| {
        if let Ok(stream) = s.stream(number) {
            // The peer may have closed before us; the reader is told.
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    let s = Rc::clone(sockets);
    op!(ctx, field, "setNoDelay", move |number: u32, on: bool| {
        if let Ok(stream) = s.stream(number) {
            // An option of speed, not of meaning.
            let _ = stream.set_nodelay(on);
        }
    });
    Ok(())
}

/// Messages to redis that leave at the end of a turn, by socket: nobody waits for any of them.
#[derive(Default)]
struct Publishing(RefCell<BTreeMap<u32, Vec<u8>>>);

impl Publishing {
    fn add(self: &Rc<Self>, number: u32, stream: Rc<Stream>, channel: &[u8], told: &[u8]) -> bool {
        let mut all = self.0.borrow_mut();
        let under_way = all.contains_key(&number);
        let first = || Vec::with_capacity(USUAL_PUBLISHED);
        let waiting = all.entry(number).or_insert_with(first);
        if waiting.len() + told.len() > MOST_PUBLISHED {
            return false;
        }
        publish_command(waiting, channel, told);
        if !under_way {
            let this = Rc::clone(self);
            rt::spawn(async move { this.send(number, &stream).await }).detach();
        }
        true
    }

    /// Until nothing waits any more.
    async fn send(&self, number: u32, stream: &Stream) {
        loop {
            rt::yield_now().await;
            let waiting = self.0.borrow_mut().get_mut(&number).map(std::mem::take);
            let octets = waiting.unwrap_or_default();
            // Whoever reads the socket is told why, and closes it.
            if octets.is_empty() || stream.write_all(&octets).await.is_err() {
                self.0.borrow_mut().remove(&number);
                return;
            }
        }
    }
}

/// What is there; nothing at the end of the stream.
async fn read(stream: io::Result<Rc<Stream>>) -> io::Result<Vec<u8>> {
    let stream = stream?;
    loop {
        stream.readable().await?;
        let mut buffer = Buffer::take();
        match stream.try_read(&mut buffer) {
            Ok(got) => return Ok(buffer.get(..got).unwrap_or_default().to_vec()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// The socket has no number while TLS begins, and is closed if that fails.
async fn start_tls(sockets: Rc<Sockets>, number: u32, options: Value) -> Outcome {
    let failed = |code: &str, message: String| Outcome::Failed {
        code: code.to_owned(),
        message,
    };
    let wanted = wanted(&options);
    let (session, judgement) = match wanted.session() {
        Ok(made) => made,
        Err(message) => return failed("ERR_TLS_INVALID_CONTEXT", message),
    };
    let Some(Socket::Stream(stream)) = sockets.remove(number) else {
        return io::Error::from(nix::errno::Errno::EBADF).into();
    };
    let Some(mut stream) = alone(stream).await else {
        return failed("EBUSY", "the socket is being read".to_owned());
    };
    match stream.start_tls(session.into()).await {
        Ok(()) => {}
        Err(HandshakeError::Closed) => {
            let text =
                "Client network socket disconnected before secure TLS connection was established";
            return failed("ECONNRESET", text.to_owned());
        }
        Err(HandshakeError::Io(e)) => return e.into(),
        Err(HandshakeError::Tls(e)) => return failed("EPROTO", e.to_string()),
    }
    let facts = stream.with_tls(facts).unwrap_or_default();
    let facts = with_code(facts, judgement.code());
    let mut all = sockets.0.borrow_mut();
    all.insert(number, Socket::Stream(Rc::new(stream)));
    Outcome::Data(facts)
}

fn with_code(mut facts: Value, code: Option<&str>) -> Value {
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("code".to_owned(), code.into());
    }
    facts
}

/// The stream itself, once nobody else holds it: reading was called off a moment ago.
async fn alone(mut stream: Rc<Stream>) -> Option<Stream> {
    for _ in 0..TURNS {
        match Rc::try_unwrap(stream) {
            Ok(alone) => return Some(alone),
            Err(shared) => stream = shared,
        }
        rt::yield_now().await;
    }
    None
}

fn wanted(options: &Value) -> Wanted {
    let text = |key: &str| options.get(key).and_then(Value::as_str);
    let octets = |key: &str| text(key).unwrap_or_default().as_bytes().to_vec();
    let alpn = options.get("alpn").and_then(Value::as_array);
    let alpn = alpn.into_iter().flatten().filter_map(Value::as_str);
    Wanted {
        server_name: text("name").unwrap_or_default().to_owned(),
        ca: octets("ca"),
        cert: octets("cert"),
        passphrase: text("passphrase").map(str::to_owned),
        alpn: alpn.map(|name| name.as_bytes().to_vec()).collect(),
        only_13: text("minVersion") == Some("TLSv1.3"),
    }
}

/// What became of a handshake.
fn facts(tls: &rustls::Connection) -> Value {
    let peer = tls.peer_certificates().and_then(|chain| chain.first());
    let peer = peer.map(|leaf| {
        let shown = describe(leaf);
        json!({
            "subject": { "CN": shown.subject, "O": shown.organization },
            "issuer": { "CN": shown.issuer },
            "names": shown.names,
            "valid_from": shown.not_before,
            "valid_to": shown.not_after,
            "fingerprint": shown.fingerprint,
            "fingerprint256": shown.fingerprint256,
        })
    });
    let suite = tls.negotiated_cipher_suite();
    let alpn = tls.alpn_protocol().map(String::from_utf8_lossy);
    let protocol = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    json!({
        "peer": peer,
        "protocol": protocol,
        "cipher": suite.map(|s| format!("{:?}", s.suite()).replacen("TLS13_", "TLS_", 1)),
        "alpn": alpn,
    })
}

fn install_listener<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
    sockets: &Rc<Sockets>,
) -> rquickjs::Result<()> {
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    op!(
        ctx,
        field,
        "listen",
        move |ctx: Ctx<'_>, ip: String, port: u16| {
            let made = listen(&ip, port).and_then(|listener| {
                let at = shown(listener.local_addr()?);
                let number = s.add(&h, Socket::Tcp(Rc::new(listener)))?;
                Ok(Json(json!({ "socket": number, "at": at })))
            });
            made.map_err(|e| throw_io(&ctx, &e, "listen", &ip))
        }
    );
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    op!(
        ctx,
        field,
        "listenUnix",
        move |ctx: Ctx<'_>, path: String| {
            let made = std::os::unix::net::UnixListener::bind(&path)
                .and_then(UnixListener::from_std)
                .and_then(|listener| s.add(&h, Socket::Unix(Rc::new(listener))));
            let made = made.map(|number| Json(json!({ "socket": number })));
            made.map_err(|e| throw_io(&ctx, &e, "listen", &path))
        }
    );
    let (h, s) = (Rc::clone(host), Rc::clone(sockets));
    op!(ctx, field, "accept", move |number: u32| {
        let listener = s.0.borrow().get(&number).cloned();
        let (weak, s) = (Rc::downgrade(&h), Rc::clone(&s));
        h.start(async move {
            let accepted = match listener {
                Some(Socket::Tcp(listener)) => listener.accept().await.map(|(tcp, _)| tcp.into()),
                Some(Socket::Unix(listener)) => listener.accept().await.map(Stream::from),
                _ => Err(nix::errno::Errno::EBADF.into()),
            };
            opened(&weak, &s, accepted)
        })
    });
    Ok(())
}

/// Binds and listens as a server does that is started again.
fn listen(ip: &str, port: u16) -> io::Result<TcpListener> {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt,
        socket, sockopt,
    };
    use std::os::fd::AsRawFd;

    let ip: IpAddr = ip
        .parse()
        .map_err(|_| io::Error::from(nix::errno::Errno::EINVAL))?;
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    let addr = SockaddrStorage::from(SocketAddr::new(ip, port));
    bind(fd.as_raw_fd(), &addr)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    TcpListener::from_std(fd.into())
}
