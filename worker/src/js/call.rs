//! A plugin's hooks as the dispatcher calls them: arguments go in, `next()` comes back.

use std::cell::OnceCell;
use std::rc::Rc;

use haraka_shared::connection::Connection;
use haraka_shared::delivery::MailHost;
use haraka_shared::hook::{Call, Handler, HookFuture, HookName, Message, Path, Verdict};
use haraka_shared::plugin::HookCx;
use haraka_shared::spool::Recipient;
use haraka_shared::transaction::Transaction;
use rquickjs::Function;
use serde_json::{Value, json};

use super::answer;
use super::convert::Json;
use super::engine::{Engine, ScriptError};
use super::handle::Handle;
use super::host::Heard;
use super::late_answers::Queueing;
use super::live::{self, Kept};
use super::ops::{params, path, recipient, shown, with};
use super::parent;
use crate::rt;

/// One plugin in the engine.
pub(super) struct Scripted {
    pub(super) engine: Rc<Engine>,
    /// The plugin's number there.
    pub(super) number: u32,
    pub(super) name: Rc<str>,
    /// The numbers of its methods, in the order of what it wants.
    pub(super) methods: Vec<u32>,
}

/// One method of a plugin, which may have several for a hook.
pub(super) struct Method {
    pub(super) engine: Rc<Engine>,
    pub(super) name: Rc<str>,
    /// Its number in the engine.
    pub(super) number: u32,
    /// What calling it is called in log lines, once it was called: it has one hook.
    pub(super) what: OnceCell<String>,
}

/// Waits for an answer until it is dropped.
struct Expected {
    engine: Rc<Engine>,
    call: u32,
    /// Whose answer would be worth a word even when nobody waits any more.
    queueing: Option<Queueing>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let host = &self.engine.host;
        if !host.give_up(self.call)
            && let Some(queueing) = self.queueing.take()
        {
            host.late_answers.borrow_mut().expect(self.call, queueing);
        }
    }
}

impl Handler for Method {
    fn call<'a>(&'a self, call: Call<'a>, cx: &'a HookCx) -> HookFuture<'a> {
        Box::pin(self.ask(self.number, call, cx))
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
            number: *self.methods.get(index)?,
            what: OnceCell::new(),
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
    fn what(&self, hook: HookName) -> &str {
        let make = || format!("Plugin {} on hook {}", self.name, hook.name());
        self.what.get_or_init(make)
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
        let mut expected = Expected {
            engine: Rc::clone(engine),
            call: engine.host.expect_answer(),
            queueing: Queueing::of(hook, cx),
        };
        let what = self.what(hook);
        let called = engine.enter(what, |_, bridge| {
            let (about, owner, handle) = subject(engine, hook, cx);
            let run: Function<'_> = bridge.get("run")?;
            run.call::<_, Option<u32>>((
                number,
                expected.call,
                about,
                owner,
                handle,
                Json(arguments(call, cx)),
            ))
        });
        match called {
            Ok(Some(code)) => {
                expected.queueing = None;
                answer::verdict(hook, code, &Value::Null)
            }
            Ok(None) => self.answered(expected.call, call, cx).await,
            Err(ScriptError::Stopped(_)) => Verdict::deny_soft("plugin stopped"),
            Err(e) => {
                engine.host.log_failure(&format!("{what}: {e}"));
                Verdict::CONT
            }
        }
    }
}

impl Method {
    /// Waits for the answer, and runs what the script wants of a native plugin until then.
    async fn answered(&self, number: u32, call: Call<'_>, cx: &HookCx) -> Verdict {
        let engine = &self.engine;
        loop {
            let asked = match engine.host.answered(number).await {
                Heard::Verdict(verdict) => return verdict,
                Heard::Parent(asked) => asked,
            };
            let verdict = match (
                engine.host.parents.get(asked.parent),
                parent::call_for(asked.hook, call),
            ) {
                (Some(parent), Some(call)) => parent.handler.call(call, cx).await,
                _ => Verdict::CONT,
            };
            while engine.busy() {
                rt::yield_now().await;
            }
            let what = self.what(call.hook());
            let (code, message) = parent::said(&verdict);
            engine.tell(what, |_, bridge| {
                let said: Function<'_> = bridge.get("parentSaid")?;
                said.call((asked.request, code, Json(message)))
            });
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

/// Whom the hook is about, as `haraka/hooks.js` tells it: the kind with what is new about it, the number,
/// and the handle where the engine does not have an object for it yet.
fn subject(engine: &Rc<Engine>, hook: HookName, cx: &HookCx) -> (u32, u32, Option<Handle>) {
    const SERVER: u32 = 0;
    const CONNECTION: u32 = 1;
    const DELIVERY: u32 = 2;
    if let Some(connection) = &cx.connection {
        let known = live::kept(connection, |k| (k.number, k.news(connection, hook)));
        let handle = known
            .is_none()
            .then(|| Handle::Connection(connection.clone()));
        let (number, news) = known.unwrap_or_else(|| keep(engine, hook, connection));
        return (CONNECTION | news, number, handle);
    }
    match &cx.delivery {
        Some(item) => (DELIVERY, 0, Some(Handle::Delivery(item.clone()))),
        None => (SERVER, 0, None),
    }
}

/// A script sees the connection for the first time.
fn keep(engine: &Engine, hook: HookName, connection: &Connection) -> (u32, u32) {
    let kept = Kept::new(&engine.host, engine.host.number());
    let told = (kept.number, kept.news(connection, hook));
    *connection.companion.borrow_mut() = Some(Box::new(Rc::new(kept)));
    told
}

/// What the hook is called with besides its subject, as plain data.
fn arguments(call: Call<'_>, cx: &HookCx) -> Value {
    match call {
        Call::Helo(host) | Call::Ehlo(host) => host.into(),
        Call::QueueOk(text) => text.into(),
        Call::Mail(p) if p.params.is_empty() => Value::Null,
        Call::Mail(p) => params(&p.params),
        Call::Rcpt(p) => {
            let txn = cx.transaction();
            let count = txn.as_ref().map(|txn| txn.rcpt_count.total());
            match is_last(txn.as_ref(), |last| last == p) {
                true => count.into(),
                false => json!({ "address": path(p), "count": count }),
            }
        }
        Call::RcptOk(address) => {
            match is_last(cx.transaction().as_ref(), |last| last.address == *address) {
                true => Value::Null,
                false => shown(address),
            }
        }
        Call::UnrecognizedCommand(command) => json!([command.verb, command.rest]),
        Call::Deny(denial) => {
            let message = match &denial.verdict.message {
                Message::Seconds(seconds) => json!(seconds),
                other => json!(other.text()),
            };
            json!([
                denial.verdict.code as u32,
                message,
                &*denial.plugin,
                &*denial.method,
                arguments(denial.call, cx),
                denial.hook().name(),
            ])
        }
        Call::Log(line) => {
            json!({ "level": line.level.name(), "data": line.text, "obj": line.said })
        }
        Call::GetMx(item) => item.domain.borrow().clone().into(),
        Call::Deferred(d) => {
            let mut told = json!({ "delay": d.delay, "err": d.error });
            // Haraka names them only where they were told apart from others.
            if d.one_by_one {
                told = with(told, "fail_recips", recipients(&d.recipients));
                told = with(told, "mx", mail_host(d.mx.as_ref()));
            }
            told
        }
        Call::Bounce(b) => {
            let which = match (b.one_by_one, b.given_up) {
                (false, _) => None,
                (true, true) => Some("deferred_rcpt"),
                (true, false) => Some("bounced_rcpt"),
            };
            let told = json!({ "message": b.error, "mx": mail_host(b.mx.as_ref()) });
            match which {
                Some(which) => with(told, which, recipients(&b.recipients)),
                None => told,
            }
        }
        Call::DeliveredOk(d) => {
            let rcpts: Value = d.recipients.iter().map(shown).collect();
            // A socket has no name.
            let host = (!d.ip.starts_with('/')).then_some(&d.host);
            json!([
                host,
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

/// Whether the recipient that was added last is this one, so that a script has it in its list and need not be told.
fn is_last(txn: Option<&Transaction>, is: impl Fn(&Path) -> bool) -> bool {
    txn.is_some_and(|txn| txn.rcpt_to.borrow().last().is_some_and(is))
}

fn recipients(list: &[Recipient]) -> Value {
    list.iter().map(recipient).collect()
}

/// As Haraka has it once names are looked up: the address, and the name that it was found by.
fn mail_host(host: Option<&MailHost>) -> Value {
    let Some(host) = host else { return Value::Null };
    if host.ip.starts_with('/') {
        return json!({ "path": host.ip, "using_lmtp": host.lmtp });
    }
    let mut told = json!({ "exchange": host.ip, "port": host.port, "priority": 0 });
    if host.lmtp {
        told = with(told, "using_lmtp", true.into());
    }
    if host.name != host.ip {
        told = with(told, "from_dns", host.name.clone().into());
    }
    told
}
