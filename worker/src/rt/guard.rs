//! Catching a panic at the future that raised it.
//!
//! Every spawned task is wrapped in a [`Guarded`], and a caller that must answer for a panic (a
//! session with its 421, a hook with a soft failure) wraps the inner future in one as well.
//! It must never let a panic pass, neither from `poll` nor from dropping the future.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Code under a guard panicked; holds the message and, where known, the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(Box<str>);

impl Panicked {
    /// Makes the error from what `catch_unwind` caught on this thread.
    pub(super) fn from_payload(payload: &(dyn Any + Send)) -> Panicked {
        let text = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no message)");
        match LAST_PLACE.with(RefCell::take) {
            Some(place) => Panicked(format!("{text} at {place}").into()),
            None => Panicked(text.into()),
        }
    }
}

/// Runs `future` so that a panic inside it becomes an error here.
///
/// The future's own state is dropped at once when it panics.
pub fn catch<F: Future>(future: F) -> Guarded<F> {
    Guarded {
        future: Some(future),
    }
}

pin_project! {
    /// The future returned by [`catch`].
    pub struct Guarded<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            if let Err(panicked) = guarded(|| future.set(None)) {
                log::error!("dropping a task {panicked}");
            }
        }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let polled = guarded(|| {
            let polled = future.as_mut().as_pin_mut().map(|f| f.poll(cx));
            if !matches!(polled, Some(Poll::Pending)) {
                future.set(None);
            }
            polled
        });
        match polled {
            Ok(Some(Poll::Pending)) => Poll::Pending,
            Ok(Some(Poll::Ready(value))) => Poll::Ready(Ok(value)),
            Ok(None) => Poll::Ready(Err(Panicked("polled after it was done".into()))),
            Err(panicked) => {
                if let Err(again) = guarded(|| future.set(None)) {
                    log::error!("dropping a task that panicked {again}");
                }
                Poll::Ready(Err(panicked))
            }
        }
    }
}

/// Calls `f` and turns a panic into an error that knows its place.
pub(super) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, Panicked> {
    DEPTH.with(|d| d.set(d.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.with(|d| d.set(d.get().saturating_sub(1)));
    result.map_err(|payload| Panicked::from_payload(payload.as_ref()))
}

/// Makes the process remember where a guarded panic happened; the earlier hook still runs.
///
/// A caught payload does not carry the place, and a daemon's standard error goes nowhere.
pub(super) fn record_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let guarded = DEPTH.try_with(Cell::get).unwrap_or(0) > 0;
            if let (true, Some(place)) = (guarded, info.location()) {
                let _ = LAST_PLACE.try_with(|l| l.replace(Some(place.to_string())));
            }
            earlier(info);
        }));
    });
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}
