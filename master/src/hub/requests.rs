//! What signals, the control socket and workers ask of the master.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use haraka_shared::ipc::ToWorker;
use haraka_shared::log::Level;
use haraka_shared::log_server;
use haraka_shared::usage::{Usage, Usages};
use nix::unistd::{dup2_stderr, dup2_stdout};

use super::{Hub, Leave, Stopping};
use crate::control::{ClientId, Command};
use crate::daemon::open_log;
use crate::signals::Request;

/// Time for the workers to tell how much is in the queue.
const STAT_LIMIT: Duration = Duration::from_secs(2);

/// A client's question about the queue.
#[derive(Debug)]
pub struct StatQuery {
    client: ClientId,
    request: u64,
    /// Incarnations that have not answered.
    waiting: Vec<String>,
    answered: usize,
    asked: Asked,
    /// It is answered then with what is known.
    pub until: Instant,
}

/// What is asked, and what the workers have told so far.
#[derive(Debug)]
enum Asked {
    /// Deliveries under way, pending, deferred.
    Counts([u64; 3]),
    /// How much of the limits is in use.
    Usage(Usages),
}

impl Asked {
    fn frame(&self, request: u64) -> ToWorker {
        match self {
            Asked::Counts(_) => ToWorker::QueueStats { request },
            Asked::Usage(_) => ToWorker::Usage { request },
        }
    }
}

impl Hub {
    pub(super) fn on_signal(&mut self, request: Request) -> Result<(), Leave> {
        match request {
            Request::Reap => return self.reap(),
            Request::Flush => self.flush(None),
            Request::ReopenLog => self.reopen_log(),
            Request::Restart => return self.restart().map(drop),
            Request::Stop(name) => {
                log_server!(Level::Notice, "{name} received");
                return self.stop_or_kill();
            }
        }
        Ok(())
    }

    /// The first time all workers are asked to end, the second time they are made to.
    fn stop_or_kill(&mut self) -> Result<(), Leave> {
        if let Some(stop) = &mut self.stop {
            stop.status = 1;
            for index in 0..self.workers.len() {
                self.kill(index);
            }
        } else {
            log_server!(Level::Info, "Shutting down.");
            self.begin_stop(Stopping {
                status: 0,
                failure: None,
            });
        }
        self.leave_if_done()
    }

    pub(super) fn on_command(&mut self, client: ClientId, command: Command) -> Result<(), Leave> {
        let answer = match command {
            Command::Ping => "ok".to_owned(),
            Command::Flush(domain) => {
                self.flush(domain);
                "ok flushing the queue".to_owned()
            }
            Command::Graceful => match self.restart()? {
                Ok(()) => "ok restarting".to_owned(),
                Err(why) => format!("error {}", why.replace('\n', "; ")),
            },
            Command::Queue(order) => {
                self.order(client, order);
                return Ok(());
            }
            Command::Suspensions => {
                self.send_all(&ToWorker::Suspensions);
                "ok".to_owned()
            }
            Command::Ledger => self.tell_ledger(),
            Command::Stat => {
                self.ask_workers(client, Asked::Counts([0; 3]));
                return Ok(());
            }
            Command::Usage => {
                self.ask_workers(client, Asked::Usage(Usages::default()));
                return Ok(());
            }
        };
        self.answer(client, &answer);
        Ok(())
    }

    pub(super) fn answer(&mut self, client: ClientId, line: &str) {
        if let Some(control) = &mut self.control {
            control.answer(client, line);
        }
    }

    /// Deferred mail is tried now (PRC-12).
    pub(super) fn flush(&mut self, domain: Option<String>) {
        match &domain {
            None => log_server!(Level::Notice, "Flushing the temp fail queue"),
            Some(domain) => log_server!(Level::Notice, "Flushing the temp fail queue for {domain}"),
        }
        let served: Vec<u32> = self
            .workers
            .iter()
            .filter(|w| w.ready && w.generation == self.current.number)
            .map(|w| w.slot)
            .collect();
        for (number, slot) in (0u32..).zip(&mut self.current.slots) {
            slot.flush_missed |= !served.contains(&number);
        }
        self.send_all(&ToWorker::Flush { domain });
    }

    /// Opens the daemon's log by its name again and hands it to the workers, who may not be
    /// allowed to open it themselves.
    fn reopen_log(&mut self) {
        let Some(path) = &self.log_file else {
            log_server!(Level::Notice, "no log file to reopen: not a daemon");
            return;
        };
        let opened = open_log(path).and_then(|log| {
            dup2_stdout(&log)?;
            dup2_stderr(&log)?;
            haraka_shared::log::output_changed();
            Ok(log)
        });
        let log = match opened {
            Ok(log) => log,
            Err(e) => {
                log_server!(Level::Error, "{}: {e}; the old log goes on", path.display());
                return;
            }
        };
        for index in 0..self.workers.len() {
            let sent = log
                .as_fd()
                .try_clone_to_owned()
                .map(|fd| self.send_log(index, fd));
            if let Err(e) = sent {
                log_server!(Level::Error, "log for a worker: {e}");
            }
        }
        log_server!(Level::Notice, "log file reopened");
    }

    fn send_log(&mut self, index: usize, log: OwnedFd) {
        let Some(worker) = self.workers.get_mut(index) else {
            return;
        };
        if let Err(e) = worker.channel.send_with(&ToWorker::ReopenLog, log) {
            log_server!(Level::Crit, "worker {}: {e}", worker.number());
            self.kill(index);
        }
    }

    fn ask_workers(&mut self, client: ClientId, asked: Asked) {
        self.asked += 1;
        let request = self.asked;
        let ready = self.workers.iter().filter(|w| w.ready);
        let frame = asked.frame(request);
        self.queries.push(StatQuery {
            client,
            request,
            waiting: ready.map(|w| w.incarnation.clone()).collect(),
            answered: 0,
            asked,
            until: Instant::now() + STAT_LIMIT,
        });
        for index in 0..self.workers.len() {
            if self.workers.get(index).is_some_and(|w| w.ready) {
                self.send(index, &frame);
            }
        }
        self.answer_complete_queries();
    }

    pub(super) fn on_stats(&mut self, request: u64, from: &str, counts: [u64; 3]) {
        self.on_answer(request, from, |asked| {
            if let Asked::Counts(sums) = asked {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum = sum.saturating_add(count);
                }
            }
        });
    }

    pub(super) fn on_usage(&mut self, request: u64, from: &str, rows: Vec<Usage>) {
        self.on_answer(request, from, |asked| {
            if let Asked::Usage(all) = asked {
                all.add(rows);
            }
        });
    }

    fn on_answer(&mut self, request: u64, from: &str, take: impl FnOnce(&mut Asked)) {
        let Some(query) = self.queries.iter_mut().find(|q| q.request == request) else {
            return;
        };
        let Some(place) = query.waiting.iter().position(|i| i == from) else {
            return;
        };
        query.waiting.swap_remove(place);
        query.answered += 1;
        take(&mut query.asked);
        self.answer_complete_queries();
    }

    /// A worker died: nobody waits for it.
    pub(super) fn forget_in_queries(&mut self, incarnation: &str) {
        for query in &mut self.queries {
            query.waiting.retain(|i| i != incarnation);
        }
        self.forget_in_orders(incarnation);
        self.answer_complete_queries();
    }

    fn answer_complete_queries(&mut self) {
        self.answer_queries(|q| q.waiting.is_empty());
    }

    pub(super) fn answer_late_queries(&mut self, now: Instant) {
        self.answer_queries(|q| now >= q.until);
    }

    fn answer_queries(&mut self, mut over: impl FnMut(&StatQuery) -> bool) {
        let over: Vec<StatQuery> = self.queries.extract_if(.., |q| over(q)).collect();
        for query in over {
            let (answered, silent) = (query.answered, query.waiting.len());
            let line = match query.asked {
                Asked::Counts([in_progress, pending, deferred]) => format!(
                    "ok in_progress={in_progress} pending={pending} deferred={deferred} \
                     workers={answered} silent={silent}"
                ),
                Asked::Usage(all) => {
                    let rows = all.into_rows();
                    let rows: Vec<_> = rows.iter().map(Usage::to_json).collect();
                    format!("ok {}", serde_json::Value::Array(rows))
                }
            };
            self.answer(query.client, &line);
        }
    }
}
