//! A worker process: event loop, SMTP session, hook dispatch, outbound deliveries.
//!
//! The master forks it, gives it its listeners and one end of a channel, and drops its privileges
//! before it reads the first byte from the network.

mod channel;
mod dial;
pub mod dns;
pub mod hooks;
mod js;
mod life;
pub mod outbound;
mod reload;
pub mod rt;
mod scheduling;
pub mod smtp;
mod surplus;
pub mod tls;
pub mod trial;
mod worker;

pub use js::compiled::{Compiled, Store};
pub use life::{
    Checked, Inspection, WorkerError, WorkerSetup, check, equip, has_scripts, hook_order,
    init_master, inspect, run,
};
