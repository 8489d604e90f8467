//! Answers of hooks, hooks that a plugin wants after it was loaded, and being told of promises.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::HookName;
use haraka_shared::plugin::Registration;
use rquickjs::{Ctx, Exception, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::answer::verdict;
use crate::js::call::Method;
use crate::js::convert::Json;
use crate::js::host::Host;
use crate::js::parent::{Asked, fits};

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    // Nothing, or why not.
    op!(
        ctx,
        field,
        "late",
        move |plugin: String, hook: String, called: String, seconds: f64, method: u32| {
            late(&h, &plugin, &hook, &called, seconds, method).err()
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
    let parents = Rc::clone(host);
    // A native plugin to inherit from: its number and what it wants; nothing if there is none.
    op!(
        ctx,
        field,
        "parent",
        move |ctx: Ctx<'_>, name: String| match parents.parents.load(&parents, &name) {
            Ok(found) => Ok(Json(found.map_or(Value::Null, |(number, parent)| {
                json!({ "number": number, "wants": wanted(&parent) })
            }))),
            Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
        }
    );
    let asks = Rc::clone(host);
    // False if the hook call is over, or is one of a hook that the method cannot run at.
    op!(
        ctx,
        field,
        "askParent",
        move |call: u32, request: u32, parent: usize, hook: String, running: String| {
            let hooks = (HookName::parse(&hook), HookName::parse(&running));
            let (Some(hook), Some(running)) = hooks else {
                return false;
            };
            let asked = Asked {
                request,
                parent,
                hook,
            };
            fits(hook, running) && asks.ask_parent(call, asked)
        }
    );
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

/// Registers a method of a plugin that was loaded already.
fn late(
    host: &Rc<Host>,
    plugin: &str,
    hook: &str,
    called: &str,
    seconds: f64,
    number: u32,
) -> Result<(), String> {
    let known = HookName::parse(hook).ok_or_else(|| format!("there is no hook {hook}"))?;
    let engine = host.engine().ok_or("the engine ends")?;
    let limit = Duration::try_from_secs_f64(seconds).ok();
    let method = Method {
        engine,
        name: Rc::from(plugin),
        number,
        what: OnceCell::new(),
    };
    let limit = limit.filter(|limit| !limit.is_zero());
    let added = host.late.add(known, plugin, called, limit, Rc::new(method));
    added.map_err(|e| format!("hook {hook}: {e}"))
}

/// The hooks of a native plugin: name, method and priority.
fn wanted(parent: &Registration) -> Value {
    let wants = parent.wants.iter();
    wants
        .map(|(wants, method)| json!([wants.hook.name(), &**method, wants.priority]))
        .collect()
}
