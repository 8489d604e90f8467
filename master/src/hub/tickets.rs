//! The keys of TLS tickets: made here, the same for all workers, changed twice a day. They are in
//! memory only, and nothing shows them.

use std::time::{Duration, Instant};

use haraka_shared::ipc::TicketKey;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_worker::tls::new_key;

/// How long tickets are made with a key; for as long again they are read.
const PERIOD: Duration = Duration::from_secs(12 * 60 * 60);

/// The present key and the one before.
#[derive(Debug)]
pub struct Tickets {
    keys: Vec<TicketKey>,
    change_at: Instant,
}

impl Tickets {
    /// A first key. Without random numbers there is none, and no tickets.
    pub fn new(now: Instant) -> Tickets {
        let mut tickets = Tickets {
            keys: Vec::new(),
            change_at: now,
        };
        tickets.change(now);
        tickets
    }

    /// The keys, the present one in front.
    pub fn keys(&self) -> Vec<TicketKey> {
        self.keys.clone()
    }

    /// When the next key is due.
    pub fn change_at(&self) -> Instant {
        self.change_at
    }

    /// Makes the next key if it is due. Whether it has.
    pub fn change(&mut self, now: Instant) -> bool {
        if now < self.change_at {
            return false;
        }
        self.change_at = now + PERIOD;
        match new_key() {
            Ok(key) => {
                self.keys.insert(0, key);
                self.keys.truncate(2);
                true
            }
            Err(e) => {
                log_server!(Level::Error, "no new key for TLS tickets: {e}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_serves_half_a_day_and_is_read_for_another() {
        let start = Instant::now();
        let mut tickets = Tickets::new(start);
        let first = tickets.keys();
        assert_eq!(first.len(), 1);
        assert!(!tickets.change(start + PERIOD - Duration::from_secs(1)));
        assert!(tickets.change(start + PERIOD));
        let second = tickets.keys();
        assert_eq!((second.len(), &second[1]), (2, &first[0]));
        assert!(tickets.change(tickets.change_at()));
        let third = tickets.keys();
        assert_eq!((third.len(), &third[1]), (2, &second[0]));
        assert!(!third.contains(&first[0]));
    }
}
