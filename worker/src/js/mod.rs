//! Plugins written in JavaScript: one QuickJS engine per worker, started when the first is loaded.
//!
//! The only folder that knows rquickjs. `engine` enters and leaves the engine and limits what scripts
//! take, `plugin` and `call` make them plugins like any other, `ops/` is what they can ask of the native
//! side, `boot.js`, `node/` and `haraka/` are the scripts that turn this into Node's modules and Haraka's
//! objects. Must never run a script where sessions wait for more than a moment: see `limits`.

mod answer;
mod burst;
mod call;
mod code;
pub(crate) mod compiled;
#[cfg(test)]
mod compiled_tests;
#[cfg(test)]
mod conformance;
mod convert;
mod engine;
mod finding;
mod handle;
#[cfg(test)]
mod header_address_tests;
mod heap;
mod host;
#[cfg(test)]
mod known_file_tests;
mod late_answers;
mod limits;
mod live;
mod modules;
mod opaque;
mod ops;
mod parent;
pub(crate) mod places;
mod plugin;
mod rejections;
mod resolve;
mod rewrite;
#[cfg(test)]
mod rewrite_tests;
mod scan;
#[cfg(test)]
mod script_tests;
mod sources;
#[cfg(test)]
mod tests;
mod watchdog;

pub(crate) use code::Origin;
pub use engine::ScriptError;
pub(crate) use plugin::Scripts;
