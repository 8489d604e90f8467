//! Answers of hooks.

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
