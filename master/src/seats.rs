//! Which worker process counts in which column of the table of traffic.
//!
//! A seat is one process's from its fork until it is reaped; a worker that drains keeps its own while its
//! successor has another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::ledger::Ledger;
use haraka_shared::mapping::MappingError;
use haraka_shared::traffic::{self, Counted, Seat, Traffic};

/// Seats beyond two for each worker: for restarts that overlap, and for more workers after one.
const SPARE: usize = 16;

/// Time after which a destination is forgotten that nobody asks for, and between looks for such.
const SWEEP: Duration = Duration::from_secs(600);

/// The table, and who sits where.
#[derive(Debug)]
pub struct Seats {
    traffic: Arc<Traffic>,
    /// What workers count of their items.
    pub ledger: Arc<Ledger>,
    taken: Vec<bool>,
    sweep_at: Instant,
}

impl Seats {
    /// Enough for this many workers, their successors, and some more.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(nodes: usize) -> Result<Seats, MappingError> {
        let seats = nodes.saturating_mul(2).saturating_add(SPARE).min(1024);
        Ok(Seats {
            traffic: Arc::new(Traffic::new(seats)?),
            ledger: Arc::new(Ledger::new(seats)?),
            taken: vec![false; seats],
            sweep_at: Instant::now() + SWEEP,
        })
    }

    /// A free seat. Where there is none the worker's traffic is not counted with that of the others.
    pub fn take(&mut self) -> Counted {
        let free = self.taken.iter().position(|taken| !taken);
        if let Some(taken) = free.and_then(|at| self.taken.get_mut(at)) {
            *taken = true;
        }
        Counted {
            traffic: Arc::clone(&self.traffic),
            ledger: Arc::clone(&self.ledger),
            seat: Seat(free.unwrap_or(usize::MAX)),
        }
    }

    /// The process that sat there is gone, or was never made.
    pub fn vacate(&mut self, seat: Seat) {
        if let Some(taken) = self.taken.get_mut(seat.0) {
            self.traffic.vacate(seat);
            self.ledger.vacate(seat);
            *taken = false;
        }
    }

    /// When quiet destinations are to be forgotten again.
    pub fn sweep_at(&self) -> Instant {
        self.sweep_at
    }

    /// Forgets destinations that have been quiet for a while, if it is time for that.
    pub fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP;
        let quiet = u64::try_from(SWEEP.as_micros()).unwrap_or(u64::MAX);
        let time = traffic::now();
        self.traffic.sweep(time.saturating_sub(quiet), time);
    }
}

#[cfg(test)]
mod tests {
    use haraka_shared::traffic::Key;

    use super::*;

    // covers PB-51
    #[test]
    fn no_two_processes_share_a_seat_and_a_vacated_one_counts_nothing() {
        let mut seats = Seats::new(1).unwrap();
        let all: Vec<_> = (0..2 + SPARE).map(|_| seats.take()).collect();
        for (n, counted) in all.iter().enumerate() {
            assert_eq!(counted.seat, Seat(n));
        }
        assert_eq!(seats.take().seat, Seat(usize::MAX));
        let key = Key::of("provider", "p");
        let table = &all[3].traffic;
        std::mem::forget(table.connect(Seat(3), key, 1, None, 1).unwrap());
        seats.vacate(Seat(3));
        assert_eq!(table.view(key, None, 1).unwrap().connections, 0);
        assert_eq!(seats.take().seat, Seat(3));
        seats.vacate(Seat(usize::MAX));
    }

    #[test]
    fn quiet_destinations_are_forgotten_when_it_is_time() {
        let mut seats = Seats::new(1).unwrap();
        let Counted { traffic, seat, .. } = seats.take();
        let key = Key::of("provider", "p");
        drop(traffic.connect(seat, key, 1, None, 1).unwrap());
        seats.sweep(Instant::now());
        assert!(traffic.view(key, None, 1).is_some());
        let at = seats.sweep_at();
        seats.sweep(at);
        assert!(seats.sweep_at() > at);
        // The clock of the table may not have run for that long since the machine was started.
        if traffic::now() > 700_000_000 {
            assert!(traffic.view(key, None, 1).is_none());
        }
    }
}
