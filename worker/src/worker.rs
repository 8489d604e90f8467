//! What all tasks of a worker share.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::config::{Config, ConfigDir, Watch};
use haraka_shared::delivery::Delivery;
use haraka_shared::dial::{DialError, Dialogue, Endpoint};
use haraka_shared::flight::FlightPage;
use haraka_shared::hook::{Call, HookName, Verdict};
use haraka_shared::ipc::ToMaster;
use haraka_shared::log::{self, Level};
use haraka_shared::plugin::LocalFuture;
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded, QueueError, Services, WorkerQueue};
use haraka_shared::traffic::Counted;
use haraka_shared::transaction::Transaction;

use crate::dial;
use crate::dns::{Names, Resolver};
use crate::hooks::{Registry, Subject};
use crate::outbound::{Kits, Outbound, OutboundError};
use crate::rt;
use crate::smtp::sessions::Sessions;
use crate::tls::{Prepared, Tls};

/// The worker.
pub(crate) struct Worker {
    /// The settings of now; see [`Worker::settings`].
    pub(crate) config: RefCell<Rc<Config>>,
    pub(crate) dir: ConfigDir,
    pub(crate) install_dir: PathBuf,
    /// This machine's name.
    pub(crate) host_name: String,
    /// Its number among those of the server, from 0.
    pub(crate) slot: u32,
    /// Who follows configuration files.
    pub(crate) watch: Watch,
    pub(crate) hooks: Registry,
    pub(crate) sessions: Sessions,
    pub(crate) resolver: Resolver,
    pub(crate) names: Names,
    pub(crate) outbound: Outbound,
    /// Certificates and keys; see `tls/`.
    pub(crate) tls: Rc<Tls>,
    pub(crate) master: rt::sync::mpsc::UnboundedSender<ToMaster>,
    pub(crate) this: Weak<Worker>,
}

/// What the banner and Received fields say after the name.
pub(crate) fn info(config: &Config) -> &'static str {
    match config.connection.show_version {
        true => concat!("Haraka/", env!("CARGO_PKG_VERSION")),
        false => "Haraka",
    }
}

/// What a worker is made from.
pub(crate) struct Parts<'a> {
    pub(crate) config: Config,
    pub(crate) dir: ConfigDir,
    pub(crate) install_dir: PathBuf,
    pub(crate) hooks: Registry,
    pub(crate) watch: Watch,
    pub(crate) slot: u32,
    pub(crate) incarnation: &'a str,
    pub(crate) flight: Arc<FlightPage>,
    pub(crate) counted: Counted,
    pub(crate) tls: Prepared,
    pub(crate) master: rt::sync::mpsc::UnboundedSender<ToMaster>,
}

impl Worker {
    /// A worker that does not do anything yet.
    pub(crate) fn new(parts: Parts<'_>) -> Result<Rc<Worker>, OutboundError> {
        let config = parts.config;
        let resolver = Resolver::new(&config.dns);
        let host_name = nix::unistd::gethostname()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "localhost".to_owned());
        let limits = &config.connection;
        let sessions = Sessions::new(limits.max_connections, limits.max_connections_per_ip);
        let tls = Rc::new(Tls::new(parts.tls));
        let kits = Kits::new(Rc::clone(&tls), parts.dir.clone(), &config.tls);
        let (slot, flight) = (parts.slot, parts.flight);
        let dns = Rc::new(resolver.clone());
        let outbound = Outbound::new(
            &config,
            slot,
            parts.incarnation,
            flight,
            parts.counted,
            dns,
            kits,
        )?;
        let worker = Rc::new_cyclic(|this| Worker {
            names: Names::new(&resolver),
            resolver,
            hooks: parts.hooks,
            sessions,
            outbound,
            tls,
            dir: parts.dir,
            install_dir: parts.install_dir,
            host_name,
            slot,
            watch: parts.watch,
            master: parts.master,
            config: RefCell::new(Rc::new(config)),
            this: this.clone(),
        });
        let services: Weak<dyn Services> = Rc::downgrade(&(Rc::clone(&worker) as Rc<dyn Services>));
        worker.hooks.serve(services);
        Ok(worker)
    }

    /// The settings of now. They stay as they are for as long as they are held; a session holds
    /// those of its beginning.
    pub(crate) fn settings(&self) -> Rc<Config> {
        Rc::clone(&self.config.borrow())
    }

    /// The worker as plugins see it.
    pub(crate) fn services(&self) -> Rc<dyn Services> {
        match self.this.upgrade() {
            Some(worker) => worker,
            // Whoever calls holds the worker.
            None => unreachable!(),
        }
    }

    /// Asks plugins about a queue item.
    pub(crate) async fn ask_outbound(&self, delivery: &Delivery, call: Call<'_>) -> Verdict {
        let services = self.services();
        let subject = Subject {
            connection: None,
            delivery: Some(delivery),
            services: &services,
        };
        let hook = call.hook().name();
        subject.log(Level::Debug, &[], format_args!("running {hook} hooks"));
        self.hooks.run(call, &subject).await
    }

    /// Whether an outbound hook is gone through: a plugin waits for it, or the log tells of it
    /// (HOK-38).
    pub(crate) fn minds(&self, hook: HookName) -> bool {
        self.hooks.wants(hook) || log::enabled(Level::Debug)
    }

    /// Queues a frame for the master.
    pub(crate) fn tell_master(&self, frame: ToMaster) {
        // The channel closes only when the worker ends.
        drop(self.master.send(frame));
    }
}

impl Services for Worker {
    fn config(&self) -> Rc<Config> {
        self.settings()
    }

    fn slot(&self) -> u32 {
        self.slot
    }

    fn config_dir(&self) -> &ConfigDir {
        &self.dir
    }

    fn install_dir(&self) -> &std::path::Path {
        &self.install_dir
    }

    fn dns(&self) -> &dyn Dns {
        &self.resolver
    }

    fn offers_tls(&self, port: u16) -> bool {
        self.tls.contexts().server(port).is_some()
    }

    fn ask_for_successor(&self) {
        self.tell_master(ToMaster::Successor);
    }

    fn queue(&self) -> Option<&dyn WorkerQueue> {
        Some(self)
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()> {
        Box::pin(rt::sleep(time))
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()> {
        Box::pin(async move {
            // A panic in the work shows as its missing result.
            drop(rt::offload(work).await);
        })
    }

    fn dial<'a>(
        &'a self,
        to: &'a Endpoint,
        within: Duration,
    ) -> LocalFuture<'a, Result<Box<dyn Dialogue>, DialError>> {
        Box::pin(dial::dial(&self.resolver, to, within))
    }

    fn forward<'a>(
        &'a self,
        route: Route,
        transaction: &'a Transaction,
        one_per_recipient: bool,
    ) -> LocalFuture<'a, Result<Forwarded, ForwardError>> {
        Box::pin(
            self.outbound
                .forward(&self.resolver, route, transaction, one_per_recipient),
        )
    }

    fn enqueue<'a>(
        &'a self,
        transaction: &'a Transaction,
    ) -> LocalFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            match self.this.upgrade() {
                Some(worker) => self.outbound.enqueue(&worker, transaction).await,
                None => Err(QueueError::Local("the worker ends".to_owned())),
            }
        })
    }
}
