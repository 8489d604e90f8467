//! The ledger as the master sees it: what dead workers had must be with others once those have taken over
//! (ADR 0027), and everything is told to who asks.

use std::time::{Duration, Instant};

use haraka_shared::ledger::{In, Ledger, Out, Outcome, Tallied};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use serde_json::{Map, Value, json};

use super::Hub;

/// Between two looks while there is something to see.
const EACH: Duration = Duration::from_secs(1);

/// Domains, and providers, that one answer tells of.
const MOST_ROWS: usize = 1000;

/// When to look, and what was seen.
#[derive(Debug, Default)]
pub struct LedgerWatch {
    look_at: Option<Instant>,
    /// The estate that the last look found when nobody was dying or taking over.
    last: Option<i64>,
}

impl LedgerWatch {
    /// For a server that starts: its queue is to be found first.
    pub fn new(now: Instant) -> LedgerWatch {
        LedgerWatch {
            look_at: Some(now + EACH),
            last: None,
        }
    }

    /// A worker has died: what it had is to be taken over.
    pub fn watch(&mut self, now: Instant) {
        self.last = None;
        self.look_at = Some(now + EACH);
    }

    /// When there is something to look at.
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }
}

impl Hub {
    /// Looks whether all that dead workers had was taken over, as long as that is open.
    pub(super) fn check_ledger(&mut self, now: Instant) {
        if self.ledger_watch.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.ledger_watch.look_at = Some(now + EACH);
        if !self.all_settled() {
            self.ledger_watch.last = None;
            return;
        }
        let ledger = &self.seats.ledger;
        ledger.settle_batches();
        if !ledger.is_founded() {
            ledger.found();
        }
        let estate = ledger.estate();
        if estate == 0 {
            // The sums say that nothing is missing: these went while their process died.
            drop(ledger.take_lost());
            self.ledger_watch = LedgerWatch::default();
        } else if self.ledger_watch.last.replace(estate) == Some(estate) {
            log_server!(
                Level::Alert,
                "ledger: drift: {} items of workers that died {} [perhaps of {}]; their queue files, if there are any, \
                 are scheduled",
                estate.unsigned_abs(),
                if estate > 0 {
                    "were not found by others"
                } else {
                    "were in no book"
                },
                lost(ledger)
            );
            ledger.write_off(estate);
            self.ledger_watch = LedgerWatch::default();
        }
    }

    /// Every place has one worker, and each of them has taken over and counted what is its own.
    fn all_settled(&self) -> bool {
        let settled = |seat| self.seats.ledger.page(seat).is_settled();
        let current = self.current.number;
        self.current.owns_queue
            && self.workers.len() == self.current.slots.len()
            && self
                .workers
                .iter()
                .all(|w| w.generation == current && w.ready && !w.outgoing && settled(w.seat))
    }

    /// The ledger as JSON.
    pub(super) fn tell_ledger(&self) -> String {
        format!("ok {}", as_json(&self.seats.ledger))
    }
}

/// The items that nobody found, as patterns of their names: what a dead worker knew of them is gone but
/// for their numbers. As many as an alarm has.
fn lost(ledger: &Ledger) -> String {
    let lost = ledger.take_lost().into_iter();
    let names: Vec<String> = lost
        .map(|(incarnation, serial)| format!("*_{incarnation}_{serial}_*"))
        .collect();
    names.join(" ")
}

fn as_json(ledger: &Ledger) -> Value {
    let totals = ledger.totals();
    let ins = In::ALL.iter().zip(totals.ins);
    // Inherited items came in before, by another worker.
    let ins = ins.filter(|(kind, _)| **kind != In::Inherited);
    let ins: Map<String, Value> = ins.map(|(k, n)| (k.word().to_owned(), n.into())).collect();
    let outs = Out::ALL.iter().zip(totals.outs);
    let outs: Map<String, Value> = outs.map(|(k, n)| (k.word().to_owned(), n.into())).collect();
    let rows = |rows: Vec<Tallied>| -> Vec<Value> {
        let row = |row: Tallied| {
            let counts = Outcome::ALL.iter().zip(row.recipients);
            let mut object = Map::new();
            object.insert("name".to_owned(), row.name.into());
            object.extend(counts.map(|(o, n)| (o.word().to_owned(), n.into())));
            Value::Object(object)
        };
        rows.into_iter().map(row).collect()
    };
    json!({
        "in": ins,
        "out": outs,
        "queued": totals.queued,
        "estate": totals.estate,
        "drift": totals.drift,
        // Nobody has looked yet what became of these.
        "doubts": ledger.doubts().len(),
        "closes": totals.closes(),
        "domains": rows(ledger.domains(MOST_ROWS)),
        "providers": rows(ledger.providers(MOST_ROWS)),
    })
}
