//! The handlers of the native plugins, called as dispatch calls them, over services that are faked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in the functions around the tests"
)]

mod auth;
mod auth_dovecot;
mod auth_proxy;
mod auth_vpopmaild;
mod dialogue;
mod in_host_list;
mod maildir;
mod queue;
mod relay;
mod scripted;
mod site;
mod smtp_forward;
mod xclient;

/// Says that a test was skipped and why; under `CI=true` that is a failure.
#[track_caller]
fn skip(reason: &str) {
    let ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!ci, "skipped under CI: {reason}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the capture of test output.
    drop(std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("skipped {name}: {reason}\n"),
    ));
}
