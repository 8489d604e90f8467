//! Ways for tasks of one thread to wait for each other.
//!
//! Nothing here is shared between threads: no locks, no atomics. For results of other threads see
//! [`super::offload()`].

mod event;
pub mod mpsc;
pub mod oneshot;
mod semaphore;

pub use event::{Event, Notify};
pub use semaphore::{Permit, Semaphore};

/// The other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side of the channel is gone")]
pub struct Closed;
