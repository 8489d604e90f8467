//! The one way in which scripts hold what is ours: a value that only ops can look into.
//!
//! Must never hold script values: the engine's collector does not look inside.

use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::Constructor;
use rquickjs::{Ctx, JsLifetime};

/// `T` in a script's hands. It is dropped when no script holds it any more.
pub(super) struct Opaque<T>(pub(super) T);

#[allow(unsafe_code)]
// SAFETY: `T` outlives every engine, so it has no lifetime of one, and the type is the same in all.
unsafe impl<'js, T: 'static> JsLifetime<'js> for Opaque<T> {
    type Changed<'to> = Opaque<T>;
}

impl<'js, T: 'static> Trace<'js> for Opaque<T> {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

impl<'js, T: 'static> JsClass<'js> for Opaque<T> {
    const NAME: &'static str = "Opaque";
    type Mutable = Readable;
    // Scripts cannot make one; ops give them.
    fn constructor(_ctx: &Ctx<'js>) -> rquickjs::Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}
