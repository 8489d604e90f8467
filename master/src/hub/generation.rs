//! Workers are born: the first generation at start, replacements in their places, and a whole new
//! generation for a graceful restart.
//!
//! A restart never leaves fewer workers than before (PB-45, PB-46): the new configuration is
//! checked first, the old workers drain only once all new ones are ready, and if these do not come
//! up they are the ones to go. The queue changes hands when the last old worker is gone, so that no
//! file has two owners.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::flight::FlightPage;
use haraka_shared::ipc::ToWorker;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::resident;
use haraka_worker::WorkerSetup;
use haraka_worker::tls::Prepared;

use super::{Hub, Leave, NewWorker, Tickets};
use crate::boot;
use crate::channel::Channel;
use crate::fork::{Forked, fork};
use crate::seats::Seats;
use crate::supervise::{Generation, READY_LIMIT, StopClock, WorkerHandle, new_incarnation};

/// Incarnations in the table before a restart makes a fresh one; far below a frame's limit.
const MOST_INCARNATIONS: usize = 50_000;

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error(transparent)]
    Channel(#[from] crate::channel::ChannelError),
    #[error(transparent)]
    Flight(#[from] haraka_shared::mapping::MappingError),
    #[error("descriptors for a worker: {0}")]
    Descriptors(#[from] std::io::Error),
    #[error("fork: {0}")]
    Fork(#[from] nix::Error),
}

/// Which generation a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Current,
    Next,
}

impl Hub {
    /// Starts the first generation. The only worker of a single process is there already.
    pub(super) fn fill_slots(&mut self) -> Result<(), Leave> {
        if self.single {
            return Ok(());
        }
        for slot in 0..self.current.nodes() {
            if let Err(e) = self.spawn(Which::Current, slot)? {
                self.boot_failed(&e.to_string());
                return self.leave_if_done();
            }
        }
        Ok(())
    }

    /// Fills the places whose time has come.
    pub(super) fn refill(&mut self, now: Instant) -> Result<(), Leave> {
        if self.stop.is_some() {
            return Ok(());
        }
        for number in 0..self.current.nodes() {
            let Some(slot) = self.slot_mut(number) else {
                continue;
            };
            if slot.refill_at.is_none_or(|at| at > now) {
                continue;
            }
            slot.refill_at = None;
            if self.current.incarnations.len() > MOST_INCARNATIONS {
                // A refusal is logged, and comes again with the next death.
                self.restart()?.unwrap_or_default();
            }
            if let Err(e) = self.spawn(Which::Current, number)? {
                log_server!(Level::Crit, "worker {} cannot be started: {e}", number + 1);
                self.schedule_refill(number, true, false, now);
            }
        }
        Ok(())
    }

    /// Forks one worker. The outer error is the child's way out.
    fn spawn(&mut self, which: Which, slot: u32) -> Result<Result<(), SpawnError>, Leave> {
        let install_dir = self.install_dir.clone();
        let generation = match (which, &mut self.next) {
            (Which::Next, Some(next)) => next,
            (Which::Next, None) => return Ok(Ok(())),
            (Which::Current, _) => &mut self.current,
        };
        match fork_one(
            generation,
            slot,
            install_dir,
            &self.tickets,
            &mut self.seats,
        ) {
            Ok(Born::Known(handle)) => {
                log_server!(
                    Level::Notice,
                    "worker started worker={} pid={}",
                    handle.number(),
                    handle.pid.map_or(0, nix::unistd::Pid::as_raw)
                );
                self.workers.push(*handle);
                Ok(Ok(()))
            }
            Ok(Born::Myself(worker)) => Err(Leave::Worker(worker)),
            Err(e) => Ok(Err(e)),
        }
    }

    /// A worker accepts connections now.
    pub(super) fn on_ready(&mut self, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        worker.ready = true;
        let (number, slot, generation) = (worker.number(), worker.slot, worker.generation);
        let serving = if generation == self.current.number {
            Some(&self.current)
        } else {
            self.next.as_ref().filter(|next| next.number == generation)
        };
        let Some(serving) = serving else { return };
        for addr in serving.listeners.addresses() {
            log_server!(Level::Notice, "worker {number} listening on {addr}");
        }
        if generation != self.current.number {
            if self.all_ready(generation, serving.nodes()) {
                self.commit();
            }
        } else if self.current.up {
            self.dismiss_predecessors(index);
            self.hand_over_slot(slot);
        } else if self.stop.is_none() && self.all_ready(generation, self.current.nodes()) {
            self.current.up = true;
            if let Some(readiness) = self.readiness.take() {
                readiness.serving();
            }
            self.hand_over_queue();
            resident::let_go_of_files();
        }
    }

    /// A worker asks to be replaced. A restart under way does that as well.
    pub(super) fn replace(&mut self, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        let (number, place) = (worker.number(), worker.slot);
        if worker.outgoing
            || worker.dismissed
            || worker.generation != self.current.number
            || self.stop.is_some()
            || self.next.is_some()
        {
            return;
        }
        if self.single {
            log_server!(
                Level::Warn,
                "worker {number} asks to be replaced, which is not possible with nodes=0"
            );
            return;
        }
        worker.outgoing = true;
        log_server!(
            Level::Notice,
            "worker {number} asks to be replaced: starting another"
        );
        self.refill_now(place);
    }

    fn refill_now(&mut self, place: u32) {
        if let Some(slot) = self.slot_mut(place) {
            slot.refill_at = Some(Instant::now());
        }
    }

    /// A worker of a restart that failed has gone, and may have left mail in the queue. Who serves in its
    /// slot has long taken over what was there, and cannot do so again beside its own deliveries: a
    /// successor does, for which there is a way.
    pub(super) fn leave_files(&mut self, gone: &WorkerHandle) {
        let slot = self.current.inherit_from(&gone.incarnation, gone.slot);
        let Some(slot) = slot.filter(|_| gone.ready) else {
            return;
        };
        let generation = self.current.number;
        let here = |w: &&mut WorkerHandle| {
            w.slot == slot && w.generation == generation && !w.outgoing && !w.dismissed
        };
        // If nobody is there, whoever comes next hears of the files.
        if let Some(worker) = self.workers.iter_mut().find(here) {
            worker.outgoing = true;
            log_server!(
                Level::Notice,
                "worker {} is replaced, to take over what the restart that failed has left in the queue",
                worker.number()
            );
            self.refill_now(slot);
        }
    }

    /// Whoever asked for this worker finishes what it has and ends.
    fn dismiss_predecessors(&mut self, index: usize) {
        let Some(successor) = self.workers.get(index) else {
            return;
        };
        let (slot, generation) = (successor.slot, successor.generation);
        let time = self.current.config.smtp.force_shutdown_timeout;
        let now = Instant::now();
        for other in 0..self.workers.len() {
            let asked = self.workers.get(other).is_some_and(|w| {
                w.outgoing && !w.dismissed && w.slot == slot && w.generation == generation
            });
            if asked && other != index {
                self.dismiss(other, Some(time), now);
            }
        }
    }

    /// Tells the worker of a place that its share of the queue is its own, once it is alone there.
    pub(super) fn hand_over_slot(&mut self, slot: u32) {
        let generation = self.current.number;
        let here = |w: &WorkerHandle| w.slot == slot && w.generation == generation;
        let mut there = (0..).zip(&self.workers).filter(|(_, w)| here(w));
        let (Some((index, worker)), None) = (there.next(), there.next()) else {
            return;
        };
        if !self.current.owns_queue || !worker.ready || worker.dismissed {
            return;
        }
        let own = self.current.own_queue(slot, self.next.as_ref());
        self.send(index, &own);
        let missed = self
            .slot_mut(slot)
            .map(|s| std::mem::take(&mut s.flush_missed));
        if missed == Some(true) {
            self.send(index, &ToWorker::Flush { domain: None });
        }
    }

    fn all_ready(&self, generation: u64, nodes: u32) -> bool {
        (0..nodes).all(|slot| {
            self.workers
                .iter()
                .any(|w| w.generation == generation && w.slot == slot && w.ready && !w.dismissed)
        })
    }

    /// Replaces all workers. `Err` in the inner result is the reason why not; the workers in place
    /// go on then.
    pub(super) fn restart(&mut self) -> Result<Result<(), String>, Leave> {
        match self.prepare_restart() {
            Ok(next) => {
                let nodes = next.nodes();
                log_server!(Level::Notice, "graceful restart: starting {nodes} workers");
                self.next = Some(next);
                for slot in 0..nodes {
                    if let Err(e) = self.spawn(Which::Next, slot)? {
                        self.roll_back(&e.to_string());
                        return Ok(Err(e.to_string()));
                    }
                }
                Ok(Ok(()))
            }
            Err(refused) => {
                for line in refused.lines() {
                    log_server!(Level::Error, "graceful restart: {line}");
                }
                Ok(Err(refused))
            }
        }
    }

    fn prepare_restart(&self) -> Result<Generation, String> {
        if self.single {
            return Err("not possible with nodes=0 in smtp.ini".to_owned());
        }
        if self.stop.is_some() {
            return Err("the server is stopping".to_owned());
        }
        let older = self
            .workers
            .iter()
            .any(|w| w.generation != self.current.number);
        if !self.current.up || self.next.is_some() || older {
            return Err("Restart currently in progress - ignoring request".to_owned());
        }
        let now = Instant::now();
        let next = boot::load(&self.install_dir, &self.side)
            .and_then(|vetted| {
                boot::generation(vetted, self.current.number + 1, now, Some(&self.current))
            })
            .map_err(|e| e.to_string())?;
        if next.config.smtp.nodes == haraka_shared::config::Nodes::One {
            return Err("nodes=0 needs the server to be stopped and started".to_owned());
        }
        Ok(next)
    }

    /// All new workers are ready: the old ones finish what they have.
    fn commit(&mut self) {
        let Some(next) = self.next.take() else { return };
        let old = std::mem::replace(&mut self.current, next);
        self.current.up = true;
        boot::apply_log(&self.current.config);
        let time = old.config.smtp.force_shutdown_timeout;
        let numbers: Vec<u32> = self.current_workers().map(WorkerHandle::number).collect();
        log_server!(Level::Notice, "Reload complete, workers: {numbers:?}");
        let now = Instant::now();
        for index in 0..self.workers.len() {
            if self
                .workers
                .get(index)
                .is_some_and(|w| w.generation == old.number)
            {
                self.dismiss(index, Some(time), now);
            }
        }
        self.hand_over_queue();
        resident::let_go_of_files();
    }

    /// A restart has failed: the new workers go, the old ones stay.
    pub(super) fn roll_back(&mut self, why: &str) {
        let Some(next) = self.next.take() else { return };
        self.current.entertain(&next);
        log_server!(
            Level::Error,
            "graceful restart failed, the workers in place go on: {why}"
        );
        let now = Instant::now();
        for index in 0..self.workers.len() {
            if self
                .workers
                .get(index)
                .is_some_and(|w| w.generation == next.number)
            {
                self.dismiss(index, None, now);
            }
        }
    }

    /// Tells the current workers that the queue is theirs, once no older worker lives.
    pub(super) fn hand_over_queue(&mut self) {
        let current = self.current.number;
        let others = self.workers.iter().any(|w| w.generation < current);
        if !self.current.up || self.current.owns_queue || others {
            return;
        }
        self.current.owns_queue = true;
        for index in 0..self.workers.len() {
            let Some(worker) = self.workers.get(index) else {
                continue;
            };
            if worker.generation == current && worker.ready {
                let own = self.current.own_queue(worker.slot, self.next.as_ref());
                self.send(index, &own);
            }
        }
    }

    /// Asks a worker to end: within `time`, or at once.
    pub(super) fn dismiss(&mut self, index: usize, time: Option<Duration>, now: Instant) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        worker.dismissed = true;
        if matches!(worker.stopping, Some(StopClock::Killed)) {
            return;
        }
        let (clock, frame) = match time {
            Some(time) if !time.is_zero() => {
                let deadline_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                (StopClock::drain(now, time), ToWorker::Drain { deadline_ms })
            }
            _ => (StopClock::stop(now), ToWorker::Stop),
        };
        worker.stopping = Some(clock);
        self.send(index, &frame);
    }

    fn current_workers(&self) -> impl Iterator<Item = &WorkerHandle> {
        let current = self.current.number;
        self.workers.iter().filter(move |w| w.generation == current)
    }

    /// When a replacement counts as failed to start. A generation as a whole has its own limit.
    pub(super) fn start_limit(worker: &WorkerHandle) -> Option<Instant> {
        let waiting = !worker.ready && worker.stopping.is_none() && worker.pid.is_some();
        waiting.then(|| worker.started + READY_LIMIT)
    }

    /// Ends what did not become ready in time.
    pub(super) fn give_up_on_late_starters(&mut self, now: Instant) {
        let limit = READY_LIMIT.as_secs();
        if self.next.as_ref().is_some_and(|next| now >= next.up_by) {
            self.roll_back(&format!("not ready within {limit} s"));
        }
        if !self.current.up && now >= self.current.up_by && self.stop.is_none() {
            self.boot_failed(&format!("workers not ready within {limit} s"));
        }
        for index in 0..self.workers.len() {
            let Some(worker) = self.workers.get(index) else {
                continue;
            };
            if Self::start_limit(worker).is_some_and(|at| now >= at) {
                log_server!(
                    Level::Crit,
                    "worker {} is not ready after {limit} s. Killing.",
                    worker.number()
                );
                self.kill(index);
            }
        }
    }
}

enum Born {
    Known(Box<WorkerHandle>),
    Myself(Box<NewWorker>),
}

fn fork_one(
    generation: &mut Generation,
    slot: u32,
    install_dir: PathBuf,
    tickets: &Tickets,
    seats: &mut Seats,
) -> Result<Born, SpawnError> {
    // All that can fail comes before the fork, where one place deals with it.
    let (channel, theirs) = Channel::pair()?;
    let flight = FlightPage::new()?;
    let incarnation = new_incarnation(&generation.incarnations);
    let listeners = generation.listeners.for_slot(slot)?;
    let counted = seats.take();
    let seat = counted.seat;
    match fork().inspect_err(|_| seats.vacate(seat))? {
        Forked::Master(pid) => {
            generation.incarnations.push((incarnation.clone(), slot));
            Ok(Born::Known(Box::new(WorkerHandle {
                pid: Some(pid),
                slot,
                generation: generation.number,
                incarnation,
                channel,
                flight,
                seat,
                started: Instant::now(),
                ready: false,
                stopping: None,
                dismissed: false,
                outgoing: false,
                failure: None,
            })))
        }
        Forked::Worker(blocked) => Ok(Born::Myself(Box::new(NewWorker {
            setup: WorkerSetup {
                install_dir,
                config: generation.config.clone(),
                listeners,
                channel: theirs,
                slot,
                incarnation,
                flight: Arc::new(flight),
                counted,
                ticket_keys: tickets.keys(),
                tls: Prepared::default(),
                scripts: generation.scripts.clone(),
            },
            identity: generation.identity.clone(),
            blocked: Some(blocked),
        }))),
    }
}
