//! Sessions over a socket pair, on a clock that only timers move.

mod auth;
mod bdat;
mod bdat_random;
mod bodies;
mod committing;
mod early;
mod ending;
mod esmtp;
mod limits;
mod lines;
mod log_hook;
mod log_lines;
mod message;
mod outbound_hooks;
mod pipelining;
mod proxied;
mod replies;
mod rig;
mod smuggling;
mod start;
mod tls;
mod verdicts;
