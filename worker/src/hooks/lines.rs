//! Log lines for plugins of the `log` hook (HOK-24).
//!
//! A plugin that answers at once keeps the order of lines; one that waits holds back only the line
//! that it was asked about. No time limit, no line about a plugin's call, and a plugin that fails
//! has said CONT: the log is what an operator looks at when all else is broken.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use haraka_shared::hook::{Call, Code, HookName};
use haraka_shared::log::{self, Line};
use haraka_shared::plugin::{HookCx, LocalFuture};
use haraka_shared::services::Services;

use super::registry::Registry;
use crate::rt;
use crate::worker::Worker;

/// Lines that plugins may have in hand; more are written unasked.
const MOST_IN_HAND: usize = 1000;

/// Shows every line of this thread to the worker's plugins, while the worker lives.
pub(crate) fn tap(worker: &Weak<Worker>) -> log::Tap {
    let worker = Weak::clone(worker);
    let in_hand = Rc::new(Cell::new(0));
    Rc::new(move |line| match worker.upgrade() {
        Some(worker) if in_hand.get() < MOST_IN_HAND => offer(worker, line, &in_hand),
        _ => line.write(),
    })
}

fn offer(worker: Rc<Worker>, line: Line, in_hand: &Rc<Cell<usize>>) {
    let mut asked = Quiet(Box::pin(async move {
        if worker.hooks.let_pass(&line, &worker.services()).await {
            line.write();
        }
    }));
    let first = Pin::new(&mut asked).poll(&mut Context::from_waker(Waker::noop()));
    if first.is_pending() {
        in_hand.set(in_hand.get() + 1);
        let in_hand = Rc::clone(in_hand);
        rt::spawn(async move {
            asked.await;
            in_hand.set(in_hand.get() - 1);
        })
        .detach();
    }
}

/// A future that logs past the plugins.
struct Quiet(LocalFuture<'static, ()>);

impl Future for Quiet {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        log::quietly(|| self.0.as_mut().poll(cx))
    }
}

impl Registry {
    /// Whether all plugins let the line be written.
    async fn let_pass(&self, line: &Line, services: &Rc<dyn Services>) -> bool {
        for entry in self.chain(HookName::Log) {
            let cx = HookCx {
                plugin: Rc::clone(&entry.plugin),
                connection: None,
                delivery: None,
                services: Rc::clone(services),
            };
            let answer = rt::catch(async { entry.handler.call(Call::Log(line), &cx).await }).await;
            if answer.is_ok_and(|verdict| verdict.code != Code::Cont) {
                return false;
            }
        }
        true
    }
}
