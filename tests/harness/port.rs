//! Ports of 127.0.0.1 where nobody listens yet, and that nobody else takes.
//!
//! A port that the system chose and was given back may be the next one that it chooses: then the server of
//! another test, or the one under test, is where nobody should be. These are below those that it chooses from.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;

/// Linux chooses from 32768 on.
const RANGE: Range<u16> = 10_000..32_000;

/// Who listens on a port here has it, also before test programs that run beside this one.
const CLAIM: Ipv4Addr = Ipv4Addr::new(127, 255, 0, 1);

static CLAIMED: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// An address that belongs to this process until it ends.
pub fn reserve() -> SocketAddr {
    let mut claimed = CLAIMED.lock().unwrap();
    let count = RANGE.len();
    let first = std::process::id() as usize * 64 + claimed.len();
    for step in 0..count {
        let port = RANGE.start + u16::try_from((first + step) % count).unwrap();
        let Ok(claim) = TcpListener::bind((CLAIM, port)) else {
            continue;
        };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            claimed.push(claim);
            return addr;
        }
    }
    panic!("no port of {RANGE:?} is free");
}
