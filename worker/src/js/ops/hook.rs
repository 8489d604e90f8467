//! Answers of hooks, hooks that a plugin wants after it was loaded, and being told of promises.

use std::rc::Rc;

use haraka_shared::hook::HookName;
use rquickjs::{Ctx, Object};

use super::op;
use crate::js::answer::verdict;
use crate::js::convert::Json;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let late = Rc::clone(host);
    // False if there is no such hook.
    op!(
        ctx,
        field,
        "late",
        move |plugin: u32, hook: String, method: u32| {
            let known = HookName::parse(&hook);
            if let Some(hook) = known {
                let mut all = late.late.borrow_mut();
                all.entry((plugin, hook as usize)).or_default().push(method);
            }
            known.is_some()
        }
    );
    let h = Rc::clone(host);
    // Whether time was over in this burst; what is done about it gets a little more.
    op!(ctx, field, "stopped", move || h
        .engine()
        .is_some_and(|engine| engine.stopped()));
    let h = Rc::clone(host);
    op!(ctx, field, "followPromises", move || h
        .follow_promises
        .set(true));
    let host = Rc::clone(host);
    // False if nobody waits for it any more.
    op!(
        ctx,
        field,
        "answer",
        move |call: u32, hook: String, code: u32, message: Json| {
            match HookName::parse(&hook) {
                Some(hook) => host.answer(call, verdict(hook, code, &message.0)),
                None => false,
            }
        }
    );
    Ok(())
}
