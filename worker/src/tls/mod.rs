//! TLS as it is set up: certificates and keys, what of TLS is spoken, tickets. Sessions are made from
//! what [`Contexts`] gives; nothing here has a socket.
//!
//! - `contexts.rs`: all of it together, made anew when a file changes
//! - `pem.rs`, `credential.rs`: files into keys and certificates that belong together
//! - `store.rs`: the certificates that tls.ini names, and those of the directory `config/tls`
//! - `names.rs`: which certificate a client gets
//! - `suites.rs`: versions, ciphers and groups
//! - `client_auth.rs`, `trust.rs`: certificates of clients, and what is to be thought of them
//! - `judged.rs`: client sessions of scripts, whose server is judged and not refused
//! - `peer.rs`: a certificate as plugins and log lines see it
//! - `session.rs`: a session as log lines and plugins see it
//! - `client.rs`: the other direction, towards other servers
//! - `signatures.rs`: what all verifiers of servers have in common
//! - `ocsp.rs`: responses that are stapled
//! - `tickets.rs`: sessions that are taken up again, by any worker
//! - `follow.rs`: keeps the contexts fresh while the worker runs

mod client;
mod client_auth;
mod contexts;
mod credential;
#[cfg(test)]
pub(crate) mod ends;
mod follow;
mod judged;
mod names;
mod ocsp;
mod peer;
mod pem;
mod remark;
mod session;
mod signatures;
mod store;
mod suites;
#[cfg(test)]
pub(crate) mod testing;
mod tickets;
mod trust;

pub use client::{Beginning, Host, Judge, Kit};
pub use contexts::{Contexts, Source};
pub use credential::Credential;
pub use follow::Prepared;
pub(crate) use follow::{Tls, start};
pub(crate) use judged::Wanted;
pub use names::Names;
pub use peer::describe;
pub use remark::Remark;
pub(crate) use session::summary;
pub(crate) use signatures::signatures;
pub use store::from_files;
pub use suites::{provider, versions};
pub use tickets::{Keyring, new_key};
pub use trust::{Trust, system_roots};
