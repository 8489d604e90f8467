//! The start-up ladder, rung by rung. The order is the security argument: everything that needs
//! root comes first, nothing from the network is read before root is given up, and whatever can be
//! wrong is found out while somebody still looks at the terminal.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use haraka_shared::config::{Config, ConfigDir, ConfigError, Nodes, Warning};
use haraka_shared::flight::FlightPage;
use haraka_shared::ipc::{ToMaster, encode};
use haraka_shared::log::Level;
use haraka_shared::{log, log_server};
use haraka_worker::tls::Prepared;
use haraka_worker::{Checked, Compiled, Store, WorkerSetup};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::WorkerSide;
use crate::apart::{self, Ended};
use crate::channel::{Channel, ChannelError};
use crate::control::Control;
use crate::daemon::{self, Readiness, Side};
use crate::hub::{Hub, Leave, LedgerWatch, NewWorker, Stopping, Tickets};
use crate::init_master::{self, InitMasterError};
use crate::listeners::{ListenError, ListenerSet};
use crate::pidfile::{PidFile, PidFileError};
use crate::poison::Suspects;
use crate::privileges::{Identity, PrivilegeError, prepare_queue_dir};
use crate::seats::Seats;
use crate::signals::Signals;
use crate::supervise::{Generation, READY_LIMIT, Slot, WorkerHandle, new_incarnation};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration, every error of it.
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    /// Plugins that cannot be loaded.
    #[error("{0}")]
    Plugins(String),
    /// User or group.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// A plugin's init_master.
    #[error(transparent)]
    InitMaster(#[from] InitMasterError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The pid file.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// Any other file or system call.
    #[error("{what}: {cause}")]
    Io {
        /// What for.
        what: String,
        /// Why.
        cause: io::Error,
    },
    /// The channel to the worker of this process.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Another server runs in this directory.
    #[error("Haraka is already running in {}", .0.display())]
    Running(PathBuf),
    /// The server did not come up, or went down by itself.
    #[error("{0}")]
    Failed(String),
}

fn lines<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join("\n")
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> BootError {
    move |cause| BootError::Io {
        what: what.to_owned(),
        cause,
    }
}

/// Starts the server of an install directory (an absolute path) and serves. Comes back when the
/// server has ended, with its exit status; in the process that went before a daemon, when that
/// serves; and in each worker, when that has ended.
pub fn start(install_dir: &Path, side: WorkerSide) -> Result<u8, BootError> {
    // Settings first: all else depends on them, and nothing is touched if they are wrong.
    let (config, warnings) = settings(install_dir)?;
    apply_log(&config);
    if let Ok(dir) = ConfigDir::open(install_dir) {
        dir.overrides().announce();
    }
    log_server!(
        Level::Notice,
        "Starting up Haraka version {}",
        env!("CARGO_PKG_VERSION")
    );
    let vetted = vet(config, warnings, install_dir, &side)?;
    let init_master = vetted.checked.init_master;

    // Each client and each delivery takes a descriptor; the workers inherit the limit.
    raise_descriptor_limit();

    // Ports below 1024 need root, so they are bound before it is given up; a port in use ends here.
    let generation = generation(vetted, 0, Instant::now(), None)?;

    // Plugins that prepare what all workers use, while nothing is served yet.
    if init_master {
        let identity = generation.identity.as_ref();
        init_master::run(&generation.config, install_dir, identity, side)?;
    }

    // The last errors that concern the terminal alone: a server that runs, a log that cannot be
    // opened. Then into the background, where this process goes on as another one.
    let background = Background::prepare(&generation.config)?;
    let (pid_file, log_file, readiness) = match background {
        None => (None, None, None),
        Some(background) => match background.enter()? {
            Entered::Started(fared) => {
                // The sockets' names are the daemon's now.
                std::mem::forget(generation);
                return fared.map(|()| 0).map_err(BootError::Failed);
            }
            Entered::Daemon(pid_file, log_file, readiness) => {
                (Some(pid_file), Some(log_file), Some(readiness))
            }
        },
    };

    // From here on the daemon's starter hears of failures through `readiness`.
    let single = generation.config.smtp.nodes == Nodes::One;
    let hub = match equip(install_dir, side, generation, single) {
        Ok(hub) => {
            // Said when signals are handled: scripts wait for this line and then send some.
            for addr in hub.current.listeners.addresses() {
                log_server!(Level::Notice, "Listening on {addr}");
            }
            Hub {
                log_file,
                pid_file,
                readiness,
                ..hub
            }
        }
        Err(e) => {
            log_server!(Level::Crit, "{e}");
            if let Some(readiness) = readiness {
                readiness.failed(&e.to_string());
            }
            return Err(e);
        }
    };

    // Fork and supervise; each worker gives up root before it reads a byte from the network.
    if single {
        serve_alone(hub)
    } else {
        finish(hub.run(), side)
    }
}

/// Reads and checks the configuration of an install directory. Warnings are logged.
pub fn load(install_dir: &Path, side: &WorkerSide) -> Result<Vetted, BootError> {
    let (config, warnings) = settings(install_dir)?;
    vet(config, warnings, install_dir, side)
}

/// A configuration whose plugins can be loaded.
pub struct Vetted {
    /// The settings.
    pub config: Config,
    /// What its plugins want.
    pub checked: Checked,
    /// Its scripts, compiled.
    pub scripts: Option<Arc<Compiled>>,
}

/// Logs the warnings and looks whether plugins can be loaded.
fn vet(
    config: Config,
    warnings: Vec<Warning>,
    install_dir: &Path,
    side: &WorkerSide,
) -> Result<Vetted, BootError> {
    for warning in warnings {
        log_server!(Level::Warn, "{warning}");
    }
    if config.smtp.nodes_unset {
        log_server!(Level::Warn, "smtp.ini: nodes is not set, using 1");
    }
    if !haraka_worker::has_scripts(install_dir) {
        let checked = (side.check)(&config, install_dir, None).map_err(BootError::Plugins)?;
        return Ok(Vetted {
            config,
            checked,
            scripts: None,
        });
    }
    // Without it workers compile for themselves.
    let not_kept = |e| log_server!(Level::Warn, "compiled scripts not kept: {e}");
    let store = Store::new().map_err(not_kept).ok();
    // A script engine is not for a process that forks.
    let ended = apart::run(|| {
        let checked = (side.check)(&config, install_dir, store.as_ref())?;
        Ok(u8::from(checked.init_master))
    });
    match ended.map_err(io_error("plugins"))? {
        Ended::Done(init_master) => Ok(Vetted {
            config,
            checked: Checked {
                init_master: init_master != 0,
            },
            scripts: store.and_then(|store| store.seal().map_err(not_kept).ok()),
        }),
        Ended::Failed(why) => Err(BootError::Plugins(why)),
        Ended::Died(how) => Err(BootError::Plugins(format!(
            "the process that loaded them died: {how}"
        ))),
    }
}

/// Systems start programs with a low limit that each may raise for itself up to a higher one.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) => log_server!(Level::Info, "at most {limit} open files in each process"),
        Err(e) => log_server!(Level::Warn, "limit on open files not raised: {e}"),
    }
}

/// Reads the configuration of an install directory, with what an operator should look at.
pub fn settings(install_dir: &Path) -> Result<(Config, Vec<Warning>), BootError> {
    let dir = ConfigDir::open(install_dir).map_err(|e| BootError::Config(vec![e]))?;
    Config::load(&dir).map_err(BootError::Config)
}

/// Makes the logger follow the configuration, and says so (LOG-17).
pub fn apply_log(config: &Config) {
    log::configure_aloud(config.log.level, config.log.format, config.log.timestamps);
}

/// Turns a configuration into what workers can be forked from: users looked up, sockets bound,
/// queue directory there. What `earlier` has bound is shared with it.
pub fn generation(
    vetted: Vetted,
    number: u64,
    now: Instant,
    earlier: Option<&Generation>,
) -> Result<Generation, BootError> {
    let Vetted {
        config, scripts, ..
    } = vetted;
    let smtp = &config.smtp;
    let identity = Identity::resolve(smtp.user.as_deref(), smtp.group.as_deref())?;
    let nodes = smtp.nodes.count().max(1);
    let listeners = ListenerSet::bind(
        &smtp.listen,
        smtp.listen_is_default,
        nodes,
        earlier.map(|e| &e.listeners),
    )?;
    prepare_queue_dir(&config.queue_dir, identity.as_ref())
        .map_err(io_error(&config.queue_dir.display().to_string()))?;
    let tls_dir = config.tls_dir();
    if let Err(e) = prepare_queue_dir(&tls_dir, identity.as_ref()) {
        // Without it policies are kept in memory; mail goes out all the same.
        log_server!(Level::Warn, "{}: {e}", tls_dir.display());
    }
    let bounce_dir = config.bounce_dir();
    if let Err(e) = prepare_queue_dir(&bounce_dir, identity.as_ref()) {
        // Without it undeliverable mail without a sender stays in the queue.
        log_server!(Level::Warn, "{}: {e}", bounce_dir.display());
    }
    let warm_up_dir = config.warm_up_dir();
    if config.shaping.sources.iter().any(|s| s.warm_up.is_some())
        && let Err(e) = prepare_queue_dir(&warm_up_dir, identity.as_ref())
    {
        // Without it a restart forgets what was sent today, and workers say so.
        log_server!(Level::Warn, "{}: {e}", warm_up_dir.display());
    }
    Ok(Generation {
        number,
        listeners,
        identity,
        slots: vec![Slot::default(); nodes],
        incarnations: Vec::new(),
        up: false,
        up_by: now + READY_LIMIT,
        owns_queue: false,
        config,
        scripts,
    })
}

/// What a daemon needs, acquired while errors still reach the terminal.
struct Background {
    pid_file: PidFile,
    log: File,
    log_file: PathBuf,
}

enum Entered {
    Started(Result<(), String>),
    Daemon(PidFile, PathBuf, Readiness),
}

impl Background {
    fn prepare(config: &Config) -> Result<Option<Background>, BootError> {
        let smtp = &config.smtp;
        if !smtp.daemonize {
            return Ok(None);
        }
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(io_error(&path.display().to_string()));
        let log_file = absolute(&smtp.daemon_log_file)?;
        let pid_file = PidFile::lock(&absolute(&smtp.daemon_pid_file)?)?;
        let log = daemon::open_log(&log_file).map_err(io_error(&log_file.display().to_string()))?;
        Ok(Some(Background {
            pid_file,
            log,
            log_file,
        }))
    }

    fn enter(mut self) -> Result<Entered, BootError> {
        log_server!(Level::Notice, "Daemonizing...");
        match daemon::detach(&self.log).map_err(io_error("daemonize"))? {
            Side::Started(fared) => Ok(Entered::Started(fared)),
            Side::Daemon(readiness) => match self.pid_file.write() {
                Ok(()) => Ok(Entered::Daemon(self.pid_file, self.log_file, readiness)),
                Err(e) => {
                    readiness.failed(&e.to_string());
                    Err(e.into())
                }
            },
        }
    }
}

/// A hub with everything but the daemon's belongings.
fn equip(
    install_dir: &Path,
    side: WorkerSide,
    current: Generation,
    single: bool,
) -> Result<Hub, BootError> {
    let control = match Control::bind(install_dir) {
        Ok(control) => Some(control),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            return Err(BootError::Running(install_dir.to_owned()));
        }
        Err(e) => {
            log_server!(Level::Warn, "control socket: {e}; going on without it");
            None
        }
    };
    let nodes = current.slots.len();
    Ok(Hub {
        install_dir: install_dir.to_owned(),
        side,
        signals: Signals::install().map_err(io_error("signals"))?,
        control,
        current,
        next: None,
        workers: Vec::new(),
        suspects: Suspects::default(),
        stop: None,
        readiness: None,
        log_file: None,
        pid_file: None,
        queries: Vec::new(),
        orders: Vec::new(),
        asked: 0,
        seats: Seats::new(nodes).map_err(|e| io_error("memory")(io::Error::other(e)))?,
        ledger_watch: LedgerWatch::new(Instant::now()),
        reap_at: None,
        tickets: Tickets::new(Instant::now()),
        single,
    })
}

fn finish(leave: Leave, side: WorkerSide) -> Result<u8, BootError> {
    match leave {
        Leave::Exit(stop) => exit_status(stop),
        Leave::Worker(worker) => {
            let NewWorker {
                setup,
                identity,
                blocked,
            } = *worker;
            // The hub is gone with its signal handlers, so signals may come.
            drop(blocked);
            Ok(u8::from(!be_worker(setup, identity.as_ref(), side)))
        }
    }
}

fn exit_status(stop: Stopping) -> Result<u8, BootError> {
    match stop.failure {
        Some(failure) => Err(BootError::Failed(failure)),
        None => Ok(stop.status),
    }
}

/// Runs the worker's side to its end. False if it failed, which the master has been told then.
fn be_worker(mut setup: WorkerSetup, identity: Option<&Identity>, side: WorkerSide) -> bool {
    let last_words = setup.channel.try_clone();
    (side.equip)(&mut setup);
    let served = identity
        .map_or(Ok(()), Identity::assume)
        .map_err(|e| e.to_string())
        .and_then(|()| (side.run)(setup));
    let Err(reason) = served else { return true };
    let failed = ToMaster::Failed {
        reason: reason.clone(),
    };
    if let Err(e) = last_words.and_then(|channel| speak(channel, &failed)) {
        log_server!(
            Level::Crit,
            "worker failed: {reason} (and cannot tell the master: {e})"
        );
    }
    false
}

fn speak(mut channel: UnixStream, frame: &ToMaster) -> io::Result<()> {
    channel.write_all(&encode(frame).map_err(io::Error::other)?)
}

/// `nodes=0`: the hub on a thread of its own, the worker on this one, and the same channel between
/// them. Nothing is forked, so the thread breaks no rule.
fn serve_alone(mut hub: Hub) -> Result<u8, BootError> {
    let (channel, theirs) = Channel::pair()?;
    let page = || FlightPage::new().map_err(io::Error::other);
    let incarnation = new_incarnation(&[]);
    let counted = hub.seats.take();
    let seat = counted.seat;
    let setup = WorkerSetup {
        install_dir: hub.install_dir.clone(),
        config: hub.current.config.clone(),
        listeners: hub
            .current
            .listeners
            .for_slot(0)
            .map_err(io_error("listeners"))?,
        channel: theirs,
        slot: 0,
        incarnation: incarnation.clone(),
        flight: Arc::new(page().map_err(io_error("memory"))?),
        counted,
        ticket_keys: hub.tickets.keys(),
        tls: Prepared::default(),
        scripts: hub.current.scripts.clone(),
    };
    hub.current.incarnations.push((incarnation.clone(), 0));
    hub.workers.push(WorkerHandle {
        pid: None,
        slot: 0,
        generation: 0,
        incarnation,
        channel,
        // Nobody survives to read it.
        flight: page().map_err(io_error("memory"))?,
        seat,
        started: Instant::now(),
        ready: false,
        stopping: None,
        dismissed: false,
        outgoing: false,
        failure: None,
    });
    let identity = hub.current.identity.clone();
    let side = hub.side;
    let thread = std::thread::Builder::new()
        .name("master".to_owned())
        .spawn(move || hub.run())
        .map_err(io_error("thread"))?;
    let served = be_worker(setup, identity.as_ref(), side);
    match thread.join() {
        Ok(Leave::Exit(stop)) if served => exit_status(stop),
        Ok(Leave::Exit(Stopping {
            failure: Some(failure),
            ..
        })) => Err(BootError::Failed(failure)),
        _ => Ok(1),
    }
}
