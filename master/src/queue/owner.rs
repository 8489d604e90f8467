//! Having an order carried out: by the server, whose workers own the items, or by ourselves where
//! none listens.
//!
//! Without a server the directory is locked for as long as one order takes, and the socket is looked
//! at once more under the lock: a server that starts meanwhile waits, and owns the queue afterwards.

use std::time::{Duration, Instant};

use haraka_shared::queue_order::{Order, Outcome, Verb};
use haraka_shared::spool::{
    Lock, QueueReader, Spool, SpoolError, SpoolOptions, StagedName, State, StoredName, Todo,
};
use haraka_shared::waiting::{self, Waiting};
use nix::unistd::geteuid;

use super::{Place, ToolError};
use crate::control::{AskError, ask, give};

/// Longest that a lock of another tool is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Pause before a lock or a server is tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Longest that it is waited for a worker which only starts.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of names in one order; the rest of the line is quotation marks and the verb.
const ORDER_BYTES: usize = 12 * 1024;

/// Most names in one order.
const ORDER_NAMES: usize = 100;

/// Names that are to be returned to their senders, in one order: each waits for the disk.
const BOUNCES: usize = 25;

/// Whether a name still fits into an order that has so many names of so many bytes.
pub(super) fn fits(verb: &Verb, names: usize, bytes: usize) -> bool {
    let most = match verb {
        Verb::Bounce { .. } => BOUNCES,
        _ => ORDER_NAMES,
    };
    names < most && bytes < ORDER_BYTES
}

/// Has an order carried out. The outcomes are in the order of its names.
pub(super) fn carry_out(place: &Place, order: &Order) -> Result<Vec<Outcome>, ToolError> {
    let begun = Instant::now();
    loop {
        match give(&place.install_dir, order) {
            Err(AskError::NotRunning(_)) => {}
            other => return Ok(other?),
        }
        match alone(place) {
            Ok(spool) if !is_running(place) => {
                return Ok(by_ourselves(&spool, place, order));
            }
            // It has started this moment.
            Ok(_) => {}
            Err(SpoolError::InUse { .. }) if begun.elapsed() < PATIENCE => {}
            Err(e) => return Err(e.into()),
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`carry_out`], again for names whose workers only start.
pub(super) fn carry_out_patiently(place: &Place, order: &Order) -> Result<Vec<Outcome>, ToolError> {
    let mut outcomes = carry_out(place, order)?;
    let begun = Instant::now();
    while begun.elapsed() < START_PATIENCE {
        let late: Vec<usize> = (0..)
            .zip(&outcomes)
            .filter(|(_, o)| **o == Outcome::NotYet)
            .map(|(n, _)| n)
            .collect();
        if late.is_empty() {
            break;
        }
        std::thread::sleep(4 * PAUSE);
        let names = late.iter().filter_map(|n| order.names.get(*n).cloned());
        let again = Order {
            verb: order.verb.clone(),
            names: names.collect(),
        };
        for (place, outcome) in late.into_iter().zip(carry_out(place, &again)?) {
            if let Some(known) = outcomes.get_mut(place) {
                *known = outcome;
            }
        }
    }
    Ok(outcomes)
}

fn is_running(place: &Place) -> bool {
    !matches!(
        ask(&place.install_dir, "ping"),
        Err(AskError::NotRunning(_))
    )
}

fn alone(place: &Place) -> Result<Spool, SpoolError> {
    open(place, Lock::Alone)
}

/// The queue directory for writing. What root writes there is given to those who serve.
pub(super) fn open(place: &Place, lock: Lock) -> Result<Spool, SpoolError> {
    let options = SpoolOptions {
        lock,
        give_files_to_owner: geteuid().is_root(),
        ..SpoolOptions::default()
    };
    Spool::open(&place.queue_dir, options)
}

fn by_ourselves(spool: &Spool, place: &Place, order: &Order) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = order
        .names
        .iter()
        .map(|file| one(spool, place, &order.verb, file).unwrap_or_else(failed))
        .collect();
    if let Err(e) = spool.sync_names() {
        for done in outcomes.iter_mut().filter(|o| **o == Outcome::Done) {
            *done = Outcome::Failed(format!("done, but not on disk yet: {e}"));
        }
    }
    outcomes
}

fn failed(e: SpoolError) -> Outcome {
    match e.is_gone() {
        true => Outcome::Gone,
        false => Outcome::Failed(e.to_string()),
    }
}

fn one(spool: &Spool, place: &Place, verb: &Verb, file: &str) -> Result<Outcome, SpoolError> {
    if let Verb::Adopt { hold } = verb {
        let Some(staged) = StagedName::parse(file) else {
            return Ok(Outcome::Refused("was not staged".to_owned()));
        };
        let item = spool.item_of(&staged, *hold);
        return spool.adopt(&staged, &item).map(|()| Outcome::Done);
    }
    let Some(item) = StoredName::parse(file) else {
        return Ok(Outcome::Refused("is no queue file".to_owned()));
    };
    if let Err(why) = verb.fits(item.state) {
        return Ok(Outcome::Refused(why.to_owned()));
    }
    match verb {
        Verb::Why => Ok(Outcome::Said(without_server(place, &item)?)),
        Verb::Bounce { .. } => Ok(Outcome::Refused(
            "cannot be returned while no server runs, which has to write the report; hold it, or \
             start the server"
                .to_owned(),
        )),
        Verb::Retry => {
            let now = haraka_shared::date::epoch_ms();
            if !spool.has(&item)? {
                return Ok(Outcome::Gone);
            }
            if item.name.next_attempt > now {
                spool.defer(&item.name, now, item.name.attempts)?;
            }
            Ok(Outcome::Said(
                "will be tried when a server starts".to_owned(),
            ))
        }
        _ => spool
            .shelve(&item, verb.moves(item.state))
            .map(|_| Outcome::Done),
    }
}

/// What an item waits for, as far as files tell.
fn without_server(place: &Place, item: &StoredName) -> Result<String, SpoolError> {
    let reader = QueueReader::open(&place.queue_dir)?;
    let (todo, _): (Todo, _) = reader.envelope(item)?;
    let now = haraka_shared::date::epoch_ms();
    let hours = place.trash_hours;
    let said = waiting::sentence(item, &todo, &Waiting::Server, hours, now);
    Ok(match item.state {
        State::Queued => said,
        _ => format!("{said} No server runs."),
    })
}
