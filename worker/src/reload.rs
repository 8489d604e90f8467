//! Follows the configuration files while the worker runs (CFS-30): notices that some have changed,
//! reads the core's settings again, tells whoever else observes them.
//!
//! On Linux the kernel tells when something happens in a directory that holds such a file; nothing
//! runs until then. Elsewhere, and where the kernel refuses, the files are looked at every few
//! seconds. Either way a file has changed when its size, times or number have: links that are turned
//! to another directory, as containers do it, are noticed too.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::{
    Config, ConfigDir, ConfigError, LogIni, Origin, Problems, Setting, Watch, fixed,
};
use haraka_shared::log::Level;
use haraka_shared::{log, log_server};

use crate::rt;
use crate::worker::Worker;

/// An editor writes a file in several steps; this long nothing must happen before it is read.
const QUIET: Duration = Duration::from_millis(200);

/// Files that never come to rest are read after this time all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often files are looked at where nobody tells.
const LOOK: Duration = Duration::from_secs(5);

/// Sees what happens to files from its making on.
pub(crate) struct Follower {
    bell: Rc<Bell>,
    seen: Rc<RefCell<Seen>>,
    core: HashSet<PathBuf>,
    /// `smtp.json` and `smtp.yaml`.
    whole: [PathBuf; 2],
}

impl Follower {
    /// Sees the files of the core, and those that are announced to `watch` from now on.
    pub(crate) fn new(dir: &ConfigDir, watch: &Watch) -> Follower {
        let files = Config::files().into_iter();
        let core: HashSet<PathBuf> = files.filter_map(|name| dir.path(name).ok()).collect();
        let whole = ["smtp.json", "smtp.yaml"].map(|name| dir.root().join(name));
        let bell = Rc::new(Bell::new(dir.root()));
        let seen = Rc::new(RefCell::new(Seen::default()));
        let add = {
            let (bell, seen) = (Rc::clone(&bell), Rc::clone(&seen));
            move |paths: &[PathBuf]| {
                bell.watch(paths.iter());
                seen.borrow_mut().add(paths.iter());
            }
        };
        add(&core.iter().chain(&whole).cloned().collect::<Vec<_>>());
        watch.on_growth(add);
        Follower {
            bell,
            seen,
            core,
            whole,
        }
    }

    /// Starts following. Only the first worker says what it read, as all read the same.
    pub(crate) fn start(self, worker: &Rc<Worker>, speaks: bool) {
        rt::spawn(self.run(Rc::clone(worker), speaks)).detach();
    }

    async fn run(self, worker: Rc<Worker>, speaks: bool) {
        let mut fixed = Fixed(worker.settings().fixed.to_vec());
        // The settings come from the master, which read them when it started: once they are read
        // again whatever has happened, but not while somebody writes.
        let mut first = true;
        self.bell.rests().await;
        loop {
            let mut changed = self.seen.borrow_mut().changes();
            self.bell.watch(self.seen.borrow().0.keys());
            if changed.is_empty() && !first {
                self.bell.rings().await;
                continue;
            }
            for path in changed.iter().filter(|_| speaks) {
                log_server!(Level::Notice, "Reloaded file: {}", path.display());
            }
            if self.whole.iter().any(|path| changed.contains(path)) {
                changed.extend(refresh_overrides(&worker, speaks).await);
            }
            if first || changed.iter().any(|path| self.core.contains(path)) {
                // What is odd at the start the master has told.
                Box::pin(reread(&worker, speaks && !changed.is_empty())).await;
                fixed.compare(&worker, speaks);
            }
            first = false;
            worker.watch.changed(&changed);
        }
    }
}

/// Reads `smtp.json` again; gives the files that mean something else by it.
async fn refresh_overrides(worker: &Worker, speaks: bool) -> Vec<PathBuf> {
    let dir = worker.dir.clone();
    match rt::offload(move || dir.refresh_overrides()).await {
        Ok(Ok(replaced)) => {
            if speaks {
                worker.dir.overrides().announce();
            }
            replaced
        }
        Ok(Err(e)) => {
            stays(&e);
            Vec::new()
        }
        // It panicked, which has been logged.
        Err(_) => Vec::new(),
    }
}

/// Reads the core's files again, on another thread: names to listen on are looked up in the DNS.
async fn reread(worker: &Worker, speaks: bool) {
    let (now, dir) = (
        Box::new(Config::clone(&worker.settings())),
        worker.dir.clone(),
    );
    let read = rt::offload(move || {
        let (next, problems) = now.reread(&dir);
        (Box::new(next), problems)
    });
    let read = read.await;
    let Ok((next, Problems { errors, warnings })) = read else {
        return;
    };
    for e in &errors {
        stays(e);
    }
    if speaks {
        for warning in warnings {
            log_server!(Level::Warn, "{warning}");
        }
    }
    worker.apply(*next, speaks);
}

fn stays(e: &ConfigError) {
    log_server!(Level::Error, "{e}; the earlier settings stay");
}

impl Worker {
    /// Goes by these settings from now on.
    fn apply(&self, next: Config, speaks: bool) {
        let log = |log: &LogIni| (log.level, log.format, log.timestamps);
        let (level, format, timestamps) = log(&next.log);
        match speaks && log(&self.settings().log) != (level, format, timestamps) {
            true => log::configure_aloud(level, format, timestamps),
            false => log::configure(level, format, timestamps),
        }
        let limits = &next.connection;
        self.sessions
            .limit(limits.max_connections, limits.max_connections_per_ip);
        self.outbound.configure(&next);
        self.config.replace(Rc::new(next));
    }
}

/// The settings that count after a restart only, as they were at the last look.
struct Fixed(Vec<Setting>);

impl Fixed {
    /// Says which have changed since.
    fn compare(&mut self, worker: &Worker, speaks: bool) {
        let new = Fixed(fixed(&worker.dir));
        let text = |all: &[Setting], name: &str| -> Vec<String> {
            let same = all.iter().filter(|s| s.name() == name);
            same.map(|s| s.text.clone()).collect()
        };
        let mut told = HashSet::new();
        for setting in new.0.iter().chain(&self.0) {
            let name = setting.name();
            if text(&self.0, &name) == text(&new.0, &name) || !told.insert(name.clone()) {
                continue;
            }
            let place = match &setting.origin {
                Origin::At(at) if new.0.contains(setting) => at.to_string(),
                _ => setting.file.clone(),
            };
            let what = match setting.key.as_str() {
                "" => setting.file.clone(),
                key => haraka_shared::config::key_name(&setting.section, key),
            };
            if speaks {
                log_server!(
                    Level::Notice,
                    "{place}: {what}: the change counts after a restart"
                );
            }
        }
        *self = new;
    }
}

/// What files looked like.
#[derive(Default)]
struct Seen(HashMap<PathBuf, Option<Look>>);

/// Device, number, size, and both times to the nanosecond.
type Look = (u64, u64, u64, (i64, i64), (i64, i64));

impl Seen {
    fn add<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        for path in paths {
            self.0.entry(path.clone()).or_insert_with(|| look(path));
        }
    }

    fn changes(&mut self) -> HashSet<PathBuf> {
        let mut changed = HashSet::new();
        for (path, seen) in &mut self.0 {
            let now = look(path);
            if now != *seen {
                *seen = now;
                changed.insert(path.clone());
            }
        }
        changed
    }
}

fn look(path: &Path) -> Option<Look> {
    let meta = std::fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    ))
}

#[cfg(target_os = "linux")]
use kernel::Bell;

#[cfg(not(target_os = "linux"))]
use regular::Bell;

#[cfg(target_os = "linux")]
mod kernel {
    //! The kernel tells.

    use std::io;
    use std::os::fd::{AsFd as _, AsRawFd, RawFd};
    use std::path::{Path, PathBuf};

    use haraka_shared::log::Level;
    use haraka_shared::log_server;
    use nix::errno::Errno;
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::{LOOK, PATIENCE, QUIET};
    use crate::rt::{self, Watched};

    /// Tells that something has happened. It is made after the fork: its descriptor is this
    /// process's own.
    pub(super) struct Bell {
        /// None where the kernel refuses; then it rings every few seconds.
        kernel: Option<Watched<Descriptor>>,
        root: PathBuf,
    }

    struct Descriptor(Inotify);

    impl AsRawFd for Descriptor {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    impl Bell {
        pub(super) fn new(root: &Path) -> Bell {
            let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
            let kernel = Inotify::init(flags)
                .map_err(io::Error::from)
                .and_then(|inotify| Watched::new(Descriptor(inotify)));
            let kernel = kernel.inspect_err(|e| {
                log_server!(
                    Level::Warn,
                    "inotify: {e}; looking at config every {LOOK:?}"
                );
            });
            Bell {
                kernel: kernel.ok(),
                root: root.to_owned(),
            }
        }

        /// Rings for the directories of these files. Where one is missing, for the nearest that is
        /// there, until it is made.
        pub(super) fn watch<'a>(&self, files: impl Iterator<Item = &'a PathBuf>) {
            let Some(kernel) = &self.kernel else { return };
            let mut dirs = std::collections::BTreeSet::from([self.root.as_path()]);
            for file in files {
                let outside = |dir: &Path| !dir.starts_with(&self.root);
                dirs.extend(file.parent());
                // One that is followed itself: what is put into it counts.
                dirs.extend(file.is_dir().then_some(file.as_path()));
                // A directory that is made or turned to elsewhere shows in the one above it.
                let above = file.ancestors().skip(2);
                dirs.extend(above.take_while(|dir| !outside(dir)));
            }
            for dir in dirs {
                match kernel.get_ref().0.add_watch(dir, events()) {
                    Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                    Err(e) => log_server!(Level::Warn, "{}: not followed: {e}", dir.display()),
                }
            }
        }

        /// Waits until something has happened and nothing more happens.
        pub(super) async fn rings(&self) {
            let Some(kernel) = &self.kernel else {
                return rt::sleep(LOOK).await;
            };
            if let Err(e) = happened(kernel).await {
                log_server!(Level::Warn, "inotify: {e}");
                return rt::sleep(LOOK).await;
            }
            self.rests().await;
        }

        /// Waits until nothing has happened for a moment.
        pub(super) async fn rests(&self) {
            let Some(kernel) = &self.kernel else {
                return rt::sleep(QUIET).await;
            };
            let until = rt::now() + PATIENCE;
            while rt::now() < until && rt::timeout(QUIET, happened(kernel)).await.is_ok() {}
        }
    }

    async fn happened(kernel: &Watched<Descriptor>) -> io::Result<()> {
        let read = kernel.read_with(|d| d.0.read_events().map_err(io::Error::from));
        read.await.map(drop)
    }

    fn events() -> AddWatchFlags {
        AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_ONLYDIR
    }
}

#[cfg(not(target_os = "linux"))]
mod regular {
    //! Nobody tells.

    use std::path::{Path, PathBuf};

    use super::{LOOK, QUIET};
    use crate::rt;

    /// Rings every few seconds.
    pub(super) struct Bell;

    impl Bell {
        pub(super) fn new(_root: &Path) -> Bell {
            Bell
        }

        pub(super) fn watch<'a>(&self, _files: impl Iterator<Item = &'a PathBuf>) {}

        pub(super) async fn rings(&self) {
            rt::sleep(LOOK).await;
        }

        /// Waits a moment.
        pub(super) async fn rests(&self) {
            rt::sleep(QUIET).await;
        }
    }
}
