//! Sessions over a socket pair, on a clock that only timers move.

mod bodies;
mod early;
mod ending;
mod limits;
mod lines;
mod log_hook;
mod log_lines;
mod message;
mod pipelining;
mod replies;
mod rig;
mod start;
mod verdicts;
