//! AUTH (RFC 4954): the exchange with the client, and the plugins that know the passwords.
//!
//! `base` leads the exchange for every one of them; a plugin is a [`backend::Backend`] and says who
//! may log in and how. Clear-text passwords are [`secret::Secret`] and reach no log line.

pub mod backend;
pub mod base;
pub mod exchange;
pub mod flat_file;
mod md5_crypt;
pub mod mechanism;
mod organization;
pub mod password_hash;
pub mod secret;
mod turns;

/// auth/flat_file.
pub type FlatFile = base::AuthPlugin<flat_file::FlatFile>;
