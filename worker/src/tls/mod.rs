//! TLS settings of the worker.

mod session;

pub(crate) use session::summary;
#[cfg(test)]
pub(crate) mod testing;
