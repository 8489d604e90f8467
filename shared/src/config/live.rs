//! Settings that follow their files while the server runs (CFS-29 to CFS-33).
//!
//! [`Watch`] is a list of observers, any number of them for a file (PB-57); whoever notices that
//! files have changed tells it. [`Live`] is a value that one observer keeps fresh. How a change is
//! noticed is the worker's matter; nothing here waits or reads by itself.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Debug, Display};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use super::dir::ConfigDir;
use super::file_type::FileType;
use crate::log::Level;
use crate::log_server;

/// The observers of a process's configuration files. Clones are the same list.
#[derive(Clone, Default)]
pub struct Watch(Rc<List>);

#[derive(Default)]
struct List {
    observers: RefCell<Vec<Rc<Observer>>>,
    next: Cell<u64>,
    /// Told of the files of an observer that comes later than the watching began.
    grown: RefCell<Option<Grown>>,
}

/// What is told of new files.
type Grown = Rc<dyn Fn(&[PathBuf])>;

struct Observer {
    number: u64,
    paths: Vec<PathBuf>,
    callback: Box<dyn Fn()>,
}

/// Keeps an observer in the list; dropping it takes the observer out.
pub struct Observing {
    list: Weak<List>,
    number: u64,
}

impl Drop for Observing {
    fn drop(&mut self) {
        if let Some(list) = self.list.upgrade() {
            let mut observers = list.observers.borrow_mut();
            observers.retain(|o| o.number != self.number);
        }
    }
}

impl Observing {
    /// Observes for as long as the list lasts.
    pub fn forever(self) {
        std::mem::forget(self);
    }
}

impl Watch {
    /// An empty list.
    pub fn new() -> Watch {
        Watch::default()
    }

    /// Has `callback` called after a change of any of the files: content, appearance or absence. A
    /// JSON or Hjson file counts with the YAML file that may stand for it. Names that lead out of the
    /// directory are passed over.
    pub fn on_change(
        &self,
        dir: &ConfigDir,
        files: &[&str],
        callback: impl Fn() + 'static,
    ) -> Observing {
        let paths = self.expect(dir, files);
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        self.0.observers.borrow_mut().push(Rc::new(Observer {
            number,
            paths,
            callback: Box::new(callback),
        }));
        Observing {
            list: Rc::downgrade(&self.0),
            number,
        }
    }

    /// Says that these files will be read and then observed: what happens to them from here on counts
    /// as a change. Gives their paths.
    pub fn expect(&self, dir: &ConfigDir, files: &[&str]) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for file in files {
            paths.extend(dir.path(file));
            if matches!(FileType::of(file), FileType::Json | FileType::Hjson) {
                let twin = Path::new(file).with_extension("yaml");
                paths.extend(twin.to_str().and_then(|t| dir.path(t).ok()));
            }
        }
        let grown = self.0.grown.borrow().clone();
        if let Some(grown) = grown {
            grown(&paths);
        }
        paths
    }

    /// All files that are observed, each once.
    pub fn paths(&self) -> BTreeSet<PathBuf> {
        let observers = self.0.observers.borrow();
        observers.iter().flat_map(|o| o.paths.clone()).collect()
    }

    /// Has `told` called with the files that are expected or observed from now on; it may be called
    /// with a file more than once.
    pub fn on_growth(&self, told: impl Fn(&[PathBuf]) + 'static) {
        *self.0.grown.borrow_mut() = Some(Rc::new(told));
    }

    /// Calls the observers of these files, in the order of their coming, each once. An observer may
    /// add and take out others; those that it adds are not called now.
    pub fn changed(&self, files: &HashSet<PathBuf>) {
        let concerned: Vec<Rc<Observer>> = self
            .0
            .observers
            .borrow()
            .iter()
            .filter(|o| o.paths.iter().any(|path| files.contains(path)))
            .cloned()
            .collect();
        for observer in concerned {
            (observer.callback)();
        }
    }
}

impl Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch of {} files", self.paths().len())
    }
}

/// A value read from files and read again when they change. Clones are the same value.
pub struct Live<T> {
    held: Rc<RefCell<Rc<T>>>,
    observing: Option<Rc<Observing>>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Live<T> {
        Live {
            held: Rc::clone(&self.held),
            observing: self.observing.clone(),
        }
    }
}

impl<T: 'static> Live<T> {
    /// A value that never changes.
    pub fn fixed(value: T) -> Live<T> {
        Live {
            held: Rc::new(RefCell::new(Rc::new(value))),
            observing: None,
        }
    }

    /// Loads a value now and again after each change of the files. Where a later load fails the
    /// earlier value stays and an error is logged (CFS-31).
    ///
    /// # Errors
    /// What the first load says.
    pub fn load<E: Display>(
        watch: &Watch,
        dir: &ConfigDir,
        files: &[&str],
        load: impl Fn(&ConfigDir) -> Result<T, E> + 'static,
    ) -> Result<Live<T>, E> {
        watch.expect(dir, files);
        let first = load(dir)?;
        Ok(Live::follow(watch, dir, files, first, move |dir| {
            load(dir).map_err(|e| {
                log_server!(Level::Error, "{e}; the earlier settings stay");
            })
        }))
    }

    /// A value that `again` makes anew after each change of the files. On an error, which `again`
    /// reports itself, the earlier value stays.
    pub fn follow(
        watch: &Watch,
        dir: &ConfigDir,
        files: &[&str],
        first: T,
        again: impl Fn(&ConfigDir) -> Result<T, ()> + 'static,
    ) -> Live<T> {
        let mut live = Live::fixed(first);
        let held = Rc::downgrade(&live.held);
        let own_dir = dir.clone();
        let observing = watch.on_change(dir, files, move || {
            if let Some(held) = held.upgrade()
                && let Ok(value) = again(&own_dir)
            {
                *held.borrow_mut() = Rc::new(value);
            }
        });
        live.observing = Some(Rc::new(observing));
        live
    }

    /// The value of now; it stays as it is for as long as it is held.
    pub fn get(&self) -> Rc<T> {
        Rc::clone(&self.held.borrow())
    }
}

impl<T: Debug> Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held.borrow().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;
    use crate::config::testing::TestDir;

    fn files(t: &TestDir, names: &[&str]) -> HashSet<PathBuf> {
        names.iter().map(|n| t.dir().path(n).unwrap()).collect()
    }

    #[test]
    fn every_observer_of_a_file_is_called_and_no_other() {
        // covers CFS-32, PB-57
        let (t, watch) = (TestDir::new(), Watch::new());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let note = |who: &'static str| {
            let seen = Rc::clone(&seen);
            move || seen.borrow_mut().push(who)
        };
        watch
            .on_change(t.dir(), &["smtp.ini"], note("one"))
            .forever();
        let two = watch.on_change(t.dir(), &["a", "smtp.ini"], note("two"));
        watch
            .on_change(t.dir(), &["a", "x.json"], note("three"))
            .forever();
        watch.changed(&files(&t, &["smtp.ini"]));
        assert_eq!(seen.take(), ["one", "two"]);
        watch.changed(&files(&t, &["smtp.ini", "a"]));
        assert_eq!(seen.take(), ["one", "two", "three"]);
        drop(two);
        watch.changed(&files(&t, &["smtp.ini", "x.yaml"]));
        assert_eq!(seen.take(), ["one", "three"]);
        watch.changed(&files(&t, &["b"]));
        assert!(seen.take().is_empty());
    }

    // covers CFS-33
    #[test]
    fn file_that_is_only_read_is_not_watched_and_one_that_is_followed_is() {
        let (t, watch) = (TestDir::new(), Watch::new());
        t.write("once", "1");
        t.write("always", "1");
        let watched = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&watched);
        watch.on_growth(move |paths| seen.borrow_mut().extend(paths.to_vec()));
        let env = crate::plugin::PluginEnv::new(t.dir(), t.dir().root(), &watch);
        let once = env.config.value("once").unwrap();
        let load = |config: &ConfigDir, _: &mut Vec<_>| Ok(config.value("always")?);
        let always = env.live("test", &["always"], load).unwrap();
        assert!(!watched.borrow().contains(&t.dir().path("once").unwrap()));
        assert!(watched.borrow().contains(&t.dir().path("always").unwrap()));
        t.write("once", "2");
        t.write("always", "2");
        watch.changed(&files(&t, &["once", "always"]));
        assert_eq!(once.as_deref(), Some("1"));
        assert_eq!(always.get().as_deref(), Some("2"));
    }

    #[test]
    fn bad_new_content_keeps_the_earlier_value() {
        // covers CFS-31
        let (t, watch) = (TestDir::new(), Watch::new());
        t.write("n", "1");
        let load = |dir: &ConfigDir| {
            let text = dir.value("n")?.unwrap_or_default();
            text.parse::<u32>()
                .map_err(|_| ConfigError::Escapes { file: text })
        };
        let live = Live::load(&watch, t.dir(), &["n"], load).unwrap();
        let before = live.get();
        t.write("n", "x");
        watch.changed(&files(&t, &["n"]));
        assert_eq!(*live.get(), 1);
        t.write("n", "2");
        watch.changed(&files(&t, &["n"]));
        assert_eq!((*before, *live.get()), (1, 2));
        drop((live, before));
        assert!(watch.paths().is_empty());
    }

    #[test]
    fn observer_may_bring_others_and_their_files_are_told() {
        let (t, watch) = (TestDir::new(), Watch::new());
        let told = Rc::new(RefCell::new(Vec::new()));
        let note = Rc::clone(&told);
        watch.on_growth(move |paths| note.borrow_mut().extend(paths.to_vec()));
        let (inner, dir) = (watch.clone(), t.dir().clone());
        watch
            .on_change(t.dir(), &["a"], move || {
                inner.on_change(&dir, &["sub/b"], || {}).forever();
            })
            .forever();
        watch.changed(&files(&t, &["a"]));
        assert_eq!(
            *told.borrow(),
            [t.dir().path("a").unwrap(), t.dir().path("sub/b").unwrap()]
        );
    }
}
