//! Receiving mail: listener → session → commands → transaction.

mod answer;
mod commands;
mod hook;
pub(crate) mod listener;
pub mod proto;
mod proxied;
mod secure;
mod session;
pub(crate) mod sessions;
#[cfg(test)]
mod tests;
mod wire;
