//! How much goes to each destination at this moment, counted across all workers.
//!
//! A table of atomics in memory that master and workers share; `docs/adr/0026-limits-per-destination.md`
//! says why it needs no lock and what a killed worker leaves. Knows neither settings nor hosts: it is
//! given limits with each question.

mod rate;
mod table;
mod terms;

pub use rate::Rate;
pub use table::{Lease, ROWS, Traffic};
pub use terms::{Full, Key, Seat, Slowing, View, now};

use std::sync::Arc;

use crate::ledger::Ledger;

/// The table as one worker process has it.
#[derive(Clone, Debug)]
pub struct Counted {
    /// All workers' table.
    pub traffic: Arc<Traffic>,
    /// What all workers count of their items.
    pub ledger: Arc<Ledger>,
    /// This one's column, and its page.
    pub seat: Seat,
}
