//! AUTH (RFC 4954): the exchange with the client, and the plugins that know the passwords.
//!
//! `base` leads the exchange for every one of them; a plugin is a [`backend::Backend`] and says who
//! may log in and how. Clear-text passwords are [`secret::Secret`] and reach no log line.

mod auth_bridge;
mod auth_ldap;
mod auth_proxy;
mod auth_vpopmaild;
pub mod backend;
pub mod base;
mod dovecot;
pub mod exchange;
pub mod flat_file;
mod ldap;
mod md5_crypt;
pub mod mechanism;
mod organization;
pub mod password_hash;
mod patience;
pub mod secret;
mod smtp_login;
mod turns;

/// auth/flat_file.
pub type FlatFile = base::AuthPlugin<flat_file::FlatFile>;
/// auth/auth_bridge.
pub type AuthBridge = base::AuthPlugin<auth_bridge::AuthBridge>;
/// auth-ldap.
pub type AuthLdap = base::AuthPlugin<auth_ldap::AuthLdap>;
/// auth/auth_proxy.
pub type AuthProxy = base::AuthPlugin<auth_proxy::AuthProxy>;
/// auth/auth_vpopmaild.
pub type AuthVpopmaild = base::AuthPlugin<auth_vpopmaild::AuthVpopmaild>;
/// auth/dovecot.
pub type Dovecot = base::AuthPlugin<dovecot::Dovecot>;
