//! Hands messages to another server while the client waits for its answer, and tells the outbound
//! queue where mail for listed domains goes.
//!
//! `settings.rs` reads `smtp_forward.ini`; `host_pool.rs` picks one of several servers. The SMTP
//! conversation itself is the worker's.

mod host_pool;
mod settings;

use std::sync::Arc;
use std::time::Instant;

use haraka_shared::config::{ConfigDir, Live, Warning};
use haraka_shared::delivery::Delivery;
use haraka_shared::hook::{HookName, Hooks, Path, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use haraka_shared::route::{Route, RouteError, XClient};
use haraka_shared::services::ForwardError;
use haraka_shared::transaction::Transaction;

use super::wanted;
use settings::{Selector, Settings};

const FILE: &str = "smtp_forward.ini";
const FORWARD: &str = "smtp_forward";
const OUTBOUND: &str = "outbound";

/// See `docs/plugins/queue/smtp_forward.md` (PI2-01 to PI2-08).
pub struct SmtpForward {
    settings: Live<Settings>,
}

impl Plugin for SmtpForward {
    const NAME: &'static str = "queue/smtp_forward";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Mail).called("check_sender"),
        Wants::hook(HookName::Rcpt).called("check_recipient"),
        Wants::hook(HookName::Queue).called("queue_forward"),
        Wants::hook(HookName::QueueOutbound).called("queue_forward"),
        Wants::hook(HookName::GetMx).called("get_mx"),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let load = |config: &ConfigDir, warnings: &mut Vec<Warning>| {
            let (settings, found) = Settings::parse(&config.ini(FILE)?)?;
            warnings.extend(found);
            Ok(settings)
        };
        let settings = env.live(Self::NAME, &[FILE], load)?;
        Ok(SmtpForward { settings })
    }

    /// As the checks are switched at start; one that is switched on later needs a restart.
    fn wants(&self) -> Vec<Wants> {
        let settings = self.settings.get();
        let wanted = |w: &&Wants| match w.hook {
            HookName::Mail => settings.check_sender,
            HookName::Rcpt => settings.check_recipient,
            HookName::QueueOutbound => settings.main.enable_outbound,
            _ => true,
        };
        Self::HOOKS.iter().filter(wanted).copied().collect()
    }
}

impl Hooks for SmtpForward {
    async fn mail(&self, cx: &HookCx, from: &Path) -> Verdict {
        self.check_sender(cx, from)
    }

    async fn rcpt(&self, cx: &HookCx, to: &Path) -> Verdict {
        self.check_recipient(cx, to)
    }

    async fn queue(&self, cx: &HookCx, _none: ()) -> Verdict {
        self.forward(cx).await
    }

    async fn queue_outbound(&self, cx: &HookCx, _none: ()) -> Verdict {
        self.forward(cx).await
    }

    async fn get_mx(&self, cx: &HookCx, item: &Delivery) -> Verdict {
        self.route(cx, item)
    }
}

impl SmtpForward {
    /// PI2-06
    fn check_sender(&self, cx: &HookCx, from: &Path) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        if from.address.is_null() {
            transaction
                .results
                .add(&cx.plugin, "skip", "mail_from.null");
            log_plugin!(Level::Info, cx, "skip:mail_from.null");
            return Verdict::CONT;
        }
        let settings = self.settings.get();
        if !settings.check_sender || settings.section(from.address.host()).is_none() {
            return Verdict::CONT;
        }
        transaction.notes.set("local_sender", true);
        if !connection.relaying() {
            transaction
                .results
                .add(&cx.plugin, "fail", "mail_from!spoof");
            return Verdict::deny("Spoofed MAIL FROM");
        }
        transaction.results.add(&cx.plugin, "pass", "mail_from");
        Verdict::CONT
    }

    /// PI2-07
    fn check_recipient(&self, cx: &HookCx, to: &Path) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        let settings = self.settings.get();
        if !settings.check_recipient {
            return Verdict::CONT;
        }
        let results = &transaction.results;
        let domain = to.address.host();
        if domain.is_empty() {
            results.add(&cx.plugin, "skip", "rcpt!domain");
            return Verdict::CONT;
        }
        if connection.relaying() && transaction.notes.truthy("local_sender") {
            set_queue(&transaction, OUTBOUND, settings.main.next_hop());
            results.add(&cx.plugin, "pass", "relaying local_sender");
            return Verdict::OK;
        }
        let Some(target) = settings.section(domain) else {
            // Another plugin may yet vouch for this recipient.
            results.add(&cx.plugin, "msg", "rcpt!local");
            return Verdict::CONT;
        };
        let queue = target.queue.as_deref().unwrap_or(FORWARD);
        if set_queue(&transaction, queue, target.next_hop()) {
            results.add(&cx.plugin, "pass", "rcpt_to");
            return Verdict::OK;
        }
        results.add(&cx.plugin, "pass", "rcpt_to.split");
        Verdict::deny_soft("Split transaction, retry soon")
    }

    /// PI2-03, PI2-05. What goes wrong on the way to the other server is a temporary failure; the
    /// message is never left to whichever queue plugin comes next (PB-23).
    async fn forward(&self, cx: &HookCx) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        // What the message began with counts to its end.
        let settings = self.settings.get();
        let target = settings.target(&transaction);
        if let Some(other) = wanted(&transaction).filter(|w| w != FORWARD) {
            log_plugin!(Level::Debug, cx, "skipping, unwanted ({other})");
            return Verdict::CONT;
        }
        if connection.relaying() && !target.enable_outbound {
            log_plugin!(Level::Debug, cx, "skipping, outbound disabled");
            return Verdict::CONT;
        }
        let (at, route) = target.hosts.next(Instant::now());
        log_plugin!(
            Level::Info,
            cx,
            "forwarding to {}:{}",
            route.host,
            route.port()
        );
        let outgoing = Route {
            tls: Some(Arc::clone(&settings.tls)),
            xclient: Some(XClient {
                addr: connection.remote_ip(),
                helo: connection
                    .hello
                    .borrow()
                    .as_ref()
                    .map(|(_, name)| name.to_string()),
            }),
            ..route.clone()
        };
        let forwarding = cx
            .services
            .forward(outgoing, &transaction, target.one_message_per_rcpt);
        match forwarding.await {
            Ok(done) => {
                let text = done.reply.text().to_owned();
                transaction.results.add(&cx.plugin, "pass", text.clone());
                Verdict::ok(text)
            }
            Err(ForwardError::Refused(reply)) => {
                let text = reply.text().to_owned();
                if (500..600).contains(&reply.code()) {
                    Verdict::deny(text)
                } else {
                    Verdict::deny_soft(text)
                }
            }
            Err(ForwardError::Connection(cause)) => {
                target.hosts.failed(at, Instant::now());
                transaction.results.add(&cx.plugin, "err", cause.clone());
                log_plugin!(
                    Level::Error,
                    cx,
                    "backend failure: {}:{} - {cause}",
                    route.host,
                    route.port()
                );
                Verdict::deny_soft("Message could not be forwarded, try again later")
            }
        }
    }

    /// PI2-08
    fn route(&self, cx: &HookCx, item: &Delivery) -> Verdict {
        let queue = item.notes.text("queue.wants").unwrap_or_default();
        if !matches!(&*queue, "" | FORWARD | OUTBOUND) {
            return Verdict::CONT;
        }
        if queue == FORWARD
            && let Some(hop) = item.notes.text("queue.next_hop").filter(|h| !h.is_empty())
        {
            return match next_hop_route(&hop) {
                Ok(route) => Verdict::routes(vec![route]),
                Err(e) => {
                    log_plugin!(Level::Error, cx, "queue.next_hop {hop}: {e}");
                    Verdict::deny_soft("No route, the next hop is invalid")
                }
            };
        }
        let settings = self.settings.get();
        let domain = match settings.selector {
            Selector::MailFrom => item.mail_from.borrow().host().to_owned(),
            Selector::RcptTo => item.domain.borrow().clone(),
        };
        match settings.section(&domain.to_ascii_lowercase()) {
            Some(target) => {
                let mut routes = target.hosts.in_order(Instant::now());
                // From the queue, TLS is as outbound.ini and tls.ini say.
                routes.iter_mut().for_each(|route| route.starttls = None);
                Verdict::routes(routes)
            }
            None => {
                log_plugin!(
                    Level::Debug,
                    cx,
                    "using DNS MX for: {}",
                    item.domain.borrow()
                );
                Verdict::CONT
            }
        }
    }
}

/// Chooses queue and next hop for the message, as the first recipient; false if an earlier one
/// chose another.
fn set_queue(transaction: &Transaction, queue: &str, next_hop: String) -> bool {
    let notes = &transaction.notes;
    match wanted(transaction) {
        None => {
            notes.set("queue.wants", queue);
            notes.set("queue.next_hop", next_hop);
            true
        }
        Some(earlier) => {
            earlier == queue
                && notes
                    .text("queue.next_hop")
                    .is_none_or(|hop| hop.is_empty() || hop == next_hop)
        }
    }
}

fn next_hop_route(hop: &str) -> Result<Route, RouteError> {
    let mut route = Route::parse(hop)?;
    if route.auth_user.is_some() {
        route.auth_type = Some("plain".to_owned());
    }
    Ok(route)
}
