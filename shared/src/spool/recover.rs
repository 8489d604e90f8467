//! Start-up: clearing away what a dead worker left half done, and finding the items to deliver.
//!
//! Two passes over the directory, by names alone; memory is 8 bytes per body file, and only items
//! that were being written are opened. Every state and its treatment is a row of `docs/spool.md`.

use super::entry::Entry;
use super::error::SpoolError;
use super::name::{Form, NameRef, QueueName};
use super::ownership::Ownership;
use super::store::{LoadError, Spool, read_header};
use super::stored::State;

/// What a scan found and did; for the log and for alarms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Items handed to the caller.
    pub items: u64,
    /// Items of other workers.
    pub foreign: u64,
    /// Half-written files removed.
    pub removed: u64,
    /// Items given their names because their message was committed.
    pub completed: u64,
    /// Updates finished: the old header removed.
    pub updated: u64,
    /// Bodies without an item removed.
    pub orphans: u64,
    /// Items held back.
    pub held: u64,
    /// Items in the trash.
    pub trashed: u64,
    /// When the oldest of those was thrown away, in milliseconds since 1970.
    pub oldest_trash: Option<u64>,
    /// Files of an import that are no items yet.
    pub staged: u64,
    /// Items set aside now.
    pub broken: u64,
    /// Files set aside earlier: somebody should look at them (H8).
    pub aside: u64,
    /// Files that are none of ours.
    pub unrecognised: u64,
    /// Files that the system did not let us treat; they are as they were.
    pub failed: u64,
}

impl Spool {
    /// Makes whole what dead workers left, and calls `sink` with every item that this worker takes
    /// over from them. Call it once when the worker starts or [`Ownership::take_over`] was called,
    /// and start no delivery of the items before it has returned.
    ///
    /// # Errors
    /// The directory cannot be read. Trouble with single files is logged and counted.
    pub fn recover(
        &self,
        ownership: &Ownership,
        mut sink: impl FnMut(&NameRef<'_>),
    ) -> Result<ScanReport, SpoolError> {
        let mut pass = Pass {
            spool: self,
            ownership,
            report: ScanReport::default(),
            bodies: Vec::new(),
            splits: Vec::new(),
        };
        self.dir.for_each(|name| pass.settle(name))?;
        pass.bodies.sort_unstable();
        pass.splits.sort_unstable();
        self.dir.for_each(|name| pass.collect(name, &mut sink))?;
        Ok(pass.report)
    }

    /// Calls `sink` with every item of this worker, without touching anything: for another look at
    /// what did not fit into memory, or a flush. May repeat an item that is renamed meanwhile.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn scan(
        &self,
        ownership: &Ownership,
        mut sink: impl FnMut(&NameRef<'_>),
    ) -> Result<(), SpoolError> {
        self.dir.for_each(|name| {
            if let Entry::Item(item) = Entry::classify(name)
                && ownership.owns(&item)
            {
                sink(&item);
            }
        })
    }

    /// Calls `sink` with every item of this worker that is due by its name at `from` or later and
    /// that nothing has happened to since `since`, both in milliseconds since 1970.
    ///
    /// # Errors
    /// The directory cannot be read. A file that cannot be looked at is left out.
    pub fn scan_untouched(
        &self,
        ownership: &Ownership,
        from: u64,
        since: u64,
        mut sink: impl FnMut(&NameRef<'_>),
    ) -> Result<(), SpoolError> {
        self.scan(ownership, |item| {
            let untouched = || match self.dir.changed(item.as_str()) {
                Ok(changed) => changed.is_some_and(|at| at < since),
                Err(error) => {
                    log::error!("{error}");
                    false
                }
            };
            if item.next_attempt >= from && untouched() {
                sink(item);
            }
        })
    }
}

struct Pass<'a> {
    spool: &'a Spool,
    ownership: &'a Ownership,
    report: ScanReport,
    /// Identity hashes of the bodies and of the items without their own, sorted for the second pass.
    bodies: Vec<u64>,
    splits: Vec<u64>,
}

impl Pass<'_> {
    /// First pass: debris goes, committed messages are completed.
    fn settle(&mut self, name: &str) {
        match Entry::classify(name) {
            Entry::Temp(item) if self.ownership.clears(item.owner_key()) => {
                self.settle_temp(name, &item);
            }
            Entry::Scratch(owner) if self.ownership.clears(owner) => self.clear_away(name),
            Entry::Spare(owner) if self.ownership.clears(owner) => {
                if let Err(error) = self.spool.dir.unlink(name) {
                    self.failed(&error);
                }
            }
            Entry::Body { identity, owner } if self.ownership.clears(owner) => {
                self.bodies.push(identity);
            }
            Entry::Item(item)
                if item.form == Form::Split && self.ownership.clears(item.owner_key()) =>
            {
                self.splits.push(item.identity_hash());
            }
            Entry::Shelved(_, item)
                if item.form == Form::Split && self.ownership.clears(item.owner_key()) =>
            {
                self.splits.push(item.identity_hash());
            }
            Entry::Staged(owner) if self.ownership.owns_key(owner) => {
                self.report.staged += 1;
            }
            Entry::Aside => {
                self.report.aside += 1;
                if self.ownership.reports_strays() {
                    log::warn!("skipping file set aside in queue folder: {name}");
                }
            }
            Entry::Unrecognised => {
                self.report.unrecognised += 1;
                if self.ownership.reports_strays() {
                    log::error!("unrecognized file in queue folder: {name}");
                }
            }
            _ => {}
        }
    }

    /// An item is valid with the first item of its message; a first item needs its own rename.
    fn settle_temp(&mut self, temp: &str, item: &NameRef<'_>) {
        let lead = match (item.form, read_header(&self.spool.dir, temp)) {
            (Form::Split, Ok((_, _, todo, _))) => todo.lead,
            (Form::Split, Err(LoadError::System(error))) => return self.failed(&error),
            _ => None,
        };
        let committed = lead.map_or(Ok(false), |lead| {
            let dir = &self.spool.dir;
            let held = State::Held.file(&lead);
            Ok(dir.inode(&lead)?.is_some() || dir.inode(&held)?.is_some())
        });
        let committed = match committed {
            Err(error) => return self.failed(&error),
            Ok(committed) => committed,
        };
        if !committed {
            return self.clear_away(temp);
        }
        match self.spool.dir.rename(temp, item.as_str()) {
            Ok(()) => {
                log::info!("completed the queueing of {item}");
                self.report.completed += 1;
                self.splits.push(item.identity_hash());
            }
            Err(error) => {
                // its body must not look like an orphan
                self.splits.push(item.identity_hash());
                self.failed(&error);
            }
        }
    }

    fn clear_away(&mut self, name: &str) {
        log::warn!("removing left over file: {name}");
        match self.spool.dir.unlink(name) {
            Ok(()) => self.report.removed += 1,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &SpoolError) {
        log::error!("{error}");
        self.report.failed += 1;
    }

    /// Second pass: what is left is complete, except for what only both kinds of names together tell.
    fn collect(&mut self, name: &str, sink: &mut impl FnMut(&NameRef<'_>)) {
        match Entry::classify(name) {
            Entry::Item(item)
                if self.ownership.clears(item.owner_key()) && self.is_whole(&item) =>
            {
                self.report.items += 1;
                sink(&item);
            }
            Entry::Item(item) if !self.ownership.owns(&item) => self.report.foreign += 1,
            // one that was put there while an update was cut off must not come back beside it
            Entry::Shelved(state, item)
                if self.ownership.clears(item.owner_key())
                    && (item.form != Form::Plain || !self.is_superseded(&item, name)) =>
            {
                self.count_shelved(state);
            }
            Entry::Body { identity, owner }
                if self.ownership.clears(owner) && !contains(&self.splits, identity) =>
            {
                match self.spool.dir.unlink(name) {
                    Ok(()) => self.report.orphans += 1,
                    Err(error) => self.failed(&error),
                }
            }
            _ => {}
        }
    }

    fn count_shelved(&mut self, state: State) {
        match state {
            State::Trashed { at, .. } => {
                self.report.trashed += 1;
                let oldest = self.report.oldest_trash.map_or(at, |oldest| oldest.min(at));
                self.report.oldest_trash = Some(oldest);
            }
            State::Held | State::Queued => self.report.held += 1,
        }
    }

    fn is_whole(&mut self, item: &NameRef<'_>) -> bool {
        match item.form {
            Form::Old => true,
            Form::Plain => !self.is_superseded(item, item.as_str()),
            Form::Split => self.has_body(&item.to_owned()),
        }
    }

    /// An update gave the recipients that are left a header of their own and was cut off before it
    /// removed this one.
    fn is_superseded(&mut self, item: &NameRef<'_>, file: &str) -> bool {
        if self.bodies.is_empty() || self.splits.is_empty() {
            return false;
        }
        let identity = item.identity_hash();
        if !contains(&self.bodies, identity) || !contains(&self.splits, identity) {
            return false;
        }
        let same = self.spool.dir.inode(file).and_then(|own| {
            let body = self.spool.dir.inode(&item.body_file())?;
            Ok(own.is_some() && own == body)
        });
        let finished = same.and_then(|same| {
            if same {
                self.spool.dir.unlink(file)?;
            }
            Ok(same)
        });
        match finished {
            Ok(true) => {
                self.report.updated += 1;
                true
            }
            Ok(false) => false,
            Err(error) => {
                // rather late than twice
                self.failed(&error);
                true
            }
        }
    }

    fn has_body(&mut self, item: &QueueName) -> bool {
        if contains(&self.bodies, item.identity_hash()) {
            return true;
        }
        match self.spool.dir.inode(&item.body_file()) {
            Ok(Some(_)) => return true,
            Ok(None) => {}
            Err(error) => {
                self.failed(&error);
                return false;
            }
        }
        match self.spool.set_aside(item, "its body file is missing") {
            Ok(()) => self.report.broken += 1,
            Err(error) => self.failed(&error),
        }
        false
    }
}

fn contains(sorted: &[u64], identity: u64) -> bool {
    sorted.binary_search(&identity).is_ok()
}
