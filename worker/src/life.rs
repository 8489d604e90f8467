//! A worker's life: set up, say Ready, serve, obey the master, drain or stop, end.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haraka_shared::config::{Config, ConfigDir, ConfigError, ListenAddr, Watch};
use haraka_shared::flight::FlightPage;
use haraka_shared::hook::{Call, Code, HookName, Verdict};
use haraka_shared::ipc::{TicketKey, ToMaster, ToWorker};
use haraka_shared::ledger::Ledger;
use haraka_shared::log::{self, Level};
use haraka_shared::log_server;
use haraka_shared::mapping::MappingError;
use haraka_shared::spool::Incarnation;
use haraka_shared::traffic::{Counted, Seat, Traffic};

use crate::channel::{Channel, ChannelError, Received};
use crate::hooks::{LoadError, Registry, Subject, lines};
use crate::js::Origin;
use crate::js::compiled::{Compiled, Recorder, Store};
use crate::outbound::{self, OutboundError};
use crate::reload::Follower;
use crate::rt::{self, Runtime, TcpListener, UnixListener};
use crate::smtp::listener;
use crate::smtp::sessions::Phase;
use crate::tls::{self, Prepared, Remark};
use crate::worker::{Parts, Worker};
use crate::{scheduling, surplus};

/// Everything that the master gives a worker.
pub struct WorkerSetup {
    /// The install directory.
    pub install_dir: PathBuf,
    /// The settings, read before the fork.
    pub config: Config,
    /// Bound sockets with their addresses.
    pub listeners: Vec<(ListenAddr, OwnedFd)>,
    /// Frames to and from the master.
    pub channel: StdUnixStream,
    /// Which of the workers this is, from 0.
    pub slot: u32,
    /// Six characters that name this process in its queue files.
    pub incarnation: String,
    /// Where the worker notes which queue file it is reading.
    pub flight: Arc<FlightPage>,
    /// Where its traffic is counted, together with that of the other workers.
    pub counted: Counted,
    /// Keys that TLS tickets are made with, the present one in front.
    pub ticket_keys: Vec<TicketKey>,
    /// Certificates and keys, by [`equip`].
    pub tls: Prepared,
    /// Scripts that were compiled before the fork.
    pub scripts: Option<Arc<Compiled>>,
}

/// Reads what may be readable by root only, before the worker's process becomes somebody else. What is
/// wrong with it is logged by the first worker.
pub fn equip(setup: &mut WorkerSetup) {
    let Ok(dir) = ConfigDir::open(&setup.install_dir) else {
        // The worker will say so.
        return;
    };
    setup.tls = Prepared::load(&dir, &setup.config);
    if setup.slot == 0 {
        setup.tls.remarks().iter().for_each(Remark::log);
    }
}

/// Why a worker cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The event loop or a socket cannot be made.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration directory cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin cannot be loaded.
    #[error(transparent)]
    Plugins(#[from] LoadError),
    /// The queue cannot be used.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// A plugin's init_master or init_child said no (HOK-01, HOK-02).
    #[error("{0} returned error: {1}")]
    Init(&'static str, String),
    /// What a trial is to do makes no sense.
    #[error("{0}")]
    Trial(String),
    /// The master's frames make no sense.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// How a worker was told to end.
enum End {
    /// Finish what was begun, until this moment.
    Drain(Instant),
    /// At once, but cleanly.
    Stop,
}

/// Time that sessions and deliveries have to notice a stop before they are cut off.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs a worker to its end.
pub fn run(mut setup: WorkerSetup) -> Result<(), WorkerError> {
    scheduling::in_batches();
    let runtime = Runtime::new().map_err(system("event loop"))?;
    runtime.block_on(async move {
        let socket = setup.channel.try_clone().map_err(system("channel"))?;
        let mut channel = Channel::new(socket).map_err(system("channel"))?;
        channel.send(&ToMaster::hello()).await?;
        let (tell, told) = rt::sync::mpsc::unbounded();
        let writer = rt::spawn(channel.writer(told));
        let tls = std::mem::take(&mut setup.tls);
        let worker = match prepare(&setup, tls, tell).await {
            Ok(worker) => worker,
            Err(e) => {
                channel
                    .send(&ToMaster::Failed {
                        reason: e.to_string(),
                    })
                    .await?;
                return Err(e);
            }
        };
        let accepting = listen(&worker, setup.listeners)?;
        worker.tell_master(ToMaster::Ready {
            pid: std::process::id(),
        });
        let end = obey(&worker, &mut channel).await;
        drop(accepting);
        finish(&worker, &mut channel, end).await;
        worker.hooks.shutdown().await;
        // The master may be gone, or not read; then nobody wants to know.
        drop(rt::timeout(STOP_GRACE, writer).await);
        Ok(())
    })
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> WorkerError {
    move |error| WorkerError::System { what, error }
}

async fn prepare(
    setup: &WorkerSetup,
    tls: Prepared,
    master: rt::sync::mpsc::UnboundedSender<ToMaster>,
) -> Result<Rc<Worker>, WorkerError> {
    let held = log::hold();
    let dir = ConfigDir::open(&setup.install_dir)?;
    let watch = Watch::new();
    let follower = Follower::new(&dir, &watch);
    let code = setup.scripts.clone().map_or(Origin::Text, Origin::Compiled);
    let hooks = Registry::load_from(&setup.config, &dir, &setup.install_dir, &watch, &code)?;
    let worker = Worker::new(Parts {
        config: setup.config.clone(),
        dir,
        install_dir: setup.install_dir.clone(),
        hooks,
        watch,
        slot: setup.slot,
        incarnation: &setup.incarnation,
        flight: Arc::clone(&setup.flight),
        counted: setup.counted.clone(),
        tls,
        master,
    })?;
    worker.tls.tickets().replace(&setup.ticket_keys);
    if worker.hooks.wants(HookName::Log) {
        held.offer_to(lines::tap(&Rc::downgrade(&worker)));
    } else {
        drop(held);
    }
    worker.outbound.start(&worker);
    tls::start(&worker, setup.slot == 0);
    follower.start(&worker, setup.slot == 0);
    surplus::start(&worker);
    init_child(&worker).await?;
    Ok(worker)
}

/// Any answer but OK or CONT ends the worker before it serves (HOK-02).
pub(crate) async fn init_child(worker: &Rc<Worker>) -> Result<(), WorkerError> {
    let verdict = ask_server(worker, Call::InitChild(())).await;
    match verdict.code {
        Code::Ok | Code::Cont => Ok(()),
        _ => Err(WorkerError::Init("init_child", said(&verdict))),
    }
}

/// A hook that is about the server itself.
async fn ask_server(worker: &Rc<Worker>, call: Call<'_>) -> Verdict {
    let services = worker.services();
    let subject = Subject {
        connection: None,
        delivery: None,
        services: &services,
    };
    worker.hooks.run(call, &subject).await
}

/// What a plugin said instead of OK.
fn said(verdict: &Verdict) -> String {
    match verdict.message.text() {
        Some(text) => format!("{}: {text}", verdict.code.name()),
        None => verdict.code.name().to_owned(),
    }
}

/// Runs the chain of `init_master` (HOK-01). For a process of its own that ends afterwards, as the
/// master must not hold what plugins leave behind.
pub fn init_master(config: &Config, install_dir: &Path) -> Result<(), WorkerError> {
    let runtime = Runtime::new().map_err(system("event loop"))?;
    runtime.block_on(async {
        let dir = ConfigDir::open(install_dir)?;
        let watch = Watch::new();
        let hooks = Registry::load(config, &dir, install_dir, &watch)?;
        let worker = lone_worker(config, dir, hooks, watch)?;
        let verdict = ask_server(&worker, Call::InitMaster(())).await;
        worker.hooks.shutdown().await;
        match verdict.code {
            Code::Ok | Code::Cont => Ok(()),
            _ => Err(WorkerError::Init("init_master", said(&verdict))),
        }
    })
}

/// A worker without master, listeners and deliveries, so that plugins find what they expect.
pub(crate) fn lone_worker(
    config: &Config,
    dir: ConfigDir,
    hooks: Registry,
    watch: Watch,
) -> Result<Rc<Worker>, WorkerError> {
    let (master, _) = rt::sync::mpsc::unbounded();
    let memory = |e: MappingError| system("memory")(std::io::Error::other(e.to_string()));
    let flight = FlightPage::new().map_err(memory)?;
    let traffic = Traffic::new(1).map_err(memory)?;
    Ok(Worker::new(Parts {
        config: config.clone(),
        install_dir: dir.install_dir().to_owned(),
        dir,
        hooks,
        watch,
        slot: 0,
        incarnation: Incarnation::random().as_str(),
        flight: Arc::new(flight),
        counted: Counted {
            traffic: Arc::new(traffic),
            ledger: Arc::new(Ledger::new(1).map_err(memory)?),
            seat: Seat(0),
        },
        tls: Prepared::default(),
        master,
    })?)
}

/// One task for each socket; dropping them stops accepting.
fn listen(
    worker: &Rc<Worker>,
    listeners: Vec<(ListenAddr, OwnedFd)>,
) -> Result<Vec<rt::Task<()>>, WorkerError> {
    let failed = system("listener");
    listeners
        .into_iter()
        .map(|(addr, fd)| match addr {
            ListenAddr::Tcp(_) => {
                let listener = TcpListener::from_std(fd.into()).map_err(&failed)?;
                Ok(rt::spawn(listener::serve_tcp(Rc::clone(worker), listener)))
            }
            ListenAddr::Unix { .. } => {
                let listener = UnixListener::from_std(fd.into()).map_err(&failed)?;
                Ok(rt::spawn(listener::serve_unix(Rc::clone(worker), listener)))
            }
        })
        .collect()
}

/// Follows the master until it tells the worker to end, or is gone.
async fn obey(worker: &Rc<Worker>, channel: &mut Channel) -> End {
    loop {
        match channel.receive().await {
            Ok(Received::Frame(ToWorker::Drain { deadline_ms })) => {
                return End::Drain(rt::now() + Duration::from_millis(deadline_ms));
            }
            Ok(Received::Frame(ToWorker::Stop)) => return End::Stop,
            Ok(Received::Frame(frame)) => carry_out(worker, frame),
            Ok(Received::NewLog(fd)) => reopen_log(&fd),
            Ok(Received::MasterGone) => {
                log_server!(Level::Crit, "the master is gone, finishing and ending");
                return End::Drain(rt::now() + worker.settings().smtp.force_shutdown_timeout);
            }
            Err(e) => {
                log_server!(Level::Crit, "channel to the master: {e}");
                return End::Drain(rt::now() + worker.settings().smtp.force_shutdown_timeout);
            }
        }
    }
}

fn carry_out(worker: &Rc<Worker>, frame: ToWorker) {
    match frame {
        ToWorker::OwnQueue {
            nodes,
            slot,
            incarnations,
        } => {
            worker.outbound.own(worker, nodes, slot, incarnations);
        }
        ToWorker::Flush { domain } => worker.outbound.flush(worker, domain),
        ToWorker::QueueStats { request } => {
            let stats = worker.outbound.stats();
            worker.tell_master(ToMaster::Stats {
                request,
                in_progress: stats.in_progress,
                pending_delivery: stats.pending,
                deferred: stats.deferred,
            });
        }
        ToWorker::Usage { request } => {
            let rows = worker.outbound.usage();
            worker.tell_master(ToMaster::Usage { request, rows });
        }
        ToWorker::Order { request, order } => outbound::carry_out(worker, request, order),
        ToWorker::Suspensions => worker.outbound.suspensions_changed(),
        ToWorker::TicketKeys { keys } => worker.tls.tickets().replace(&keys),
        // Handled where frames are read.
        ToWorker::Hello { .. } | ToWorker::Drain { .. } | ToWorker::Stop | ToWorker::ReopenLog => {}
    }
}

/// Standard output and error go to the new log file (USR1).
fn reopen_log(fd: &OwnedFd) {
    let moved =
        nix::unistd::dup2_stdout(fd.as_fd()).and_then(|()| nix::unistd::dup2_stderr(fd.as_fd()));
    log::output_changed();
    match moved {
        Ok(()) => log_server!(Level::Notice, "log reopened"),
        Err(e) => log_server!(Level::Error, "log not reopened: {e}"),
    }
}

async fn finish(worker: &Rc<Worker>, channel: &mut Channel, end: End) {
    let (phase, until) = match end {
        End::Drain(until) => (Phase::Draining, until),
        End::Stop => (Phase::Stopping, rt::now() + STOP_GRACE),
    };
    wind_down(worker, phase);
    let done = async {
        worker.sessions.empty().await;
        worker.outbound.idle().await;
    };
    let hurried = async {
        // A drain that the master cuts short.
        loop {
            match channel.receive().await {
                Ok(Received::Frame(ToWorker::Stop)) => return,
                Ok(Received::NewLog(fd)) => reopen_log(&fd),
                Ok(Received::Frame(frame)) => carry_out(worker, frame),
                Ok(Received::MasterGone) | Err(_) => std::future::pending().await,
            }
        }
    };
    let in_time = rt::timeout_at(until, either(done, hurried)).await;
    if in_time != Ok(First::Left) {
        if phase == Phase::Draining {
            wind_down(worker, Phase::Stopping);
        }
        let rest = async {
            worker.sessions.empty().await;
            worker.outbound.idle().await;
        };
        if rt::timeout(STOP_GRACE, rest).await.is_err() {
            let left = worker.sessions.count();
            log_server!(Level::Warn, "ending with {left} sessions still open");
        }
    }
    worker.tell_master(ToMaster::Drained);
}

fn wind_down(worker: &Rc<Worker>, phase: Phase) {
    worker.sessions.enter(phase);
    worker.outbound.wind_down(phase == Phase::Stopping);
}

#[derive(Debug, PartialEq, Eq)]
enum First {
    Left,
    Right,
}

async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) -> First {
    let mut a = std::pin::pin!(a);
    let mut b = std::pin::pin!(b);
    std::future::poll_fn(move |cx| {
        use std::task::Poll;
        if a.as_mut().poll(cx).is_ready() {
            return Poll::Ready(First::Left);
        }
        if b.as_mut().poll(cx).is_ready() {
            return Poll::Ready(First::Right);
        }
        Poll::Pending
    })
    .await
}

/// What the master learns about plugins before it starts anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// One of them wants [`init_master`] to run.
    pub init_master: bool,
}

/// Whether the configuration lists a plugin that is written in JavaScript. Loads nothing.
pub fn has_scripts(install_dir: &Path) -> bool {
    ConfigDir::open(install_dir).is_ok_and(|dir| Registry::has_scripts(&dir))
}

/// Loads plugins, in an event loop where there are scripts: they start timers and read files.
fn with_plugins<T>(dir: &ConfigDir, work: impl FnOnce() -> T) -> Result<T, WorkerError> {
    if !Registry::has_scripts(dir) {
        return Ok(work());
    }
    let runtime = Runtime::new().map_err(system("event loop"))?;
    Ok(runtime.block_on(async { work() }))
}

/// Whether all plugins can be loaded; for the master before it starts anything, so nothing stays. With
/// [`has_scripts`] it belongs into a process of its own. What scripts it compiles goes into `store`.
pub fn check(
    config: &Config,
    install_dir: &Path,
    store: Option<&Store>,
) -> Result<Checked, WorkerError> {
    let dir = ConfigDir::open(install_dir)?;
    let recorder = store.map(|_| Rc::<Recorder>::default());
    let code = recorder.clone().map_or(Origin::Text, Origin::Recorded);
    with_plugins(&dir, || {
        let hooks = Registry::load_from(config, &dir, install_dir, &Watch::new(), &code)?;
        if let Some((store, recorder)) = store.zip(recorder)
            && let Err(e) = store.fill(&recorder)
        {
            log_server!(Level::Warn, "compiled scripts not kept: {e}");
        }
        Ok(Checked {
            init_master: hooks.wants(HookName::InitMaster),
        })
    })?
}

/// What there is to say about the plugins of a configuration, a line each.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What keeps plugins from being loaded.
    pub errors: Vec<String>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
}

/// Tries to load all plugins and certificates and tells all that is wrong; nothing stays.
pub fn inspect(dir: &ConfigDir) -> Inspection {
    let mut found = inspect_plugins(dir);
    if let (Some(config), _) = Config::inspect(dir) {
        for remark in Prepared::load(dir, &config).remarks() {
            match remark.level {
                level if level <= Level::Error => found.errors.push(remark.text.clone()),
                Level::Warn => found.warnings.push(remark.text.clone()),
                _ => {}
            }
        }
    }
    found
}

fn inspect_plugins(dir: &ConfigDir) -> Inspection {
    let inspected = with_plugins(dir, || {
        let loading = Registry::inspect(dir, dir.install_dir(), &Watch::new())?;
        Ok(Inspection {
            errors: loading.errors.iter().map(ToString::to_string).collect(),
            warnings: loading.warnings.iter().map(ToString::to_string).collect(),
        })
    });
    match inspected {
        Ok(Ok(inspection)) => inspection,
        Ok(Err(e)) | Err(e) => Inspection {
            errors: vec![e.to_string()],
            warnings: Vec::new(),
        },
    }
}

/// The run order of all hooks (CLI-11).
pub fn hook_order(config: &Config, install_dir: &Path) -> Result<String, WorkerError> {
    let dir = ConfigDir::open(install_dir)?;
    with_plugins(&dir, || {
        Ok(Registry::load(config, &dir, install_dir, &Watch::new())?.order())
    })?
}
