//! The runtime's behaviour as its users see it.

mod executor;
mod library;
mod net;
mod offload;
mod sync;
mod timer;
mod tls;

use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use super::{Runtime, timeout};

/// Long enough for a loaded machine; reached only by a test that fails.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Runs `future` on a runtime of its own, failing instead of hanging.
pub fn run<F: Future>(future: F) -> F::Output {
    let rt = Runtime::new().unwrap();
    rt.block_on(timeout(LIMIT, future)).expect("the test hangs")
}

/// Runs `future` with the time under control of the timers.
pub fn run_virtual<F: Future>(future: F) -> F::Output {
    Runtime::with_virtual_clock().unwrap().block_on(future)
}

/// A listener of the standard library on a free port.
pub fn std_listener() -> (StdListener, SocketAddr) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Whether anything logged so far contains `text`.
pub fn was_logged(text: &str) -> bool {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().any(|l| l.contains(text))
}

/// What was logged so far with this text in it.
pub fn logged(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|l| l.contains(text)).cloned().collect()
}

/// Keeps what is logged at level error from now on.
pub fn keep_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keeper).expect("these tests own the logger");
        log::set_max_level(log::LevelFilter::Error);
    });
}

struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(record.args().to_string());
    }

    fn flush(&self) {}
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
