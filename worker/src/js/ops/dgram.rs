//! Datagram sockets of scripts, for IPv4 and IPv6.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;

use rquickjs::{Ctx, Object};
use serde_json::json;

use super::op;
use super::socket::shown;
use crate::js::convert::{Bytes, Json, throw_io};
use crate::js::host::{Host, Outcome};
use crate::rt::Watched;

/// Sockets that scripts may have at a time.
const MOST: usize = 1024;

/// The longest datagram.
const LONGEST: usize = 65_536;

/// The sockets of an engine.
type Sockets = RefCell<HashMap<u32, Rc<Watched<UdpSocket>>>>;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let sockets: Rc<Sockets> = Rc::default();
    let (h, s) = (Rc::clone(host), Rc::clone(&sockets));
    op!(
        ctx,
        field,
        "bind",
        move |ctx: Ctx<'_>, ip: String, port: u16| {
            let made = bind(&h, &s, &ip, port);
            made.map(Json).map_err(|e| throw_io(&ctx, &e, "bind", &ip))
        }
    );
    let (h, s) = (Rc::clone(host), Rc::clone(&sockets));
    op!(
        ctx,
        field,
        "send",
        move |number: u32, bytes: Bytes, ip: String, port: u16| {
            let socket = s.borrow().get(&number).cloned();
            h.start(async move {
                let to = ip.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
                let (Some(socket), Ok(to)) = (socket, to) else {
                    return io::Error::from(nix::errno::Errno::EINVAL).into();
                };
                match socket.write_with(|s| s.send_to(&bytes.0, to)).await {
                    Ok(sent) => Outcome::Data(sent.into()),
                    Err(e) => e.into(),
                }
            })
        }
    );
    let (h, s) = (Rc::clone(host), Rc::clone(&sockets));
    // The first two octets are how long the sender's address is, which comes next, as JSON.
    op!(ctx, field, "receive", move |number: u32| {
        let socket = s.borrow().get(&number).cloned();
        h.start(async move {
            let Some(socket) = socket else {
                return io::Error::from(nix::errno::Errno::EBADF).into();
            };
            match socket.read_with(receive).await {
                Ok(bytes) => Outcome::Bytes(bytes),
                Err(e) => e.into(),
            }
        })
    });
    let s = Rc::clone(&sockets);
    op!(ctx, field, "setBroadcast", move |number: u32, on: bool| s
        .borrow()
        .get(&number)
        .is_some_and(|socket| socket
            .get_ref()
            .set_broadcast(on)
            .is_ok()));
    op!(ctx, field, "close", move |number: u32| {
        let closed = sockets.borrow_mut().remove(&number);
        drop(closed);
    });
    Ok(())
}

fn bind(host: &Host, sockets: &Sockets, ip: &str, port: u16) -> io::Result<serde_json::Value> {
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| io::Error::from(nix::errno::Errno::EINVAL))?;
    let mut all = sockets.borrow_mut();
    if all.len() >= MOST {
        return Err(nix::errno::Errno::EMFILE.into());
    }
    let socket = UdpSocket::bind(SocketAddr::new(ip, port))?;
    socket.set_nonblocking(true)?;
    let at = shown(socket.local_addr()?);
    let number = host.number();
    all.insert(number, Rc::new(Watched::new(socket)?));
    Ok(json!({ "socket": number, "at": at }))
}

fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; LONGEST];
    let (got, from) = socket.recv_from(&mut buffer)?;
    let from = shown(from).to_string().into_bytes();
    let length = u16::try_from(from.len()).unwrap_or_default();
    let mut out = Vec::with_capacity(2 + from.len() + got);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&from);
    out.extend_from_slice(buffer.get(..got).unwrap_or_default());
    Ok(out)
}
