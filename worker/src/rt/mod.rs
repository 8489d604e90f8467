//! The worker's runtime: one thread, tasks over `async-task`, readiness over mio.
//!
//! Owns everything that waits: sockets, timers, jobs on other threads. It is the only folder that
//! imports mio, and it knows nothing of mail. Make a [`Runtime`] after the fork, never in the
//! master: an epoll instance is shared across a fork and the two processes would corrupt each
//! other's registrations.
//!
//! A turn: main future → tasks (at most 256) → events → timers. Wait for readiness first and take
//! a [`Buffer`] second; give it back before the next wait.

pub mod buffer;
mod clock;
mod executor;
mod guard;
pub mod library;
mod listener;
mod net;
mod offload;
mod reactor;
mod socket;
mod stream;
pub mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod timer;
mod tls;
mod watched;

pub use buffer::Buffer;
pub use clock::{now, precise_now};
pub use executor::{Task, TaskError, spawn, yield_now};
pub use guard::{Guarded, Panicked, catch};
pub use listener::{TcpListener, UnixListener};
pub use net::{TcpStream, UnixStream};
pub use offload::{OffloadError, offload};
pub use socket::Socket;
pub use stream::Stream;
pub use timer::{Deadline, Elapsed, Timeout, sleep, sleep_until, timeout, timeout_at};
pub use tls::HandshakeError;
pub use watched::Watched;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use executor::Core;

/// The event loop of a thread. Dropping it drops all tasks that are not done.
///
/// The free functions of this module (`spawn`, `sleep`, …) and all sockets use the runtime of the
/// thread they are called on.
pub struct Runtime {
    core: Rc<Core>,
}

impl Runtime {
    /// Makes this thread's runtime. Fails if the thread has one already, or if the process is out
    /// of descriptors (it takes two).
    pub fn new() -> io::Result<Runtime> {
        Runtime::with_clock(false)
    }

    /// A runtime for tests whose time does not pass by itself: whenever nothing is ready, the
    /// clock jumps to the next timer. It stands still while an [`offload()`] is under way. Other
    /// threads and processes keep real time, so do not wait for them here next to a timer.
    pub fn with_virtual_clock() -> io::Result<Runtime> {
        Runtime::with_clock(true)
    }

    /// Runs `future`, and all tasks beside it, until `future` is done.
    ///
    /// A panic in `future` itself is not caught. Ends the process if the kernel refuses to wait
    /// for events: a worker without its event loop can only be replaced.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let main = self.core.main_waker();
        let waker = Waker::from(Arc::clone(&main));
        let mut cx = Context::from_waker(&waker);
        loop {
            if main.woken.swap(false, Ordering::AcqRel) {
                self.core.refill_budget();
                if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
                    return value;
                }
            }
            self.core.run_ready();
            if let Err(e) = self.core.park(&main.woken) {
                log::error!("waiting for events failed: {e}");
                std::process::abort();
            }
        }
    }

    fn with_clock(simulated: bool) -> io::Result<Runtime> {
        guard::record_places();
        Ok(Runtime {
            core: Core::install(simulated)?,
        })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.core.uninstall();
    }
}
