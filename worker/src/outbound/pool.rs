//! Connections that are kept open for a moment after a message, for the next one to the same host
//! (PB-63).
//!
//! Bounded in number, in time and in messages per connection, so that a host is not held by a
//! server that has nothing more to say. Must never hand out a connection that the host has closed
//! as far as this side can know.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use haraka_shared::traffic::Key;

use super::client::Client;
use super::route::Target;
use super::shaping::Held;
use super::wish::Approach;
use crate::rt;

/// Idle connections of one worker.
#[derive(Clone)]
pub struct Pool(Rc<RefCell<Idle>>);

struct Idle {
    kept_for: Duration,
    /// Oldest first.
    kept: VecDeque<Kept>,
    swept: bool,
}

struct Kept {
    client: Client,
    until: Instant,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::keeping(KEPT_FOR)
    }
}

impl Pool {
    /// An empty pool that keeps connections for this time.
    pub fn keeping(kept_for: Duration) -> Pool {
        Pool(Rc::new(RefCell::new(Idle {
            kept_for,
            kept: VecDeque::new(),
            swept: false,
        })))
    }

    /// A connection that leads to this target in the same way.
    pub fn take(&self, target: &Target, approach: &Approach) -> Option<Client> {
        loop {
            let mut idle = self.0.borrow_mut();
            let newest = idle
                .kept
                .iter()
                .rposition(|k| serves(&k.client, target, approach))?;
            let mut kept = idle.kept.remove(newest)?;
            drop(idle);
            if kept.client.is_usable() {
                return Some(kept.client);
            }
        }
    }

    /// A connection that counts for just this, wherever it leads.
    pub(crate) fn take_counted(&self, keys: &[Key]) -> Option<Client> {
        loop {
            let mut idle = self.0.borrow_mut();
            let same = |k: &Kept| k.client.held().is_some_and(|held| held.keys() == keys);
            let newest = idle.kept.iter().rposition(same)?;
            let mut kept = idle.kept.remove(newest)?;
            drop(idle);
            if kept.client.is_usable() {
                return Some(kept.client);
            }
        }
    }

    /// Takes leave of the oldest connection to this provider, so that there can be another one.
    pub(crate) fn spare(&self, provider: Key) {
        let mut idle = self.0.borrow_mut();
        let of = |k: &Kept| k.client.held().and_then(|held| held.keys().first()) == Some(&provider);
        let oldest = idle.kept.iter().position(of);
        let kept = oldest.and_then(|at| idle.kept.remove(at));
        drop(idle);
        if let Some(kept) = kept {
            leave(kept.client);
        }
    }

    /// Keeps a connection for a while, or takes leave of it.
    pub fn put(&self, mut client: Client) {
        let held = client.held().cloned();
        let most = held.as_ref().map_or(MESSAGES, |held| held.messages());
        let wanted = held.as_ref().is_some_and(|held| held.is_wanted_elsewhere());
        if client.used() >= most || wanted || !client.is_usable() {
            leave(client);
            return;
        }
        let mut idle = self.0.borrow_mut();
        let until = rt::now() + idle.kept_for;
        idle.kept.push_back(Kept { client, until });
        let surplus = if idle.kept.len() > MOST_KEPT {
            idle.kept.pop_front()
        } else {
            None
        };
        let sweep = !std::mem::replace(&mut idle.swept, true);
        drop(idle);
        if let Some(held) = held {
            held.idles();
        }
        if let Some(kept) = surplus {
            leave(kept.client);
        }
        if sweep {
            rt::spawn(sweep_up(Rc::downgrade(&self.0))).detach();
        }
    }

    /// Takes leave of all connections.
    pub fn clear(&self) {
        let kept = std::mem::take(&mut self.0.borrow_mut().kept);
        kept.into_iter().for_each(|k| leave(k.client));
    }

    /// Connections that wait for a message.
    pub fn len(&self) -> usize {
        self.0.borrow().kept.len()
    }

    /// Whether no connection waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Runs while there is something to watch.
async fn sweep_up(idle: Weak<RefCell<Idle>>) {
    loop {
        let Some(idle) = idle.upgrade() else { return };
        let next = {
            let mut idle = idle.borrow_mut();
            while idle.kept.front().is_some_and(|k| k.until <= rt::now()) {
                idle.kept
                    .pop_front()
                    .into_iter()
                    .for_each(|k| leave(k.client));
            }
            idle.give_up_wanted();
            let next = idle.kept.front().map(|k| k.until);
            idle.swept = next.is_some();
            let counted = idle.kept.iter().any(|k| k.client.held().is_some());
            let soon = rt::now() + WANTED;
            next.map(|at| if counted { at.min(soon) } else { at })
        };
        drop(idle);
        match next {
            Some(at) => rt::sleep_until(at).await,
            None => return,
        }
    }
}

impl Idle {
    /// Takes leave of connections that other workers wait for.
    fn give_up_wanted(&mut self) {
        let wanted = |held: &Rc<Held>| held.is_wanted_elsewhere();
        let mut at = 0;
        while let Some(kept) = self.kept.get(at) {
            if kept.client.held().is_some_and(wanted) {
                self.kept
                    .remove(at)
                    .into_iter()
                    .for_each(|k| leave(k.client));
            } else {
                at += 1;
            }
        }
    }
}

fn leave(client: Client) {
    rt::spawn(client.quit()).detach();
}

/// What was wanted of TLS must be the same too: what went in the clear is not for a message that
/// must not.
pub(super) fn serves(client: &Client, target: &Target, approach: &Approach) -> bool {
    same_way(client.target(), target)
        && client.approach() == approach
        && client.speaks_for(target.route.xclient.as_ref())
}

/// What a connection must share with a target to serve it: host and name, local address and name,
/// protocol, what was demanded of TLS, and who is logged in.
fn same_way(a: &Target, b: &Target) -> bool {
    let way = |t: &Target| {
        let r = &t.route;
        (
            r.lmtp,
            r.bind,
            r.bind_helo.clone(),
            r.auth_user.clone(),
            r.auth_pass.clone(),
            r.auth_type.clone(),
            r.tls.clone(),
        )
    };
    let same_host = a.place == b.place && a.host == b.host && a.policy == b.policy;
    same_host && (Rc::ptr_eq(&a.route, &b.route) || way(a) == way(b))
}

/// Idle connections; deliveries to more hosts than that at once gain little from keeping them.
const MOST_KEPT: usize = 64;
/// Long enough for the next message of a burst, short enough that no host minds.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Between two looks at whether other workers wait for what is kept here.
const WANTED: Duration = Duration::from_millis(150);
/// Messages over one connection that counts for no destination; else its rule says how many.
const MESSAGES: u32 = 100;
