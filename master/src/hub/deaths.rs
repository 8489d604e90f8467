//! Workers end: reaped, accounted for, and replaced unless they were asked to go.
//!
//! Exit status 0 without being asked is a death like any other (PB-47). A worker that dies at start
//! ends the start of the server, or the restart that it belongs to; later it only costs its place a
//! pause that grows (PB-41, PB-48).

use std::time::Instant;

use haraka_shared::ipc::{ToMaster, ToWorker};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Hub, Leave, Stopping};
use crate::listeners::ListenerSet;
use crate::poison::set_aside;
use crate::supervise::{Due, REAP_PAUSE, Slot, StopClock, WorkerHandle, YOUNG, back_off};

/// How a process ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Exited(i32),
    Killed(Signal),
}

impl Hub {
    /// Collects the dead. Also those of others, which fall to process 1 of a container.
    pub(super) fn reap(&mut self) -> Result<(), Leave> {
        if self.single {
            return Ok(());
        }
        loop {
            let (pid, end) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, End::Exited(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, End::Killed(signal)),
                Err(nix::errno::Errno::EINTR) => continue,
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
            if let Some(index) = self.workers.iter().position(|w| w.pid == Some(pid)) {
                let worker = self.workers.swap_remove(index);
                self.on_death(worker, end);
            }
        }
        self.hand_over_queue();
        self.leave_if_done()
    }

    /// Collects those that must be dead by now though no signal said so: a tracer that is killed while it
    /// holds a SIGCHLD takes it along.
    pub(super) fn reap_unannounced(&mut self, now: Instant) -> Result<(), Leave> {
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reap_at = None;
            self.reap()?;
        }
        let dying = |w: &WorkerHandle| {
            w.pid.is_some() && (!w.channel.is_open() || w.stopping == Some(StopClock::Killed))
        };
        if !self.workers.iter().any(dying) {
            self.reap_at = None;
        } else if self.reap_at.is_none() {
            self.reap_at = now.checked_add(REAP_PAUSE);
        }
        Ok(())
    }

    fn on_death(&mut self, mut worker: WorkerHandle, end: End) {
        let number = worker.number();
        // Its last words may still be in the channel. If they cannot be read, its end says enough.
        for frame in worker.channel.receive().unwrap_or_default() {
            if let ToMaster::Failed { reason } = frame {
                worker.failure = Some(reason);
            }
        }
        self.forget_in_queries(&worker.incarnation);
        self.seats.vacate(worker.seat);
        self.ledger_watch.watch(Instant::now());
        match end {
            End::Killed(signal) => {
                log_server!(
                    Level::Notice,
                    "worker {number} killed by signal {}",
                    signal.as_str()
                );
            }
            End::Exited(status) if status != 0 || !worker.dismissed => {
                log_server!(
                    Level::Notice,
                    "worker {number} exited with error code: {status}"
                );
            }
            End::Exited(_) => log_server!(Level::Info, "worker {number} has ended"),
        }
        if worker.stopping != Some(StopClock::Killed) {
            self.blame_files(&worker);
        }
        if self.stop.is_some() {
            return;
        }
        let current = worker.generation == self.current.number;
        if worker.dismissed || (worker.outgoing && current) {
            // Its successor may be there, is on its way, or has its time to come.
            if current {
                self.hand_over_slot(worker.slot);
            } else if worker.generation > self.current.number {
                self.leave_files(&worker);
            }
            return;
        }
        let why = match (&worker.failure, end) {
            (Some(reason), _) => reason.clone(),
            (None, End::Killed(signal)) => format!("killed by signal {}", signal.as_str()),
            (None, End::Exited(status)) => format!("exited with status {status}"),
        };
        if worker.generation != self.current.number {
            self.roll_back(&format!("worker {number}: {why}"));
            self.leave_files(&worker);
        } else if !self.current.up {
            self.boot_failed(&format!("worker {number}: {why}"));
        } else {
            if worker.failure.is_some() {
                log_server!(Level::Error, "worker {number} cannot start: {why}");
            }
            let now = Instant::now();
            let young = !worker.ready || now.duration_since(worker.started) < YOUNG;
            self.schedule_refill(worker.slot, young, worker.ready, now);
        }
    }

    /// Two deaths with the same file in hand are that file's fault.
    fn blame_files(&mut self, worker: &WorkerHandle) {
        let queue_dir = &self.current.config.queue_dir;
        for file in worker.flight.in_hand() {
            if !self.suspects.died_with(&file) {
                log_server!(
                    Level::Warn,
                    "worker {} died while it read {file}",
                    worker.number()
                );
                continue;
            }
            match set_aside(queue_dir, &file) {
                Ok(to) => {
                    self.seats.ledger.set_aside();
                    log_server!(
                        Level::Error,
                        "{file} has ended two workers and is set aside as {}",
                        to.display()
                    );
                }
                Err(e) => log_server!(
                    Level::Error,
                    "{file} has ended two workers and cannot be set aside: {e}"
                ),
            }
        }
    }

    pub(super) fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.current.slots.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn schedule_refill(&mut self, number: u32, young: bool, served: bool, now: Instant) {
        let Some(slot) = self.slot_mut(number) else {
            return;
        };
        slot.young_deaths = if young {
            slot.young_deaths.saturating_add(1)
        } else {
            0
        };
        let pause = back_off(slot.young_deaths, served);
        slot.refill_at = Some(now + pause);
        if !pause.is_zero() {
            log_server!(
                Level::Warn,
                "worker {} is started again in {} ms",
                number + 1,
                pause.as_millis()
            );
        }
    }

    /// The server does not come up: everything ends, with an error.
    pub(super) fn boot_failed(&mut self, why: &str) {
        if self.stop.is_some() {
            return;
        }
        log_server!(Level::Crit, "start failed: {why}");
        self.begin_stop(Stopping {
            status: 1,
            failure: Some(format!("start failed: {why}")),
        });
    }

    /// Sends all workers home, in the way that `smtp.ini` says.
    pub(super) fn begin_stop(&mut self, stop: Stopping) {
        let smtp = &self.current.config.smtp;
        let drains = smtp.graceful_shutdown && stop.failure.is_none();
        let time = drains.then_some(smtp.force_shutdown_timeout);
        self.stop = Some(stop);
        self.next = None;
        // With a copy left here, clients would connect and wait for an answer that never comes.
        self.current.listeners = ListenerSet::default();
        let now = Instant::now();
        for index in 0..self.workers.len() {
            self.dismiss(index, time, now);
        }
    }

    /// Ends the loop if the server is to end and nobody is left.
    pub(super) fn leave_if_done(&mut self) -> Result<(), Leave> {
        if self.workers.is_empty()
            && let Some(stop) = self.stop.take()
        {
            return Err(Leave::Exit(stop));
        }
        Ok(())
    }

    /// With `nodes=0` the end of the channel is the end of the worker, and of the server.
    pub(super) fn forget_worker_of_this_process(&mut self) -> Result<(), Leave> {
        let over = |w: &WorkerHandle| w.pid.is_none() && !w.channel.is_open();
        let Some(index) = self.workers.iter().position(over) else {
            return Ok(());
        };
        let worker = self.workers.swap_remove(index);
        if self.stop.is_none() && !self.current.up {
            let why = worker.failure.unwrap_or_else(|| "ended".to_owned());
            self.boot_failed(&why);
        }
        let stop = self.stop.take();
        Err(Leave::Exit(stop.unwrap_or(Stopping {
            status: 1,
            failure: Some("the server ended without being asked".to_owned()),
        })))
    }

    /// Takes the next step of a stop whose time has come.
    pub(super) fn advance_stop(&mut self, index: usize, now: Instant) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        match worker.stopping.map(|clock| clock.due(now)) {
            Some(Due::Stop) => {
                worker.stopping = Some(StopClock::stop(now));
                self.send(index, &ToWorker::Stop);
            }
            Some(Due::Kill) => {
                log_server!(
                    Level::Crit,
                    "Worker {} failed to shutdown. Killing.",
                    worker.number()
                );
                self.kill(index);
            }
            Some(Due::Wait(_)) | None => {}
        }
    }

    /// Ends a worker without asking it.
    pub(super) fn kill(&mut self, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        let Some(pid) = worker.pid else {
            // The worker is this process.
            self.pid_file = None;
            self.control = None;
            std::process::exit(1);
        };
        worker.stopping = Some(StopClock::Killed);
        // It may be dead already and not yet reaped.
        if let Err(e) = kill(pid, Signal::SIGKILL)
            && e != nix::errno::Errno::ESRCH
        {
            log_server!(Level::Crit, "kill {pid}: {e}");
        }
    }
}
