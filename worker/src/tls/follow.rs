//! Keeps the contexts fresh while the worker runs (PB-58): any change of tls.ini, of a file that it
//! names or of the directory makes them anew, on another thread. Sessions keep what they began with.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::config::{Config, ConfigDir, Observing, Problems, TlsIni};

use super::contexts::{Contexts, Source};
use super::remark::Remark;
use super::tickets::Keyring;
use crate::rt;
use crate::rt::sync::Notify;
use crate::worker::Worker;

/// How often the contexts are made anew though nothing has changed: certificates and responses grow
/// old, and an operator is to hear of it.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);

/// The TLS of a worker.
pub(crate) struct Tls {
    contexts: RefCell<Arc<Contexts>>,
    tickets: Arc<Keyring>,
}

/// Contexts and the keys that they use, made before the worker gives up its rights: keys may be
/// root's.
#[derive(Debug, Default)]
pub struct Prepared {
    contexts: Contexts,
    tickets: Arc<Keyring>,
}

impl Prepared {
    /// Reads tls.ini and all that it names.
    #[must_use]
    pub fn load(dir: &ConfigDir, config: &Config, remarks: &mut Vec<Remark>) -> Prepared {
        let tickets = Arc::<Keyring>::default();
        // The settings may be older than the files: the master read them when it started.
        let ini = TlsIni::load(dir, &mut Problems::default());
        let source = Source {
            dir: dir.clone(),
            ini: ini.unwrap_or_else(|| config.tls.clone()),
            wanted: is_wanted(config),
            tickets: Arc::clone(&tickets),
        };
        Prepared {
            contexts: Contexts::load(&source, None, remarks),
            tickets,
        }
    }
}

/// Whether anything in the configuration asks for TLS.
fn is_wanted(config: &Config) -> bool {
    use haraka_shared::config::ListenAddr;
    let smtp = &config.smtp;
    let implicit = |addr: &ListenAddr| match addr {
        ListenAddr::Tcp(addr) => Some(addr.port()) == smtp.smtps_port,
        ListenAddr::Unix { .. } => false,
    };
    config.plugins.iter().any(|plugin| plugin == "tls") || smtp.listen.iter().any(implicit)
}

impl Tls {
    pub(crate) fn new(prepared: Prepared) -> Tls {
        Tls {
            contexts: RefCell::new(Arc::new(prepared.contexts)),
            tickets: prepared.tickets,
        }
    }

    /// One that follows nothing.
    #[cfg(test)]
    pub(crate) fn of(contexts: Contexts) -> Tls {
        Tls::new(Prepared {
            contexts,
            tickets: Arc::default(),
        })
    }

    /// The contexts of now; they stay as they are for as long as they are held.
    pub(crate) fn contexts(&self) -> Arc<Contexts> {
        Arc::clone(&self.contexts.borrow())
    }

    /// Where the master's keys go.
    pub(crate) fn tickets(&self) -> &Keyring {
        &self.tickets
    }

    fn source(&self, worker: &Worker) -> Source {
        let settings = worker.settings();
        Source {
            dir: worker.dir.clone(),
            ini: settings.tls.clone(),
            wanted: is_wanted(&settings),
            tickets: Arc::clone(&self.tickets),
        }
    }
}

/// Starts following the files. Only the first worker says what it finds, as all find the same.
pub(crate) fn start(worker: &Rc<Worker>, speaks: bool) {
    rt::spawn(follow(Rc::clone(worker), speaks)).detach();
}

async fn follow(worker: Rc<Worker>, speaks: bool) {
    let bell = Rc::new(Notify::new());
    let observe_all = |files: &[String]| observe(&worker, files, &bell);
    let mut observed = worker.tls.contexts().sources().to_vec();
    let mut observing = observe_all(&observed);
    loop {
        // On a day without changes too: the end of the wait is as good as a ring.
        let _ = rt::timeout(DAILY, bell.notified()).await;
        let mut told = Vec::new();
        loop {
            Box::pin(reload(&worker, speaks, &mut told)).await;
            let contexts = worker.tls.contexts();
            if observed == contexts.sources() {
                break;
            }
            // What happened to new files between the reading and this nobody tells: once more.
            observed = contexts.sources().to_vec();
            drop(std::mem::replace(&mut observing, observe_all(&observed)));
        }
    }
}

fn observe(worker: &Worker, files: &[String], bell: &Rc<Notify>) -> Observing {
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let bell = Rc::clone(bell);
    let ring = move || bell.notify();
    worker.watch.on_change(&worker.dir, &names, ring)
}

/// Makes the contexts anew. `told` has what was said already.
async fn reload(worker: &Rc<Worker>, speaks: bool, told: &mut Vec<Remark>) {
    let source = worker.tls.source(worker);
    let earlier = worker.tls.contexts();
    let loading = rt::offload(move || {
        let mut remarks = Vec::new();
        let contexts = Contexts::load(&source, Some(&earlier), &mut remarks);
        (contexts, remarks)
    });
    // If it panicked, which has been logged, the earlier contexts stay.
    let Ok((contexts, remarks)) = loading.await else {
        return;
    };
    let new = remarks.iter().filter(|remark| !told.contains(remark));
    if speaks {
        new.for_each(Remark::log);
    }
    *told = remarks;
    *worker.tls.contexts.borrow_mut() = Arc::new(contexts);
}
