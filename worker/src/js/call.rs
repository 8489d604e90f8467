//! A plugin's hooks as the dispatcher calls them: arguments go in, `next()` comes back.

use std::rc::Rc;

use haraka_shared::connection::Connection;
use haraka_shared::hook::{Call, Code, Handler, HookFuture, Verdict};
use haraka_shared::plugin::HookCx;
use rquickjs::Function;
use serde_json::{Value, json};

use super::convert::Json;
use super::engine::{Engine, ScriptError};
use super::handle::Handle;
use super::live::Kept;
use super::ops::{params, path, shown, with};
use crate::rt;

/// One plugin in the engine.
pub(super) struct Scripted {
    pub(super) engine: Rc<Engine>,
    /// The plugin's number there.
    pub(super) number: u32,
    pub(super) name: Rc<str>,
    /// Its methods, in the order of what it wants.
    pub(super) methods: Vec<Wanted>,
}

/// What runs at a hook.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// The method of this number in the engine.
    Method(u32),
    /// What the plugin has registered for the hook since it was loaded.
    Later,
}

/// One method of a plugin, which may have several for a hook.
struct Method {
    engine: Rc<Engine>,
    name: Rc<str>,
    /// The plugin's number in the engine.
    plugin: u32,
    wanted: Wanted,
}

/// Waits for an answer until it is dropped.
struct Expected {
    engine: Rc<Engine>,
    call: u32,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.engine.host.give_up(self.call);
    }
}

impl Handler for Method {
    fn call<'a>(&'a self, call: Call<'a>, cx: &'a HookCx) -> HookFuture<'a> {
        match self.wanted {
            Wanted::Method(number) => Box::pin(self.ask(number, call, cx)),
            Wanted::Later => {
                let key = (self.plugin, call.hook() as usize);
                match self.engine.host.late.borrow().get(&key).cloned() {
                    Some(methods) => Box::pin(self.ask_each(methods, call, cx)),
                    None => Box::pin(std::future::ready(Verdict::CONT)),
                }
            }
        }
    }
}

impl Handler for Scripted {
    fn call<'a>(&'a self, _call: Call<'a>, _cx: &'a HookCx) -> HookFuture<'a> {
        // Hooks are called by method.
        Box::pin(std::future::ready(Verdict::CONT))
    }

    fn method(&self, index: usize) -> Option<Rc<dyn Handler>> {
        Some(Rc::new(Method {
            engine: Rc::clone(&self.engine),
            name: Rc::clone(&self.name),
            plugin: self.number,
            wanted: *self.methods.get(index)?,
        }))
    }

    fn shutdown(&self) {
        let what = format!("{}.shutdown", self.name);
        self.engine.tell(&what, |_, bridge| {
            let shutdown: Function<'_> = bridge.get("shutdown")?;
            shutdown.call((self.number,))
        });
    }
}

impl Method {
    /// In order, up to the first that has an answer.
    async fn ask_each(&self, methods: Vec<u32>, call: Call<'_>, cx: &HookCx) -> Verdict {
        for method in methods {
            let verdict = self.ask(method, call, cx).await;
            if verdict.code != Code::Cont {
                return verdict;
            }
        }
        Verdict::CONT
    }

    async fn ask(&self, number: u32, call: Call<'_>, cx: &HookCx) -> Verdict {
        let engine = &self.engine;
        let hook = call.hook();
        if matches!(call, Call::DataPost(())) {
            read_texts(engine, cx).await;
        }
        // A line that a script logs comes back here for the plugins of the log hook.
        while engine.busy() {
            rt::yield_now().await;
        }
        let expected = Expected {
            engine: Rc::clone(engine),
            call: engine.host.expect_answer(),
        };
        let what = format!("Plugin {} on hook {}", self.name, hook.name());
        let called = engine.enter(&what, |_, bridge| {
            let (kind, owner, handle) = subject(engine, cx);
            let run: Function<'_> = bridge.get("run")?;
            run.call::<_, ()>((
                number,
                expected.call,
                hook.name(),
                kind,
                owner,
                handle,
                Json(arguments(call, cx)),
            ))
        });
        match called {
            Ok(()) => engine.host.answered(expected.call).await,
            Err(ScriptError::Stopped(_)) => Verdict::deny_soft("plugin stopped"),
            Err(e) => {
                engine.host.log_failure(&format!("{what}: {e}"));
                Verdict::CONT
            }
        }
    }
}

/// Reads the texts of a message on disk, so that no script waits for the disk.
async fn read_texts(engine: &Engine, cx: &HookCx) {
    let Some(txn) = cx.transaction() else { return };
    let on_disk = txn.body.borrow().on_disk();
    let (Some(tree), true) = (txn.mime(), on_disk) else {
        return;
    };
    let most = usize::try_from(engine.host.limits.file).unwrap_or(usize::MAX);
    // What cannot be read now is said when a script asks for it.
    cx.blocking(move || drop(tree.load_texts(most))).await;
}

/// Whom the hook is about, as `haraka/hooks.js` tells it: the kind, the number, and the handle where
/// the engine does not have an object for it yet.
fn subject(engine: &Rc<Engine>, cx: &HookCx) -> (u8, u32, Option<Handle>) {
    const SERVER: u8 = 0;
    const CONNECTION: u8 = 1;
    const DELIVERY: u8 = 2;
    if let Some(connection) = &cx.connection {
        let (number, new) = number_of(engine, connection);
        let handle = new.then(|| Handle::Connection(connection.clone()));
        return (CONNECTION, number, handle);
    }
    match &cx.delivery {
        Some(item) => (DELIVERY, 0, Some(Handle::Delivery(item.clone()))),
        None => (SERVER, 0, None),
    }
}

fn number_of(engine: &Rc<Engine>, connection: &Connection) -> (u32, bool) {
    let known = connection.companion.borrow().as_ref().map(|c| c.number());
    if let Some(number) = known {
        return (number, false);
    }
    let number = engine.host.number();
    *connection.companion.borrow_mut() = Some(Box::new(Rc::new(Kept {
        host: Rc::downgrade(&engine.host),
        number,
    })));
    (number, true)
}

/// What the hook is called with besides its subject, as plain data.
fn arguments(call: Call<'_>, cx: &HookCx) -> Value {
    match call {
        Call::Helo(host) | Call::Ehlo(host) => host.into(),
        Call::QueueOk(text) => text.into(),
        Call::Mail(p) if p.params.is_empty() => Value::Null,
        Call::Mail(p) => params(&p.params),
        Call::Rcpt(p) => {
            let count = cx.transaction().map(|txn| txn.rcpt_count.total());
            json!({ "address": path(p), "count": count })
        }
        Call::RcptOk(address) => shown(address),
        Call::UnrecognizedCommand(command) => json!([command.verb, command.rest]),
        Call::Deny(denial) => {
            let message = denial.verdict.message.text();
            json!([
                denial.verdict.code as u32,
                message,
                &*denial.plugin,
                &*denial.method,
                null,
                denial.hook.name(),
            ])
        }
        Call::Log(line) => json!({ "level": line.level.name(), "data": line.text, "obj": {} }),
        Call::GetMx(item) => item.domain.clone().into(),
        Call::Deferred(d) => {
            let rcpts: Value = d.recipients.iter().map(shown).collect();
            json!({ "delay": d.delay, "err": d.error, "fail_recips": rcpts })
        }
        Call::Bounce(b) => {
            let rcpts: Vec<Value> = b
                .recipients
                .iter()
                .map(|(address, reply)| with(shown(address), "reason", reply.clone().into()))
                .collect();
            let mx =
                b.mx.as_ref()
                    .map(|r| json!({ "exchange": r.host.to_string(), "port": r.port() }));
            json!({ "message": b.error, "mx": mx, "bounced_rcpt": rcpts, "deferred_rcpt": [] })
        }
        Call::DeliveredOk(d) => {
            let rcpts: Value = d.recipients.iter().map(shown).collect();
            json!([
                d.host,
                d.ip,
                d.response,
                d.delay,
                d.port,
                d.mode,
                rcpts,
                d.secured,
                d.authenticated
            ])
        }
        _ => Value::Null,
    }
}
