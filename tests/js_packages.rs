//! Packages from npm, unmodified: each does here what it does in the real Haraka. Both servers get the
//! same configuration, the same DNS server and the same dialogues; replies, the results that the package
//! left, and the stored messages have to be the same. Skipped where `PEER_HARAKA` does not name the real
//! Haraka, beside which npm put the packages.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

#[path = "js_packages/archives.rs"]
mod archives;
#[path = "js_packages/clients.rs"]
mod clients;
#[path = "js_packages/core_objects.rs"]
mod core_objects;
#[path = "js_packages/dkim.rs"]
mod dkim;
#[path = "js_packages/elastic.rs"]
mod elastic;
#[path = "js_packages/mail.rs"]
mod mail;
#[path = "js_packages/modules.rs"]
mod modules;
#[path = "js_packages/redis.rs"]
mod redis;
#[path = "js_packages/scanners.rs"]
mod scanners;
#[path = "js_packages/services.rs"]
mod services;
#[path = "js_packages/side.rs"]
mod side;
#[path = "js_packages/site.rs"]
mod site;
