//! The script of a [`Sink`](super::sink::Sink): which stage of which connection is answered how.
//! Pure data and look-up; the first rule that fits wins, no rule means the friendly default.

use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The point of the conversation at which a rule acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Greeting,
    /// EHLO, HELO or LHLO; see [`Stage::Helo`] to treat HELO apart.
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    /// After the final dot. In LMTP once per accepted recipient.
    Dot,
    Rset,
    Quit,
    /// Offered by [`Sink::secure`](super::sink::Sink::secure).
    StartTls,
    /// AUTH and each line that follows of it.
    Auth,
    /// Any other command.
    Other,
}

/// What the sink does at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The reply as text; LF separates lines, each is sent with CRLF.
    Reply(String),
    /// Bytes as they are: broken replies, bare LF, half a line.
    Raw(Vec<u8>),
    /// Reply, then drop the connection.
    ReplyThenDrop(String),
    /// Drop the connection without a word.
    Drop,
    /// Keep the connection, read and answer nothing any more.
    Stall,
}

/// Keeps the sink from acting until the test opens it: what happens meanwhile may take its time.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Lets what waits here go on, and what comes later pass.
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// What comes from now on waits again.
    pub fn shut(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What comes before an action.
#[derive(Clone, Debug)]
pub enum Wait {
    For(Duration),
    Behind(Gate),
}

impl Wait {
    const NONE: Self = Self::For(Duration::ZERO);
}

/// One line of the script.
#[derive(Clone, Debug)]
pub struct Rule {
    stage: Stage,
    containing: Option<String>,
    connections: (std::ops::Bound<usize>, std::ops::Bound<usize>),
    remaining: Option<usize>,
    wait: Wait,
    action: Action,
    used: usize,
}

impl Rule {
    /// At this stage, reply with `text`; `"250"` without a blank and several lines (LF) are possible.
    pub fn reply(stage: Stage, text: &str) -> Self {
        Self::act(stage, Action::Reply(text.to_owned()))
    }

    /// At this stage, drop the connection without a reply.
    pub fn drop(stage: Stage) -> Self {
        Self::act(stage, Action::Drop)
    }

    /// At this stage, reply and then drop the connection.
    pub fn reply_then_drop(stage: Stage, text: &str) -> Self {
        Self::act(stage, Action::ReplyThenDrop(text.to_owned()))
    }

    /// At this stage, stop reading and answering, but keep the connection open.
    pub fn stall(stage: Stage) -> Self {
        Self::act(stage, Action::Stall)
    }

    /// At this stage, do as `action` says.
    pub fn act(stage: Stage, action: Action) -> Self {
        use std::ops::Bound::Unbounded;
        Self {
            stage,
            containing: None,
            connections: (Unbounded, Unbounded),
            remaining: None,
            wait: Wait::NONE,
            action,
            used: 0,
        }
    }

    /// How often it has acted.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Only for lines with this text: a recipient, a sender. At the dot, for that recipient (LMTP), or for
    /// messages that have that recipient (SMTP).
    pub fn containing(mut self, text: &str) -> Self {
        self.containing = Some(text.to_owned());
        self
    }

    /// Only on these connections; the first one has number 1.
    pub fn on_connections(mut self, range: impl RangeBounds<usize>) -> Self {
        self.connections = (range.start_bound().cloned(), range.end_bound().cloned());
        self
    }

    /// Only the first `count` times; later the next fitting rule or the default acts.
    pub fn times(mut self, count: usize) -> Self {
        self.remaining = Some(count);
        self
    }

    /// Wait before acting.
    pub fn after(mut self, delay: Duration) -> Self {
        self.wait = Wait::For(delay);
        self
    }

    /// As the default reply of the stage, only later.
    pub fn delay(stage: Stage, delay: Duration) -> Self {
        Self::reply(stage, "").after(delay)
    }

    /// As the default reply of the stage, once the gate is open.
    pub fn behind(stage: Stage, gate: &Gate) -> Self {
        let mut rule = Self::reply(stage, "");
        rule.wait = Wait::Behind(gate.clone());
        rule
    }

    fn fits(&self, stage: Stage, text: &str, connection: usize) -> bool {
        let stage_fits = self.stage == stage || (self.stage == Stage::Ehlo && stage == Stage::Helo);
        stage_fits
            && self.remaining != Some(0)
            && self.connections.contains(&connection)
            && self
                .containing
                .as_ref()
                .is_none_or(|part| text.contains(part.as_str()))
    }
}

/// Looks up what to do, and counts down the rule that was used.
pub fn decide(
    rules: &mut [Rule],
    stage: Stage,
    text: &str,
    connection: usize,
    default: &str,
) -> (Wait, Action) {
    let usual = || Action::Reply(default.to_owned());
    let Some(rule) = rules
        .iter_mut()
        .find(|rule| rule.fits(stage, text, connection))
    else {
        return (Wait::NONE, usual());
    };
    rule.used += 1;
    if let Some(count) = &mut rule.remaining {
        *count -= 1;
    }
    let action = match &rule.action {
        Action::Reply(text) if text.is_empty() => usual(),
        action => action.clone(),
    };
    (rule.wait.clone(), action)
}
