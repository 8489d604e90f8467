//! A worker process: event loop, SMTP session, hook dispatch, outbound deliveries.

pub mod dns;
pub mod hooks;
pub mod outbound;
pub mod rt;
pub mod smtp;
