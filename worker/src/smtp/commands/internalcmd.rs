//! INTERNALCMD (CON-53), of which two commands remain, for local clients that know the key.
//!
//! Haraka lets every local client call any function of the server (PB-02). The control socket is the
//! proper way; this verb serves existing scripts, and only where `internalcmd_key` is set.

use haraka_shared::ipc::ToMaster;
use haraka_shared::reply::Reply;

use crate::smtp::session::{Outcome, Session};

pub(super) fn internalcmd(s: &mut Session, args: &str) -> Outcome {
    let say = |code, text: &'static str| Outcome::Say(Reply::new(code, text));
    if !s.conn.remote.borrow().is_local {
        return say(501, "INTERNALCMD not allowed remotely");
    }
    let Some(key) = &s.config.internalcmd_key else {
        return say(501, "Invalid internalcmd_key - check config");
    };
    let mut words = args.split(' ').filter(|w| !w.is_empty());
    match words.next().and_then(|w| w.strip_prefix("key:")) {
        None => return say(501, "Missing internalcmd_key - check config"),
        Some(given) if !same(given.as_bytes(), key.as_bytes()) => {
            return say(501, "Invalid internalcmd_key - check config");
        }
        Some(_) => {}
    }
    let order = match words.next() {
        None => return say(501, "No command given"),
        Some("flushQueue") => ToMaster::FlushQueue {
            domain: words.next().map(str::to_ascii_lowercase),
        },
        Some("gracefulRestart") => ToMaster::GracefulRestart,
        Some(_) => return say(501, "Command is not one of flushQueue, gracefulRestart"),
    };
    s.worker.tell_master(order);
    say(
        250,
        "Command sent for execution. Check Haraka logs for results.",
    )
}

/// Compares in a time that does not tell how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}
