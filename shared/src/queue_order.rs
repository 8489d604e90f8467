//! What the queue tools ask of a running server, and what it answers: through the control socket to
//! the master, from there to the workers, of which the owner of an item acts.
//!
//! Values only; who does what with them is `worker/src/outbound/orders.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spool::State;

/// What is to be done with items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Try them now.
    Retry,
    /// Keep them back.
    Hold,
    /// Let held ones go on.
    Release,
    /// Throw them away.
    Remove {
        /// When that was asked, in milliseconds since 1970: what one command removes comes back
        /// together.
        at: u64,
    },
    /// Bring them back from the trash.
    Undo,
    /// Return them to their senders.
    Bounce {
        /// What the report says; empty for a text of ours.
        reason: String,
    },
    /// Tell what they wait for.
    Why,
    /// Make items of files that were staged by an import.
    Adopt {
        /// They are to be held.
        hold: bool,
    },
}

impl Verb {
    /// What has been done, for log lines.
    #[must_use]
    pub fn done(&self) -> &'static str {
        match self {
            Verb::Retry => "retried",
            Verb::Hold => "held",
            Verb::Release => "released",
            Verb::Remove { .. } => "removed",
            Verb::Undo => "restored",
            Verb::Bounce { .. } => "bounced",
            Verb::Why => "looked at",
            Verb::Adopt { .. } => "imported",
        }
    }
}

impl Verb {
    /// Whether an item that stands here can be dealt with like that; if not, why.
    pub fn fits(&self, state: State) -> Result<(), &'static str> {
        match (self, state) {
            (Verb::Undo, State::Trashed { .. }) | (Verb::Why, _) => Ok(()),
            (Verb::Undo, _) => Err("is not in the trash"),
            (_, State::Trashed { .. }) => Err("is in the trash"),
            (Verb::Hold, State::Held) => Err("is held already"),
            (Verb::Retry, State::Held) => Err("is held; release it first"),
            (Verb::Release, State::Queued) => Err("is not held"),
            _ => Ok(()),
        }
    }

    /// Where an item that stands here stands afterwards.
    #[must_use]
    pub fn moves(&self, state: State) -> State {
        match self {
            Verb::Hold => State::Held,
            Verb::Release => State::Queued,
            Verb::Remove { at } => state.trashed(*at),
            Verb::Undo => state.restored(),
            Verb::Retry | Verb::Bounce { .. } | Verb::Why | Verb::Adopt { .. } => state,
        }
    }
}

/// A verb with the names of the files that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What to do.
    pub verb: Verb,
    /// With which; each as it is in the queue directory.
    pub names: Vec<String>,
}

/// What became of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is done.
    Done,
    /// An answer, or what was done instead.
    Said(String),
    /// It is being delivered just now, and was left alone.
    Delivering,
    /// There is no file of that name (any more).
    Gone,
    /// Whoever owns it only starts; soon.
    NotYet,
    /// It makes no sense for an item that stands where this one does.
    Refused(String),
    /// It was tried and did not work.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Said(text) | Outcome::Refused(text) | Outcome::Failed(text) => {
                f.write_str(text)
            }
            Outcome::Delivering => f.write_str("is being delivered just now, and was left alone"),
            Outcome::Gone => f.write_str("is not in the queue any more"),
            Outcome::NotYet => f.write_str("no worker answers for it just now; try again"),
        }
    }
}
