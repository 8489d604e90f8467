//! Plugins after an attempt: `delivered`, `deferred` and `bounce`, with the arguments that Haraka gives
//! them (PA-48), and what their answers mean.
//!
//! Must never change a file: `settle` carries out what is said here.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::delivery::{Bounced, Decision, Deferral, Delivered, Delivery, MailHost};
use haraka_shared::hook::{Call, Code, HookName, Message as Said};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::reply::{Enhanced, Reply};
use haraka_shared::spool::{Recipient, RecipientState, Todo};

use super::attempt::{Cause, Peer};
use crate::worker::Worker;

/// Recipients with what became of them.
pub(super) type Judged = [(Recipient, Cause)];

/// What the hook `deferred` comes to.
pub(super) enum PutOff {
    /// Try again after this time.
    For(Duration),
    /// A plugin wants the mail returned, for this reason.
    Return(String),
    /// A plugin wants the mail removed.
    Drop,
}

/// What the hook `bounce` comes to.
pub(super) enum Returned {
    /// Tell the sender.
    Report,
    /// Tell nobody.
    Silent,
    /// A plugin wants another attempt, for this reason.
    TryAgain(String),
}

/// What a hook needs to know of the attempt.
pub(super) struct After<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) delivery: &'a Delivery,
    pub(super) todo: &'a Todo,
    /// Who was talked to.
    pub(super) peer: Option<&'a Peer>,
}

impl After<'_> {
    /// Tells of the recipients that have the message, with what the host said to the last of them (HOK-30).
    pub(super) async fn delivered(&self, delay: f64, to: &[(Recipient, Reply)]) {
        let (worker, Some(peer)) = (self.worker, self.peer) else {
            return;
        };
        if !worker.minds(HookName::DeliveredOk) {
            return;
        }
        let delivered = Delivered {
            host: peer.host.to_string(),
            ip: peer.ip.clone(),
            response: to.last().map(|(_, r)| words(r)).unwrap_or_default(),
            delay,
            port: peer.port,
            mode: peer.mode(),
            recipients: to.iter().map(|(r, _)| r.address.clone()).collect(),
            secured: peer.secured,
            authenticated: peer.authenticated,
        };
        let call = Call::DeliveredOk(&delivered);
        let verdict = worker.ask_outbound(self.delivery, call).await;
        // It is delivered, whatever is decided now.
        drop(self.delivery.take_decision());
        if !matches!(verdict.code, Code::Cont | Code::Ok) {
            log_at!(
                Level::Warn,
                &self.todo.uuid,
                "outbound",
                [("retval", verdict.code.name().into())],
                "delivered plugin responded"
            );
        }
    }

    /// Asks when deferred recipients are tried again; `delay` is what the schedule says (HOK-28).
    pub(super) async fn deferred(
        &self,
        deferred: &Judged,
        failures: u32,
        delay: Duration,
    ) -> PutOff {
        if !self.worker.minds(HookName::Deferred) {
            return PutOff::For(delay);
        }
        let recipients = self.about(deferred, "delayed");
        self.delivery.attempts.set(failures);
        let deferral = Deferral {
            delay: delay.as_secs_f64(),
            error: deferral(deferred),
            recipients,
            one_by_one: one_by_one(deferred),
            mx: self.host(deferred),
        };
        let call = Call::Deferred(&deferral);
        let verdict = self.worker.ask_outbound(self.delivery, call).await;
        match self.delivery.take_decision() {
            Some(Decision::Bounce(why)) => return PutOff::Return(why),
            Some(Decision::Discard | Decision::Delivered(_)) => return PutOff::Drop,
            Some(Decision::TempFail(_)) => return PutOff::For(delay),
            None => {}
        }
        let end = match (verdict.code, verdict.message) {
            (Code::Cont, _) => return PutOff::For(delay),
            (Code::DenySoft, Said::Seconds(seconds)) => {
                return PutOff::For(Duration::try_from_secs_f64(seconds).unwrap_or(delay));
            }
            (Code::DenySoft, _) => return PutOff::For(delay),
            // Haraka deletes the mail on any other code (PB-28); only OK says that on purpose.
            (Code::Ok, _) => " Not deferring. Deleting mail.",
            _ => " Ignored.",
        };
        self.log_answer(verdict.code, end);
        match verdict.code {
            Code::Ok => PutOff::Drop,
            _ => PutOff::For(delay),
        }
    }

    /// Asks whether the sender is told of failed recipients (HOK-29).
    pub(super) async fn bounce(&self, failed: &Judged) -> Returned {
        if !self.worker.minds(HookName::Bounce) {
            return Returned::Report;
        }
        let given_up = failed.first().is_some_and(|(_, c)| c.exhausted);
        let bounced = Bounced {
            error: refusal(failed),
            mx: self.host(failed),
            recipients: self.about(failed, "failed"),
            one_by_one: one_by_one(failed),
            given_up,
        };
        let call = Call::Bounce(&bounced);
        let verdict = self.worker.ask_outbound(self.delivery, call).await;
        match self.delivery.take_decision() {
            Some(Decision::TempFail(why)) => return Returned::TryAgain(why),
            Some(Decision::Discard | Decision::Delivered(_)) => return Returned::Silent,
            Some(Decision::Bounce(_)) => return Returned::Report,
            None => {}
        }
        if verdict.code == Code::Cont {
            return Returned::Report;
        }
        self.log_answer(verdict.code, " Not sending bounce.");
        Returned::Silent
    }

    fn log_answer(&self, code: Code, end: &str) {
        log_at!(
            Level::Info,
            &self.todo.uuid,
            "outbound",
            [],
            "plugin responded with: {}.{end}",
            code.name()
        );
    }

    /// The item's recipients are now those that the hook is about, as in the copies that Haraka makes.
    fn about(&self, judged: &Judged, action: &str) -> Vec<Recipient> {
        let told = judged.iter().map(|(recipient, cause)| {
            let mut state = state(cause, action);
            // As in Haraka, of those alone that were judged one by one.
            state.reason = state.reason.filter(|_| cause.of_one);
            Recipient {
                state: Some(Box::new(state)),
                ..recipient.clone()
            }
        });
        let told: Vec<Recipient> = told.collect();
        self.delivery.rcpt_to.borrow_mut().clone_from(&told);
        told
    }

    /// The host, if it was one that said so.
    fn host(&self, judged: &Judged) -> Option<MailHost> {
        let (_, cause) = judged.first()?;
        cause.reply.as_ref()?;
        let peer = self.peer?;
        Some(MailHost {
            name: peer.host.to_string(),
            ip: peer.ip.clone(),
            port: peer.port,
            lmtp: peer.lmtp,
        })
    }
}

/// A reply without its codes, its lines joined, as plugins get it.
fn words(reply: &Reply) -> String {
    reply.text().replace('\n', " ")
}

fn one_by_one(judged: &Judged) -> bool {
    judged.iter().any(|(_, cause)| cause.of_one)
}

fn names(judged: &Judged) -> String {
    let names: Vec<String> = judged.iter().map(|(r, _)| r.address.to_string()).collect();
    names.join(", ")
}

/// Why a delivery was put off, in Haraka's words.
fn deferral(deferred: &Judged) -> String {
    let Some((_, cause)) = deferred.first() else {
        return String::new();
    };
    if cause.of_one {
        return format!("Some recipients temp failed: {}", names(deferred));
    }
    // Our own words about several hosts may hold a reply as well.
    match &cause.reply {
        Some(reply) if cause.text == reply.to_string() => format!("Upstream error: {cause}"),
        _ => cause.text.clone(),
    }
}

/// Why a delivery failed for good, in Haraka's words.
fn refusal(failed: &Judged) -> String {
    match failed.first() {
        Some((_, cause)) if cause.of_one && !cause.exhausted => {
            format!("Some recipients failed: {}", names(failed))
        }
        Some((_, cause)) => cause.text.clone(),
        None => String::new(),
    }
}

fn code(status: Enhanced) -> u16 {
    match (status.class(), status.subject(), status.detail()) {
        // RFC 7504 §2, of a null MX.
        (5, 1, 10) => 556,
        (5, ..) => 550,
        _ => 450,
    }
}

/// What became of a recipient, for the operator who looks into the file and for plugins (OUT-39).
pub(super) fn state(cause: &Cause, action: &str) -> RecipientState {
    let reply = cause.reply.as_ref();
    RecipientState {
        dsn_action: Some(action.to_owned()),
        dsn_status: Some(cause.status.to_string()),
        // Haraka's own findings have a code and a text of its table of statuses.
        dsn_code: reply.is_none().then(|| code(cause.status)),
        dsn_msg: reply.is_none().then(|| cause.text.clone()),
        dsn_smtp_code: reply.map(Reply::code),
        dsn_smtp_extc: reply.and_then(Reply::enhanced).map(|e| e.to_string()),
        dsn_smtp_response: reply.map(|r| r.text().to_owned()),
        dsn_remote_mta: cause.host.as_ref().map(ToString::to_string),
        reason: Some(cause.text.clone()),
        ..RecipientState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::address::{Address, Limits};

    fn judged(cause: &Cause) -> Vec<(Recipient, Cause)> {
        ["<a@b.test>", "<c@b.test>"]
            .iter()
            .map(|a| {
                (
                    Address::parse(a, Limits::default()).unwrap().into(),
                    cause.clone(),
                )
            })
            .collect()
    }

    // covers HOK-28, HOK-29, PA-48
    #[test]
    fn reasons_are_those_of_haraka() {
        let later = Cause::from_reply(Reply::fixed(451, "later"), &"mx.test".into());
        let own = Cause::temporary(4, 4, "Tried all MXs");
        let tried = Cause {
            text: "Tried all MXs (mx.test: 451 later)".to_owned(),
            ..later.clone()
        };
        let never = Cause::from_reply(Reply::fixed(550, "no"), &"mx.test".into());
        for (cause, expected) in [
            (&later, "Upstream error: 451 later"),
            (&tried, "Tried all MXs (mx.test: 451 later)"),
            (&own, "Tried all MXs"),
            (
                &later.clone().of_one(),
                "Some recipients temp failed: <a@b.test>, <c@b.test>",
            ),
        ] {
            assert_eq!(deferral(&judged(cause)), expected);
        }
        assert_eq!(refusal(&judged(&never)), "550 no");
        assert_eq!(
            refusal(&judged(&never.of_one())),
            "Some recipients failed: <a@b.test>, <c@b.test>"
        );
    }

    // covers OUT-39
    #[test]
    fn recipient_tells_who_refused_it_or_what_we_found() {
        let refused = state(
            &Cause::from_reply(Reply::fixed(550, "no"), &"mx.test".into()),
            "failed",
        );
        assert_eq!(refused.dsn_smtp_code, Some(550));
        assert_eq!(refused.dsn_remote_mta.as_deref(), Some("mx.test"));
        assert_eq!(refused.dsn_code, None);
        let own = state(&Cause::temporary(4, 4, "Tried all MXs"), "delayed");
        assert_eq!((own.dsn_code, own.dsn_smtp_code), (Some(450), None));
        assert_eq!(own.dsn_msg.as_deref(), Some("Tried all MXs"));
    }
}
