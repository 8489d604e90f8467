//! Keeps the contexts fresh while the worker runs (PB-58): any change of tls.ini, of a file that it
//! names or of the directory makes them anew, on another thread. Sessions keep what they began with.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::config::{Config, ConfigDir, Observing, Problems, TlsIni};

use super::contexts::{Contexts, Source};
use super::remark::Remark;
use super::store::unix_now;
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
    /// When the first reading began, in seconds since 1970, and what was said of it.
    first: (i64, Vec<Remark>),
}

/// Contexts and the keys that they use, made before the worker gives up its rights: keys may be
/// root's.
#[derive(Debug, Default)]
pub struct Prepared {
    contexts: Contexts,
    tickets: Arc<Keyring>,
    began: i64,
    remarks: Vec<Remark>,
}

impl Prepared {
    /// Reads tls.ini and all that it names.
    #[must_use]
    pub fn load(dir: &ConfigDir, config: &Config) -> Prepared {
        let (began, mut remarks) = (unix_now(), Vec::new());
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
            contexts: Contexts::load(&source, None, &mut remarks),
            tickets,
            began,
            remarks,
        }
    }

    /// What there is to say about what was read.
    #[must_use]
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
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
            first: (prepared.began, prepared.remarks),
        }
    }

    /// One that follows nothing.
    #[cfg(test)]
    pub(crate) fn of(contexts: Contexts) -> Tls {
        Tls::new(Prepared {
            contexts,
            ..Prepared::default()
        })
    }

    /// The contexts of now; they stay as they are for as long as they are held.
    pub(crate) fn contexts(&self) -> Arc<Contexts> {
        Arc::clone(&self.contexts.borrow())
    }

    /// Others from now on.
    #[cfg(test)]
    pub(crate) fn replace(&self, prepared: Prepared) {
        *self.contexts.borrow_mut() = Arc::new(prepared.contexts);
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
    let (began, mut told) = worker.tls.first.clone();
    // What happened between the first reading and this nobody tells.
    if changed_since(&worker.dir, &observed, began) {
        bell.notify();
    }
    loop {
        // On a day without changes too: the end of the wait is as good as a ring.
        let _ = rt::timeout(DAILY, bell.notified()).await;
        loop {
            Box::pin(reload(&worker, speaks, &mut told)).await;
            let contexts = worker.tls.contexts();
            if observed == contexts.sources() {
                break;
            }
            // The same with files that are new: once more.
            observed = contexts.sources().to_vec();
            drop(std::mem::replace(&mut observing, observe_all(&observed)));
        }
        told.clear();
    }
}

/// Whether anything may have happened to these files, or in their directories, since a second before
/// this time, in seconds since 1970: clocks of file systems are coarse.
fn changed_since(dir: &ConfigDir, files: &[String], time: i64) -> bool {
    let recent = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.ctime() >= time - 1);
    let paths = files.iter().filter_map(|file| dir.path(file).ok());
    paths.into_iter().any(|path| {
        let parent = path.parent();
        recent(&path) || parent.is_some_and(recent)
    })
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
