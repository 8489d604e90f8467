//! Libraries that need tokio, run beside our runtime.
//!
//! One background thread per process drives tokio's sockets and timers. It starts with the first
//! use, so a worker that needs no such library has no such thread. The library's futures are
//! polled by our own executor, with tokio's handle entered; what they wait for is noticed on the
//! driver thread, whose wakes reach us through the bell. SMTP traffic never goes this way.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread;

use nix::sys::signal::SigSet;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

/// Makes `future` run on this thread with tokio's driver within its reach. Tasks that it spawns
/// with `tokio::spawn` run on the driver thread. Call the library inside of `future` (an `async`
/// block): some look for the driver when a future is made, not only when it is polled.
///
/// Fails if the driver thread cannot be started.
pub fn run<F: Future>(future: F) -> io::Result<Run<F>> {
    Ok(Run {
        future: Some(future),
        handle: handle()?,
    })
}

/// The driver's handle, to [`enter`](Handle::enter) where a library is set up outside of a future
/// or to spawn on the driver thread. Starts the driver.
pub fn handle() -> io::Result<Handle> {
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*driver {
        return Ok(handle.clone());
    }
    let handle = start()?;
    *driver = Some(handle.clone());
    Ok(handle)
}

pin_project! {
    /// The future of [`run`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Run<F> {
        #[pin]
        future: Option<F>,
        handle: Handle,
    }

    impl<F> PinnedDrop for Run<F> {
        fn drop(this: Pin<&mut Self>) {
            // What the future owns may ask for its driver while it is dropped.
            let mut this = this.project();
            let _entered = this.handle.enter();
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.handle.enter();
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            // Only `drop` empties it.
            None => Poll::Pending,
        }
    }
}

fn start() -> io::Result<Handle> {
    let (report, started) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("library".into())
        .stack_size(STACK)
        .spawn(move || {
            // Signals are for the threads that wait for them.
            let _ = SigSet::all().thread_block();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Err(e) => {
                    let _ = report.send(Err(e));
                }
                Ok(runtime) => {
                    let _ = report.send(Ok(runtime.handle().clone()));
                    runtime.block_on(std::future::pending::<()>());
                }
            }
        })?;
    started
        .recv()
        .map_err(|_| io::Error::other("the library thread ended while starting"))?
}

static DRIVER: Mutex<Option<Handle>> = Mutex::new(None);

/// Address space, not memory: libraries spawn futures of their own size there.
const STACK: usize = 1024 * 1024;
