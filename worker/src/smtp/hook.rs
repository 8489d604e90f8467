//! Asking the plugins, and granting what they ask of the session meanwhile: replies, TLS, an end of
//! the transaction or of all.
//!
//! What scripts ask out of timers is granted between commands. Must never read from the client.

use std::rc::Rc;
use std::task::Poll;

use haraka_shared::asks::Ask;
use haraka_shared::hook::{Call, HookName, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_conn;

use crate::hooks;
use crate::smtp::session::Session;

impl Session {
    /// Asks the plugins, and grants what they ask meanwhile.
    pub(crate) async fn hook(&mut self, call: Call<'_>) -> Verdict {
        let hook = call.hook();
        log_conn!(Level::Debug, self.conn, [], "running {} hooks", hook.name());
        if !self.worker.hooks.wants(hook) {
            return Verdict::CONT;
        }
        let (worker, conn) = (Rc::clone(&self.worker), self.conn.clone());
        let services = worker.services();
        let subject = hooks::Subject {
            connection: Some(&conn),
            delivery: None,
            services: &services,
        };
        let mut asked = std::pin::pin!(worker.hooks.run(call, &subject));
        let mut waited = false;
        loop {
            let next = std::future::poll_fn(|cx| {
                let answer = asked.as_mut().poll(cx);
                // A plugin that pauses to see whether the client waits for its turn asks for the
                // flag while its hook is still running (CON-47).
                waited |= answer.is_pending();
                if waited && self.out_of_turn(hook) && self.wire.spoke(cx) {
                    self.conn.early_talker.set(true);
                }
                match answer {
                    Poll::Ready(verdict) => Poll::Ready(Next::Verdict(verdict)),
                    Poll::Pending => conn.asks.poll_take(cx).map(Next::Ask),
                }
            });
            match next.await {
                Next::Ask(ask) => Box::pin(self.grant(ask)).await,
                Next::Verdict(verdict) => {
                    self.grant_all().await;
                    conn.asks.rest();
                    return verdict;
                }
            }
        }
    }

    /// Whether a client that speaks during this hook is an early talker.
    fn out_of_turn(&self, hook: HookName) -> bool {
        // After STARTTLS it is the client's turn while the plugin's hook is still running.
        (hook != HookName::UnrecognizedCommand || self.conn.tls.borrow().is_none())
            && !self.conn.esmtp.get()
            && !self.conn.early_talker.get()
            && hook < HookName::DataPost
            && !self.said_hello_with_header()
    }

    /// Grants all that waits.
    pub(super) async fn grant_all(&mut self) {
        while let Some(ask) = self.conn.asks.take() {
            Box::pin(self.grant(ask)).await;
        }
    }

    pub(super) async fn grant(&mut self, ask: Ask) {
        match ask {
            Ask::Close => {
                // What was said before is still heard.
                drop(self.wire.flush().await);
                self.wire.dismiss();
                self.conn.remote.borrow_mut().closed = true;
            }
            Ask::Reset(answer) => {
                self.reset_transaction().await;
                answer.give(());
            }
            Ask::Say(reply) => {
                self.say(&reply);
                if self.wire.flush().await.is_err() {
                    self.conn.remote.borrow_mut().closed = true;
                }
            }
            Ask::StartTls(ask) => self.start_tls(ask).await,
        }
    }
}

/// What comes next while plugins are asked.
enum Next {
    Ask(Ask),
    Verdict(Verdict),
}
