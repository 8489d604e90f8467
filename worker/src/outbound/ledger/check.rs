//! The check of each second in which anything happens: what the page has left is what the schedule knows.
//!
//! Counting names is cheap and nearly always enough. Where the numbers differ the names are compared,
//! and where those differ twice the directory is read, which names the items.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use haraka_shared::ledger::{In, Out};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::spool::{QueueName, State, StoredName};

use crate::outbound::Outbound;
use crate::rt;
use crate::worker::Worker;

/// Between two checks.
const EACH: Duration = Duration::from_secs(1);

/// Checks for which a difference that was explained is taken for granted.
const EXPLAINED: u32 = 60;

/// Names in one alarm.
const MOST_NAMES: usize = 20;

/// Items that are scheduled again at one look; further ones are found by the next.
const MOST_AGAIN: usize = 10_000;

/// What one check leaves for the next.
#[derive(Default)]
struct Memory {
    /// A difference that names standing twice explain, and for how long.
    explained: Option<(i64, u32)>,
    /// Names in the schedule whose items are gone.
    stale: HashSet<u64>,
    /// The last check found a difference.
    suspicious: bool,
}

impl Memory {
    fn is_clear(&self) -> bool {
        self.explained.is_none() && self.stale.is_empty() && !self.suspicious
    }
}

/// Checks for as long as the worker runs.
pub(in crate::outbound) fn start(worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    rt::spawn(async move {
        let mut memory = Memory::default();
        loop {
            rt::sleep(EACH).await;
            Box::pin(check(&worker, &mut memory)).await;
            if memory.is_clear() {
                // What agrees stays so until something happens: a server at rest is not woken.
                worker.outbound.book.stirred.notified().await;
            }
        }
    })
    .detach();
}

async fn check(worker: &Rc<Worker>, memory: &mut Memory) {
    let out = &worker.outbound;
    for _ in 0..100 {
        if out.book.starting.get() == 0 {
            break;
        }
        // Jobs that have not begun are in no book.
        rt::sleep(Duration::from_millis(1)).await;
    }
    if !out.can_be_checked() {
        *memory = Memory::default();
        return;
    }
    let difference = out.entries().wrapping_sub(out.book.page().left());
    if difference == 0 {
        *memory = Memory::default();
        return;
    }
    if let Some((known, left)) = &mut memory.explained
        && *known == difference
        && *left > 0
    {
        *left -= 1;
        return;
    }
    let known = out.known();
    let count = |known: &HashSet<u64>, stale: &HashSet<u64>| {
        known.difference(stale).count() as i64 + out.between()
    };
    memory.stale.retain(|identity| known.contains(identity));
    if count(&known, &memory.stale) == out.book.page().left() {
        memory.explained = Some((difference, EXPLAINED));
        memory.suspicious = false;
        return;
    }
    memory.explained = None;
    if !std::mem::replace(&mut memory.suspicious, true) {
        return;
    }
    if let Some(stale) = Box::pin(look(worker, known)).await {
        memory.stale = stale;
    }
    memory.suspicious = false;
}

impl Outbound {
    fn between(&self) -> i64 {
        i64::try_from(self.book.between.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    }

    /// Whether all items have their names in memory, and none is on its way into the book.
    fn can_be_checked(&self) -> bool {
        let schedule = self.schedule.borrow();
        self.takeover.get().done
            && self.book.starting.get() == 0
            && self.ordered.get() == 0
            && schedule.is_all_in_memory()
            && !schedule.is_closed()
    }

    fn entries(&self) -> i64 {
        let named = self.schedule.borrow().entries() + self.shaper.waiting();
        let in_hand = self.in_flight.borrow().len() + self.held.borrow().len();
        i64::try_from(named + in_hand)
            .unwrap_or(i64::MAX)
            .saturating_add(self.between())
    }

    fn each_known(&self, mut each: impl FnMut(&QueueName)) {
        self.schedule.borrow().for_each(&mut each);
        self.shaper.for_each(&mut each);
        self.in_flight.borrow().iter().for_each(&mut each);
        self.held.borrow().iter().for_each(&mut each);
    }

    /// The items that this worker has in memory by name.
    pub(in crate::outbound) fn known(&self) -> HashSet<u64> {
        let mut known = HashSet::new();
        self.each_known(|name| {
            known.insert(name.identity_hash());
        });
        known
    }
}

/// Reads the directory, and puts right and tells what differs. Gives names in memory that stand for
/// nothing; none if it could not be read.
async fn look(worker: &Rc<Worker>, before: HashSet<u64>) -> Option<HashSet<u64>> {
    let out = &worker.outbound;
    let (spool, ownership) = (out.spool(), out.ownership.borrow().clone());
    let own = spool.incarnation();
    let first_new = first_new(out);
    out.book.went.replace(Some(HashSet::new()));
    let asked = before.clone();
    let found = rt::offload(move || {
        let (mut there, mut unknown) = (HashSet::new(), Vec::new());
        let scanned = spool.scan(&ownership, |name| {
            let identity = name.identity_hash();
            there.insert(identity);
            let new = name.incarnation == Some(own) && name.counter >= first_new;
            if !new && !asked.contains(&identity) && unknown.len() < MOST_AGAIN {
                unknown.push(name.to_owned());
            }
        });
        scanned.map(|()| (there, unknown))
    })
    .await;
    let (there, unknown) = match found {
        Ok(Ok(found)) => found,
        Ok(Err(e)) => return not_read(out, &e.to_string()),
        Err(e) => return not_read(out, &e.to_string()),
    };
    let mut absent: Vec<QueueName> = Vec::new();
    out.each_known(|name| {
        let identity = name.identity_hash();
        if before.contains(&identity) && !there.contains(&identity) {
            absent.push(name.clone());
        }
    });
    // A name that changed while the directory was read may not have been in it.
    let spool = out.spool();
    let absent = rt::offload(move || {
        let gone = |name: &QueueName| {
            let (state, name) = (State::Queued, name.clone());
            matches!(spool.has(&StoredName { state, name }), Ok(false))
        };
        absent.into_iter().filter(gone).collect::<Vec<_>>()
    })
    .await
    .unwrap_or_default();
    let under_way = |name: &QueueName| out.in_flight.borrow().contains(name);
    let stale = absent.iter().filter(|name| !under_way(name));
    let stale: HashSet<u64> = stale.map(|name| name.identity_hash()).collect();
    put_right(out, unknown, &stale);
    Some(stale)
}

/// Items from this serial number on are on their way into the schedule, or come later. A batch that is
/// being committed has its numbers already; one that ends meanwhile is in between.
fn first_new(out: &Outbound) -> u32 {
    let next = out.spool().next_serial();
    let under_way = out
        .book
        .page()
        .batch()
        .map_or(next, |first| first.min(next));
    under_way.wrapping_sub(u32::try_from(out.between()).unwrap_or(0))
}

fn not_read(out: &Outbound, why: &str) -> Option<HashSet<u64>> {
    out.book.went.replace(None);
    log_server!(Level::Error, "ledger: queue not read: {why}");
    None
}

fn put_right(out: &Outbound, unknown: Vec<QueueName>, stale: &HashSet<u64>) {
    let went = out.book.went.take().unwrap_or_default();
    if !out.can_be_checked() {
        return;
    }
    let known = out.known();
    let is_new = |name: &QueueName| {
        let identity = name.identity_hash();
        !known.contains(&identity) && !went.contains(&identity)
    };
    let unknown: Vec<QueueName> = unknown.into_iter().filter(is_new).collect();
    let page = out.book.page();
    let left = page.left();
    let scheduled = known.difference(stale).count() as i64 + out.between();
    let missing = left - scheduled - unknown.len() as i64;
    if missing == 0 && unknown.is_empty() {
        return;
    }
    match u64::try_from(missing) {
        Ok(missing) => page.went(Out::Missing, missing),
        Err(_) => page.came(In::Stray, missing.unsigned_abs()),
    }
    page.drifted(unknown.len() as u64 + missing.unsigned_abs());
    let vanished = out.book.vanished.borrow();
    let lost: Vec<&str> = vanished
        .iter()
        .filter(|name| missing > 0 && !known.contains(&name.identity_hash()))
        .map(|name| name.as_str())
        .collect();
    let names: Vec<&str> = unknown
        .iter()
        .take(MOST_NAMES)
        .map(|n| n.as_str())
        .collect();
    log_server!(
        Level::Alert,
        "ledger: drift: {left} items by the book, {scheduled} in the schedule; on disk only, and \
         scheduled again: {} [{}]; in neither: {} [perhaps of {}]",
        unknown.len(),
        names.join(" "),
        missing.max(0),
        lost.join(" ")
    );
    drop(vanished);
    for name in &unknown {
        out.wait_until(name, name.next_attempt);
    }
}
