//! How much of what arrived at a TCP socket of this machine its owner has not read yet, and who that is,
//! asked from the kernel (sock_diag(7)), which answers for one socket without walking through all of them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Bytes that wait in the socket at `local` whose other end is `remote`; `None` when there is no such
/// connection.
pub fn unread_bytes(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    field(local, remote, UNREAD)
}

/// The inode of the socket at `local` whose other end is `remote`, by which /proc/PID/fd names it.
pub fn inode(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    field(local, remote, INODE)
}

/// A field of the kernel's answer about a socket.
fn field(local: SocketAddr, remote: SocketAddr, at: usize) -> Option<u32> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )
    .expect("sock_diag is part of every Linux kernel in use");
    let request = request(local, remote);
    send(netlink.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
    let mut answer = [0; 512];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let field = answer.get(at..at + 4)?;
    let found = kind == SOCK_DIAG_BY_FAMILY && length >= at + 4;
    found.then(|| u32::from_ne_bytes(field.try_into().expect("four bytes")))
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2` of linux/inet_diag.h.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(REQUEST_LENGTH as usize);
    out.extend_from_slice(&REQUEST_LENGTH.to_ne_bytes());
    out.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&1u16.to_ne_bytes()); // NLM_F_REQUEST
    out.extend_from_slice(&[0; 8]); // sequence, port id
    let family = if local.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    out.extend_from_slice(&[family as u8, nix::libc::IPPROTO_TCP as u8, 0, 0]);
    out.extend_from_slice(&u32::MAX.to_ne_bytes()); // sockets in any state
    out.extend_from_slice(&local.port().to_be_bytes());
    out.extend_from_slice(&remote.port().to_be_bytes());
    for ip in [local.ip(), remote.ip()] {
        let mut field = [0; 16];
        match ip {
            IpAddr::V4(ip) => field[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => field.copy_from_slice(&ip.octets()),
        }
        out.extend_from_slice(&field);
    }
    out.extend_from_slice(&0u32.to_ne_bytes()); // any interface
    out.extend_from_slice(&[0xff; 8]); // INET_DIAG_NOCOOKIE
    out
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_LENGTH: u32 = 16 + 56;
/// Where `idiag_rqueue` is: after both headers' fixed parts (16 + 4), the socket's id (48), a timer (4).
const UNREAD: usize = 72;
/// Where `idiag_inode` is: after that, the one for writing and the user's number.
const INODE: usize = UNREAD + 12;
