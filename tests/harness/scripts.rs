//! Servers with a plugin in JavaScript that the test wrote, and the mail that such a test sends.

use super::{Install, Server, greeted};

/// The smallest message with a subject.
pub const MESSAGE: &str = "Subject: hi\r\n\r\nbody\r\n";

/// A server whose first plugin is this script.
#[track_caller]
pub fn server_with(script: &str) -> Server {
    Server::start(install_with(script))
}

/// An install directory whose first plugin, `mine`, is this script; recipients of `here.test` are
/// accepted, and what comes for them is stored.
pub fn install_with(script: &str) -> Install {
    Install::new().file("plugins/mine.js", script).plugins(&[
        "mine",
        "rcpt_to.in_host_list",
        "queue/test",
    ])
}

/// Sends a message, which must be accepted.
#[track_caller]
pub fn send(server: &Server, message: &str) {
    greeted(server)
        .send_mail("a@b.test", &["c@here.test"], message)
        .expect(250);
}

/// Sends a message and gives what was stored.
#[track_caller]
pub fn stored(server: &Server, message: &str) -> String {
    send(server, message);
    String::from_utf8(server.install().stored().remove(0)).unwrap()
}

/// One message goes through; the workers are those that were there before.
#[track_caller]
pub fn serves(server: &Server, workers: &[i32]) {
    send(server, MESSAGE);
    assert_eq!(server.worker_pids(), workers, "the worker was replaced");
}
