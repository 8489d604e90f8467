//! Files of delivered messages, kept to be written again: under load, making and removing a file costs
//! more than everything else that a message asks of the file system (ADR 0034).
//!
//! A file rests until a sync that began after its renaming has ended. Before that a power cut could bring
//! its old name back, and with it an item that has another message in it.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::directory::{Directory, ignore_lease_breaks};
use super::entry::spare_file;
use super::name::{Form, QueueName};
use super::store::{Reuse, Spool};

/// Files kept at most: what is delivered while two batches are written, and a reserve.
const MOST: usize = 128;
/// Longest file that is kept, and longest content that is written into one, in bytes; beyond it the
/// writing is what costs.
const LONGEST: u64 = 64 * 1024;
/// Files written within a [`PACE`] from which on others are kept for the next.
const BUSY: usize = 32;
/// See [`BUSY`].
const PACE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Spares {
    wanted: AtomicBool,
    always: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The files, oldest first, each with how many there were before it.
    files: VecDeque<(u64, String)>,
    retired: u64,
    /// How many names were given.
    named: u64,
    /// Of as many the old name is gone for good.
    settled: u64,
    /// When the time began that files are being counted for, how many, and how many in the time before.
    since: Option<Instant>,
    now: usize,
    before: usize,
}

impl State {
    fn turn(&mut self) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let passed = since.elapsed();
        if passed >= PACE {
            self.before = if passed < PACE * 2 { self.now } else { 0 };
            self.now = 0;
            self.since = Some(Instant::now());
        }
    }

    fn is_busy(&mut self) -> bool {
        self.turn();
        self.now.max(self.before) >= BUSY
    }
}

/// A file that is written over.
pub(super) struct Reused {
    /// Its name for now.
    pub(super) temp: String,
    /// Open for writing, at its beginning.
    pub(super) file: File,
    /// Its length in bytes, which nothing of the old content may keep.
    pub(super) len: u64,
}

impl Spares {
    pub(super) fn new(reuse: Reuse) -> Spares {
        Spares {
            wanted: AtomicBool::new(reuse != Reuse::Never && ignore_lease_breaks()),
            always: reuse == Reuse::Always,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files are being written.
    pub(super) fn count(&self, files: usize) {
        let mut state = self.state();
        state.turn();
        state.now = state.now.saturating_add(files);
    }

    /// What a sync that begins now makes sure of.
    pub(super) fn mark(&self) -> u64 {
        self.state().retired
    }

    /// A sync that began at this mark has ended well.
    pub(super) fn settle(&self, mark: u64) {
        let mut state = self.state();
        state.settled = state.settled.max(mark);
    }

    /// The number of a further file, if one is wanted.
    fn wants(&self) -> Option<u64> {
        if !self.wanted.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        let wanted = state.files.len() < MOST && (self.always || state.is_busy());
        wanted.then(|| {
            state.named += 1;
            state.named
        })
    }

    fn add(&self, name: String) {
        let mut state = self.state();
        let before = state.retired;
        state.retired += 1;
        state.files.push_back((before, name));
    }

    fn take(&self) -> Option<String> {
        let mut state = self.state();
        let settled = state.settled;
        let (_, name) = state.files.pop_front_if(|(before, _)| *before < settled)?;
        Some(name)
    }

    /// Files that are not wanted any more, as little is being written.
    fn idle(&self, always: bool) -> Vec<String> {
        let mut state = self.state();
        if !always && state.is_busy() {
            return Vec::new();
        }
        state.files.drain(..).map(|(_, name)| name).collect()
    }
}

impl Spool {
    /// Gives the file of an item that is done with another name, instead of removing it. False if it is
    /// to be removed.
    pub(super) fn retire(&self, name: &QueueName) -> bool {
        // An item that was tried before may have a remark.
        if name.form != Form::Plain || name.attempts != 0 {
            return false;
        }
        let Some(number) = self.spares.wants() else {
            return false;
        };
        let fits = |len| len <= LONGEST;
        if !matches!(self.dir.sole_name(name.as_str()), Ok(Some(len)) if fits(len)) {
            return false;
        }
        let spare = spare_file(self.incarnation(), number);
        let renamed = self.dir.rename(name.as_str(), &spare);
        if renamed.is_ok() {
            self.spares.add(spare);
        }
        renamed.is_ok()
    }

    /// A file for so many bytes that can be written over; none if a new one is to be made.
    pub(super) fn reuse(&self, len: u64) -> Option<Reused> {
        if len > LONGEST {
            return None;
        }
        while let Some(temp) = self.spares.take() {
            match self.dir.open_sole(&temp) {
                Ok(Some((file, len))) => return Some(Reused { temp, file, len }),
                // somebody reads it still: a copy of a queue must not have two messages in a file
                Ok(None) => remove(&self.dir, &temp),
                Err(error) => {
                    if !error.is_gone() {
                        log::debug!("{error}; queue files are made anew from now on");
                        self.spares.wanted.store(false, Ordering::Relaxed);
                        remove(&self.dir, &temp);
                    }
                }
            }
        }
        None
    }

    /// Whether there are files that [`Spool::remove_spares`] may have to remove.
    #[must_use]
    pub fn has_spares(&self) -> bool {
        !self.spares.state().files.is_empty()
    }

    /// Removes the files that were kept for further messages: if there are few of those now, or, at the
    /// end, `always`.
    pub fn remove_spares(&self, always: bool) {
        for name in self.spares.idle(always) {
            remove(&self.dir, &name);
        }
    }
}

/// A file that stays is removed at the next start.
fn remove(dir: &Directory, name: &str) {
    if let Err(error) = dir.unlink(name) {
        log::error!("{error}");
    }
}
