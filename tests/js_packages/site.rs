//! What the scenarios share: hosts that have names, and a message.

use crate::harness::FakeDns;

/// A message that gives no check cause to complain.
pub const MESSAGE: &str = "From: Ann <ann@sender.test>\nTo: c@here.test\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: hi\nMessage-ID: <1@sender.test>\n\nbody";

/// A few hosts that have names, forwards and backwards.
pub fn names() -> FakeDns {
    let dns = FakeDns::start();
    dns.ptr("20.0.0.1", "good.sender.test")
        .ptr("20.0.0.2", "bad.sender.test")
        .ptr("20.0.0.3", "dyn-20-0-0-3.pool.test")
        .ptr("20.0.0.4", "lies.test")
        .address("good.sender.test", "20.0.0.1")
        .address("bad.sender.test", "20.0.0.2")
        .address("sender.test", "20.0.0.1")
        .address("lies.test", "20.0.0.99")
        .mx("sender.test", &[(10, "good.sender.test")])
        .null_mx("nomail.test")
        .mx("private.test", &[(10, "inside.private.test")])
        .address("inside.private.test", "10.0.0.1")
        .mx("dangling.test", &[(10, "nowhere.test")]);
    dns
}
