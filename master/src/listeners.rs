//! Listening sockets: bound once by the master, handed to workers slot by slot.
//!
//! With several workers each TCP address has one `SO_REUSEPORT` socket per slot where the system
//! balances between them, and a replacement gets its predecessor's socket with the connections that
//! wait in it. Unix sockets, and TCP elsewhere, are one socket shared by all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use haraka_shared::config::ListenAddr;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

/// Connections that wait for a worker; Node asks for 511 (PRC-24). The system may cut it down.
const BACKLOG: i32 = 1024;

/// Whether connections are spread over the sockets that share a port. BSD has the option without
/// the balancing.
const BALANCED: bool = cfg!(target_os = "linux");

/// All sockets of one configuration. Dropping them, here and in the workers, closes the ports.
#[derive(Debug, Default)]
pub struct ListenerSet {
    bound: Vec<Bound>,
}

#[derive(Debug)]
struct Bound {
    wanted: ListenAddr,
    actual: ListenAddr,
    /// One per slot, or one for all.
    sockets: Vec<OwnedFd>,
    file: Option<Arc<SocketFile>>,
}

/// A Unix socket's name, removed when the last set that uses it is dropped in the process that
/// made it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    owner: u32,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // It may have been removed by hand, which is as good.
            let removed = std::fs::remove_file(&self.path);
            drop(removed);
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("Failed to setup listeners: {addr}: {cause}")]
pub struct ListenError {
    /// As configured.
    pub addr: ListenAddr,
    /// Why.
    pub cause: io::Error,
}

impl ListenerSet {
    /// Binds all addresses for `nodes` workers, or none. What `earlier` has bound is shared with
    /// it. `is_default` marks the first address as not asked for: without IPv6 it becomes
    /// `0.0.0.0` (PRC-23).
    pub fn bind(
        addrs: &[ListenAddr],
        is_default: bool,
        nodes: usize,
        earlier: Option<&ListenerSet>,
    ) -> Result<ListenerSet, ListenError> {
        let mut bound = Vec::new();
        for (index, addr) in addrs.iter().enumerate() {
            let known = earlier.and_then(|e| e.bound.iter().find(|b| b.wanted == *addr));
            let failed = |cause| ListenError {
                addr: addr.clone(),
                cause,
            };
            let one = match addr {
                ListenAddr::Unix(path, mode) => bind_unix(addr, path, *mode, known),
                ListenAddr::Tcp(tcp) => {
                    let v6_only = needs_v6_only(*tcp, addrs);
                    match bind_tcp(addr, *tcp, v6_only, nodes, known) {
                        Err(e) if is_default && index == 0 && lacks_v6(&e) => {
                            let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), tcp.port());
                            bind_tcp(addr, v4, false, nodes, known)
                        }
                        other => other,
                    }
                }
            };
            bound.push(one.map_err(failed)?);
        }
        Ok(ListenerSet { bound })
    }

    /// What is listened on, with real port numbers.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddr> {
        self.bound.iter().map(|b| &b.actual)
    }

    /// The sockets of one slot, as descriptors of their own.
    pub fn for_slot(&self, slot: u32) -> io::Result<Vec<(ListenAddr, OwnedFd)>> {
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        let of_slot = |b: &Bound| {
            let fd = b.sockets.get(slot).or_else(|| b.sockets.first());
            let fd = fd.ok_or_else(|| io::Error::other("no socket for this slot"))?;
            Ok((b.actual.clone(), fd.try_clone()?))
        };
        self.bound.iter().map(of_slot).collect()
    }
}

fn lacks_v6(e: &io::Error) -> bool {
    let code = e.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// `[::0]` takes IPv4 as well, as in Node, unless the same port is asked for on `0.0.0.0` too.
fn needs_v6_only(tcp: SocketAddr, addrs: &[ListenAddr]) -> bool {
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), tcp.port());
    addrs.contains(&ListenAddr::Tcp(v4)) && tcp.port() != 0
}

fn bind_tcp(
    wanted: &ListenAddr,
    tcp: SocketAddr,
    v6_only: bool,
    nodes: usize,
    known: Option<&Bound>,
) -> io::Result<Bound> {
    let count = if BALANCED { nodes.max(1) } else { 1 };
    let mut sockets = Vec::with_capacity(count);
    let mut actual = tcp;
    match known {
        Some(known) => {
            for fd in known.sockets.iter().take(count) {
                sockets.push(fd.try_clone()?);
            }
            if let ListenAddr::Tcp(addr) = &known.actual {
                actual = *addr;
            }
        }
        // SO_REUSEPORT, set also for one worker so that a restart can add more, would let a second
        // server of the same user in. A socket without it, bound for a moment, finds out.
        None if BALANCED && tcp.port() != 0 => drop(tcp_socket(tcp, v6_only, false)?),
        None => {}
    }
    while sockets.len() < count {
        let fd = tcp_socket(actual, v6_only, BALANCED)?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        if actual.port() == 0 {
            let socket = TcpListener::from(fd.try_clone()?);
            actual.set_port(socket.local_addr()?.port());
        }
        sockets.push(fd);
    }
    Ok(Bound {
        wanted: wanted.clone(),
        actual: ListenAddr::Tcp(actual),
        sockets,
        file: None,
    })
}

fn tcp_socket(addr: SocketAddr, v6_only: bool, shared: bool) -> io::Result<OwnedFd> {
    let family = match addr.ip() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if addr.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &v6_only)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    Ok(fd)
}

fn bind_unix(
    wanted: &ListenAddr,
    path: &Path,
    mode: Option<u32>,
    known: Option<&Bound>,
) -> io::Result<Bound> {
    if let Some(known) = known
        && let Some(socket) = known.sockets.first()
    {
        return Ok(Bound {
            wanted: wanted.clone(),
            actual: known.actual.clone(),
            sockets: vec![socket.try_clone()?],
            file: known.file.clone(),
        });
    }
    let (socket, file) = unix_socket(path, mode)?;
    Ok(Bound {
        wanted: wanted.clone(),
        actual: wanted.clone(),
        sockets: vec![socket.into()],
        file: Some(Arc::new(file)),
    })
}

/// Binds a Unix socket in the place of one that nobody listens on any more.
fn unix_socket(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale_socket(path)?;
    let socket = UnixListener::bind(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        owner: std::process::id(),
    };
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.set_nonblocking(true)?;
    Ok((socket, file))
}

/// Removes a socket that nobody listens on. Anything else in that place is an error.
pub fn remove_stale_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(found) if !found.file_type().is_socket() => {
            let what = "is there and is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{Ipv6Addr, TcpStream};

    use super::*;

    fn tcp(text: &str) -> ListenAddr {
        ListenAddr::Tcp(text.parse().unwrap())
    }

    fn port(set: &ListenerSet, index: usize) -> u16 {
        match &set.bound[index].actual {
            ListenAddr::Tcp(a) => a.port(),
            ListenAddr::Unix(..) => panic!("not tcp"),
        }
    }

    fn in_temp(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("haraka-listen-{}-{name}", std::process::id()))
    }

    // covers KEY-01
    #[test]
    fn port_zero_becomes_one_real_port_for_all_workers() {
        let set = ListenerSet::bind(&[tcp("127.0.0.1:0")], false, 3, None).unwrap();
        assert_ne!(port(&set, 0), 0);
        let ports: HashSet<u16> = (0..3)
            .map(|slot| {
                let fd = set.for_slot(slot).unwrap().remove(0).1;
                TcpListener::from(fd).local_addr().unwrap().port()
            })
            .collect();
        assert_eq!(ports, HashSet::from([port(&set, 0)]));
        assert_eq!(set.bound[0].sockets.len(), if BALANCED { 3 } else { 1 });
    }

    #[test]
    fn connections_are_spread_over_the_slots() {
        if !BALANCED {
            println!("skipped: this system does not balance SO_REUSEPORT");
            return;
        }
        let set = ListenerSet::bind(&[tcp("127.0.0.1:0")], false, 2, None).unwrap();
        let addr = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port(&set, 0));
        let _clients: Vec<_> = (0..64).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let accepted = |slot| {
            let socket = TcpListener::from(set.for_slot(slot).unwrap().remove(0).1);
            std::iter::from_fn(|| socket.accept().ok()).count()
        };
        let (a, b) = (accepted(0), accepted(1));
        // 2^-63 is the chance of 64 in one slot.
        assert!(a > 0 && b > 0 && a + b == 64, "{a} and {b}");
    }

    // covers PRC-23
    #[test]
    fn a_port_in_use_is_an_error_even_if_its_holder_would_share_it() {
        let held = ListenerSet::bind(&[tcp("127.0.0.1:0")], false, 2, None).unwrap();
        let addr = tcp(&format!("127.0.0.1:{}", port(&held, 0)));
        for nodes in [1, 2] {
            let e = ListenerSet::bind(std::slice::from_ref(&addr), false, nodes, None).unwrap_err();
            assert_eq!(e.cause.kind(), io::ErrorKind::AddrInUse, "nodes={nodes}");
            assert!(
                e.to_string()
                    .starts_with(&format!("Failed to setup listeners: {addr}: "))
            );
        }
    }

    #[test]
    fn a_restart_shares_what_is_bound_and_adds_sockets_for_more_workers() {
        let addrs = [tcp("127.0.0.1:0")];
        let first = ListenerSet::bind(&addrs, false, 1, None).unwrap();
        let second = ListenerSet::bind(&addrs, false, 3, Some(&first)).unwrap();
        assert_eq!(port(&first, 0), port(&second, 0));
        drop(first);
        let addr = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port(&second, 0));
        TcpStream::connect(addr).unwrap();
        let third = ListenerSet::bind(&addrs, false, 1, Some(&second)).unwrap();
        assert_eq!(third.bound[0].sockets.len(), 1);
    }

    // covers KEY-01
    #[test]
    fn all_addresses_of_ipv6_take_ipv4_too_unless_that_is_listed() {
        let any = ListenAddr::Tcp((Ipv6Addr::UNSPECIFIED, 0).into());
        let Ok(set) = ListenerSet::bind(&[any], false, 1, None) else {
            println!("skipped: no IPv6 here");
            return;
        };
        TcpStream::connect((Ipv4Addr::LOCALHOST, port(&set, 0))).unwrap();
        TcpStream::connect((Ipv6Addr::LOCALHOST, port(&set, 0))).unwrap();
        let free = port(&set, 0);
        drop(set);
        let both = [
            ListenAddr::Tcp((Ipv6Addr::UNSPECIFIED, free).into()),
            ListenAddr::Tcp((Ipv4Addr::UNSPECIFIED, free).into()),
        ];
        ListenerSet::bind(&both, false, 2, None).unwrap();
    }

    // covers KEY-01
    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_its_last_owner() {
        let path = in_temp("mode");
        let addrs = [ListenAddr::Unix(path.clone(), Some(0o660))];
        let first = ListenerSet::bind(&addrs, false, 2, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let second = ListenerSet::bind(&addrs, false, 2, Some(&first)).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_but_a_live_one_or_a_file_is_not() {
        let path = in_temp("stale");
        let addrs = [ListenAddr::Unix(path.clone(), None)];
        drop(UnixListener::bind(&path).unwrap());
        let live = ListenerSet::bind(&addrs, false, 1, None).unwrap();
        let e = ListenerSet::bind(&addrs, false, 1, None).unwrap_err();
        assert_eq!(e.cause.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        std::fs::write(&path, "precious").unwrap();
        let e = ListenerSet::bind(&addrs, false, 1, None).unwrap_err();
        assert_eq!(e.cause.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }
}
