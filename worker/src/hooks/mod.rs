//! The plugins of a worker: who is asked at each hook, in which order, and what comes of it.

mod dispatch;
mod registry;

pub use dispatch::Subject;
pub use registry::{LoadError, Registry};
