//! Plugins that are a closure each, and services that nobody may ask for anything.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::{Config, ConfigDir};
use haraka_shared::connection::Connection;
use haraka_shared::dial::{DialError, Dialogue, Endpoint};
use haraka_shared::hook::{Call, Handler, HookFuture, HookName, Verdict};
use haraka_shared::plugin::{HookCx, LocalFuture, Registration, Wants};
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded, QueueError, Services};
use haraka_shared::transaction::Transaction;

/// A plugin as `Registry::build` takes it.
pub(crate) type Loaded = (Registration, Option<Duration>);

struct Script<F>(F);

impl<F> Handler for Script<F>
where
    F: for<'a> Fn(Call<'a>, &'a HookCx) -> HookFuture<'a>,
{
    fn call<'a>(&'a self, call: Call<'a>, cx: &'a HookCx) -> HookFuture<'a> {
        (self.0)(call, cx)
    }
}

/// A plugin without time limit that does this at each of these hooks.
pub(crate) fn plugin<F>(name: &str, wants: &[Wants], act: F) -> Loaded
where
    F: for<'a> Fn(Call<'a>, &'a HookCx) -> HookFuture<'a> + 'static,
{
    let method = |w: &Wants| Rc::from(format!("hook_{}", w.hook.name()));
    let registration = Registration {
        name: Rc::from(name),
        wants: wants.iter().map(|w| (*w, method(w))).collect(),
        handler: Rc::new(Script(act)),
    };
    (registration, None)
}

/// A plugin that always says the same.
pub(crate) fn answers(name: &str, hook: HookName, verdict: Verdict) -> Loaded {
    plugin(name, &[Wants::hook(hook)], move |_, _| {
        let verdict = verdict.clone();
        Box::pin(async move { verdict })
    })
}

/// Borrows everything of a connection for writing that can be borrowed.
pub(crate) fn meddle(connection: &Connection) {
    connection.set_remote_host("meddled.example.com");
    connection.remote.borrow_mut().info = None;
    connection.set_remote_host("client.example.com");
    let hello = connection.hello.take();
    *connection.hello.borrow_mut() = hello;
    let reject = connection.last_reject.take();
    *connection.last_reject.borrow_mut() = reject;
    let lines = connection.capabilities.take();
    *connection.capabilities.borrow_mut() = lines;
    connection.notes.set("meddler.was", "here");
    connection.results.add("meddler", "pass", "all");
    connection.set_relaying(connection.relaying());
    if let Some(txn) = connection.transaction() {
        connection.set_transaction(None);
        connection.set_transaction(Some(txn.clone()));
        txn.rcpt_to.borrow_mut().retain(|_| true);
        txn.header.borrow_mut().remove("X-Nobody");
        let body = txn.body.take();
        *txn.body.borrow_mut() = body;
        txn.notes.set("meddler.was", "here");
        txn.results.push("meddler", "pass", "all");
    }
}

/// Services for plugins that need none.
pub(crate) struct NoServices;

impl Services for NoServices {
    fn config(&self) -> Rc<Config> {
        panic!("no plugin here asks for settings")
    }
    fn config_dir(&self) -> &ConfigDir {
        panic!("no plugin here reads files")
    }
    fn install_dir(&self) -> &Path {
        panic!("no plugin here reads files")
    }
    fn dns(&self) -> &dyn Dns {
        panic!("no plugin here asks the DNS")
    }
    fn sleep(&self, _: Duration) -> LocalFuture<'static, ()> {
        panic!("no plugin here sleeps by its services")
    }
    fn offload(&self, _: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()> {
        panic!("no plugin here blocks")
    }
    fn dial<'a>(
        &'a self,
        _: &'a Endpoint,
        _: Duration,
    ) -> LocalFuture<'a, Result<Box<dyn Dialogue>, DialError>> {
        panic!("no plugin here talks to servers")
    }
    fn forward<'a>(
        &'a self,
        _: Route,
        _: &'a Transaction,
        _: bool,
    ) -> LocalFuture<'a, Result<Forwarded, ForwardError>> {
        panic!("no plugin here forwards")
    }
    fn enqueue<'a>(&'a self, _: &'a Transaction) -> LocalFuture<'a, Result<(), QueueError>> {
        panic!("no plugin here queues")
    }
}
