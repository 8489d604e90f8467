//! The plugins of a worker: who is asked at each hook, in which order, and what comes of it.

mod dispatch;
mod late;
pub(crate) mod lines;
mod overtime;
mod registry;
mod resolve;
#[cfg(test)]
pub(crate) mod tests;

pub use dispatch::Subject;
pub(crate) use late::LateHooks;
pub use registry::{LoadError, Loading, Registry};
