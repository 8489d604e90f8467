//! The handlers of the native plugins, called as dispatch calls them, over services that are faked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in the functions around the tests"
)]

mod auth;
mod auth_back_ends;
mod auth_ldap;
mod in_host_list;
mod lmtp;
mod maildir;
mod quarantine;
mod queue;
mod relay;
mod script;
mod site;
mod smtp_forward;
mod xclient;
