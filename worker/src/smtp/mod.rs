//! Receiving mail: listener → session → commands → transaction.

mod commands;
pub(crate) mod listener;
pub mod proto;
mod session;
pub(crate) mod sessions;
#[cfg(test)]
mod tests;
mod wire;
