//! The master's life after start-up: one `poll(2)` loop over signals, the control socket and a
//! channel per worker. No threads, no epoll, and nothing in it waits.
//!
//! This file holds the state and the loop; `generation.rs` forks and replaces workers, `deaths.rs`
//! deals with their ends, `requests.rs` with what signals and clients ask for, `orders.rs` with the queue tools, `tickets.rs` has the keys
//! of TLS tickets. A method that may
//! fork gives [`Leave`] when this process is the child: it returns through every caller and drops
//! the hub on its way, which closes all that was the master's.

mod deaths;
mod generation;
mod ledger;
mod orders;
mod requests;
mod tickets;

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use haraka_shared::ipc::{ToMaster, ToWorker};
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_worker::WorkerSetup;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::WorkerSide;
use crate::control::Control;
use crate::daemon::Readiness;
use crate::fork::Blocked;
use crate::pidfile::PidFile;
use crate::poison::Suspects;
use crate::seats::Seats;
use crate::signals::Signals;
use crate::supervise::{Due, Generation, StopClock, WorkerHandle};

pub use ledger::LedgerWatch;
pub use orders::OrderQuery;
pub use requests::StatQuery;
pub use tickets::Tickets;

/// Everything the master has while it serves.
#[derive(Debug)]
pub struct Hub {
    /// The install directory.
    pub install_dir: PathBuf,
    /// What a worker runs.
    pub side: WorkerSide,
    /// The handlers.
    pub signals: Signals,
    /// `None` if the socket could not be had.
    pub control: Option<Control>,
    /// The configuration that serves.
    pub current: Generation,
    /// The configuration that is being brought up by a restart.
    pub next: Option<Generation>,
    /// All worker processes of all generations.
    pub workers: Vec<WorkerHandle>,
    /// Files that were in hand when workers died.
    pub suspects: Suspects,
    /// Set when the server is meant to end.
    pub stop: Option<Stopping>,
    /// The process that waits for the daemon to serve.
    pub readiness: Option<Readiness>,
    /// The daemon's log, by its name.
    pub log_file: Option<PathBuf>,
    /// Held until the end.
    pub pid_file: Option<PidFile>,
    /// Questions about the queue that wait for workers.
    pub queries: Vec<StatQuery>,
    /// Orders of the queue tools that workers have.
    pub orders: Vec<OrderQuery>,
    /// Numbers of questions given out.
    pub asked: u64,
    /// Where workers count their traffic.
    pub seats: Seats,
    /// What of the ledger is open.
    pub ledger_watch: LedgerWatch,
    /// Keys of TLS tickets.
    pub tickets: Tickets,
    /// When the dead are looked for though no signal told of one.
    pub reap_at: Option<Instant>,
    /// The worker runs in this process (`nodes=0`): nothing is forked, nothing is reaped.
    pub single: bool,
}

/// The server is meant to end.
#[derive(Debug)]
pub struct Stopping {
    /// Exit status of the master.
    pub status: u8,
    /// Why, if the server did not come up.
    pub failure: Option<String>,
}

/// Why the loop ended.
pub enum Leave {
    /// The server has ended.
    Exit(Stopping),
    /// This process is a new worker.
    Worker(Box<NewWorker>),
}

/// What a new worker starts with.
pub struct NewWorker {
    /// For the worker's side.
    pub setup: WorkerSetup,
    /// Who to become first.
    pub identity: Option<crate::privileges::Identity>,
    /// To be dropped once the hub is.
    pub blocked: Option<Blocked>,
}

/// Longest sleep; a wake-up for nothing each hour costs nothing, and keeps the arithmetic small.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

impl Hub {
    /// Starts the workers and serves until the end. In a child this returns with its setup.
    pub fn run(mut self) -> Leave {
        let leave = match self.serve() {
            Ok(never) => match never {},
            Err(leave) => leave,
        };
        if let Leave::Exit(stop) = &leave {
            // Whoever hears of the failure may start again at once: nothing is in the way.
            self.pid_file = None;
            self.control = None;
            if let Some(readiness) = self.readiness.take() {
                readiness.failed(stop.failure.as_deref().unwrap_or("stopped while starting"));
            }
        }
        leave
    }

    fn serve(&mut self) -> Result<std::convert::Infallible, Leave> {
        self.fill_slots()?;
        loop {
            // Workers leave the table only when they are reaped, so the indices hold until then.
            for index in self.wait() {
                self.on_channel(index)?;
            }
            for request in self.signals.take() {
                self.on_signal(request)?;
            }
            self.forget_worker_of_this_process()?;
            let now = Instant::now();
            let commands = self
                .control
                .as_mut()
                .map(|c| c.turn(now))
                .unwrap_or_default();
            for (client, command) in commands {
                self.on_command(client, command)?;
            }
            self.on_time(Instant::now())?;
        }
    }

    /// Sleeps until something happens. Gives the workers whose channels have something.
    fn wait(&self) -> Vec<usize> {
        let mut waiting = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let interest = |write| match write {
            true => PollFlags::POLLIN | PollFlags::POLLOUT,
            false => PollFlags::POLLIN,
        };
        let control = self.control.iter().flat_map(Control::descriptors);
        waiting.extend(control.map(|(fd, write)| PollFd::new(fd, interest(write))));
        let first_worker = waiting.len();
        let open = |w: &&WorkerHandle| w.channel.is_open();
        let indices: Vec<usize> = (0..)
            .zip(&self.workers)
            .filter(|(_, w)| open(w))
            .map(|(i, _)| i)
            .collect();
        waiting.extend(
            self.workers
                .iter()
                .filter(open)
                .map(|w| PollFd::new(w.channel.as_fd(), interest(w.channel.wants_to_write()))),
        );
        let now = Instant::now();
        let sleep = self
            .next_deadline()
            .map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now))
            .min(LONGEST_SLEEP);
        // Rounded up, so that the deadline has come when the sleep is over.
        let millis = u16::try_from(sleep.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut waiting, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => log_server!(Level::Crit, "poll: {e}"),
        }
        let happened = |fd: &PollFd<'_>| fd.revents().is_some_and(|e| !e.is_empty());
        let channels = waiting.iter().skip(first_worker);
        indices
            .into_iter()
            .zip(channels)
            .filter(|(_, fd)| happened(fd))
            .map(|(index, _)| index)
            .collect()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let stops = self
            .workers
            .iter()
            .filter_map(|w| match w.stopping?.due(Instant::now()) {
                Due::Wait(until) => until,
                Due::Stop | Due::Kill => Some(Instant::now()),
            });
        let starts = self.workers.iter().filter_map(Self::start_limit);
        let refills = self.current.slots.iter().filter_map(|s| s.refill_at);
        let boots = [Some(&self.current), self.next.as_ref()];
        let boots = boots
            .into_iter()
            .flatten()
            .filter(|g| !g.up)
            .map(|g| g.up_by);
        let queries = self.queries.iter().map(|q| q.until);
        let orders = self.orders.iter().map(|o| o.until);
        let control = self.control.as_ref().and_then(Control::deadline);
        stops
            .chain(starts)
            .chain(refills)
            .chain(boots)
            .chain(queries)
            .chain(orders)
            .chain(control)
            .chain(self.ledger_watch.look_at())
            .chain(self.reap_at)
            .chain([self.tickets.change_at(), self.seats.sweep_at()])
            .min()
    }

    fn on_channel(&mut self, index: usize) -> Result<(), Leave> {
        let Some(worker) = self.workers.get_mut(index) else {
            return Ok(());
        };
        let number = worker.number();
        let written = worker.channel.flush();
        let received = worker.channel.receive();
        match written.and(received) {
            Ok(frames) => {
                for frame in frames {
                    self.on_frame(index, frame)?;
                }
            }
            Err(e) => {
                log_server!(Level::Crit, "worker {number}: {e}");
                self.kill(index);
            }
        }
        // A worker that closed its channel is about to die; one that goes on without it is no use.
        if let Some(worker) = self.workers.get_mut(index)
            && !worker.channel.is_open()
            && worker.pid.is_some()
            && worker.stopping.is_none()
        {
            worker.stopping = Some(StopClock::stop(Instant::now()));
        }
        Ok(())
    }

    fn on_frame(&mut self, index: usize, frame: ToMaster) -> Result<(), Leave> {
        let Some(worker) = self.workers.get_mut(index) else {
            return Ok(());
        };
        match frame {
            ToMaster::Ready { .. } => self.on_ready(index),
            ToMaster::Failed { reason } => worker.failure = Some(reason),
            ToMaster::Drained => {
                let number = worker.number();
                log_server!(Level::Info, "worker {number} has nothing left to do");
            }
            ToMaster::Stats {
                request,
                in_progress,
                pending_delivery,
                deferred,
            } => {
                let of = worker.incarnation.clone();
                self.on_stats(request, &of, [in_progress, pending_delivery, deferred]);
            }
            ToMaster::Usage { request, rows } => {
                let of = worker.incarnation.clone();
                self.on_usage(request, &of, rows);
            }
            ToMaster::OrderDone { request, outcomes } => {
                let of = worker.incarnation.clone();
                self.on_order_done(request, &of, outcomes);
            }
            ToMaster::FlushQueue { domain } => self.flush(domain),
            ToMaster::GracefulRestart => return self.restart().map(drop),
            ToMaster::Successor => self.replace(index),
            // The channel lets only the first one through, which it keeps.
            ToMaster::Hello { .. } => {}
        }
        Ok(())
    }

    /// What is due at this time.
    fn on_time(&mut self, now: Instant) -> Result<(), Leave> {
        for index in 0..self.workers.len() {
            self.advance_stop(index, now);
        }
        self.give_up_on_late_starters(now);
        self.answer_late_queries(now);
        self.answer_late_orders(now);
        if self.tickets.change(now) {
            let keys = self.tickets.keys();
            self.send_all(&ToWorker::TicketKeys { keys });
        }
        self.seats.sweep(now);
        self.check_ledger(now);
        self.reap_unannounced(now)?;
        self.refill(now)
    }

    /// Sends to one worker. One that cannot be sent to is killed, and replaced like any other.
    fn send(&mut self, index: usize, frame: &ToWorker) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        if let Err(e) = worker.channel.send(frame) {
            log_server!(Level::Crit, "worker {}: {e}", worker.number());
            self.kill(index);
        }
    }

    fn send_all(&mut self, frame: &ToWorker) {
        for index in 0..self.workers.len() {
            self.send(index, frame);
        }
    }
}
