//! auth/auth_base: the plugin that every back end becomes (AUT-01 to AUT-11).
//!
//! Leads the exchange, asks the back end, and says what came of it to the client, to the other
//! plugins and to the log. Must not know where passwords come from.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use haraka_shared::connection::Connection;
use haraka_shared::hook::{Code, HookName, Hooks, Path, UnknownCommand, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use haraka_shared::reply::Reply;
use serde_json::{Value, json};
use uuid::Uuid;

use super::backend::{Answer, Backend, Finding};
use super::exchange::{self, Exchange, Step};
use super::mechanism::{Mechanism, authentication_result_value, printable};
use super::organization;

/// A back end as a plugin.
pub struct AuthPlugin<B> {
    backend: B,
    /// How long one hook may take.
    time_limit: Option<Duration>,
    /// The exchanges that wait for the client's next line.
    exchanges: RefCell<HashMap<Uuid, Exchange>>,
}

/// RFC 4954 §4: not twice, and not while a message is on its way (PB-04).
const ALREADY: Reply = Reply::fixed(503, "5.5.1 Already authenticated");
const IN_TRANSACTION: Reply =
    Reply::fixed(503, "5.5.1 AUTH not permitted during a mail transaction");
/// The longest delay after a failure where the plugin has no time limit.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

impl<B: Backend> Plugin for AuthPlugin<B> {
    const NAME: &'static str = B::NAME;
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Capabilities),
        Wants::hook(HookName::UnrecognizedCommand),
        Wants::hook(HookName::Mail).called("constrain_sender"),
        Wants::hook(HookName::Disconnect),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(AuthPlugin {
            backend: B::new(env)?,
            time_limit: env.config.plugin_timeout(B::NAME)?,
            exchanges: RefCell::default(),
        })
    }

    fn wants(&self) -> Vec<Wants> {
        let constrains = self.backend.rules().constrain_sender;
        let mut wants = Self::HOOKS.to_vec();
        wants.retain(|w| w.hook != HookName::Mail || constrains);
        wants
    }
}

impl<B: Backend> Hooks for AuthPlugin<B> {
    /// AUT-01, EXT-06: a line of its own for each plugin, as in Haraka.
    async fn capabilities(&self, cx: &HookCx, _none: ()) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        let offers = self.backend.offers(connection);
        if offers.is_empty() {
            return Verdict::CONT;
        }
        let names: Vec<&str> = offers.iter().map(|m| m.name()).collect();
        let line = format!("AUTH {}", names.join(" "));
        connection.capabilities.borrow_mut().push(line);
        // With what other plugins offer: each takes what it offered itself.
        let mut allowed = list(connection, ALLOWED);
        for name in names {
            if !allowed.iter().any(|a| a == name) {
                allowed.push(name.into());
            }
        }
        connection.notes.set(ALLOWED, allowed);
        Verdict::CONT
    }

    /// AUTH, and each line of the client while an exchange is under way.
    async fn unrecognized_command(&self, cx: &HookCx, command: UnknownCommand<'_>) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        let pending = self.exchanges.borrow_mut().remove(&connection.uuid);
        let is_auth = command.verb.eq_ignore_ascii_case("AUTH") && !command.rest.is_empty();
        let step = match pending {
            Some(_) if is_auth => {
                connection.notes.set("authenticating", false);
                Step::Close
            }
            Some(exchange) => {
                connection.notes.set("authenticating", false);
                exchange.answer(command.verb)
            }
            None if is_auth => match self.begin(cx, connection, command.rest) {
                Some(step) => step,
                None => return Verdict::CONT,
            },
            None => return Verdict::CONT,
        };
        self.carry_out(cx, connection, step).await
    }

    /// AUT-11.
    async fn mail(&self, cx: &HookCx, from: &Path) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        let user = connection.results.get("auth");
        let user = user.as_ref().and_then(|r| r.get("user"));
        let domain = user
            .and_then(Value::as_str)
            .and_then(|u| u.rsplit_once('@'));
        let Some((_, domain)) = domain.filter(|_| self.backend.rules().constrain_sender) else {
            return Verdict::CONT;
        };
        let sender = from.address.host();
        if domain.is_empty() || sender.is_empty() {
            return Verdict::CONT;
        }
        let (ours, theirs) = (organization::domain(domain), organization::domain(sender));
        if ours == theirs {
            return Verdict::CONT;
        }
        let shown = |domain: Option<String>| domain.unwrap_or_else(|| "null".to_owned());
        let (ours, theirs) = (shown(ours), shown(theirs));
        Verdict::deny(format!(
            "Envelope domain '{theirs}' doesn't match AUTH domain '{ours}'"
        ))
    }

    /// A client that left in the middle of an exchange leaves nothing behind.
    async fn disconnect(&self, cx: &HookCx, _none: ()) -> Verdict {
        if let Some(connection) = &cx.connection {
            self.exchanges.borrow_mut().remove(&connection.uuid);
        }
        Verdict::CONT
    }
}

impl<B: Backend> AuthPlugin<B> {
    /// The command AUTH; `None` if it asks for nothing that was offered here (AUT-09).
    fn begin(&self, cx: &HookCx, connection: &Connection, arguments: &str) -> Option<Step> {
        let mut words = arguments.split_whitespace();
        let mechanism = Mechanism::parse(words.next()?)?;
        if !connection.notes.lists(ALLOWED, mechanism.name())
            || !self.backend.offers(connection).contains(&mechanism)
        {
            return None;
        }
        if connection.notes.truthy("authenticating") {
            // With another plugin.
            return Some(Step::Close);
        }
        if connection.notes.truthy("auth_user") {
            return Some(Step::Refuse(ALREADY));
        }
        if connection.transaction().is_some() {
            return Some(Step::Refuse(IN_TRANSACTION));
        }
        Some(exchange::begin(mechanism, words.next(), || challenge(cx)))
    }

    async fn carry_out(&self, cx: &HookCx, connection: &Connection, step: Step) -> Verdict {
        match step {
            Step::Ask(exchange, text) => {
                connection.notes.set("authenticating", true);
                let mut exchanges = self.exchanges.borrow_mut();
                exchanges.insert(connection.uuid, exchange);
                connection.say(Reply::new(334, text));
                Verdict::OK
            }
            Step::Refuse(reply) => {
                connection.say(reply);
                Verdict::OK
            }
            Step::Close => Verdict::new(Code::DenyDisconnect, "bad protocol"),
            Step::Password(mechanism, login) => {
                let begun = Instant::now();
                let (user, password) = (&login.user, &login.password);
                let answer = Box::pin(self.backend.check_plain(cx, user, password)).await;
                let claim = Claim::new(mechanism, user, begun);
                if answer.finding == Finding::Accepted && !self.backend.rules().blankout_password {
                    let text = password.to_text();
                    connection.notes.set("auth_passwd", text.as_str());
                }
                self.settle(cx, connection, claim, answer).await
            }
            Step::Digest(login) => {
                let begun = Instant::now();
                let answer = Box::pin(self.backend.check_cram_md5(cx, &login)).await;
                let claim = Claim::new(Mechanism::CramMd5, &login.user, begun);
                if answer.finding == Finding::Accepted && !self.backend.rules().blankout_password {
                    connection.notes.set("auth_passwd", login.digest);
                }
                self.settle(cx, connection, claim, answer).await
            }
        }
    }

    async fn settle(
        &self,
        cx: &HookCx,
        connection: &Connection,
        claim: Claim,
        answer: Answer,
    ) -> Verdict {
        let (code, text) = match answer.finding {
            Finding::Accepted => (235, "2.7.0 Authentication successful"),
            Finding::Refused => (535, "5.7.8 Authentication failed"),
            Finding::Unavailable => (454, "4.7.0 Temporary authentication failure"),
        };
        let reply = Reply::new(
            answer.code.unwrap_or(code),
            answer.text.unwrap_or_else(|| text.into()),
        );
        match answer.finding {
            Finding::Accepted => accept(cx, connection, &claim),
            Finding::Refused => return self.refuse(cx, connection, &claim, reply).await,
            Finding::Unavailable => log_plugin!(
                Level::Error,
                cx,
                "nobody can tell whether {} may log in",
                claim.user
            ),
        }
        connection.say(reply);
        Verdict::OK
    }

    /// AUT-06, and the end of a client that goes on guessing (PB-04).
    async fn refuse(
        &self,
        cx: &HookCx,
        connection: &Connection,
        claim: &Claim,
        reply: Reply,
    ) -> Verdict {
        let mechanism = claim.mechanism;
        let failures = connection.notes.get("auth_fails");
        let failures = failures.and_then(|n| n.as_u64()).unwrap_or(0);
        let failures = u32::try_from(failures)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        connection.notes.set("auth_fails", failures);
        let name = format!("{}/{mechanism}", B::NAME);
        connection.results.add("auth", "fail", name);
        let ip = connection.remote_ip();
        let user = &claim.user;
        log_plugin!(
            Level::Notice,
            cx,
            "login of {user:?} by {mechanism} from {ip} failed"
        );
        let delay = self.delay(failures, claim.begun.elapsed());
        log_plugin!(
            Level::Notice,
            cx,
            "delaying for {} seconds",
            delay.as_secs()
        );
        let value = authentication_result_value(user);
        let finding = format!("auth=fail ({}) smtp.auth={value}", claim.method());
        connection.add_auth_result(&finding);
        cx.services.sleep(delay).await;
        connection.say(reply);
        let most = self.backend.rules().max_failures;
        if most > 0 && failures >= most {
            return Verdict::new(Code::DenySoftDisconnect, "4.7.0 Too many failed logins");
        }
        Verdict::OK
    }

    /// A second, and twice as much for each further failure, but not so long that the hook runs out
    /// of time. `spent` is what the check took of that time.
    fn delay(&self, failures: u32, spent: Duration) -> Duration {
        let seconds = 1u64
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u64::MAX);
        let delay = Duration::from_secs(seconds.max(1));
        let most = match self.time_limit {
            Some(limit) => limit
                .saturating_sub(Duration::from_secs(1))
                .saturating_sub(Duration::from_secs(spent.as_secs())),
            None => LONGEST_DELAY,
        };
        delay.min(most)
    }
}

/// The note that lists what was offered.
const ALLOWED: &str = "allowed_auth_methods";

/// Who somebody says they are.
struct Claim {
    mechanism: Mechanism,
    /// Without control characters.
    user: String,
    begun: Instant,
}

impl Claim {
    fn new(mechanism: Mechanism, user: &str, begun: Instant) -> Claim {
        let user = printable(user);
        Claim {
            mechanism,
            user,
            begun,
        }
    }

    /// As Authentication-Results writes it.
    fn method(&self) -> String {
        self.mechanism.name().to_lowercase()
    }
}

/// AUT-05.
fn accept(cx: &HookCx, connection: &Connection, claim: &Claim) {
    connection.set_relaying(true);
    connection.results.add("relay", "pass", &*cx.plugin);
    let results = [
        ("pass", json!(&*cx.plugin)),
        ("method", json!(claim.mechanism.name())),
        ("user", json!(claim.user)),
    ];
    for (key, value) in results {
        connection.results.add("auth", key, value);
    }
    *connection.authheader.borrow_mut() = Some("(authenticated bits=0)\n".into());
    connection.add_auth_result(&format!("auth=pass ({})", claim.method()));
    connection.notes.set("auth_user", &*claim.user);
    let (user, mechanism) = (&claim.user, claim.mechanism);
    log_plugin!(Level::Info, cx, "{user:?} logged in by {mechanism}");
}

fn list(connection: &Connection, note: &str) -> Vec<Value> {
    match connection.notes.get(note) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// What CRAM-MD5 asks a client to sign: never the same twice, and not to be foreseen (PB-04).
fn challenge(cx: &HookCx) -> String {
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    // Random by the system's generator.
    let random = Uuid::new_v4().simple();
    let me = &cx.services.config().me;
    format!("<{random}.{:x}@{me}>", since.as_millis())
}
