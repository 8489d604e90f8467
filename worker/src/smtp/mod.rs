//! Receiving mail: listener → session → commands → transaction.

mod answer;
mod commands;
mod grants;
pub(crate) mod listener;
pub mod proto;
mod proxied;
mod secure;
mod session;
pub(crate) mod sessions;
#[cfg(test)]
mod tests;
mod wire;
