//! Changing an item after a delivery attempt: deferral, partial results, removal.
//!
//! Nothing here ever loses a recipient: whatever fails, the item is as it was or as it should be
//! (PB-21, PB-22). None of these wait for the disk except [`Spool::update`], whose new header must
//! be there before it replaces the old one; a power cut may undo the last of them, which repeats an
//! attempt.

use std::sync::{MutexGuard, PoisonError};

use super::directory::Step;
use super::entry::scratch_file;
use super::error::SpoolError;
use super::name::{Form, QueueName};
use super::store::{Item, Spool};
use super::todo::{Todo, write_header};

impl Spool {
    /// Puts the whole item off: one rename (OUT-19).
    ///
    /// # Errors
    /// The rename failed; the item keeps its name. Keep it and try again later (PB-22, H6).
    pub fn defer(
        &self,
        name: &QueueName,
        next_attempt: u64,
        attempts: u32,
    ) -> Result<QueueName, SpoolError> {
        let later = name.rescheduled(next_attempt, attempts);
        if later != *name {
            self.dir.rename(name.as_str(), later.as_str())?;
        }
        Ok(later)
    }

    /// Replaces the item's envelope and puts it off: some recipients are done, the others have news.
    /// The message is not copied. `todo` has the remaining recipients, at least one.
    ///
    /// # Errors
    /// All recipients are still in the item, which keeps its place under `item.name`. Keep it.
    pub fn update(
        &self,
        item: &mut Item,
        todo: &Todo,
        next_attempt: u64,
        attempts: u32,
    ) -> Result<QueueName, SpoolError> {
        if todo.rcpt_to.is_empty() {
            return Err(SpoolError::NoRecipients {
                uuid: todo.uuid.clone(),
            });
        }
        self.give_identity(item)?;
        let name = &item.name;
        let body = name.body_file();
        if name.form != Form::Split {
            self.keep_body(name.as_str(), &body)?;
        }
        let scratch = scratch_file(self.incarnation(), self.serial());
        let written = self.write_scratch(&scratch, item, todo).and_then(|()| {
            if name.form == Form::Split {
                // the same name: there is never a moment with two headers
                self.dir.rename(&scratch, name.as_str())?;
                return Ok(name.clone());
            }
            let split = name.rescheduled(next_attempt, attempts).split();
            let split = split.ok_or_else(|| SpoolError::BadName {
                name: name.as_str().to_owned(),
            })?;
            self.dir.rename(&scratch, split.as_str())?;
            Ok(split)
        });
        let now = written.inspect_err(|_| {
            // the second name of a plain file would keep its space after the item is gone
            let second = (name.form != Form::Split).then_some(body.as_str());
            for left in [Some(scratch.as_str()), second].into_iter().flatten() {
                if let Err(error) = self.dir.unlink(left) {
                    log::error!("{error}");
                }
            }
        })?;
        item.name = self.finish_update(name, now, next_attempt, attempts);
        item.todo.clone_from(todo);
        Ok(item.name.clone())
    }

    /// The update counts already; what is left can be finished at the next start as well.
    fn finish_update(
        &self,
        old: &QueueName,
        now: QueueName,
        next_attempt: u64,
        attempts: u32,
    ) -> QueueName {
        let finished = if old.form == Form::Split {
            self.defer(&now, next_attempt, attempts)
        } else {
            let removed = self.dir.unlink(old.as_str());
            removed.map(|()| now.clone()).inspect_err(|_| {
                self.stale_headers().push(old.clone());
            })
        };
        finished.unwrap_or_else(|error| {
            log::error!("{error}");
            now
        })
    }

    /// Names of old releases have nothing to call a body by: such an item gets a current name first.
    fn give_identity(&self, item: &mut Item) -> Result<(), SpoolError> {
        if item.name.form == Form::Old {
            let name = self
                .new_name(item.todo.queue_time, item.name.next_attempt, Form::Plain)
                .rescheduled(item.name.next_attempt, item.name.attempts);
            self.dir.rename(item.name.as_str(), name.as_str())?;
            item.name = name;
        }
        Ok(())
    }

    /// Gives the file its second name; it may have it from an update that failed later on.
    fn keep_body(&self, item: &str, body: &str) -> Result<(), SpoolError> {
        match self.dir.link(item, body) {
            Err(SpoolError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::AlreadyExists
                    && self.dir.inode(item)? == self.dir.inode(body)? =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn write_scratch(&self, scratch: &str, item: &Item, todo: &Todo) -> Result<(), SpoolError> {
        let mut header = Vec::with_capacity(2048);
        let todo = Todo {
            size: Some(item.body.len()),
            lead: None,
            ..todo.clone()
        };
        write_header(&todo, &mut header).map_err(|cause| SpoolError::Unwritable {
            uuid: todo.uuid.clone(),
            cause,
        })?;
        let mut file = self.dir.create(scratch)?;
        self.dir.write(scratch, &mut file, &[&header])?;
        self.dir.sync_data(scratch, &file)
    }

    /// Removes an item that is done with. Store a bounce before removing what it is about (PB-31).
    ///
    /// # Errors
    /// The item is still there and would be delivered again after a restart: try again.
    pub fn remove(&self, name: &QueueName) -> Result<(), SpoolError> {
        if name.form == Form::Split {
            self.remove_stale(name)?;
        }
        if self.retire(name) {
            return Ok(());
        }
        self.dir.unlink(name.as_str())?;
        if name.form == Form::Split
            && let Err(error) = self.dir.unlink(&name.body_file())
        {
            // start-up removes bodies that have no item
            log::error!("{error}");
        }
        Ok(())
    }

    pub(super) fn remove_stale(&self, name: &QueueName) -> Result<(), SpoolError> {
        let mut stale = self.stale_headers();
        if stale.is_empty() {
            return Ok(());
        }
        let identity = name.identity();
        if let Some(at) = stale.iter().position(|old| old.identity() == identity) {
            let old = stale.swap_remove(at);
            self.dir
                .unlink(old.as_str())
                .inspect_err(|_| stale.push(old))?;
        }
        Ok(())
    }

    fn stale_headers(&self) -> MutexGuard<'_, Vec<QueueName>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpoolError {
    /// The same trouble for another message of the batch.
    pub(super) fn again(&self) -> Self {
        let (step, name) = match self {
            Self::Io { step, name, .. } => (*step, name.as_str()),
            _ => (Step::Write, "."),
        };
        let code = self.io_error().and_then(std::io::Error::raw_os_error);
        let source = code.map_or_else(
            || std::io::Error::other(self.to_string()),
            std::io::Error::from_raw_os_error,
        );
        Self::io(step, name, source)
    }
}
