//! The SMTP wire, pure: bytes in, values out.
//!
//! Knows no socket, clock, plugin or configuration file; every limit and policy is an argument.
//! Order of reading: `line` → `command` → `params`, and `data` for what follows 354.

pub mod chunk;
pub mod command;
pub mod data;
pub mod line;
pub mod offers;
pub mod params;
pub mod proxy;
pub mod status;
