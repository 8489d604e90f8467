//! Which worker process counts in which column of the table of traffic.
//!
//! A seat is one process's from its fork until it is reaped; a worker that drains keeps its own while its
//! successor has another.

use std::sync::Arc;

use haraka_shared::mapping::MappingError;
use haraka_shared::traffic::{Counted, Seat, Traffic};

/// Seats beyond two for each worker: for restarts that overlap, and for more workers after one.
const SPARE: usize = 16;

/// The table, and who sits where.
#[derive(Debug)]
pub struct Seats {
    traffic: Arc<Traffic>,
    taken: Vec<bool>,
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
            taken: vec![false; seats],
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
            seat: Seat(free.unwrap_or(usize::MAX)),
        }
    }

    /// The process that sat there is gone, or was never made.
    pub fn vacate(&mut self, seat: Seat) {
        if let Some(taken) = self.taken.get_mut(seat.0) {
            self.traffic.vacate(seat);
            *taken = false;
        }
    }

    /// The table.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
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
}
