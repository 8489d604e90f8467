//! Offering a message to one host after the other until one decides about it (OUT-31, OUT-32), and
//! handing a message on to one given host at once (`smtp_forward`).
//!
//! Knows nothing of the queue: the caller gives targets and gets results.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::reply::Reply;
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded};

use super::attempt::{Attempt, Cause, RcptResult, Unusable};
use super::client::{Client, ClientSettings};
use super::message::{Envelope, Outgoing};
use super::pool::Pool;
use super::route::{RouteSettings, Target, Targets};

/// Makes attempts. One per worker; deliveries share its idle connections.
pub struct Courier {
    settings: RefCell<Rc<ClientSettings>>,
    pool: Pool,
}

impl Courier {
    /// With these settings and no connection yet.
    pub fn new(settings: ClientSettings) -> Courier {
        Courier::with_pool(Rc::new(settings), Pool::default())
    }

    /// With connections from this pool.
    pub fn with_pool(settings: Rc<ClientSettings>, pool: Pool) -> Courier {
        Courier {
            settings: RefCell::new(settings),
            pool,
        }
    }

    /// With other settings, for connections that are made from now on.
    pub fn configure(&self, settings: ClientSettings) {
        self.settings.replace(Rc::new(settings));
    }

    /// The idle connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Tries the targets in order; every recipient has a result afterwards.
    pub async fn offer(
        &self,
        targets: &mut Targets<'_>,
        envelope: &Envelope<'_>,
        message: &Outgoing,
    ) -> Attempt {
        while let Some(target) = targets.next().await {
            match Box::pin(self.offer_to(&target, envelope, message)).await {
                Ok(attempt) => return attempt,
                Err(unusable) => {
                    let peer = target.peer();
                    log_at!(
                        Level::Notice,
                        &envelope.uuid,
                        "outbound",
                        [],
                        "Delivery to {} [{}]:{} failed: {unusable}. Trying next MX.",
                        peer.host,
                        peer.ip,
                        peer.port
                    );
                    targets.note(unusable.cause(&target.host));
                }
            }
        }
        Attempt::without_host(envelope.recipients.len(), tried_all(targets.problem()))
    }

    async fn offer_to(
        &self,
        target: &Target,
        envelope: &Envelope<'_>,
        message: &Outgoing,
    ) -> Result<Attempt, Unusable> {
        if let Some(mut kept) = self.pool.take(target) {
            // The host may have closed a kept connection at any moment; that says nothing about it.
            if let Ok(attempt) = kept.send(envelope, message).await {
                self.pool.put(kept);
                return Ok(attempt);
            }
        }
        let settings = Rc::clone(&self.settings.borrow());
        let mut client = Client::connect(target, &settings, envelope.uuid.clone()).await?;
        let attempt = client.send(envelope, message).await;
        self.pool.put(client);
        attempt
    }

    /// Hands a message to one route now. One refused recipient refuses the message, before its data
    /// is sent (Haraka's rule for back ends); with `one_per_recipient` each has a message of its
    /// own, and the first refusal ends it.
    ///
    /// # Errors
    /// [`ForwardError::Refused`] with the host's reply, or [`ForwardError::Connection`].
    pub async fn forward(
        &self,
        dns: &dyn Dns,
        routing: &RouteSettings,
        route: Route,
        envelope: &Envelope<'_>,
        message: &Outgoing,
        one_per_recipient: bool,
    ) -> Result<Forwarded, ForwardError> {
        let size = if one_per_recipient {
            1
        } else {
            envelope.recipients.len().max(1)
        };
        let mut last = Err(ForwardError::Connection("no recipients".to_owned()));
        for (at, recipients) in envelope.recipients.chunks(size).enumerate() {
            let part = Envelope {
                requests: envelope.requests.map(|r| r.from(at * size)),
                uuid: envelope.uuid.clone(),
                sender: envelope.sender,
                recipients,
                all_or_none: true,
                at_stake: None,
            };
            let mut targets = Targets::of_routes(dns, vec![route.clone()], routing);
            last = forwarded(self.offer(&mut targets, &part, message).await);
            if last.is_err() {
                break;
            }
        }
        last
    }
}

/// A single answer for all recipients; the worst counts, so that none is lost.
fn forwarded(attempt: Attempt) -> Result<Forwarded, ForwardError> {
    let mut taken: Option<Reply> = None;
    for result in attempt.results {
        match result {
            RcptResult::Delivered(reply) => taken = Some(reply),
            RcptResult::Deferred(cause) | RcptResult::Failed(cause) => {
                return Err(refusal(cause));
            }
        }
    }
    taken
        .map(|reply| Forwarded { reply })
        .ok_or_else(|| ForwardError::Connection("no reply".to_owned()))
}

fn refusal(cause: Cause) -> ForwardError {
    match cause.reply {
        // A refused greeting is trouble with the connection, not with the message.
        Some(reply) if reply.is_permanent() == (cause.status.class() == 5) => {
            ForwardError::Refused(reply)
        }
        Some(_) => ForwardError::Connection(cause.text),
        // What we found out ourselves about this message, such as its size.
        None if cause.status.class() == 5 => {
            ForwardError::Refused(Reply::new(550, cause.text).with_enhanced(cause.status))
        }
        None => ForwardError::Connection(cause.text),
    }
}

/// OUT-32
fn tried_all(problem: Option<&Cause>) -> Cause {
    match problem {
        None => Cause::temporary(4, 4, "Tried all MXs"),
        Some(last) => {
            let mut cause = last.clone();
            cause.text = match &last.host {
                Some(host) => format!("Tried all MXs ({host}: {last})"),
                None => format!("Tried all MXs ({last})"),
            };
            cause
        }
    }
}
