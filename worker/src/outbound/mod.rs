//! The outbound queue of a worker: accept → commit → schedule → route → client → settle.
//!
//! An item has one owner at any time. Those that this worker accepts are its own from the start; the
//! backlog becomes its own when the master says so ([`Outbound::own`]).

mod accept;
mod asked;
pub mod attempt;
mod backlog;
mod batch;
#[cfg(test)]
mod body_tests;
mod bounce;
mod bounces;
pub mod client;
#[cfg(test)]
mod client_tests;
mod conversation;
mod declared;
mod deliver;
mod double_bounces;
mod exchange;
mod extensions;
mod for_plugins;
mod hooks_after;
mod hooks_before;
mod item;
mod kits;
mod ledger;
mod login;
mod mail;
mod mail_hosts;
mod message;
mod no_go;
mod offer;
#[cfg(test)]
mod offer_tests;
mod orders;
pub mod policy;
pub mod pool;
mod remote;
mod requeue;
mod retry;
mod route;
#[cfg(test)]
mod route_tests;
mod sasl;
mod schedule;
mod secure;
#[cfg(test)]
mod secure_tests;
mod settle;
mod shaping;
mod smtputf8;
mod spares;
mod submit;
mod suspend;
mod template;
#[cfg(test)]
mod testing;
mod trash;
mod why;
mod wire_form;
pub mod wish;
mod words;
mod writes;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::config::Config;
use haraka_shared::date::epoch_ms;
use haraka_shared::flight::FlightPage;
use haraka_shared::services::Dns;
use haraka_shared::spool::{
    Claim, Incarnation, Lock, Ownership, QueueName, Reuse, Spool, SpoolError, SpoolOptions,
};
use haraka_shared::traffic::Counted;
use haraka_shared::usage::Usage;

use self::backlog::{flush_domain, flush_portion, rescan_from, take_over};
use self::item::Loaded;
pub(crate) use self::kits::Kits;
use self::ledger::Book;
use self::mail::Mail;
pub(crate) use self::orders::carry_out;
use self::policy::Policies;
use self::schedule::{Job, Schedule, Stats};
use self::shaping::Shaper;
use self::suspend::Suspending;
use self::trash::Trash;
#[cfg(test)]
pub(crate) use self::wire_form::WireForm;
use self::words::Words;
use self::writes::Writes;
use crate::rt;
use crate::rt::sync::{Event, Notify, Semaphore};
use crate::worker::Worker;

/// Why the queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The directory.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The master gave no usable name for this process.
    #[error("{0:?} cannot name a process in queue files")]
    Incarnation(String),
}

/// Deliveries to one domain at the same time, in each worker: what a busy destination takes well,
/// and few enough that one which does not answer leaves room for the others.
const PER_DOMAIN: usize = 50;

/// Longest time that a worker waits for a tool to be done with the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of just accepted messages that are kept in memory for their first delivery; further ones
/// are read from disk when their turn comes.
const FRESH_BYTES: u64 = 64 * 1024 * 1024;

/// Reports that are written at the same time, each with up to three copies of a message.
const REPORTS: usize = 16;

/// How far this worker is with its slot's backlog, and whether a flush waits for it.
#[derive(Clone, Copy, Default)]
struct Takeover {
    done: bool,
    flush: bool,
    under_way: bool,
    /// The share has changed since it began.
    again: bool,
}

/// Flushes of single domains that wait for the backlog to be read; more of them are one of all.
const DOMAINS_TO_FLUSH: usize = 64;

/// The queue of one worker.
pub(crate) struct Outbound {
    spool: Arc<Spool>,
    writes: Writes,
    schedule: RefCell<Schedule>,
    ownership: RefCell<Ownership>,
    /// What was made whole and taken over.
    taken_over: RefCell<Option<Ownership>>,
    /// Items that are being delivered; none of them is started twice.
    in_flight: RefCell<HashSet<QueueName>>,
    /// Items whose last attempt could not be written down yet; none of them is started before.
    held: RefCell<HashSet<QueueName>>,
    fresh: Rc<Cell<u64>>,
    wake: Notify,
    /// There are files that wait for further messages.
    spared: Notify,
    /// Something came to its end; whoever waits for the worker to become idle looks again.
    ended: Notify,
    stopping: Event,
    /// Set, and replaced, at every flush: who waits out local trouble tries again.
    flushed: RefCell<Event>,
    takeover: Cell<Takeover>,
    /// Domains that are to be flushed when the backlog is read.
    to_flush: RefCell<HashSet<String>>,
    flight: Arc<FlightPage>,
    mail: Mail,
    policies: Policies,
    words: Words,
    /// Turns at writing reports, which may hold a message each.
    writing: Semaphore,
    shaper: Shaper,
    suspending: Suspending,
    trash: Trash,
    /// See [`Outbound::trust_disk`].
    orders: Cell<u64>,
    /// Orders under way. Items that they take count as under way, also those that are held or in the trash, which the
    /// book does not have.
    ordered: Cell<usize>,
    book: Rc<Book>,
}

impl Outbound {
    pub(crate) fn new(
        config: &Config,
        slot: u32,
        incarnation: &str,
        flight: Arc<FlightPage>,
        counted: Counted,
        dns: Rc<dyn Dns>,
        kits: Kits,
    ) -> Result<Outbound, OutboundError> {
        let own = Incarnation::parse(incarnation)
            .ok_or_else(|| OutboundError::Incarnation(incarnation.to_owned()))?;
        let spool = Arc::new(open_spool(&config.queue_dir, own)?);
        let book = Rc::new(Book::new(&counted, own));
        let mail = Mail::new(config, Rc::new(kits));
        let wake = Notify::new();
        let shaper = Shaper::new(
            counted,
            Arc::clone(&config.shaping),
            config.warm_up_dir(),
            wake.clone(),
            mail.courier.pool().clone(),
        );
        Ok(Outbound {
            writes: Writes::new(Arc::clone(&spool), &book),
            spool,
            schedule: RefCell::new(Schedule::new(config.outbound.concurrency_max, PER_DOMAIN)),
            ownership: RefCell::new(Ownership::new(1, slot, own).waiting()),
            taken_over: RefCell::default(),
            in_flight: RefCell::default(),
            fresh: Rc::default(),
            wake,
            ended: Notify::new(),
            spared: Notify::new(),
            held: RefCell::default(),
            stopping: Event::new(),
            flushed: RefCell::default(),
            takeover: Cell::default(),
            to_flush: RefCell::default(),
            flight,
            mail,
            policies: Policies::new(config, dns),
            words: Words::default(),
            writing: Semaphore::new(REPORTS),
            shaper,
            suspending: Suspending::new(&config.queue_dir),
            trash: Trash::default(),
            orders: Cell::default(),
            ordered: Cell::default(),
            book,
        })
    }

    pub(super) fn spool(&self) -> Arc<Spool> {
        Arc::clone(&self.spool)
    }

    /// Starts delivering what this worker accepts.
    pub(crate) fn start(&self, worker: &Rc<Worker>) {
        rt::spawn(run(Rc::clone(worker))).detach();
        Shaper::start(worker);
        Suspending::start(worker);
        trash::start(worker);
        ledger::start(worker);
        spares::start(worker);
    }

    /// The suspensions have changed.
    pub(crate) fn suspensions_changed(&self) {
        self.suspending.changed();
    }

    /// The backlog of this slot is ours now (`OwnQueue`): make whole what dead workers left, then
    /// deliver it.
    pub(crate) fn own(
        &self,
        worker: &Rc<Worker>,
        nodes: u32,
        slot: u32,
        incarnations: Vec<(String, u32)>,
    ) {
        let mut ownership = Ownership::new(nodes, slot, self.spool.incarnation()).as_of(epoch_ms());
        for (incarnation, slot) in incarnations {
            if let Some(i) = Incarnation::parse(&incarnation) {
                // A living worker of another slot keeps its files just as a dead one's successor does.
                ownership.claim(i, Claim::Dead { slot });
            }
        }
        *self.ownership.borrow_mut() = ownership;
        self.book.set_settled(false);
        let was = self.takeover.get();
        self.takeover.set(Takeover {
            done: false,
            under_way: true,
            again: was.under_way,
            ..was
        });
        if !was.under_way {
            rt::spawn(take_over(Rc::clone(worker))).detach();
        }
    }

    /// Goes by these settings from now on.
    pub(crate) fn configure(&self, config: &Config) {
        self.mail.configure(config);
        self.policies.configure(config);
        let waited = self.shaper.configure(Arc::clone(&config.shaping));
        let mut schedule = self.schedule.borrow_mut();
        waited
            .into_iter()
            .map(Job::named)
            .for_each(|job| schedule.due_now(job));
        drop(schedule);
        self.wake.notify();
    }

    /// Makes deferred items due, all or those for one domain (HUP, OUT-15).
    pub(crate) fn flush(&self, worker: &Rc<Worker>, domain: Option<String>) {
        self.flushed.replace(Event::new()).set();
        if !self.takeover.get().done {
            self.flush_backlog(domain.as_ref());
        }
        match domain {
            None => {
                self.schedule.borrow_mut().flush(epoch_ms());
                self.wake.notify();
            }
            Some(domain) => {
                self.schedule.borrow_mut().flush_begun(Some(&domain));
                rt::spawn(flush_domain(Rc::clone(worker), domain)).detach();
            }
        }
    }

    /// The backlog is still being read; what it brings is to be flushed as well.
    fn flush_backlog(&self, domain: Option<&String>) {
        let mut domains = self.to_flush.borrow_mut();
        let one = domain.filter(|_| domains.len() < DOMAINS_TO_FLUSH);
        match one {
            Some(domain) => drop(domains.insert(domain.clone())),
            None => self.takeover.set(Takeover {
                flush: true,
                ..self.takeover.get()
            }),
        }
    }

    /// How many items are in which state.
    pub(crate) fn stats(&self) -> Stats {
        let stats = self.schedule.borrow().stats();
        Stats {
            pending: stats.pending + self.shaper.waiting() as u64,
            ..stats
        }
    }

    /// How much of the limits per destination is in use.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        self.shaper.rows()
    }

    /// The next item to start, if there is one and room for it.
    fn next_job(&self, now: u64) -> Option<Job> {
        let mut schedule = self.schedule.borrow_mut();
        if !schedule.has_room() {
            return None;
        }
        if let Some((name, permit)) = self.shaper.next(|domain| schedule.has_lane(domain)) {
            schedule.begun();
            let permit = Some(permit);
            return Some(Job {
                permit,
                ..Job::named(name)
            });
        }
        schedule.start(now)
    }

    /// How long nothing becomes due, if that is known and there is room for more.
    fn pause(&self) -> Option<Duration> {
        let schedule = self.schedule.borrow();
        if !schedule.has_room() {
            return None;
        }
        let due = schedule
            .next_due()
            .map(|due| Duration::from_millis(due.saturating_sub(epoch_ms()).max(1)));
        let look = self
            .shaper
            .next_look()
            .map(|look| Duration::from_micros(look.max(1000)));
        match (due, look) {
            (Some(due), Some(look)) => Some(due.min(look)),
            (due, look) => due.or(look),
        }
    }

    /// Starts no further delivery. With `stop`, gives up those whose data is not being sent yet.
    pub(crate) fn wind_down(&self, stop: bool) {
        self.schedule.borrow_mut().close();
        if stop {
            self.stopping.set();
        }
        self.mail.courier.pool().clear();
        self.ended.notify();
    }

    /// Resolves when nothing is being written or delivered.
    pub(crate) async fn idle(&self) {
        while self.writes.is_busy() || !self.in_flight.borrow().is_empty() {
            // Writes do not ring; a look every moment is cheap in a worker that ends.
            let _ = rt::timeout(Duration::from_millis(20), self.ended.notified()).await;
        }
        self.remove_spares(true).await;
        Box::pin(self.policies.write_counters()).await;
    }

    /// Somebody has found items on disk, and did something with them or is going to: what came into
    /// memory before, or was being committed, is read again before it is delivered.
    pub(crate) fn trust_disk(&self) {
        self.orders.set(self.orders.get() + 1);
    }

    /// Whether a just accepted message may wait for its delivery in memory. `orders`: their number before
    /// its commit began, as its files can be found from somewhere in the middle of that.
    fn keep_fresh(&self, loaded: Loaded, orders: u64) -> Option<Box<Loaded>> {
        let octets = loaded.message.octets();
        let held = self.fresh.get() + octets;
        if held > FRESH_BYTES {
            return None;
        }
        self.fresh.set(held);
        let mut loaded = Box::new(loaded);
        let fresh = item::Fresh::new(Rc::clone(&self.fresh), octets, orders);
        loaded.fresh = Some(fresh);
        Some(loaded)
    }

    /// Flushes so far; see [`Outbound::wait_for`].
    fn flushes(&self) -> u64 {
        self.schedule.borrow().flushes()
    }

    /// An item for this domain that was put off waits for its time, unless there was a flush since its
    /// attempt ended.
    fn wait_for(&self, name: &QueueName, domain: &str, flushes: u64) {
        let mut schedule = self.schedule.borrow_mut();
        schedule.later(name, domain, flushes, epoch_ms());
        drop(schedule);
        self.wake.notify();
    }

    fn wait_until(&self, name: &QueueName, due: u64) {
        self.schedule.borrow_mut().later_at(name, due);
        self.wake.notify();
    }

    /// An item is under way no more. What cannot be written down of it yet stays noted: another process
    /// would do it all again.
    fn release(&self, name: &QueueName) {
        if !self.held.borrow().contains(name) {
            self.book.forget(name);
        }
        self.in_flight.borrow_mut().remove(name);
        self.ended.notify();
    }

    /// What became of an item is written down; the next attempt notes what it does itself.
    fn no_longer_held(&self, name: &QueueName) {
        self.held.borrow_mut().remove(name);
        self.book.forget(name);
    }

    fn flight(&self) -> Arc<FlightPage> {
        Arc::clone(&self.flight)
    }

    /// Time for local trouble to pass; a flush ends it early.
    async fn moment(&self, longest: Duration) {
        let flushed = self.flushed.borrow().clone();
        let _ = rt::timeout(longest, flushed.wait()).await;
    }
}

/// A worker that starts waits for a queue tool to be done with the directory; a tool that is stopped
/// in the middle of that is an error in the end, and the next worker tries again.
fn open_spool(path: &Path, incarnation: Incarnation) -> Result<Spool, SpoolError> {
    let begun = Instant::now();
    loop {
        let options = SpoolOptions {
            incarnation: Some(incarnation),
            lock: Lock::Workers,
            reuse: Reuse::UnderLoad,
            ..SpoolOptions::default()
        };
        match Spool::open(path, options) {
            Err(SpoolError::InUse { .. }) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Starts items as they become due, while there is room.
async fn run(worker: Rc<Worker>) {
    let out = &worker.outbound;
    loop {
        if out.mail.disabled() {
            // Whoever switches it on rings (OUT-17).
            out.wake.notified().await;
            continue;
        }
        let now = epoch_ms();
        while let Some(job) = out.next_job(now) {
            out.book.starts();
            rt::spawn(deliver::lane(Rc::clone(&worker), job)).detach();
        }
        let rescan = out.schedule.borrow_mut().start_rescan(now);
        if let Some(from) = rescan {
            rt::spawn(rescan_from(Rc::clone(&worker), from)).detach();
        }
        let portion = out.schedule.borrow_mut().next_portion();
        if let Some(portion) = portion {
            rt::spawn(flush_portion(Rc::clone(&worker), portion)).detach();
        }
        match out.pause() {
            Some(wait) => {
                let _ = rt::timeout(wait, out.wake.notified()).await;
            }
            None => out.wake.notified().await,
        }
    }
}
