//! The plugins of a worker: who is asked at each hook, in which order, and what comes of it.

mod dispatch;
pub(crate) mod lines;
mod overtime;
mod registry;
mod resolve;
#[cfg(test)]
pub(crate) mod tests;

pub use dispatch::Subject;
pub use registry::{LoadError, Loading, Registry};
