//! Sessions that are taken up again (RFC 5077, RFC 8446 section 4.6.1): tickets that any worker of the
//! server made and any can read.
//!
//! The master makes the keys and sends them to all workers. They are in memory only and are never
//! shown. A ticket is bound to the settings that it was made under: one from a port where certificates
//! are taken as they are does not open a port that requires trusted ones.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use haraka_shared::ipc::TicketKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

/// Bytes of a key's name, which a ticket begins with.
const ID: usize = 16;

/// How long a client may keep a ticket, in seconds. Keys change in this time, and the one before stays.
const LIFETIME: u32 = 12 * 60 * 60;

/// Longest ticket that is looked at, in bytes; ours hold at most a chain of certificates.
const LONGEST: usize = 16 * 1024;

/// The keys of now. Shared by all ports of a worker; new ones may come at any time.
#[derive(Default)]
pub struct Keyring(RwLock<Vec<Held>>);

struct Held {
    id: [u8; ID],
    key: LessSafeKey,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

/// A new key.
///
/// # Errors
/// The system has no random numbers.
pub fn new_key() -> Result<TicketKey, std::io::Error> {
    let random = SystemRandom::new();
    let mut key = TicketKey::default();
    let none = |_| std::io::Error::other("no random numbers");
    random.fill(&mut key.id).map_err(none)?;
    random.fill(&mut key.secret).map_err(none)?;
    Ok(key)
}

impl Keyring {
    /// Takes these keys, the present one in front, in place of all others.
    pub fn replace(&self, keys: &[TicketKey]) {
        let new = keys.iter().filter_map(|key| {
            let unbound = UnboundKey::new(&CHACHA20_POLY1305, &key.secret).ok()?;
            Some(Held {
                id: key.id,
                key: LessSafeKey::new(unbound),
            })
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new.collect();
    }
}

/// Makes and reads the tickets of one kind of port.
pub(super) struct Ticketer {
    keys: Arc<Keyring>,
    /// A digest of the settings that a ticket is good for.
    scope: [u8; 32],
}

impl Ticketer {
    pub(super) fn new(keys: &Arc<Keyring>, scope: [u8; 32]) -> Ticketer {
        Ticketer {
            keys: Arc::clone(keys),
            scope,
        }
    }

    fn bound_to(&self, id: &[u8; ID]) -> Aad<Vec<u8>> {
        Aad::from([self.scope.as_slice(), id].concat())
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer")
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.0.read().unwrap_or_else(PoisonError::into_inner);
        let held = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        held.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                self.bound_to(&held.id),
                &mut sealed,
            )
            .ok()?;
        let ticket = [held.id.as_slice(), &nonce, &sealed].concat();
        (ticket.len() <= LONGEST).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        let (id, rest) = ticket.split_first_chunk::<ID>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.0.read().unwrap_or_else(PoisonError::into_inner);
        let held = keys.iter().find(|held| held.id == *id)?;
        let mut sealed = sealed.to_vec();
        let opened = held.key.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            self.bound_to(id),
            &mut sealed,
        );
        let length = opened.ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[TicketKey]) -> Arc<Keyring> {
        let keyring = Arc::new(Keyring::default());
        keyring.replace(keys);
        keyring
    }

    #[test]
    fn any_worker_with_the_key_reads_the_ticket_and_no_other() {
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        let one = Ticketer::new(&ring(std::slice::from_ref(&key)), [1; 32]);
        let two = Ticketer::new(&ring(&[other.clone(), key.clone()]), [1; 32]);
        let stranger = Ticketer::new(&ring(&[other]), [1; 32]);
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(two.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(stranger.decrypt(&ticket), None);
        assert_ne!(one.encrypt(b"session").unwrap(), ticket);
    }

    #[test]
    fn keys_change_at_run_time_and_the_one_before_still_reads() {
        let (old, new) = (new_key().unwrap(), new_key().unwrap());
        let keys = ring(std::slice::from_ref(&old));
        let ticketer = Ticketer::new(&keys, [0; 32]);
        let ticket = ticketer.encrypt(b"x").unwrap();
        keys.replace(&[new.clone(), old]);
        assert!(ticketer.decrypt(&ticket).is_some());
        assert_eq!(ticketer.encrypt(b"x").unwrap()[..ID], new.id);
        keys.replace(&[new]);
        assert_eq!(ticketer.decrypt(&ticket), None);
    }

    #[test]
    fn ticket_of_a_lenient_port_does_not_open_a_strict_one() {
        // covers TLS-08
        let keys = ring(&[new_key().unwrap()]);
        let (lenient, strict) = (Ticketer::new(&keys, [0; 32]), Ticketer::new(&keys, [1; 32]));
        let ticket = lenient.encrypt(b"x").unwrap();
        assert_eq!(strict.decrypt(&ticket), None);
    }

    #[test]
    fn changed_and_cut_tickets_are_refused_and_without_keys_there_are_none() {
        let keys = ring(&[new_key().unwrap()]);
        let ticketer = Ticketer::new(&keys, [0; 32]);
        let ticket = ticketer.encrypt(b"some session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.decrypt(&changed), None, "octet {at}");
            assert_eq!(ticketer.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        assert_eq!(ticketer.decrypt(&vec![0; LONGEST + 1]), None);
        assert_eq!(Ticketer::new(&ring(&[]), [0; 32]).encrypt(b"x"), None);
    }
}
