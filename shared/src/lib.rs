//! What every part of Haraka agrees on: configuration, hooks, messages, spool, IPC, logging.
//!
//! Nothing here knows a socket, an event loop or a script engine. Read `docs/architecture.md` first.

pub mod address;
pub mod asks;
mod auth_results;
pub mod body;
pub mod config;
pub mod connection;
pub mod core_results;
pub mod date;
pub mod delivery;
pub mod dial;
pub mod dsn;
mod escapes;
pub mod flight;
pub mod header;
pub mod hook;
pub mod ipc;
pub mod ledger;
pub mod limits;
pub mod live;
pub mod log;
pub mod mapping;
pub mod message_stream;
pub mod mime;
pub mod net;
pub mod no_tls;
pub mod notes;
pub mod plugin;
pub mod queue_order;
pub mod reply;
pub mod resident;
pub mod results;
pub mod route;
pub mod services;
pub mod shaping;
pub mod spool;
pub mod stuffing;
pub mod tls;
pub mod traffic;
pub mod transaction;
pub mod usage;
pub mod waiting;
