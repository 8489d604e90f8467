//! An install directory with one plugin loaded, and a client to try it on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path as FsPath, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use haraka_shared::address::{Address, Limits};
use haraka_shared::body::Body;
use haraka_shared::config::{Config, ConfigDir, Watch};
use haraka_shared::connection::{Connection, Local};
use haraka_shared::delivery::{Delivery, DeliveryState};
use haraka_shared::dial::{DialError, Dialogue, Endpoint};
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::hook::{Call, HookFuture, Path, Verdict};
use haraka_shared::notes::Notes;
use haraka_shared::plugin::{HookCx, LocalFuture, PluginEnv, Registration};
use haraka_shared::route::Route;
use haraka_shared::services::{Dns, ForwardError, Forwarded, QueueError, Services};
use haraka_shared::transaction::Transaction;
use serde_json::Value;

use crate::script::Script;

/// An install directory, removed at the end.
pub struct Site {
    pub dir: PathBuf,
    pub services: Rc<Fake>,
    pub watch: Watch,
}

/// What goes to the offload pool.
type Work = Box<dyn FnOnce() + Send>;

/// The worker's services: what a plugin asks for is noted, what it gets is set before.
pub struct Fake {
    config: ConfigDir,
    dir: PathBuf,
    /// What forwarding gives, the last one first.
    pub forwards: RefCell<Vec<Result<Forwarded, ForwardError>>>,
    /// The routes that forwarding was asked for.
    pub routes: RefCell<Vec<(Route, bool)>>,
    /// Scripts of the servers that are called, in that order; `None` is not to be reached.
    pub back_ends: RefCell<VecDeque<Option<Script>>>,
    /// The servers that were called.
    pub called: RefCell<Vec<String>>,
    /// How long plugins waited; nobody does so in earnest.
    pub slept: RefCell<Vec<Duration>>,
    /// Keep work for the pool here instead of doing it.
    pub busy: RefCell<Option<Vec<Work>>>,
}

impl Services for Fake {
    fn config(&self) -> Rc<Config> {
        Rc::new(Config::load(&self.config).unwrap().0)
    }
    fn config_dir(&self) -> &ConfigDir {
        &self.config
    }
    fn install_dir(&self) -> &FsPath {
        &self.dir
    }
    fn dns(&self) -> &dyn Dns {
        panic!("no plugin here asks the DNS")
    }
    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()> {
        self.slept.borrow_mut().push(time);
        Box::pin(std::future::ready(()))
    }
    fn offload(&self, work: Work) -> LocalFuture<'static, ()> {
        if let Some(kept) = &mut *self.busy.borrow_mut() {
            kept.push(work);
            return Box::pin(std::future::pending());
        }
        // On another thread, as in a worker, so that what blocks has to be Send.
        std::thread::spawn(work).join().unwrap();
        Box::pin(std::future::ready(()))
    }
    fn dial<'a>(
        &'a self,
        to: &'a Endpoint,
        _within: Duration,
    ) -> LocalFuture<'a, Result<Box<dyn Dialogue>, DialError>> {
        self.called.borrow_mut().push(to.to_string());
        let script = self.back_ends.borrow_mut().pop_front();
        let answer = match script.expect("a script for each call") {
            Some(script) => Ok(Box::new(script) as Box<dyn Dialogue>),
            None => Err(DialError::Connect {
                to: to.to_string(),
                cause: std::io::ErrorKind::ConnectionRefused.into(),
            }),
        };
        Box::pin(std::future::ready(answer))
    }
    fn forward<'a>(
        &'a self,
        route: Route,
        _transaction: &'a Transaction,
        one_per_recipient: bool,
    ) -> LocalFuture<'a, Result<Forwarded, ForwardError>> {
        self.routes.borrow_mut().push((route, one_per_recipient));
        let answer = self
            .forwards
            .borrow_mut()
            .pop()
            .expect("an answer for each forward");
        Box::pin(std::future::ready(answer))
    }
    fn enqueue<'a>(
        &'a self,
        _transaction: &'a Transaction,
    ) -> LocalFuture<'a, Result<(), QueueError>> {
        panic!("no plugin here queues")
    }
}

impl Site {
    pub fn new(files: &[(&str, &str)]) -> Site {
        let dir = std::env::temp_dir().join(format!("haraka-plugins-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(dir.join("config")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join("config").join(name), text).unwrap();
        }
        let services = Rc::new(Fake {
            config: ConfigDir::open(&dir).unwrap(),
            dir: dir.clone(),
            forwards: RefCell::default(),
            routes: RefCell::default(),
            back_ends: RefCell::default(),
            called: RefCell::default(),
            slept: RefCell::default(),
            busy: RefCell::default(),
        });
        Site {
            dir,
            services,
            watch: Watch::new(),
        }
    }

    /// Writes files of the configuration anew and has those who follow them told.
    pub fn change(&self, files: &[(&str, &str)]) {
        let config = self.dir.join("config");
        for (name, text) in files {
            std::fs::write(config.join(name), text).unwrap();
        }
        let paths = files.iter().map(|(name, _)| config.join(name));
        self.watch.changed(&paths.collect());
    }

    pub fn load(&self, plugin: &str) -> Plugin {
        Plugin {
            registration: self.try_load(plugin).unwrap(),
            services: Rc::clone(&self.services),
        }
    }

    /// A plugin that is not in the table of names.
    pub fn load_own<P: haraka_shared::plugin::Plugin>(&self) -> Plugin {
        let env = PluginEnv::new(&self.services.config, &self.dir, &self.watch);
        Plugin {
            registration: haraka_shared::plugin::register::<P>(&env).unwrap(),
            services: Rc::clone(&self.services),
        }
    }

    pub fn try_load(&self, plugin: &str) -> Result<Registration, String> {
        let env = PluginEnv::new(&self.services.config, &self.dir, &self.watch);
        haraka_plugins::load(plugin, &env)
            .expect("a native plugin of this name")
            .map_err(|e| e.to_string())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What is left in the temporary directory does no harm.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// A loaded plugin.
pub struct Plugin {
    pub registration: Registration,
    pub services: Rc<Fake>,
}

impl Plugin {
    fn cx(&self, connection: Option<&Connection>, delivery: Option<&Delivery>) -> HookCx {
        HookCx {
            plugin: Rc::clone(&self.registration.name),
            connection: connection.cloned(),
            delivery: delivery.cloned(),
            services: Rc::clone(&self.services) as Rc<dyn Services>,
        }
    }

    pub fn ask(&self, connection: &Connection, call: Call<'_>) -> Verdict {
        let cx = self.cx(Some(connection), None);
        match poll_once(self.registration.handler.call(call, &cx)) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => panic!("{} waits", call.hook().name()),
        }
    }

    /// Begins a call and drops it before it is done, as a time-out does.
    pub fn ask_and_give_up(&self, connection: &Connection, call: Call<'_>) {
        let cx = self.cx(Some(connection), None);
        let future = self.registration.handler.call(call, &cx);
        assert!(poll_once(future).is_pending());
    }

    /// Begins a call, does something else, and drops the call.
    pub fn while_asking<T>(
        &self,
        connection: &Connection,
        call: Call<'_>,
        then: impl FnOnce() -> T,
    ) -> T {
        let cx = self.cx(Some(connection), None);
        let mut future = self.registration.handler.call(call, &cx);
        let first = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(first.is_pending());
        then()
    }

    pub fn mail(&self, connection: &Connection) -> Verdict {
        let transaction = connection.transaction().unwrap();
        self.ask(connection, Call::Mail(&transaction.mail_from()))
    }

    /// Asks about a recipient and adds it, as RCPT does.
    pub fn rcpt(&self, connection: &Connection, to: &str) -> Verdict {
        let path = path(to);
        let transaction = connection.transaction().unwrap();
        transaction.push_recipient(path.address.clone(), Vec::new());
        self.ask(connection, Call::Rcpt(&path))
    }

    pub fn get_mx(&self, domain: &str, from: &str, notes: Value) -> Verdict {
        let sender = path(from).address;
        let item = Delivery::new(DeliveryState {
            notes: Notes::from_json(notes),
            ..DeliveryState::of("U.1.1".into(), "file".into(), domain.into(), sender)
        });
        let cx = self.cx(None, Some(&item));
        match poll_once(self.registration.handler.call(Call::GetMx(&item), &cx)) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => panic!("get_mx waits"),
        }
    }

    /// `hook method` of all that it registers.
    pub fn hooks(&self) -> Vec<String> {
        let wants = self.registration.wants.iter();
        wants
            .map(|(w, method)| format!("{} {method}", w.hook.name()))
            .collect()
    }
}

fn poll_once(future: HookFuture<'_>) -> Poll<Verdict> {
    pin!(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

pub fn path(address: &str) -> Path {
    Path {
        address: Address::parse(address, Limits { postel: true }).unwrap(),
        params: Vec::new(),
    }
}

pub fn client(ip: &str) -> Connection {
    let local = Local {
        ip: "127.0.0.1".parse().unwrap(),
        port: 25,
    };
    Connection::new(ip.parse().unwrap(), 4321, local, Instant::now())
}

/// A client that said MAIL.
pub fn sending(from: &str) -> Connection {
    let connection = client("192.0.2.77");
    let transaction = Transaction::new(format!("{}.1", connection.uuid), path(from));
    connection.set_transaction(Some(transaction));
    connection
}

/// A client that sent a message in the wire form; the header ends at the empty line.
pub fn sent(from: &str, to: &[&str], wire: &[u8]) -> Connection {
    let connection = sending(from);
    let transaction = connection.transaction().unwrap();
    for to in to {
        transaction.push_recipient(path(to).address, Vec::new());
    }
    let (header, body) = Header::split(wire, HeaderLimits::default());
    *transaction.header.borrow_mut() = header;
    *transaction.body.borrow_mut() = Body::from_bytes(wire[body..].to_vec());
    connection
}

/// A plugin's list of results of the transaction.
pub fn results(connection: &Connection, plugin: &str, list: &str) -> Value {
    let transaction = connection.transaction().unwrap();
    transaction
        .results
        .get(plugin)
        .map_or(Value::Null, |r| r[list].clone())
}
