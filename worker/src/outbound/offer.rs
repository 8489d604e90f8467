//! Offering a message to one host after the other until one decides about it (OUT-31, OUT-32), and
//! handing a message on to one given host at once (`smtp_forward`).
//!
//! Knows nothing of the queue: the caller gives targets and gets results.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::log::Level;
use haraka_shared::reply::Reply;
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded};
use haraka_shared::{log_at, log_server};

use super::attempt::{Attempt, Cause, RcptResult, Unusable};
use super::client::{Client, ClientSettings};
use super::message::{Envelope, Outgoing};
use super::no_go::NoGo;
use super::policy::{Demand, Failure, FailureType, Source};
use super::pool::{Pool, serves};
use super::route::{Place, RouteSettings, Target, Targets};
use super::shaping::Permit;
use super::wish::{Approach, Facts, TlsOutcome, TlsWish, wanted};

/// Makes attempts. One per worker; deliveries share its idle connections.
pub struct Courier {
    settings: RefCell<Rc<ClientSettings>>,
    pool: Pool,
    no_go: NoGo,
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
            no_go: NoGo::default(),
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
            match Box::pin(self.offer_to(targets, &target, envelope, message)).await {
                Ok(attempt) => {
                    if let Some(permit) = targets.permit() {
                        permit.heard_all(&attempt);
                    }
                    tell_tester(&target, envelope);
                    return attempt;
                }
                Err(unusable) => {
                    if let (Some(permit), Some(reply)) = (targets.permit(), unusable.reply()) {
                        permit.heard(&reply.to_string());
                    }
                    if let Some(failure) = unusable.tls_failure() {
                        targets.note_tls(&target, Some(&failure));
                    }
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
        targets: &Targets<'_>,
        target: &Target,
        envelope: &Envelope<'_>,
        message: &Outgoing,
    ) -> Result<Attempt, Unusable> {
        let policy = &target.policy;
        if let (Demand::Refused, Some(failure)) = (&policy.demand, &policy.failure) {
            return Err(Unusable::Policy(policy.source, failure.clone()));
        }
        let settings = Rc::clone(&self.settings.borrow());
        let permit = targets.permit();
        let mut approach = self.approach(target, envelope, &settings);
        approach.counted = permit.map(Permit::held);
        if let Some(mut kept) = self.kept(target, &approach, permit).await {
            approach.counted = kept.held().cloned();
            if !is_due(permit).await {
                self.pool.put(kept);
                return Err(Unusable::NotYet);
            }
            // The host may have closed a kept connection at any moment; that says nothing about it.
            if let Ok(attempt) = kept.send(envelope, message).await {
                self.pool.put(kept);
                return Ok(attempt);
            }
        }
        let uuid = || envelope.uuid.clone();
        let mut client = match Client::connect(target, &approach, &settings, uuid()).await {
            Ok(client) => client,
            Err(unusable) => {
                let approach = self.downgraded(target, approach, &unusable, &settings);
                let approach = approach.ok_or(unusable)?;
                Client::connect(target, &approach, &settings, uuid()).await?
            }
        };
        let failure = failure_of(target, &client.peer().tls);
        targets.note_tls(target, failure.as_ref());
        if !is_due(permit).await {
            self.pool.put(client);
            return Err(Unusable::NotYet);
        }
        let attempt = client.send(envelope, message).await;
        self.pool.put(client);
        attempt
    }

    /// A connection that leads there already. The one that the permit stands for is closed if it leads
    /// elsewhere: there must not be another one at the same time.
    async fn kept(
        &self,
        target: &Target,
        approach: &Approach,
        permit: Option<&Permit>,
    ) -> Option<Client> {
        let Some(permit) = permit else {
            return self.pool.take(target, approach);
        };
        if let Some(mut idle) = permit.take_idle() {
            if serves(&idle, target, approach) && idle.is_usable() {
                return Some(idle);
            }
            Box::pin(idle.quit()).await;
        }
        let kept = self.pool.take(target, approach)?;
        if let Some(held) = kept.held() {
            permit.stand_for(held);
        }
        Some(kept)
    }

    /// How a host is spoken to: as the settings say, as its policy demands beyond that, and in the clear if TLS with it failed lately.
    fn approach(
        &self,
        target: &Target,
        envelope: &Envelope<'_>,
        settings: &ClientSettings,
    ) -> Approach {
        let facts = Facts {
            enabled: settings.enable_tls,
            options: &settings.kits.options(target.route.tls.as_ref()),
            domain: envelope.domain,
            forced: envelope.force_tls,
        };
        let mut tls = target.policy.over(wanted(target, &facts));
        if let (TlsWish::IfOffered { .. }, Place::Socket(address)) = (&tls, &target.place)
            && settings.kits.no_go().is_some()
            && let Some(when) = self.no_go.marked(address.ip())
        {
            log_at!(
                Level::Info,
                &envelope.uuid,
                "outbound",
                [],
                "TLS disabled for {} because it was marked as non-TLS on {when}",
                address.ip()
            );
            tls = TlsWish::Never;
        }
        Approach {
            tls,
            must_log_in: envelope.must_log_in,
            counted: None,
        }
    }

    /// The approach in the clear to a host with which TLS failed, if that is switched on (PA-46).
    fn downgraded(
        &self,
        target: &Target,
        approach: Approach,
        unusable: &Unusable,
        settings: &ClientSettings,
    ) -> Option<Approach> {
        let lasting = settings.kits.no_go()?;
        let (
            TlsWish::IfOffered { .. },
            Place::Socket(address),
            Unusable::Handshake { trouble, .. },
        ) = (&approach.tls, &target.place, unusable)
        else {
            return None;
        };
        if trouble.is_certificate() {
            return None;
        }
        log_server!(
            Level::Notice,
            "TLS connection failed. Marking {} as non-TLS for {} seconds",
            address.ip(),
            lasting.as_secs()
        );
        self.no_go.mark(address.ip(), lasting);
        Some(Approach {
            tls: TlsWish::Never,
            ..approach
        })
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
                smtputf8: envelope.smtputf8,
                uuid: envelope.uuid.clone(),
                sender: envelope.sender,
                recipients,
                all_or_none: true,
                domain: envelope.domain,
                force_tls: envelope.force_tls,
                must_log_in: envelope.must_log_in,
                at_stake: envelope.at_stake,
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

/// Whether a message may be sent now.
async fn is_due(permit: Option<&Permit>) -> bool {
    match permit {
        Some(permit) => permit.is_due().await,
        None => true,
    }
}

/// What reports to the destination say of a connection that came about.
fn failure_of(target: &Target, outcome: &TlsOutcome) -> Option<Failure> {
    let without = |said: String| Failure::new(FailureType::StarttlsNotSupported, said);
    match (outcome, &target.policy.failure) {
        // A policy under test has found something already.
        (_, Some(failure)) => Some(failure.clone()),
        (TlsOutcome::NotWanted, _) => None,
        (TlsOutcome::NotOffered | TlsOutcome::Refused(_), _) => {
            Some(without(format!("TLS was {outcome}")))
        }
        // What a policy demands is proved by there being a connection.
        (TlsOutcome::Secured(tls), _) if target.policy.source == Source::StsTesting => {
            tls.verify_error.as_deref().map(Failure::of_verdict)
        }
        (TlsOutcome::Secured(_), _) => None,
    }
}

/// RFC 8461 §5: a policy under test holds no mail back, and its owner wants to know.
fn tell_tester(target: &Target, envelope: &Envelope<'_>) {
    if let Some(failure) = &target.policy.failure {
        log_at!(
            Level::Notice,
            &envelope.uuid,
            "outbound",
            [],
            "TLS policy {} does not hold mail back: {}",
            target.policy.source,
            failure.why
        );
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
